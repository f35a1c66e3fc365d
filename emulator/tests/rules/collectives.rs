//! Small instructions around the asynchronous units.

use ptx_emulator::machine::FailureKind;

use super::program::*;

/// `elect.sync` elects one member; a warp's election is the same wherever it is repeated.
#[test]
fn one_lane_is_elected() {
    let out = Program::new(
        r"
    mul.wide.u32 %rd10, %r0, 4;
    add.u64 %rd10, %rd10, %rd0;
    elect.sync %r10|%p1, 0xFFFFFFFF;
    selp.u32 %r11, 1, 0, %p1;
    elect.sync _|%p2, 0xFFFFFFFF;
    selp.u32 %r12, 2, 0, %p2;
    add.u32 %r11, %r11, %r12;
    st.global.u32 [%rd10], %r11;
    st.global.u32 [%rd10+128], %r10;
",
    )
    .run();
    let leader = out[32];
    for lane in 0..32 {
        assert_eq!(out[lane], if lane as u32 == leader { 3 } else { 0 });
        assert_eq!(out[32 + lane], leader);
    }
}

/// Multiples of 8 from 24 to 256 (PTX ISA §9.7.19.5).
#[test]
fn setmaxnreg_takes_multiples_of_8() {
    for registers in [24, 40, 232, 256] {
        Program::new(&format!(
            "setmaxnreg.dec.sync.aligned.u32 {registers};\nsetmaxnreg.inc.sync.aligned.u32 {registers};"
        ))
        .threads(128)
        .run();
    }
    for registers in [0, 16, 25, 260, 264] {
        let line = format!("setmaxnreg.dec.sync.aligned.u32 {registers};");
        assert!(load_error(&line).contains("24 to 256 in steps of 8"));
    }
}

#[test]
fn setmaxnreg_needs_the_whole_warp() {
    let kind = Program::new("@%p31 setmaxnreg.dec.sync.aligned.u32 40;").fail_at("setmaxnreg");
    assert!(
        matches!(kind, FailureKind::DivergentAligned { .. }),
        "{kind}"
    );
}

/// Nothing here computes anything: hints, fences, and dependencies on grids that are complete.
#[test]
fn hints_change_nothing() {
    let out = Program::new(
        r"
    st.global.u32 [%rd0], 7;
    griddepcontrol.wait;
    griddepcontrol.launch_dependents;
    fence.proxy.async;
    fence.proxy.async.shared::cta;
    fence.proxy.tensormap::generic.acquire.gpu [%rd2], 128;
    fence.mbarrier_init.release.cluster;
    tcgen05.fence::before_thread_sync;
    tcgen05.fence::after_thread_sync;
    createpolicy.fractional.L2::evict_first.b64 %rd10, 1.0;
    prefetch.global.L2 [%rd0];
    cp.async.bulk.prefetch.L2.global [%rd1], 16;
    nanosleep.u32 20;
    ld.global.u32 %r10, [%rd0];
    st.global.u32 [%rd0+4], %r10;
",
    )
    .run();
    assert_eq!(out[..3], [7, 7, 0xEEEE_EEEE]);
}
