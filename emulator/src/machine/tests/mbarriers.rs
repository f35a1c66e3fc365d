use super::*;
use crate::machine::report::{MbarrierMisuse, StallReason};

/// Thread 0 initialises a barrier of `count` at the start of shared memory.
fn with_barrier(count: u32, body: &str) -> Program {
    program(&format!(
        r"
    setp.eq.u32 %p31, %r0, 0;
    @%p31 mbarrier.init.shared::cta.b64 [%r2], {count};
    bar.sync 0;
{body}
"
    ))
}

fn misuse(kind: FailureKind) -> MbarrierMisuse {
    match kind {
        FailureKind::Mbarrier { misuse, .. } => misuse,
        _ => panic!("{kind}"),
    }
}

#[test]
fn a_fresh_barrier_blocks_parity_0_and_passes_parity_1() {
    let out = with_barrier(
        1,
        r"
    mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r2], 0;
    mbarrier.test_wait.parity.shared::cta.b64 %p2, [%r2], 1;
    selp.u32 %r10, 1, 0, %p1;
    selp.u32 %r11, 1, 0, %p2;
    st.global.u32 [%rd1], %r10;
    st.global.u32 [%rd1+128], %r11;
",
    )
    .run();
    assert_eq!(out[..64], [[0; 32], [1; 32]].concat());
}

/// A ring of one slot between warp 0 and warp 1: each value is written only after the one before was read.
#[test]
fn phases_carry_a_producer_and_a_consumer() {
    let out = program(
        r"
    setp.eq.u32 %p31, %r0, 0;
    @%p31 mbarrier.init.shared::cta.b64 [%r2], 32;
    @%p31 mbarrier.init.shared::cta.b64 [%r2+8], 32;
    bar.sync 0;
    mov.u32 %r10, 0;
    mov.u32 %r11, 0;
    shl.b32 %r12, %r1, 2;
    add.u32 %r12, %r12, %r2;
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra CONSUMER;
PRODUCER:
    and.b32 %r13, %r10, 1;
    xor.b32 %r13, %r13, 1;
WAIT_EMPTY:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2+8], %r13;
    @!%p2 bra WAIT_EMPTY;
    st.shared.u32 [%r12+64], %r10;
    mbarrier.arrive.shared::cta.b64 _, [%r2];
    add.u32 %r10, %r10, 1;
    setp.lt.u32 %p3, %r10, 10;
    @%p3 bra PRODUCER;
    bra DONE;
CONSUMER:
    and.b32 %r13, %r10, 1;
WAIT_FULL:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], %r13;
    @!%p2 bra WAIT_FULL;
    ld.shared.u32 %r14, [%r12+64];
    shl.b32 %r11, %r11, 1;
    add.u32 %r11, %r11, %r14;
    mbarrier.arrive.shared::cta.b64 _, [%r2+8];
    add.u32 %r10, %r10, 1;
    setp.lt.u32 %p3, %r10, 10;
    @%p3 bra CONSUMER;
    st.global.u32 [%rd1], %r11;
DONE:
",
    )
    .block(64)
    .run();
    let expected = (0..10).fold(0, |sum, value| 2 * sum + value);
    assert_eq!(out[32..64], [expected; 32]);
}

#[test]
fn a_waiter_wakes_when_bytes_and_arrivals_are_there() {
    let out = with_barrier(
        1,
        r"
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra WAIT;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 64;
    nanosleep.u32 1;
    @%p31 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r2], 64;
    bra DONE;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    selp.u32 %r10, 5, 6, %p2;
    st.global.u32 [%rd1], %r10;
DONE:
",
    )
    .block(64)
    .run();
    assert_eq!(out[32..64], [5; 32]);
}

#[test]
fn tokens() {
    let out = with_barrier(
        32,
        r"
    mbarrier.arrive.shared::cta.b64 %rd10, [%r2];
WAIT:
    mbarrier.try_wait.shared::cta.b64 %p1, [%r2], %rd10;
    @!%p1 bra WAIT;
    mbarrier.pending_count.b64 %r10, %rd10;
    st.global.u32 [%rd1], %r10;
",
    )
    .run();
    let expected: Vec<u32> = (1..=32).rev().collect();
    assert_eq!(
        out[..32],
        expected,
        "each lane finds one arrival fewer pending"
    );
}

