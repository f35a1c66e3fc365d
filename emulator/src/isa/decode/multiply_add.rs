//! Sums and products of every type, with and without carries (PTX ISA §9.7.1–9.7.4).

use super::super::alu::{CarryOp, FloatOp, Format, Function, IntType, IntegerOp};
use super::super::ir::Src;
use super::modifiers::{Modifiers, ValueType};
use super::operands::{NONE, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

/// Which result bits of a product an instruction keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Low,
    High,
    Wide,
}

const PARTS: &[(&str, Part)] = &[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)];

impl Decoder<'_> {
    pub fn add_or_sub(&mut self, subtract: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        if m.flag("cc") {
            let op = if subtract { CarryOp::Sub } else { CarryOp::Add };
            return self.carry_instruction(op, false, true, m, o);
        }
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => {
                let saturate = ty == IntType::S32 && m.flag("sat");
                let op = match (subtract, saturate) {
                    (false, false) => IntegerOp::Add,
                    (false, true) => IntegerOp::AddSaturating,
                    (true, false) => IntegerOp::Sub,
                    (true, true) => IntegerOp::SubSaturating,
                };
                self.integer(op, ty, o)
            }
            ValueType::Float { format, packed } => {
                let op = if subtract { FloatOp::Sub } else { FloatOp::Add };
                self.float(op, format, packed, None, m, o)
            }
            ty @ ValueType::PackedInt { signed } if !subtract => {
                let function = Function::Packed16 {
                    op: IntegerOp::Add,
                    signed,
                };
                self.plain(function, &[ty; 2], o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    /// `addc`, `subc`: the carry out only with `.cc`.
    pub fn with_carry(
        &mut self,
        op: CarryOp,
        carry_in: bool,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let carry_out = m.flag("cc");
        self.carry_instruction(op, carry_in, carry_out, m, o)
    }

    pub fn mad_with_carry(
        &mut self,
        carry_in: bool,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let op = m.require_one_of(&[("lo", CarryOp::MadLow), ("hi", CarryOp::MadHigh)])?;
        self.with_carry(op, carry_in, m, o)
    }

    fn carry_instruction(
        &mut self,
        op: CarryOp,
        carry_in: bool,
        carry_out: bool,
        m: &mut Modifiers,
        o: &[Operand],
    ) -> Decoded<()> {
        let ty = m.int_type()?;
        if ty.bits() < 32 {
            return Err("needs a 32-bit or 64-bit type".into());
        }
        let operands = match op {
            CarryOp::Add | CarryOp::Sub => 2,
            CarryOp::MadLow | CarryOp::MadHigh => 3,
        };
        operand_count(o, 1 + operands, 1 + operands)?;
        let carry = *self.carry.get_or_insert_with(|| self.scopes.new_slot());
        let mut sources = [NONE; 4];
        for (source, operand) in sources.iter_mut().zip(&o[1..]) {
            *source = self.src(operand, ValueType::Int { ty, untyped: false })?;
        }
        if carry_in {
            sources[operands] = Src::Reg(carry);
        }
        let dst = self.dst(&o[0])?;
        let dst2 = carry_out.then_some(carry);
        self.emit_alu_pair(Function::Carry { op, ty }, dst, dst2, &sources);
        Ok(())
    }

    pub fn mul(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => {
                let op = match m.require_one_of(PARTS)? {
                    Part::Low => IntegerOp::MulLow,
                    Part::High => IntegerOp::MulHigh,
                    Part::Wide => IntegerOp::MulWide,
                };
                check_wide(op == IntegerOp::MulWide, ty)?;
                self.integer(op, ty, o)
            }
            ValueType::Float { format, packed } => {
                self.float(FloatOp::Mul, format, packed, None, m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    pub fn mad(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        if m.flag("cc") {
            let op = m.require_one_of(&[("lo", CarryOp::MadLow), ("hi", CarryOp::MadHigh)])?;
            return self.carry_instruction(op, false, true, m, o);
        }
        match m.value_type()? {
            ValueType::Int { ty, untyped: false } => match m.require_one_of(PARTS)? {
                Part::Low => self.integer(IntegerOp::MadLow, ty, o),
                Part::High if ty == IntType::S32 && m.flag("sat") => {
                    self.integer(IntegerOp::MadHighSaturating, ty, o)
                }
                Part::High => self.integer(IntegerOp::MadHigh, ty, o),
                Part::Wide => {
                    check_wide(true, ty)?;
                    let narrow = ValueType::Int { ty, untyped: false };
                    let wide = super::operands::bits_type(2 * ty.bits());
                    let function = Function::Integer {
                        op: IntegerOp::MadWide,
                        ty,
                    };
                    self.plain(function, &[narrow, narrow, wide], o)
                }
            },
            // On every target since sm_20 a fused multiply-add.
            ValueType::Float {
                format: format @ (Format::F32 | Format::F64),
                packed: false,
            } => {
                let rounding = m.rounding().ok_or("needs a rounding modifier")?;
                self.float(FloatOp::Fma, format, false, Some(rounding), m, o)
            }
            _ => Err("this type is not supported".into()),
        }
    }

    pub fn mul24(&mut self, add: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let high = m.require_one_of(&[("lo", false), ("hi", true)])?;
        let saturate = add && high && m.flag("sat");
        let ty = m.int_type()?;
        if ty.bits() != 32 || (saturate && ty != IntType::S32) {
            return Err("needs `.u32` or `.s32`, and `.s32` with `.sat`".into());
        }
        let op = match (add, high) {
            (false, false) => IntegerOp::Mul24Low,
            (false, true) => IntegerOp::Mul24High,
            (true, false) => IntegerOp::Mad24Low,
            (true, true) if saturate => IntegerOp::Mad24HighSaturating,
            (true, true) => IntegerOp::Mad24High,
        };
        self.integer(op, ty, o)
    }
}

fn check_wide(wide: bool, ty: IntType) -> Decoded<()> {
    match ty.bits() {
        8 => Err("8-bit arithmetic is not supported".into()),
        64 if wide => Err("a wide product needs a 16-bit or 32-bit type".into()),
        _ => Ok(()),
    }
}
