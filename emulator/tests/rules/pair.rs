//! Pairs of CTAs: `tcgen05` with `.cta_group::2`, and the signals of its loads (PTX ISA §9.7.16.5).
//!
//! Sums are exact in f32, so that only the layouts are at stake.

use ptx_emulator::machine::FailureKind;
use ptx_emulator::machine::cluster_fault::ClusterFault;
use ptx_emulator::machine::report::StallReason;
use ptx_emulator::tma::TensorMap;
use ptx_emulator::tma::tensor_map::DataType;

use super::cluster::{MEET, fault};
use super::mma::{SCALES, e2m1, scale_at};
use super::program::*;
use super::tma::Tensor;

/// The rank in `%r5`; `%p1` holds in the even CTA of a pair.
const RANKS: &str = r"
    mov.u32 %r5, %cluster_ctarank;
    and.b32 %r6, %r5, 1;
    setp.eq.u32 %p1, %r6, 0;
    and.pred %p2, %p1, %p31;
";

/// Warp 0 of each CTA allocates together with its peer's; the address is at `%r4` in every thread.
fn allocate(columns: u32) -> String {
    of_pair(ALLOCATE, columns)
}

fn free(columns: u32) -> String {
    of_pair(FREE, columns)
}

fn of_pair(text: &str, columns: u32) -> String {
    text.replace("cta_group::1", "cta_group::2")
        .replace("512", &columns.to_string())
}

fn program(ctas: u32, body: &str) -> Program {
    Program::new(&format!("{RANKS}{body}")).cluster(ctas)
}

#[test]
fn a_pair_allocates_the_same_columns() {
    let show = "mad.wide.u32 %rd3, %r5, 4, %rd0;\n@%p31 st.global.u32 [%rd3], %r4;\n";
    let body = [&allocate(64), show, MEET, &free(64)].concat();
    let out = program(4, &body).run();
    assert_eq!(out[..4], [0; 4]);
}

/// Whichever instruction one CTA of the pair executes alone, it waits for the other for ever.
#[test]
fn half_a_pair_waits_for_the_other_half() {
    let alone = [
        format!("@!%p1 bra DONE;\n{}DONE:\n{MEET}", allocate(64)),
        format!("{}@!%p1 bra FREED;\n{}{MEET}", allocate(64), free(64)),
    ];
    for body in alone {
        let failure = program(2, &body).fail();
        let FailureKind::Deadlock(report) = &failure.kind else {
            panic!("{failure}");
        };
        let waits = |reason| report.groups.iter().any(|group| group.reason == reason);
        assert!(waits(StallReason::Pair), "{failure}");
        assert!(waits(StallReason::ClusterBarrier), "{failure}");
    }
}

#[test]
fn a_pair_allocates_as_much_in_both_ctas() {
    let body = format!(
        "selp.u32 %r10, 64, 128, %p1;\n\
         tcgen05.alloc.cta_group::2.sync.aligned.shared::cta.b32 [%r1+16], %r10;\n{MEET}"
    );
    let found = fault(program(2, &body).fail_at("tcgen05.alloc"));
    assert!(matches!(found, ClusterFault::PairColumns { .. }), "{found}");
}

#[test]
fn pairs_need_two_ctas() {
    let alloc = "tcgen05.alloc.cta_group::2.sync.aligned.shared::cta.b32 [%r1+16], 32;\n";
    let alone = fault(program(1, alloc).fail_at("tcgen05.alloc"));
    assert_eq!(alone, ClusterFault::NoPeer { rank: 0, ctas: 1 });
    let last = format!("setp.ne.u32 %p3, %r5, 2;\n@%p3 bra DONE;\n{alloc}DONE:\n{MEET}");
    let last = fault(program(3, &last).fail_at("tcgen05.alloc"));
    assert_eq!(last, ClusterFault::NoPeer { rank: 2, ctas: 3 });
}

