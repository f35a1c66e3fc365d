//! e2m1 elements and ue4m3 scale factors to f16, exactly.
//!
//! The three magnitude bits of e2m1, put into f16 at bits 9–11, are its value times 2^-14, the
//! subnormal included: both formats have one leading exponent bit pattern for it. The scale factor
//! takes a 2^7 of that back, which is as much as 448, the largest, leaves room for in f16. So the
//! product is the dequantised value times 2^-7 ([`crate::contract::hopper::PRODUCT_SCALE`]): at most
//! 21 and a multiple of 2^-17, with six significant bits. It is exact.

use crate::ptx::math::{e4m3x2_to_f16x2, multiply_f16x2, permute_bytes};
use crate::ptx::warp;

/// What f16 magnitudes lack, by the placement of their bits.
const SCALE_FACTOR: u32 = 0x5800_5800; // f16 128, twice

/// The four ue4m3 scale factors of one word, each as f16 × 2^7.
#[derive(Clone, Copy)]
pub struct Scales([u32; 2]);

impl Scales {
    #[inline(always)]
    pub fn unpack(word: u32) -> Self {
        // ue4m3 has no sign: its top bit does not count.
        let pair = |bytes| multiply_f16x2(e4m3x2_to_f16x2(bytes & 0x7F7F), SCALE_FACTOR);
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

/// A word's eight e2m1 elements times their scale factor: registers with elements (0, 2), (1, 3),
/// (4, 6) and (5, 7), low half first.
#[inline(always)]
pub fn word(nibbles: u32, scale: u32, shifts: Shifts) -> [u32; 4] {
    let even = upper_bytes(nibbles * shifts.left_4, nibbles * shifts.left_1);
    let odd = upper_bytes(nibbles, nibbles >> 3);
    let lower = |bytes| multiply_f16x2(permute_bytes(bytes, 0, LOWER), scale);
    let upper = |bytes| multiply_f16x2(permute_bytes(bytes, 0, UPPER), scale);
    [lower(even), lower(odd), upper(even), upper(odd)]
}

/// Selectors that put two bytes into the upper bytes of two f16.
const LOWER: u32 = 0x1404;
const UPPER: u32 = 0x3424;

/// The upper bytes of four f16, of the elements in the upper nibbles of the bytes, from those and the
/// same three bits lower. The lower bytes of the f16 are zero.
#[inline(always)]
fn upper_bytes(nibbles: u32, lower_by_3: u32) -> u32 {
    nibbles & 0x8080_8080 | lower_by_3 & 0x0E0E_0E0E
}

/// Factors that shift to the left.
///
/// Logic, permutations of bytes and shifts share an SM's ALU pipe, which dequantisation keeps busier
/// than any other. Multiplications go to the FMA pipe. Of factors that it knew ptxas would make shifts, on
/// either pipe: 21.0 µs instead of 20.1 with 64 tokens. For shifts to the right it is the other way
/// round: the upper half of a product takes longer.
#[derive(Clone, Copy)]
pub struct Shifts {
    left_1: u32,
    left_4: u32,
}

impl Shifts {
    /// Called by a converged warp.
    #[inline(always)]
    pub fn new() -> Self {
        let zero = warp::broadcast_first(warp::lane_index());
        Self {
            left_1: zero + (1 << 1),
            left_4: zero + (1 << 4),
        }
    }
}
