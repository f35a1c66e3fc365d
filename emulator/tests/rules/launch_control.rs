//! `clusterlaunchcontrol` (PTX ISA §9.7.13.17, §9.7.13.18).

use super::program::*;

const REQUEST: &str = "@%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 16;\n\
    @%p31 clusterlaunchcontrol.try_cancel.async.shared::cta.mbarrier::complete_tx::bytes.b128 [%r1+64], [%r1];\n";

/// Loads the response to `%q`; `%p1` holds where a cluster was cancelled, whose first CTA is `%r10` to `%r12`.
const QUERY: &str = r"
    ld.shared.b128 %q, [%r1+64];
    clusterlaunchcontrol.query_cancel.is_canceled.pred.b128 %p1, %q;
    @%p1 clusterlaunchcontrol.query_cancel.get_first_ctaid.v4.b32.b128 {%r10, %r11, %r12, _}, %q;
";

/// Waits for the phase whose parity is in `%r20`.
const WAIT: &str = r"
WAITING:
    mbarrier.try_wait.parity.shared::cta.b64 %p20, [%r1], %r20;
    @!%p20 bra WAITING;
";

/// Work stealing: each CTA counts the tiles that it processes, its own and those of clusters it cancels.
pub fn example() -> Program {
    let body = format!(
        r"
    .reg .b128 %q;
    {BARRIERS}
    mov.u32 %r10, %ctaid.x;
    mov.u32 %r11, %ctaid.y;
    mov.u32 %r12, %ctaid.z;
    mov.u32 %r20, 0;
NEXT:
    {REQUEST}
    mad.lo.u32 %r13, %r12, %nctaid.y, %r11;
    mad.lo.u32 %r13, %r13, %nctaid.x, %r10;
    mul.wide.u32 %rd10, %r13, 4;
    add.u64 %rd10, %rd10, %rd1;
    @%p31 red.global.add.u32 [%rd10], 1;
    {WAIT}
    xor.b32 %r20, %r20, 1;
    {QUERY}
    fence.proxy.async.shared::cta;
    bar.sync 0;
    @%p1 bra NEXT;
"
    );
    Program::with_input(&body, &[0; 4 * 24]).grid([4, 3, 2])
}

#[test]
fn every_cta_of_the_grid_is_processed_once() {
    let counts = example().run_in_place();
    let (counts, _) = counts.as_chunks::<4>();
    assert_eq!(counts, [[1, 0, 0, 0]; 24]);
}

#[test]
fn responses_are_there_after_their_wait() {
    let early = format!(
        "{BARRIERS}{REQUEST}ld.shared.u32 %r3, [%r1+64];\n{}",
        wait(0, 0)
    );
    let race = Program::new(&early).race_late();
    assert_eq!(race.operation, "clusterlaunchcontrol.try_cancel");
    let body = format!(
        ".reg .b128 %q;\n{BARRIERS}{REQUEST}{}{QUERY}selp.u32 %r3, 1, 0, %p1;\nst.global.u32 [%rd0], %r3;",
        wait(0, 0)
    );
    // Nothing is left in a grid of one CTA.
    assert_eq!(Program::new(&body).run()[0], 0);
}

/// Rank 0 asks for all; the CTA of rank r of the cancelled cluster is r further.
#[test]
fn a_cluster_shares_its_response() {
    let body = format!(
        r"
    .reg .b128 %q;
    {BARRIERS}
    mov.u32 %r21, %cluster_ctarank;
    setp.eq.and.u32 %p2, %r21, 0, %p31;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 16;
    barrier.cluster.arrive;
    barrier.cluster.wait;
    @%p2 clusterlaunchcontrol.try_cancel.async.shared::cta.mbarrier::complete_tx::bytes.multicast::cluster::all.b128 [%r1+64], [%r1];
    {}
    ld.shared.b128 %q, [%r1+64];
    clusterlaunchcontrol.query_cancel.is_canceled.pred.b128 %p1, %q;
    @%p1 clusterlaunchcontrol.query_cancel.get_first_ctaid::x.b32.b128 %r10, %q;
    mul.wide.u32 %rd10, %r21, 4;
    add.u64 %rd10, %rd10, %rd0;
    @%p1 st.global.u32 [%rd10], %r10;
    barrier.cluster.arrive;
    barrier.cluster.wait;
",
        wait(0, 0)
    );
    let out = Program::new(&body).cluster(2).grid([4, 1, 1]).run();
    assert_eq!(out[..2], [2, 2]);
}

#[test]
fn nothing_follows_a_failure() {
    let body = |then: &str| {
        format!(
            ".reg .b128 %q;\n{BARRIERS}{REQUEST}{}{QUERY}{then}",
            wait(0, 0)
        )
    };
    Program::new(&body(REQUEST)).fail_with("try_cancel", "whose failure this CTA has seen");
    let line = "clusterlaunchcontrol.query_cancel.get_first_ctaid::x.b32.b128 %r10, %q;";
    Program::new(&body(line)).fail_with("get_first_ctaid", "cancelled no cluster");
}
