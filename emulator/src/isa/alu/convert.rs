//! Conversions: `cvt` and `cvt.pack` (PTX ISA §9.7.9.21, §9.7.9.22).

use super::Lanes;
use super::float::{bf16_narrow, bf16_widen, f16_narrow, f16_widen, f32_slot, flush};
use super::format::{Finite, Format, Rounding, Value, round_to_multiple};
use super::integer::IntType;

/// One form of `cvt`.
///
/// `register_bits` is the width of the destination register: a signed result is sign-extended to it (PTX ISA §9.4.1
/// "Operand Size Exceeding Instruction-Type Size").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    IntToInt {
        from: IntType,
        to: IntType,
        saturate: bool,
        register_bits: u32,
    },
    FloatToInt {
        from: Format,
        to: IntType,
        rounding: Rounding,
        ftz: bool,
        register_bits: u32,
    },
    IntToFloat {
        from: IntType,
        to: Format,
        rounding: Rounding,
        saturate: bool,
    },
    /// `integral`: `.rni`, `.rzi`, …: the result is an integer in floating-point representation.
    FloatToFloat {
        from: Format,
        to: Format,
        integral: bool,
        options: FloatOptions,
    },
    /// `a` into the upper, `b` into the lower part; in steps of `to`'s storage width.
    PackTwo {
        from: Format,
        to: Format,
        options: FloatOptions,
    },
    /// Both halves of `a`.
    PackHalves {
        from: Format,
        to: Format,
        options: FloatOptions,
    },
    /// Both parts of `a`, of `from`'s storage width, to 16-bit halves.
    Unpack {
        from: Format,
        to: Format,
        relu: bool,
    },
    /// `cvt.pack.sat`: `a` and `b`, saturated to `bits` bits, above each other below the low bits of `c`.
    PackIntegers {
        from_signed: bool,
        bits: u32,
        signed: bool,
    },
}

/// Modifiers of conversions to a floating-point format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatOptions {
    pub rounding: Rounding,
    /// Subnormal `.f32` operands and results become zeros.
    pub ftz: bool,
    /// `.sat`: clamp to [0, 1].
    pub saturate: bool,
    /// `.satfinite`: overflow gives the largest finite number.
    pub finite: bool,
    pub relu: bool,
}

pub(super) fn run(conversion: Conversion, lanes: &mut Lanes) {
    match conversion {
        Conversion::IntToInt {
            from,
            to,
            saturate,
            register_bits,
        } => {
            run_integer(from, to, saturate, register_bits, lanes);
        }
        Conversion::FloatToInt {
            from,
            to,
            rounding,
            ftz,
            register_bits,
        } => {
            let mask = register_mask(to, register_bits);
            lanes.map1(|a| float_to_int(from, to, rounding, ftz, a) & mask);
        }
        Conversion::IntToFloat {
            from,
            to,
            rounding,
            saturate,
        } => match (from, to, rounding, saturate) {
            (IntType::S32, Format::F32, Rounding::NearestEven, false) => {
                lanes.map1(|a| u64::from((a as i32 as f32).to_bits()));
            }
            (IntType::U32, Format::F32, Rounding::NearestEven, false) => {
                lanes.map1(|a| u64::from((a as u32 as f32).to_bits()));
            }
            _ => lanes.map1(|a| int_to_float(from, to, rounding, saturate, a)),
        },
        Conversion::FloatToFloat {
            from,
            to,
            integral,
            options,
        } => {
            run_float(from, to, integral, options, lanes);
        }
        Conversion::PackTwo { from, to, options } => run_pack(from, to, options, lanes),
        Conversion::PackHalves { from, to, options } => {
            let width = storage_bits(to);
            let convert = |code| float_to_float(from, to, false, options, code);
            lanes.map1(|a| convert(a & 0xffff) | convert(a >> 16 & 0xffff) << width);
        }
        Conversion::Unpack { from, to, relu } => {
            let width = storage_bits(from);
            let mask = (1u64 << width) - 1;
            let options = FloatOptions { relu, ..PLAIN };
            let convert = |code| float_to_float(from, to, false, options, code);
            lanes.map1(|a| convert(a & mask) | convert(a >> width & mask) << 16);
        }
        Conversion::PackIntegers {
            from_signed,
            bits,
            signed,
        } => {
            let from = if from_signed {
                IntType::S32
            } else {
                IntType::U32
            };
            let (low, high) = match signed {
                true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                false => (0, (1i128 << bits) - 1),
            };
            let mask = (1u64 << bits) - 1;
            let part = |slot| from.value(slot).clamp(low, high) as u64 & mask;
            lanes.map3(|a, b, c| (c << (2 * bits) | part(a) << bits | part(b)) & 0xffff_ffff);
        }
    }
}

