//! Binary floating-point formats and exact arithmetic on them.
//!
//! A finite number is held as an integer times a power of two, wide enough that every operation is either exact or
//! "jammed": what does not fit is recorded in the lowest bit, far below any rounding position. One rounding at the end
//! then gives the IEEE result in any format and rounding mode.

/// A storage format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    F16,
    Bf16,
    /// The upper 19 bits of a 32-bit register.
    Tf32,
    F32,
    F64,
    E4m3,
    E5m2,
    E2m3,
    E3m2,
    E2m1,
    /// Powers of two, no sign, no zero.
    Ue8m0,
}

/// Which codes do not stand for numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Specials {
    /// Infinities and NaNs in the largest exponent.
    Ieee,
    /// No infinity; only the all-ones magnitude is NaN.
    NanOnly,
    /// Every code is a number.
    None,
}

struct Layout {
    exponent_bits: u32,
    mantissa_bits: u32,
    specials: Specials,
}

/// How a result is rounded to its format (PTX ISA §9.4 "Rounding Modifiers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// `.rn`: to nearest, ties to even.
    NearestEven,
    /// `.rna`: to nearest, ties away from zero.
    NearestAway,
    /// `.rz`
    TowardZero,
    /// `.rm`
    TowardNegative,
    /// `.rp`
    TowardPositive,
}

/// A number of any format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Nan,
    Infinity { negative: bool },
    Finite(Finite),
}

/// ± `mantissa` · 2^`exponent`; zero keeps its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finite {
    pub negative: bool,
    pub mantissa: u128,
    pub exponent: i32,
}

impl Format {
    const fn layout(self) -> Layout {
        let (exponent_bits, mantissa_bits, specials) = match self {
            Format::F16 => (5, 10, Specials::Ieee),
            Format::Bf16 => (8, 7, Specials::Ieee),
            Format::Tf32 => (8, 10, Specials::Ieee),
            Format::F32 => (8, 23, Specials::Ieee),
            Format::F64 => (11, 52, Specials::Ieee),
            Format::E4m3 => (4, 3, Specials::NanOnly),
            Format::E5m2 => (5, 2, Specials::Ieee),
            Format::E2m3 => (2, 3, Specials::None),
            Format::E3m2 => (3, 2, Specials::None),
            Format::E2m1 => (2, 1, Specials::None),
            Format::Ue8m0 => (8, 0, Specials::NanOnly),
        };
        Layout {
            exponent_bits,
            mantissa_bits,
            specials,
        }
    }

    /// Width of one value in bits.
    pub const fn bits(self) -> u32 {
        match self {
            Format::Ue8m0 => 8,
            Format::Tf32 => 32,
            _ => {
                let layout = self.layout();
                1 + layout.exponent_bits + layout.mantissa_bits
            }
        }
    }

    /// Bits of the significand below its leading one.
    pub const fn fraction_bits(self) -> u32 {
        self.layout().mantissa_bits
    }

    /// The NaN that arithmetic produces: all ones below the sign (PTX ISA §9.7.3 for `.f32`, §9.7.4 for `.f16` and
    /// `.bf16`); for `.f64` the quiet NaN that CUDA calls `CUDART_NAN`.
    pub const fn canonical_nan(self) -> u64 {
        match self {
            Format::F16 | Format::Bf16 => 0x7fff,
            Format::F32 => 0x7fff_ffff,
            Format::Tf32 => 0x7fff_e000,
            Format::F64 => 0xfff8_0000_0000_0000,
            Format::E4m3 | Format::E5m2 => 0x7f,
            Format::Ue8m0 => 0xff,
            // No NaN exists; `cvt` defines the largest positive number instead.
            Format::E2m3 | Format::E3m2 => 0x1f,
            Format::E2m1 => 0x7,
        }
    }

