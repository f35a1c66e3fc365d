//! `tcgen05.mma` of every kind: types, layouts of A, B and D, and what modifies the product (PTX ISA §9.7.16.10).
//!
//! Elements are so small that every sum is exact in f32: only the layouts are at stake. The arithmetic of inexact sums
//! has its own suite beside the code.

use half::f16;

use super::mma::{A_AT, B_AT, D, IMAGE_BYTES, SFA, SFA_AT, SFB, SFB_AT, copy_scale_tile, kernel};
use super::program::*;

/// An element type, with the codes of [`VALUES`].
#[derive(Clone, Copy, Debug)]
struct Type {
    bits: u32,
    /// In the instruction descriptor.
    code: u32,
    codes: [u32; 7],
}

const VALUES: [f64; 7] = [1.0, -1.0, 0.5, 2.0, -1.5, 0.0, 3.0];

const F16: Type = Type {
    bits: 16,
    code: 0,
    codes: [0x3c00, 0xbc00, 0x3800, 0x4000, 0xbe00, 0, 0x4200],
};
const BF16: Type = Type {
    bits: 16,
    code: 1,
    codes: [0x3f80, 0xbf80, 0x3f00, 0x4000, 0xbfc0, 0, 0x4040],
};
/// The lower 13 bits do not count.
const TF32: Type = Type {
    bits: 32,
    code: 2,
    codes: [
        0x3f80_1fff,
        0xbf80_0001,
        0x3f00_1000,
        0x4000_0000,
        0xbfc0_0abc,
        0x0000_0000,
        0x4040_1fff,
    ],
};
const E4M3: Type = Type {
    bits: 8,
    code: 0,
    codes: [0x38, 0xb8, 0x30, 0x40, 0xbc, 0, 0x44],
};
const E5M2: Type = Type {
    bits: 8,
    code: 1,
    codes: [0x3c, 0xbc, 0x38, 0x40, 0xbe, 0, 0x42],
};
const E2M3: Type = Type {
    bits: 6,
    code: 3,
    codes: [0x08, 0x28, 0x04, 0x10, 0x2c, 0, 0x14],
};
const E3M2: Type = Type {
    bits: 6,
    code: 4,
    codes: [0x0c, 0x2c, 0x08, 0x10, 0x2e, 0, 0x12],
};
const E2M1: Type = Type {
    bits: 4,
    code: 5,
    codes: [0x2, 0xa, 0x1, 0x4, 0xb, 0, 0x5],
};

const NARROW: [Type; 5] = [E4M3, E5M2, E2M3, E3M2, E2M1];

/// How an operand lies in shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Major {
    /// Bits 61–63 of the descriptor.
    mode: u64,
    /// Bytes of the swizzle's rows; 16 without swizzle.
    span: u32,
    leading: u32,
    stride: u32,
    /// M- or N-major.
    transposed: bool,
}

const K_MAJOR: Major = Major {
    mode: 6,
    span: 32,
    leading: 0,
    stride: 256,
    transposed: false,
};
/// As sf-tensor's probes have it: the second 16 bytes of a row follow all the first.
const K_MAJOR_PLAIN: Major = Major {
    mode: 0,
    span: 16,
    leading: 4096,
    stride: 128,
    transposed: false,
};

impl Major {
    /// M- or N-major with this swizzle: blocks of `span` bytes along M or N lie `leading` apart, groups of 8 (or 4) k
    /// `stride`.
    const fn transposed(mode: u64, span: u32) -> Major {
        Major {
            mode,
            span,
            leading: 8192,
            stride: match mode {
                1 => 1024,
                _ => 2048,
            },
            transposed: true,
        }
    }

    fn descriptor(&self, at: u32) -> u64 {
        u64::from((SMEM + at) / 16)
            | u64::from(self.leading / 16) << 16
            | u64::from(self.stride / 16) << 32
            | 1 << 46
            | self.mode << 61
    }

    /// The XOR of the swizzle, on an offset from a multiple of 1024.
    fn swizzled(&self, dense: u32) -> u32 {
        let (line, within) = (dense / 128, dense % 128);
        let within = match self.mode {
            0 => within,
            1 => within ^ (line % 4 * 32),
            _ => within ^ (line % (self.span / 16) * 16),
        };
        line * 128 + within
    }

