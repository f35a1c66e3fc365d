//! Dot products of `wgmma`, `mma.sync` and the unscaled kinds of `tcgen05.mma`.
//!
//! D = C + Σₖ aₖ·bₖ is formed in a window, like a fixed-point number: with `top` the largest exponent among C and the
//! products, every term is truncated toward zero at 2^(`top` - F), the terms are added exactly, and only the total is
//! rounded to D's format. An exponent is the one that the encodings name: subnormals have the least normal number's,
//! and a product of significands in [1, 4) is not normalised.
//!
//! NVIDIA documents none of this. The rule and the values of F are those of the MMA-Sim project (microsoft/MMA-Sim,
//! arXiv 2511.10909), measured on the devices; what it says of Hopper is checked against an H200 by the golden results
//! in `tests/golden`.

use super::formats::{CANONICAL_NAN, F32_INFINITY};
use super::reference::{f32_toward_zero, truncate};
use crate::isa::alu::{Finite, Format, Rounding, Value};

/// How one instruction sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DotRule {
    /// F: bits of the window below the largest term's exponent.
    pub fraction_bits: i32,
    pub result: DotResult,
    /// C counts 2^-`c_shift` times.
    pub c_shift: i32,
}

/// The format of C and D, and the rounding to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DotResult {
    /// Toward zero.
    F32,
    /// An f32 of which only the 13 upper fraction bits are kept, toward zero; C may have them all.
    F32Short,
    /// To nearest even.
    F16,
}

impl DotResult {
    fn format(self) -> Format {
        match self {
            DotResult::F16 => Format::F16,
            DotResult::F32 | DotResult::F32Short => Format::F32,
        }
    }
}

impl DotRule {
    /// `wgmma` and `mma.sync` on Hopper and Blackwell, and `tcgen05.mma`, except for what [`DotRule::short`] says.
    pub const fn wide(result: DotResult) -> DotRule {
        DotRule {
            fraction_bits: 25,
            result,
            c_shift: 0,
        }
    }

    /// `wgmma` of 8-bit elements.
    pub const fn short(result: DotResult) -> DotRule {
        let result = match result {
            DotResult::F32 => DotResult::F32Short,
            other => other,
        };
        DotRule {
            fraction_bits: 13,
            result,
            c_shift: 0,
        }
    }

    /// `scale-input-d` of `tcgen05.mma`: C · 2^-`shift`, exactly, before it meets the window.
    pub const fn scaling_c(self, shift: u32) -> DotRule {
        DotRule {
            c_shift: shift as i32,
            ..self
        }
    }
}

/// Exponents that stand for no number. A zero's is below all others and stays so in a product.
const ZERO: i32 = -(1 << 12);
const INFINITE: i32 = 1 << 16;
const NAN: i32 = 1 << 20;

/// Products with a lower exponent have a zero in them.
const LEAST: i32 = ZERO / 2;

/// One element: ±`significand` · 2^(`exponent` - the format's fraction bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    significand: i32,
    exponent: i32,
}

impl Element {
    pub fn decode(format: Format, code: u32) -> Element {
        match format.decode(code.into()) {
            Value::Nan => Element {
                significand: 1,
                exponent: NAN,
            },
            Value::Infinity { negative } => Element {
                significand: if negative { -1 } else { 1 },
                exponent: INFINITE,
            },
            Value::Finite(Finite { mantissa: 0, .. }) => Element {
                significand: 0,
                exponent: ZERO,
            },
            Value::Finite(Finite {
                negative,
                mantissa,
                exponent,
            }) => Element {
                significand: if negative {
                    -(mantissa as i32)
                } else {
                    mantissa as i32
                },
                exponent: exponent + format.fraction_bits() as i32,
            },
        }
    }

    /// The same number with the exponent that F16 gives it: most subnormals of narrower formats are normal there.
    fn widened(self, fraction_bits: i32) -> Element {
        const LEAST_F16: i32 = -14;
        let Element {
            mut significand,
            mut exponent,
        } = self;
        while significand != 0
            && significand.abs() < 1 << fraction_bits
            && exponent > LEAST_F16
            && exponent < INFINITE
        {
            significand *= 2;
            exponent -= 1;
        }
        Element {
            significand,
            exponent,
        }
    }
}

/// A row of A or a column of B, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotVector {
    elements: Vec<Element>,
    /// Whether infinities or NaNs are among them.
    has_specials: bool,
    fraction_bits: i32,
    is_scaled: bool,
}

impl DotVector {
    /// Of element codes, each in the low bits of its word; `negate` flips every sign.
    pub fn new(format: Format, codes: impl IntoIterator<Item = u32>, negate: bool) -> DotVector {
        let sign = if negate { -1 } else { 1 };
        let elements: Vec<Element> = codes
            .into_iter()
            .map(|code| {
                let element = Element::decode(format, code);
                Element {
                    significand: element.significand * sign,
                    ..element
                }
            })
            .collect();
        DotVector {
            has_specials: elements.iter().any(|element| element.exponent >= INFINITE),
            elements,
            fraction_bits: format.fraction_bits() as i32,
            is_scaled: false,
        }
    }

    /// Multiplies all elements by a UE8M0 scale, which is a power of two. A NaN spoils the sum even if they are zero.
    pub fn scaled(mut self, ue8m0: u8) -> DotVector {
        self.is_scaled = true;
        match decode_ue8m0(ue8m0) {
            // Exponents of zeros, infinities and NaNs are marks rather than numbers.
            Some(scale) => {
                let numbers = self.elements.iter_mut();
                for element in numbers.filter(|e| (ZERO + 1..INFINITE).contains(&e.exponent)) {
                    element.exponent += scale;
                }
            }
            None => {
                self.has_specials = true;
                for element in &mut self.elements {
                    element.exponent = NAN;
                }
            }
        }
        self
    }

