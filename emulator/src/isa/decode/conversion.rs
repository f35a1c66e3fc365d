//! `cvt` and `cvt.pack` (PTX ISA §9.7.9.21, §9.7.9.22).

use super::super::alu::{Conversion, FloatOptions, Format, Function, IntType, Rounding};
use super::super::ir::Src;
use super::modifiers::{Modifiers, ValueType};
use super::operands::{B32, bits_type, exactly};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int(IntType),
    Float(Format),
    /// Two elements in one register.
    Packed(Format),
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "u8" => Kind::Int(IntType::U8),
        "u16" => Kind::Int(IntType::U16),
        "u32" => Kind::Int(IntType::U32),
        "u64" => Kind::Int(IntType::U64),
        "s8" => Kind::Int(IntType::S8),
        "s16" => Kind::Int(IntType::S16),
        "s32" => Kind::Int(IntType::S32),
        "s64" => Kind::Int(IntType::S64),
        "f16" => Kind::Float(Format::F16),
        "bf16" => Kind::Float(Format::Bf16),
        "tf32" => Kind::Float(Format::Tf32),
        "f32" => Kind::Float(Format::F32),
        "f64" => Kind::Float(Format::F64),
        "f16x2" => Kind::Packed(Format::F16),
        "bf16x2" => Kind::Packed(Format::Bf16),
        "e4m3x2" => Kind::Packed(Format::E4m3),
        "e5m2x2" => Kind::Packed(Format::E5m2),
        "e2m3x2" => Kind::Packed(Format::E2m3),
        "e3m2x2" => Kind::Packed(Format::E3m2),
        "e2m1x2" => Kind::Packed(Format::E2m1),
        "ue8m0x2" => Kind::Packed(Format::Ue8m0),
        _ => return None,
    })
}

/// The rounding that the text asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct RoundingModifier {
    mode: Rounding,
    /// `.rni`, `.rzi`, …
    integral: bool,
}

impl Decoder<'_> {
    pub fn conversion(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        if m.flag("pack") {
            return self.pack_integers(m, operands);
        }
        let rounding = match m.rounding() {
            Some(mode) => Some(RoundingModifier {
                mode,
                integral: false,
            }),
            None => m.integer_rounding().map(|mode| RoundingModifier {
                mode,
                integral: true,
            }),
        };
        let options = FloatOptions {
            rounding: rounding.map_or(Rounding::NearestEven, |rounding| rounding.mode),
            ftz: m.flag("ftz"),
            saturate: m.flag("sat"),
            finite: m.flag("satfinite"),
            relu: m.flag("relu"),
        };
        // The destination type is written first.
        let to = m.take(kind).ok_or("found no supported destination type")?;
        let from = m.take(kind).ok_or("found no supported source type")?;
        match (from, to) {
            (Kind::Float(Format::F32), Kind::Packed(to)) => {
                let [dst, a, b] = exactly(operands)?;
                self.check_conversion_width(dst, Kind::Packed(to))?;
                for source in [a, b] {
                    self.check_conversion_width(source, from)?;
                }
                let dst = self.dst(dst)?;
                let ty = ValueType::Float {
                    format: Format::F32,
                    packed: false,
                };
                let sources = [self.src(a, ty)?, self.src(b, ty)?];
                check_packing(Format::F32, to, rounding, options)?;
                let conversion = Conversion::PackTwo {
                    from: Format::F32,
                    to,
                    options,
                };
                self.emit_alu(Function::Convert(conversion), dst, &sources);
                Ok(())
            }
            _ => {
                let [dst, a] = exactly(operands)?;
                self.check_conversion_width(dst, to)?;
                self.check_conversion_width(a, from)?;
                let register = self.destination(dst)?;
                let register_bits = register.map_or(0, |register| register.bits);
                let conversion = one_source(from, to, rounding, options, register_bits)?;
                let a = self.src(a, source_type(from))?;
                self.emit_alu(
                    Function::Convert(conversion),
                    register.map(|r| r.slot),
                    &[a],
                );
                Ok(())
            }
        }
    }

    /// Registers may be wider than the type, except for TF32 and pairs of 8-bit and narrower elements (as ptxas 13.0 has
    /// it).
    fn check_conversion_width(&mut self, operand: &Operand, kind: Kind) -> Decoded<()> {
        match kind {
            Kind::Int(ty) => self.check_least_width(operand, ty.bits()),
            Kind::Float(Format::Tf32) => self.check_width(operand, 32),
            Kind::Float(format) => self.check_least_width(operand, format.bits()),
            Kind::Packed(Format::F16 | Format::Bf16) => self.check_least_width(operand, 32),
            Kind::Packed(Format::E2m1) => self.check_width(operand, 8),
            Kind::Packed(_) => self.check_width(operand, 16),
        }
    }

    /// `cvt.pack.sat.convertType.abType{.cType} d, a, b{, c}`
    fn pack_integers(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        m.require("sat")?;
        let (bits, signed) = m.require_one_of(&[
            ("u16", (16, false)),
            ("s16", (16, true)),
            ("u8", (8, false)),
            ("s8", (8, true)),
            ("u4", (4, false)),
            ("s4", (4, true)),
            ("u2", (2, false)),
            ("s2", (2, true)),
        ])?;
        m.require("s32")?;
        let (a, b, c) = match operands {
            [_, a, b] => (a, b, None),
            [_, a, b, c] => (a, b, Some(c)),
            _ => return Err(format!("found {} operands, needs 3 or 4", operands.len())),
        };
        let c = match c {
            Some(c) => {
                m.require("b32")?;
                self.src(c, B32)?
            }
            None if bits == 16 => Src::Imm(0),
            None => return Err("needs a third source".into()),
        };
        let sources = [self.src(a, B32)?, self.src(b, B32)?, c];
        let dst = self.dst(&operands[0])?;
        let conversion = Conversion::PackIntegers {
            from_signed: true,
            bits,
            signed,
        };
        self.emit_alu(Function::Convert(conversion), dst, &sources);
        Ok(())
    }
}