    /// The largest finite magnitude's code.
    const fn largest(self) -> u64 {
        match self {
            Format::F16 => 0x7bff,
            Format::Bf16 => 0x7f7f,
            Format::Tf32 => 0x7f7f_e000,
            Format::F32 => 0x7f7f_ffff,
            Format::F64 => 0x7fef_ffff_ffff_ffff,
            Format::E4m3 => 0x7e,
            Format::E5m2 => 0x7b,
            Format::E2m3 | Format::E3m2 => 0x1f,
            Format::E2m1 => 0x7,
            Format::Ue8m0 => 0xfe,
        }
    }

    fn sign_bit(self) -> u64 {
        match self {
            Format::Ue8m0 => 0,
            _ => 1 << (self.bits() - 1),
        }
    }

    /// The value that `code` stands for; bits above the format's width are ignored.
    pub fn decode(self, code: u64) -> Value {
        if self == Format::Ue8m0 {
            let code = code & 0xff;
            return if code == 0xff {
                Value::Nan
            } else {
                Value::Finite(Finite {
                    negative: false,
                    mantissa: 1,
                    exponent: code as i32 - 127,
                })
            };
        }
        let Layout {
            exponent_bits,
            mantissa_bits,
            specials,
        } = self.layout();
        let negative = code & self.sign_bit() != 0;
        let code = if self == Format::Tf32 {
            code >> 13
        } else {
            code
        };
        let mantissa = code & ((1 << mantissa_bits) - 1);
        let ones = (1u64 << exponent_bits) - 1;
        let exponent = (code >> mantissa_bits) & ones;
        match specials {
            Specials::Ieee if exponent == ones && mantissa != 0 => return Value::Nan,
            Specials::Ieee if exponent == ones => return Value::Infinity { negative },
            Specials::NanOnly if exponent == ones && mantissa == (1 << mantissa_bits) - 1 => {
                return Value::Nan;
            }
            _ => {}
        }
        let bias = (1 << (exponent_bits - 1)) - 1;
        let (mantissa, exponent) = match exponent {
            0 => (mantissa, 1),
            _ => (mantissa | 1 << mantissa_bits, exponent as i32),
        };
        Value::Finite(Finite {
            negative,
            mantissa: u128::from(mantissa),
            exponent: exponent - bias - mantissa_bits as i32,
        })
    }

    /// The code of `value` rounded to this format. `saturate` is `.satfinite`: magnitudes beyond the largest finite one
    /// become it (PTX ISA §9.7.9.22 `cvt`).
    pub fn encode(self, value: Value, rounding: Rounding, saturate: bool) -> u64 {
        match value {
            Value::Nan => self.canonical_nan(),
            Value::Infinity { negative } => self.overflow(negative, rounding, saturate, true),
            Value::Finite(finite) if self == Format::Ue8m0 => {
                encode_ue8m0(finite, rounding, saturate)
            }
            Value::Finite(finite) => self.round(finite, rounding, saturate),
        }
    }

    fn round(self, value: Finite, rounding: Rounding, saturate: bool) -> u64 {
        let sign = if value.negative { self.sign_bit() } else { 0 };
        if value.mantissa == 0 {
            return sign;
        }
        let Layout {
            exponent_bits,
            mantissa_bits,
            ..
        } = self.layout();
        let bias = (1 << (exponent_bits - 1)) - 1;
        let leading = 127 - value.mantissa.leading_zeros() as i32 + value.exponent;
        let smallest_normal = 1 - bias;
        let unit = leading.max(smallest_normal) - mantissa_bits as i32;
        let rounded = round_to_multiple(value, unit, rounding);
        // The implicit one of a normal number adds 1 to the exponent field; so does a carry out of the rounding.
        let exponent_field = (leading.max(smallest_normal) + bias - 1) as u64;
        let code = (exponent_field << mantissa_bits) + rounded as u64;
        let code = if self == Format::Tf32 {
            code << 13
        } else {
            code
        };
        if code > self.largest() {
            self.overflow(value.negative, rounding, saturate, false)
        } else {
            sign | code
        }
    }