    /// Offset of byte `byte` of row `row`, K-major.
    fn along_k(&self, row: u32, byte: u32) -> u32 {
        let group = row / 8 * self.stride + row % 8 * self.span;
        match self.mode {
            0 => group + byte / 16 * self.leading + byte % 16,
            _ => self.swizzled(group + byte),
        }
    }

    /// Offset of the byte `byte` of M or N at column k. The canonical layouts of §9.7.16.3.3, without swizzle
    /// ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO)), with it ((T,s,m),(8,k)):((1,T,LBO),(sT,SBO)).
    fn along_mn(&self, byte: u32, k: u32) -> u32 {
        if self.mode == 0 {
            return byte % 16 + byte / 16 * self.stride + k % 8 * 16 + k / 8 * self.leading;
        }
        let columns = if self.mode == 1 { 4 } else { 8 };
        let block = byte % self.span + byte / self.span * self.leading;
        self.swizzled(block + k % columns * self.span + k / columns * self.stride)
    }
}

/// A matrix of [`VALUES`], `rows` × `k`.
struct Matrix {
    ty: Type,
    k: usize,
    indices: Vec<usize>,
}

impl Matrix {
    fn new(ty: Type, rows: usize, k: usize, seed: usize) -> Matrix {
        let noise = noise(rows * k + seed).into_iter().skip(seed);
        Matrix {
            ty,
            k,
            indices: noise.map(|byte| usize::from(byte) % 7).collect(),
        }
    }

    fn value(&self, row: usize, k: usize) -> f64 {
        VALUES[self.indices[row * self.k + k]]
    }

    fn code(&self, row: usize, k: usize) -> u32 {
        self.ty.codes[self.indices[row * self.k + k]]
    }

    fn rows(&self) -> usize {
        self.indices.len() / self.k
    }

    /// The 32 bytes of a row. 64 elements of 4 bits are packed; 32 of 6 or 4 bits are padded to 16 bytes per 16.
    fn bytes(&self, row: usize) -> [u8; 32] {
        let mut bytes = [0xA5; 32];
        let bits = self.ty.bits as usize;
        let at = |k: usize| match (bits, self.k) {
            (6 | 4, 32) => k / 16 * 128 + k % 16 * bits,
            _ => k * bits,
        };
        for k in 0..self.k {
            for bit in 0..bits {
                let to = at(k) + bit;
                let value = (self.code(row, k) >> bit & 1) as u8;
                bytes[to / 8] = bytes[to / 8] & !(1 << (to % 8)) | value << (to % 8);
            }
        }
        bytes
    }

    fn place(&self, image: &mut [u8], at: u32, major: Major) {
        let base = (at - A_AT) as usize;
        let size = self.ty.bits / 8;
        for row in 0..self.rows() {
            let bytes = self.bytes(row);
            for byte in 0..32 {
                let offset = match major.transposed {
                    false => major.along_k(row as u32, byte),
                    true => major.along_mn(row as u32 * size + byte % size, byte / size),
                };
                image[base + offset as usize] = bytes[byte as usize];
            }
        }
    }
}

/// A product in shared memory, and the instruction for it.
struct Product {
    kind: &'static str,
    m: usize,
    n: usize,
    a: Matrix,
    b: Matrix,
    majors: [Major; 2],
    /// Bits of the instruction descriptor besides the types, shapes and transposes.
    more: u32,
    /// Exponents of UE8M0 scale factors, by row and K block of an operand; four each.
    scales: Option<[Vec<i32>; 2]>,
}

impl Product {
    fn new(kind: &'static str, types: [Type; 2], m: usize, n: usize) -> Product {
        let k = if kind.contains("mxf4") {
            64
        } else {
            256 / types[0].bits.max(8) as usize
        };
        Product {
            kind,
            m,
            n,
            a: Matrix::new(types[0], m, k, 0),
            b: Matrix::new(types[1], n, k, 5),
            majors: [K_MAJOR; 2],
            // D is f32.
            more: if kind.contains("mx") { 0 } else { 1 << 4 },
            scales: None,
        }
    }

    fn majors(self, a: Major, b: Major) -> Product {
        Product {
            majors: [a, b],
            ..self
        }
    }

    fn more(self, more: u32) -> Product {
        Product {
            more: self.more | more,
            ..self
        }
    }

