//! Each way to schedule shows a bug that the others may hide, and shows it again from its text.

use super::*;
use crate::machine::report::StallReason;

fn program_under(body: &str, schedule: &str) -> Program {
    let mut program = program(body).block(128);
    program.launch.options.schedule = schedule.parse().unwrap();
    // These programs are wrong, and `check` says so whatever the schedule.
    program.launch.options.mode = Mode::Fast;
    program.launch.options.step_limit = 1 << 26;
    program
}

fn run(body: &str, schedule: &str) -> Vec<u32> {
    program_under(body, schedule).run()
}

/// The seeds from 0 to 63 under which the program's first output is not 1. `SEED` stands for the seed.
fn failing_seeds(body: &str, schedule: &str) -> Vec<u64> {
    let fails = |seed: &u64| run(body, &schedule.replace("SEED", &seed.to_string()))[0] != 1;
    (0..64).filter(fails).collect()
}

/// The last warp takes it that the others have stored long before it looks.
fn late_look(writer: u32, delay: u32) -> String {
    format!(
        r"
    st.shared.u32 [%r2], 0;
    bar.sync 0;
    shr.u32 %r10, %r0, 5;
    setp.eq.u32 %p1, %r10, {writer};
    @%p1 st.shared.u32 [%r2], 1;
    setp.ne.u32 %p2, %r10, 3;
    @%p2 bra DONE;
    mov.u32 %r11, 0;
DELAY:
    add.u32 %r11, %r11, 1;
    setp.lt.u32 %p3, %r11, {delay};
    @%p3 bra DELAY;
    ld.shared.u32 %r12, [%r2];
    st.global.u32 [%rd0], %r12;
DONE:
"
    )
}

#[test]
fn a_starved_warp_comes_too_late() {
    for writer in [0, 2] {
        let body = late_look(writer, 400);
        for other in ["round-robin", "starve:warp=1", "starve:warp=3"] {
            assert_eq!(run(&body, other)[0], 1, "{other}");
        }
        assert_eq!(run(&body, &format!("starve:warp={writer}"))[0], 0);
    }
}

/// The last warp to come to the barrier is not stopped by it.
#[test]
fn a_greedy_warp_comes_too_early() {
    assert_eq!(run(&late_look(0, 400), "greedy")[0], 0);
}

#[test]
fn random_turns_find_a_short_race() {
    let body = late_look(0, 8);
    assert_eq!(run(&body, "round-robin")[0], 1);
    let found = failing_seeds(&body, "random:seed=SEED");
    assert!((1..64).contains(&found.len()), "{found:?}");
}

/// Random turns give everybody a share; only priorities hold a warp up for 400 loops.
#[test]
fn random_priorities_find_a_long_race() {
    let body = late_look(0, 400);
    assert!(failing_seeds(&body, "random:seed=SEED").is_empty());
    let found = failing_seeds(&body, "pct:seed=SEED,depth=1");
    assert!((1..64).contains(&found.len()), "{found:?}");
}

/// Warp 0 has to be interrupted between two instructions: without a change point it never is once it runs.
#[test]
fn change_points_interrupt_the_running_warp() {
    let body = r"
    st.shared.u32 [%r2], 0;
    bar.sync 0;
    shr.u32 %r10, %r0, 5;
    setp.gt.u32 %p1, %r10, 1;
    @%p1 exit;
    setp.eq.u32 %p2, %r10, 1;
    @%p2 bra OTHER;
    mov.u32 %r11, 0;
WORK:
    ld.shared.u32 %r12, [%r2];
    add.u32 %r11, %r11, 1;
    setp.lt.u32 %p3, %r11, 50;
    @%p3 bra WORK;
    // Both values are there, or neither is.
    ld.shared.u32 %r13, [%r2];
    setp.eq.u32 %p4, %r12, %r13;
    selp.u32 %r14, 1, 0, %p4;
    st.global.u32 [%rd0], %r14;
    exit;
OTHER:
    st.shared.u32 [%r2], 1;
";
    assert!(failing_seeds(body, "pct:seed=SEED,depth=1").is_empty());
    let found = (0..2000).find(|seed| {
        let schedule = format!("pct:seed={seed},depth=2,steps=256");
        run(body, &schedule)[0] != 1
    });
    assert!(found.is_some());
}

