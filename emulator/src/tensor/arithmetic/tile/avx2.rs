//! AVX2 with FMA.

use std::arch::x86_64::*;

use super::super::formats::GROUPS;
use super::super::pack::{ColumnBlock, QUAD, QUADS, Row};
use super::super::window::GroupSums;
use super::AccumulatorTile;
use super::portable::multiply_with;

#[target_feature(enable = "avx2,fma")]
pub fn multiply(rows: &[Row], blocks: &[ColumnBlock], columns: usize, d: AccumulatorTile) {
    multiply_with(
        |m, block| group_sums(&rows[m], &blocks[block]),
        rows,
        blocks,
        columns,
        d,
    );
}

/// Each 32-bit lane is one column. `maddubs` multiplies a quad of A, made unsigned, with a quad of B and adds pairs:
/// |pair| ≤ 2·24·12, and four of them with the bias taken out stay below 2^12 in their 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn group_sums(row: &Row, block: &ColumnBlock) -> GroupSums {
    let ones = _mm256_set1_epi16(1);
    std::array::from_fn(|g| {
        let mut pairs = load(&block.unbias[g]);
        for q in g * QUADS / GROUPS..(g + 1) * QUADS / GROUPS {
            let a = &row.biased[q * QUAD..][..QUAD];
            let a = _mm256_set1_epi32(i32::from_le_bytes([a[0], a[1], a[2], a[3]]));
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(a, load(&block.quads[q])));
        }
        let sums = _mm256_madd_epi16(pairs, ones);
        // SAFETY: both are 256 bits of plain integers.
        unsafe { std::mem::transmute::<__m256i, [i32; 8]>(sums) }
    })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load<T: Copy, const N: usize>(values: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) };
    // SAFETY: the array is 32 bytes long, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}