    /// Four random scale factors a row, 2^-3 to 2^3.
    fn scaled(self) -> Product {
        let factors = |rows: usize, seed: usize| -> Vec<i32> {
            let noise = noise(4 * rows + seed).into_iter().skip(seed);
            noise.map(|byte| i32::from(byte % 7) - 3).collect()
        };
        Product {
            scales: Some([factors(self.m, 3), factors(self.n, 9)]),
            more: self.more | 1 << 23,
            ..self
        }
    }

    fn instruction(&self) -> u32 {
        let fp4 = self.kind.contains("mxf4");
        let code = |ty: Type| if fp4 { 1 } else { ty.code };
        let m = match self.kind.contains("mx") {
            true => (self.m as u32 / 128) << 27,
            false => (self.m as u32 / 16) << 24,
        };
        let [a, b] = self.majors;
        m | (self.n as u32 / 8) << 17
            | code(self.a.ty) << 7
            | code(self.b.ty) << 10
            | u32::from(a.transposed) << 15
            | u32::from(b.transposed) << 16
            | self.more
    }

    fn image(&self) -> Vec<u8> {
        let mut image = noise(IMAGE_BYTES);
        self.a.place(&mut image, A_AT, self.majors[0]);
        self.b.place(&mut image, B_AT, self.majors[1]);
        for (at, scales) in [SFA_AT, SFB_AT]
            .into_iter()
            .zip(self.scales.iter().flatten())
        {
            for (i, scale) in scales.iter().enumerate() {
                let (row, block) = (i / 4, i % 4);
                let to = row / 128 * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block;
                image[(at - A_AT) as usize + to] = (127 + scale) as u8;
            }
        }
        image
    }

    /// The MMA, with these operands behind the instruction descriptor.
    fn mma(&self, rest: &str) -> String {
        let scales = match self.scales {
            Some(_) => "[%r21], [%r22], ",
            None => "",
        };
        format!(
            "{}{}{}mov.u64 %rd21, {:#x};\nmov.u64 %rd22, {:#x};\nadd.u32 %r21, %r4, {SFA};\nadd.u32 %r22, %r4, {SFB};\n\
             add.u32 %r23, %r4, {D};\n\
             @%p31 tcgen05.mma.cta_group::1.kind::{} [%r23], %rd21, %rd22, {:#x}, {scales}{rest};\n",
            copy_scale_tile(SFA, SFA_AT),
            copy_scale_tile(SFB, SFB_AT),
            copy_scale_tile(SFB + 4, SFB_AT + 512),
            self.majors[0].descriptor(A_AT),
            self.majors[1].descriptor(B_AT),
            self.kind,
            self.instruction(),
        )
    }

    fn program(&self, body: &str) -> Program {
        Program::with_input(&kernel(body), &self.image()).threads(128)
    }

    /// Element (m, n) of A·Bᵀ. A K block of `block` elements takes factor `first` + its number.
    fn dot_scaled(&self, m: usize, n: usize, block: usize, first: [usize; 2]) -> f64 {
        (0..self.a.k)
            .map(|k| {
                let factor = |i: usize, row: usize| {
                    let scales = self.scales.as_ref().map(|scales| &scales[i]);
                    scales.map_or(0, |scales| scales[4 * row + first[i] + k / block])
                };
                let scale = 2f64.powi(factor(0, m) + factor(1, n));
                self.a.value(m, k) * self.b.value(n, k) * scale
            })
            .sum()
    }

    fn dot(&self, m: usize, n: usize) -> f64 {
        self.dot_scaled(m, n, usize::MAX, [0; 2])
    }

    /// Runs `body` and compares tensor memory: `lane(m)` holds row m, `word` encodes its elements; all else is fresh.
    fn check_words(
        &self,
        body: &str,
        lane: impl Fn(usize) -> usize,
        word: impl Fn(usize, usize) -> u32,
    ) {
        let out = self.program(body).run();
        let mut expected = vec![FRESH; 128 * SFA as usize];
        for m in 0..self.m {
            for n in 0..self.n {
                expected[lane(m) * SFA as usize + n] = word(m, n);
            }
        }
        for (i, (found, wanted)) in out.iter().zip(&expected).enumerate() {
            let (lane, column) = (i / SFA as usize, i % SFA as usize);
            assert_eq!(
                found, wanted,
                "lane {lane}, column {column}: {found:#010x}, not {wanted:#010x}; {} {:?} {:?}",
                self.kind, self.a.ty, self.b.ty
            );
        }
    }

