//! `tcgen05.mma.kind::mxf4nvf4`: what it computes from which bytes (PTX ISA §9.7.16.10).
//!
//! Operands and scales are small enough that every sum is exact in f32, so that only the layouts are at stake; the
//! arithmetic itself has one test here and its own suite beside the code.

use super::program::*;

/// Offsets in `smem`. The input buffer is an image of the memory from [`A_AT`] on.
pub const A_AT: u32 = 1024;
pub const B_AT: u32 = A_AT + 32 * 1024;
pub const SFA_AT: u32 = B_AT + 32 * 1024;
pub const SFB_AT: u32 = SFA_AT + 2048;
pub const IMAGE_BYTES: usize = (SFB_AT + 4096 - A_AT) as usize;

/// Columns of tensor memory: D, then the scale factors.
pub const D: u32 = 0;
pub const SFA: u32 = 272;
pub const SFB: u32 = 304;

/// Element `index` of packed E2M1.
pub fn e2m1(bytes: &[u8], index: usize) -> f64 {
    const MAGNITUDES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let code = bytes[index / 2] >> (index % 2 * 4) & 15;
    let magnitude = MAGNITUDES[usize::from(code & 7)];
    if code >= 8 { -magnitude } else { magnitude }
}

/// Where the scale factor of a row and one of four K blocks is, in tiles of 128 rows, 512 bytes each (cuBLAS, "1D
/// block scaling factors layout").
pub fn scale_at(row: usize, block: usize) -> usize {
    row / 128 * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block
}

/// UE4M3: 1, 2, 0.5, 1.5 and 0.625.
pub const SCALES: [(u8, f64); 5] = [
    (0x38, 1.0),
    (0x40, 2.0),
    (0x30, 0.5),
    (0x3C, 1.5),
    (0x32, 0.625),
];

/// K-major rows of packed 4-bit elements in shared memory.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Bits 61–63 of the descriptor.
    pub mode: u64,
    /// Bytes from one of eight rows to the next: the swizzle's span, or 16 without swizzle.
    pub pitch: u32,
    pub leading: u32,
    pub stride: u32,
}

pub const SWIZZLE_128B: Layout = Layout::swizzled(2, 128);
pub const SWIZZLE_64B: Layout = Layout::swizzled(4, 64);
pub const SWIZZLE_32B: Layout = Layout::swizzled(6, 32);
/// Rows of 16 bytes; the second 16 bytes of a K step lie 8 KiB further.
pub const NO_SWIZZLE: Layout = Layout {
    mode: 0,
    pitch: 16,
    leading: 8192,
    stride: 128,
};

impl Layout {
    /// Groups of eight rows of `pitch` bytes, one after the other.
    const fn swizzled(mode: u64, pitch: u32) -> Layout {
        Layout {
            mode,
            pitch,
            leading: 0,
            stride: 8 * pitch,
        }
    }

    /// Descriptor of the K step that begins at byte `k` of the rows.
    pub fn descriptor(&self, at: u32, k: u32) -> u64 {
        u64::from((SMEM + at + k) / 16)
            | u64::from(self.leading / 16) << 16
            | u64::from(self.stride / 16) << 32
            | 1 << 46
            | self.mode << 61
    }

    /// Offset of byte `k` of row `row` of a matrix that begins at a multiple of 1024.
    fn offset(&self, row: u32, k: u32) -> u32 {
        let group = row / 8 * self.stride + row % 8 * self.pitch;
        if self.mode == 0 {
            return group + k / 16 * self.leading + k % 16;
        }
        let dense = group + k;
        let (line, chunk) = (dense / 128, dense / 16 % 8);
        let lines = self.pitch / 16;
        line * 128 + (chunk ^ (line % lines)) * 16 + dense % 16
    }
}

/// The operands of a product of 128 × `n` × 64·`steps`.
pub struct Product {
    pub n: usize,
    pub steps: usize,
    pub layout_a: Layout,
    pub layout_b: Layout,
    /// Two elements a byte, 32·`steps` bytes a row.
    a: Vec<u8>,
    b: Vec<u8>,
    /// Indices into [`SCALES`], four per step and row.
    scales_a: Vec<u8>,
    scales_b: Vec<u8>,
}

