//! Random numbers of the element types.

use super::hash;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(name: &str) -> Random {
        Random(hash(name.bytes()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as u64) as i32
    }
}

/// An element type of A and B, or of C.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Type {
    pub name: &'static str,
    pub bits: u32,
    exponent_bits: u32,
    mantissa_bits: u32,
}

const fn float(name: &'static str, bits: u32, exponent_bits: u32, mantissa_bits: u32) -> Type {
    Type {
        name,
        bits,
        exponent_bits,
        mantissa_bits,
    }
}

const fn integer(name: &'static str, bits: u32) -> Type {
    float(name, bits, 0, 0)
}

pub const F16: Type = float("f16", 16, 5, 10);
pub const BF16: Type = float("bf16", 16, 8, 7);
pub const TF32: Type = float("tf32", 32, 8, 23);
pub const F32: Type = float("f32", 32, 8, 23);
pub const E4M3: Type = float("e4m3", 8, 4, 3);
pub const E5M2: Type = float("e5m2", 8, 5, 2);
pub const S8: Type = integer("s8", 8);
pub const U8: Type = integer("u8", 8);
pub const S32: Type = integer("s32", 32);

/// Which numbers the inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Within a few binades of 1.
    Narrow,
    /// Any finite number but subnormals.
    Wide,
    /// Half are zeros of either sign, the rest any finite number.
    Sparse,
    /// The least exponents, subnormals too.
    Tiny,
    /// Products about the least normal f32 where the format has such.
    Edge,
    /// The largest exponents.
    Huge,
    /// Wide, with some infinities and NaNs.
    Special,
}

pub const NUMBERS: [Numbers; 7] = [
    Numbers::Narrow,
    Numbers::Wide,
    Numbers::Sparse,
    Numbers::Tiny,
    Numbers::Edge,
    Numbers::Huge,
    Numbers::Special,
];

impl Type {
    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// The largest exponent field of finite numbers (of all of them, that is).
    fn top(self) -> i32 {
        let all = (1 << self.exponent_bits) - 1;
        if self == E4M3 { all } else { all - 1 }
    }

    /// Exponent fields of a distribution.
    fn fields(self, numbers: Numbers) -> (i32, i32) {
        let (bias, top) = (self.bias(), self.top());
        match numbers {
            Numbers::Narrow => (bias - 2, bias + 2),
            Numbers::Wide | Numbers::Special => (1, top),
            Numbers::Sparse => (0, top),
            Numbers::Tiny => (0, 3),
            Numbers::Edge => ((bias / 2 - 8).max(0), bias / 2 + 8),
            Numbers::Huge => (top - 2, top),
        }
    }

    fn code(self, random: &mut Random, field: i32) -> u32 {
        let code = random.next() as u32 & ((1 << self.mantissa_bits) - 1);
        let sign = (random.below(2) as u32) << (self.bits - 1);
        let code = sign | (field as u32) << self.mantissa_bits | code;
        // E4M3's only NaN.
        if self == E4M3 && code & 0x7f == 0x7f {
            code ^ 1
        } else {
            code
        }
    }

    pub fn element(self, random: &mut Random, numbers: Numbers) -> u32 {
        if self.exponent_bits == 0 {
            return random.next() as u32 & (u32::MAX >> (32 - self.bits));
        }
        let (low, high) = self.fields(numbers);
        match (numbers, random.below(200)) {
            (Numbers::Sparse, 0..100) => (random.below(2) as u32) << (self.bits - 1),
            (Numbers::Special, 0) if self == E4M3 => 0x7f,
            (Numbers::Special, 0) => {
                let all = (1u32 << self.exponent_bits) - 1;
                let code = self.code(random, 0) & (1 << (self.bits - 1));
                code | all << self.mantissa_bits | random.below(2) as u32
            }
            _ => {
                let field = random.between(low, high);
                self.code(random, field)
            }
        }
    }

    /// An element of C, whose exponents reach from far below the products' to above them.
    pub fn accumulator(self, random: &mut Random, numbers: Numbers, a: Type, b: Type) -> u32 {
        if self.exponent_bits == 0 {
            return random.next() as u32;
        }
        if random.below(8) == 0 {
            return (random.below(2) as u32) << (self.bits - 1);
        }
        if numbers == Numbers::Special && random.below(40) == 0 {
            let all = (1u32 << self.exponent_bits) - 1;
            return self.code(random, 0) & (1 << (self.bits - 1)) | all << self.mantissa_bits;
        }
        let (a_low, a_high) = a.fields(numbers);
        let (b_low, b_high) = b.fields(numbers);
        let biases = a.bias() + b.bias() - self.bias();
        let low = (a_low + b_low - biases - 28).clamp(0, self.top());
        let high = (a_high + b_high - biases + 6).clamp(0, self.top());
        let field = random.between(low, high);
        self.code(random, field)
    }
}

/// Any bits, half of the time within the range of small formats.
pub fn any_f32(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => random.next() as u32,
        1 => {
            // Ties and their neighbours.
            let field = 127 + random.between(-18, 18);
            let tie = (random.next() as u32 & 0x7f) << 16 | 0x8000 | random.below(3) as u32;
            (random.below(2) as u32) << 31 | (field as u32) << 23 | tie & 0x7f_ffff
        }
        2 => {
            (random.below(2) as u32) << 31
                | [0, 1, 0x7f80_0000, 0x7fc0_0000, 0x0080_0000, 0x7f7f_ffff]
                    [random.below(6) as usize]
        }
        3 => F32.code(random, 0),
        _ => {
            let field = 127 + random.between(-26, 20);
            let code = F32.code(random, field);
            // Few bits, so that ties of narrow formats occur.
            let keep = random.between(10, 23);
            code & !((1 << keep) - 1) | code & 1
        }
    }
}

pub fn any_word(random: &mut Random) -> u32 {
    random.next() as u32
}
