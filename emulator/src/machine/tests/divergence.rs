use super::*;

#[test]
fn both_sides_of_a_branch_run_and_meet_again() {
    let out = program(
        r"
    and.b32 %r10, %r0, 1;
    setp.eq.u32 %p1, %r10, 0;
    @%p1 bra EVEN;
    add.u32 %r11, %r0, 1000;
    bra JOIN;
EVEN:
    add.u32 %r11, %r0, 2000;
JOIN:
    activemask.b32 %r12;
    st.global.u32 [%rd1], %r11;
    st.global.u32 [%rd1+128], %r12;
",
    )
    .run();
    for lane in 0..32 {
        let expected = lane as u32 + if lane % 2 == 0 { 2000 } else { 1000 };
        assert_eq!(out[lane], expected);
        assert_eq!(out[32 + lane], u32::MAX, "lane {lane} did not reconverge");
    }
}

#[test]
fn lanes_that_leave_a_loop_one_by_one_meet_behind_it() {
    let out = program(
        r"
    mov.u32 %r10, 0;
LOOP:
    add.u32 %r10, %r10, 1;
    setp.le.u32 %p1, %r10, %r0;
    @%p1 bra LOOP;
    activemask.b32 %r12;
    st.global.u32 [%rd1], %r10;
    st.global.u32 [%rd1+128], %r12;
",
    )
    .run();
    for lane in 0..32 {
        assert_eq!((out[lane], out[32 + lane]), (lane as u32 + 1, u32::MAX));
    }
}

#[test]
fn nested_branches_meet_inside_out() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 16;
    setp.lt.u32 %p2, %r0, 8;
    @!%p1 bra OUTER;
    @!%p2 bra INNER;
    nanosleep.u32 10;
INNER:
    activemask.b32 %r10;
    st.global.u32 [%rd1], %r10;
OUTER:
    activemask.b32 %r11;
    st.global.u32 [%rd1+128], %r11;
",
    )
    .run();
    assert_eq!(out[..32], [[0xffff; 16], [0; 16]].concat());
    assert_eq!(out[32..64], [u32::MAX; 32]);
}

#[test]
fn a_lane_that_spins_does_not_stop_its_siblings() {
    let out = program(
        r"
    setp.eq.u32 %p1, %r0, 0;
    @%p1 st.shared.u32 [%r2], 0;
    @%p1 bra SPIN;
    setp.eq.u32 %p2, %r0, 1;
    @%p2 st.volatile.shared.u32 [%r2], 7;
    bra DONE;
SPIN:
    ld.volatile.shared.u32 %r10, [%r2];
    setp.ne.u32 %p3, %r10, 7;
    @%p3 bra SPIN;
    st.global.u32 [%rd1], %r10;
DONE:
",
    )
    .run();
    assert_eq!(out[0], 7);
}

#[test]
fn lanes_that_exit_are_not_waited_for() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 4;
    setp.lt.u32 %p2, %r0, 2;
    @!%p1 bra JOIN;
    @%p2 exit;
    nanosleep.u32 10;
JOIN:
    activemask.b32 %r10;
    st.global.u32 [%rd1], %r10;
",
    )
    .run();
    assert_eq!(out[..2], [0; 2]);
    assert_eq!(out[2..32], [0xffff_fffc; 30]);
}

#[test]
fn an_indexed_branch_goes_where_each_lane_says() {
    let out = program(
        r"
    and.b32 %r10, %r0, 3;
TABLE: .branchtargets L0, L1, L2, L3;
    brx.idx %r10, TABLE;
L0: mov.u32 %r11, 10; bra JOIN;
L1: mov.u32 %r11, 11; bra JOIN;
L2: mov.u32 %r11, 12; bra JOIN;
L3: mov.u32 %r11, 13; bra JOIN;
JOIN:
    activemask.b32 %r12;
    st.global.u32 [%rd1], %r11;
    st.global.u32 [%rd1+128], %r12;
",
    )
    .run();
    for lane in 0..32 {
        assert_eq!(
            (out[lane], out[32 + lane]),
            (10 + lane as u32 % 4, u32::MAX)
        );
    }
}

#[test]
fn a_branch_index_beyond_its_list_is_refused() {
    let kind = program(
        r"
TABLE: .branchtargets L0, L1;
    brx.idx %r0, TABLE;
L0: nanosleep.u32 1;
L1:
",
    )
    .fail_at("brx.idx");
    assert!(matches!(kind, FailureKind::IllegalOperand(_)), "{kind}");
}

#[test]
fn part_of_a_warp_must_not_execute_an_aligned_instruction() {
    for instruction in [
        "bar.sync 0;",
        "barrier.sync.aligned 0;",
        "setmaxnreg.dec.sync.aligned.u32 24;",
        "tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%r2], 32;",
        "tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;",
        "tcgen05.wait::ld.sync.aligned;",
    ] {
        let body = format!(
            "setp.lt.u32 %p1, %r0, 5;\n@!%p1 bra JOIN;\n{instruction}\nJOIN:\nnanosleep.u32 1;"
        );
        let kind = program(&body).fail_at(instruction);
        let expected = FailureKind::DivergentAligned {
            found: 0x1f,
            missing: !0x1f,
        };
        assert_eq!(kind, expected, "{instruction}");
    }
}

