//! `bar`, `barrier` and `barrier.cluster` (PTX ISA §9.7.13.1–3).

use super::super::ir::{BarrierKind, BarrierReduction, Op, Semantics, VoteMode};
use super::modifiers::Modifiers;
use super::operands::{B32, exactly, operand_count};
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    pub fn barrier(
        &mut self,
        opcode: &str,
        m: &mut Modifiers,
        operands: &[Operand],
    ) -> Decoded<()> {
        if opcode == "bar" && m.flag("warp") {
            m.require("sync")?;
            let [members] = exactly(operands)?;
            let members = self.src(members, B32)?;
            self.emit(Op::WarpSync { members });
            return Ok(());
        }
        if opcode == "barrier" && m.flag("cluster") {
            return self.cluster_barrier(m, operands);
        }
        m.flag("cta");
        // `bar` is the old name of `barrier….aligned`.
        let aligned = m.flag("aligned") || opcode == "bar";
        let kind = m.require_one_of(&[
            ("sync", BarrierKind::Sync),
            ("arrive", BarrierKind::Arrive),
            ("red", BarrierKind::Reduce),
        ])?;
        let mut operands = operands;
        let reduction = match kind {
            BarrierKind::Reduce => {
                let reduction = self.reduction(m, operands)?;
                operands = &operands[1..operands.len() - 1];
                Some(reduction)
            }
            _ => None,
        };
        let least = if kind == BarrierKind::Arrive { 2 } else { 1 };
        operand_count(operands, least, 2)?;
        let id = self.src(&operands[0], B32)?;
        let threads = match operands.get(1) {
            Some(threads) => Some(self.src(threads, B32)?),
            None => None,
        };
        self.emit(Op::Barrier {
            kind,
            id,
            threads,
            aligned,
            reduction,
        });
        Ok(())
    }

    /// `barrier.red.op d, a{, b}, {!}c`
    fn reduction(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<BarrierReduction> {
        operand_count(operands, 3, 4)?;
        let popc = m.flag("popc");
        let op = if popc {
            m.require("u32")?;
            VoteMode::Ballot
        } else {
            let op = m.require_one_of(&[("and", VoteMode::All), ("or", VoteMode::Any)])?;
            m.require("pred")?;
            op
        };
        let dst = self
            .dst(&operands[0])?
            .ok_or("needs a destination register")?;
        let (predicate, negated) = self.predicate(&operands[operands.len() - 1])?;
        Ok(BarrierReduction {
            op,
            popc,
            dst,
            predicate,
            negated,
        })
    }

    fn cluster_barrier(&mut self, m: &mut Modifiers, operands: &[Operand]) -> Decoded<()> {
        let arrive = m.require_one_of(&[("arrive", true), ("wait", false)])?;
        let default = if arrive {
            Semantics::Release
        } else {
            Semantics::Acquire
        };
        let semantics = m.semantics().unwrap_or(default);
        let aligned = m.flag("aligned");
        operand_count(operands, 0, 0)?;
        self.emit(Op::ClusterBarrier {
            arrive,
            wait: !arrive,
            aligned,
            semantics,
        });
        Ok(())
    }
}
