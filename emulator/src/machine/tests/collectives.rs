use super::*;

#[test]
fn shuffles() {
    let out = program(
        r"
    add.u32 %r10, %r0, 100;
    shfl.sync.up.b32   %r11|%p1, %r10, 1, 0, -1;
    shfl.sync.down.b32 %r12|%p2, %r10, 2, 31, -1;
    shfl.sync.bfly.b32 %r13|%p3, %r10, 16, 31, -1;
    shfl.sync.idx.b32  %r14|%p4, %r10, 3, 0x181f, -1;
    selp.u32 %r15, 1, 0, %p1;
    selp.u32 %r16, 2, 0, %p2;
    add.u32 %r15, %r15, %r16;
    st.global.u32 [%rd1], %r11;
    st.global.u32 [%rd1+128], %r12;
    st.global.u32 [%rd1+256], %r13;
    st.global.u32 [%rd1+384], %r14;
    st.global.u32 [%rd1+512], %r15;
",
    )
    .run();
    for lane in 0..32u32 {
        let at = |row: usize| out[32 * row + lane as usize];
        assert_eq!(at(0), 100 + lane.saturating_sub(1));
        assert_eq!(at(1), 100 + if lane < 30 { lane + 2 } else { lane });
        assert_eq!(at(2), 100 + (lane ^ 16));
        assert_eq!(at(3), 100 + (lane / 8 * 8) + 3, "segments of 8 lanes");
        assert_eq!(at(4), u32::from(lane > 0) + 2 * u32::from(lane < 30));
    }
}

#[test]
fn votes_matches_and_reductions() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 5;
    vote.sync.ballot.b32 %r10, %p1, -1;
    vote.sync.any.pred %p2, %p1, -1;
    vote.sync.all.pred %p3, %p1, -1;
    shr.u32 %r11, %r0, 3;
    match.any.sync.b32 %r12, %r11, -1;
    redux.sync.add.u32 %r13, %r0, -1;
    sub.s32 %r14, %r0, 16;
    redux.sync.min.s32 %r15, %r14, -1;
    selp.u32 %r16, 1, 0, %p2;
    selp.u32 %r17, 2, 0, %p3;
    add.u32 %r16, %r16, %r17;
    st.global.u32 [%rd1], %r10;
    st.global.u32 [%rd1+128], %r12;
    st.global.u32 [%rd1+256], %r13;
    st.global.u32 [%rd1+384], %r15;
    st.global.u32 [%rd1+512], %r16;
",
    )
    .run();
    for lane in 0..32usize {
        assert_eq!(out[lane], 0x1f);
        assert_eq!(out[32 + lane], 0xff << (lane / 8 * 8));
        assert_eq!(out[64 + lane], 496);
        assert_eq!(out[96 + lane], (-16i32) as u32);
        assert_eq!(out[128 + lane], 1);
    }
}

#[test]
fn the_lowest_member_is_elected() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 3;
    @%p1 bra DONE;
    elect.sync %r10|%p2, 0xfffffff8;
    selp.u32 %r11, 1, 2, %p2;
    st.global.u32 [%rd1], %r11;
    st.global.u32 [%rd1+128], %r10;
DONE:
",
    )
    .run();
    assert_eq!(out[..5], [0, 0, 0, 1, 2]);
    assert_eq!(out[35..64], [3; 29]);
}

/// Even lanes come to the shuffle from two places, and the first branch's sides meet only behind
/// it.
#[test]
fn members_wait_for_each_other() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 16;
    and.b32 %r9, %r0, 1;
    setp.eq.u32 %p2, %r9, 1;
    mov.u32 %r10, %r0;
    @%p1 bra LOW;
    add.u32 %r10, %r10, 1000;
    nanosleep.u32 1;
    nanosleep.u32 1;
    @%p2 bra ODD;
    bra EVEN;
LOW:
    @%p2 bra ODD;
EVEN:
    shfl.sync.bfly.b32 %r11, %r10, 16, 31, 0x55555555;
    activemask.b32 %r12;
    st.global.u32 [%rd1], %r11;
    st.global.u32 [%rd1+128], %r12;
    bra DONE;
