//! Lane-wise instructions.

/// One lane-wise instruction.
#[derive(Clone, Debug)]
pub struct AluOp {}
