//! Clusters: addresses of other CTAs' shared memory, barriers and copies between CTAs, CTAs that exit (PTX ISA §5.1.7,
//! §9.7.13.3, §9.7.9).

use ptx_emulator::machine::FailureKind;
use ptx_emulator::machine::cluster_fault::{ClusterFault, ClusterMisfit};

use super::program::*;

/// The rank in `%r5`; `%p1` holds in CTA 0, `%p2` in CTA 1; `%rd3` points to 128 output words of the CTA's own.
const RANKS: &str = r"
    mov.u32 %r5, %cluster_ctarank;
    setp.eq.u32 %p1, %r5, 0;
    setp.eq.u32 %p2, %r5, 1;
    mad.wide.u32 %rd3, %r5, 512, %rd0;
";

/// All threads of the cluster meet.
pub const MEET: &str = r"
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
";

/// Words that a CTA writes to its part of the output.
fn words(out: &[u32], cta: usize) -> &[u32] {
    &out[128 * cta..][..128]
}

fn program(ctas: u32, body: &str) -> Program {
    Program::new(&format!("{RANKS}{body}")).cluster(ctas)
}

/// Stores the registers as output words of the CTA, by one thread.
fn show(registers: &[&str]) -> String {
    let store =
        |(index, register)| format!("@%p31 st.global.u32 [%rd3+{}], {register};\n", 4 * index);
    registers.iter().enumerate().map(store).collect()
}

/// How the use of another CTA was wrong.
pub fn fault(kind: FailureKind) -> ClusterFault {
    match kind {
        FailureKind::Cluster(fault) => fault,
        other => panic!("{other}"),
    }
}

/// As an H200 has it: the rank is in the bits from 24 up; `mapa` and `getctarank` put and get it.
#[test]
fn addresses_carry_the_rank_of_their_cta() {
    let body = r"
    cvt.u64.u32 %rd10, %r1;
    cvta.shared.u64 %rd11, %rd10;
    mapa.shared::cluster.u32 %r10, %r1, 0;
    mapa.shared::cluster.u32 %r11, %r10, 1;
    mapa.u64 %rd12, %rd11, 1;
    cvta.to.shared.u64 %rd13, %rd12;
    cvt.u32.u64 %r12, %rd13;
    getctarank.shared::cluster.u32 %r13, %r1;
    getctarank.u64 %r14, %rd12;
    isspacep.shared::cta %p3, %rd12;
    selp.u32 %r15, 1, 0, %p3;
    isspacep.shared::cluster %p3, %rd12;
    selp.u32 %r16, 1, 0, %p3;
    mapa.shared::cluster.u32 %r17, %r1, 9;
";
    let shown = [
        "%r1", "%r10", "%r11", "%r12", "%r13", "%r14", "%r15", "%r16", "%r17",
    ];
    let out = program(4, &(body.to_owned() + &show(&shown))).run();
    for rank in 0..4 {
        let (own, first) = (rank << 24 | SMEM, 1 << 24 | SMEM);
        let expected = [
            own,
            SMEM,
            first,
            first,
            rank,
            1,
            u32::from(rank == 1),
            1,
            9 << 24 | SMEM,
        ];
        assert_eq!(words(&out, rank as usize)[..9], expected, "rank {rank}");
    }
}

#[test]
fn special_registers_place_a_cta_in_its_cluster() {
    let registers = [
        "ctaid.x",
        "ctaid.y",
        "clusterid.x",
        "clusterid.y",
        "nclusterid.x",
        "nclusterid.y",
        "cluster_ctaid.x",
        "cluster_ctaid.y",
        "cluster_nctaid.x",
        "cluster_nctaid.y",
        "cluster_ctarank",
        "cluster_nctarank",
    ];
    let mut body = String::from(
        "mov.u32 %r10, %ctaid.y;\nmov.u32 %r11, %nctaid.x;\nmov.u32 %r12, %ctaid.x;\n\
         mad.lo.u32 %r10, %r10, %r11, %r12;\nmad.wide.u32 %rd3, %r10, 512, %rd0;\n",
    );
    for (index, register) in registers.iter().enumerate() {
        body += &format!(
            "mov.u32 %r13, %{register};\n@%p31 st.global.u32 [%rd3+{}], %r13;\n",
            4 * index
        );
    }
    let mut program = Program::new(&body);
    program.launch_mut().grid = [6, 4, 1];
    program.launch_mut().cluster = [3, 2, 1];
    let out = program.run();
    for y in 0..4 {
        for x in 0..6 {
            let expected = [
                x,
                y,
                x / 3,
                y / 2,
                2,
                2,
                x % 3,
                y % 2,
                3,
                2,
                y % 2 * 3 + x % 3,
                6,
            ];
            assert_eq!(words(&out, (6 * y + x) as usize)[..12], expected);
        }
    }
}