ODD:
    nanosleep.u32 1;
DONE:
    activemask.b32 %r12;
    st.global.u32 [%rd1+256], %r12;
",
    )
    .run();
    assert_eq!((out[0], out[16]), (1016, 0));
    assert_eq!(out[32], 0x5555_5555, "released members go on together");
    assert_eq!(out[64..96], [u32::MAX; 32]);
}

#[test]
fn only_members_may_take_part() {
    let kind = program("shfl.sync.idx.b32 %r10, %r0, 0, 31, 0xffff;").fail_at("shfl.sync");
    let expected = FailureKind::NotAMember {
        lanes: 0xffff_0000,
        members: 0xffff,
    };
    assert_eq!(kind, expected);
}

#[test]
fn reductions_of_f32() {
    // Lane 3 has a NaN, lane 4 -100, the others their number.
    let out = program(
        r"
    cvt.rn.f32.u32 %f0, %r0;
    setp.eq.u32 %p1, %r0, 3;
    @%p1 mov.b32 %f0, 0xffc00001;
    setp.eq.u32 %p1, %r0, 4;
    @%p1 mov.f32 %f0, -100.0;
    redux.sync.min.f32 %f1, %f0, -1;
    redux.sync.max.abs.f32 %f2, %f0, -1;
    redux.sync.max.NaN.f32 %f3, %f0, -1;
    st.global.f32 [%rd1], %f1;
    st.global.f32 [%rd1+128], %f2;
    st.global.f32 [%rd1+256], %f3;
    setp.eq.u32 %p1, %r0, 3;
    mov.f32 %f4, 0.0;
    @%p1 redux.sync.min.f32 %f4, %f0, 8;
    st.global.f32 [%rd1+384], %f4;
",
    )
    .run();
    assert_eq!(out[..32], [(-100f32).to_bits(); 32]);
    assert_eq!(out[32..64], [100f32.to_bits(); 32]);
    assert_eq!(out[64..96], [0x7fff_ffff; 32]);
    assert_eq!(out[99], 0x7fff_ffff, "a lone NaN is canonical too");
}

#[test]
fn the_value_of_a_lane_that_takes_no_part_is_zero() {
    let mut program = program(
        r"
    setp.ge.u32 %p1, %r0, 16;
    @%p1 bra DONE;
    add.u32 %r11, %r0, 10;
    shfl.sync.idx.b32 %r10, %r0, %r11, 31, 0xffff;
    st.global.u32 [%rd1], %r10;
DONE:
",
    );
    let out = program.run();
    assert_eq!(out[..6], [10, 11, 12, 13, 14, 15]);
    assert_eq!(out[6..16], [0; 10]);
    program.launch.options.mode = Mode::Strict;
    let kind = program.fail_at("shfl.sync");
    assert!(matches!(kind, FailureKind::IllegalOperand(_)), "{kind}");
}

#[test]
fn members_that_never_come_are_a_deadlock() {
    let kind = program(
        r"
    setp.ge.u32 %p1, %r0, 16;
    @%p1 bra DONE;
    bar.warp.sync -1;
DONE:
    nanosleep.u32 1;
",
    )
    .fail();
    let FailureKind::Deadlock(report) = kind else {
        panic!("{kind}")
    };
    assert_eq!(report.groups.len(), 2, "{report}");
    let text = report.to_string();
    assert!(text.contains("waits for the members 0xffffffff"), "{text}");
    assert!(
        text.contains("waits to reconverge with lanes 0-15"),
        "{text}"
    );
}

#[test]
fn warp_barriers_in_both_sides_of_a_branch_meet() {
    let out = program(
        r"
    setp.lt.u32 %p1, %r0, 16;
    @%p1 bra LOW;
    st.shared.u32 [%r2], 7;
    bar.warp.sync -1;
    bra DONE;
LOW:
    bar.warp.sync -1;
    ld.shared.u32 %r10, [%r2];
    st.global.u32 [%rd1], %r10;
DONE:
",
    )
    .run();
    assert_eq!(out[..16], [7; 16]);
}
