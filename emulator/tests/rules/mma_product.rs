//! The products that the tests of `tcgen05.mma` compute: types, layouts of operands, descriptors.
//!
//! Elements are so small that every sum is exact in f32.

use super::mma::{
    A_AT, B_AT, D, IMAGE_BYTES, SFA, SFA_AT, SFB, SFB_AT, copy_scale_tile, kernel, scale_at,
};
use super::program::*;

/// An element type, with the codes of [`VALUES`].
#[derive(Clone, Copy, Debug)]
pub struct Type {
    pub bits: u32,
    /// In the instruction descriptor.
    pub code: u32,
    pub codes: [u32; 7],
}

impl Type {
    const fn new(bits: u32, code: u32, codes: [u32; 7]) -> Type {
        Type { bits, code, codes }
    }
}

pub const VALUES: [f64; 7] = [1.0, -1.0, 0.5, 2.0, -1.5, 0.0, 3.0];

pub const F16: Type = Type::new(16, 0, [0x3c00, 0xbc00, 0x3800, 0x4000, 0xbe00, 0, 0x4200]);
pub const BF16: Type = Type::new(16, 1, [0x3f80, 0xbf80, 0x3f00, 0x4000, 0xbfc0, 0, 0x4040]);
/// The lower 13 bits do not count.
pub const TF32: Type = Type::new(
    32,
    2,
    [
        0x3f80_1fff,
        0xbf80_0001,
        0x3f00_1000,
        0x4000_0000,
        0xbfc0_0abc,
        0x0000_0000,
        0x4040_1fff,
    ],
);
pub const E4M3: Type = Type::new(8, 0, [0x38, 0xb8, 0x30, 0x40, 0xbc, 0, 0x44]);
pub const E5M2: Type = Type::new(8, 1, [0x3c, 0xbc, 0x38, 0x40, 0xbe, 0, 0x42]);
pub const E2M3: Type = Type::new(6, 3, [0x08, 0x28, 0x04, 0x10, 0x2c, 0, 0x14]);
pub const E3M2: Type = Type::new(6, 4, [0x0c, 0x2c, 0x08, 0x10, 0x2e, 0, 0x12]);
pub const E2M1: Type = Type::new(4, 5, [0x2, 0xa, 0x1, 0x4, 0xb, 0, 0x5]);

pub const NARROW: [Type; 5] = [E4M3, E5M2, E2M3, E3M2, E2M1];

/// How an operand lies in shared memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Major {
    /// Bits 61–63 of the descriptor.
    pub mode: u64,
    /// Bytes of the swizzle's rows; 16 without swizzle.
    pub span: u32,
    pub leading: u32,
    pub stride: u32,
    /// M- or N-major.
    pub transposed: bool,
}

pub const K_MAJOR: Major = Major {
    mode: 6,
    span: 32,
    leading: 0,
    stride: 256,
    transposed: false,
};
/// As sf-tensor's probes have it: the second 16 bytes of a row follow all the first.
pub const K_MAJOR_PLAIN: Major = Major {
    mode: 0,
    span: 16,
    leading: 4096,
    stride: 128,
    transposed: false,
};

impl Major {
    /// M- or N-major with this swizzle: blocks of `span` bytes along M or N lie `leading` apart, groups of 8 (or 4) k
    /// `stride`.
    pub const fn transposed(mode: u64, span: u32) -> Major {
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

    pub fn descriptor(&self, at: u32) -> u64 {
        u64::from((SMEM + at) / 16)
            | u64::from(self.leading / 16) << 16
            | u64::from(self.stride / 16) << 32
            | 1 << 46
            | self.mode << 61
    }

    /// The XOR of the swizzle, on an offset from a multiple of 1024.
    pub fn swizzled(&self, dense: u32) -> u32 {
        let (line, within) = (dense / 128, dense % 128);
        let within = match self.mode {
            0 => within,
            1 => within ^ (line % 4 * 32),
            _ => within ^ (line % (self.span / 16) * 16),
        };
        line * 128 + within
    }

    /// Offset of byte `byte` of row `row`, K-major.
    pub fn along_k(&self, row: u32, byte: u32) -> u32 {
        let group = row / 8 * self.stride + row % 8 * self.span;
        match self.mode {
            0 => group + byte / 16 * self.leading + byte % 16,
            _ => self.swizzled(group + byte),
        }
    }

    /// Offset of the byte `byte` of M or N at column k. The canonical layouts of §9.7.16.3.3, without swizzle
    /// ((T,1,m),(8,k)):((1,T,SBO),(1T,LBO)), with it ((T,s,m),(8,k)):((1,T,LBO),(sT,SBO)).
    pub fn along_mn(&self, byte: u32, k: u32) -> u32 {
        if self.mode == 0 {
            return byte % 16 + byte / 16 * self.stride + k % 8 * 16 + k / 8 * self.leading;
        }
        let columns = if self.mode == 1 { 4 } else { 8 };
        let block = byte % self.span + byte / self.span * self.leading;
        self.swizzled(block + k % columns * self.span + k / columns * self.stride)
    }
}

/// A matrix of [`VALUES`], `rows` × `k`.
pub struct Matrix {
    pub ty: Type,
    pub k: usize,
    pub indices: Vec<usize>,
}

impl Matrix {
    pub fn new(ty: Type, rows: usize, k: usize, seed: usize) -> Matrix {
        let noise = noise(rows * k + seed).into_iter().skip(seed);
        Matrix {
            ty,
            k,
            indices: noise.map(|byte| usize::from(byte) % 7).collect(),
        }
    }

