//! Functions whose last bits are the device's own: the PTX ISA (§9.7.3, §9.7.4) bounds their errors.

use std::f64::consts::PI;

use half::{bf16, f16};

use super::Case;
use super::lanes::{F32_PAIR_TO_F32, F32_TO_F32, Operands, WORD_TO_WORD};

/// How far a result may be from the function's value.
#[derive(Clone, Copy)]
pub enum Bound {
    Ulps(u32),
    Absolute(f64),
    Relative(f64),
    /// Absolute about 1, where the logarithm is small, and else relative.
    Logarithm(f64),
    /// Absolute, for arguments of up to 2π and of up to 100π.
    Periodic(f64, f64),
}

#[derive(Clone, Copy)]
pub enum Format {
    F32,
    F16x2,
    Bf16x2,
}

pub struct Approximation {
    pub case: Case,
    format: Format,
    bound: Bound,
}

/// Each on the numbers of that many CTAs, the same first ones whatever the number.
pub fn cases(ctas: usize) -> Vec<Approximation> {
    use Bound::*;
    let exp2 = f64::exp2;
    let f32_functions = [
        ("ex2.approx.f32", Relative(exp2(-22.0))),
        ("ex2.approx.ftz.f32", Relative(exp2(-22.0))),
        ("lg2.approx.f32", Logarithm(exp2(-22.0))),
        ("lg2.approx.ftz.f32", Logarithm(exp2(-22.0))),
        ("rcp.approx.f32", Ulps(1)),
        ("rcp.approx.ftz.f32", Ulps(1)),
        ("sqrt.approx.f32", Relative(exp2(-23.0))),
        ("rsqrt.approx.f32", Relative(exp2(-22.9))),
        ("rsqrt.approx.ftz.f32", Relative(exp2(-22.9))),
        ("sin.approx.f32", Periodic(exp2(-20.5), exp2(-14.7))),
        ("cos.approx.f32", Periodic(exp2(-20.5), exp2(-14.7))),
        ("tanh.approx.f32", Relative(exp2(-11.0))),
    ]
    .map(|(name, bound)| (name, F32_TO_F32, Format::F32, bound));
    let halves = [
        ("ex2.approx.f16x2", Format::F16x2, Relative(exp2(-9.9))),
        (
            "ex2.approx.ftz.bf16x2",
            Format::Bf16x2,
            Relative(exp2(-7.0)),
        ),
        ("tanh.approx.f16x2", Format::F16x2, Absolute(exp2(-10.987))),
        ("tanh.approx.bf16x2", Format::Bf16x2, Absolute(exp2(-8.0))),
    ]
    .map(|(name, format, bound)| (name, WORD_TO_WORD, format, bound));
    let quotient: (_, Operands, _, _) = ("div.approx.f32", F32_PAIR_TO_F32, Format::F32, Ulps(2));
    f32_functions
        .into_iter()
        .chain(halves)
        .chain([quotient])
        .map(|(name, operands, format, bound)| Approximation {
            case: operands.case_on(name, ctas),
            format,
            bound,
        })
        .collect()
}

impl Approximation {
    /// Whether one result of two, for the same operands, may be a device's where the other is correctly rounded.
    #[allow(dead_code, reason = "the example records what the test compares")]
    pub fn allows(&self, index: usize, device: u32, rounded: u32) -> bool {
        let words = self.case.input.as_chunks().0;
        let operand = f32::from_le_bytes(words[index % words.len()]);
        let halves = |value: fn(u16) -> f64, steps: [f64; 2]| {
            [0, 16].into_iter().all(|shift| {
                let codes = [device, rounded].map(|word| (word >> shift) as u16);
                let elements = codes.map(|code| Element {
                    value: value(code),
                    order: order(code.into(), 15),
                });
                self.allows_element(0.0, elements, steps, codes[0] == codes[1])
            })
        };
        match self.format {
            Format::F32 => self.allows_element(
                f64::from(operand),
                [device, rounded].map(|word| Element {
                    value: f32::from_bits(word).into(),
                    order: order(word, 31),
                }),
                [f32::MIN_POSITIVE.into(), f64::from(f32::EPSILON) / 2.0],
                device == rounded,
            ),
            Format::F16x2 => halves(
                |code| f16::from_bits(code).into(),
                [f16::MIN_POSITIVE.into(), f64::from(f16::EPSILON) / 2.0],
            ),
            Format::Bf16x2 => halves(
                |code| bf16::from_bits(code).into(),
                [bf16::MIN_POSITIVE.into(), f64::from(bf16::EPSILON) / 2.0],
            ),
        }
    }

    /// `least` is the least normal number, `rounding` the relative error of what is correctly rounded.
    fn allows_element(
        &self,
        operand: f64,
        [device, rounded]: [Element; 2],
        [least, rounding]: [f64; 2],
        is_same: bool,
    ) -> bool {
        if is_same {
            return true;
        }
        // Infinities and NaN are no matter of precision.
        if !device.value.is_finite() || !rounded.value.is_finite() {
            return false;
        }
        let magnitude = rounded.value.abs();
        let error = (device.value - rounded.value).abs();
        let within = |bound: f64| error <= bound + rounding * magnitude.max(least);
        match self.bound {
            Bound::Ulps(ulps) => device.order.abs_diff(rounded.order) <= ulps.into(),
            Bound::Absolute(bound) => within(bound),
            Bound::Relative(bound) => within(bound * magnitude.max(least)),
            Bound::Logarithm(bound) => within(bound * magnitude.max(1.0)),
            Bound::Periodic(near, _) if operand.abs() <= 2.0 * PI => within(near),
            Bound::Periodic(_, far) if operand.abs() <= 100.0 * PI => within(far),
            // The ISA promises nothing.
            Bound::Periodic(..) => device.value.abs() <= 1.0,
        }
    }
}

struct Element {
    value: f64,
    order: i64,
}

/// A code's place among the numbers of its format; both zeros have one.
fn order(code: u32, sign_bit: u32) -> i64 {
    let magnitude = i64::from(code & ((1 << sign_bit) - 1));
    match code >> sign_bit & 1 {
        0 => magnitude,
        _ => -magnitude,
    }
}
