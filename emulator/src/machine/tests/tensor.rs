use super::*;
use crate::machine::report::AsyncRace;

/// One warp with 256 columns at `%r4`: D in 0..128, scale factors of A and B in 128..132 and 132..136. A, B and the
/// scales are ones at `%r5`, `%r6` (128 × 32 bytes each, SBO 256, no swizzle) and `%r7`; descriptors in `%rd10` (A),
/// `%rd11` (B) and `%rd12` (scales). Barriers of count 1 at `%r2` and `%r2+8`; `%p31` is lane 0.
fn tensor(body: &str) -> Program {
    program(&format!(
        r"
    setp.eq.u32 %p31, %r0, 0;
    @%p31 mbarrier.init.shared::cta.b64 [%r2], 1;
    @%p31 mbarrier.init.shared::cta.b64 [%r2+8], 1;
    add.u32 %r10, %r2, 16;
    tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r10], 256;
    ld.shared.u32 %r4, [%r10];
    add.u32 %r5, %r2, 1024;
    add.u32 %r6, %r2, 5120;
    add.u32 %r7, %r2, 9216;
    shl.b32 %r10, %r0, 2;
    add.u32 %r10, %r10, %r5;
    mov.u32 %r11, 0;
ONES:
    setp.lt.u32 %p1, %r11, 64;
    selp.b32 %r12, 0x22222222, 0x38383838, %p1;
    st.shared.u32 [%r10], %r12;
    add.u32 %r10, %r10, 128;
    add.u32 %r11, %r11, 1;
    setp.lt.u32 %p1, %r11, 68;
    @%p1 bra ONES;
    fence.proxy.async.shared::cta;
    bar.warp.sync -1;
    shr.u32 %r10, %r5, 4;
    cvt.u64.u32 %rd10, %r10;
    or.b64 %rd10, %rd10, 0x0000401000080000;
    shr.u32 %r10, %r6, 4;
    cvt.u64.u32 %rd11, %r10;
    or.b64 %rd11, %rd11, 0x0000401000080000;
    shr.u32 %r10, %r7, 4;
    cvt.u64.u32 %rd12, %r10;
    or.b64 %rd12, %rd12, 0x0000400800000000;
    add.u32 %r20, %r4, 128;
    add.u32 %r21, %r4, 132;
    setp.ne.u32 %p30, %r0, %r0;
{body}
    tcgen05.dealloc.cta_group::1.sync.aligned.b32 %r4, 256;
    tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;
"
    ))
}

const SCALES: &str = r"
    @%p31 tcgen05.cp.cta_group::1.32x128b.warpx4 [%r20], %rd12;
    @%p31 tcgen05.cp.cta_group::1.32x128b.warpx4 [%r21], %rd12;
";
const MMA: &str = "@%p31 tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16 [%r4], %rd10, %rd11, 0x08200480, [%r20], [%r21], %p30;";
const MMA_ADD: &str = "@%p31 tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16 [%r4], %rd10, %rd11, 0x08200480, [%r20], [%r21], %p31;";
const COMMIT: &str =
    "@%p31 tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%r2];";
const WAIT: &str = r"
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2], 0;
    @!%p1 bra WAIT;
    tcgen05.fence::after_thread_sync;
";
const LOAD: &str = "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r30}, [%r4];";
const STORE: &str = "tcgen05.st.sync.aligned.32x32b.x1.b32 [%r4], {%r0};";
const WAIT_LOAD: &str = "tcgen05.wait::ld.sync.aligned;";
const WAIT_STORE: &str = "tcgen05.wait::st.sync.aligned;";
const SHOW: &str = "st.global.u32 [%rd1], %r30;";

fn race(kind: FailureKind) -> AsyncRace {
    match kind {
        FailureKind::AsyncRace(race) => *race,
        _ => panic!("{kind}"),
    }
}

#[test]
fn copies_mmas_and_commits_run_in_order() {
    for policy in POLICIES {
        let program = tensor(&format!(
            "{SCALES}{MMA}\n{MMA_ADD}\n{COMMIT}\n{WAIT}{LOAD}\n{WAIT_LOAD}\n{SHOW}"
        ))
        .policy(policy);
        let report = program.try_run().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.mmas, 2);
        assert_eq!(program.output()[..32], [128f32.to_bits(); 32], "{policy:?}");
    }
}

