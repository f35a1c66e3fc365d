//! Floating-point arithmetic (PTX ISA §9.7.3 `.f32`/`.f64`, §9.7.4 half precision, §9.7.5 mixed).
//!
//! `.rn` in `.f32` and `.f64` runs on the host, whose arithmetic is IEEE 754; every other rounding mode and format goes
//! through exact arithmetic ([`super::format`]).
//!
//! PTX bounds the error of `.approx` functions but does not define their bits. They return the correctly rounded value
//! (computed in `f64`, then rounded), which meets every bound: `ex2` 2⁻²² relative, `rcp` and `div` 1–2 ulp, `sqrt` and
//! `rsqrt` 2⁻²², `lg2` 2⁻²², `sin` and `cos` 2⁻²⁰·⁵ absolute, `tanh` 2⁻¹¹ relative. A real GPU's result may differ in
//! the last bits.

use super::Lanes;
use super::format::{Finite, Format, Rounding, Value};

/// A function of one, two or three floating-point operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatFunction {
    pub op: FloatOp,
    /// `F16`, `Bf16`, `F32` or `F64`.
    pub format: Format,
    /// `.f16x2`, `.bf16x2`, `.f32x2`: the same in both halves of the register.
    pub packed: bool,
    pub rounding: Rounding,
    /// Subnormal operands and results are zeros of the same sign.
    pub ftz: bool,
    /// `.sat`: the result is clamped to [0, 1]; NaN becomes +0.
    pub saturate: bool,
    /// `.relu`: negative results become 0; NaN stays.
    pub relu: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatOp {
    Add,
    Sub,
    Mul,
    Fma,
    Div,
    /// `div.approx`, whose result is 0 for divisors beyond 2¹²⁶ (PTX ISA §9.7.3.8).
    DivApproximate,
    Rcp,
    /// `rcp.approx.ftz.f64`: the upper 32 bits only.
    RcpApproximate64,
    Sqrt,
    Rsqrt,
    /// `rsqrt.approx.ftz.f64`: the upper 32 bits only.
    RsqrtApproximate64,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
    Abs,
    Neg,
    Min {
        nan: bool,
        xor_sign: bool,
    },
    Max {
        nan: bool,
        xor_sign: bool,
    },
    Min3 {
        nan: bool,
    },
    Max3 {
        nan: bool,
    },
    /// The magnitude of `b` with the sign of `a`.
    CopySign,
}

impl FloatFunction {
    /// One value of a function of up to two operands, in both halves if packed.
    pub fn evaluate(self, a: u64, b: u64) -> u64 {
        both_halves(self, a, b, 0)
    }
}

pub(super) fn run(function: FloatFunction, lanes: &mut Lanes) {
    let host = function.rounding == Rounding::NearestEven && !function.relu;
    match (function.format, function.packed) {
        (Format::F32, false) if host => run_f32(function, lanes),
        (Format::F64, false) if host => run_f64(function, lanes),
        (Format::F32, true) if host && !function.ftz && !function.saturate => {
            run_f32x2(function, lanes);
        }
        (Format::F16 | Format::Bf16, _) => run_half(function, lanes),
        _ => run_exact(function, lanes),
    }
}

/// Every function, format and rounding mode.
fn run_exact(function: FloatFunction, lanes: &mut Lanes) {
    lanes.map3(|a, b, c| both_halves(function, a, b, c));
}

fn both_halves(function: FloatFunction, a: u64, b: u64, c: u64) -> u64 {
    if !function.packed {
        return compute(function, a, b, c);
    }
    let bits = function.format.bits();
    let mask = (1u64 << bits) - 1;
    let half = |shift: u32| {
        compute(
            function,
            a >> shift & mask,
            b >> shift & mask,
            c >> shift & mask,
        )
    };
    half(0) | half(bits) << bits
}

#[inline(always)]
fn f32_of(slot: u64) -> f32 {
    f32::from_bits(slot as u32)
}

#[inline(always)]
pub(super) fn f32_slot(value: f32) -> u64 {
    if value.is_nan() {
        Format::F32.canonical_nan()
    } else {
        u64::from(value.to_bits())
    }
}

#[inline(always)]
fn flush_f32(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE {
        0f32.copysign(value)
    } else {
        value
    }
}

