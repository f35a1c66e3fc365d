//! Decoded matrix instructions of warps and warpgroups (PTX ISA §9.7.14, §9.7.15).

use super::alu::Format;
use super::ir::{Address, Dst, Space, Src};

/// What a matrix instruction does. All are `.sync.aligned`.
#[derive(Clone, Debug)]
pub enum MatrixOp {
    /// `ldmatrix…m8n8…b16`: one 8×8 matrix for each destination.
    Load {
        dsts: Vec<Dst>,
        transpose: bool,
        address: Address,
        space: Space,
    },
    /// `stmatrix…m8n8…b16`: one 8×8 matrix for each source.
    Store {
        srcs: Vec<Src>,
        transpose: bool,
        address: Address,
        space: Space,
    },
    /// `movmatrix…m8n8.trans.b16`
    Transpose { dst: Dst, src: Src },
    /// `mma.sync`
    Mma(Box<WarpMma>),
    /// `wgmma.mma_async`
    WarpgroupMma(Box<WarpgroupMma>),
    /// `wgmma.fence`
    WarpgroupFence,
    /// `wgmma.commit_group`
    WarpgroupCommit,
    /// `wgmma.wait_group`
    WarpgroupWait { pending: u32 },
}

/// Types of the elements of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixElement {
    Float(Format),
    Byte { signed: bool },
}

impl MatrixElement {
    /// Bits that an element takes in a register or in shared memory.
    pub fn bits(self) -> u32 {
        match self {
            MatrixElement::Float(format) => format.bits(),
            MatrixElement::Byte { .. } => 8,
        }
    }

    /// Elements of a 32-bit register.
    pub fn per_register(self) -> u32 {
        32 / self.bits()
    }
}

/// Type of the elements of C and D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    F16,
    F32,
    /// `saturate`: `.satfinite`; else sums wrap around.
    S32 {
        saturate: bool,
    },
}

impl Accumulator {
    /// Elements of a 32-bit register.
    pub fn per_register(self) -> u32 {
        match self {
            Accumulator::F16 => 2,
            Accumulator::F32 | Accumulator::S32 { .. } => 1,
        }
    }
}

/// `mma.sync.aligned.m16n8kK.row.col`: D = A·B + C.
#[derive(Clone, Debug)]
pub struct WarpMma {
    pub k: u32,
    pub a_type: MatrixElement,
    pub b_type: MatrixElement,
    pub accumulator: Accumulator,
    pub d: Vec<Dst>,
    pub a: Vec<Src>,
    pub b: Vec<Src>,
    pub c: Vec<Src>,
}

/// `wgmma.mma_async.sync.aligned.m64nNkK`: D = A·B + D, or A·B.
#[derive(Clone, Debug)]
pub struct WarpgroupMma {
    pub n: u32,
    pub k: u32,
    pub a_type: MatrixElement,
    pub b_type: MatrixElement,
    pub accumulator: Accumulator,
    /// Registers of D; every one is named.
    pub d: Vec<super::ir::Reg>,
    pub a: WarpgroupA,
    pub b_descriptor: Src,
    /// `scale-d`: whether D is added.
    pub accumulate: Src,
    pub accumulate_negated: bool,
    pub negate_a: bool,
    pub negate_b: bool,
    /// B is MN-major.
    pub transpose_b: bool,
}

/// A of a `wgmma.mma_async`.
#[derive(Clone, Debug)]
pub enum WarpgroupA {
    Registers(Vec<super::ir::Reg>),
    /// `transpose`: A is MN-major.
    Descriptor {
        descriptor: Src,
        transpose: bool,
    },
}