    fn check(&self, body: &str, expected: impl Fn(usize, usize) -> f64) {
        self.check_words(body, |m| m, |m, n| f32_bits(expected(m, n)));
    }

    fn refused(&self, rest: &str, message: &str) {
        self.program(&self.mma(rest))
            .fail_with("tcgen05.mma", message);
    }
}

/// The tensor core has no negative zero sums.
fn f32_bits(value: f64) -> u32 {
    (value as f32 + 0.0).to_bits()
}

/// A product of every kind, with and without scale factors.
pub fn examples() -> Vec<Program> {
    let plain = [("f16", BF16), ("tf32", TF32), ("f8f6f4", E5M2)]
        .map(|(kind, ty)| Product::new(kind, [ty; 2], 128, 64));
    let scaled = [("mxf8f6f4.block_scale", E2M3), ("mxf4.block_scale", E2M1)]
        .map(|(kind, ty)| Product::new(kind, [ty; 2], 128, 64).scaled());
    let products = plain.iter().chain(&scaled);
    products
        .map(|product| product.program(&product.mma("%p18")))
        .collect()
}

#[test]
fn f16_bf16_and_tf32_are_multiplied() {
    for (kind, ty) in [("f16", F16), ("f16", BF16), ("tf32", TF32)] {
        for (m, n, majors) in [(128, 256, K_MAJOR), (128, 8, K_MAJOR_PLAIN)] {
            let product = Product::new(kind, [ty; 2], m, n).majors(majors, majors);
            product.check(&product.mma("%p18"), |m, n| product.dot(m, n));
        }
    }
}

/// Their own bit of the descriptor; each in the lower half of a word.
#[test]
fn f16_accumulators_take_half_a_word() {
    for (kind, ty) in [("f16", F16), ("f8f6f4", E4M3)] {
        let mut product = Product::new(kind, [ty; 2], 128, 64);
        product.more = 0;
        // The second MMA adds to the first.
        let body = product.mma("%p18") + &product.mma("%p19");
        product.check_words(
            &body,
            |m| m,
            |m, n| u32::from(f16::from_f64(2.0 * product.dot(m, n) + 0.0).to_bits()),
        );
    }
}

/// 6- and 4-bit elements: 16 of them in the first 12 or 8 of every 16 bytes.
#[test]
fn all_pairs_of_narrow_types_are_multiplied() {
    for a in NARROW {
        for b in NARROW {
            let product = Product::new("f8f6f4", [a, b], 128, 16).majors(K_MAJOR, K_MAJOR_PLAIN);
            product.check(&product.mma("%p18"), |m, n| product.dot(m, n));
        }
    }
}

/// One factor for 32 elements: any byte of a word.
#[test]
fn scale_factors_of_mxf8f6f4_are_single_bytes() {
    for (id_a, id_b) in [(0, 0), (1, 3), (3, 2)] {
        for [a, b] in [[E4M3, E4M3], [E2M1, E5M2]] {
            let product = Product::new("mxf8f6f4.block_scale", [a, b], 128, 136)
                .scaled()
                .more(id_a << 29 | id_b << 4);
            let first = [id_a as usize, id_b as usize];
            product.check(&product.mma("%p18"), |m, n| {
                product.dot_scaled(m, n, 32, first)
            });
        }
    }
}

/// Two factors for 64 elements: the lower or the upper half of a word. Four: all of it.
#[test]
fn ue8m0_scale_factors_of_fp4_are_half_words_or_words() {
    for kind in [
        "mxf4.block_scale",
        "mxf4nvf4.block_scale.scale_vec::2X",
        "mxf4.block_scale.block32",
    ] {
        for (id_a, id_b) in [(0, 0), (0, 2), (2, 0)] {
            let product = Product::new(kind, [E2M1; 2], 128, 40)
                .scaled()
                .more(id_a << 29 | id_b << 4);
            let first = [id_a as usize, id_b as usize];
            product.check(&product.mma("%p18"), |m, n| {
                product.dot_scaled(m, n, 32, first)
            });
        }
    }
    let product = Product::new("mxf4nvf4.block_scale.block16", [E2M1; 2], 128, 40).scaled();
    product.check(&product.mma("%p18"), |m, n| {
        product.dot_scaled(m, n, 16, [0, 0])
    });
}

