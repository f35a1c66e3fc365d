//! `mov` in all its forms, and the conversion of addresses between spaces.

use super::super::alu::{BitsOp, Function, IntType};
use super::super::ir::{Op, Space, Src};
use super::super::windows;
use super::modifiers::{Modifiers, ValueType};
use super::operands::{B32, B64, exactly, operand_count};
use super::special::special_register;
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

const ADDRESS_BITS: &[(&str, u32)] = &[("u64", 64), ("b64", 64), ("u32", 32), ("b32", 32)];

impl Decoder<'_> {
    pub fn moves(&mut self, opcode: &str, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        match opcode {
            "mov" => self.mov(m, operands),
            "cvta" => self.convert_address(m, operands),
            "isspacep" => self.is_space(m, operands),
            "mapa" => self.map_shared(m, operands),
            "getctarank" => self.cta_rank(m, operands),
            _ => self.create_policy(m, operands),
        }
    }

    fn mov(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        if m.flag("b128") {
            return self.wide_move(operands);
        }
        let ty = m.value_type()?;
        let [dst, src] = exactly(operands)?;
        match (dst, src) {
            (Operand::Vector(elements), src) => {
                let part_bits = part_bits(ty, elements.len())?;
                let src = self.src(src, ty)?;
                let dsts = self.dsts(dst)?;
                self.emit(Op::Unpack {
                    dsts,
                    src,
                    part_bits,
                });
            }
            (dst, Operand::Vector(elements)) => {
                let part_bits = part_bits(ty, elements.len())?;
                let part = super::operands::bits_type(part_bits);
                let parts = self.srcs(src, part)?;
                let dst = self.dst(dst)?;
                self.emit(Op::Pack {
                    dst,
                    parts,
                    part_bits,
                });
            }
            (dst, Operand::Name(name))
                if special_register(name).is_some() && self.scopes.symbol(name).is_none() =>
            {
                self.check_width(dst, ty.bits())?;
                let dst = self.dst(dst)?;
                if let Some(register) = special_register(name) {
                    self.emit(Op::Special { dst, register });
                }
            }
            _ => {
                self.check_width(src, ty.bits())?;
                self.check_width(dst, ty.bits())?;
                let src = self.src(src, ty)?;
                let dst = self.dst(dst)?;
                self.emit_alu(Function::Mov, dst, &[src]);
            }
        }
        Ok(())
    }

    fn convert_address(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let to_generic = !m.flag("to");
        let space = m.space().ok_or("needs a state space")?;
        let bits = m.require_one_of(ADDRESS_BITS)?;
        let [dst, src] = exactly(operands)?;
        let dst = self.dst(dst)?;
        let src = self.src(src, B64)?;
        match space {
            // Global and constant addresses are generic addresses.
            Space::Global | Space::Const => self.emit_alu(Function::Mov, dst, &[src]),
            _ => self.emit(Op::ConvertAddress {
                dst,
                src,
                space,
                to_generic,
                bits,
            }),
        }
        Ok(())
    }

    fn is_space(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let space = m.space().ok_or("needs a state space")?;
        let [dst, src] = exactly(operands)?;
        let dst = self.dst(dst)?;
        let src = self.src(src, B64)?;
        self.emit(Op::IsSpace { dst, src, space });
        Ok(())
    }

    fn map_shared(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let generic = !m.flag("shared::cluster");
        m.require_one_of(ADDRESS_BITS)?;
        let [dst, address, rank] = exactly(operands)?;
        let dst = self.dst(dst)?;
        let address = self.src(address, B64)?;
        let rank = self.src(rank, B32)?;
        self.emit(Op::MapShared {
            dst,
            address,
            rank,
            generic,
        });
        Ok(())
    }

    /// The rank is in the address itself, above the offset.
    fn cta_rank(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        m.flag("shared::cluster");
        m.require_one_of(ADDRESS_BITS)?;
        let [dst, address] = exactly(operands)?;
        let dst = self.dst(dst)?;
        let address = self.src(address, B64)?;
        let position = Src::Imm(u64::from(windows::SHARED_OFFSET_BITS));
        let length = Src::Imm(u64::from(32 - windows::SHARED_OFFSET_BITS));
        let function = Function::Bits(BitsOp::Extract { ty: IntType::U64 });
        self.emit_alu(function, dst, &[address, position, length]);
        Ok(())
    }

    /// The forms differ in hints only: every policy is 0.
    fn create_policy(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        m.require_one_of(&[("fractional", ()), ("range", ()), ("cvt", ())])?;
        m.flag("L2");
        m.flag("global");
        while m
            .take(|name| name.starts_with("L2::").then_some(()))
            .is_some()
        {}
        m.require("b64")?;
        operand_count(operands, 1, 4)?;
        let dst = self.dst(&operands[0])?;
        self.emit(Op::CreatePolicy { dst });
        Ok(())
    }
}

fn part_bits(ty: ValueType, parts: usize) -> Decoded<u32> {
    match (ty.bits() as usize).checked_div(parts) {
        Some(bits @ (8 | 16 | 32)) if bits * parts == ty.bits() as usize => Ok(bits as u32),
        _ => Err(format!(
            "{} bits cannot be split into {parts} parts",
            ty.bits()
        )),
    }
}