#[test]
fn an_accumulator_in_flight_cannot_be_read() {
    for policy in POLICIES {
        let found = race(
            tensor(&format!("{SCALES}{MMA}\n{LOAD}\n{COMMIT}\n{WAIT}"))
                .policy(policy)
                .fail_at("tcgen05.ld"),
        );
        assert_eq!((found.operation, found.now), ("tcgen05.mma", "reads"));
        assert_eq!(found.issued_at.text, MMA);
    }
}

#[test]
fn operands_in_flight_cannot_be_overwritten() {
    let write = "st.shared.u32 [%r6+64], %r0;";
    let found = race(tensor(&format!("{SCALES}{MMA}\n{write}\n{COMMIT}\n{WAIT}")).fail_at(write));
    assert_eq!((found.in_flight, found.operation), ("reads", "tcgen05.mma"));
    tensor(&format!("{SCALES}{MMA}\n{COMMIT}\n{WAIT}{write}")).run();
}

#[test]
fn a_tile_that_is_being_loaded_cannot_be_multiplied() {
    let load = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r5], [%rd0], 256, [%r2+8];";
    let found = race(
        tensor(&format!("{SCALES}@%p31 {load}\n{MMA}\n{COMMIT}\n{WAIT}")).fail_at("tcgen05.mma"),
    );
    assert_eq!((found.now, found.operation), ("reads", "bulk load"));
}

#[test]
fn a_load_keeps_its_columns_until_it_is_waited_for() {
    let reuse = format!("{COMMIT}\n{WAIT}");
    let found = race(tensor(&format!("{SCALES}{LOAD}\n{MMA}\n{reuse}")).fail_at("tcgen05.mma"));
    assert_eq!((found.in_flight, found.operation), ("reads", "tcgen05.ld"));
    tensor(&format!("{SCALES}{LOAD}\n{WAIT_LOAD}\n{MMA}\n{reuse}")).run();
}

#[test]
fn a_store_is_visible_after_its_wait() {
    let out = tensor(&format!(
        "{STORE}\n{WAIT_STORE}\n{LOAD}\n{WAIT_LOAD}\n{SHOW}"
    ))
    .run();
    assert_eq!(out[..32], (0..32).collect::<Vec<u32>>());
    let found = race(tensor(&format!("{STORE}\n{LOAD}\n{WAIT_STORE}")).fail_at("tcgen05.ld"));
    assert_eq!((found.in_flight, found.operation), ("writes", "tcgen05.st"));
    race(tensor(&format!("{STORE}\n{LOAD}\n{WAIT_LOAD}")).fail_at("tcgen05.ld"));
}

/// The halves of a warp's partition are different lanes.
#[test]
fn stores_to_both_halves_of_a_partition_are_independent() {
    tensor(&format!(
        r"
    add.u32 %r31, %r4, 0x100000;
    tcgen05.st.sync.aligned.16x64b.x1.b32 [%r4], {{%r0}};
    tcgen05.st.sync.aligned.16x64b.x1.b32 [%r31], {{%r0}};
    {WAIT_STORE}
"
    ))
    .run();
}

#[test]
fn a_commit_of_another_thread_does_not_wait_for_the_mma() {
    let wrong = "setp.eq.u32 %p2, %r0, 1;\n".to_owned() + &COMMIT.replace("%p31", "%p2");
    let found = race(
        tensor(&format!(
            "{SCALES}{MMA}\n{wrong}\n{WAIT}{LOAD}\n{WAIT_LOAD}"
        ))
        .fail_at("tcgen05.ld"),
    );
    assert_eq!(found.operation, "tcgen05.mma");
}

#[test]
fn fresh_columns_hold_nan() {
    let out = tensor(&format!("{LOAD}\n{WAIT_LOAD}\n{SHOW}")).run();
    assert_eq!(out[..32], [u32::MAX; 32]);
}

#[test]
fn tensor_memory_has_to_be_freed() {
    let kind = program("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r2], 64;").fail();
    assert_eq!(kind, FailureKind::TensorMemoryLeak { columns: 64 });
    let kind = tensor("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %r4, 256;")
        .fail_at("tcgen05.dealloc");
    assert!(matches!(kind, FailureKind::Tensor(_)), "{kind}");
}

#[test]
fn leaving_with_mmas_in_flight() {
    let kind = tensor(&format!("{SCALES}{MMA}")).fail_at("tcgen05.dealloc");
    assert!(matches!(kind, FailureKind::AsyncRace(_)), "{kind}");
}