#[test]
fn a_nan_scale_factor_spoils_its_row() {
    let product = Product::new("mxf8f6f4.block_scale", [E4M3; 2], 128, 8).scaled();
    let mut image = product.image();
    image[(SFA_AT - A_AT) as usize + 5 * 16] = 0xff;
    let body = kernel(&product.mma("%p18"));
    let out = Program::with_input(&body, &image).threads(128).run();
    for m in 0..128 {
        let is_nan = out[m * SFA as usize] == 0x7fff_ffff;
        assert_eq!(is_nan, m == 5, "row {m}");
    }
}

#[test]
fn integers_of_8_bits_are_multiplied() {
    for (a_signed, b_signed) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut product = Product::new("i8", [E4M3; 2], 128, 48);
        let code = |signed| Type {
            code: u32::from(signed),
            codes: [1, 255, 128, 127, 0, 200, 3],
            ..E4M3
        };
        (product.a.ty, product.b.ty) = (code(a_signed), code(b_signed));
        product.more = 2 << 4;
        let value = |matrix: &Matrix, row, k, signed| {
            let byte = matrix.code(row, k) as u8;
            if signed {
                i32::from(byte as i8)
            } else {
                i32::from(byte)
            }
        };
        product.check_words(
            &product.mma("%p18"),
            |m| m,
            |m, n| {
                let a = |k| value(&product.a, m, k, a_signed);
                let b = |k| value(&product.b, n, k, b_signed);
                (0..32).map(|k| a(k) * b(k)).sum::<i32>() as u32
            },
        );
    }
}

/// D of FRESH + products of ones: beyond the ends of s32 or not.
#[test]
fn integers_saturate_if_told_to() {
    for saturate in [false, true] {
        let mut product = Product::new("i8", [E4M3; 2], 128, 8);
        product.a.ty = Type {
            code: 0,
            codes: [255; 7],
            ..E4M3
        };
        product.b.ty = product.a.ty;
        product.more = 2 << 4 | u32::from(saturate) << 3;
        let most = format!(
            "mov.u32 %r40, 0x7fffffff;\ntcgen05.st.sync.aligned.32x32b.x8.b32 [%r4], {{{}}};\n\
             tcgen05.wait::st.sync.aligned;\ntcgen05.fence::before_thread_sync;\nbar.sync 0;\n\
             tcgen05.fence::after_thread_sync;\n",
            ["%r40"; 8].join(", ")
        );
        let sum = 0x7fff_ffffu32.wrapping_add(32 * 255 * 255);
        product.check_words(
            &(most + &product.mma("%p19")),
            |m| m,
            |_, _| if saturate { 0x7fff_ffff } else { sum },
        );
    }
}

/// Layout F: 16 rows in each quarter of the lanes, from lane 0 or 16 on.
#[test]
fn products_of_64_rows_take_half_of_the_lanes() {
    let product = Product::new("f16", [BF16; 2], 64, 96);
    for first in [0, 16] {
        let body = product.mma("%p18").replace(
            "@%p31 tcgen05.mma",
            &format!("add.u32 %r23, %r23, {:#x};\n@%p31 tcgen05.mma", first << 16),
        );
        product.check_words(
            &body,
            |m| m % 16 + 32 * (m / 16) + first,
            |m, n| f32_bits(product.dot(m, n)),
        );
    }
}

const TRANSPOSED: [Major; 4] = [
    Major::transposed(2, 128),
    Major::transposed(4, 64),
    Major::transposed(6, 32),
    Major {
        // Chunks of 16 bytes along M or N lie `stride` apart, groups of 8 k `leading`.
        leading: 8192,
        stride: 128,
        ..Major::transposed(0, 16)
    },
];

#[test]
fn operands_of_16_and_8_bits_may_be_m_and_n_major() {
    for (kind, ty) in [("f16", F16), ("f8f6f4", E4M3)] {
        for major in TRANSPOSED {
            // Four blocks of the swizzle's rows along N, as far as N goes.
            let n = match major.mode {
                0 => 128,
                _ => (4 * major.span * 8 / ty.bits).min(256) as usize,
            };
            let product = Product::new(kind, [ty; 2], 128, n).majors(K_MAJOR, major);
            product.check(&product.mma("%p18"), |m, n| product.dot(m, n));
            let product = Product::new(kind, [ty; 2], 64, 32).majors(major, K_MAJOR);
            product.check_words(
                &product.mma("%p18"),
                |m| m % 16 + 32 * (m / 16),
                |m, n| f32_bits(product.dot(m, n)),
            );
        }
    }
}

