use super::*;
use crate::machine::report::AsyncRace;
use crate::tma::{
    DataType, Interleave, L2Promotion, OutOfBoundsFill, Swizzle, TensorMap, TiledDescription,
};

/// Lane 0 goes on with a barrier of count 1 at `%r2`; a tile of 256 bytes at `%r3`; `out` holds its
/// own indices.
fn one_thread(body: &str) -> Program {
    let program = program(&format!(
        r"
    setp.ne.u32 %p31, %r0, 0;
    @%p31 exit;
    mbarrier.init.shared::cta.b64 [%r2], 1;
    mbarrier.init.shared::cta.b64 [%r2+8], 1;
    fence.mbarrier_init.release.cluster;
    add.u32 %r3, %r2, 1024;
{body}
"
    ));
    let words: Vec<u8> = (0..WORDS as u32).flat_map(u32::to_le_bytes).collect();
    program.device.memory.write(program.out, &words).unwrap();
    program
}

const LOAD: &str = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0+1024], 256, [%r2];";
const LOAD_AGAIN: &str = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3+240], [%rd0+2048], 16, [%r2+8];";
const EXPECT: &str = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 256;";
const WAIT: &str = r"
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2], 0;
    @!%p1 bra WAIT;
";
const STORE: &str = "cp.async.bulk.global.shared::cta.bulk_group [%rd0+4096], [%r3], 256;";

fn race(kind: FailureKind) -> AsyncRace {
    match kind {
        FailureKind::AsyncRace(race) => *race,
        _ => panic!("{kind}"),
    }
}

#[test]
fn a_bulk_load_is_there_after_the_wait() {
    for policy in POLICIES {
        for order in [[EXPECT, LOAD], [LOAD, EXPECT]] {
            let [first, second] = order;
            let program = one_thread(&format!(
                "{first}\n{second}\n{WAIT}\nld.shared.u32 %r10, [%r3+252];\nst.global.u32 [%rd0], %r10;"
            ));
            let program = program.policy(policy);
            assert_eq!(program.run()[0], 256 + 63, "{policy:?}, {order:?}");
        }
    }
}

/// Warp 0 issues a copy, then warp 1 another: whether the first is there when the second is.
fn older_is_there(policy: Asynchrony) -> bool {
    let body = r"
    and.b32 %r10, %r0, 31;
    setp.ne.u32 %p31, %r10, 0;
    @%p31 exit;
    setp.ge.u32 %p31, %r0, 64;
    @%p31 exit;
    add.u32 %r3, %r2, 1024;
    setp.ne.u32 %p2, %r0, 0;
    @%p2 bra SECOND;
    mbarrier.init.shared::cta.b64 [%r2], 1;
    mbarrier.init.shared::cta.b64 [%r2+8], 1;
    fence.mbarrier_init.release.cluster;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 256;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0+1024], 256, [%r2];
SECOND:
    barrier.cta.sync 1, 64;
    @!%p2 bra WAIT;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2+8], 16;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3+256], [%rd0+2048], 16, [%r2+8];
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2+8], 0;
    @!%p1 bra WAIT;
    @!%p2 bra FIRST;
    mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r2], 0;
    selp.u32 %r10, 1, 2, %p1;
    st.global.u32 [%rd0], %r10;
FIRST:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r2], 0;
    @!%p1 bra FIRST;
";
    match program(body).block(64).policy(policy).run()[0] {
        1 => true,
        2 => false,
        other => panic!("{other}"),
    }
}

#[test]
fn memory_can_be_slowest_for_one_warp() {
    assert!(!older_is_there(Asynchrony::Late));
    assert!(!older_is_there(Asynchrony::SlowMemory { warp: 0 }));
    assert!(older_is_there(Asynchrony::SlowMemory { warp: 1 }));
    assert!(older_is_there(Asynchrony::SlowMemory { warp: 2 }));
}

#[test]
fn nothing_has_happened_at_issue() {
    for policy in POLICIES {
        let out = one_thread(&format!(
            r"
    {EXPECT}
    {LOAD}
    mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r2], 0;
    selp.u32 %r10, 1, 0, %p1;
    st.global.u32 [%rd0], %r10;
    {WAIT}
"
        ))
        .policy(policy)
        .run();
        assert_eq!(out[0], 0, "{policy:?}");
    }
}

/// A loop of `test_wait` never blocks; the copy has to complete nevertheless.
#[test]
fn polling_does_not_starve_copies() {
    for policy in POLICIES {
        one_thread(&format!(
            "{EXPECT}\n{LOAD}\n{}",
            WAIT.replace("try_wait", "test_wait")
        ))
        .policy(policy)
        .run();
    }
}