/// Each CTA leaves a word; after the barrier each reads its neighbour's, by both kinds of address, and adds to CTA 0's.
#[test]
fn shared_memory_is_reached_from_every_cta() {
    let body = r"
    add.u32 %r10, %r5, 100;
    @%p31 st.shared.u32 [smem], %r10;
    @%p31 st.shared.u32 [%r1+4], 0;
    barrier.cluster.arrive.release.aligned;
    barrier.cluster.wait.acquire.aligned;
    add.u32 %r11, %r5, 1;
    and.b32 %r11, %r11, 3;
    mapa.shared::cluster.u32 %r12, %r1, %r11;
    ld.shared::cluster.u32 %r13, [%r12];
    cvt.u64.u32 %rd10, %r1;
    cvta.shared.u64 %rd10, %rd10;
    mapa.u64 %rd11, %rd10, %r11;
    ld.u32 %r14, [%rd11];
    mapa.shared::cluster.u32 %r15, smem, 0;
    @%p31 atom.shared::cluster.add.u32 %r16, [%r15+4], %r10;
    @%p31 red.relaxed.cluster.shared::cluster.add.u32 [%r15+4], 1000;
    @%p31 st.shared::cluster.u32 [%r12+8], %r5;
    barrier.cluster.arrive.aligned;
    barrier.cluster.wait.aligned;
    ld.shared.u32 %r17, [smem+4];
    ld.shared.u32 %r18, [smem+8];
";
    let out = program(
        4,
        &(body.to_owned() + &show(&["%r13", "%r14", "%r17", "%r18"])),
    )
    .run();
    for rank in 0..4 {
        let sum = if rank == 0 {
            4000 + 100 + 101 + 102 + 103
        } else {
            0
        };
        let neighbour = 100 + (rank + 1) % 4;
        let expected = [neighbour, neighbour, sum, (rank + 3) % 4];
        assert_eq!(words(&out, rank as usize)[..4], expected, "rank {rank}");
    }
}

