//! Registers of type `.b128`: pairs of 64-bit ones, the low half first.

use super::super::alu::Function;
use super::super::ir::{Reg, Semantics, Src};
use super::operands::{B64, exactly};
use super::scope::{Register, Symbol};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    /// The two halves of a 128-bit register.
    pub fn wide_register(&mut self, operand: &Operand) -> Decoded<[Reg; 2]> {
        if let Operand::Name(name) = operand
            && let Some(Symbol::Register(Register { slot, bits: 128 })) = self.scopes.symbol(name)
        {
            return Ok([slot, slot + 1]);
        }
        Err("needs a register of type `.b128`".into())
    }

    /// `mov.b128` between registers, from `{low, high}` and to it.
    pub fn wide_move(&mut self, operands: &[Operand]) -> Decoded<()> {
        let [dst, src] = exactly(operands)?;
        let srcs = match src {
            Operand::Vector(halves) if halves.len() == 2 => self.srcs(src, B64)?,
            _ => self.wide_register(src)?.map(Src::Reg).to_vec(),
        };
        let dsts = match dst {
            Operand::Vector(halves) if halves.len() == 2 => self.dsts(dst)?,
            _ => self.wide_register(dst)?.map(Some).to_vec(),
        };
        for (dst, src) in dsts.into_iter().zip(srcs) {
            self.emit_alu(Function::Mov, dst, &[src]);
        }
        Ok(())
    }

    /// `ld.b128` or `st.b128` with its one register: a vector access to the halves, which is aligned to its whole size
    /// like these. Only weak ones: the halves are not accessed in one piece.
    pub fn wide_access(&mut self, elements: &[Operand], semantics: Semantics) -> Decoded<[Reg; 2]> {
        match elements {
            [register] if semantics == Semantics::Weak => self.wide_register(register),
            [_] => Err("an atomic access of 128 bits is not supported".into()),
            _ => Err("a vector of 128-bit elements is not supported".into()),
        }
    }
}