impl Product {
    pub fn new(n: usize, steps: usize, layout_a: Layout, layout_b: Layout) -> Product {
        let mut random = noise(36 * steps * (128 + 256)).into_iter();
        let mut take = |count: usize| -> Vec<u8> { random.by_ref().take(count).collect() };
        let scale = |bytes: Vec<u8>| bytes.into_iter().map(|b| b % 5).collect();
        Product {
            n,
            steps,
            layout_a,
            layout_b,
            a: take(128 * 32 * steps),
            b: take(256 * 32 * steps),
            scales_a: scale(take(128 * 4 * steps)),
            scales_b: scale(take(256 * 4 * steps)),
        }
    }

    /// Shared memory from [`A_AT`] on. Scale factors: one 512-byte tile per step and 128 rows, steps first.
    pub fn image(&self) -> Vec<u8> {
        let mut image = noise(IMAGE_BYTES);
        let row_bytes = 32 * self.steps;
        for (at, rows, bytes, layout) in [
            (A_AT, 128, &self.a, self.layout_a),
            (B_AT, 256, &self.b, self.layout_b),
        ] {
            for row in 0..rows {
                for k in 0..row_bytes {
                    let to = at - A_AT + layout.offset(row, k as u32);
                    // Rows beyond N need no place.
                    if to < SFA_AT - A_AT {
                        image[to as usize] = bytes[row as usize * row_bytes + k];
                    }
                }
            }
        }
        for (at, rows, scales) in [(SFA_AT, 128, &self.scales_a), (SFB_AT, 256, &self.scales_b)] {
            for row in 0..rows {
                for block in 0..4 * self.steps {
                    let tile = row / 128 * self.steps + block / 4;
                    let to = tile * 512 + scale_at(row % 128, block % 4);
                    let (code, _) = SCALES[scales[row * 4 * self.steps + block] as usize];
                    image[(at - A_AT) as usize + to] = code;
                }
            }
        }
        image
    }

    /// Element (m, n) of A·Bᵀ over the steps.
    pub fn dot(&self, m: usize, n: usize, steps: std::ops::Range<usize>) -> f64 {
        let columns = 64 * self.steps;
        (64 * steps.start..64 * steps.end)
            .map(|k| {
                let scale = |scales: &[u8], row: usize| {
                    SCALES[usize::from(scales[row * 4 * self.steps + k / 16])].1
                };
                e2m1(&self.a, m * columns + k)
                    * scale(&self.scales_a, m)
                    * e2m1(&self.b, n * columns + k)
                    * scale(&self.scales_b, n)
            })
            .sum()
    }

    pub fn instruction_descriptor(&self) -> u32 {
        0x0800_0480 | (self.n as u32 / 8) << 17
    }

    /// Copies the scale factors of all steps: four columns each for A, eight for B.
    pub fn copy_scales(&self) -> String {
        let mut text = String::new();
        for step in 0..self.steps as u32 {
            text += &copy_scale_tile(SFA + 4 * step, SFA_AT + 512 * step);
            for half in 0..2 {
                let tile = half * self.steps as u32 + step;
                text += &copy_scale_tile(SFB + 8 * step + 4 * half, SFB_AT + 512 * tile);
            }
        }
        text
    }

    /// The MMA of one step. `enable` is its last operand.
    pub fn mma(&self, step: u32, enable: &str) -> String {
        mma(
            self.layout_a.descriptor(A_AT, 32 * step),
            self.layout_b.descriptor(B_AT, 32 * step),
            self.instruction_descriptor(),
            SFA + 4 * step,
            SFB + 8 * step,
            enable,
        )
    }

    /// All steps, the first without input.
    pub fn mmas(&self) -> String {
        (0..self.steps as u32)
            .map(|step| self.mma(step, if step == 0 { "%p18" } else { "%p19" }))
            .collect()
    }

    /// Runs `body` between loading and dumping; the first 272 columns of tensor memory.
    pub fn run(&self, body: &str) -> Vec<u32> {
        self.program(body).run()
    }

    pub fn program(&self, body: &str) -> Program {
        Program::with_input(&kernel(body), &self.image()).threads(128)
    }

