//! `st.async` and `red.async` (PTX ISA §9.7.9.12, §9.7.13.7): to the shared memory of a CTA of the cluster.

use super::super::ir::{AtomicOp, Op, Semantics, Space, StoreAsync, Type};
use super::memory::{ATOMIC_OPS, check_length, memory_operand};
use super::modifiers::Modifiers;
use super::operands::exactly;
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl Decoder<'_> {
    /// `st.async{.weak}{.shared::cluster}.mbarrier::complete_tx::bytes{.vec}.type [a], b, [mbarrier]`, and
    /// `red.async.relaxed.cluster{.shared::cluster}.mbarrier::complete_tx::bytes.op.type [a], b, [mbarrier]`
    pub(super) fn store_async(
        &mut self,
        m: &mut Modifiers,
        operands: &[Operand],
        reduces: bool,
    ) -> Decoded<()> {
        let space = m.space().unwrap_or(Space::Generic);
        match (reduces, m.semantics()) {
            (false, None | Some(Semantics::Weak)) => {}
            (true, Some(Semantics::Relaxed)) => m.require("cluster")?,
            // `.mmio.release` to global memory.
            _ => return Err("these semantics are not supported".into()),
        }
        if !matches!(space, Space::Generic | Space::SharedCluster) {
            return Err("needs `.shared::cluster` as destination".into());
        }
        m.require("mbarrier::complete_tx::bytes")?;
        let reduction = match reduces {
            true => Some(m.require_one_of(ATOMIC_OPS)?),
            false => None,
        };
        let length = match reduces {
            true => 1,
            false => m.one_of(&[("v2", 2), ("v4", 4)]).unwrap_or(1),
        };
        let ty = m.ir_type()?;
        check_type(reduction, ty)?;
        let [destination, value, barrier] = exactly(operands)?;
        let (destination, _) = self.address_in(destination, space)?;
        let srcs = self.srcs(value, memory_operand(ty))?;
        check_length(srcs.len(), length)?;
        let (barrier, _) = self.address_in(barrier, space)?;
        self.emit(Op::StoreAsync(StoreAsync {
            destination,
            barrier,
            space,
            ty,
            srcs,
            reduction,
        }));
        Ok(())
    }
}

/// Types of `st.async`, and of the reductions to shared memory (PTX ISA §9.7.13.7, §9.7.9.25.4.2).
pub(super) fn check_type(reduction: Option<AtomicOp>, ty: Type) -> Decoded<()> {
    use AtomicOp::*;
    let legal = match reduction {
        None => matches!(
            ty,
            Type::B32
                | Type::B64
                | Type::U32
                | Type::U64
                | Type::S32
                | Type::S64
                | Type::F32
                | Type::F64
        ),
        Some(Inc | Dec) => ty == Type::U32,
        Some(Min | Max) => matches!(ty, Type::U32 | Type::S32),
        Some(Add) => matches!(ty, Type::U32 | Type::S32 | Type::U64),
        Some(And | Or | Xor) => ty == Type::B32,
        Some(Exchange | CompareAndSwap) => false,
    };
    match legal {
        true => Ok(()),
        false => Err(format!("this operation on {ty:?} is not supported")),
    }
}
