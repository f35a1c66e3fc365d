//! What `tcgen05.mma.kind::mxf4nvf4` with UE4M3 scales computes for one element of D, to the bit.
//!
//! D = C + Σₖ aₖ·bₖ·sa·sb over the 64 elements of one instruction, each scale covering 16 of them. No product is ever
//! rounded, but the sum is formed in a window: terms are truncated toward zero at a quantum 2^q, added as integers, and
//! the total is truncated toward zero to f32.
//!
//! NVIDIA does not document the window. The rule here is a statement of the measurements published as
//! `sf-tensor/tcgen05` (`tcgen05_model/MODEL.md`, section 5), made on a B200. [`dot64_reference`] states it, and the
//! tests include that repository's result words. [`multiply_tile`] computes the same bits faster.

mod dot;
mod formats;
mod pack;
mod reference;
mod tile;
mod window;

pub use dot::{DotResult, DotRule, DotVector, dot};
pub use formats::{CANONICAL_NAN, GROUP_ELEMENTS, GROUPS, K, ROW_BYTES};
pub use pack::ScaledRow;
pub use reference::dot64_reference;
pub use tile::{AccumulatorTile, OperandRows, TilePath, multiply_tile, multiply_tile_by};

#[cfg(test)]
mod tests;
