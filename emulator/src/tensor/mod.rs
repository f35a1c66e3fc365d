//! The fifth-generation tensor core: tensor memory, descriptors, layouts and arithmetic.
//!
//! Everything here is a pure function of memories and operands. When an operation runs, who waits for it and which
//! CTA's memories it sees is the machine's business.

pub mod arithmetic;
pub mod chunk_set;
pub mod copy;
pub mod descriptor;
pub mod fragment;
pub mod instruction;
pub mod layout;
pub mod memory;
pub mod mma;
pub mod operand;
pub mod scales;
pub mod warp;
pub mod warpgroup;

pub use chunk_set::ChunkSet;
pub use copy::{CopyError, TensorCopy};
pub use descriptor::{DescriptorError, SmemDescriptor};
pub use fragment::{FragmentError, FragmentShape};
pub use instruction::{InstructionDescriptor, InstructionError};
pub use layout::{CtaMemory, DataPath};
pub use memory::{AllocationError, TensorAddress, TensorMemory, TensorMemoryError};
pub use mma::{Mma, MmaError, MmaFootprint, MmaOperands};