#[test]
fn the_other_cta_of_a_pair_has_not_exited() {
    let body = format!(
        "{}{}\n@!%p1 bra DONE;\nmov.u32 %r10, 0;\nSPIN:\nadd.u32 %r10, %r10, 1;\n\
         setp.lt.u32 %p3, %r10, 5000;\n@%p3 bra SPIN;\n\
         tcgen05.relinquish_alloc_permit.cta_group::2.sync.aligned;\nDONE:\n",
        allocate(32),
        free(32)
    );
    let body = body.replace(
        "relinquish_alloc_permit.cta_group::2.sync.aligned;\n    tcgen05.dealloc",
        "dealloc",
    );
    let found = fault(program(2, &body).fail_at("tcgen05.relinquish"));
    assert_eq!(found, ClusterFault::Exited { rank: 1 });
}

#[test]
fn all_instructions_have_the_same_group() {
    let body = format!(
        "{}tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;\n",
        allocate(32)
    );
    let found = fault(program(2, &body).fail_at("tcgen05.relinquish"));
    let expected = ClusterFault::MixedGroups {
        found: 1,
        earlier: 2,
    };
    assert_eq!(found, expected);
}

/// Offsets in `smem` of each CTA, and columns of tensor memory.
const A_AT: u32 = 1024;
const B_AT: u32 = A_AT + 128 * 32;
const SFA_AT: u32 = B_AT + 128 * 32;
const SFB_AT: u32 = SFA_AT + 512;
const IMAGE: u32 = SFB_AT + 1024 - A_AT;
const SFA: u32 = 272;
const SFB: u32 = 304;

/// Row-major operands of a product of 256 × `n` × 64: 32 bytes of elements and 4 scale indices a row.
struct Product {
    n: usize,
    a: Vec<u8>,
    b: Vec<u8>,
    scales_a: Vec<u8>,
    scales_b: Vec<u8>,
}

impl Product {
    fn new(n: usize) -> Product {
        let mut random = noise(36 * 512).into_iter();
        let mut take = |count: usize| -> Vec<u8> { random.by_ref().take(count).collect() };
        Product {
            n,
            a: take(256 * 32),
            b: take(n * 32),
            scales_a: take(256 * 4).iter().map(|byte| byte % 5).collect(),
            scales_b: take(n * 4).iter().map(|byte| byte % 5).collect(),
        }
    }

    /// Shared memory of both CTAs from [`A_AT`] on: rows of 32 bytes with 32-byte swizzle, scale tiles of 128 rows.
    /// CTA v has rows 128·v… of A and n/2·v… of B, the scales of its own rows of A and of all rows of B.
    fn images(&self) -> Vec<u8> {
        let mut images = Vec::new();
        for cta in 0..2 {
            let mut image = noise(IMAGE as usize);
            let half = self.n / 2;
            let rows_a = &self.a[cta * 128 * 32..][..128 * 32];
            let rows_b = &self.b[cta * half * 32..][..half * 32];
            for (at, rows) in [(0, rows_a), ((B_AT - A_AT) as usize, rows_b)] {
                for (index, byte) in rows.iter().enumerate() {
                    image[at + (index ^ (index >> 7 & 1) << 4)] = *byte;
                }
            }
            let scales_a = &self.scales_a[cta * 128 * 4..][..128 * 4];
            for (at, scales) in [(SFA_AT, scales_a), (SFB_AT, &self.scales_b)] {
                for (index, scale) in scales.iter().enumerate() {
                    let to = (at - A_AT) as usize + scale_at(index / 4, index % 4);
                    image[to] = SCALES[usize::from(*scale)].0;
                }
            }
            images.extend(image);
        }
        images
    }

    fn dot(&self, m: usize, n: usize) -> f32 {
        let scale =
            |scales: &[u8], row: usize, k: usize| SCALES[usize::from(scales[row * 4 + k / 16])].1;
        let sum: f64 = (0..64)
            .map(|k| {
                let a = e2m1(&self.a, m * 64 + k) * scale(&self.scales_a, m, k);
                let b = e2m1(&self.b, n * 64 + k) * scale(&self.scales_b, n, k);
                a * b
            })
            .sum();
        sum as f32
    }