/// An H200 calls it an illegal instruction: the rank in the address is not ignored.
#[test]
fn cta_accesses_do_not_reach_other_ctas() {
    for access in [
        "ld.shared.u32 %r11, [%r10];",
        "st.shared::cta.u32 [%r10], 1;",
        "mbarrier.arrive.shared::cta.b64 %rd10, [%r10];",
    ] {
        let body = format!("mapa.shared::cluster.u32 %r10, %r1, 0;\n@%p2 {access}{MEET}");
        let found = fault(program(2, &body).fail_at(access));
        let address = SMEM.into();
        let expected = ClusterFault::RemoteAddress {
            address,
            rank: 0,
            own: 1,
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn the_accessed_cta_has_to_exist() {
    let body = "mapa.shared::cluster.u32 %r10, %r1, 5;\nld.shared::cluster.u32 %r11, [%r10];";
    let kind = program(2, body).fail_at("ld.shared::cluster");
    let address = (5 << 24 | SMEM).into();
    let expected = FailureKind::NoSuchCta {
        address,
        rank: 5,
        ctas: 2,
    };
    assert_eq!(kind, expected);
}

/// CUTLASS clears bit 24 of an address to name the even CTA of its pair.
#[test]
fn without_bit_24_an_address_is_the_even_ctas() {
    let body = format!(
        "st.shared.u32 [smem], %r5;\n{MEET}and.b32 %r10, %r1, 0xFEFFFFFF;\n\
         ld.shared::cluster.u32 %r11, [%r10];\n{}{MEET}",
        show(&["%r11"])
    );
    let out = program(4, &body).run();
    assert_eq!([0, 1, 2, 3].map(|cta| words(&out, cta)[0]), [0, 0, 2, 2]);
}

/// Threads that have exited are not waited for, nor whole CTAs.
#[test]
fn the_cluster_barrier_takes_exited_threads_as_arrived() {
    let body =
        "@%p2 ret;\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\n".to_owned() + &show(&["%r5"]);
    let out = program(3, &body).run();
    assert_eq!((words(&out, 0)[0], words(&out, 2)[0]), (0, 2));
}

/// CTA 0 holds back until CTA 1 has arrived, and CTA 1 sees what CTA 0 wrote before.
#[test]
fn remote_arrivals_complete_a_phase() {
    for (arrive, count) in [
        (
            "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r10], 3;",
            3,
        ),
        (
            "mbarrier.arrive.expect_tx.shared::cluster.b64 _, [%r10], 16;\n\
          @%p31 mbarrier.complete_tx.shared::cluster.relaxed.cluster.b64 [%r10], 16;",
            1,
        ),
        ("mbarrier.arrive.b64 _, [%rd10];", 1),
    ] {
        let body = format!(
            r"
    @%p31 mbarrier.init.shared::cta.b64 [%r1], {count};
    fence.mbarrier_init.release.cluster;
    {MEET}
    mapa.shared::cluster.u32 %r10, %r1, 0;
    cvt.u64.u32 %rd10, %r10;
    cvta.shared::cluster.u64 %rd10, %rd10;
    @%p1 bra WAIT_0_0;
    @%p31 {arrive}
    bra DONE;
    {}
    @%p31 st.global.u32 [%rd3], 77;
DONE:
    {MEET}
",
            wait(0, 0)
        );
        assert_eq!(words(&program(2, &body).run(), 0)[0], 77, "{arrive}");
    }
}

#[test]
fn the_barriers_of_others_are_not_waited_for() {
    let body = format!(
        "@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\n{MEET}mapa.shared::cluster.u32 %r10, %r1, 0;\n\
         cvt.u64.u32 %rd10, %r10;\ncvta.shared::cluster.u64 %rd10, %rd10;\n\
         @%p2 mbarrier.try_wait.parity.b64 %p3, [%rd10], 0;"
    );
    program(2, &body).fail_with("try_wait", "arrived at, not waited for");
}

/// CTA 1 exits at once; CTA 0 uses its memory afterwards.
#[test]
fn exited_ctas_are_not_accessed() {
    for access in [
        "ld.shared::cluster.u32 %r11, [%r10];",
        "st.shared::cluster.u32 [%r10], 1;",
        "atom.shared::cluster.add.u32 %r11, [%r10], 1;",
        "mbarrier.arrive.shared::cluster.b64 _, [%r10];",
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
         [%r12], [%rd1], 16, [%r1], %rs0;",
    ] {
        let body = format!(
            r"
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 1;
    {MEET}
    @%p2 ret;
    mov.u32 %r11, 0;
SPIN:
    add.u32 %r11, %r11, 1;
    setp.lt.u32 %p3, %r11, 5000;
    @%p3 bra SPIN;
    mapa.shared::cluster.u32 %r10, %r1, 1;
    add.u32 %r12, %r1, 1024;
    mov.u16 %rs0, 3;
    @%p31 {access}
"
        );
        let line = access.split(' ').next().unwrap();
        let found = fault(program(2, &body).fail_at(line));
        assert_eq!(found, ClusterFault::Exited { rank: 1 }, "{access}");
    }
}

/// The barrier's CTA leaves while a copy is on its way to it.
#[test]
fn a_cta_does_not_exit_while_a_copy_is_on_its_way_to_it() {
    let body = format!(
        r"
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 1;
    {MEET}
    mapa.shared::cluster.u32 %r10, %r1, 1;
    add.u32 %r11, %r10, 1024;
    add.u32 %r12, %r1, 1024;
    @%p1 bra COPY;
    {MEET}
    ret;
COPY:
    @%p31 cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r11], [%r12], 16, [%r10];
    {MEET}
"
    );
    let failure = program(2, &body).fail_late();
    assert!(
        matches!(failure.kind, FailureKind::OutstandingAtExit { .. }),
        "{failure}"
    );
}

/// CTA 0 sends `send` to CTA 1, whose barrier is at `smem` and whose data is from `smem + 1024` on; CTA 1 expects so
/// many bytes. In CTA 0 `%r10` and `%r11` are their addresses.
fn sent(send: &str, bytes: u32) -> Vec<u32> {
    sending(send, bytes).run()[..32].to_vec()
}

fn sending(send: &str, bytes: u32) -> Program {
    let body = format!(
        r"
    mad.lo.u32 %r20, %r0, 4, %r1;
    add.u32 %r21, %r0, 1000;
    st.shared.u32 [%r20+2048], %r21;
    st.shared.u32 [%r20+1024], 5;
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 1;
    fence.mbarrier_init.release.cluster;
    fence.proxy.async;
    {MEET}
    mapa.shared::cluster.u32 %r10, %r1, 1;
    add.u32 %r11, %r10, 1024;
    add.u32 %r12, %r1, 2048;
    @%p1 bra SEND;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {bytes};
    {}
    {}
    bra DONE;
SEND:
    {send}
DONE:
    {MEET}
",
        wait(0, 0),
        dump_shared(1024, 128)
    );
    program(2, &body)
}

#[test]
fn bulk_copies_go_from_cta_to_cta() {
    let copy = "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r11], [%r12], 64, [%r10];";
    let out = sent(&format!("@%p31 {copy}"), 64);
    let expected: Vec<u32> = (1000..1016).chain([5; 16]).collect();
    assert_eq!(out, expected);
}

#[test]
fn bulk_reductions_go_from_cta_to_cta() {
    let copy = "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add.u32 \
                [%r11], [%r12], 64, [%r10];";
    let out = sent(&format!("@%p31 {copy}"), 64);
    let expected: Vec<u32> = (1005..1021).chain([5; 16]).collect();
    assert_eq!(out, expected);
}

#[test]
fn asynchronous_stores_credit_the_barrier_of_their_cta() {
    let scalar = "@%p31 st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r11+8], 77, [%r10];";
    let out = sent(scalar, 4);
    assert_eq!(out[..4], [5, 5, 77, 5]);
    let vector = "@%p31 st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%r11+16], \
                  {%r20, %r21, 3, 4}, [%r10];";
    let out = sent(vector, 16);
    assert_eq!(out[3..9], [5, SMEM, 1000, 3, 4, 5]);
}

#[test]
fn asynchronous_reductions_update_in_place() {
    let reduce = "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes";
    let each = format!("{reduce}.add.u32 [%r11+4], %r0, [%r10];");
    assert_eq!(sent(&each, 128)[..3], [5, 5 + 31 * 16, 5]);
    let one = format!("@%p31 {reduce}.max.s32 [%r11], 9, [%r10];");
    assert_eq!(sent(&one, 4)[..2], [9, 5]);
}

/// The signal goes where the data goes.
#[test]
fn data_and_barrier_are_in_one_cta() {
    for copy in [
        "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r11], [%r12], 64, [%r1];",
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r11], [%rd1], 16, [%r1];",
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r11], 77, [%r1];",
    ] {
        let body = format!(
            "@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\n{MEET}mapa.shared::cluster.u32 %r11, %r1, 1;\n\
             add.u32 %r11, %r11, 1024;\nadd.u32 %r12, %r1, 2048;\n@%p1 {copy}\n{MEET}"
        );
        let line = copy.split(' ').next().unwrap();
        let found = fault(program(2, &body).fail_at(line));
        let expected = ClusterFault::BarrierElsewhere {
            data: 1,
            barrier: 0,
            pair: false,
        };
        assert_eq!(found, expected, "{copy}");
    }
}