    /// The elements of the lower (0) or upper (1) halves of 32-bit registers of 8-bit elements, widened to F16.
    fn half(&self, half: usize) -> DotVector {
        let elements = self.elements.chunks_exact(2).skip(half).step_by(2);
        let elements: Vec<Element> = elements
            .flatten()
            .map(|element| element.widened(self.fraction_bits))
            .collect();
        DotVector {
            has_specials: elements.iter().any(|element| element.exponent >= INFINITE),
            elements,
            ..*self
        }
    }
}

/// The exponent of a UE8M0 scale; `None` for the NaN.
pub fn decode_ue8m0(byte: u8) -> Option<i32> {
    match byte {
        0xff => None,
        _ => Some(i32::from(byte) - 127),
    }
}

/// [`dot`] as `mma.sync` does it for 8-bit elements, which are widened to F16 (ptxas emits `F2FP.F16.E4M3.UNPACK_B` and
/// two `HMMA` for sm_90 and sm_100): the sum of the elements from the lower halves of the registers is C of that of the
/// elements from the upper halves, and the instruction's own C is added last, to nearest even.
pub fn dot_in_halves(rule: DotRule, a: &DotVector, b: &DotVector, c: u32) -> u32 {
    let lower = dot(rule, &a.half(0), &b.half(0), 0);
    let sum = dot(rule, &a.half(1), &b.half(1), lower);
    let format = rule.result.format();
    let total = format
        .decode(c.into())
        .sum(format.decode(sum.into()), Rounding::NearestEven);
    format.encode(total, Rounding::NearestEven, false) as u32
}

/// `c` + Σ a·b, bit for bit as the tensor core computes it. `c` and the result are codes of the rule's format.
///
/// Where all products are zero, kinds with scales leave C as it is (sf-tensor/tcgen05 `Tcgen05BlockScaledMmaModel`);
/// elsewhere -0 becomes +0.
pub fn dot(rule: DotRule, a: &DotVector, b: &DotVector, c: u32) -> u32 {
    let c_code = c;
    let c_format = rule.result.format();
    let mut c = Element::decode(c_format, c);
    if (ZERO + 1..INFINITE).contains(&c.exponent) {
        c.exponent -= rule.c_shift;
    }
    if a.has_specials || b.has_specials || c.exponent >= INFINITE {
        return special(rule, a, b, c);
    }
    let pairs = || a.elements.iter().zip(&b.elements);
    let largest = pairs().fold(2 * ZERO, |top, (a, b)| top.max(a.exponent + b.exponent));
    if a.is_scaled && largest < LEAST {
        return c_code;
    }
    let top = largest.max(c.exponent);
    // A product is an integer of units 2^(exponent - fraction); aligned to `top` it gains the bits of the window that it
    // does not have itself, and loses one for each binade that it lies below.
    let fraction = a.fraction_bits + b.fraction_bits;
    let products: i64 = pairs()
        .map(|(a, b)| {
            let product = i64::from(a.significand * b.significand);
            let down =
                (top - a.exponent - b.exponent).min(62) + (fraction - rule.fraction_bits).max(0);
            let up = (rule.fraction_bits - fraction).max(0);
            let magnitude = product.unsigned_abs() << up >> down.min(63);
            magnitude as i64 * product.signum()
        })
        .sum();
    let quantum = top - rule.fraction_bits;
    let c_unit = c.exponent - c_format.fraction_bits() as i32;
    let units = i128::from(products) + truncate(c.significand.into(), c_unit, quantum);
    match rule.result {
        DotResult::F32 => f32_toward_zero(units, quantum),
        DotResult::F32Short => match f32_toward_zero(units, quantum) & !((1 << 10) - 1) {
            0x8000_0000 => 0,
            code => code,
        },
        DotResult::F16 => {
            let value = Value::Finite(Finite {
                negative: units < 0,
                mantissa: units.unsigned_abs(),
                exponent: quantum,
            });
            // There is no -0: a negative sum that underflows is +0 (sf-tensor/tcgen05 `_round_int_to_f16`; an H200 too).
            match Format::F16.encode(value, Rounding::NearestEven, false) as u32 {
                0x8000 => 0,
                code => code,
            }
        }
    }
}

/// Sums with infinities and NaNs follow IEEE 754; every NaN is the canonical one.
#[cold]
fn special(rule: DotRule, a: &DotVector, b: &DotVector, c: Element) -> u32 {
    let (infinity, nan, sign) = match rule.result {
        DotResult::F16 => (0x7c00, 0x7fff, 1 << 15),
        DotResult::F32 | DotResult::F32Short => (F32_INFINITY, CANONICAL_NAN, 1 << 31),
    };
    let products = a.elements.iter().zip(&b.elements).map(|(a, b)| Element {
        significand: (a.significand * b.significand).signum(),
        exponent: match (a.exponent, b.exponent) {
            (NAN, _) | (_, NAN) | (INFINITE, ZERO) | (ZERO, INFINITE) => NAN,
            (INFINITE, _) | (_, INFINITE) => INFINITE,
            _ => ZERO,
        },
    });
    let mut positive = false;
    let mut negative = false;
    for term in products.chain([c]) {
        match term.exponent {
            NAN => return nan,
            INFINITE if term.significand > 0 => positive = true,
            INFINITE => negative = true,
            _ => {}
        }
    }
    match (positive, negative) {
        (true, true) => nan,
        (true, false) => infinity,
        _ => sign | infinity,
    }
}
