//! `cp.async`, the small copies of each thread (PTX ISA §9.7.9.25.3).

use ptx_emulator::machine::FailureKind;

use super::program::*;

/// Offset in `smem` that the programs copy to.
const TO: u32 = 1024;

/// Thread t copies from and to `bytes` * t, and then executes `then`.
fn copies(bytes: u32, operand: &str, then: &str) -> String {
    format!(
        r"
    {}
    mul.lo.u32 %r10, %r0, {bytes};
    add.u32 %r11, %r10, %r1;
    cvt.u64.u32 %rd10, %r10;
    add.u64 %rd10, %rd10, %rd1;
    cp.async.ca.shared.global [%r11+{TO}], [%rd10], {bytes}{operand};
    {then}
",
        clear_shared(TO, 2048)
    )
}

const FINISH: &str = "cp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\n";

fn dumped(body: &str, input: &[u8]) -> Vec<u8> {
    let body = format!("{body}{}", dump_shared(TO, 2048));
    Program::with_input(&body, input).run_bytes()[..2048].to_vec()
}

#[test]
fn each_lane_copies_its_own_bytes() {
    for bytes in [4, 8, 16] {
        let input = noise(32 * bytes as usize);
        let out = dumped(&copies(bytes, "", FINISH), &input);
        assert_eq!(out[..input.len()], input);
        assert!(out[input.len()..].iter().all(|byte| *byte == 0xEE));
    }
    let bypassing = copies(16, "", FINISH)
        .replace(".ca", ".cg")
        .replace("shared.global", "shared::cta.global.L2::128B");
    let input = noise(512);
    assert_eq!(dumped(&bypassing, &input)[..512], input);
}

/// The last lane reads nothing: its source lies behind the buffer.
#[test]
fn bytes_beyond_the_source_size_are_zero() {
    let input = noise(31 * 16);
    let body = format!(
        "sub.u32 %r12, 31, %r0;\nmin.u32 %r12, %r12, 16;\n{}",
        copies(16, ", %r12", FINISH)
    );
    let out = dumped(&body, &input);
    for (index, byte) in out[..512].iter().enumerate() {
        let (lane, at) = (index / 16, index % 16);
        let expected = if at < (31 - lane).min(16) {
            input[index]
        } else {
            0
        };
        assert_eq!(*byte, expected, "byte {index}");
    }
    let beyond = format!("mov.u32 %r12, 17;\n{}", copies(16, ", %r12", FINISH));
    Program::with_input(&beyond, &noise(512)).fail_with("cp.async", "a source of 17");
}

#[test]
fn an_ignored_source_is_zeros() {
    let input = noise(512);
    let body = format!(
        "and.b32 %r12, %r0, 1;\nsetp.ne.u32 %p1, %r12, 0;\n{}",
        copies(16, ", %p1", FINISH)
    );
    for (index, byte) in dumped(&body, &input)[..512].iter().enumerate() {
        let expected = if index / 16 % 2 == 1 { 0 } else { input[index] };
        assert_eq!(*byte, expected, "byte {index}");
    }
}

const COPY_FIRST: &str = "cp.async.cg.shared.global [%r11], [%rd1], 16;\n";
const COPY_SECOND: &str = "cp.async.cg.shared.global [%r11+512], [%rd1], 16;\n";
const COMMIT: &str = "cp.async.commit_group;\n";

/// Thread t has `%r11` = 1024 + 16 t in `smem`; all read 16 bytes of input.
fn program(body: &str) -> Program {
    let body = format!(
        "shl.b32 %r11, %r0, 4;\nadd.u32 %r11, %r11, %r1;\nadd.u32 %r11, %r11, {TO};\n{body}"
    );
    Program::with_input(&body, &noise(16))
}

fn expect_race(body: &str) {
    let race = program(body).race_late();
    assert_eq!((race.operation, race.in_flight), ("cp.async", "writes"));
}

/// Two groups of copies.
pub fn example() -> Program {
    program(&format!(
        "{COPY_FIRST}{COMMIT}{COPY_SECOND}{COMMIT}cp.async.wait_group 0;\n\
         ld.shared.u32 %r12, [%r11+512];\nst.global.u32 [%rd0], %r12;"
    ))
}

