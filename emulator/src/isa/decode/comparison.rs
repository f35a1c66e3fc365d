//! Comparison and selection (PTX ISA §9.7.6, §9.7.7).

use super::super::alu::{BooleanOp, Comparison, Format, Function, IntType, Operator, SetResult};
use super::super::ir::Src;
use super::modifiers::{Modifiers, ValueType};
use super::operands::{NONE, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

pub(super) const BOOLEANS: &[(&str, BooleanOp)] = &[
    ("and", BooleanOp::And),
    ("or", BooleanOp::Or),
    ("xor", BooleanOp::Xor),
];

impl Decoder<'_> {
    /// The comparison of `setp` and `set`, and whether it is of packed halves.
    fn comparison(m: &mut Modifiers) -> Decoded<(Comparison, ValueType)> {
        #[derive(Clone, Copy)]
        enum Order {
            Plain,
            /// `lo`, `ls`, `hi`, `hs`: unsigned whatever the type says.
            Unsigned,
            Unordered,
        }
        let (operator, order) = m
            .take(|name| {
                Some(match name {
                    "eq" => (Operator::Eq, Order::Plain),
                    "ne" => (Operator::Ne, Order::Plain),
                    "lt" => (Operator::Lt, Order::Plain),
                    "le" => (Operator::Le, Order::Plain),
                    "gt" => (Operator::Gt, Order::Plain),
                    "ge" => (Operator::Ge, Order::Plain),
                    "lo" => (Operator::Lt, Order::Unsigned),
                    "ls" => (Operator::Le, Order::Unsigned),
                    "hi" => (Operator::Gt, Order::Unsigned),
                    "hs" => (Operator::Ge, Order::Unsigned),
                    "equ" => (Operator::Eq, Order::Unordered),
                    "neu" => (Operator::Ne, Order::Unordered),
                    "ltu" => (Operator::Lt, Order::Unordered),
                    "leu" => (Operator::Le, Order::Unordered),
                    "gtu" => (Operator::Gt, Order::Unordered),
                    "geu" => (Operator::Ge, Order::Unordered),
                    "num" => (Operator::Num, Order::Plain),
                    "nan" => (Operator::Nan, Order::Plain),
                    _ => return None,
                })
            })
            .ok_or("found no comparison operator")?;
        let ty = m.value_type()?;
        let comparison = match (ty, order) {
            (ValueType::Int { ty, untyped }, Order::Plain | Order::Unsigned)
                if ty.bits() >= 16 && !matches!(operator, Operator::Num | Operator::Nan) =>
            {
                let equality = matches!(operator, Operator::Eq | Operator::Ne);
                if untyped && !equality {
                    return Err("bit strings compare for equality only".into());
                }
                if ty.signed() && matches!(order, Order::Unsigned) {
                    return Err("an unsigned comparison needs an unsigned type".into());
                }
                Comparison::Integer { operator, ty }
            }
            (ValueType::Float { format, packed }, Order::Plain | Order::Unordered)
                if !(packed && format == Format::F32) =>
            {
                let ftz = matches!(format, Format::F32 | Format::F16) && m.flag("ftz");
                let unordered = matches!(order, Order::Unordered);
                Comparison::Float {
                    operator,
                    unordered,
                    format,
                    ftz,
                }
            }
            _ => return Err("this comparison of this type is not supported".into()),
        };
        Ok((comparison, ty))
    }

    /// The predicate that a comparison's result is combined with.
    fn combined(&mut self, combine: Option<BooleanOp>, o: &[Operand]) -> Decoded<(Src, bool)> {
        let count = if combine.is_some() { 4 } else { 3 };
        operand_count(o, count, count)?;
        match combine {
            Some(_) => self.predicate(&o[3]),
            None => Ok((NONE, false)),
        }
    }

    pub fn setp(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let combine = m.one_of(BOOLEANS);
        let (comparison, ty) = Self::comparison(m)?;
        let (c, negate_combined) = self.combined(combine, o)?;
        for operand in &o[1..3] {
            self.check_width(operand, ty.bits())?;
        }
        let sources = [self.src(&o[1], ty)?, self.src(&o[2], ty)?, c];
        match &o[0] {
            Operand::Pair(first, second) => {
                self.check_width(first, 1)?;
                self.check_width(second, 1)?;
            }
            single => self.check_width(single, 1)?,
        }
        let (dst, dst2) = self.dst_pair(&o[0])?;
        let function = if matches!(ty, ValueType::Float { packed: true, .. }) {
            Function::ComparePacked {
                comparison,
                combine,
                negate_combined,
            }
        } else {
            Function::Compare {
                comparison,
                combine,
                negate_combined,
            }
        };
        self.emit_alu_pair(function, dst, dst2, &sources);
        Ok(())
    }

    pub fn set(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let combine = m.one_of(BOOLEANS);
        // `set.op.dtype.stype`: the destination's type comes first.
        let to = m.value_type()?;
        let (comparison, ty) = Self::comparison(m)?;
        let packed = matches!(ty, ValueType::Float { packed: true, .. });
        let result = match to {
            ValueType::Int { ty, .. } if packed && ty.bits() == 32 => SetResult::Ones { bits: 16 },
            ValueType::Int { ty, .. } => SetResult::Ones { bits: ty.bits() },
            ValueType::Float {
                format,
                packed: result,
            } if result == packed => SetResult::One { format },
            _ => return Err("this destination type is not supported".into()),
        };
        let (c, negate_combined) = self.combined(combine, o)?;
        let sources = [self.src(&o[1], ty)?, self.src(&o[2], ty)?, c];
        let dst = self.dst(&o[0])?;
        let function = Function::Set {
            comparison,
            packed,
            combine,
            negate_combined,
            result,
        };
        self.emit_alu(function, dst, &sources);
        Ok(())
    }

    pub fn slct(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let ftz = m.flag("ftz");
        let ty = m.value_type()?;
        let sign = m.value_type()?;
        let float = match sign {
            ValueType::Float {
                format: Format::F32,
                packed: false,
            } => true,
            ValueType::Int {
                ty: IntType::S32,
                untyped: false,
            } if !ftz => false,
            _ => return Err("needs a selector of type `.s32` or `.f32`".into()),
        };
        self.plain(Function::SelectSign { float, ftz }, &[ty, ty, sign], o)
    }
}