    /// Compares D with the product, and the columns behind it with fresh memory.
    pub fn check(&self, body: &str, expected: impl Fn(usize, usize) -> f64) {
        let out = self.run(body);
        for m in 0..128 {
            for n in 0..SFA as usize {
                let found = out[m * SFA as usize + n];
                let wanted = match n < self.n {
                    true => (expected(m, n) as f32).to_bits(),
                    false => FRESH,
                };
                // The tensor core has no negative zero sums.
                let wanted = if wanted == 1 << 31 { 0 } else { wanted };
                assert_eq!(found, wanted, "D[{m}, {n}] of N = {}", self.n);
            }
        }
    }
}

pub fn copy_scale_tile(column: u32, at: u32) -> String {
    let descriptor = u64::from((SMEM + at) / 16) | 8 << 32 | 1 << 46;
    format!(
        "add.u32 %r20, %r4, {column};\nmov.u64 %rd20, {descriptor:#x};\n\
         @%p31 tcgen05.cp.cta_group::1.32x128b.warpx4 [%r20], %rd20;\n"
    )
}

/// D at column [`D`].
pub fn mma(a: u64, b: u64, instruction: u32, sfa: u32, sfb: u32, enable: &str) -> String {
    format!(
        "mov.u64 %rd21, {a:#x};\nmov.u64 %rd22, {b:#x};\nadd.u32 %r21, %r4, {sfa};\nadd.u32 %r22, %r4, {sfb};\n\
         add.u32 %r23, %r4, {D};\n\
         @%p31 tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.block16 [%r23], %rd21, %rd22, {instruction:#x}, \
         [%r21], [%r22], {enable};\n"
    )
}

pub const COMMIT: &str =
    "@%p31 tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%r1+8];\n";

/// `%p19` holds and `%p18` does not.
pub fn kernel(body: &str) -> String {
    format!(
        r"
    {BARRIERS}
    {ALLOCATE}
    setp.eq.u32 %p19, %r0, %r0;
    setp.ne.u32 %p18, %r0, %r0;
    {}
    {body}
    {COMMIT}
    {}
    tcgen05.fence::after_thread_sync;
    {}
    {FREE}
",
        load_input(A_AT, IMAGE_BYTES),
        wait(8, 0),
        dump_tensor(SFA)
    )
}

/// Whole K tiles: each K step starts 32 bytes further inside the swizzle's row.
#[test]
fn k_steps_advance_inside_the_swizzle_atom() {
    for (layout, steps) in [
        (SWIZZLE_128B, 4),
        (SWIZZLE_64B, 2),
        (SWIZZLE_32B, 1),
        (NO_SWIZZLE, 1),
    ] {
        let product = Product::new(128, steps, layout, layout);
        let body = product.copy_scales() + &product.mmas();
        product.check(&body, |m, n| product.dot(m, n, 0..steps));
    }
}

/// A single step in the middle of the atom.
#[test]
fn a_k_step_reads_its_own_32_bytes() {
    let product = Product::new(64, 4, SWIZZLE_128B, SWIZZLE_128B);
    for step in 0..4 {
        let body = product.copy_scales() + &product.mma(step, "%p18");
        let range = step as usize..step as usize + 1;
        product.check(&body, |m, n| product.dot(m, n, range.clone()));
    }
}

#[test]
fn operands_may_have_different_layouts() {
    let product = Product::new(128, 1, SWIZZLE_64B, NO_SWIZZLE);
    let body = product.copy_scales() + &product.mmas();
    product.check(&body, |m, n| product.dot(m, n, 0..1));
}

/// Groups of eight rows need not be dense.
#[test]
fn groups_of_rows_lie_one_stride_offset_apart() {
    let a = Layout {
        stride: 2048,
        ..SWIZZLE_128B
    };
    let b = Layout {
        stride: 1024,
        ..SWIZZLE_32B
    };
    let product = Product::new(128, 1, a, b);
    let body = product.copy_scales() + &product.mmas();
    product.check(&body, |m, n| product.dot(m, n, 0..1));
}

#[test]
fn n_is_any_multiple_of_8_up_to_256() {
    for n in [8, 24, 64, 136, 192, 256] {
        let product = Product::new(n, 1, SWIZZLE_128B, SWIZZLE_128B);
        let body = product.copy_scales() + &product.mmas();
        product.check(&body, |m, n| product.dot(m, n, 0..1));
    }
}