#[test]
fn lanes_that_exited_are_missing_from_aligned_instructions() {
    let kind = program("setp.lt.u32 %p1, %r0, 5;\n@%p1 exit;\ntcgen05.wait::ld.sync.aligned;")
        .fail_at("tcgen05.wait");
    let expected = FailureKind::DivergentAligned {
        found: !0x1f,
        missing: 0x1f,
    };
    assert_eq!(kind, expected);
}

/// The exiting lanes run after the others have reached the barrier.
#[test]
fn aligned_barriers_wait_for_lanes_about_to_exit() {
    let out = program(
        r"
    setp.ge.u32 %p1, %r0, 5;
    @%p1 bra OUT;
    bar.sync 0;
    mov.u32 %r10, 1;
    st.global.u32 [%rd1], %r10;
OUT:
",
    )
    .run();
    assert_eq!(out.iter().sum::<u32>(), 5);
}

/// Lane 0 waits for warp 1 while the rest of warp 0 has reached the barrier.
#[test]
fn aligned_instructions_wait_for_lanes_that_a_guarded_wait_holds_up() {
    let out = program(
        r"
    setp.eq.u32 %p1, %r0, 0;
    @%p1 mbarrier.init.shared.b64 [%r2], 1;
    bar.sync 0;
    setp.eq.u32 %p3, %r0, 40;
    setp.ge.u32 %p5, %r0, 32;
    @%p1 mbarrier.try_wait.parity.shared.b64 %p4, [%r2], 0;
    @%p5 nanosleep.u32 1;
    @%p5 nanosleep.u32 1;
    @%p5 nanosleep.u32 1;
    @%p3 mbarrier.arrive.shared.b64 _, [%r2];
    bar.sync 0;
    st.global.u32 [%rd1], %r0;
",
    )
    .block(64)
    .run();
    assert!(out[..64].iter().copied().eq(0..64));
}

#[test]
fn lanes_must_not_step_over_an_aligned_barrier() {
    for instruction in [
        "@%p1 bar.sync 0;",
        "@%p1 barrier.cluster.arrive.aligned;",
        "@%p1 tcgen05.wait::ld.sync.aligned;",
    ] {
        let body = format!("setp.lt.u32 %p1, %r0, 5;\n{instruction}\nret;");
        let kind = program(&body).fail_at(instruction);
        let expected = FailureKind::DivergentAligned {
            found: 0x1f,
            missing: !0x1f,
        };
        assert_eq!(kind, expected, "{instruction}");
    }
}

const SCHEDULES: [&str; 5] = [
    "round-robin",
    "greedy",
    "random:seed=1",
    "pct:seed=1",
    "starve:warp=0",
];

fn run_under(body: &str, schedule: &str) -> Vec<u32> {
    let mut program = program(body).block(64);
    program.launch.options.schedule = schedule.parse().unwrap();
    program.run()
}

/// The lane that has the lock gets on while the others of its warp spin: they do not wait for each other behind the loop.
#[test]
fn each_lane_may_take_a_lock() {
    for acquire in [
        "atom.acquire.gpu.global.cas.b32 %r11, [%rd0], 0, 1;",
        "atom.acquire.gpu.global.exch.b32 %r11, [%rd0], 1;",
    ] {
        let body = format!(
            r"
SPIN:
    {acquire}
    setp.ne.u32 %p1, %r11, 0;
    @%p1 bra SPIN;
    ld.volatile.global.u32 %r12, [%rd0+4];
    add.u32 %r12, %r12, 1;
    st.volatile.global.u32 [%rd0+4], %r12;
    atom.release.gpu.global.exch.b32 %r13, [%rd0], 0;
"
        );
        for schedule in SCHEDULES {
            assert_eq!(run_under(&body, schedule)[..2], [0, 64], "{schedule}");
        }
    }
}

/// Lane 0 waits, as `look` says, for what lane 1 does where both would meet again.
fn waits_for_its_neighbour(look: &str, act: &str) -> String {
    format!(
        r"
    st.shared.u32 [%r2+64], 0;
    setp.eq.u32 %p1, %r0, 0;
    @%p1 mbarrier.init.shared::cta.b64 [%r2], 1;
    bar.sync 0;
    @!%p1 bra AFTER;
LOOK:
    {look}
    @!%p2 bra LOOK;
AFTER:
    setp.eq.u32 %p3, %r0, 1;
    @%p3 {act}
    bar.sync 0;
    st.global.u32 [%rd1], %r0;
"
    )
}

#[test]
fn a_lane_may_wait_for_another_of_its_warp() {
    let polls = waits_for_its_neighbour(
        "ld.acquire.cta.shared.u32 %r10, [%r2+64];\n setp.ne.u32 %p2, %r10, 0;",
        "st.release.cta.shared.u32 [%r2+64], 1;",
    );
    let waits = waits_for_its_neighbour(
        "mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r2], 0;",
        "mbarrier.arrive.shared::cta.b64 _, [%r2];",
    );
    let tests = waits.replace("try_wait", "test_wait");
    for body in [polls, waits, tests] {
        for schedule in SCHEDULES {
            let out = run_under(&body, schedule);
            assert!(out[..64].iter().copied().eq(0..64), "{schedule}");
        }
    }
}