    /// Loads the operands, copies the scales and multiplies, `%p2` issuing; `end` follows the MMA.
    fn body(&self, end: &str) -> String {
        let matrix = |at: u32| u64::from((SMEM + at) / 16) | (256 / 16) << 32 | 1 << 46 | 6 << 61;
        let tile = |at: u32| u64::from((SMEM + at) / 16) | (128 / 16) << 32 | 1 << 46;
        let copy = |column: u32, at: u32| {
            format!(
                "add.u32 %r20, %r4, {column};\nmov.u64 %rd20, {};\n\
                 @%p2 tcgen05.cp.cta_group::2.32x128b.warpx4 [%r20], %rd20;\n",
                tile(at)
            )
        };
        let instruction = 0x1000_0480 | (self.n as u32 / 8) << 17;
        [
            RANKS,
            BARRIERS,
            &format!(
                "mad.wide.u32 %rd1, %r6, {IMAGE}, %rd1;\n{}",
                load_input(A_AT, IMAGE as usize)
            ),
            &allocate(512),
            MEET,
            &copy(SFA, SFA_AT),
            &copy(SFB, SFB_AT),
            &copy(SFB + 4, SFB_AT + 512),
            &format!(
                r"
    mov.u64 %rd20, {};
    mov.u64 %rd21, {};
    mov.u32 %r21, {instruction};
    add.u32 %r22, %r4, {SFA};
    add.u32 %r23, %r4, {SFB};
    setp.ne.u32 %p5, 0, 0;
    @%p2 tcgen05.mma.cta_group::2.kind::mxf4nvf4.block_scale.block16 [%r4], %rd20, %rd21, %r21, [%r22], [%r23], %p5;
",
                matrix(A_AT),
                matrix(B_AT)
            ),
            end,
        ]
        .concat()
    }

    /// The issuer signals both CTAs, and each writes its lanes of D.
    fn complete(&self) -> Program {
        let n = self.n;
        let end = [
            "mov.u16 %rs0, 3;\nadd.u32 %r24, %r1, 8;\n\
             @%p2 tcgen05.commit.cta_group::2.mbarrier::arrive::one.shared::cluster.multicast::cluster.b64 \
             [%r24], %rs0;\n",
            &wait(8, 0),
            "tcgen05.fence::after_thread_sync;\n",
            &format!("mad.wide.u32 %rd0, %r6, {}, %rd0;\n", 128 * n * 4),
            &dump_tensor(n as u32),
            &free(512),
        ]
        .concat();
        self.program(&end)
    }

    fn program(&self, end: &str) -> Program {
        Program::with_input(&self.body(end), &self.images())
            .cluster(2)
            .threads(128)
    }
}

/// A small product of a pair.
pub fn example() -> Program {
    Product::new(16).complete()
}

/// D[m, n] is in CTA m / 128, lane m % 128, column n; each CTA brings half of A, half of B and all scales of B.
#[test]
fn a_pair_multiplies_256_rows() {
    for n in [256, 128, 48, 16] {
        let product = Product::new(n);
        let out = product.complete().run();
        for m in 0..256 {
            for column in 0..n {
                let found = f32::from_bits(out[m * n + column]);
                let expected = product.dot(m, column);
                assert_eq!(found, expected, "N = {n}, D[{m}, {column}]");
            }
        }
    }
}

/// An element of A or B of [`small_products`], as f16 bits: 0 to 7.
fn small(seed: u32, row: u32, k: u32) -> (u16, u32) {
    let value = (seed + 5 * row + 3 * k + row * k / 4) % 8;
    let bits = [0, 0x3C00, 0x4000, 0x4200, 0x4400, 0x4500, 0x4600, 0x4700];
    (bits[value as usize], value)
}

