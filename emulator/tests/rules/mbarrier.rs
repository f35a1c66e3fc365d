//! mbarrier objects (PTX ISA §9.7.13.15).

use ptx_emulator::machine::FailureKind;
use ptx_emulator::machine::report::MbarrierMisuse;

use super::program::*;

/// Thread 0 runs `body` with a barrier of `count` at `smem`; what it leaves in `%r10` to `%r17` is the output.
fn alone(count: u32, body: &str) -> Program {
    let show: String = (0..8)
        .map(|i| format!("st.global.u32 [%rd0+{}], %r1{i};\n", 4 * i))
        .collect();
    Program::new(&format!(
        "@!%p31 exit;\nmbarrier.init.shared::cta.b64 [%r1], {count};\n{body}\n{show}"
    ))
}

/// Sets `%r1{index}` to whether the phase of `parity` has completed.
fn test(index: u32, parity: u32) -> String {
    format!(
        "mbarrier.test_wait.parity.shared::cta.b64 %p1, [%r1], {parity};\nselp.u32 %r1{index}, 1, 0, %p1;\n"
    )
}

/// Tokens, counts, bytes and a dropped arrival, over two phases.
pub fn example() -> Program {
    let body = [
        "mbarrier.arrive.shared::cta.b64 %rd10, [%r1], 2;\nmbarrier.pending_count.b64 %r10, %rd10;\n",
        &expect(64),
        ARRIVE,
        &complete(64),
        "mbarrier.test_wait.shared::cta.b64 %p1, [%r1], %rd10;\nselp.u32 %r11, 1, 0, %p1;\n",
        "mbarrier.arrive_drop.shared::cta.b64 _, [%r1];\n",
        "mbarrier.arrive.noComplete.shared::cta.b64 %rd11, [%r1], 1;\n",
        ARRIVE,
        &test(2, 1),
        "mbarrier.inval.shared::cta.b64 [%r1];\n",
    ]
    .concat();
    alone(3, &body)
}

const ARRIVE: &str = "mbarrier.arrive.shared::cta.b64 _, [%r1];\n";

fn expect(bytes: u32) -> String {
    format!("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r1], {bytes};\n")
}

fn complete(bytes: u32) -> String {
    format!("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r1], {bytes};\n")
}

fn misuse(kind: FailureKind) -> MbarrierMisuse {
    match kind {
        FailureKind::Mbarrier { misuse, .. } => misuse,
        _ => panic!("{kind}"),
    }
}

/// The parities 0 and 1 of phases 0, 1 and 2: the current phase's has not completed, the one before has.
#[test]
fn parity_alternates_with_each_phase() {
    let pair = |i: u32| test(2 * i, 0) + &test(2 * i + 1, 1);
    let out = alone(
        1,
        &[
            pair(0),
            ARRIVE.into(),
            pair(1),
            ARRIVE.into(),
            pair(2),
            ARRIVE.into(),
            pair(3),
        ]
        .concat(),
    )
    .run();
    assert_eq!(out[..8], [0, 1, 1, 0, 0, 1, 1, 0]);
}

#[test]
fn a_phase_needs_its_whole_count() {
    let body = (0..3).map(|i| test(i, 0) + ARRIVE).collect::<String>() + &test(3, 0);
    assert_eq!(alone(3, &body).run()[..4], [0, 0, 0, 1]);
}

/// The next phase needs as many arrivals as the one before.
#[test]
fn the_count_is_restored_in_each_phase() {
    let body = format!(
        "{ARRIVE}{ARRIVE}{}{ARRIVE}{}{ARRIVE}{}",
        test(0, 0),
        test(1, 1),
        test(2, 1)
    );
    assert_eq!(alone(2, &body).run()[..3], [1, 0, 1]);
}

#[test]
fn an_arrival_may_count_several_times() {
    let arrive = "mbarrier.arrive.shared::cta.b64 _, [%r1], 3;\n";
    let body = format!("{arrive}{}{ARRIVE}{}", test(0, 0), test(1, 0));
    assert_eq!(alone(4, &body).run()[..2], [0, 1]);
}

#[test]
fn bytes_hold_a_phase_open_when_all_have_arrived() {
    let body = [
        expect(96),
        ARRIVE.into(),
        test(0, 0),
        complete(64),
        test(1, 0),
        complete(32),
        test(2, 0),
    ]
    .concat();
    assert_eq!(alone(1, &body).run()[..3], [0, 0, 1]);
}

#[test]
fn arrivals_hold_a_phase_open_when_all_bytes_are_there() {
    let body = [
        expect(96),
        complete(96),
        test(0, 0),
        ARRIVE.into(),
        test(1, 0),
    ]
    .concat();
    assert_eq!(alone(1, &body).run()[..2], [0, 1]);
}

/// The tx-count is signed: bytes may arrive before anybody expects them.
#[test]
fn bytes_may_come_before_they_are_expected() {
    let body = [
        complete(96),
        test(0, 0),
        expect(96),
        test(1, 0),
        ARRIVE.into(),
        test(2, 0),
    ]
    .concat();
    assert_eq!(alone(1, &body).run()[..3], [0, 0, 1]);
}