/// Scale factors of B begin at any column: those of rows 64 and up are two columns further.
#[test]
fn scale_factors_of_b_begin_at_any_column() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let layout = SWIZZLE_128B;
    let upper = mma(
        layout.descriptor(A_AT, 0),
        layout.descriptor(B_AT + 64 * 128, 0),
        product.instruction_descriptor(),
        SFA,
        SFB + 2,
        "%p18",
    );
    let body = product.copy_scales() + &upper;
    product.check(&body, |m, n| product.dot(m, n + 64, 0..1));
}

/// Bits 30 and 31 of a scale-factor address are an index within the word, not part of the address.
#[test]
fn addresses_of_scale_factors_may_carry_an_index() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let tagged = product.mma(0, "%p18").replace(
        "@%p31 tcgen05.mma",
        "or.b32 %r21, %r21, 0x40000000;\nor.b32 %r22, %r22, 0xC0000000;\n@%p31 tcgen05.mma",
    );
    let body = product.copy_scales() + &tagged;
    product.check(&body, |m, n| product.dot(m, n, 0..1));
}

#[test]
fn enable_input_d_decides_whether_d_is_added() {
    let product = Product::new(32, 1, SWIZZLE_128B, SWIZZLE_128B);
    for (second, times) in [("%p18", 1.0), ("%p19", 2.0), ("!%p18", 2.0), ("!%p19", 1.0)] {
        let body = product.copy_scales() + &product.mma(0, "%p18") + &product.mma(0, second);
        product.check(&body, |m, n| times * product.dot(m, n, 0..1));
    }
}

#[test]
fn negate_bits_negate_a_and_b() {
    let product = Product::new(32, 1, SWIZZLE_128B, SWIZZLE_128B);
    for (bits, sign) in [(1 << 13, -1.0), (1 << 14, -1.0), (3 << 13, 1.0)] {
        let plain = product.instruction_descriptor();
        let negated = product
            .mma(0, "%p18")
            .replace(&format!("{plain:#x}"), &format!("{:#x}", plain | bits));
        // A first, plain product: the signs of A and B do not apply to D.
        let body = product.copy_scales()
            + &product.mma(0, "%p18")
            + &product.mma(0, "%p19")
            + &negated.replace("%p18;", "%p19;");
        product.check(&body, |m, n| (2.0 + sign) * product.dot(m, n, 0..1));
    }
}

/// The collector is a cache.
#[test]
fn collector_qualifiers_change_nothing() {
    let product = Product::new(64, 4, SWIZZLE_128B, SWIZZLE_128B);
    for usage in ["fill", "use", "lastuse", "discard"] {
        let mmas = product
            .mmas()
            .replace("block16 [", &format!("block16.collector::a::{usage} ["));
        let body = product.copy_scales() + &mmas;
        product.check(&body, |m, n| product.dot(m, n, 0..4));
    }
}

/// `.scale_vec::4X` is `.block16` by its older name.
#[test]
fn scale_vec_4x_is_block16() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let body = product.copy_scales() + &product.mmas().replace("block16", "scale_vec::4X");
    product.check(&body, |m, n| product.dot(m, n, 0..1));
}

/// `tcgen05.cp` and `.mma` of one thread execute in order, in both directions: scales may be replaced between MMAs.
#[test]
fn copies_and_mmas_execute_in_order() {
    let product = Product::new(64, 4, SWIZZLE_128B, SWIZZLE_128B);
    let mut body = String::new();
    for step in 0..4 {
        body += &copy_scale_tile(SFA, SFA_AT + 512 * step);
        body += &copy_scale_tile(SFB, SFB_AT + 512 * step);
        body += &mma(
            SWIZZLE_128B.descriptor(A_AT, 32 * step),
            SWIZZLE_128B.descriptor(B_AT, 32 * step),
            product.instruction_descriptor(),
            SFA,
            SFB,
            if step == 0 { "%p18" } else { "%p19" },
        );
    }
    product.check(&body, |m, n| product.dot(m, n, 0..4));
}

/// Fences order memory; they compute nothing, and need not be there within one thread.
#[test]
fn fences_change_nothing() {
    let product = Product::new(32, 1, SWIZZLE_128B, SWIZZLE_128B);
    let fences = "tcgen05.fence::before_thread_sync;\ntcgen05.fence::after_thread_sync;\n\
                  fence.proxy.async.shared::cta;\nfence.acq_rel.cta;\n";
    let body = [
        fences,
        &product.copy_scales(),
        fences,
        &product.mmas(),
        fences,
    ]
    .concat();
    product.check(&body, |m, n| product.dot(m, n, 0..1));
}