#[test]
fn wait_group_leaves_the_last_groups_in_flight() {
    let body = |pending: u32, read: u32| {
        format!(
            "{COPY_FIRST}{COMMIT}{COPY_SECOND}{COMMIT}cp.async.wait_group {pending};\n\
             ld.shared.u32 %r12, [%r11+{read}];\ncp.async.wait_all;"
        )
    };
    program(&body(1, 0)).run();
    program(&body(0, 512)).run();
    expect_race(&body(2, 0));
    expect_race(&body(1, 512));
}

#[test]
fn copies_that_were_not_committed_are_not_waited_for() {
    expect_race(&format!(
        "{COPY_FIRST}cp.async.wait_group 0;\nld.shared.u32 %r12, [%r11];\ncp.async.wait_all;"
    ));
}

#[test]
fn wait_all_waits_for_what_was_not_committed() {
    program(&format!(
        "{COPY_FIRST}cp.async.wait_all;\nld.shared.u32 %r12, [%r11];"
    ))
    .run();
}

#[test]
fn the_groups_of_other_threads_are_not_waited_for() {
    expect_race(&format!(
        "@%p31 {COPY_FIRST}{COMMIT}@!%p31 cp.async.wait_group 0;\n\
         @!%p31 ld.shared.u32 %r12, [%r1+{TO}];\ncp.async.wait_all;"
    ));
}

/// All 32 threads arrive by their copies: the phase is complete when all bytes are there.
#[test]
fn a_barrier_collects_copies() {
    let body = |barrier: &str| {
        format!(
            "@%p31 mbarrier.init.shared::cta.b64 [%r1], 32;\nbar.sync 0;\n\
             {COPY_FIRST}{COPY_SECOND}{barrier}{}\nld.shared.u32 %r12, [%r1+{TO}];\n\
             mul.wide.u32 %rd10, %r0, 4;\nadd.u64 %rd10, %rd10, %rd0;\nst.global.u32 [%rd10], %r12;",
            wait(0, 0)
        )
    };
    let arrive = "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r1];\n";
    let first = u32::from_le_bytes(noise(16)[..4].try_into().unwrap());
    assert_eq!(program(&body(arrive)).run()[..32], [first; 32]);
    // An ordinary arrival does not wait for the copies.
    expect_race(&body("mbarrier.arrive.shared::cta.b64 _, [%r1];\n"));
}

#[test]
fn arrivals_add_to_the_count_unless_noinc() {
    let body = |count: u32, modifier: &str, then: &str| {
        format!(
            "@%p31 mbarrier.init.shared::cta.b64 [%r1], {count};\nbar.sync 0;\n{COPY_FIRST}\
             cp.async.mbarrier.arrive{modifier}.shared::cta.b64 [%r1];\n{then}{}\ncp.async.wait_all;",
            wait(0, 0)
        )
    };
    program(&body(32, ".noinc", "")).run();
    program(&body(
        1,
        "",
        "@%p31 mbarrier.arrive.shared::cta.b64 _, [%r1];\n",
    ))
    .run();
    let failure = program(&body(1, "", "")).fail();
    assert!(
        matches!(failure.kind, FailureKind::Deadlock(_)),
        "{failure}"
    );
}

#[test]
fn copies_are_aligned_and_in_bounds() {
    for (copy, is_misaligned) in [
        ("[%r1+1032], [%rd1], 16", true),
        ("[%r1+1024], [%rd1+8], 16", true),
        ("[%r1+1024], [%rd1+16], 16", false),
        ("[%r1+98304], [%rd1], 16", false),
    ] {
        let kind = program(&format!("@%p31 cp.async.cg.shared.global {copy};")).fail_at("cp.async");
        let is_expected = match kind {
            FailureKind::Misaligned { .. } => is_misaligned,
            FailureKind::OutOfBounds { .. } | FailureKind::Global(_) => !is_misaligned,
            _ => false,
        };
        assert!(is_expected, "{copy}: {kind}");
    }
    let error = load_error("cp.async.ca.shared.global [%r1], [%rd1], 12;");
    assert!(error.contains("needs 4, 8 or 16"), "{error}");
}