/// The swizzle with 32-byte atoms, four k each.
#[test]
fn operands_of_32_bits_may_be_m_and_n_major() {
    let major = Major::transposed(1, 128);
    let product = Product::new("tf32", [TF32; 2], 64, 64).majors(major, major);
    product.check_words(
        &product.mma("%p18"),
        |m| m % 16 + 32 * (m / 16),
        |m, n| f32_bits(product.dot(m, n)),
    );
}

/// PTX ISA §9.7.16.10.1, §9.7.16.10.3.
#[test]
fn transposes_go_with_their_swizzles() {
    let atoms = Major::transposed(1, 128);
    for (kind, ty, major) in [
        ("f16", F16, atoms),
        ("f8f6f4", E5M2, atoms),
        ("tf32", TF32, TRANSPOSED[0]),
        ("tf32", TF32, TRANSPOSED[3]),
        (
            "f16",
            F16,
            Major {
                transposed: false,
                ..atoms
            },
        ),
    ] {
        let product = Product::new(kind, [ty; 2], 128, 32);
        let product = product.majors(
            K_MAJOR,
            Major {
                leading: 0,
                ..major
            },
        );
        product.refused("%p18", "does not go with");
    }
    for ty in [E2M3, E2M1] {
        let mut product = Product::new("f8f6f4", [E4M3, ty], 128, 32);
        product.more |= 1 << 16;
        product.refused("%p18", "cannot transpose B");
    }
    let odd = Major {
        leading: 512,
        ..TRANSPOSED[0]
    };
    let mut product = Product::new("f16", [F16; 2], 128, 128);
    product.more |= 1 << 16;
    let text = product.mma("%p18").replace(
        &format!("{:#x}", K_MAJOR.descriptor(B_AT)),
        &format!("{:#x}", odd.descriptor(B_AT)),
    );
    product
        .program(&text)
        .fail_with("tcgen05.mma", "leading offset 512");
}

/// Each lane holds the 32 bytes of its row in eight columns.
#[test]
fn a_may_lie_in_tensor_memory() {
    for (kind, ty, m, first) in [
        ("f16", F16, 128, 0),
        ("tf32", TF32, 128, 0),
        ("f8f6f4", E5M2, 128, 0),
        ("mxf4nvf4.block_scale.block16", E2M1, 128, 0),
        ("f16", BF16, 64, 0),
        ("f16", BF16, 64, 16),
    ] {
        let mut product = Product::new(kind, [ty; 2], m, 64);
        if kind.contains("mx") {
            product = product.scaled();
        }
        let lane = |row: usize| match m {
            64 => row % 16 + 32 * (row / 16) + first,
            _ => row,
        };
        // Row after row, at the place of A in shared memory, by lanes.
        let mut image = product.image();
        for row in 0..m {
            let to = 32 * lane(row);
            image[to..to + 32].copy_from_slice(&product.a.bytes(row));
        }
        let words: Vec<String> = (0..8).map(|i| format!("%r{}", 40 + i)).collect();
        let mut store = String::from("shl.b32 %r50, %r0, 5;\nadd.u32 %r50, %r50, %r1;\n");
        for (i, word) in words.iter().enumerate() {
            store += &format!("ld.shared.u32 {word}, [%r50+{}];\n", A_AT as usize + 4 * i);
        }
        store += &format!(
            "add.u32 %r51, %r4, 400;\ntcgen05.st.sync.aligned.32x32b.x8.b32 [%r51], {{{}}};\n\
             tcgen05.wait::st.sync.aligned;\ntcgen05.fence::before_thread_sync;\nbar.sync 0;\n\
             tcgen05.fence::after_thread_sync;\n",
            words.join(", ")
        );
        let mma = product.mma("%p18").replace(
            "@%p31 tcgen05.mma",
            &format!(
                "add.u32 %r51, %r51, {0:#x};\nadd.u32 %r23, %r23, {0:#x};\n@%p31 tcgen05.mma",
                first << 16
            ),
        );
        let mma = mma.replace("[%r23], %rd21", "[%r23], [%r51]");
        let out = Program::with_input(&kernel(&(store + &mma)), &image)
            .threads(128)
            .run();
        for row in 0..m {
            for n in 0..64 {
                let wanted = product.dot_scaled(
                    row,
                    n,
                    if kind.contains("mx") { 16 } else { usize::MAX },
                    [0; 2],
                );
                let found = out[lane(row) * SFA as usize + n];
                assert_eq!(found, f32_bits(wanted), "{kind} {m} D[{row}, {n}]");
            }
        }
    }
}

