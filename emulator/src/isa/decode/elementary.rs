//! Quotients, magnitudes, extrema, and approximated functions (PTX ISA §9.7.1, §9.7.3, §9.7.4).

use super::super::alu::{FloatClass, FloatOp, Format, Function, IntType, IntegerOp, Rounding};
use super::modifiers::{Modifiers, ValueType};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub fn div(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => self.integer(IntegerOp::Div, ty, o),
            ValueType::Float {
                format: format @ (Format::F32 | Format::F64),
                packed: false,
            } => {
                let approximate = format == Format::F32 && m.flag("approx");
                let full = format == Format::F32 && m.flag("full");
                let rounding = m.rounding();
                if usize::from(approximate) + usize::from(full) + usize::from(rounding.is_some())
                    != 1
                {
                    return Err("needs `.approx`, `.full` or a rounding modifier".into());
                }
                let op = if approximate {
                    FloatOp::DivApproximate
                } else {
                    FloatOp::Div
                };
                let rounding = rounding.unwrap_or(Rounding::NearestEven);
                self.float(op, format, false, Some(rounding), m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    pub fn abs_or_neg(&mut self, abs: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } if ty.signed() => {
                self.integer(if abs { IntegerOp::Abs } else { IntegerOp::Neg }, ty, o)
            }
            ValueType::Float { format, packed } if !(packed && format == Format::F32) => {
                let op = if abs { FloatOp::Abs } else { FloatOp::Neg };
                self.float(op, format, packed, None, m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    pub fn min_or_max(&mut self, largest: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => {
                let relu = ty == IntType::S32 && m.flag("relu");
                self.integer(integer_extremum(largest, relu), ty, o)
            }
            ty @ ValueType::PackedInt { signed } => {
                let relu = signed && m.flag("relu");
                let op = integer_extremum(largest, relu);
                self.plain(Function::Packed16 { op, signed }, &[ty; 2], o)
            }
            ValueType::Float { format, packed } if !(packed && format == Format::F32) => {
                let nan = format != Format::F64 && m.flag("NaN");
                let xor_sign = format != Format::F64 && m.flag("xorsign");
                if xor_sign {
                    m.require("abs")?;
                }
                let three = format == Format::F32 && o.len() == 4;
                if three && (xor_sign || m.flag("abs")) {
                    return Err("three operands with `.abs` are not supported".into());
                }
                let op = match (largest, three) {
                    (false, false) => FloatOp::Min { nan, xor_sign },
                    (true, false) => FloatOp::Max { nan, xor_sign },
                    (false, true) => FloatOp::Min3 { nan },
                    (true, true) => FloatOp::Max3 { nan },
                };
                self.float(op, format, packed, None, m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    pub fn unary_float(&mut self, opcode: &str, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let ValueType::Float { format, packed } = m.value_type()? else {
            return Err("needs a floating-point type".into());
        };
        let half = matches!(format, Format::F16 | Format::Bf16);
        let single = format == Format::F32 && !packed;
        let approximate = m.flag("approx");
        let exact = matches!(opcode, "rcp" | "sqrt");
        let rounding = if exact && !approximate {
            m.rounding()
        } else {
            None
        };
        if approximate == rounding.is_some() {
            return Err(if exact {
                "needs `.approx` or a rounding modifier"
            } else {
                "needs `.approx`"
            }
            .into());
        }
        let op = match (opcode, format) {
            ("rcp", Format::F64) if approximate => FloatOp::RcpApproximate64,
            ("rsqrt", Format::F64) => FloatOp::RsqrtApproximate64,
            ("rcp", Format::F32 | Format::F64) => FloatOp::Rcp,
            ("sqrt", Format::F32) => FloatOp::Sqrt,
            ("sqrt", Format::F64) if !approximate => FloatOp::Sqrt,
            ("rsqrt", Format::F32) => FloatOp::Rsqrt,
            ("ex2", _) if half || single => FloatOp::Ex2,
            ("lg2", _) if single => FloatOp::Lg2,
            ("sin", _) if single => FloatOp::Sin,
            ("cos", _) if single => FloatOp::Cos,
            ("tanh", _) if half || single => FloatOp::Tanh,
            _ => return Err("this type is not supported".into()),
        };
        if packed && !half {
            return Err("this type is not supported".into());
        }
        self.float(
            op,
            format,
            packed,
            rounding.or(Some(Rounding::NearestEven)),
            m,
            o,
        )
    }

    pub fn testp(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let class = m.require_one_of(&[
            ("finite", FloatClass::Finite),
            ("infinite", FloatClass::Infinite),
            ("number", FloatClass::Number),
            ("notanumber", FloatClass::NotANumber),
            ("normal", FloatClass::Normal),
            ("subnormal", FloatClass::Subnormal),
        ])?;
        let ty = m.value_type()?;
        let ValueType::Float {
            format: format @ (Format::F32 | Format::F64),
            packed: false,
        } = ty
        else {
            return Err("needs `.f32` or `.f64`".into());
        };
        self.plain(Function::Classify { class, format }, &[ty], o)
    }
}

fn integer_extremum(largest: bool, relu: bool) -> IntegerOp {
    match (largest, relu) {
        (false, false) => IntegerOp::Min,
        (false, true) => IntegerOp::MinRelu,
        (true, false) => IntegerOp::Max,
        (true, true) => IntegerOp::MaxRelu,
    }
}