const PLAIN: FloatOptions = FloatOptions {
    rounding: Rounding::NearestEven,
    ftz: false,
    saturate: false,
    finite: false,
    relu: false,
};

/// Bits that one element of a packed vector takes: 6-bit formats are padded to bytes.
fn storage_bits(format: Format) -> u32 {
    match format.bits() {
        5..=8 => 8,
        bits => bits,
    }
}

fn register_mask(to: IntType, register_bits: u32) -> u64 {
    let bits = if to.signed() {
        register_bits.max(to.bits())
    } else {
        to.bits()
    };
    u64::MAX >> (64 - bits)
}

fn run_integer(from: IntType, to: IntType, saturate: bool, register_bits: u32, lanes: &mut Lanes) {
    let mask = register_mask(to, register_bits);
    if saturate {
        lanes.map1(|a| from.value(a).clamp(to.min(), to.max()) as u64 & mask);
        return;
    }
    // First to 64 bits as the source type, then cut to the destination, then extended to the register.
    let extend = |ty: IntType, value: u64| {
        let unused = 64 - ty.bits();
        if ty.signed() {
            ((value << unused) as i64 >> unused) as u64
        } else {
            value << unused >> unused
        }
    };
    lanes.map1(|a| extend(to, extend(from, a)) & mask);
}

/// Out-of-range values saturate. NaN gives 0, except that it gives only the top bit when the source is `.f64` or the
/// destination has 64 bits (PTX ISA §9.7.9.21).
fn float_to_int(from: Format, to: IntType, rounding: Rounding, ftz: bool, a: u64) -> u64 {
    let code = if ftz && from == Format::F32 {
        flush(from, a)
    } else {
        a
    };
    let value = match from {
        Format::F32 => f64::from(f32::from_bits(code as u32)),
        Format::F16 => f64::from(f16_widen(code)),
        Format::Bf16 => f64::from(bf16_widen(code)),
        _ => f64::from_bits(code),
    };
    if value.is_nan() {
        let top_bit = from == Format::F64 || to.bits() == 64;
        return if top_bit {
            IntType::value(to, 1 << (to.bits() - 1)) as u64
        } else {
            0
        };
    }
    let whole = match rounding {
        Rounding::NearestEven => value.round_ties_even(),
        Rounding::NearestAway => value.round(),
        Rounding::TowardZero => value.trunc(),
        Rounding::TowardNegative => value.floor(),
        Rounding::TowardPositive => value.ceil(),
    };
    // Rust's float to integer casts saturate.
    match to {
        IntType::U8 => u64::from(whole as u8),
        IntType::S8 => whole as i8 as u64,
        IntType::U16 => u64::from(whole as u16),
        IntType::S16 => whole as i16 as u64,
        IntType::U32 => u64::from(whole as u32),
        IntType::S32 => whole as i32 as u64,
        IntType::U64 => whole as u64,
        IntType::S64 => whole as i64 as u64,
    }
}

fn int_to_float(from: IntType, to: Format, rounding: Rounding, saturate: bool, a: u64) -> u64 {
    let value = from.value(a);
    let value = if saturate { value.clamp(0, 1) } else { value };
    let finite = Finite {
        negative: value < 0,
        mantissa: value.unsigned_abs(),
        exponent: 0,
    };
    to.encode(Value::Finite(finite), rounding, false)
}

fn run_float(from: Format, to: Format, integral: bool, options: FloatOptions, lanes: &mut Lanes) {
    let plain = !integral && options == PLAIN;
    match (from, to) {
        (Format::F32, Format::F64) if plain => lanes.map1(|a| {
            let value = f64::from(f32::from_bits(a as u32));
            if value.is_nan() {
                Format::F64.canonical_nan()
            } else {
                value.to_bits()
            }
        }),
        (Format::F64, Format::F32) if plain => lanes.map1(|a| f32_slot(f64::from_bits(a) as f32)),
        (Format::F16, Format::F32) if plain => lanes.map1(|a| f32_slot(f16_widen(a))),
        // A shift, even of NaNs (seen on an H200).
        (Format::Bf16, Format::F32) if plain => {
            lanes.map1(|a| u64::from(bf16_widen(a).to_bits()));
        }
        (Format::F32, Format::F16) if plain => lanes.map1(|a| f16_narrow(f32::from_bits(a as u32))),
        (Format::F32, Format::Bf16) if plain => {
            lanes.map1(|a| bf16_narrow(f32::from_bits(a as u32)));
        }
        _ => lanes.map1(|a| float_to_float(from, to, integral, options, a)),
    }
}

