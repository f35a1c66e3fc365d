//! Lane-wise instructions.

use super::ir::{Dst, LANES, Src};

/// One lane-wise instruction: the same function of each lane's own registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AluOp {
    pub function: Function,
    pub dst: Dst,
    /// The second result of functions that have one: `setp`'s second predicate, the carry flag.
    pub dst2: Dst,
    /// Unused sources are `Src::Imm(0)`.
    pub srcs: [Src; 4],
}

/// What an [`AluOp`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Mov,
}

/// Executes `op` in the lanes whose bit is set in `active`; the other lanes' registers keep their values.
///
/// `registers` is indexed by slot. Slots hold zero-extended values, predicates 0 or 1.
pub fn execute(op: &AluOp, registers: &mut [[u64; LANES]], active: u32) {
    let _ = (op, registers, active);
    unimplemented!("the executor follows")
}
