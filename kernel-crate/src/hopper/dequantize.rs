//! e2m1 elements and ue4m3 scale factors to f16, exactly.
//!
//! The three magnitude bits of e2m1, put into f16 at bits 9–11, are its value times 2^-14, the
//! subnormal included: both formats have one leading exponent bit pattern for it. The scale factor
//! takes a 2^7 of that back, which is as much as 448, the largest, leaves room for in f16. So the
//! product is the dequantised value times 2^-7 ([`crate::contract::hopper::PRODUCT_SCALE`]): at most
//! 21 and a multiple of 2^-17, with six significant bits. It is exact.

use crate::ptx::math::{e4m3x2_to_f16x2, multiply_f16x2, permute_bytes};

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
pub fn word(nibbles: u32, scale: u32) -> [u32; 4] {
    let (even, odd) = (upper_bytes(nibbles << 4), upper_bytes(nibbles));
    let lower = |bytes| multiply_f16x2(permute_bytes(bytes, 0, LOWER), scale);
    let upper = |bytes| multiply_f16x2(permute_bytes(bytes, 0, UPPER), scale);
    [lower(even), lower(odd), upper(even), upper(odd)]
}

/// Selectors that put two bytes into the upper bytes of two f16.
const LOWER: u32 = 0x1404;
const UPPER: u32 = 0x3424;

/// The upper bytes of four f16, of the elements in the upper nibbles of the bytes. The lower bytes
/// are zero.
#[inline(always)]
fn upper_bytes(nibbles: u32) -> u32 {
    nibbles & 0x8080_8080 | nibbles >> 3 & 0x0E0E_0E0E
}