    pub fn value(&self, row: usize, k: usize) -> f64 {
        VALUES[self.indices[row * self.k + k]]
    }

    pub fn code(&self, row: usize, k: usize) -> u32 {
        self.ty.codes[self.indices[row * self.k + k]]
    }

    pub fn rows(&self) -> usize {
        self.indices.len() / self.k
    }

    /// The 32 bytes of a row. 64 elements of 4 bits are packed; 32 of 6 or 4 bits are padded to 16 bytes per 16.
    pub fn bytes(&self, row: usize) -> [u8; 32] {
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

    pub fn place(&self, image: &mut [u8], at: u32, major: Major) {
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
pub struct Product {
    pub kind: &'static str,
    pub m: usize,
    pub n: usize,
    pub a: Matrix,
    pub b: Matrix,
    pub majors: [Major; 2],
    /// Bits of the instruction descriptor besides the types, shapes and transposes.
    pub more: u32,
    /// Exponents of UE8M0 scale factors, by row and K block of an operand; four each.
    pub scales: Option<[Vec<i32>; 2]>,
}

impl Product {
    pub fn new(kind: &'static str, types: [Type; 2], m: usize, n: usize) -> Product {
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

    pub fn majors(self, a: Major, b: Major) -> Product {
        Product {
            majors: [a, b],
            ..self
        }
    }

    pub fn more(self, more: u32) -> Product {
        Product {
            more: self.more | more,
            ..self
        }
    }

    /// Four random scale factors a row, 2^-3 to 2^3.
    pub fn scaled(self) -> Product {
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

    pub fn instruction(&self) -> u32 {
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

    pub fn image(&self) -> Vec<u8> {
        let mut image = noise(IMAGE_BYTES);
        self.a.place(&mut image, A_AT, self.majors[0]);
        self.b.place(&mut image, B_AT, self.majors[1]);
        for (at, scales) in [SFA_AT, SFB_AT]
            .into_iter()
            .zip(self.scales.iter().flatten())
        {
            for (i, scale) in scales.iter().enumerate() {
                let (row, block) = (i / 4, i % 4);
                image[(at - A_AT) as usize + scale_at(row, block)] = (127 + scale) as u8;
            }
        }
        image
    }

    /// The MMA, with these operands behind the instruction descriptor.
    pub fn mma(&self, rest: &str) -> String {
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

    pub fn program(&self, body: &str) -> Program {
        Program::with_input(&kernel(body), &self.image()).threads(128)
    }

    /// Element (m, n) of A·Bᵀ. A K block of `block` elements takes factor `first` + its number.
    pub fn dot_scaled(&self, m: usize, n: usize, block: usize, first: [usize; 2]) -> f64 {
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

    pub fn dot(&self, m: usize, n: usize) -> f64 {
        self.dot_scaled(m, n, usize::MAX, [0; 2])
    }

    /// Runs `body` and compares tensor memory: `lane(m)` holds row m, `word` encodes its elements; all else is fresh.
    pub fn check_words(
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

    pub fn check(&self, body: &str, expected: impl Fn(usize, usize) -> f64) {
        self.check_words(body, |m| m, |m, n| f32_bits(expected(m, n)));
    }

    pub fn refused(&self, rest: &str, message: &str) {
        self.program(&self.mma(rest))
            .fail_with("tcgen05.mma", message);
    }
}

/// The tensor core has no negative zero sums.
pub fn f32_bits(value: f64) -> u32 {
    (value as f32 + 0.0).to_bits()
}

/// The lane that holds row `m` of a product of 64 rows (layout F): 16 rows in each quarter.
pub fn lane_of_64(m: usize) -> usize {
    m % 16 + 32 * (m / 16)
}