#[test]
fn a_in_tensor_memory_has_its_own_rules() {
    let at = |product: &Product, address: u32| {
        product
            .mma("%p18")
            .replace(
                "@%p31 tcgen05.mma",
                &format!("add.u32 %r51, %r4, {address:#x};\n@%p31 tcgen05.mma"),
            )
            .replace("[%r23], %rd21", "[%r23], [%r51]")
    };
    let f16 = Product::new("f16", [F16; 2], 128, 64);
    let half = Product::new("f16", [F16; 2], 64, 64);
    for (product, address, message) in [
        (&f16, 16 << 16 | 400, "A at lane 16"),
        (&half, 16 << 16 | 400, "the same as D"),
        (&f16, 60, "overlaps"),
        (&f16, 508, "there are 512"),
        (
            &Product::new("f8f6f4", [E2M1; 2], 128, 64),
            400,
            "4-bit elements",
        ),
        (
            &Product::new("f8f6f4", [E3M2; 2], 128, 64),
            400,
            "6-bit elements",
        ),
        (
            &Product::new("f16", [F16; 2], 128, 64).more(1 << 15),
            400,
            "M-major A",
        ),
    ] {
        product
            .program(&at(product, address))
            .fail_with("tcgen05.mma", message);
    }
}

/// D = A·B + D · 2^-s.
#[test]
fn the_input_d_can_be_scaled() {
    for (kind, ty) in [("f16", F16), ("tf32", TF32)] {
        for shift in [0, 1, 3, 15] {
            let product = Product::new(kind, [ty; 2], 128, 8);
            let body = product.mma("%p18") + &product.mma(&format!("%p19, {shift}"));
            let factor = 1.0 + 2f64.powi(-shift);
            product.check(&body, |m, n| product.dot(m, n) * factor);
        }
    }
    for (kind, ty, shift) in [("f16", F16, 16), ("f8f6f4", E4M3, 1)] {
        let product = Product::new(kind, [ty; 2], 128, 8);
        load_error(&kernel(&product.mma(&format!("%p19, {shift}"))));
    }
}

#[test]
fn disabled_lanes_are_left_alone() {
    let product = Product::new("f16", [F16; 2], 128, 16);
    let masks = [0x8000_0001u32, 0, 0xffff_ffff, 0x0000_ff00];
    let mut body = String::new();
    for (i, mask) in masks.iter().enumerate() {
        body += &format!("mov.u32 %r{}, {mask:#x};\n", 60 + i);
    }
    body += &product.mma("{%r60, %r61, %r62, %r63}, %p18");
    let out = product.program(&body).run();
    for m in 0..128 {
        for n in 0..16 {
            let wanted = match masks[m / 32] >> (m % 32) & 1 {
                1 => FRESH,
                _ => f32_bits(product.dot(m, n)),
            };
            assert_eq!(out[m * SFA as usize + n], wanted, "D[{m}, {n}]");
        }
    }
    let short = product.mma("{%r60, %r61}, %p18");
    assert!(load_error(&kernel(&short)).contains("needs 4"));
}

#[test]
fn every_floating_point_kind_can_negate() {
    for (kind, ty) in [("f16", F16), ("tf32", TF32), ("f8f6f4", E2M3)] {
        for bits in [1 << 13, 1 << 14, 3 << 13] {
            let product = Product::new(kind, [ty; 2], 128, 8).more(bits);
            let sign = if bits == 3 << 13 { 1.0 } else { -1.0 };
            product.check(&product.mma("%p18"), |m, n| sign * product.dot(m, n));
        }
    }
}

