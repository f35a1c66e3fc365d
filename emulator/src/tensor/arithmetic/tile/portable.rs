//! Plain Rust, for any processor.

use super::super::formats::{GROUP_ELEMENTS, GROUPS, K};
use super::super::pack::{ColumnBlock, LANES, QUAD, Row};
use super::super::window::{GroupSums, accumulate_windowed, exact_fields, f32_toward_zero};
use super::AccumulatorTile;

pub fn multiply(rows: &[Row], blocks: &[ColumnBlock], columns: usize, d: AccumulatorTile) {
    let row_elements: Vec<_> = rows.iter().map(Row::elements).collect();
    let block_elements: Vec<_> = blocks.iter().map(transpose).collect();
    let group_sums = |m: usize, block: usize| group_sums(&row_elements[m], &block_elements[block]);
    multiply_with(group_sums, rows, blocks, columns, d);
}

/// The loop over D, for any way to compute the integer dot products of a row and a block of columns, both given by
/// number. Always inlined: it takes on the caller's target features.
#[inline(always)]
pub fn multiply_with(
    group_sums: impl Fn(usize, usize) -> GroupSums,
    rows: &[Row],
    blocks: &[ColumnBlock],
    columns: usize,
    d: AccumulatorTile,
) {
    for (m, (row, words)) in rows.iter().zip(d.words.chunks_mut(d.pitch)).enumerate() {
        let words = words[..columns].chunks_mut(LANES);
        for (i, (block, words)) in blocks.iter().zip(words).enumerate() {
            let sums = group_sums(m, i);
            if let Some(words) = words.as_mut_array() {
                accumulate(row, block, &sums, words);
            } else {
                let mut padded = [0; LANES];
                padded[..words.len()].copy_from_slice(words);
                accumulate(row, block, &sums, &mut padded);
                words.copy_from_slice(&padded[..words.len()]);
            }
        }
    }
}

#[inline(always)]
fn accumulate(row: &Row, block: &ColumnBlock, sums: &GroupSums, c: &mut [u32; LANES]) {
    match exact_fields(row, block) {
        Some(exact) if exact.admit(c) => accumulate_exact(row, block, sums, c),
        _ => accumulate_windowed(row, block, sums, c),
    }
}

/// For C within [`exact_fields`].
#[inline(always)]
fn accumulate_exact(row: &Row, block: &ColumnBlock, sums: &GroupSums, c: &mut [u32; LANES]) {
    let mut total = [0.0; LANES];
    for (g, sums) in sums.iter().enumerate() {
        for n in 0..LANES {
            total[n] += f64::from(sums[n]) * (row.quarter_scale[g] * block.scale[g][n]);
        }
    }
    for n in 0..LANES {
        c[n] = f32_toward_zero(total[n] + f64::from(f32::from_bits(c[n])));
    }
}

/// A block's doubled elements, K outermost.
type BlockElements = [[i16; LANES]; K];

fn transpose(block: &ColumnBlock) -> BlockElements {
    std::array::from_fn(|k| {
        std::array::from_fn(|n| i16::from(block.quads[k / QUAD][n * QUAD + k % QUAD]))
    })
}

/// A group's sum, at most 16·12·12 in magnitude, fits 16 bits: eight columns are one 128-bit vector.
fn group_sums(row: &[i16; K], block: &BlockElements) -> GroupSums {
    let mut sums = [[0; LANES]; GROUPS];
    for (g, sums) in sums.iter_mut().enumerate() {
        let mut group = [0; LANES];
        for q in 0..GROUP_ELEMENTS / QUAD {
            add_quad(&mut group, row, block, g * GROUP_ELEMENTS + q * QUAD);
        }
        *sums = group.map(i32::from);
    }
    sums
}

/// The four elements from `k` on. Unrolled by hand, since compilers otherwise vectorise over K, which lies across memory.
#[inline(always)]
fn add_quad(sums: &mut [i16; LANES], row: &[i16; K], block: &BlockElements, k: usize) {
    let [a0, a1, a2, a3] = [row[k], row[k + 1], row[k + 2], row[k + 3]];
    let [b0, b1, b2, b3] = [&block[k], &block[k + 1], &block[k + 2], &block[k + 3]];
    for n in 0..LANES {
        sums[n] += a0 * b0[n] + a1 * b1[n] + a2 * b2[n] + a3 * b3[n];
    }
}