fn run_pack(from: Format, to: Format, options: FloatOptions, lanes: &mut Lanes) {
    let value = |slot: u64| f32::from_bits(slot as u32);
    let nearest = FloatOptions {
        finite: options.finite,
        ..PLAIN
    } == options;
    match (from, to) {
        (Format::F32, Format::F16) if nearest && !options.finite => {
            lanes.map2(|a, b| f16_narrow(value(a)) << 16 | f16_narrow(value(b)));
        }
        (Format::F32, Format::Bf16) if nearest && !options.finite => {
            lanes.map2(|a, b| bf16_narrow(value(a)) << 16 | bf16_narrow(value(b)));
        }
        (Format::F32, Format::E2m1) if nearest => {
            lanes.map2(|a, b| e2m1_narrow(value(a)) << 4 | e2m1_narrow(value(b)));
        }
        _ => {
            let width = storage_bits(to);
            let convert = |code| float_to_float(from, to, false, options, code);
            lanes.map2(|a, b| convert(a) << width | convert(b));
        }
    }
}

/// Nearest of 0, ½, 1, 1½, 2, 3, 4, 6, ties to the even code; NaN is the largest positive number.
#[inline(always)]
fn e2m1_narrow(value: f32) -> u64 {
    let magnitude = value.abs();
    let code = u64::from(magnitude > 0.25)
        + u64::from(magnitude >= 0.75)
        + u64::from(magnitude > 1.25)
        + u64::from(magnitude >= 1.75)
        + u64::from(magnitude > 2.5)
        + u64::from(magnitude >= 3.5)
        + u64::from(magnitude > 5.0);
    let sign = u64::from(value.to_bits() >> 31) << 3;
    if value.is_nan() { 7 } else { code | sign }
}

fn float_to_float(from: Format, to: Format, integral: bool, options: FloatOptions, a: u64) -> u64 {
    let FloatOptions {
        rounding,
        ftz,
        saturate,
        finite,
        relu,
    } = options;
    let code = if ftz && from == Format::F32 {
        flush(from, a)
    } else {
        a
    };
    let mut value = from.decode(code);
    if let Value::Finite(number) = value
        && integral
        && number.exponent < 0
    {
        let mantissa = round_to_multiple(number, 0, rounding);
        value = Value::Finite(Finite {
            mantissa,
            exponent: 0,
            ..number
        });
    }
    if to == Format::Ue8m0 && value.negative() {
        // Scale factors have no sign: the magnitude counts.
        value = value.negated();
    }
    if relu && value != Value::Nan && value.negative() {
        value = Value::zero(false);
    }
    if saturate {
        value = match value {
            Value::Nan => Value::zero(false),
            _ if value.negative() => Value::zero(false),
            Value::Infinity { .. } => ONE,
            Value::Finite(number) if round_to_multiple(number, 0, Rounding::TowardZero) >= 1 => ONE,
            _ => value,
        };
    }
    if to == Format::Tf32 && rounding == Rounding::NearestAway && value == Value::Nan {
        // Integer arithmetic on the device: the payload stays, and saturation steps down from it (seen on an H200).
        return (code & 0xffff_e000) - if finite { 0x2000 } else { 0 };
    }
    let code = to.encode(value, rounding, finite);
    if ftz && to == Format::F32 {
        flush(to, code)
    } else {
        code
    }
}

const ONE: Value = Value::Finite(Finite {
    negative: false,
    mantissa: 1,
    exponent: 0,
});

#[cfg(test)]
mod tests {
    use super::super::{Function, testing};
    use super::*;
    use half::{bf16, f16};
    use proptest::prelude::*;

    fn run(conversion: Conversion, sources: &[u64]) -> u64 {
        testing::run(Function::Convert(conversion), sources)
    }

    fn code(x: f32) -> u64 {
        u64::from(x.to_bits())
    }

