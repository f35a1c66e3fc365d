//! What tensor cores compute for one element of D, to the bit.
//!
//! NVIDIA does not document how tensor cores add. The rules here state measurements that others published: those of
//! `sf-tensor/tcgen05` (`tcgen05_model/MODEL.md` and `model.py`), made on a B200, and those of `microsoft/MMA-Sim` (arXiv
//! 2511.10909), from Volta to Blackwell. The tests include the result words of the former.
//!
//! No product is ever rounded, but a sum is formed in a window: terms are truncated toward zero at a quantum 2^q, added
//! as integers, and the total is rounded once.
//!
//! | elements | by | q |
//! |---|---|---|
//! | f16, bf16, tf32, 8, 6 and 4 bits; one UE8M0 scale a row, or none | [`dot`] | F bits below the largest term |
//! | E2M1, a UE8M0 scale per 32 or 16 | [`mxfp4_dot`] | 35 bits below the largest scale, or C |
//! | E2M1, a UE4M3 scale per 16 | [`dot64_reference`], [`multiply_tile`] | likewise, with a second case |
//! | 8-bit integers | [`integer_dot`] | exact |

mod dot;
mod formats;
mod integer;
mod mxfp4;
mod pack;
mod reference;
mod tile;
mod window;

pub use dot::{DotResult, DotRule, DotVector, dot, dot_in_halves};
pub use formats::{CANONICAL_NAN, GROUP_ELEMENTS, GROUPS, K, ROW_BYTES};
pub use integer::{decode_integer, integer_dot};
pub use mxfp4::{Mxfp4Row, mxfp4_dot};
pub use pack::ScaledRow;
pub use reference::dot64_reference;
pub use tile::{AccumulatorTile, OperandRows, TilePath, multiply_tile, multiply_tile_by};

#[cfg(test)]
mod hardware_words;
#[cfg(test)]
mod independent;
#[cfg(test)]
mod tests;