#[test]
fn a_tile_in_flight_cannot_be_touched() {
    let accesses = [
        ("ld.shared.u32 %r10, [%r3+252];", "reads"),
        ("st.shared.u32 [%r3], %r10;", "writes"),
        ("atom.shared.add.u32 %r10, [%r3], 1;", "writes"),
        (LOAD_AGAIN, "writes"),
        (STORE, "reads"),
    ];
    for (access, now) in accesses {
        for policy in POLICIES {
            let program = one_thread(&format!("{EXPECT}\n{LOAD}\n{access}\n{WAIT}")).policy(policy);
            let race = race(program.fail_at(access));
            assert_eq!((race.now, race.in_flight), (now, "writes"), "{policy:?}");
            assert_eq!(race.operation, "bulk load");
            assert_eq!(race.issued_at.text, LOAD, "{policy:?}");
        }
    }
    one_thread(&format!(
        "{EXPECT}\n{LOAD}\nst.shared.u32 [%r3+256], %r10;\n{WAIT}"
    ))
    .run();
}

#[test]
fn a_race_is_reported_with_both_instructions() {
    let failure = one_thread(&format!(
        "{EXPECT}\n{LOAD}\nld.shared.u32 %r10, [%r3+252];\n{WAIT}"
    ))
    .try_run()
    .expect_err("the tile is in flight");
    let text = failure.to_string();
    // The line that tells what lives there names an address of this run.
    let is_place = |line: &&str| line.starts_with("  there: ");
    let expected = format!(
        "kernel `kernel`: this instruction reads bytes of shared memory 0x8fc..0x900, which a bulk load in flight \
         still writes; wait for its completion first\n  \
         at CTA (0, 0, 0), warp 0, lane 0\n    \
         line 28: ld.shared.u32 %r10, [%r3+252];\n  \
         in flight: bulk load, issued by warp 0\n    \
         line 27: {LOAD}"
    );
    let others: Vec<_> = text.lines().filter(|line| !is_place(line)).collect();
    assert_eq!(others.join("\n"), expected);
    let place = text.lines().find(is_place).expect("what lives there");
    assert!(
        place.starts_with(
            "  there: shared 0x8fc..0x900 of CTA (0, 0, 0): `smem` + 0x4fc; 0x800..0x900 last copied from memory at 0x"
        ) && place.ends_with(&format!("by warp 0, line 27: {LOAD}")),
        "{place}"
    );
    assert_eq!(failure.class(), FailureClass::LaunchFailed);
}

#[test]
fn the_source_of_a_store_may_be_read_but_not_written() {
    let rest = "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;";
    one_thread(&format!("{STORE}\nld.shared.u32 %r10, [%r3];\n{rest}")).run();
    let write = "st.shared.u32 [%r3+128], %r10;";
    let found = race(one_thread(&format!("{STORE}\n{write}\n{rest}")).fail_at(write));
    assert_eq!((found.now, found.in_flight), ("writes", "reads"));
    one_thread(&format!("{STORE}\n{rest}\n{write}")).run();
}

#[test]
fn stores_arrive_by_their_group() {
    for policy in POLICIES {
        let out = one_thread(&format!(
            r"
    mov.u32 %r10, 0xabcd;
    st.shared.u32 [%r3], %r10;
    fence.proxy.async;
    {STORE}
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group 0;
    ld.global.u32 %r11, [%rd0+4096];
    st.global.u32 [%rd0], %r11;
"
        ))
        .policy(policy)
        .run();
        assert_eq!(out[0], 0xabcd, "{policy:?}");
    }
}

#[test]
fn leaving_with_copies_in_flight() {
    let kind = one_thread(&format!("{EXPECT}\n{LOAD}")).fail();
    assert!(
        matches!(&kind, FailureKind::OutstandingAtExit { operations } if operations.len() == 1),
        "{kind}"
    );
    let kind = one_thread(&format!("{STORE}\ncp.async.bulk.commit_group;")).fail();
    assert!(
        matches!(kind, FailureKind::OutstandingAtExit { .. }),
        "{kind}"
    );
}

#[test]
fn bytes_that_nobody_sends_are_a_deadlock() {
    let wrong = EXPECT.replace("256", "272");
    let kind = one_thread(&format!("{wrong}\n{LOAD}\n{WAIT}")).fail();
    let FailureKind::Deadlock(report) = kind else {
        panic!("{kind}")
    };
    assert!(report.to_string().contains("tx-count 16"), "{report}");
    assert!(report.in_flight.is_empty());
}

#[test]
fn a_barrier_has_to_be_live_when_the_copy_is_issued() {
    let kind = one_thread(&LOAD.replace("[%r2]", "[%r2+16]")).fail_at("cp.async.bulk");
    assert!(matches!(kind, FailureKind::Mbarrier { .. }), "{kind}");
}

#[test]
fn copies_must_not_cover_a_live_barrier() {
    let kind = one_thread(&LOAD.replace("[%r3]", "[%r2+0]")).fail_at("cp.async.bulk");
    assert!(matches!(kind, FailureKind::Mbarrier { .. }), "{kind}");
}