    fn to_int(to: IntType, rounding: Rounding, x: f32) -> u64 {
        let register_bits = to.bits().max(32);
        run(
            Conversion::FloatToInt {
                from: Format::F32,
                to,
                rounding,
                ftz: false,
                register_bits,
            },
            &[code(x)],
        )
    }

    #[test]
    fn float_to_integer_saturates() {
        let zero = Rounding::TowardZero;
        assert_eq!(to_int(IntType::S32, zero, 3e9), 0x7fff_ffff);
        assert_eq!(to_int(IntType::S32, zero, -3e9), 0x8000_0000);
        assert_eq!(to_int(IntType::U32, zero, -1.0), 0);
        assert_eq!(to_int(IntType::S8, zero, -1000.0), 0xffff_ff80);
        assert_eq!(to_int(IntType::S32, zero, f32::NAN), 0);
        assert_eq!(to_int(IntType::S64, zero, f32::NAN), 1 << 63);
        assert_eq!(to_int(IntType::U64, zero, f32::NAN), 1 << 63);
        let double = Conversion::FloatToInt {
            from: Format::F64,
            to: IntType::S32,
            rounding: zero,
            ftz: false,
            register_bits: 32,
        };
        assert_eq!(run(double, &[f64::NAN.to_bits()]), 0x8000_0000);
    }

    #[test]
    fn integer_rounding_modes() {
        let round = |rounding, x| to_int(IntType::S32, rounding, x) as u32 as i32;
        assert_eq!(round(Rounding::NearestEven, 2.5), 2);
        assert_eq!(round(Rounding::NearestEven, -3.5), -4);
        assert_eq!(round(Rounding::TowardNegative, -0.5), -1);
        assert_eq!(round(Rounding::TowardPositive, 0.5), 1);
        let rni = FloatOptions { ..PLAIN };
        let integral = Conversion::FloatToFloat {
            from: Format::F32,
            to: Format::F32,
            integral: true,
            options: rni,
        };
        assert_eq!(run(integral, &[code(-0.4)]), code(-0.0));
        assert_eq!(run(integral, &[code(1e30)]), code(1e30));
    }

    #[test]
    fn narrowing_integers_extends_to_the_register() {
        let convert = |from, to, saturate, register_bits, a| {
            run(
                Conversion::IntToInt {
                    from,
                    to,
                    saturate,
                    register_bits,
                },
                &[a],
            )
        };
        assert_eq!(
            convert(IntType::S32, IntType::S8, false, 32, 0x180),
            0xffff_ff80
        );
        assert_eq!(convert(IntType::U32, IntType::U8, false, 32, 0x180), 0x80);
        assert_eq!(
            convert(IntType::S32, IntType::S64, false, 64, 0xffff_ffff),
            u64::MAX
        );
        assert_eq!(
            convert(IntType::U32, IntType::S64, false, 64, 0xffff_ffff),
            0xffff_ffff
        );
        assert_eq!(convert(IntType::S32, IntType::U8, true, 32, 300), 255);
        assert_eq!(convert(IntType::S32, IntType::U8, true, 32, 0xffff_fff0), 0);
        assert_eq!(
            convert(IntType::U64, IntType::S32, true, 32, u64::MAX),
            0x7fff_ffff
        );
    }

    #[test]
    fn packing_puts_the_first_operand_on_top() {
        let finite = FloatOptions {
            finite: true,
            ..PLAIN
        };
        let pack = |to, a, b| {
            run(
                Conversion::PackTwo {
                    from: Format::F32,
                    to,
                    options: finite,
                },
                &[code(a), code(b)],
            )
        };
        assert_eq!(pack(Format::E2m1, 1.0, -6.0), 0x2f);
        assert_eq!(pack(Format::E4m3, 1.0, 1000.0), 0x387e);
        assert_eq!(pack(Format::E5m2, -1.0, 2.0), 0xbc40);
        assert_eq!(pack(Format::E2m3, 1.0, -7.5), 0x083f);
        assert_eq!(pack(Format::E2m1, f32::NAN, f32::INFINITY), 0x77);
        assert_eq!(pack(Format::E4m3, f32::NAN, f32::NEG_INFINITY), 0x7ffe);
        let scale = Conversion::PackTwo {
            from: Format::F32,
            to: Format::Ue8m0,
            options: FloatOptions {
                rounding: Rounding::TowardPositive,
                ..finite
            },
        };
        assert_eq!(run(scale, &[code(1.5), code(0.5)]), 0x807e);
        let unpack = Conversion::Unpack {
            from: Format::E2m1,
            to: Format::F16,
            relu: false,
        };
        assert_eq!(run(unpack, &[0x2f]), 0x3c00_c600);
        let unpack = Conversion::Unpack {
            from: Format::E4m3,
            to: Format::F16,
            relu: false,
        };
        assert_eq!(run(unpack, &[0x387f]), 0x3c00_7fff);
    }