fn source_type(kind: Kind) -> ValueType {
    match kind {
        Kind::Int(ty) => ValueType::Int { ty, untyped: false },
        Kind::Float(format) => ValueType::Float {
            format,
            packed: false,
        },
        Kind::Packed(Format::F16 | Format::Bf16) => bits_type(32),
        Kind::Packed(_) => bits_type(16),
    }
}

fn one_source(
    from: Kind,
    to: Kind,
    rounding: Option<RoundingModifier>,
    options: FloatOptions,
    register_bits: u32,
) -> Decoded<Conversion> {
    let plain = !options.finite && !options.relu;
    let unsupported = || Err("this combination of types and modifiers is not supported".into());
    match (from, to) {
        (Kind::Int(from), Kind::Int(to)) if plain && !options.ftz && rounding.is_none() => {
            Ok(Conversion::IntToInt {
                from,
                to,
                saturate: options.saturate,
                register_bits,
            })
        }
        // Saturation to the integer's range is what these conversions do anyway.
        (Kind::Float(from), Kind::Int(to)) if plain && from != Format::Tf32 => match rounding {
            Some(RoundingModifier {
                mode,
                integral: true,
            }) => Ok(Conversion::FloatToInt {
                from,
                to,
                rounding: mode,
                ftz: options.ftz,
                register_bits,
            }),
            _ => Err("needs `.rni`, `.rzi`, `.rmi` or `.rpi`".into()),
        },
        (Kind::Int(from), Kind::Float(to)) if plain && to != Format::Tf32 => match rounding {
            Some(RoundingModifier {
                mode,
                integral: false,
            }) => Ok(Conversion::IntToFloat {
                from,
                to,
                rounding: mode,
                saturate: options.saturate,
            }),
            _ => Err("needs `.rn`, `.rz`, `.rm` or `.rp`".into()),
        },
        (Kind::Float(from), Kind::Float(to)) => {
            check_rounding(from, to, rounding)?;
            let integral = rounding.is_some_and(|rounding| rounding.integral);
            Ok(Conversion::FloatToFloat {
                from,
                to,
                integral,
                options,
            })
        }
        (Kind::Packed(from), Kind::Packed(to)) => match (from, to) {
            (Format::F16, Format::E4m3 | Format::E5m2) | (Format::Bf16, Format::Ue8m0) => {
                check_packing(from, to, rounding, options)?;
                Ok(Conversion::PackHalves { from, to, options })
            }
            (
                Format::E4m3 | Format::E5m2 | Format::E2m3 | Format::E3m2 | Format::E2m1,
                Format::F16,
            )
            | (Format::Ue8m0, Format::Bf16) => Ok(Conversion::Unpack {
                from,
                to,
                relu: options.relu,
            }),
            _ => unsupported(),
        },
        _ => unsupported(),
    }
}

/// Narrowing needs a rounding mode; widening cannot have one, except to an integral value.
fn check_rounding(from: Format, to: Format, rounding: Option<RoundingModifier>) -> Decoded<()> {
    let narrows = match (from, to) {
        (Format::F16, Format::Bf16) | (Format::Bf16, Format::F16) => true,
        _ => to.bits() < from.bits() || to == Format::Tf32,
    };
    match rounding {
        None if narrows => Err("a narrowing conversion needs a rounding modifier".into()),
        _ => Ok(()),
    }
}

fn check_packing(
    from: Format,
    to: Format,
    rounding: Option<RoundingModifier>,
    options: FloatOptions,
) -> Decoded<()> {
    let Some(RoundingModifier {
        mode,
        integral: false,
    }) = rounding
    else {
        return Err("needs a rounding modifier".into());
    };
    let legal = match to {
        Format::F16 | Format::Bf16 => {
            from == Format::F32 && matches!(mode, Rounding::NearestEven | Rounding::TowardZero)
        }
        Format::Ue8m0 => matches!(mode, Rounding::TowardZero | Rounding::TowardPositive),
        _ => mode == Rounding::NearestEven && options.finite,
    };
    if legal && !options.saturate {
        Ok(())
    } else {
        Err("this packing does not go with these modifiers (8-bit and narrower need `.rn.satfinite`)".into())
    }
}
