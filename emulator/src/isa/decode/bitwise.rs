//! Logic, shifts, bit fields, byte permutation and small dot products (PTX ISA §9.7.1, §9.7.8).

use super::super::alu::{BitsOp, Function, IntType, PermuteMode};
use super::comparison::BOOLEANS;
use super::modifiers::{Modifiers, ValueType};
use super::operands::{B32, NONE, constant_u32, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

const CLAMP_OR_WRAP: &[(&str, bool)] = &[("clamp", false), ("wrap", true)];

impl Decoder<'_> {
    pub fn bits(&mut self, opcode: &str, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        match opcode {
            "lop3" => return self.lop3(m, o),
            "prmt" => return self.prmt(m, o),
            "shf" => {
                let left = m.require_one_of(&[("l", true), ("r", false)])?;
                let wrap = m.require_one_of(CLAMP_OR_WRAP)?;
                m.require("b32")?;
                return self.plain(Function::Bits(BitsOp::Funnel { left, wrap }), &[B32; 3], o);
            }
            "dp4a" | "dp2a" => return self.dot(opcode == "dp2a", m, o),
            "fns" => {
                m.require("b32")?;
                return self.plain(Function::Bits(BitsOp::FindNth), &[B32; 3], o);
            }
            "bmsk" => {
                let wrap = m.require_one_of(CLAMP_OR_WRAP)?;
                m.require("b32")?;
                return self.plain(Function::Bits(BitsOp::Mask { wrap }), &[B32; 2], o);
            }
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "popc" | "clz" | "brev"
            | "bfind" | "bfe" | "bfi" | "szext" => {}
            _ => return Err(format!("instruction `{opcode}` is not supported")),
        }
        let shift_amount = opcode == "bfind" && m.flag("shiftamt");
        let wrap = if opcode == "szext" {
            m.require_one_of(CLAMP_OR_WRAP)?
        } else {
            false
        };
        let ty = m.value_type()?;
        let (int, bits) = match ty {
            ValueType::Int { ty, .. } if ty.bits() >= 16 => (ty, ty.bits()),
            ValueType::Predicate if matches!(opcode, "and" | "or" | "xor" | "not") => {
                (IntType::U8, 1)
            }
            _ => return Err("this type is not supported".into()),
        };
        let (op, types): (BitsOp, &[ValueType]) = match opcode {
            "and" => (BitsOp::And, &[ty, ty]),
            "or" => (BitsOp::Or, &[ty, ty]),
            "xor" => (BitsOp::Xor, &[ty, ty]),
            "not" => (BitsOp::Not { bits }, &[ty]),
            "cnot" => (BitsOp::LogicalNot { bits }, &[ty]),
            "shl" => (BitsOp::ShiftLeft { bits }, &[ty, B32]),
            "shr" => (BitsOp::ShiftRight { ty: int }, &[ty, B32]),
            _ if bits < 32 => return Err("needs a 32-bit or 64-bit type".into()),
            "popc" => (BitsOp::PopulationCount { bits }, &[ty]),
            "clz" => (BitsOp::LeadingZeros { bits }, &[ty]),
            "brev" => (BitsOp::Reverse { bits }, &[ty]),
            "bfind" => (
                BitsOp::FindLeading {
                    ty: int,
                    shift_amount,
                },
                &[ty],
            ),
            "bfe" => (BitsOp::Extract { ty: int }, &[ty, B32, B32]),
            "bfi" => (BitsOp::Insert { bits }, &[ty, ty, B32, B32]),
            _ => (
                BitsOp::SignOrZeroExtend {
                    signed: int.signed(),
                    wrap,
                },
                &[ty, B32],
            ),
        };
        self.plain(Function::Bits(op), types, o)
    }

    /// `lop3.b32 d, a, b, c, table` or `lop3.op.b32 d|p, a, b, c, table, q`
    fn lop3(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        let combine = m.one_of(BOOLEANS);
        m.require("b32")?;
        let count = if combine.is_some() { 6 } else { 5 };
        operand_count(o, count, count)?;
        let mut sources = [NONE; 4];
        for (source, operand) in sources.iter_mut().zip(&o[1..4]) {
            *source = self.word(operand)?;
        }
        let table = constant_u32(&o[4])?;
        let table =
            u8::try_from(table).map_err(|_| format!("found table {table}, needs 0 to 255"))?;
        let (dst, dst2) = self.word_dst_pair(&o[0])?;
        let op = match combine {
            Some(combine) => {
                let (predicate, negated) = self.predicate(&o[5])?;
                sources[3] = self.plain_predicate(predicate, negated);
                BitsOp::Lop3Predicate { table, combine }
            }
            None => BitsOp::Lop3 { table },
        };
        self.emit_alu_pair(Function::Bits(op), dst, dst2, &sources);
        Ok(())
    }

    fn prmt(&mut self, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        m.require("b32")?;
        let mode = m
            .one_of(&[
                ("f4e", PermuteMode::Forward4),
                ("b4e", PermuteMode::Backward4),
                ("rc8", PermuteMode::Replicate8),
                ("ecl", PermuteMode::EdgeClampLeft),
                ("ecr", PermuteMode::EdgeClampRight),
                ("rc16", PermuteMode::Replicate16),
            ])
            .unwrap_or(PermuteMode::Generic);
        self.plain(Function::Bits(BitsOp::Permute { mode }), &[B32; 3], o)
    }

    fn dot(&mut self, two: bool, m: &mut Modifiers, o: &[Operand]) -> Decoded<()> {
        const SIGNS: &[(&str, bool)] = &[("u32", false), ("s32", true)];
        let high = two && m.require_one_of(&[("lo", false), ("hi", true)])?;
        let a_signed = m.require_one_of(SIGNS)?;
        let b_signed = m.require_one_of(SIGNS)?;
        let op = match two {
            true => BitsOp::Dot2 {
                a_signed,
                b_signed,
                high,
            },
            false => BitsOp::Dot4 { a_signed, b_signed },
        };
        self.plain(Function::Bits(op), &[B32; 3], o)
    }
}
