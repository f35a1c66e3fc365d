//! e2m1 elements and ue4m3 scale factors to f16, exactly.
//!
//! The three magnitude bits of e2m1, put into f16 at bits 9–11, are its value times 2^-14, the
//! subnormal included: both formats have one leading exponent bit pattern for it. The scale factor
//! takes a 2^7 of that back, which is as much as 448, the largest, leaves room for in f16. So the
//! product is the dequantised value times 2^-7 ([`crate::contract::hopper::PRODUCT_SCALE`]): at most
//! 21 and a multiple of 2^-17, with six significant bits. It is exact.

use crate::ptx::math::{absolute_f16x2, e4m3x2_to_f16x2, multiply_f16x2, permute_bytes};
use crate::ptx::warp;

/// What f16 magnitudes lack, by the placement of their bits.
const SCALE_FACTOR: u32 = 0x5800_5800; // f16 128, twice

/// The four ue4m3 scale factors of one word, each as f16 × 2^7.
#[derive(Clone, Copy)]
pub struct Scales([u32; 2]);

impl Scales {
    #[inline(always)]
    pub fn unpack(word: u32) -> Self {
        // ue4m3 has no sign: its top bit does not count. The absolute value is free, a modifier of the factor.
        let pair = |bytes| multiply_f16x2(absolute_f16x2(e4m3x2_to_f16x2(bytes)), SCALE_FACTOR);
        Self([pair(word), pair(word >> 16)])
    }

    /// Number `index` in both halves of a register.
    #[inline(always)]
    pub fn get(self, index: usize) -> u32 {
        permute_bytes(
            self.0[index / 2],
            0,
            if index % 2 == 0 { 0x1010 } else { 0x3232 },
        )
    }
}

/// A word's eight e2m1 elements times their scale factor: registers with elements (0, 4), (1, 5),
/// (2, 6) and (3, 7), low half first.
#[inline(always)]
pub fn word(nibbles: u32, scale: u32, shifts: Shifts) -> [u32; 4] {
    let even = nibbles & EVERY_OTHER;
    let odd = nibbles >> 4 & EVERY_OTHER;
    let pair = |nibbles, shift| multiply_f16x2(magnitude_and_sign(nibbles, shift), scale);
    [
        pair(even, shifts.left_9),
        pair(odd, shifts.left_9),
        pair(even, shifts.left_1),
        pair(odd, shifts.left_1),
    ]
}

const EVERY_OTHER: u32 = 0x0F0F_0F0F;

/// Two f16, of the nibbles that `shift` puts at bits 9–12 of both halves. The three bits above them are 0.
///
/// The sign, at bit 12, is carried to bit 15 by three ones on top of it: shift and sign are one
/// instruction, the mask another.
#[inline(always)]
fn magnitude_and_sign(nibbles: u32, shift: u32) -> u32 {
    nibbles.wrapping_mul(shift).wrapping_add(0x7000_7000) & 0x8E00_8E00
}

/// Factors that shift to the left.
///
/// Logic, permutations of bytes and shifts share an SM's ALU pipe, which dequantisation keeps busy. Multiplications go to
/// the FMA pipe. Of factors that it knew ptxas would make shifts, on either pipe. The shift to the right stays one: the upper
/// half of a product takes longer.
#[derive(Clone, Copy)]
pub struct Shifts {
    left_1: u32,
    left_9: u32,
}

impl Shifts {
    /// Called by a converged warp.
    #[inline(always)]
    pub fn new() -> Self {
        // Two broadcasts: of factors whose difference it knows LLVM computes one product from the other.
        let factor = |factor| warp::broadcast_first(warp::lane_index() + factor);
        Self {
            left_1: factor(1 << 1),
            left_9: factor(1 << 9),
        }
    }
}