/// Wraps a host function with flushing and saturation.
#[inline(always)]
fn finish_f32<const FTZ: bool, const SAT: bool>(value: f32) -> u64 {
    let value = if FTZ { flush_f32(value) } else { value };
    // `max` turns NaN into +0, and −0 must not survive either.
    let value = if SAT {
        if value > 0.0 { value.min(1.0) } else { 0.0 }
    } else {
        value
    };
    f32_slot(value)
}

#[inline(always)]
fn start_f32<const FTZ: bool>(slot: u64) -> f32 {
    let value = f32_of(slot);
    if FTZ { flush_f32(value) } else { value }
}

fn run_f32(function: FloatFunction, lanes: &mut Lanes) {
    match (function.ftz, function.saturate) {
        (false, false) => run_f32_with::<false, false>(function, lanes),
        (true, false) => run_f32_with::<true, false>(function, lanes),
        (false, true) => run_f32_with::<false, true>(function, lanes),
        (true, true) => run_f32_with::<true, true>(function, lanes),
    }
}

fn run_f32_with<const FTZ: bool, const SAT: bool>(function: FloatFunction, lanes: &mut Lanes) {
    #[inline(always)]
    fn x<const FTZ: bool>(slot: u64) -> f32 {
        start_f32::<FTZ>(slot)
    }
    #[inline(always)]
    fn y<const FTZ: bool, const SAT: bool>(value: f32) -> u64 {
        finish_f32::<FTZ, SAT>(value)
    }
    macro_rules! unary {
        ($f:expr) => {
            lanes.map1(|a| y::<FTZ, SAT>($f(x::<FTZ>(a))))
        };
    }
    macro_rules! binary {
        ($f:expr) => {
            lanes.map2(|a, b| y::<FTZ, SAT>($f(x::<FTZ>(a), x::<FTZ>(b))))
        };
    }
    match function.op {
        FloatOp::Add => binary!(|a: f32, b: f32| a + b),
        FloatOp::Sub => binary!(|a: f32, b: f32| a - b),
        FloatOp::Mul => binary!(|a: f32, b: f32| a * b),
        FloatOp::Div => binary!(|a: f32, b: f32| a / b),
        FloatOp::Fma => {
            lanes.map3(|a, b, c| y::<FTZ, SAT>(x::<FTZ>(a).mul_add(x::<FTZ>(b), x::<FTZ>(c))))
        }
        FloatOp::Rcp => unary!(|a: f32| 1.0 / a),
        FloatOp::Sqrt => unary!(f32::sqrt),
        FloatOp::Rsqrt => unary!(|a: f32| (1.0 / f64::from(a).sqrt()) as f32),
        FloatOp::Ex2 => unary!(|a: f32| f64::from(a).exp2() as f32),
        FloatOp::Lg2 => unary!(|a: f32| f64::from(a).log2() as f32),
        FloatOp::Sin => unary!(|a: f32| f64::from(a).sin() as f32),
        FloatOp::Cos => unary!(|a: f32| f64::from(a).cos() as f32),
        FloatOp::Tanh => unary!(|a: f32| f64::from(a).tanh() as f32),
        FloatOp::Min {
            nan,
            xor_sign: false,
        } => binary!(|a, b| minimum_f32(a, b, nan)),
        FloatOp::Max {
            nan,
            xor_sign: false,
        } => binary!(|a: f32, b: f32| maximum_f32(a, b, nan)),
        _ => run_exact(function, lanes),
    }
}

