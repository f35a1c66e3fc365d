//! The arithmetic against a second statement of the rules, which shares no code with the first: elements are real
//! numbers, sums are big integers in units of 2^-`POINT`, exponents are those of binades.
//!
//! Millions of random sums: `EMULATOR_RANDOM_SUMS` multiplies their number, `EMULATOR_SEED` sets another seed.

use num_bigint::BigInt;
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;
use crate::isa::alu::Format;

/// Every term of every kind is a multiple of 2^-`POINT`: a product of two bf16 subnormals is one of 2^-266, UE8M0 scales
/// take 2^-254 off.
const POINT: i32 = 640;

/// A format as IEEE 754 describes it.
#[derive(Clone, Copy, Debug)]
struct Encoding {
    format: Format,
    exponent_bits: i32,
    fraction_bits: i32,
    /// The largest exponent is infinity and NaN.
    is_ieee: bool,
    /// Only all ones is NaN.
    has_one_nan: bool,
    /// Low bits of a container that do not count.
    ignored: u32,
}

const fn ieee(format: Format, exponent_bits: i32, fraction_bits: i32) -> Encoding {
    Encoding {
        format,
        exponent_bits,
        fraction_bits,
        is_ieee: true,
        has_one_nan: false,
        ignored: 0,
    }
}

const fn finite(format: Format, exponent_bits: i32, fraction_bits: i32) -> Encoding {
    Encoding {
        is_ieee: false,
        ..ieee(format, exponent_bits, fraction_bits)
    }
}

const F16: Encoding = ieee(Format::F16, 5, 10);
const BF16: Encoding = ieee(Format::Bf16, 8, 7);
const TF32: Encoding = Encoding {
    ignored: 13,
    ..ieee(Format::Tf32, 8, 10)
};
const F32: Encoding = ieee(Format::F32, 8, 23);
const E4M3: Encoding = Encoding {
    has_one_nan: true,
    ..finite(Format::E4m3, 4, 3)
};
const E5M2: Encoding = ieee(Format::E5m2, 5, 2);
const E3M2: Encoding = finite(Format::E3m2, 3, 2);
const E2M3: Encoding = finite(Format::E2m3, 2, 3);
const E2M1: Encoding = finite(Format::E2m1, 2, 1);

/// A number, perhaps infinite or NaN, and the exponent of its encoding.
#[derive(Clone, Copy, Debug)]
struct Real {
    value: f64,
    exponent: i32,
}

impl Encoding {
    fn width(&self) -> u32 {
        (1 + self.exponent_bits + self.fraction_bits) as u32
    }

    fn bias(&self) -> i32 {
        2i32.pow(self.exponent_bits as u32 - 1) - 1
    }

    fn real(&self, code: u32) -> Real {
        let code = u64::from(code >> self.ignored) % (1 << self.width());
        let sign = if code >= 1 << (self.width() - 1) {
            -1.0
        } else {
            1.0
        };
        let magnitude = code % (1 << (self.width() - 1));
        let field = (magnitude / (1 << self.fraction_bits)) as i32;
        let fraction = (magnitude % (1 << self.fraction_bits)) as f64;
        let fraction = fraction / 2f64.powi(self.fraction_bits);
        let largest = 2i32.pow(self.exponent_bits as u32) - 1;
        let exponent = field.max(1) - self.bias();
        let all_ones = magnitude + 1 == 1 << (self.width() - 1);
        let value = if self.is_ieee && field == largest {
            if fraction == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        } else if self.has_one_nan && all_ones {
            f64::NAN
        } else if field == 0 {
            fraction * 2f64.powi(exponent)
        } else {
            (1.0 + fraction) * 2f64.powi(exponent)
        };
        Real {
            value: sign * value,
            exponent,
        }
    }
}

/// `value` in units of 2^-`POINT`: an f64 is 53 bits and a power of two.
fn exact(value: f64) -> BigInt {
    if value == 0.0 {
        return BigInt::ZERO;
    }
    let exponent = value.abs().log2().floor() as i32;
    // Two steps, lest the power of two be out of range. Off by one, the logarithm costs one of 63 bits.
    let step = (61 - exponent) / 2;
    let scaled = value * 2f64.powi(step) * 2f64.powi(61 - exponent - step);
    let shift = POINT - (61 - exponent);
    let scaled = BigInt::from(scaled as i64);
    if shift >= 0 {
        scaled << shift
    } else {
        scaled >> -shift
    }
}

