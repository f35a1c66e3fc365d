//! `cp.async.bulk`, the one-dimensional copy (PTX ISA §9.7.9.25.4).

use ptx_emulator::machine::FailureKind;

use super::program::*;

fn copy_in(offset: u32, from: u32, bytes: u32) -> String {
    format!(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r1+{offset}], [%rd1+{from}], {bytes}, [%r1];"
    )
}

fn copy_out(to: u32, offset: u32, bytes: u32) -> String {
    format!("cp.async.bulk.global.shared::cta.bulk_group [%rd0+{to}], [%r1+{offset}], {bytes};")
}

const COMMIT: &str = "@%p31 cp.async.bulk.commit_group;\n";

#[test]
fn exactly_the_bytes_are_copied() {
    let input = noise(512);
    for (offset, from, bytes) in [(1024, 0, 16), (1040, 32, 480), (1056, 496, 16)] {
        let body = format!(
            "{BARRIERS}{}\n@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {bytes};\n@%p31 {}\n{}{}",
            clear_shared(1024, 1024),
            copy_in(offset, from, bytes),
            wait(0, 0),
            dump_shared(1024, 1024)
        );
        let mut expected = vec![0xEE; 1024];
        expected[offset as usize - 1024..][..bytes as usize]
            .copy_from_slice(&input[from as usize..][..bytes as usize]);
        let out = Program::with_input(&body, &input).run_bytes();
        assert!(out[..1024] == expected);
    }
}

#[test]
fn copies_credit_their_bytes() {
    for (expected, surplus) in [(240, -16), (272, 16)] {
        let body = format!(
            "{BARRIERS}@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {expected};\n@%p31 {}\n{}",
            copy_in(1024, 0, 256),
            wait(0, 0)
        );
        let text = Program::with_input(&body, &noise(256)).fail().to_string();
        assert!(text.contains(&format!("tx-count {surplus}")), "{text}");
    }
}

#[test]
fn stores_reach_global_memory_by_their_group() {
    let input = noise(256);
    let body = format!(
        "{BARRIERS}{}\n@%p31 {}\n{COMMIT}@%p31 cp.async.bulk.wait_group 0;",
        load_input(2048, 256),
        copy_out(64, 2048 + 16, 224)
    );
    let out = Program::with_input(&body, &input).run_bytes();
    assert_eq!(out[64..64 + 224], input[16..240]);
    assert!(out[..64].iter().chain(&out[288..1024]).all(|b| *b == 0xEE));
}

/// `wait_group N` waits for all but the last N groups: the last one's source is still in use.
#[test]
fn wait_group_leaves_the_last_groups_in_flight() {
    let body = |pending: u32, written: u32| {
        format!(
            "{BARRIERS}{}\n@%p31 {}\n{COMMIT}@%p31 {}\n{COMMIT}\
             @%p31 cp.async.bulk.wait_group {pending};\n@%p31 st.shared.u32 [%r1+{written}], 0;\n\
             @%p31 cp.async.bulk.wait_group 0;",
            load_input(2048, 256),
            copy_out(0, 2048, 128),
            copy_out(128, 2176, 128)
        )
    };
    let run = |pending, written| Program::with_input(&body(pending, written), &noise(256));
    let first = 2048;
    let second = 2176;
    run(1, first).run();
    run(0, second).run();
    for program in [run(2, first), run(1, second)] {
        assert_eq!(program.race_late().operation, "bulk store");
    }
}

/// A copy belongs to a group only once that is committed.
#[test]
fn copies_that_were_not_committed_are_not_waited_for() {
    let body = format!(
        "{BARRIERS}{}\n@%p31 {}\n@%p31 cp.async.bulk.wait_group 0;\n@%p31 st.shared.u32 [%r1+2048], 0;",
        load_input(2048, 256),
        copy_out(0, 2048, 128)
    );
    let race = Program::with_input(&body, &noise(256)).race_late();
    assert_eq!((race.now, race.in_flight), ("writes", "reads"));
}

/// Groups are a thread's own.
#[test]
fn the_groups_of_other_threads_are_not_waited_for() {
    let body = format!(
        "{BARRIERS}{}\n@%p31 {}\ncp.async.bulk.commit_group;\n@!%p31 cp.async.bulk.wait_group 0;\n\
         @!%p31 st.shared.u32 [%r1+2048], 0;",
        load_input(2048, 256),
        copy_out(0, 2048, 128)
    );
    let race = Program::with_input(&body, &noise(256)).race_late();
    assert_eq!((race.now, race.in_flight), ("writes", "reads"));
}

#[test]
fn addresses_and_sizes_are_multiples_of_16() {
    let cases = [
        (copy_in(1032, 0, 16), "the destination must be aligned"),
        (copy_in(1024, 8, 16), "the source must be aligned"),
        (copy_in(1024, 0, 24), "multiple of 16"),
        (copy_out(8, 1024, 16), "the destination must be aligned"),
        (copy_out(0, 1032, 16), "the source must be aligned"),
        (copy_out(0, 1024, 8), "multiple of 16"),
    ];
    for (copy, message) in cases {
        Program::with_input(&format!("{BARRIERS}@%p31 {copy}"), &noise(64))
            .fail_with("cp.async.bulk", message);
    }
}

#[test]
fn copies_stay_within_both_memories() {
    for (copy, is_shared) in [
        (copy_in(SMEM_BYTES - 16, 0, 32), true),
        (copy_in(1024, 48, 32), false),
        (copy_out(0, SMEM_BYTES - 16, 32), true),
        (copy_out(4 * 128 * 512 - 16, 1024, 32), false),
    ] {
        let program = Program::with_input(&format!("{BARRIERS}@%p31 {copy}"), &noise(64));
        let kind = program.fail_at("cp.async.bulk");
        let is_expected = match kind {
            FailureKind::OutOfBounds { .. } => is_shared,
            FailureKind::Global(_) => !is_shared,
            _ => false,
        };
        assert!(is_expected, "{copy}: {kind}");
    }
}