/// −0 is less than +0; a NaN loses against a number unless `.NaN` asks for it (PTX ISA §9.7.3.11).
#[inline(always)]
fn minimum_f32(a: f32, b: f32, nan: bool) -> f32 {
    if a.is_nan() {
        return if nan { a } else { b };
    }
    if b.is_nan() {
        return if nan { b } else { a };
    }
    if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

#[inline(always)]
fn maximum_f32(a: f32, b: f32, nan: bool) -> f32 {
    -minimum_f32(-a, -b, nan)
}

/// The code of the smaller or larger of two f32 values.
pub fn extremum_f32(largest: bool, a: f32, b: f32, nan: bool) -> u32 {
    let value = match largest {
        true => maximum_f32(a, b, nan),
        false => minimum_f32(a, b, nan),
    };
    f32_slot(value) as u32
}

/// The NaN of these operands' sum or product: the first that is one, quieted, else the default NaN.
fn f64_nan(operands: [u64; 3]) -> u64 {
    let nan = operands
        .into_iter()
        .find(|code| f64::from_bits(*code).is_nan());
    nan.map_or(Format::F64.canonical_nan(), |code| code | 1 << 51)
}

fn run_f64(function: FloatFunction, lanes: &mut Lanes) {
    let x = f64::from_bits;
    /// The host's own choice of NaN is not portable.
    fn y(value: f64, operands: [u64; 3]) -> u64 {
        match value.is_nan() {
            true => f64_nan(operands),
            false => value.to_bits(),
        }
    }
    if function.saturate || function.ftz {
        return run_exact(function, lanes);
    }
    match function.op {
        FloatOp::Add => lanes.map2(|a, b| y(x(a) + x(b), [a, b, 0])),
        FloatOp::Sub => lanes.map2(|a, b| y(x(a) - x(b), [a, b, 0])),
        FloatOp::Mul => lanes.map2(|a, b| y(x(a) * x(b), [a, b, 0])),
        FloatOp::Div => lanes.map2(|a, b| y(x(a) / x(b), [a, b, 0])),
        FloatOp::Fma => lanes.map3(|a, b, c| y(x(a).mul_add(x(b), x(c)), [a, b, c])),
        FloatOp::Rcp => lanes.map1(|a| y(1.0 / x(a), [a, 0, 0])),
        FloatOp::Sqrt => lanes.map1(|a| y(x(a).sqrt(), [a, 0, 0])),
        _ => run_exact(function, lanes),
    }
}

fn run_f32x2(function: FloatFunction, lanes: &mut Lanes) {
    #[inline(always)]
    fn both(a: u64, b: u64, c: u64, f: impl Fn(f32, f32, f32) -> f32) -> u64 {
        let high = f(f32_of(a >> 32), f32_of(b >> 32), f32_of(c >> 32));
        f32_slot(f(f32_of(a), f32_of(b), f32_of(c))) | f32_slot(high) << 32
    }
    match function.op {
        FloatOp::Add => lanes.map2(|a, b| both(a, b, 0, |a, b, _| a + b)),
        FloatOp::Sub => lanes.map2(|a, b| both(a, b, 0, |a, b, _| a - b)),
        FloatOp::Mul => lanes.map2(|a, b| both(a, b, 0, |a, b, _| a * b)),
        FloatOp::Fma => lanes.map3(|a, b, c| both(a, b, c, f32::mul_add)),
        _ => run_exact(function, lanes),
    }
}

/// Sums and products of halves are exact enough in `f32` that rounding twice is rounding once: 24 ≥ 2·11 + 2 bits.
fn run_half(function: FloatFunction, lanes: &mut Lanes) {
    let plain = function.rounding == Rounding::NearestEven
        && !function.ftz
        && !function.saturate
        && !function.relu;
    if !plain {
        return run_exact(function, lanes);
    }
    macro_rules! binary {
        ($widen:ident, $narrow:ident, $f:expr) => {
            if function.packed {
                lanes.map2(|a, b| {
                    let low = $narrow($f($widen(a), $widen(b)));
                    low | $narrow($f($widen(a >> 16), $widen(b >> 16))) << 16
                })
            } else {
                lanes.map2(|a, b| $narrow($f($widen(a), $widen(b))))
            }
        };
    }
    match (function.format, function.op) {
        (Format::F16, FloatOp::Add) => binary!(f16_widen, f16_narrow, |a: f32, b: f32| a + b),
        (Format::F16, FloatOp::Sub) => binary!(f16_widen, f16_narrow, |a: f32, b: f32| a - b),
        (Format::F16, FloatOp::Mul) => binary!(f16_widen, f16_narrow, |a: f32, b: f32| a * b),
        (Format::Bf16, FloatOp::Add) => binary!(bf16_widen, bf16_narrow, |a: f32, b: f32| a + b),
        (Format::Bf16, FloatOp::Sub) => binary!(bf16_widen, bf16_narrow, |a: f32, b: f32| a - b),
        (Format::Bf16, FloatOp::Mul) => binary!(bf16_widen, bf16_narrow, |a: f32, b: f32| a * b),
        _ => run_exact(function, lanes),
    }
}

#[inline(always)]
pub(super) fn bf16_widen(slot: u64) -> f32 {
    f32::from_bits((slot as u32) << 16)
}

#[inline(always)]
pub(super) fn bf16_narrow(value: f32) -> u64 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if value.is_nan() {
        Format::Bf16.canonical_nan()
    } else {
        u64::from(rounded)
    }
}