/// Toward zero, in units of 2^`quantum`.
fn truncated(value: BigInt, quantum: i32) -> BigInt {
    let negative = value < BigInt::ZERO;
    let magnitude = BigInt::from(value.into_parts().1) >> (POINT + quantum) << (POINT + quantum);
    if negative { -magnitude } else { magnitude }
}

/// The code whose value is `value`, rounded to the format: toward zero, or to the nearest with ties to even. There is no
/// -0, and beyond the largest number lies infinity.
fn rounded(value: &BigInt, to: Encoding, nearest: bool) -> u32 {
    let magnitude = BigInt::from(value.magnitude().clone());
    let bits = magnitude.bits() as i32;
    let exponent = (bits - 1 - POINT).max(1 - to.bias());
    // Units in the last place of the binade.
    let last = POINT + exponent - to.fraction_bits;
    let mut units = &magnitude >> last;
    let rest = magnitude - (&units << last);
    let half = BigInt::from(1) << (last - 1);
    let is_odd = &units % 2 == BigInt::from(1);
    if nearest && (rest > half || rest == half && is_odd) {
        units += 1;
    }
    let units: u64 = units.try_into().unwrap();
    let implicit = 1 << to.fraction_bits;
    // Rounded up to the next power of two, the exponent is one more.
    let (units, exponent) = if units == 2 * implicit {
        (implicit, exponent + 1)
    } else {
        (units, exponent)
    };
    let code = if units == 0 {
        return 0;
    } else if exponent > to.bias() {
        (2u32.pow(to.exponent_bits as u32) - 1) << to.fraction_bits
    } else if units < implicit {
        units as u32
    } else {
        ((exponent + to.bias()) as u32) << to.fraction_bits | (units - implicit) as u32
    };
    let is_negative = *value < BigInt::ZERO;
    code | u32::from(is_negative) << (to.width() - 1)
}

/// What a kind without exact partial sums computes.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Bits below the largest exponent.
    window: i32,
    accumulator: Encoding,
    nearest: bool,
    /// Fraction bits of D that are kept.
    kept: i32,
    scaled: bool,
}

const BLACKWELL: Rule = Rule {
    window: 25,
    accumulator: F32,
    nearest: false,
    kept: 23,
    scaled: false,
};
const TO_F16: Rule = Rule {
    accumulator: F16,
    nearest: true,
    kept: 10,
    ..BLACKWELL
};
const SCALED: Rule = Rule {
    scaled: true,
    ..BLACKWELL
};
const HOPPER_F8: Rule = Rule {
    window: 13,
    kept: 13,
    ..BLACKWELL
};

/// One window over products and C. `scale` is the exponent of both scales together; `None` for a NaN.
fn one_window(rule: Rule, a: &[Real], b: &[Real], scale: Option<i32>, c: u32) -> u32 {
    let accumulator = rule.accumulator;
    let c_code = c;
    let c = accumulator.real(c);
    let products: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.value * b.value).collect();
    let sum = products.iter().sum::<f64>() + c.value;
    let Some(scale) = scale.filter(|_| !sum.is_nan()) else {
        return 2u32.pow(accumulator.width() - 1) - 1;
    };
    if sum.is_infinite() {
        let largest = 2u32.pow(accumulator.exponent_bits as u32) - 1;
        return largest << accumulator.fraction_bits
            | u32::from(sum < 0.0) << (accumulator.width() - 1);
    }
    let largest = (0..a.len())
        .filter(|k| products[*k] != 0.0)
        .map(|k| a[k].exponent + b[k].exponent + scale)
        .max();
    if largest.is_none() && rule.scaled {
        return c_code;
    }
    let c_exponent = (c.value != 0.0).then_some(c.exponent);
    let Some(top) = largest.max(c_exponent) else {
        return 0;
    };
    let quantum = top - rule.window;
    let total: BigInt = products
        .iter()
        .filter(|product| **product != 0.0)
        .map(|product| truncated(shifted(exact(*product), scale), quantum))
        .sum();
    let total = total + truncated(exact(c.value), quantum);
    let code = rounded(&total, accumulator, rule.nearest);
    let kept =
        code >> (accumulator.fraction_bits - rule.kept) << (accumulator.fraction_bits - rule.kept);
    if kept.trailing_zeros() >= accumulator.width() - 1 {
        0
    } else {
        kept
    }
}