/// Each warp draws 64 tickets; the output is who drew them.
const TICKETS: &str = r"
    st.shared.u32 [%r2], 0;
    bar.sync 0;
    and.b32 %r10, %r0, 31;
    setp.ne.u32 %p1, %r10, 0;
    @%p1 exit;
    mov.u32 %r11, 0;
DRAW:
    atom.shared.add.u32 %r12, [%r2], 1;
    mul.wide.u32 %rd10, %r12, 4;
    add.u64 %rd10, %rd0, %rd10;
    st.global.u32 [%rd10], %r0;
    add.u32 %r11, %r11, 1;
    setp.lt.u32 %p2, %r11, 64;
    @%p2 bra DRAW;
";

/// How often the ticket goes to another warp.
fn handovers(schedule: &str) -> usize {
    let out = run(TICKETS, schedule);
    out[..256]
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .count()
}

#[test]
fn turns_are_as_long_as_the_schedule_says() {
    assert_eq!(handovers("greedy"), 3);
    assert_eq!(handovers("round-robin:quantum=7"), 255);
    let default = handovers("round-robin");
    assert!((20..40).contains(&default), "{default}");
}

#[test]
fn a_seed_is_an_order_of_execution() {
    let order = |schedule: &str| {
        let program = program_under(TICKETS, schedule);
        (program.try_run().unwrap().order, program.output())
    };
    let mut orders = Vec::new();
    for turns in ["random:seed=SEED", "pct:seed=SEED,depth=3,steps=1000"] {
        for seed in 0..8 {
            let schedule = turns.replace("SEED", &seed.to_string());
            let first = order(&schedule);
            assert_eq!(first, order(&schedule), "{schedule}");
            orders.push(first.0);
        }
    }
    orders.sort_unstable();
    orders.dedup();
    assert!(orders.len() >= 14, "{} of 16 orders differ", orders.len());
}

/// Clusters have orders of their own, which more host threads do not change.
#[test]
fn an_order_does_not_depend_on_host_threads() {
    let order = |threads| {
        let mut program = program_under(TICKETS, "random:seed=3/async=random:4/spurious=5");
        program.launch.grid = [6, 1, 1];
        program.launch.options.threads = threads;
        program.try_run().unwrap().order
    };
    assert_eq!(order(1), order(3));
}

/// It waits for the last byte of a copy to appear instead of for its barrier.
const LAST_BYTE: &str = r"
    setp.ne.u32 %p31, %r0, 0;
    @%p31 exit;
    mbarrier.init.shared::cta.b64 [%r2], 1;
    st.global.u32 [%rd0+1024], 1;
    st.global.u32 [%rd0+2044], 1;
    st.shared.u32 [%r2+1024], 0;
    st.shared.u32 [%r2+2044], 0;
    add.u32 %r3, %r2, 1024;
    fence.proxy.async;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 1024;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0+1024], 1024, [%r2];
LOOK:
    nanosleep.u32 100;
    ld.shared.u32 %r10, [%r3+1020];
    setp.eq.u32 %p1, %r10, 0;
    @%p1 bra LOOK;
    ld.shared.u32 %r11, [%r3];
    st.global.u32 [%rd0], %r11;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
";

#[test]
fn copies_land_in_pieces() {
    for whole in ["late", "early"] {
        assert_eq!(run(LAST_BYTE, &format!("round-robin/async={whole}"))[0], 1);
    }
    assert!(failing_seeds(LAST_BYTE, "round-robin/async=random:SEED").is_empty());
    let found = failing_seeds(LAST_BYTE, "round-robin/async=chunked:SEED");
    assert!((1..64).contains(&found.len()), "{found:?}");
}