    fn overflow(self, negative: bool, rounding: Rounding, saturate: bool, infinite: bool) -> u64 {
        let sign = if negative { self.sign_bit() } else { 0 };
        let toward_zero = match rounding {
            Rounding::TowardZero => true,
            Rounding::TowardNegative => !negative,
            Rounding::TowardPositive => negative,
            Rounding::NearestEven | Rounding::NearestAway => false,
        };
        let specials = self.layout().specials;
        if saturate || specials == Specials::None || (toward_zero && !infinite) {
            return sign | self.largest();
        }
        match self {
            Format::E4m3 | Format::Ue8m0 => self.canonical_nan() | sign,
            Format::Tf32 => sign | 0x7f80_0000,
            _ => sign | (self.largest() + 1),
        }
    }
}

/// Scale factors have no sign and no zero: the magnitude rounds to a power of two, and what is below the smallest
/// becomes the smallest.
fn encode_ue8m0(value: Finite, rounding: Rounding, saturate: bool) -> u64 {
    if value.mantissa == 0 {
        return 0;
    }
    let leading = 127 - value.mantissa.leading_zeros() as i32 + value.exponent;
    let up = match rounding {
        Rounding::TowardPositive => !value.mantissa.is_power_of_two(),
        Rounding::NearestEven | Rounding::NearestAway => {
            value.mantissa.leading_zeros() != 127
                && value.mantissa & (1 << (126 - value.mantissa.leading_zeros())) != 0
        }
        Rounding::TowardZero | Rounding::TowardNegative => false,
    };
    let code = leading + i32::from(up) + 127;
    match code {
        ..0 => 0,
        0..=254 => code as u64,
        _ if saturate || rounding == Rounding::TowardZero => 254,
        _ => 255,
    }
}

/// |`value`| in units of 2^`unit`, rounded to an integer.
pub fn round_to_multiple(value: Finite, unit: i32, rounding: Rounding) -> u128 {
    let shift = unit - value.exponent;
    if shift <= 0 {
        return value.mantissa << -shift;
    }
    let (whole, rest, half) = if shift >= 128 {
        // Less than half a unit unless the mantissa reaches the top bit.
        let half_exactly = shift == 128 && value.mantissa == 1 << 127;
        let above = shift == 128 && value.mantissa > 1 << 127;
        (
            0,
            value.mantissa != 0,
            if half_exactly {
                0
            } else if above {
                1
            } else {
                -1
            },
        )
    } else {
        let rest = value.mantissa & ((1 << shift) - 1);
        let half = 1u128 << (shift - 1);
        (value.mantissa >> shift, rest != 0, rest.cmp(&half) as i32)
    };
    let up = match rounding {
        Rounding::NearestEven => half > 0 || (half == 0 && whole & 1 == 1),
        Rounding::NearestAway => half >= 0,
        Rounding::TowardZero => false,
        Rounding::TowardNegative => value.negative && rest,
        Rounding::TowardPositive => !value.negative && rest,
    };
    whole + u128::from(up)
}

impl Finite {
    /// With the leading one at bit `position`; bits shifted out are jammed.
    fn normalised(self, position: u32) -> Finite {
        let shift = position as i32 - (127 - self.mantissa.leading_zeros() as i32);
        Finite {
            mantissa: if shift >= 0 {
                self.mantissa << shift
            } else {
                shift_right_jam(self.mantissa, -shift)
            },
            exponent: self.exponent - shift,
            ..self
        }
    }
}

fn shift_right_jam(mantissa: u128, shift: i32) -> u128 {
    if shift >= 128 {
        return u128::from(mantissa != 0);
    }
    let lost = mantissa & ((1u128 << shift) - 1);
    mantissa >> shift | u128::from(lost != 0)
}

impl Value {
    pub fn zero(negative: bool) -> Value {
        Value::Finite(Finite {
            negative,
            mantissa: 0,
            exponent: 0,
        })
    }