/// D of `.kind::f16` with M = `m`, as 128 lanes × `columns` of each CTA.
fn small_product(m: u32, n: u32, columns: u32) -> Vec<u32> {
    let mut images = Vec::new();
    for cta in 0..2 {
        let mut image = noise(IMAGE as usize);
        for (at, rows, seed) in [(0, m / 2, 1), (B_AT - A_AT, n / 2, 2)] {
            for (row, k) in (0..rows).flat_map(|row| (0..16).map(move |k| (row, k))) {
                let (bits, _) = small(seed, cta * rows + row, k);
                let index = 32 * row + 2 * k;
                let to = (at + (index ^ (index >> 7 & 1) << 4)) as usize;
                image[to..to + 2].copy_from_slice(&bits.to_le_bytes());
            }
        }
        images.extend(image);
    }
    // f16 operands, f32 accumulators.
    let instruction = 1 << 4 | (n / 8) << 17 | (m / 16) << 24;
    let matrix = |at: u32| u64::from((SMEM + at) / 16) | (256 / 16) << 32 | 1 << 46 | 6 << 61;
    let body = [
        RANKS,
        BARRIERS,
        &format!("mad.wide.u32 %rd1, %r6, {IMAGE}, %rd1;\n{}", load_input(A_AT, IMAGE as usize)),
        &allocate(512),
        MEET,
        &format!(
            "mov.u64 %rd20, {};\nmov.u64 %rd21, {};\nmov.u32 %r21, {instruction};\nsetp.ne.u32 %p5, 0, 0;\n\
             @%p2 tcgen05.mma.cta_group::2.kind::f16 [%r4], %rd20, %rd21, %r21, %p5;\n\
             mov.u16 %rs0, 3;\nadd.u32 %r24, %r1, 8;\n\
             @%p2 tcgen05.commit.cta_group::2.mbarrier::arrive::one.shared::cluster.multicast::cluster.b64 \
             [%r24], %rs0;\n",
            matrix(A_AT),
            matrix(B_AT)
        ),
        &wait(8, 0),
        "tcgen05.fence::after_thread_sync;\n",
        &format!("mad.wide.u32 %rd0, %r6, {}, %rd0;\n", 128 * columns * 4),
        &dump_tensor(columns),
        &free(512),
    ]
    .concat();
    Program::with_input(&body, &images)
        .cluster(2)
        .threads(128)
        .run()
}

/// Layouts A and B: with M = 128 the second half of the columns is in lanes 64 to 127.
#[test]
fn accumulators_of_a_pair_follow_their_layout() {
    for (m, n) in [(256, 64), (128, 64), (128, 256)] {
        let columns = if m == 256 { n } else { n / 2 };
        let out = small_product(m, n, columns);
        for row in 0..m {
            for column in 0..n {
                let (cta, lane) = (row / (m / 2), row % (m / 2) + column / columns * 64);
                let at = (cta * 128 + lane) * columns + column % columns;
                let sum: u32 = (0..16)
                    .map(|k| small(1, row, k).1 * small(2, column, k).1)
                    .sum();
                let found = f32::from_bits(out[at as usize]);
                assert_eq!(found, sum as f32, "M = {m}, N = {n}, D[{row}, {column}]");
            }
        }
    }
}

/// Until the commit, what the MMA reads and writes in the other CTA is in use as well.
#[test]
fn operands_in_both_ctas_stay_until_the_commit() {
    let product = Product::new(128);
    for (touch, overlap) in [
        (format!("st.shared.u32 [%r1+{A_AT}], 1;"), "shared memory"),
        (
            format!("st.shared.u32 [%r1+{}], 1;", B_AT + 64 * 32 - 4),
            "shared memory",
        ),
        (
            "tcgen05.ld.sync.aligned.32x32b.x1.b32 {%r30}, [%r4];".into(),
            "tensor memory",
        ),
    ] {
        let end = format!("{MEET}@%p1 bra DONE;\n{touch}\nDONE:\n{MEET}");
        let race = product.program(&end).race_late();
        assert!(race.space.contains(overlap), "{race}");
        assert_eq!(race.operation, "tcgen05.mma");
    }
}

/// No public source tells where the scale factors of the odd CTA's rows are.
#[test]
fn block_scaling_with_128_rows_is_refused() {
    let product = Product::new(128);
    let instruction = |m: u32| format!("mov.u32 %r21, {};", m << 27 | 0x480 | 16 << 17);
    let body = product.body(MEET);
    let small = body.replace(&instruction(2), &instruction(1));
    assert_ne!(body, small);
    let kind = Program::with_input(&small, &product.images())
        .cluster(2)
        .threads(128)
        .fail_at("tcgen05.mma");
    assert!(matches!(kind, FailureKind::Unsupported { .. }), "{kind}");
    assert!(kind.to_string().contains("M = 128"), "{kind}");
}