/// Another warp waits for the last byte of a store to appear.
#[test]
fn stores_land_in_pieces() {
    let body = r"
    setp.ne.u32 %p31, %r1, 0;
    @%p31 exit;
    shr.u32 %r10, %r0, 5;
    setp.gt.u32 %p1, %r10, 1;
    @%p1 exit;
    setp.eq.u32 %p2, %r10, 1;
    @%p2 bra LOOK;
    add.u32 %r3, %r2, 1024;
    st.shared.u32 [%r3], 1;
    st.shared.u32 [%r3+1020], 1;
    fence.proxy.async;
    cp.async.bulk.global.shared::cta.bulk_group [%rd0+1024], [%r3], 1024;
    cp.async.bulk.commit_group;
    cp.async.bulk.wait_group 0;
    exit;
LOOK:
    nanosleep.u32 100;
    ld.global.u32 %r10, [%rd0+2044];
    setp.eq.u32 %p3, %r10, 0;
    @%p3 bra LOOK;
    ld.global.u32 %r11, [%rd0+1024];
    st.global.u32 [%rd0], %r11;
";
    assert!(failing_seeds(body, "round-robin/async=random:SEED").is_empty());
    let found = failing_seeds(body, "round-robin/async=chunked:SEED");
    assert!((1..64).contains(&found.len()), "{found:?}");
}

/// A byte too many is expected of one phase and too few of the next: together they are right.
#[test]
fn pieces_count_at_the_barrier() {
    let body = r"
    setp.ne.u32 %p31, %r0, 0;
    @%p31 exit;
    mbarrier.init.shared::cta.b64 [%r2], 1;
    add.u32 %r3, %r2, 1024;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 512;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0], 1024, [%r2];
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
";
    let result = |schedule: &str| program_under(body, schedule).try_run();
    // All at once, the count goes from 512 to -512.
    let whole = result("round-robin").unwrap_err();
    assert!(matches!(whole.kind, FailureKind::Deadlock(_)), "{whole}");
    let parts: Vec<_> = (0..64)
        .filter_map(|seed| result(&format!("round-robin/async=chunked:{seed}")).err())
        .map(|failure| std::mem::discriminant(&failure.kind))
        .collect();
    assert!(
        parts.iter().any(|kind| *kind != parts[0]),
        "{}",
        parts.len()
    );
}

/// It takes `try_wait` for a wait.
#[test]
fn a_try_wait_may_give_up() {
    let body = r"
    setp.ne.u32 %p31, %r0, 0;
    @%p31 exit;
    mbarrier.init.shared::cta.b64 [%r2], 1;
    st.global.u32 [%rd0+1024], 1;
    st.shared.u32 [%r2+1024], 0;
    add.u32 %r3, %r2, 1024;
    fence.proxy.async;
    mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r2], 16;
    cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0+1024], 16, [%r2];
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    ld.shared.u32 %r11, [%r3];
    st.global.u32 [%rd0], %r11;
WAIT:
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
";
    assert_eq!(run(body, "round-robin")[0], 1);
    let found = failing_seeds(body, "round-robin/spurious=SEED");
    assert!((1..64).contains(&found.len()), "{found:?}");
}

/// A complete phase is never denied.
#[test]
fn a_try_wait_does_not_give_up_on_a_complete_phase() {
    let body = r"
    setp.ne.u32 %p31, %r0, 0;
    @%p31 exit;
    mbarrier.init.shared::cta.b64 [%r2], 1;
    mbarrier.arrive.shared::cta.b64 _, [%r2];
    mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    selp.u32 %r10, 1, 0, %p2;
    st.global.u32 [%rd0], %r10;
";
    assert!(failing_seeds(body, "round-robin/spurious=SEED").is_empty());
}