    pub fn negative(self) -> bool {
        match self {
            Value::Nan => false,
            Value::Infinity { negative } => negative,
            Value::Finite(finite) => finite.negative,
        }
    }

    pub fn is_zero(self) -> bool {
        matches!(self, Value::Finite(finite) if finite.mantissa == 0)
    }

    pub fn negated(self) -> Value {
        match self {
            Value::Nan => Value::Nan,
            Value::Infinity { negative } => Value::Infinity {
                negative: !negative,
            },
            Value::Finite(finite) => Value::Finite(Finite {
                negative: !finite.negative,
                ..finite
            }),
        }
    }

    /// Exact for operands of up to 64 bits.
    pub fn product(self, other: Value) -> Value {
        let negative = self.negative() != other.negative();
        match (self, other) {
            (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
            (Value::Infinity { .. }, _) if other.is_zero() => Value::Nan,
            (_, Value::Infinity { .. }) if self.is_zero() => Value::Nan,
            (Value::Infinity { .. }, _) | (_, Value::Infinity { .. }) => {
                Value::Infinity { negative }
            }
            (Value::Finite(a), Value::Finite(b)) => Value::Finite(Finite {
                negative,
                mantissa: a.mantissa * b.mantissa,
                exponent: a.exponent + b.exponent,
            }),
        }
    }

    /// Jammed far below the rounding position of any format, for operands of up to 106 bits. An exact zero sum of
    /// non-zero terms is −0 only when rounding toward −∞ (IEEE 754 §6.3).
    pub fn sum(self, other: Value, rounding: Rounding) -> Value {
        let (a, b) = match (self, other) {
            (Value::Nan, _) | (_, Value::Nan) => return Value::Nan,
            (Value::Infinity { negative: a }, Value::Infinity { negative: b }) if a != b => {
                return Value::Nan;
            }
            (Value::Infinity { .. }, _) => return self,
            (_, Value::Infinity { .. }) => return other,
            (Value::Finite(a), Value::Finite(b)) => (a, b),
        };
        let cancelled = rounding == Rounding::TowardNegative;
        match (a.mantissa, b.mantissa) {
            (0, 0) if a.negative == b.negative => return self,
            (0, 0) => return Value::zero(cancelled),
            (0, _) => return other,
            (_, 0) => return self,
            _ => {}
        }
        let (a, b) = (a.normalised(125), b.normalised(125));
        let (large, small) = if a.exponent >= b.exponent {
            (a, b)
        } else {
            (b, a)
        };
        let aligned = shift_right_jam(small.mantissa, large.exponent - small.exponent);
        if large.negative == small.negative {
            return Value::Finite(Finite {
                mantissa: large.mantissa + aligned,
                ..large
            });
        }
        if large.mantissa == aligned {
            return Value::zero(cancelled);
        }
        Value::Finite(Finite {
            negative: large.negative != (large.mantissa < aligned),
            mantissa: large.mantissa.abs_diff(aligned),
            exponent: large.exponent,
        })
    }

    /// Jammed to at least 64 bits, for operands of up to 53 bits.
    pub fn quotient(self, other: Value) -> Value {
        let negative = self.negative() != other.negative();
        match (self, other) {
            (Value::Nan, _) | (_, Value::Nan) => Value::Nan,
            (Value::Infinity { .. }, Value::Infinity { .. }) => Value::Nan,
            (Value::Infinity { .. }, _) => Value::Infinity { negative },
            (_, Value::Infinity { .. }) => Value::zero(negative),
            (Value::Finite(a), Value::Finite(b)) => match (a.mantissa, b.mantissa) {
                (0, 0) => Value::Nan,
                (_, 0) => Value::Infinity { negative },
                (0, _) => Value::zero(negative),
                _ => {
                    let a = a.normalised(126);
                    let exact = a.mantissa.is_multiple_of(b.mantissa);
                    Value::Finite(Finite {
                        negative,
                        mantissa: (a.mantissa / b.mantissa) | u128::from(!exact),
                        exponent: a.exponent - b.exponent,
                    })
                }
            },
        }
    }

    /// The square root rounded toward zero to 53 bits with a jammed last bit, fit for a further division.
    pub fn square_root_53(self) -> Value {
        match self.square_root() {
            Value::Finite(root) if root.mantissa != 0 => Value::Finite(root.normalised(52)),
            root => root,
        }
    }

    /// Jammed to 63 bits.
    pub fn square_root(self) -> Value {
        match self {
            _ if self.is_zero() => self,
            Value::Nan | Value::Infinity { negative: true } => Value::Nan,
            Value::Infinity { negative: false } => self,
            Value::Finite(a) if a.negative => Value::Nan,
            Value::Finite(a) => {
                let mut a = a.normalised(125);
                if a.exponent % 2 != 0 {
                    a.mantissa <<= 1;
                    a.exponent -= 1;
                }
                let root = a.mantissa.isqrt();
                let exact = root * root == a.mantissa;
                Value::Finite(Finite {
                    negative: false,
                    mantissa: root | u128::from(!exact),
                    exponent: a.exponent / 2,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use proptest::prelude::*;

    fn f32_code(value: Value) -> u64 {
        Format::F32.encode(value, Rounding::NearestEven, false)
    }

    fn f64_code(value: Value) -> u64 {
        Format::F64.encode(value, Rounding::NearestEven, false)
    }

    fn same_f32(got: u64, want: f32) -> bool {
        got == u64::from(want.to_bits()) || (want.is_nan() && got == 0x7fff_ffff)
    }

    fn same_f64(got: u64, want: f64) -> bool {
        got == want.to_bits() || (want.is_nan() && got == Format::F64.canonical_nan())
    }

    #[test]
    fn every_small_code_survives_a_round_trip() {
        for format in [
            Format::F16,
            Format::Bf16,
            Format::E4m3,
            Format::E5m2,
            Format::E2m3,
            Format::E3m2,
            Format::E2m1,
            Format::Ue8m0,
        ] {
            for code in 0..1u64 << format.bits() {
                let value = format.decode(code);
                if value == Value::Nan {
                    continue;
                }
                for rounding in [Rounding::NearestEven, Rounding::TowardZero] {
                    assert_eq!(format.encode(value, rounding, false), code, "{format:?}");
                }
            }
        }
    }

    #[test]
    fn small_formats_have_their_published_values() {
        let value = |format: Format, code| f32::from_bits(f32_code(format.decode(code)) as u32);
        let e2m1: Vec<f32> = (0..8).map(|code| value(Format::E2m1, code)).collect();
        assert_eq!(e2m1, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(value(Format::E4m3, 0x7e), 448.0);
        assert_eq!(value(Format::E4m3, 0x01), 2f32.powi(-9));
        assert!(value(Format::E4m3, 0x7f).is_nan());
        assert_eq!(value(Format::E5m2, 0x7b), 57344.0);
        assert_eq!(value(Format::E2m3, 0x1f), 7.5);
        assert_eq!(value(Format::E3m2, 0x1f), 28.0);
        assert_eq!(value(Format::Ue8m0, 127), 1.0);
        assert_eq!(value(Format::Ue8m0, 0), 2f32.powi(-127));
    }

    #[test]
    fn overflow_follows_the_rounding_and_satfinite() {
        let big = Format::F32.decode(u64::from(1e30f32.to_bits()));
        let encode = |format: Format, rounding, saturate| format.encode(big, rounding, saturate);
        assert_eq!(encode(Format::F16, Rounding::NearestEven, false), 0x7c00);
        assert_eq!(encode(Format::F16, Rounding::TowardZero, false), 0x7bff);
        assert_eq!(encode(Format::F16, Rounding::NearestEven, true), 0x7bff);
        assert_eq!(encode(Format::E4m3, Rounding::NearestEven, true), 0x7e);
        assert_eq!(encode(Format::E2m1, Rounding::NearestEven, true), 0x7);
        assert_eq!(
            Format::Ue8m0.encode(
                Format::F32.decode(0x3f80_0001),
                Rounding::TowardPositive,
                true
            ),
            128
        );
    }

    proptest! {
        #[test]
        fn f32_arithmetic_agrees_with_the_host(a: u32, b: u32, c: u32) {
            let (x, y, z) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
            let [va, vb, vc] = [a, b, c].map(|code| Format::F32.decode(u64::from(code)));
            let rn = Rounding::NearestEven;
            prop_assert!(same_f32(f32_code(va.sum(vb, rn)), x + y));
            prop_assert!(same_f32(f32_code(va.product(vb)), x * y));
            prop_assert!(same_f32(f32_code(va.product(vb).sum(vc, rn)), x.mul_add(y, z)));
            prop_assert!(same_f32(f32_code(va.quotient(vb)), x / y));
            prop_assert!(same_f32(f32_code(va.square_root()), x.sqrt()));
        }

        #[test]
        fn f64_arithmetic_agrees_with_the_host(a: u64, b: u64, c: u64) {
            let (x, y, z) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
            let [va, vb, vc] = [a, b, c].map(|code| Format::F64.decode(code));
            let rn = Rounding::NearestEven;
            prop_assert!(same_f64(f64_code(va.sum(vb, rn)), x + y));
            prop_assert!(same_f64(f64_code(va.product(vb)), x * y));
            prop_assert!(same_f64(f64_code(va.product(vb).sum(vc, rn)), x.mul_add(y, z)));
            prop_assert!(same_f64(f64_code(va.quotient(vb)), x / y));
            prop_assert!(same_f64(f64_code(va.square_root()), x.sqrt()));
        }

        /// Exponents close together, where cancellation and ties happen.
        #[test]
        fn close_f64_operands_agree_with_the_host(
            a in -1e3f64..1e3, b in -1e3f64..1e3, ulps in -3i64..4,
        ) {
            let c = f64::from_bits((-(a * b)).to_bits().wrapping_add_signed(ulps));
            let [va, vb, vc] = [a, b, c].map(|value| Format::F64.decode(value.to_bits()));
            let fused = va.product(vb).sum(vc, Rounding::NearestEven);
            prop_assert!(same_f64(f64_code(fused), a.mul_add(b, c)));
        }

        #[test]
        fn narrowing_agrees_with_half(code: u32) {
            let value = Format::F32.decode(u64::from(code));
            prop_assume!(value != Value::Nan);
            let x = f32::from_bits(code);
            let rn = Rounding::NearestEven;
            prop_assert_eq!(Format::F16.encode(value, rn, false), u64::from(f16::from_f32(x).to_bits()));
            prop_assert_eq!(Format::Bf16.encode(value, rn, false), u64::from(bf16::from_f32(x).to_bits()));
        }

        /// Operands so close in magnitude that the f64 sum is exact: each directed result is on the right side of it.
        #[test]
        fn directed_rounding_brackets_the_exact_sum(a in -1e4f32..1e4, b in 1e-2f32..1e3) {
            let exact = f64::from(a) + f64::from(b);
            let [va, vb] = [a, b].map(|x| Format::F32.decode(u64::from(x.to_bits())));
            let at = |rounding| {
                let code = Format::F32.encode(va.sum(vb, rounding), rounding, false);
                f64::from(f32::from_bits(code as u32))
            };
            let (down, up) = (at(Rounding::TowardNegative), at(Rounding::TowardPositive));
            prop_assert!(down <= exact && exact <= up);
            prop_assert!(down == up || (down as f32).next_up() == up as f32);
            let zero = at(Rounding::TowardZero);
            prop_assert_eq!(zero, if exact >= 0.0 { down } else { up });
        }
    }
}