#[test]
fn instruction_descriptors_of_all_kinds_are_checked() {
    let f16 = || Product::new("f16", [F16; 2], 128, 64);
    let tf32 = || Product::new("tf32", [TF32; 2], 128, 64);
    let f8 = || Product::new("f8f6f4", [E4M3; 2], 128, 64);
    let mx = || Product::new("mxf8f6f4.block_scale", [E4M3; 2], 128, 64).scaled();
    let i8 = |n| {
        let mut product = Product::new("i8", [E4M3; 2], 128, n);
        product.more = 2 << 4;
        product
    };
    for (product, message) in [
        (f16().more(1), "reserved bits"),
        (f16().more(1 << 3), "reserved bits"),
        (f16().more(1 << 6), "reserved bits"),
        (f16().more(1 << 23), "reserved bits"),
        (f16().more(1 << 29), "reserved bits"),
        (f16().more(1 << 30), "reserved bits"),
        (f16().more(1 << 2), "sparse"),
        (f16().more(2 << 4), "D has type code 3"),
        (f16().more(2 << 7), "A has type code 2"),
        (tf32().more(1 << 10), "B has type code 3"),
        (tf32().more(2 << 4), "D has type code 3"),
        (f8().more(2 << 7), "A has type code 2"),
        (f8().more(6 << 10), "B has type code 6"),
        (mx().more(1 << 31), "reserved bits"),
        (mx().more(1), "reserved bits"),
        (i8(64).more(1 << 13), "cannot negate"),
        (i8(64).more(2 << 10), "B has type code 2"),
        (i8(40), "N = 40"),
        (Product::new("f16", [F16; 2], 32, 64), "M = 32"),
        (Product::new("f16", [F16; 2], 256, 64), "M = 256"),
        (
            Product::new("f8f6f4", [E4M3; 2], 128, 24).majors(K_MAJOR, TRANSPOSED[0]),
            "N = 24",
        ),
    ] {
        product.refused("%p18", message);
    }
    let mut bf16 = Product::new("f16", [BF16; 2], 128, 64);
    bf16.more = 0;
    bf16.refused("%p18", "D is f16, but A is not");
    let mut ue4m3 = mx();
    ue4m3.more = 0;
    ue4m3.refused("%p18", "Ue4m3 scales of 32 elements");
}

/// D of 64 rows leaves the other lanes to others.
#[test]
fn an_mma_of_64_rows_conflicts_in_its_own_lanes_only() {
    let product = Product::new("f16", [F16; 2], 64, 16);
    let read = |lane: u32| {
        product.mma("%p18")
            + &format!(
                "add.u32 %r50, %r4, {:#x};\n\
                 tcgen05.ld.sync.aligned.16x64b.x1.b32 {{%r51}}, [%r50];\ntcgen05.wait::ld.sync.aligned;\n",
                lane << 16
            )
    };
    product.program(&read(16)).run();
    let race = product.program(&read(0)).race_late();
    assert_eq!(race.operation, "tcgen05.mma");
}

#[test]
fn forms_that_are_not_emulated_are_refused_by_name() {
    let mma = Product::new("f16", [F16; 2], 128, 64).mma("%p18");
    for (form, name) in [
        ("tcgen05.mma.ws.cta_group::1", "`.ws`"),
        ("tcgen05.mma.sp.cta_group::1", "`.sp`"),
    ] {
        let text = mma.replace("tcgen05.mma.cta_group::1", form);
        let error = load_error(&kernel(&text));
        assert!(error.contains(name), "{error}");
    }
    let shifted = mma.replace("kind::f16", "kind::f16.ashift");
    assert!(load_error(&kernel(&shifted)).contains("`.ashift`"));
    for (text, name) in [
        ("tcgen05.shift.cta_group::1.down [%r4];", "tcgen05.shift"),
        (
            "tcgen05.ld.red.sync.aligned.32x32b.x2.min.f32 {%r20, %r21}, %r22, [%r4];",
            "`.red`",
        ),
        (
            "tcgen05.cp.cta_group::1.128x128b.b8x16.b4x16_p64 [%r4], %rd20;",
            "b8x16",
        ),
        (
            "tcgen05.cp.cta_group::1.128x128b.b8x16.b6x16_p32 [%r4], %rd20;",
            "b8x16",
        ),
    ] {
        let error = load_error(&kernel(text));
        assert!(error.contains(name), "{error}");
    }
}