#[test]
fn copies_out_of_bounds_or_misaligned() {
    for (from, to) in [
        ("[%r3]", "[%r3+31744]"),
        ("[%r3]", "[%r3+8]"),
        ("1024]", "8192]"),
        ("1024]", "1028]"),
        ("256,", "250,"),
    ] {
        let instruction = LOAD.replace(from, to);
        assert_ne!(instruction, LOAD);
        let kind = one_thread(&instruction).fail_at("cp.async.bulk");
        let expected = matches!(
            kind,
            FailureKind::OutOfBounds { .. }
                | FailureKind::Misaligned { .. }
                | FailureKind::Global(_)
                | FailureKind::Tma(_)
        );
        assert!(expected, "{instruction}: {kind}");
    }
}

/// Two loads to one barrier, which expects the bytes of one only: whichever completes, the other
/// may not have.
#[test]
fn loads_are_unordered_so_a_barrier_has_to_expect_all_of_them() {
    let second = LOAD.replace("[%r3]", "[%r3+1024]");
    let program = one_thread(&format!(
        "{EXPECT}\n{LOAD}\n{second}\n{WAIT}\nld.shared.u32 %r10, [%r3];"
    ));
    let found = race(program.fail_at("ld.shared.u32 %r10"));
    assert_eq!(found.issued_at.text, LOAD);
}

#[test]
fn tma_loads_a_box_and_credits_it_whole() {
    let program = one_thread(&format!(
        r"
    add.u64 %rd10, %rd0, 4096;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 512;
    cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd10, {{8, 3}}], [%r2];
{WAIT}
    ld.shared.u32 %r10, [%r3];
    ld.shared.u32 %r11, [%r3+292];
    ld.shared.u32 %r12, [%r3+256];
    st.global.v2.u32 [%rd0], {{%r10, %r11}};
    st.global.u32 [%rd0+8], %r12;
"
    ));
    // 6 rows of 32 words; the box takes 16 × 8 of them from (8, 3), so that its last rows lie
    // outside.
    let map = TensorMap::encode_tiled(&TiledDescription {
        data_type: DataType::Uint32,
        global_address: program.out,
        global_dims: &[32, 6],
        global_strides: &[128],
        box_dims: &[16, 8],
        element_strides: &[1, 1],
        interleave: Interleave::None,
        swizzle: Swizzle::None,
        l2_promotion: L2Promotion::None,
        out_of_bounds: OutOfBoundsFill::Zero,
    })
    .unwrap();
    let at = program.out + 4096;
    program.device.memory.write(at, &map.to_bytes()).unwrap();
    for policy in POLICIES {
        program.device.memory.fill(program.out, &[7], 16).unwrap();
        let mut launch = program.launch.clone();
        launch.options.schedule.asynchrony = policy;
        let report = program
            .device
            .launch(&launch)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.tma_bytes, 512);
        let inside = 3 * 32 + 8;
        assert_eq!(program.output()[..3], [inside, 0, 0], "{policy:?}");
    }
}

#[test]
fn a_trampled_tensor_map_is_refused() {
    let kind = one_thread(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0, {0, 0}], [%r2];",
    )
    .fail_at("cp.async.bulk.tensor");
    assert!(matches!(kind, FailureKind::Tma(_)), "{kind}");
}

/// A loop that never waits must not pile up work without end.
#[test]
fn operations_in_flight_are_bounded() {
    let failure = program(
        r"
    mov.u32 %r10, 0;
LOOP:
    cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%rd0], [%r2], 64;
    add.u32 %r10, %r10, 1;
    setp.lt.u32 %p1, %r10, 500;
    @%p1 bra LOOP;
",
    )
    .try_run()
    .expect_err("nobody waits for the copies");
    let FailureKind::OutstandingAtExit { operations } = &failure.kind else {
        panic!("{failure}")
    };
    assert!(operations.len() < 4096, "{}", operations.len());
    let text = failure.to_string();
    assert!(text.contains("more") && text.lines().count() < 40, "{text}");
}

/// Lanes that wait for different barriers poll; where nobody does anything else, what they wait for comes soon.
#[test]
fn polling_does_not_hold_operations_up() {
    const COPIES: u32 = 40;
    let program = program(&format!(
        r"
    setp.eq.u32 %p31, %r0, 0;
    @%p31 mbarrier.init.shared::cta.b64 [%r2], 1;
    @%p31 mbarrier.init.shared::cta.b64 [%r2+8], 1;
    fence.mbarrier_init.release.cluster;
    bar.sync 0;
    and.b32 %r3, %r1, 1;
    mad.lo.u32 %r3, %r3, 8, %r2;
    mov.u32 %r4, 0;
NEXT:
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 16;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2+8], 16;
    @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2+1024], [%rd0], 16, [%r2];
    @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2+1040], [%rd0], 16, [%r2+8];
    and.b32 %r5, %r4, 1;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r3], %r5;
    @!%p1 bra WAIT;
    bar.warp.sync -1;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p2, %r4, {COPIES};
    @%p2 bra NEXT;
"
    ));
    let report = program.policy(Asynchrony::Late).try_run().unwrap();
    let most = u64::from(COPIES) * 400;
    assert!(report.warp_instructions < most, "{report:?}");
}