/// A NaN scale spoils its own row, or column, of D only.
#[test]
fn nan_scales_spoil_one_row_or_column() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let body = kernel(&(product.copy_scales() + &product.mmas()));
    // Row 45: lane 13, column 1; block 2.
    let scale = 13 * 16 + 4 + 2;
    for (at, is_row) in [(SFA_AT, true), (SFB_AT, false)] {
        let mut image = product.image();
        image[(at - A_AT) as usize + scale] = 0x7F;
        let out = Program::with_input(&body, &image).threads(128).run();
        for m in 0..128 {
            for n in 0..64 {
                let spoilt = if is_row { m == 45 } else { n == 45 };
                let expected = match spoilt {
                    true => 0x7FFF_FFFF,
                    false => (product.dot(m, n, 0..1) as f32).to_bits(),
                };
                assert_eq!(out[m * SFA as usize + n], expected, "D[{m}, {n}]");
            }
        }
    }
}

/// UE4M3 has no sign: bit 7 is ignored.
#[test]
fn scales_have_no_sign() {
    let product = Product::new(64, 1, SWIZZLE_128B, SWIZZLE_128B);
    let mut image = product.image();
    for byte in &mut image[(SFA_AT - A_AT) as usize..] {
        *byte |= 0x80;
    }
    let body = kernel(&(product.copy_scales() + &product.mmas()));
    let out = Program::with_input(&body, &image).threads(128).run();
    assert_eq!(out, product.run(&(product.copy_scales() + &product.mmas())));
}

/// One instruction sums exactly and truncates once, toward zero: 2^24 + 1.5 is 2^24, and 2^24 + 3 is 2^24 + 2.
#[test]
fn sums_are_truncated_once() {
    let mut product = Product::new(8, 2, SWIZZLE_128B, SWIZZLE_128B);
    product.a.fill(0);
    product.b.fill(0);
    for scales in [&mut product.scales_a, &mut product.scales_b] {
        scales.fill(0);
    }
    // Elements 0 and 16 of the second step: A is 1 and -0.5; B is 1.5 or 3, and 0, 0.5, 1 or 1.5.
    for m in 0..128 {
        product.a[m * 64 + 32] = 0x02;
        product.a[m * 64 + 40] = 0x09;
    }
    for n in 0..8 {
        product.b[n * 64 + 32] = [0x03, 0x05][n / 4];
        product.b[n * 64 + 40] = [0, 1, 2, 3][n % 4];
    }
    let accumulator = r"
    mov.u32 %r30, 0x4B800000;
    mov.u32 %r31, %r4;
    add.u32 %r32, %r4, 8;
FILL:
    tcgen05.st.sync.aligned.32x32b.x1.b32 [%r31], {%r30};
    add.u32 %r31, %r31, 1;
    setp.lt.u32 %p1, %r31, %r32;
    @%p1 bra FILL;
";
    let body = accumulator.to_owned() + STORED + &product.copy_scales() + &product.mma(1, "%p19");
    product.check(&body, |m, n| {
        let sum = product.dot(m, n, 1..2);
        16_777_216.0 + 2.0 * (sum / 2.0).floor()
    });
}

/// The commit arrives once, at the barrier it names, when what its thread issued before is complete.
#[test]
fn a_commit_arrives_once() {
    let product = Product::new(8, 1, SWIZZLE_128B, SWIZZLE_128B);
    let twice = "@%p31 mbarrier.init.shared::cta.b64 [%r1+32], 2;\n".to_owned()
        + &product.copy_scales()
        + &COMMIT.replace("+8", "+32")
        + &product.mmas()
        + &COMMIT.replace("+8", "+32")
        + "bar.sync 0;\n"
        + &wait(32, 0);
    product.check(&twice, |m, n| product.dot(m, n, 0..1));
    let once = twice.replacen(&COMMIT.replace("+8", "+32"), "", 1);
    let text = product.program(&once).fail().to_string();
    assert!(text.contains("1 of 2 arrivals pending"), "{text}");
}

/// A commit of a thread that issued nothing has nothing to wait for, but does arrive.
#[test]
fn a_commit_without_operations_arrives() {
    let body = format!("{BARRIERS}{COMMIT}{}", wait(8, 0));
    Program::new(&body).run();
}