#[inline(always)]
pub(super) fn f16_widen(slot: u64) -> f32 {
    let code = slot as u32 & 0xffff;
    let magnitude = code & 0x7fff;
    // Scaling by 2¹¹² moves the exponent bias from 15 to 127 and normalises subnormals.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((112 + 127) << 23);
    let special = f32::from_bits(0x7f80_0000 | magnitude << 13);
    let value = if magnitude >= 0x7c00 { special } else { scaled };
    f32::from_bits(value.to_bits() | (code & 0x8000) << 16)
}

#[inline(always)]
pub(super) fn f16_narrow(value: f32) -> u64 {
    let bits = value.to_bits();
    let sign = bits >> 16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    // Adding 0.5 leaves the subnormal's units of 2⁻²⁴, rounded to nearest even, in the low bits.
    let subnormal = (f32::from_bits(magnitude) + 0.5)
        .to_bits()
        .wrapping_sub(0x3f00_0000);
    let normal =
        (magnitude.wrapping_add(0xfff + (magnitude >> 13 & 1)) >> 13).wrapping_sub(112 << 10);
    let code = match magnitude {
        0x7f80_0001.. => return Format::F16.canonical_nan(),
        0x4780_0000.. => 0x7c00,
        0x3880_0000.. => normal,
        _ => subnormal,
    };
    u64::from(sign | code)
}

/// One lane, exactly.
fn compute(function: FloatFunction, a: u64, b: u64, c: u64) -> u64 {
    let FloatFunction {
        op,
        format,
        rounding,
        ftz,
        saturate,
        relu,
        ..
    } = function;
    let flush = |code| if ftz { flush(format, code) } else { code };
    let [a, b, c] = [flush(a), flush(b), flush(c)];
    let [x, y, z] = [a, b, c].map(|code| format.decode(code));
    let encode = |value| format.encode(value, rounding, false);
    let through_f64 = |f: fn(f64) -> f64| {
        let operand = f64::from_bits(Format::F64.encode(x, Rounding::NearestEven, false));
        encode(Format::F64.decode(f(operand).to_bits()))
    };
    let sign = 1u64 << (format.bits() - 1);
    let result = match op {
        FloatOp::Add => encode(x.sum(y, rounding)),
        FloatOp::Sub => encode(x.sum(y.negated(), rounding)),
        FloatOp::Mul => encode(x.product(y)),
        FloatOp::Fma => encode(x.product(y).sum(z, rounding)),
        FloatOp::Div => encode(x.quotient(y)),
        FloatOp::DivApproximate => match beyond_2_126(y) {
            false => encode(x.quotient(y)),
            true if matches!(x, Value::Infinity { .. }) => format.canonical_nan(),
            true => encode(x.product(Value::zero(y.negative()))),
        },
        FloatOp::Rcp => encode(one().quotient(x)),
        FloatOp::RcpApproximate64 => upper_half(flush(encode(one().quotient(x)))),
        FloatOp::Sqrt => encode(x.square_root()),
        FloatOp::Rsqrt => encode(one().quotient(x.square_root_53())),
        FloatOp::RsqrtApproximate64 => {
            upper_half(flush(encode(one().quotient(x.square_root_53()))))
        }
        FloatOp::Ex2 => through_f64(f64::exp2),
        FloatOp::Lg2 => through_f64(f64::log2),
        FloatOp::Sin => through_f64(f64::sin),
        FloatOp::Cos => through_f64(f64::cos),
        FloatOp::Tanh => through_f64(f64::tanh),
        // The device's half-precision units make every NaN the canonical one, those of f32 and f64 keep it.
        FloatOp::Abs | FloatOp::Neg if x == Value::Nan && format.bits() == 16 => {
            format.canonical_nan()
        }
        FloatOp::Abs => a & !sign & (sign | (sign - 1)),
        FloatOp::Neg => (a ^ sign) & (sign | (sign - 1)),
        FloatOp::Min { nan, xor_sign } | FloatOp::Max { nan, xor_sign } if xor_sign => {
            let magnitude = select(
                matches!(op, FloatOp::Max { .. }),
                format,
                a & !sign,
                b & !sign,
                nan,
            );
            // A NaN result is canonical, its sign included.
            if magnitude & !sign > infinity(format) {
                magnitude
            } else {
                magnitude | (a ^ b) & sign
            }
        }
        FloatOp::Min { nan, .. } => select(false, format, a, b, nan),
        FloatOp::Max { nan, .. } => select(true, format, a, b, nan),
        FloatOp::Min3 { nan } => select(false, format, select(false, format, a, b, nan), c, nan),
        FloatOp::Max3 { nan } => select(true, format, select(true, format, a, b, nan), c, nan),
        FloatOp::CopySign => a & sign | b & (sign - 1),
    };
    let is_arithmetic = matches!(
        op,
        FloatOp::Add | FloatOp::Sub | FloatOp::Mul | FloatOp::Fma
    );
    let result = match format.decode(result) {
        Value::Nan if format == Format::F64 && is_arithmetic => f64_nan([a, b, c]),
        _ => flush(result),
    };
    let value = format.decode(result);
    if saturate {
        return match value {
            Value::Nan => 0,
            _ if value.negative() || value.is_zero() => 0,
            _ => result.min(encode(one())),
        };
    }
    if relu && value != Value::Nan && value.negative() {
        0
    } else {
        result
    }
}