#[test]
fn columns_outside_of_the_allocation() {
    for instruction in [
        "tcgen05.ld.sync.aligned.32x32b.x2.b32 {%r30, %r31}, [%r40];",
        "tcgen05.st.sync.aligned.32x32b.x2.b32 [%r40], {%r30, %r31};",
        "@%p31 tcgen05.cp.cta_group::1.32x128b.warpx4 [%r40], %rd12;",
        "@%p31 tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16 [%r40], %rd10, %rd11, 0x08200480, [%r20], [%r21], %p30;",
    ] {
        let kind = tensor(&format!("add.u32 %r40, %r4, 255;\n{instruction}")).fail_at(instruction);
        assert!(
            matches!(kind, FailureKind::Tensor(_)),
            "{instruction}: {kind}"
        );
    }
}

/// Both warps want all columns: the second gets them when the first has given them back.
#[test]
fn allocation_waits_for_columns() {
    let out = program(
        r"
    shl.b32 %r10, %r0, 31;
    mov.u32 %r11, %warpid;
    shl.b32 %r11, %r11, 2;
    add.u32 %r11, %r11, %r2;
    tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r11], 512;
    ld.shared.u32 %r12, [%r11];
    nanosleep.u32 1;
    tcgen05.dealloc.cta_group::1.sync.aligned.b32 %r12, 512;
    st.global.u32 [%rd1], %r12;
",
    )
    .block(64)
    .run();
    assert_eq!(out[..64], [0; 64]);
}

#[test]
fn allocation_that_nobody_can_serve_is_a_deadlock() {
    let kind = program(
        r"
    tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r2], 512;
    tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r2], 512;
",
    )
    .fail();
    let FailureKind::Deadlock(report) = kind else {
        panic!("{kind}")
    };
    assert!(
        report
            .to_string()
            .contains("waits for 512 columns of tensor memory; 0 are free"),
        "{report}"
    );
}

/// The first word of D where B's first rows are zeroed around the MMA: half of them counts.
fn around_the_mma(body: &str, asynchrony: &str) -> f32 {
    let mut program = tensor(body);
    // These programs are wrong, and `check` says so whatever the schedule.
    program.launch.options.mode = Mode::Fast;
    program.launch.options.schedule = asynchrony.parse::<Asynchrony>().unwrap().into();
    f32::from_bits(program.run()[0])
}

/// The seeds from 0 to 31 under which `result` comes out of random delays.
fn seeds_with(body: &str, result: f32) -> usize {
    let is_found = |seed: &u64| around_the_mma(body, &format!("random:{seed}")) == result;
    (0..32).filter(is_found).count()
}

#[test]
fn operands_may_be_read_late() {
    let write = "mad.lo.u32 %r31, %r0, 4, %r6;\n st.shared.u32 [%r31], 0;\n bar.warp.sync -1;";
    let body = format!("{SCALES}{MMA}\n{write}\n{COMMIT}\n{WAIT}{LOAD}\n{WAIT_LOAD}\n{SHOW}");
    assert_eq!(around_the_mma(&body, "late"), 32.0);
    assert_eq!(around_the_mma(&body, "early"), 64.0);
    assert!((1..32).contains(&seeds_with(&body, 32.0)));
}

#[test]
fn operands_may_be_read_early() {
    let load = "@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2+8], 128;\n\
        @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r6], [%rd0+1024], 128, [%r2+8];";
    let too_late = WAIT.replace("[%r2]", "[%r2+8]").replace("WAIT", "TOO_LATE");
    let body =
        format!("{SCALES}{load}\n{MMA}\n{COMMIT}\n{WAIT}{too_late}{LOAD}\n{WAIT_LOAD}\n{SHOW}");
    assert_eq!(around_the_mma(&body, "late"), 32.0);
    assert_eq!(around_the_mma(&body, "early"), 64.0);
    assert!((1..32).contains(&seeds_with(&body, 64.0)));
}

/// What a copy in the pipe brings is read behind it, however early the rest is.
#[test]
fn operands_that_the_pipe_brings_are_read_in_order() {
    let body = format!("{SCALES}{MMA}\n{COMMIT}\n{WAIT}{LOAD}\n{WAIT_LOAD}\n{SHOW}");
    assert_eq!(around_the_mma(&body, "early"), 64.0);
}