fn shifted(value: BigInt, by: i32) -> BigInt {
    if by >= 0 { value << by } else { value >> -by }
}

/// A row of E2M1 elements and scales, as numbers.
struct Fp4 {
    elements: Vec<Real>,
    /// By group of 16.
    scales: Vec<Real>,
}

/// The rules of sf-tensor for 64 scaled E2M1 elements: `UE4M3` sums four products exactly where products dominate,
/// UE8M0 sixteen.
fn fp4(a: &Fp4, b: &Fp4, c: u32, is_ue4m3: bool) -> u32 {
    let c_code = c;
    let c = F32.real(c);
    let has_nan = |row: &Fp4| row.scales.iter().any(|scale| scale.value.is_nan());
    if has_nan(a) || has_nan(b) || c.value.is_nan() {
        return 0x7fff_ffff;
    }
    if c.value.is_infinite() {
        return c_code;
    }
    let scale = |k: usize| a.scales[k / 16].exponent + b.scales[k / 16].exponent;
    let product = |k: usize| {
        let significands = a.scales[k / 16].value * b.scales[k / 16].value;
        a.elements[k].value * b.elements[k].value * significands
    };
    let exponent = |k: usize| a.elements[k].exponent + b.elements[k].exponent + scale(k);
    let counts = |k: &usize| product(*k) != 0.0;
    let in_group = |group: usize| (16 * group..16 * (group + 1)).filter(counts);
    let Some(r) = (0..64).filter(counts).map(exponent).max() else {
        return c_code;
    };
    let s = (0..64).filter(counts).map(scale).max().unwrap();
    // Products of at most 16 elements that share their scales span fewer than 53 bits: f64 adds them exactly.
    let sum = |range: std::ops::Range<usize>| exact(range.map(product).sum());
    let c_exponent = (c.value != 0.0).then_some(c.exponent);
    if let Some(c_exponent) = c_exponent
        && c_exponent >= r
    {
        let quantum = c_exponent - 35;
        let groups = (0..4).map(|g| truncated(sum(16 * g..16 * (g + 1)), quantum));
        let total = groups.sum::<BigInt>() + truncated(exact(c.value), quantum);
        return rounded(&total, F32, false);
    }
    let quantum = (r.max(c_exponent.unwrap_or(r)) - 39).max(s - 35);
    let from_c = truncated(exact(c.value), quantum);
    if is_ue4m3 {
        let quads = (0..16).map(|q| truncated(sum(4 * q..4 * (q + 1)), quantum));
        return rounded(&(quads.sum::<BigInt>() + from_c), F32, false);
    }
    let groups: Vec<(Option<i32>, BigInt)> = (0..4)
        .map(|group| {
            let own = in_group(group).map(exponent).max();
            let outranked = c_exponent.filter(|c| own.is_some_and(|own| *c >= own));
            let quantum = outranked.map_or(quantum, |c| quantum.max(c - 35));
            let units = truncated(sum(16 * group..16 * (group + 1)), quantum);
            (in_group(group).map(scale).max(), units)
        })
        .collect();
    let total = groups.iter().map(|(_, units)| units).sum::<BigInt>() + &from_c;
    let result = rounded(&total, F32, false);
    let is_subnormal = (1..1 << 23).contains(&(result % (1 << 31)));
    if !is_subnormal {
        return result;
    }
    let floor = BigInt::from(1) << (POINT + (-174).max(quantum));
    let filtered: BigInt = groups
        .into_iter()
        .filter(|(scale, units)| {
            *scale == Some(s) || BigInt::from(units.magnitude().clone()) >= floor
        })
        .map(|(_, units)| units)
        .sum();
    rounded(&(filtered + from_c), F32, false)
}

/// Random numbers of one seed, which the test prints.
struct Random(TestRng);