fn one() -> Value {
    Value::Finite(Finite {
        negative: false,
        mantissa: 1,
        exponent: 0,
    })
}

fn upper_half(code: u64) -> u64 {
    code & 0xffff_ffff_0000_0000
}

fn infinity(format: Format) -> u64 {
    format.encode(
        Value::Infinity { negative: false },
        Rounding::NearestEven,
        false,
    )
}

fn beyond_2_126(value: Value) -> bool {
    match value {
        Value::Finite(Finite {
            mantissa, exponent, ..
        }) if mantissa != 0 => {
            let leading = 127 - mantissa.leading_zeros() as i32 + exponent;
            leading > 126 || (leading == 126 && !mantissa.is_power_of_two())
        }
        _ => false,
    }
}

/// A subnormal becomes a zero of the same sign.
pub(super) fn flush(format: Format, code: u64) -> u64 {
    let sign = 1u64 << (format.bits() - 1);
    let exponent = infinity(format);
    if code & exponent == 0 {
        code & sign
    } else {
        code
    }
}

/// `min` or `max` on codes.
fn select(largest: bool, format: Format, a: u64, b: u64, nan: bool) -> u64 {
    let (a_nan, b_nan) = (
        format.decode(a) == Value::Nan,
        format.decode(b) == Value::Nan,
    );
    match (a_nan, b_nan) {
        (true, true) => format.canonical_nan(),
        (true, false) | (false, true) if nan => format.canonical_nan(),
        (true, false) => b,
        (false, true) => a,
        (false, false) => {
            // Sign-magnitude codes in order, −0 before +0.
            let sign = 1u64 << (format.bits() - 1);
            let key = |code: u64| match code & sign {
                0 => i128::from(code),
                _ => -1 - i128::from(code & !sign),
            };
            if (key(a) < key(b)) != largest { a } else { b }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Function, testing};
    use super::*;
    use half::{bf16, f16};
    use proptest::prelude::*;

    fn function(op: FloatOp, format: Format) -> FloatFunction {
        FloatFunction {
            op,
            format,
            packed: false,
            rounding: Rounding::NearestEven,
            ftz: false,
            saturate: false,
            relu: false,
        }
    }

    fn run(function: FloatFunction, sources: &[u64]) -> u64 {
        testing::run(Function::Float(function), sources)
    }

    fn run_f32(function: FloatFunction, sources: &[f32]) -> f32 {
        let sources: Vec<u64> = sources.iter().map(|x| u64::from(x.to_bits())).collect();
        f32::from_bits(run(function, &sources) as u32)
    }

    const MIN: FloatOp = FloatOp::Min {
        nan: false,
        xor_sign: false,
    };
    const MAX: FloatOp = FloatOp::Max {
        nan: false,
        xor_sign: false,
    };

    #[test]
    fn nan_results_are_canonical() {
        let add = function(FloatOp::Add, Format::F32);
        assert_eq!(run(add, &[0xffc1_2345, 0]), 0x7fff_ffff);
        assert_eq!(
            run(function(FloatOp::Sqrt, Format::F32), &[0xbf80_0000]),
            0x7fff_ffff
        );
        assert_eq!(
            run(function(FloatOp::Add, Format::F16), &[0x7e01, 0]),
            0x7fff
        );
        let double = function(FloatOp::Add, Format::F64);
        assert_eq!(
            run(double, &[0x7ff0_0000_0000_0001, 0]),
            0x7ff8_0000_0000_0001
        );
        assert_eq!(
            run(double, &[0x7ff0_0000_0000_0000, 0xfff0_0000_0000_0000]),
            0xfff8_0000_0000_0000
        );
    }

    #[test]
    fn minimum_orders_zeros_and_ignores_nan() {
        for format in [Format::F32, Format::F64, Format::F16] {
            let sign = 1u64 << (format.bits() - 1);
            assert_eq!(run(function(MIN, format), &[0, sign]), sign);
            assert_eq!(run(function(MAX, format), &[sign, 0]), 0);
            let one = format.encode(one(), Rounding::NearestEven, false);
            let nan = format.canonical_nan();
            assert_eq!(run(function(MIN, format), &[nan, one]), one);
            assert_eq!(run(function(MAX, format), &[one, nan]), one);
            let strict = FloatOp::Min {
                nan: true,
                xor_sign: false,
            };
            assert_eq!(run(function(strict, format), &[nan, one]), nan);
        }
        let xor = FloatOp::Max {
            nan: false,
            xor_sign: true,
        };
        assert_eq!(run_f32(function(xor, Format::F32), &[-2.0, 1.0]), -2.0);
        assert_eq!(run_f32(function(xor, Format::F32), &[-2.0, -3.0]), 3.0);
        let three = FloatOp::Max3 { nan: false };
        assert_eq!(
            run_f32(function(three, Format::F32), &[1.0, f32::NAN, 2.0]),
            2.0
        );
    }

    #[test]
    fn flushing_keeps_the_sign() {
        let mut add = function(FloatOp::Add, Format::F32);
        add.ftz = true;
        assert_eq!(run(add, &[0x8000_0001, 0x8000_0000]), 0x8000_0000);
        let mut mul = function(FloatOp::Mul, Format::F32);
        mul.ftz = true;
        let tiny = u64::from((-f32::MIN_POSITIVE).to_bits());
        assert_eq!(run(mul, &[tiny, u64::from(0.5f32.to_bits())]), 0x8000_0000);
    }

    #[test]
    fn saturation_clamps_to_the_unit_interval() {
        for format in [Format::F32, Format::F16] {
            let code = |x: f32| {
                format.encode(
                    Format::F32.decode(u64::from(x.to_bits())),
                    Rounding::NearestEven,
                    false,
                )
            };
            let mut add = function(FloatOp::Add, format);
            add.saturate = true;
            assert_eq!(run(add, &[code(2.0), code(3.0)]), code(1.0));
            assert_eq!(run(add, &[code(-2.0), code(1.0)]), 0);
            assert_eq!(run(add, &[format.canonical_nan(), 0]), 0);
            assert_eq!(run(add, &[code(0.25), code(0.25)]), code(0.5));
        }
    }

    #[test]
    fn special_values_of_approximations() {
        let f = |op, x| run_f32(function(op, Format::F32), &[x]);
        assert_eq!(f(FloatOp::Ex2, f32::NEG_INFINITY), 0.0);
        assert_eq!(f(FloatOp::Ex2, 3.0), 8.0);
        assert_eq!(f(FloatOp::Lg2, 0.0), f32::NEG_INFINITY);
        assert!(f(FloatOp::Lg2, -1.0).is_nan());
        assert_eq!(f(FloatOp::Rsqrt, 4.0), 0.5);
        assert_eq!(f(FloatOp::Rsqrt, -0.0), f32::NEG_INFINITY);
        assert_eq!(f(FloatOp::Rcp, -0.0), f32::NEG_INFINITY);
        assert_eq!(f(FloatOp::Tanh, f32::INFINITY), 1.0);
        let div = function(FloatOp::DivApproximate, Format::F32);
        assert_eq!(run_f32(div, &[1.0, 2f32.powi(127)]), 0.0);
        assert_eq!(run_f32(div, &[1.0, 4.0]), 0.25);
    }

    #[test]
    fn relu_keeps_nan() {
        let mut fma = function(FloatOp::Fma, Format::Bf16);
        fma.relu = true;
        let code = |x: f32| u64::from(bf16::from_f32(x).to_bits());
        assert_eq!(run(fma, &[code(-1.0), code(2.0), code(0.5)]), 0);
        assert_eq!(run(fma, &[0x7fff, code(2.0), code(0.5)]), 0x7fff);
    }

    fn same(format: Format, got: u64, want: u64) -> bool {
        got == want || (format.decode(want) == Value::Nan && got == format.canonical_nan())
    }

    #[test]
    fn half_conversions_agree_with_half_exhaustively() {
        for code in 0..=u16::MAX {
            let (x, y) = (f16::from_bits(code), bf16::from_bits(code));
            assert!(x.is_nan() || f16_widen(u64::from(code)).to_bits() == x.to_f32().to_bits());
            assert!(y.is_nan() || bf16_widen(u64::from(code)).to_bits() == y.to_f32().to_bits());
        }
    }

    proptest! {
        #[test]
        fn fast_paths_agree_with_exact_arithmetic(a: u32, b: u32, c: u32, ftz: bool, saturate: bool) {
            let sources = [a, b, c].map(u64::from);
            for op in [FloatOp::Add, FloatOp::Sub, FloatOp::Mul, FloatOp::Div, FloatOp::Fma, FloatOp::Rcp,
                       FloatOp::Sqrt, MIN, MAX] {
                let function = FloatFunction { ftz, saturate, ..function(op, Format::F32) };
                let want = compute(function, sources[0], sources[1], sources[2]);
                prop_assert_eq!(run(function, &sources), want, "{:?}", op);
            }
        }

        #[test]
        fn narrowing_agrees_with_half(code: u32) {
            let x = f32::from_bits(code);
            prop_assert!(same(Format::F16, f16_narrow(x), u64::from(f16::from_f32(x).to_bits())));
            prop_assert!(same(Format::Bf16, bf16_narrow(x), u64::from(bf16::from_f32(x).to_bits())));
        }

        #[test]
        fn narrowing_to_subnormal_f16(x in -1e-4f32..1e-4) {
            prop_assert_eq!(f16_narrow(x), u64::from(f16::from_f32(x).to_bits()));
        }

        #[test]
        fn packed_halves_agree_with_exact_arithmetic(a: u32, b: u32, c: u32) {
            for format in [Format::F16, Format::Bf16] {
                for op in [FloatOp::Add, FloatOp::Sub, FloatOp::Mul, FloatOp::Fma, MIN, MAX] {
                    let scalar = function(op, format);
                    let packed = FloatFunction { packed: true, ..scalar };
                    let half = |shift: u32| {
                        let [a, b, c] = [a, b, c].map(|word| u64::from(word >> shift & 0xffff));
                        compute(scalar, a, b, c)
                    };
                    let got = run(packed, &[a, b, c].map(u64::from));
                    prop_assert_eq!(got, half(0) | half(16) << 16);
                }
            }
        }

        #[test]
        fn packed_f32_is_two_f32(a: u64, b: u64, c: u64) {
            let scalar = function(FloatOp::Fma, Format::F32);
            let packed = FloatFunction { packed: true, ..scalar };
            let half = |shift: u32| compute(scalar, (a >> shift) & 0xffff_ffff, (b >> shift) & 0xffff_ffff, (c >> shift) & 0xffff_ffff);
            prop_assert_eq!(run(packed, &[a, b, c]), half(0) | half(32) << 32);
        }
    }
}