#[test]
fn exploring_finds_the_first_failing_schedule_and_it_fails_again() {
    let body = late_look(2, 400);
    let judge = |schedule: &Schedule| {
        let mut program = program_under(&body, "round-robin");
        program.launch.options.schedule = *schedule;
        match program.run()[0] {
            1 => Ok(()),
            _ => Err("too late"),
        }
    };
    let failure = explore(1000, 5, judge).into_result().unwrap_err();
    assert!(failure.index > 0);
    let message = failure.to_string();
    let (_, text) = message.split_once("PTX_EMULATOR_SCHEDULE=").unwrap();
    assert_eq!(run(&body, text)[0], 0, "{text}");
    assert!(explore(failure.index, 5, judge).failure.is_none());
}

fn livelock(program: Program) -> Vec<StallReason> {
    let failure = program.try_run().expect_err("nobody ends it");
    let FailureKind::Livelock(report) = failure.kind else {
        panic!("{failure}")
    };
    report
        .groups
        .into_iter()
        .map(|group| group.reason)
        .collect()
}

#[test]
fn polling_a_barrier_for_ever_is_a_livelock() {
    let reasons = livelock(program_under(
        r"
    setp.ne.u32 %p31, %r0, 0;
    @!%p31 mbarrier.init.shared::cta.b64 [%r2], 1;
    bar.sync 0;
WAIT:
    mbarrier.test_wait.parity.shared::cta.b64 %p2, [%r2], 0;
    @!%p2 bra WAIT;
",
        "round-robin",
    ));
    let barrier = StallReason::Mbarrier {
        address: 1024,
        wanted_parity: 0,
        phase: 0,
        pending: 1,
        expected: 1,
        tx: 0,
    };
    assert_eq!(reasons, vec![StallReason::Polling(Box::new(barrier)); 4]);
}

/// Warps 1 and 2 wait for a flag, and warp 0 for a lock; warp 3 does `work`.
fn flags(work: &str) -> String {
    format!(
        r"
    st.shared.u32 [%r2], 1;
    st.shared.u32 [%r2+4], 0;
    bar.sync 0;
    shr.u32 %r10, %r0, 5;
    setp.eq.u32 %p1, %r10, 3;
    @%p1 bra WORK;
    setp.eq.u32 %p2, %r10, 0;
    setp.ne.u32 %p6, %r1, 0;
    @%p2 bra LOCK;
FLAG:
    ld.volatile.shared.u32 %r11, [%r2+4];
    setp.eq.u32 %p3, %r11, 0;
    @%p3 bra FLAG;
    exit;
LOCK:
    @%p6 exit;
LOCKED:
    atom.shared.cas.b32 %r12, [%r2], 0, 1;
    setp.ne.u32 %p4, %r12, 0;
    @%p4 bra LOCKED;
    st.shared.u32 [%r2], 0;
    exit;
WORK:
    mov.u32 %r20, 0;
{work}
"
    )
}

#[test]
fn polling_memory_for_ever_is_a_livelock() {
    for schedule in [
        "round-robin",
        "greedy",
        "random:seed=1",
        "pct:seed=1",
        "starve:warp=1",
    ] {
        let reasons = livelock(program_under(&flags("exit;"), schedule));
        let expected = [1024, 1028, 1028].map(|address| StallReason::PollingMemory { address });
        assert_eq!(reasons, expected, "{schedule}");
    }
}

/// A warp that computes for long and then writes what the others poll for.
#[test]
fn long_work_is_no_livelock() {
    let work = r"
    add.u32 %r20, %r20, 1;
    setp.lt.u32 %p5, %r20, 100000;
    @%p5 bra AGAIN;
    st.shared.u32 [%r2+4], 1;
    st.shared.u32 [%r2], 0;
";
    for schedule in ["round-robin", "random:seed=1"] {
        run(&flags(&format!("AGAIN:{work}")), schedule);
    }
}