impl Random {
    fn new(test: &str) -> Random {
        let seed = std::env::var("EMULATOR_SEED").map_or(1, |seed| seed.parse().unwrap());
        println!("{test}: EMULATOR_SEED={seed}");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
        bytes[8..8 + test.len()].copy_from_slice(test.as_bytes());
        Random(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
    }

    fn word(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.word() % bound
    }

    /// A code anywhere in the format, or of a few binades, or next to special; rarely not finite.
    fn element(&mut self, format: Encoding, binades: Option<i32>) -> u32 {
        let code = self.word();
        let shift = format.fraction_bits as u32 + format.ignored;
        let mask = (2u32.pow(format.exponent_bits as u32) - 1) << shift;
        let code = match binades {
            Some(around) => {
                let field = around + self.below(6) as i32 - 3 + format.bias();
                let largest = 2i32.pow(format.exponent_bits as u32) - 2;
                code & !mask | (field.clamp(0, largest) as u32) << shift
            }
            None => code,
        };
        // Random codes of small formats are special too often to leave finite sums.
        let is_special = !format.real(code).value.is_finite();
        match is_special && self.below(512) != 0 {
            true => code & !mask,
            false => code,
        }
    }

    /// An accumulator: zero, special, near `sum`, anywhere, or of a chosen exponent.
    fn accumulator(&mut self, format: Encoding, sum: u32, around: i32) -> u32 {
        let sign = 1 << (format.width() - 1);
        match self.below(16) {
            0 => 0,
            1 => sign,
            2..=4 => (sum ^ sign).wrapping_add(self.below(5)).wrapping_sub(2),
            5..=7 => self.element(format, None),
            8 => self.word(),
            _ => {
                let near = around + self.below(80) as i32 - 40;
                self.element(format, Some(near))
            }
        }
    }
}

fn count(normal: usize) -> usize {
    let factor = std::env::var("EMULATOR_RANDOM_SUMS").map_or(1, |factor| factor.parse().unwrap());
    normal * factor
}

/// `sums` random sums of `k` products. Both sides are drawn from a few binades half of the time.
fn check(test: &str, rule: Rule, pairs: &[(Encoding, Encoding)], k: usize, sums: usize) {
    let mut random = Random::new(test);
    let (dot_rule, sums) = (dot_rule(rule), count(sums));
    let mut finite = 0;
    for i in 0..sums {
        let (a_format, b_format) = pairs[i % pairs.len()];
        let spread = |random: &mut Random, format: Encoding| match random.below(2) {
            0 => None,
            _ => Some(random.below(2 * format.bias() as u32) as i32 - format.bias()),
        };
        let (a_spread, b_spread) = (spread(&mut random, a_format), spread(&mut random, b_format));
        let is_sparse = random.below(8) == 0;
        let mut codes = |format, spread| -> Vec<u32> {
            (0..k)
                .map(|_| match is_sparse && random.below(8) != 0 {
                    true => 0,
                    false => random.element(format, spread),
                })
                .collect()
        };
        let (a, b) = (codes(a_format, a_spread), codes(b_format, b_spread));
        let vector = |format: Encoding, codes: &[u32]| {
            DotVector::new(format.format, codes.iter().copied(), false)
        };
        let (mut a_row, mut b_row) = (vector(a_format, &a), vector(b_format, &b));
        let mut scale = Some(0);
        if rule.scaled {
            let mut draw = || match random.below(4) {
                0 => random.word() as u8,
                _ => 127 + random.below(40) as u8 - 20,
            };
            let (scale_a, scale_b) = (draw(), draw());
            (a_row, b_row) = (a_row.scaled(scale_a), b_row.scaled(scale_b));
            scale = (scale_a != 255 && scale_b != 255)
                .then(|| i32::from(scale_a) + i32::from(scale_b) - 254);
        }
        let sum = dot(dot_rule, &a_row, &b_row, 0);
        let around = a_spread.unwrap_or(0) + b_spread.unwrap_or(0) + scale.unwrap_or(0);
        let c = random.accumulator(rule.accumulator, sum, around);
        let reals = |format: Encoding, codes: &[u32]| -> Vec<Real> {
            codes.iter().map(|code| format.real(*code)).collect()
        };
        let expected = one_window(rule, &reals(a_format, &a), &reals(b_format, &b), scale, c);
        let found = dot(dot_rule, &a_row, &b_row, c);
        assert_eq!(
            found, expected,
            "sum {i}: {found:#010x}, not {expected:#010x}: {a_format:?} {a:x?} {b_format:?} {b:x?} {scale:?} C {c:#x}"
        );
        finite += usize::from(rule.accumulator.real(found).value.is_finite());
    }
    println!("{test}: {sums} sums, {finite} of them finite, equal to the last bit");
    assert!(finite > sums / 2, "only {finite} of {sums} sums are finite");
}

fn dot_rule(rule: Rule) -> DotRule {
    match (rule.window, rule.nearest) {
        (25, false) => DotRule::wide(DotResult::F32),
        (25, true) => DotRule::wide(DotResult::F16),
        _ => DotRule::short(DotResult::F32),
    }
}

const SUMS: usize = 100_000;

#[test]
fn f16_and_bf16_sums() {
    check("f16", BLACKWELL, &[(F16, F16)], 16, SUMS);
    check("bf16", BLACKWELL, &[(BF16, BF16)], 16, SUMS);
    check("f16 to f16", TO_F16, &[(F16, F16)], 16, SUMS);
}

#[test]
fn tf32_sums() {
    check("tf32", BLACKWELL, &[(TF32, TF32)], 8, SUMS);
}

/// Every pair of 8-, 6- and 4-bit formats.
fn narrow_pairs() -> Vec<(Encoding, Encoding)> {
    const ALL: [Encoding; 5] = [E4M3, E5M2, E3M2, E2M3, E2M1];
    ALL.iter()
        .flat_map(|a| ALL.iter().map(move |b| (*a, *b)))
        .collect()
}

#[test]
fn f8f6f4_sums() {
    check("f8f6f4", BLACKWELL, &narrow_pairs(), 32, SUMS);
    check("f8f6f4 to f16", TO_F16, &narrow_pairs(), 32, SUMS);
}

#[test]
fn mxf8f6f4_sums() {
    check("mxf8f6f4", SCALED, &narrow_pairs(), 32, SUMS);
}

#[test]
fn hopper_f8_sums() {
    let pairs = [(E4M3, E4M3), (E4M3, E5M2), (E5M2, E4M3), (E5M2, E5M2)];
    check("hopper f8", HOPPER_F8, &pairs, 32, SUMS);
}

/// Rows of E2M1 with scales from a few binades, the whole range, or its ends.
fn fp4_row(random: &mut Random, is_ue4m3: bool) -> ScaledRow {
    let is_sparse = random.below(4) == 0;
    let elements = std::array::from_fn(|_| {
        let byte = random.word() as u8;
        match is_sparse && random.below(8) != 0 {
            true => byte & 0x88,
            false => byte,
        }
    });
    let around = random.word() as u8;
    let kind = random.below(4);
    let scales = std::array::from_fn(|_| match (is_ue4m3, kind) {
        (true, 0 | 1) => 0x30 + random.below(0x18) as u8,
        (false, 0) => 107 + random.below(40) as u8,
        (false, 1) => around.saturating_add(random.below(40) as u8).min(254),
        (true, 2) => [0, 1, 7, 8, 9, 0x0f, 0x10, 0x77, 0x78, 0x7e, 0xfe][random.below(11) as usize],
        (false, 2) => [0, 1, 2, 20, 30, 40, 50, 60, 127, 253, 254][random.below(11) as usize],
        // A NaN now and then.
        (true, _) if random.below(64) != 0 => random.below(0x7f) as u8 | random.word() as u8 & 0x80,
        (false, _) if random.below(64) != 0 => random.below(255) as u8,
        _ => random.word() as u8,
    });
    ScaledRow { elements, scales }
}

fn fp4_reals(row: &ScaledRow, is_ue4m3: bool) -> Fp4 {
    let nibbles = row.elements.iter().flat_map(|byte| [byte % 16, byte / 16]);
    let scale = |byte: &u8| match (is_ue4m3, *byte) {
        (true, byte) => E4M3.real(u32::from(byte % 128)),
        (false, 255) => Real {
            value: f64::NAN,
            exponent: 0,
        },
        (false, byte) => Real {
            value: 2f64.powi(i32::from(byte) - 127),
            exponent: i32::from(byte) - 127,
        },
    };
    Fp4 {
        elements: nibbles.map(|code| E2M1.real(code.into())).collect(),
        scales: row.scales.iter().map(scale).collect(),
    }
}

#[test]
fn mxf4_sums() {
    let mut random = Random::new("mxf4");
    let sums = count(2 * SUMS);
    for i in 0..sums {
        let (a, b) = (fp4_row(&mut random, false), fp4_row(&mut random, false));
        let row = |row: &ScaledRow| Mxfp4Row::new(&row.elements, row.scales);
        let (a_row, b_row) = (row(&a), row(&b));
        let sum = mxfp4_dot(&a_row, &b_row, 0);
        let around = i32::from(a.scales[0]) + i32::from(b.scales[0]) - 254;
        let c = random.accumulator(F32, sum, around);
        let expected = fp4(&fp4_reals(&a, false), &fp4_reals(&b, false), c, false);
        let found = mxfp4_dot(&a_row, &b_row, c);
        assert_eq!(
            found, expected,
            "sum {i}: {found:#010x}, not {expected:#010x}: {a:x?} {b:x?} C {c:#x}"
        );
    }
    println!("mxf4: {sums} sums equal to the last bit");
}

/// One million sums of `.kind::mxf4nvf4` with UE4M3 scales, by the reference and by every path for tiles: each tile is a
/// few rows against a whole block of eight columns and a part of one.
#[test]
fn mxf4nvf4_sums() {
    const ROWS: usize = 4;
    const COLUMNS: usize = 12;
    let mut random = Random::new("mxf4nvf4");
    let tiles = count(1_000_000).div_ceil(ROWS * COLUMNS);
    for tile in 0..tiles {
        let mut rows =
            |count| -> Vec<ScaledRow> { (0..count).map(|_| fp4_row(&mut random, true)).collect() };
        let (a, b) = (rows(ROWS), rows(COLUMNS));
        // Tame accumulators let whole vectors take the exact path.
        let is_tame = random.below(2) == 0;
        let mut c = Vec::new();
        for a in &a {
            for b in &b {
                let sum = dot64_reference(&a.elements, &b.elements, a.scales, b.scales, 0);
                c.push(match is_tame {
                    true => random.word() & 0x807f_ffff | (127 + random.below(12)) << 23,
                    false => random.accumulator(F32, sum, 0),
                });
            }
        }
        let reals = |rows: &[ScaledRow]| -> Vec<Fp4> {
            rows.iter().map(|row| fp4_reals(row, true)).collect()
        };
        let (a_reals, b_reals) = (reals(&a), reals(&b));
        let (a_rows, b_rows) = (OperandRows::new(a.clone()), OperandRows::new(b.clone()));
        let by_path: Vec<_> = TilePath::available()
            .iter()
            .map(|&path| {
                let mut words = c.clone();
                let d = AccumulatorTile {
                    words: &mut words,
                    pitch: COLUMNS,
                };
                multiply_tile_by(path, &a_rows, &b_rows, true, d);
                (path, words)
            })
            .collect();
        for (i, &c) in c.iter().enumerate() {
            let (m, n) = (i / COLUMNS, i % COLUMNS);
            let (a, b) = (&a[m], &b[n]);
            let expected = fp4(&a_reals[m], &b_reals[n], c, true);
            let reference = dot64_reference(&a.elements, &b.elements, a.scales, b.scales, c);
            let context = || format!("tile {tile}: {a:x?} {b:x?} C {c:#x}");
            assert_eq!(reference, expected, "{}", context());
            for (path, words) in &by_path {
                assert_eq!(words[i], expected, "{path:?}, {}", context());
            }
        }
    }
    let paths = TilePath::available();
    println!(
        "mxf4nvf4: {} sums by the reference and {paths:?} equal to the last bit",
        tiles * ROWS * COLUMNS
    );
}

#[test]
fn i8_sums() {
    let mut random = Random::new("i8");
    for _ in 0..count(SUMS) {
        let signed = [random.below(2) == 0, random.below(2) == 0];
        let (a, b): (Vec<u8>, Vec<u8>) = (0..32)
            .map(|_| (random.word() as u8, random.word() as u8))
            .unzip();
        let (c, saturate) = (random.word(), random.below(2) == 0);
        let number = |byte: u8, signed: bool| match signed && byte > 127 {
            true => BigInt::from(byte) - 256,
            false => BigInt::from(byte),
        };
        let products = a
            .iter()
            .zip(&b)
            .map(|(a, b)| number(*a, signed[0]) * number(*b, signed[1]));
        let sum: BigInt = products.sum::<BigInt>() + BigInt::from(c as i32);
        let limit = BigInt::from(1) << 31;
        let expected = match saturate {
            true if sum >= limit => 0x7fff_ffff,
            true if sum < -limit.clone() => 0x8000_0000,
            _ => {
                let wrapped: BigInt = ((sum % (2 * &limit)) + 2 * &limit) % (2 * &limit);
                u32::try_from(wrapped).unwrap()
            }
        };
        let decoded = |bytes: &[u8], signed| -> Vec<i16> {
            bytes
                .iter()
                .map(|byte| decode_integer(*byte, signed))
                .collect()
        };
        let found = integer_dot(
            &decoded(&a, signed[0]),
            &decoded(&b, signed[1]),
            c,
            saturate,
        );
        assert_eq!(found, expected);
    }
}
