//! Lane-wise arithmetic, logic and comparison: the families, and what they share.
//!
//! PTX lets a compiler contract `mul` and `add` without a rounding modifier into one `fma`
//! (§9.7.3.5); here every instruction rounds for itself.

use super::super::alu::{
    BitsOp, CarryOp, FloatFunction, FloatOp, Format, Function, IntType, IntegerOp, Rounding,
};
use super::modifiers::{Modifiers, ValueType};
use super::operands::{NONE, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub fn arithmetic(&mut self, opcode: &str, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match opcode {
            "add" | "sub" => self.add_or_sub(opcode == "sub", m, o),
            "addc" | "subc" => {
                let op = if opcode == "addc" {
                    CarryOp::Add
                } else {
                    CarryOp::Sub
                };
                self.with_carry(op, true, m, o)
            }
            "mul" => self.mul(m, o),
            "mad" => self.mad(m, o),
            "madc" => self.mad_with_carry(true, m, o),
            "fma" => {
                let ValueType::Float { format, packed } = m.value_type()? else {
                    return Err("needs a floating-point type".into());
                };
                let rounding = m.rounding().ok_or("needs a rounding modifier")?;
                self.float(FloatOp::Fma, format, packed, Some(rounding), m, o)
            }
            "mul24" | "mad24" => self.mul24(opcode == "mad24", m, o),
            "sad" => {
                let ty = m.int_type()?;
                self.integer(IntegerOp::SumAbsoluteDifference, ty, o)
            }
            "div" => self.div(m, o),
            "rem" => {
                let ty = m.int_type()?;
                self.integer(IntegerOp::Rem, ty, o)
            }
            "abs" | "neg" => self.abs_or_neg(opcode == "abs", m, o),
            "min" | "max" => self.min_or_max(opcode == "max", m, o),
            "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
                self.unary_float(opcode, m, o)
            }
            "copysign" => {
                let ValueType::Float {
                    format: format @ (Format::F32 | Format::F64),
                    packed: false,
                } = m.value_type()?
                else {
                    return Err("needs `.f32` or `.f64`".into());
                };
                self.float(FloatOp::CopySign, format, false, None, m, o)
            }
            "testp" => self.testp(m, o),
            "setp" => self.setp(m, o),
            "set" => self.set(m, o),
            "selp" => {
                let ty = m.value_type()?;
                let [dst, a, b, c] = exactly(o)?;
                for operand in [dst, a, b] {
                    self.check_width(operand, ty.bits())?;
                }
                let (a, b) = (self.src(a, ty)?, self.src(b, ty)?);
                let (c, negated) = self.predicate(c)?;
                let (a, b) = if negated { (b, a) } else { (a, b) };
                let dst = self.dst(dst)?;
                self.emit_alu(Function::Select, dst, &[a, b, c]);
                Ok(())
            }
            "slct" => self.slct(m, o),
            _ => self.bits(opcode, m, o),
        }
    }

    pub fn integer(&mut self, op: IntegerOp, ty: IntType, o: &[Operand]) -> Decoded<()> {
        let ty_operand = ValueType::Int { ty, untyped: false };
        self.plain(
            Function::Integer { op, ty },
            &[ty_operand; 3][..integer_sources(op)],
            o,
        )
    }

    /// `d, a, b, …` with one source per type.
    pub fn plain(&mut self, function: Function, types: &[ValueType], o: &[Operand]) -> Decoded<()> {
        operand_count(o, 1 + types.len(), 1 + types.len())?;
        let mut sources = [NONE; 4];
        for ((source, operand), ty) in sources.iter_mut().zip(&o[1..]).zip(types) {
            self.check_width(operand, ty.bits())?;
            *source = self.src(operand, *ty)?;
        }
        self.check_width(&o[0], result_bits(function, types[0].bits()))?;
        let dst = self.dst(&o[0])?;
        self.emit_alu(function, dst, &sources);
        Ok(())
    }

    pub fn float(
        &mut self,
        op: FloatOp,
        format: Format,
        packed: bool,
        rounding: Option<Rounding>,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let half = matches!(format, Format::F16 | Format::Bf16);
        let rounding = rounding.or_else(|| m.rounding());
        if half && rounding.is_some_and(|mode| mode != Rounding::NearestEven) {
            return Err("half-precision results round to nearest only".into());
        }
        if rounding == Some(Rounding::NearestAway) {
            return Err("`.rna` is not supported here".into());
        }
        let flushes = matches!(format, Format::F32 | Format::F16)
            || matches!(
                op,
                FloatOp::Ex2 | FloatOp::RcpApproximate64 | FloatOp::RsqrtApproximate64
            );
        let ftz = flushes && m.flag("ftz");
        // The only forms of these.
        if !ftz && (op == FloatOp::RcpApproximate64 || (op, format) == (FloatOp::Ex2, Format::Bf16))
        {
            return Err("needs `.ftz`".into());
        }
        let saturates = matches!(
            op,
            FloatOp::Add | FloatOp::Sub | FloatOp::Mul | FloatOp::Fma
        );
        let saturate = saturates && format != Format::F64 && m.flag("sat");
        let relu = half && op == FloatOp::Fma && m.flag("relu");
        let function = FloatFunction {
            op,
            format,
            packed,
            rounding: rounding.unwrap_or(Rounding::NearestEven),
            ftz,
            saturate,
            relu,
        };
        let ty = ValueType::Float { format, packed };
        self.plain(Function::Float(function), &[ty; 3][..float_sources(op)], o)
    }
}

/// Bits of the result of a function whose first operand has `operand_bits`.
fn result_bits(function: Function, operand_bits: u32) -> u32 {
    match function {
        Function::Integer {
            op: IntegerOp::MulWide | IntegerOp::MadWide,
            ..
        } => 2 * operand_bits,
        Function::Bits(
            BitsOp::PopulationCount { .. }
            | BitsOp::LeadingZeros { .. }
            | BitsOp::FindLeading { .. },
        ) => 32,
        Function::Classify { .. } => 1,
        _ => operand_bits,
    }
}

fn integer_sources(op: IntegerOp) -> usize {
    match op {
        IntegerOp::Abs | IntegerOp::Neg => 1,
        IntegerOp::MadLow
        | IntegerOp::MadHigh
        | IntegerOp::MadHighSaturating
        | IntegerOp::MadWide
        | IntegerOp::Mad24Low
        | IntegerOp::Mad24High
        | IntegerOp::Mad24HighSaturating
        | IntegerOp::SumAbsoluteDifference => 3,
        _ => 2,
    }
}

fn float_sources(op: FloatOp) -> usize {
    match op {
        FloatOp::Fma | FloatOp::Min3 { .. } | FloatOp::Max3 { .. } => 3,
        FloatOp::Add
        | FloatOp::Sub
        | FloatOp::Mul
        | FloatOp::Div
        | FloatOp::DivApproximate
        | FloatOp::Min { .. }
        | FloatOp::Max { .. }
        | FloatOp::CopySign => 2,
        _ => 1,
    }
}