/// CTA `sender` copies 64 input bytes to the CTAs of `mask`, which wait for them; the others keep what they had.
fn multicast(ctas: u32, sender: u32, mask: u32) -> Program {
    let body = format!(
        r"
    mad.lo.u32 %r20, %r0, 4, %r1;
    st.shared.u32 [%r20+1024], 5;
    @%p31 mbarrier.init.shared::cta.b64 [%r1], 1;
    fence.mbarrier_init.release.cluster;
    fence.proxy.async;
    mov.u16 %rs0, {mask};
    shr.u32 %r10, {mask}, %r5;
    and.b32 %r10, %r10, 1;
    setp.eq.u32 %p3, %r10, 1;
    setp.eq.and.u32 %p4, %r5, {sender}, %p31;
    and.pred %p5, %p3, %p31;
    @%p5 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 64;
    {MEET}
    add.u32 %r11, %r1, 1024;
    @%p4 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r11], [%rd1], 64, [%r1], %rs0;
    @!%p3 bra WAITED;
    {}
WAITED:
    ld.shared.u32 %r12, [%r20+1024];
    mad.wide.u32 %rd10, %r0, 4, %rd3;
    st.global.u32 [%rd10], %r12;
    {MEET}
",
        wait(0, 0)
    );
    let input: Vec<u8> = (0..16u32).flat_map(|i| (300 + i).to_le_bytes()).collect();
    Program::with_input(&format!("{RANKS}{body}"), &input).cluster(ctas)
}