#[test]
fn use_before_init() {
    let kind = program("mbarrier.arrive.shared::cta.b64 _, [%r2];").fail_at("mbarrier.arrive");
    assert_eq!(misuse(kind), MbarrierMisuse::NotInitialised);
}

#[test]
fn init_of_a_live_barrier() {
    let kind = with_barrier(1, "@%p31 mbarrier.init.shared::cta.b64 [%r2], 2;")
        .fail_at("mbarrier.init.shared::cta.b64 [%r2], 2");
    assert_eq!(misuse(kind), MbarrierMisuse::InitialisedTwice);
    with_barrier(
        1,
        "@%p31 mbarrier.inval.shared::cta.b64 [%r2];\n@%p31 mbarrier.init.shared::cta.b64 [%r2], 2;",
    )
    .run();
}

#[test]
fn ordinary_accesses_to_a_live_barrier() {
    for instruction in [
        "st.shared.u32 [%r2+4], %r0;",
        "ld.shared.u32 %r10, [%r2];",
        "atom.shared.add.u32 %r10, [%r2], 1;",
    ] {
        let kind = with_barrier(1, instruction).fail_at(instruction);
        let found = misuse(kind);
        assert!(
            matches!(found, MbarrierMisuse::OrdinaryAccess { bytes: 4, .. }),
            "{found}"
        );
    }
}

#[test]
fn counts_out_of_range() {
    for count in ["0", "1048576"] {
        let kind = program(&format!("mbarrier.init.shared::cta.b64 [%r2], {count};"))
            .fail_at("mbarrier.init");
        assert!(matches!(misuse(kind), MbarrierMisuse::Count { .. }));
    }
}

#[test]
fn more_arrivals_than_pending() {
    let kind =
        with_barrier(40, "mbarrier.arrive.shared::cta.b64 _, [%r2], 3;").fail_at("mbarrier.arrive");
    let expected = MbarrierMisuse::ArrivalUnderflow {
        arrivals: 3,
        pending: 1,
    };
    assert_eq!(misuse(kind), expected);
}

#[test]
fn a_tx_count_out_of_range() {
    let kind = with_barrier(
        1,
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r2], 1000000;",
    )
    .fail_at("mbarrier.expect_tx");
    assert_eq!(
        misuse(kind),
        MbarrierMisuse::TransactionCount { tx: 2_000_000 }
    );
}

#[test]
fn a_misaligned_barrier() {
    let kind = program("mbarrier.init.shared::cta.b64 [%r2+4], 1;").fail_at("mbarrier.init");
    assert!(
        matches!(kind, FailureKind::Misaligned { alignment: 8, .. }),
        "{kind}"
    );
}

#[test]
fn a_deadlock_names_the_warp_its_line_and_the_barrier() {
    let failure = with_barrier(
        2,
        r"
    setp.lt.u32 %p1, %r0, 32;
    @!%p1 bra DONE;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 96;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
DONE:
",
    )
    .block(64)
    .try_run()
    .expect_err("nobody completes the phase");
    let FailureKind::Deadlock(report) = &failure.kind else {
        panic!("{failure}")
    };
    let [group] = &report.groups[..] else {
        panic!("{failure}")
    };
    assert_eq!((group.warp, group.lanes), (0, u32::MAX));
    assert!(group.source.text.starts_with("mbarrier.try_wait"));
    assert_eq!(
        group.reason,
        StallReason::Mbarrier {
            address: 1024,
            wanted_parity: 0,
            phase: 0,
            pending: 1,
            expected: 2,
            tx: 96
        }
    );
    let text = failure.to_string();
    assert!(
        text.contains(
            "warp 0 (all lanes) waits for parity 0 of mbarrier 0x400: phase 0, 1 of 2 arrivals pending, tx-count 96"
        ),
        "{text}"
    );
    assert_eq!(failure.class(), FailureClass::Timeout);
}

#[test]
fn polling_for_ever_is_a_hang() {
    let mut program = with_barrier(
        1,
        r"
WAIT:
    mbarrier.test_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
",
    );
    program.launch.options.step_limit = 10_000;
    let kind = program.fail();
    let FailureKind::Hang(report) = kind else {
        panic!("{kind}")
    };
    assert!(report.steps >= 10_000);
    let reason = &report.groups[0].reason;
    assert!(matches!(reason, StallReason::Polling(_)), "{reason}");
}