/// Without a mask one barrier is signalled, in either CTA.
#[test]
fn a_commit_signals_the_barrier_that_its_address_names() {
    for target in [0, 1] {
        let body = format!(
            r"
    {BARRIERS}
    {MEET}
    mapa.shared::cluster.u32 %r10, %r1, {target};
    @%p2 tcgen05.commit.cta_group::2.mbarrier::arrive::one.shared::cluster.b64 [%r10];
    setp.ne.u32 %p3, %r5, {target};
    @%p3 bra DONE;
    {}
    @%p31 st.global.u32 [%rd0], %r5;
DONE:
    {MEET}
    mbarrier.test_wait.parity.shared::cta.b64 %p4, [%r1], 0;
    selp.u32 %r11, 1, 0, %p4;
    mad.wide.u32 %rd3, %r5, 4, %rd0;
    @%p31 st.global.u32 [%rd3+4], %r11;
",
            wait(0, 0)
        );
        let out = program(2, &body).run();
        let expected = [target, u32::from(target == 0), u32::from(target == 1)];
        assert_eq!(out[..3], expected);
    }
}

/// 16 words.
fn word_map(address: u64) -> TensorMap {
    Tensor::new(DataType::Uint32, 32, &[16], &[16]).encode(address)
}

/// CTA 0 or 1 loads 16 words for both CTAs, or for its own, and the signals go to barriers of the even CTAs: one
/// thread there expects all bytes. CUTLASS names those by clearing bit 24.
#[test]
fn loads_of_a_pair_signal_the_cta_of_the_barriers_parity() {
    for multicast in [true, false] {
        for parity in [0, 1] {
            let load = match multicast {
                true => String::from(
                    "setp.eq.and.u32 %p3, %r5, 0, %p31;\nmov.u16 %rs0, 15;\n\
                     @%p3 cp.async.bulk.tensor.1d.cta_group::2.shared::cluster.global.mbarrier::complete_tx::bytes\
                     .multicast::cluster [%r11], [%rd2, {%r12}], [%r10], %rs0;",
                ),
                false => "@%p31 cp.async.bulk.tensor.1d.cta_group::2.shared::cluster.global\
                          .mbarrier::complete_tx::bytes [%r11], [%rd2, {%r12}], [%r10];"
                    .to_owned(),
            };
            let body = format!(
                r"
    {BARRIERS}
    {MEET}
    add.u32 %r11, %r1, 1024;
    mov.u32 %r12, 0;
    and.b32 %r10, %r1, 0xFEFFFFFF;
    or.b32 %r10, %r10, {};
    setp.ne.u32 %p4, %r6, {parity};
    {load}
    @%p4 bra WAITED;
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 128;
    {}
WAITED:
    {MEET}
    mad.lo.u32 %r13, %r0, 4, %r1;
    ld.shared.u32 %r14, [%r13+1024];
    mad.wide.u32 %rd3, %r5, 64, %rd0;
    mad.wide.u32 %rd3, %r0, 4, %rd3;
    setp.ge.u32 %p5, %r0, 16;
    @%p5 bra DONE;
    st.global.u32 [%rd3], %r14;
DONE:
",
                parity << 24,
                wait(0, 0)
            );
            let input: Vec<u8> = (0..16u32).flat_map(|i| (300 + i).to_le_bytes()).collect();
            let out = Program::with_input(&format!("{RANKS}{body}"), &input)
                .cluster(4)
                .map(word_map)
                .run();
            let expected: Vec<u32> = (0..4).flat_map(|_| 300..316).collect();
            assert_eq!(
                out[..64],
                expected,
                "multicast {multicast}, parity {parity}"
            );
        }
    }
}

/// The barrier of a pair's load is in the pair.
#[test]
fn the_barrier_of_a_load_is_in_its_pair() {
    let body = format!(
        "{BARRIERS}{MEET}mov.u32 %r12, 0;\nadd.u32 %r11, %r1, 1024;\nmapa.shared::cluster.u32 %r10, %r1, 2;\n\
         @%p2 cp.async.bulk.tensor.1d.cta_group::2.shared::cluster.global.mbarrier::complete_tx::bytes \
         [%r11], [%rd2, {{%r12}}], [%r10];\n{MEET}"
    );
    let program = Program::with_input(&format!("{RANKS}{body}"), &noise(64))
        .cluster(4)
        .map(word_map);
    let expected = ClusterFault::BarrierElsewhere {
        data: 0,
        barrier: 2,
        pair: true,
    };
    assert_eq!(fault(program.fail_at("cp.async.bulk.tensor")), expected);
}
