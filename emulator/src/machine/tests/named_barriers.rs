use super::*;
use crate::machine::report::{BarrierMisuse, ClusterBarrierMisuse};

#[test]
fn a_barrier_orders_writes_before_reads_of_other_warps() {
    let out = program(
        r"
    shl.b32 %r10, %r0, 2;
    add.u32 %r10, %r2, %r10;
    st.shared.u32 [%r10], %r0;
    bar.sync 0;
    xor.b32 %r11, %r0, 96;
    shl.b32 %r11, %r11, 2;
    add.u32 %r11, %r2, %r11;
    ld.shared.u32 %r12, [%r11];
    bar.sync 0;
    st.global.u32 [%rd1], %r12;
",
    )
    .block(128)
    .run();
    let expected: Vec<u32> = (0..128).map(|thread| thread ^ 96).collect();
    assert_eq!(out[..128], expected);
}

/// Warp 0 produces, warp 1 consumes; warps 2 and 3 take no part.
#[test]
fn arrive_does_not_wait_and_sync_does() {
    let out = program(
        r"
    setp.ge.u32 %p1, %r0, 64;
    @%p1 exit;
    setp.ge.u32 %p2, %r0, 32;
    @%p2 bra CONSUME;
    nanosleep.u32 1;
    nanosleep.u32 1;
    st.shared.u32 [%r2], 42;
    bar.arrive 1, 64;
    bra DONE;
CONSUME:
    bar.sync 1, 64;
    ld.shared.u32 %r10, [%r2];
    st.global.u32 [%rd1], %r10;
DONE:
",
    )
    .block(128)
    .run();
    assert_eq!(out[32..64], [42; 32]);
}

#[test]
fn threads_of_a_split_warp_arrive_one_by_one() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 7;
    @%p1 bra FEW;
    barrier.sync 0;
    bra DONE;
FEW:
    nanosleep.u32 1;
    barrier.sync 0;
DONE:
    st.global.u32 [%rd1], %r0;
",
    )
    .block(64)
    .run();
    assert_eq!(out[63], 63);
}

#[test]
fn warps_that_exit_are_not_waited_for() {
    let out = program(
        r"
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra LATE;
    bar.sync 0;
    mov.u32 %r10, 9;
    st.global.u32 [%rd1], %r10;
    ret;
LATE:
    nanosleep.u32 1;
    nanosleep.u32 1;
",
    )
    .block(64)
    .run();
    assert_eq!(out[..64], [[9; 32], [0; 32]].concat());
}

#[test]
fn reductions_reach_every_thread() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 50;
    bar.red.popc.u32 %r10, 0, %p1;
    bar.red.and.pred %p2, 0, %p1;
    bar.red.or.pred %p3, 0, %p1;
    selp.u32 %r11, 1000, 0, %p2;
    selp.u32 %r12, 100, 0, %p3;
    add.u32 %r10, %r10, %r11;
    add.u32 %r10, %r10, %r12;
    st.global.u32 [%rd1], %r10;
",
    )
    .block(96)
    .run();
    assert_eq!(out[..96], [150; 96]);
}

#[test]
fn participants_agree_on_the_thread_count() {
    let kind = program(
        r"
    setp.lt.u32 %p1, %r0, 32;
    @%p1 bra FIRST;
    nanosleep.u32 1;
    bar.sync 2, 64;
    bra DONE;
FIRST:
    bar.sync 2, 96;
DONE:
",
    )
    .block(128)
    .fail_at("bar.sync 2, 64");
    let misuse = BarrierMisuse::DifferentCounts {
        found: 64,
        expected: 96,
    };
    assert_eq!(kind, FailureKind::Barrier { id: 2, misuse });
}

#[test]
fn a_barrier_that_nobody_else_reaches_is_a_deadlock() {
    let kind = program(
        "setp.lt.u32 %p1, %r0, 32;\n@!%p1 bra DONE;\nbar.sync 3, 64;\nDONE:\nnanosleep.u32 1;",
    )
    .block(64)
    .fail();
    let FailureKind::Deadlock(report) = kind else {
        panic!("{kind}")
    };
    assert!(
        report
            .to_string()
            .contains("waits at barrier 3: 32 of 64 threads arrived"),
        "{report}"
    );
}

#[test]
fn the_cluster_barrier_orders_all_warps() {
    let out = program(
        r"
    mov.u32 %r20, 0;
AGAIN:
    shl.b32 %r10, %r0, 2;
    add.u32 %r10, %r2, %r10;
    add.u32 %r13, %r0, %r20;
    st.shared.u32 [%r10], %r13;
    barrier.cluster.arrive.release.aligned;
    barrier.cluster.wait.acquire.aligned;
    xor.b32 %r11, %r0, 96;
    shl.b32 %r11, %r11, 2;
    add.u32 %r11, %r2, %r11;
    ld.shared.u32 %r12, [%r11];
    barrier.cluster.arrive;
    barrier.cluster.wait;
    add.u32 %r20, %r20, 1;
    setp.lt.u32 %p1, %r20, 3;
    @%p1 bra AGAIN;
    st.global.u32 [%rd1], %r12;
",
    )
    .block(128)
    .run();
    let expected: Vec<u32> = (0..128).map(|thread| 2 + (thread ^ 96)).collect();
    assert_eq!(out[..128], expected);
}

#[test]
fn the_cluster_barrier_does_not_wait_for_threads_that_exited() {
    let out = program(
        r"
    setp.ge.u32 %p1, %r0, 32;
    @%p1 bra LATE;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    st.global.u32 [%rd1], 9;
    bra DONE;
LATE:
    nanosleep.u32 1;
    nanosleep.u32 1;
DONE:
",
    )
    .block(64)
    .run();
    assert_eq!(out[..64], [[9; 32], [0; 32]].concat());
}

#[test]
fn arrive_and_wait_alternate() {
    let kind = program("barrier.cluster.wait;").fail_at("barrier.cluster.wait");
    assert_eq!(
        kind,
        FailureKind::ClusterBarrier(ClusterBarrierMisuse::NotArrived)
    );
    let kind = program("barrier.cluster.arrive;\nbarrier.cluster.arrive.relaxed;")
        .fail_at("barrier.cluster.arrive.relaxed");
    assert_eq!(
        kind,
        FailureKind::ClusterBarrier(ClusterBarrierMisuse::ArrivedTwice)
    );
}