    #[test]
    fn relu_and_saturation() {
        let options = FloatOptions {
            relu: true,
            ..PLAIN
        };
        let pack = Conversion::PackTwo {
            from: Format::F32,
            to: Format::F16,
            options,
        };
        assert_eq!(run(pack, &[code(-1.0), code(2.0)]), 0x0000_4000);
        let options = FloatOptions {
            saturate: true,
            ..PLAIN
        };
        let convert = Conversion::FloatToFloat {
            from: Format::F32,
            to: Format::F32,
            integral: false,
            options,
        };
        assert_eq!(run(convert, &[code(1.5)]), code(1.0));
        assert_eq!(run(convert, &[code(0.75)]), code(0.75));
        assert_eq!(run(convert, &[code(f32::NAN)]), 0);
    }

    #[test]
    fn integers_pack_with_saturation() {
        let pack = Conversion::PackIntegers {
            from_signed: true,
            bits: 8,
            signed: false,
        };
        assert_eq!(run(pack, &[300, 0xffff_ffff, 0x1234_5678]), 0x5678_ff00);
        let pack = Conversion::PackIntegers {
            from_signed: true,
            bits: 16,
            signed: true,
        };
        assert_eq!(run(pack, &[0x7fff_ffff, 0x8000_0000, 0]), 0x7fff_8000);
    }

    #[test]
    fn fast_e2m1_agrees_with_the_exact_rounding() {
        // Every f32 whose low 12 bits are 0 or 1 covers all ties and their neighbours.
        for high in 0..1u32 << 20 {
            for bits in [high << 12, high << 12 | 1] {
                let x = f32::from_bits(bits);
                let exact = Format::E2m1.encode(
                    Format::F32.decode(u64::from(bits)),
                    Rounding::NearestEven,
                    true,
                );
                assert_eq!(e2m1_narrow(x), exact, "{x:e}");
            }
        }
    }

    proptest! {
        #[test]
        fn narrowing_agrees_with_half(a: u32, b: u32) {
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            prop_assume!(!x.is_nan() && !y.is_nan());
            let pack = |to| run(Conversion::PackTwo { from: Format::F32, to, options: PLAIN }, &[u64::from(a), u64::from(b)]);
            let want = u64::from(f16::from_f32(x).to_bits()) << 16 | u64::from(f16::from_f32(y).to_bits());
            prop_assert_eq!(pack(Format::F16), want);
            let want = u64::from(bf16::from_f32(x).to_bits()) << 16 | u64::from(bf16::from_f32(y).to_bits());
            prop_assert_eq!(pack(Format::Bf16), want);
        }

        #[test]
        fn integers_to_floats_agree_with_the_host(a: u64) {
            let convert = |from, to| run(Conversion::IntToFloat { from, to, rounding: Rounding::NearestEven, saturate: false }, &[a]);
            prop_assert_eq!(convert(IntType::S64, Format::F32), code(a as i64 as f32));
            prop_assert_eq!(convert(IntType::U64, Format::F64), (a as f64).to_bits());
            prop_assert_eq!(convert(IntType::S32, Format::F32), code(a as i32 as f32));
            prop_assert_eq!(convert(IntType::U16, Format::F32), code(f32::from(a as u16)));
        }

        #[test]
        fn f64_to_f32_agrees_with_the_host(a: u64) {
            let x = f64::from_bits(a);
            prop_assume!(!x.is_nan());
            let convert = |rounding| {
                let options = FloatOptions { rounding, ..PLAIN };
                run(Conversion::FloatToFloat { from: Format::F64, to: Format::F32, integral: false, options }, &[a])
            };
            prop_assert_eq!(convert(Rounding::NearestEven), code(x as f32));
            let down = f32::from_bits(convert(Rounding::TowardNegative) as u32);
            prop_assert!(f64::from(down) <= x);
            prop_assert!(down == f32::INFINITY || f64::from(down.next_up()) > x);
        }
    }
}