/// A copy to both CTAs of a cluster.
pub fn examples() -> [Program; 2] {
    let stores = "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%r11+16], {%r20, 3}, [%r10];
    red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r11+64], %r0, [%r10];
    cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.add.u32 [%r11], [%r12], 16, [%r10];";
    let bytes = 8 + 4 + 16;
    let stores = stores.replace("    ", "").replace('\n', "\n@%p31 ");
    [
        multicast(2, 0, 0b11),
        sending(&format!("@%p31 {stores}"), bytes),
    ]
}

#[test]
fn multicast_reaches_each_cta_of_the_mask_and_no_other() {
    for (ctas, sender, mask) in [(2, 0, 0b11), (2, 1, 0b01), (4, 2, 0b1111), (4, 0, 0b1010)] {
        let out = multicast(ctas, sender, mask).run();
        for cta in 0..ctas {
            let expected: Vec<u32> = match mask >> cta & 1 {
                1 => (300..316).chain([5; 16]).collect(),
                _ => vec![5; 32],
            };
            assert_eq!(
                words(&out, cta as usize)[..32],
                expected,
                "{mask:#b}, CTA {cta}"
            );
        }
    }
}

#[test]
fn masks_name_ctas_that_exist() {
    for (mask, expected) in [
        (0, ClusterFault::EmptyMask),
        (0b101, ClusterFault::Mask { mask: 5, ctas: 2 }),
    ] {
        let body = format!(
            "@%p31 mbarrier.init.shared::cta.b64 [%r1], 1;\nadd.u32 %r11, %r1, 1024;\nmov.u16 %rs0, {mask};\n\
             @%p31 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster \
             [%r11], [%rd1], 16, [%r1], %rs0;"
        );
        let found = fault(program(2, &body).fail_at("multicast::cluster"));
        assert_eq!(found, expected);
    }
}

#[test]
fn clusters_fit_the_grid_and_the_device() {
    let refused = |grid, cluster| {
        let mut program = Program::new("");
        program.launch_mut().grid = grid;
        program.launch_mut().cluster = cluster;
        match program.fail().kind {
            FailureKind::InvalidCluster { misfit, .. } => misfit,
            other => panic!("{other}"),
        }
    };
    for (grid, cluster) in [([3, 1, 1], [2, 1, 1]), ([8, 1, 1], [1, 2, 1])] {
        assert_eq!(refused(grid, cluster), ClusterMisfit::Grid { grid });
    }
    for (cluster, ctas) in [([17, 1, 1], 17), ([4, 5, 1], 20), ([0, 1, 1], 0)] {
        let limit = 16;
        assert_eq!(
            refused([340, 20, 1], cluster),
            ClusterMisfit::Size { ctas, limit }
        );
    }
}