/// With the other order, the arrival would complete the phase before its bytes are expected.
#[test]
fn arrive_expect_tx_expects_first() {
    let both = "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 64;\n";
    let body = [both.to_owned(), test(0, 0), complete(64), test(1, 0)].concat();
    assert_eq!(alone(1, &body).run()[..2], [0, 1]);
}

/// Bytes that came first leave nothing to wait for when they are expected after the last arrival.
#[test]
fn expect_tx_completes_a_phase_that_needs_nothing_more() {
    let body = [&complete(64), ARRIVE, &test(0, 0), &expect(64), &test(1, 0)].concat();
    assert_eq!(alone(1, &body).run()[..2], [0, 1]);
}

/// Expecting bytes is no arrival.
#[test]
fn expect_tx_does_not_arrive() {
    let body = [expect(64), complete(64), test(0, 0)].concat();
    assert_eq!(alone(1, &body).run()[0], 0);
}

#[test]
fn dropped_arrivals_are_missing_from_later_phases() {
    let body = [
        "mbarrier.arrive_drop.shared::cta.b64 _, [%r1];\n",
        ARRIVE,
        &test(0, 0),
        ARRIVE,
        &test(1, 1),
    ]
    .concat();
    assert_eq!(alone(2, &body).run()[..2], [1, 1]);
}

/// The tx-count starts at zero in each phase; what an earlier phase counted is gone.
#[test]
fn phases_count_their_own_bytes() {
    let phase = expect(32) + ARRIVE + &complete(32);
    let body = [
        &phase,
        &test(0, 0),
        &phase,
        &test(1, 1),
        ARRIVE,
        &test(2, 0),
    ]
    .map(String::from);
    assert_eq!(alone(1, &body.concat()).run()[..3], [1, 1, 1]);
}

#[test]
fn no_complete_must_not_complete() {
    let arrive = "mbarrier.arrive.noComplete.shared::cta.b64 %rd10, [%r1], 1;\n";
    let body = format!("{arrive}{}{ARRIVE}{}", test(0, 0), test(1, 0));
    assert_eq!(alone(2, &body).run()[..2], [0, 1]);
    let kind = alone(1, arrive).fail_at("noComplete");
    assert_eq!(misuse(kind), MbarrierMisuse::CompletedDespiteNoComplete);
}

#[test]
fn pending_count_reads_what_was_pending_at_the_arrival() {
    let body = r"
    mbarrier.arrive.shared::cta.b64 %rd10, [%r1], 2;
    mbarrier.arrive.shared::cta.b64 %rd11, [%r1];
    mbarrier.pending_count.b64 %r10, %rd10;
    mbarrier.pending_count.b64 %r11, %rd11;
";
    assert_eq!(alone(5, body).run()[..2], [5, 3]);
}

#[test]
fn a_token_tests_the_phase_it_arrived_in() {
    let token = |index: u32| {
        format!(
            "mbarrier.test_wait.shared::cta.b64 %p1, [%r1], %rd10;\nselp.u32 %r1{index}, 1, 0, %p1;\n"
        )
    };
    let arrive = "mbarrier.arrive.shared::cta.b64 %rd10, [%r1];\n";
    let body = format!("{arrive}{}{ARRIVE}{}", token(0), token(1));
    assert_eq!(alone(2, &body).run()[..2], [0, 1]);
    let stale = format!("{arrive}{ARRIVE}{ARRIVE}{ARRIVE}{}", token(0));
    assert_eq!(
        misuse(alone(2, &stale).fail_at("test_wait")),
        MbarrierMisuse::StaleToken {
            phase: 0,
            current: 2
        }
    );
}

#[test]
fn barriers_are_independent() {
    let body = format!(
        "mbarrier.init.shared::cta.b64 [%r1+8], 1;\nmbarrier.arrive.shared::cta.b64 _, [%r1+8];\n{}{}",
        test(0, 0),
        test(1, 0).replace("[%r1]", "[%r1+8]")
    );
    assert_eq!(alone(1, &body).run()[..2], [0, 1]);
}

#[test]
fn an_invalidated_barrier_is_memory_again() {
    let body = "mbarrier.inval.shared::cta.b64 [%r1];\nst.shared.u32 [%r1], 7;\nld.shared.u32 %r10, [%r1];";
    assert_eq!(alone(1, body).run()[0], 7);
    let kind = alone(
        1,
        &format!("mbarrier.inval.shared::cta.b64 [%r1];\n{ARRIVE}"),
    )
    .fail_at("mbarrier.arrive");
    assert_eq!(misuse(kind), MbarrierMisuse::NotInitialised);
    let kind = alone(1, "mbarrier.inval.shared::cta.b64 [%r1+8];").fail_at("mbarrier.inval");
    assert_eq!(misuse(kind), MbarrierMisuse::NotInitialised);
}

#[test]
fn every_instruction_needs_a_live_barrier() {
    for instruction in [
        ARRIVE,
        &expect(16),
        &complete(16),
        &test(0, 0),
        "mbarrier.arrive_drop.shared::cta.b64 _, [%r1];",
        "mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r1], 0;",
    ] {
        let kind = Program::new(instruction).fail_at("mbarrier");
        assert_eq!(
            misuse(kind),
            MbarrierMisuse::NotInitialised,
            "{instruction}"
        );
    }
}

#[test]
fn counts_go_from_1_to_2_to_the_20_less_1() {
    assert_eq!(alone((1 << 20) - 1, &test(0, 0)).run()[0], 0);
    for (instruction, count) in [
        ("mbarrier.init.shared::cta.b64 [%r1+8], 0;", 0),
        ("mbarrier.init.shared::cta.b64 [%r1+8], 1048576;", 1 << 20),
        ("mbarrier.arrive.shared::cta.b64 _, [%r1], 0;", 0),
    ] {
        let kind = alone(1, instruction).fail_at(instruction);
        assert_eq!(misuse(kind), MbarrierMisuse::Count { count });
    }
    // That of a copy is one more.
    let arrive = "cp.async.mbarrier.arrive.shared::cta.b64 [%r1];";
    let kind = alone((1 << 20) - 1, arrive).fail_at(arrive);
    assert_eq!(misuse(kind), MbarrierMisuse::Count { count: 1 << 20 });
}

#[test]
fn more_arrivals_than_pending_are_refused() {
    for arrive in ["arrive", "arrive_drop"] {
        let instruction = format!("mbarrier.{arrive}.shared::cta.b64 _, [%r1], 3;");
        let kind = alone(2, &instruction).fail_at(&instruction);
        assert_eq!(
            misuse(kind),
            MbarrierMisuse::ArrivalUnderflow {
                arrivals: 3,
                pending: 2
            }
        );
    }
}

#[test]
fn the_tx_count_has_21_bits() {
    const MOST: u32 = (1 << 20) - 1;
    alone(1, &[expect(MOST), complete(MOST), complete(MOST)].concat()).run();
    let kind = alone(1, &[expect(MOST), expect(1)].concat()).fail_at("], 1;");
    assert_eq!(
        misuse(kind),
        MbarrierMisuse::TransactionCount { tx: 1 << 20 }
    );
    let kind = alone(1, &[complete(MOST), complete(1)].concat()).fail_at("], 1;");
    assert_eq!(
        misuse(kind),
        MbarrierMisuse::TransactionCount { tx: -(1 << 20) }
    );
}

#[test]
fn a_parity_is_one_bit() {
    let kind = alone(1, &test(0, 2)).fail_at("test_wait");
    assert!(matches!(kind, FailureKind::IllegalOperand(_)), "{kind}");
}

/// Both names of the CTA's own shared memory, and its generic address, lead to the same barrier.
#[test]
fn barriers_have_generic_and_cluster_addresses() {
    let body = [
        "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r1];\n",
        "cvt.u64.u32 %rd10, %r1;\ncvta.shared.u64 %rd10, %rd10;\n",
        "mbarrier.arrive.b64 _, [%rd10];\n",
        &test(0, 0),
    ]
    .concat();
    assert_eq!(alone(2, &body).run()[0], 1);
}

/// The rank of the owning CTA lies in bits 24 and up.
#[test]
fn the_barrier_of_a_cta_that_does_not_exist_is_refused() {
    let body = "add.u32 %r20, %r1, 0x1000000;\nmbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r20];";
    let kind = alone(1, body).fail_at("mbarrier.arrive");
    assert!(
        matches!(kind, FailureKind::NoSuchCta { rank: 1, .. }),
        "{kind}"
    );
}

#[test]
fn barriers_lie_in_shared_memory_aligned_to_8_bytes() {
    let kind = alone(1, "mbarrier.init.shared::cta.b64 [%r1+12], 1;").fail_at("+12");
    assert!(
        matches!(kind, FailureKind::Misaligned { alignment: 8, .. }),
        "{kind}"
    );
    for offset in [SMEM_BYTES as i32, -8] {
        let line = format!("mbarrier.init.shared::cta.b64 [%r1+{offset}], 1;");
        let kind = alone(1, &line).fail_at("mbarrier.init");
        assert!(matches!(kind, FailureKind::OutOfBounds { .. }), "{kind}");
    }
}

/// An instruction arrives once for each lane that executes it.
#[test]
fn each_lane_arrives() {
    let body = format!(
        r"
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 64;
    bar.sync 0;
    mbarrier.arrive.shared::cta.b64 _, [%r1];
    {}
    mul.wide.u32 %rd10, %r0, 4;
    add.u64 %rd10, %rd10, %rd0;
    st.global.u32 [%rd10], 1;
",
        wait(0, 0)
    );
    assert_eq!(Program::new(&body).threads(64).run()[..64], [1; 64]);
    let text = Program::new(&body).fail().to_string();
    assert!(text.contains("32 of 64 arrivals pending"), "{text}");
}
