//! The accumulators as the tensor core makes them, to the last bit: from +0, one [`step`] for each
//! K = 64, K ascending. A last partial step counts as filled up with zero elements.
//!
//! Almost every step has a result that f64 gives exactly. With C the accumulator, c its exponent,
//! and S_hi and S_lo the largest and smallest sum of exponents of a pair of nonzero scale factors
//! in the step:
//!
//! - *Nothing is cut* before the last rounding if `C = 0` or `S_hi − 12 ≤ c ≤ S_lo + 27`, and
//!   `S_hi − S_lo ≤ 27`. For block sums are multiples of 2^(S_lo−8) and C one of 2^(c−23), and the
//!   grid of [`step`]'s first case is 2^(c−35), that of the second at most 2^(S_hi−35). The sum
//!   spans at most 49 bits.
//! - *C dominates* if `c ≥ S_hi + 4`, since two elements add at most 4 to a product's exponent.
//!   Block sums are cut to 2^(c−35).
//!
//! Cutting block sums to 2^(c−35) is right in both cases, as in the first it does nothing. S_hi and
//! S_lo are bounded by the exponents of the row and the column alone. What neither case covers goes
//! through [`step`] itself.

use super::panel::{self, Accumulate, B_ROWS, RowPair, StepExponents, StepSums};
use super::step::{NAN_BITS, STEP, STEP_BLOCKS, StepRow, cut_to_f32};
use super::{Accumulators, Operands, RowBlock};
use crate::matrix::Nvfp4MatrixView;

#[doc(inline)]
pub use super::step::step;

/// The accumulators of both products, `[L, M, N]` each.
///
/// `progress` is called with the number of rows of A that were finished since the last call, from
/// several threads; they add up to L · M.
pub fn accumulators(
    operands: &Operands<'_>,
    progress: &(dyn Fn(usize) + Sync),
) -> Accumulators<f32> {
    operands.collect(|block| row_block(operands, block), progress)
}

/// The accumulators of the rows of `block`, `[rows, N]` each. Uses every thread of rayon's pool.
///
/// # Panics
/// If the block is not one of `operands`.
pub fn row_block(operands: &Operands<'_>, block: &RowBlock) -> Accumulators<f32> {
    operands.assert_contains(block);
    panel::row_block(operands, block)
}

impl Accumulate for f32 {
    const NAN: Self = f32::from_bits(NAN_BITS);

    #[inline(always)]
    fn add_step(
        accumulators: &mut [f32; B_ROWS],
        sums: &StepSums,
        a: StepExponents<1>,
        b: &StepExponents<B_ROWS>,
    ) -> u32 {
        const fn exponent(value: i32) -> i32 {
            value << 23
        }
        let mut covered = [0u32; B_ROWS];
        let mut result = [0.0f32; B_ROWS];
        for lane in 0..B_ROWS {
            // The exponent is compared in place, as the fraction below it cannot change the order.
            let c = (accumulators[lane].to_bits() & 0x7FFF_FFFF) as i32;
            let highest = a.highest[0] + b.highest[lane] + exponent(127);
            let lowest = a.lowest[0] + b.lowest[lane] + exponent(127);
            let within = (c >= highest - exponent(12)) & (c < lowest + exponent(28));
            let nothing_cut = (within | (c == 0)) & (highest - lowest < exponent(28));
            let dominated_by_c = c >= highest + exponent(4);
            covered[lane] = u32::from(nothing_cut | dominated_by_c) << lane;

            // For C = 0 the grid is far below every sum.
            let grid_field = (c >> 23) + (1023 - 127 - 35);
            let grid = f64::from_bits((grid_field as u64) << 52);
            let inverse_grid = f64::from_bits(((2 * 1023 - grid_field) as u64) << 52);
            let mut units = f64::from(accumulators[lane]) * inverse_grid;
            for sum in sums {
                units += (f64::from(sum[lane]) * inverse_grid).trunc();
            }
            result[lane] = cut_to_f32(units * grid);
        }
        let covered = covered.iter().fold(0, |all, bit| all | bit);
        for lane in 0..B_ROWS {
            if covered >> lane & 1 == 1 {
                accumulators[lane] = result[lane];
            }
        }
        !covered & ((1 << B_ROWS) - 1)
    }

    fn add_step_alone(self, rows: RowPair<'_>, index: usize) -> f32 {
        let a = step_row(rows.a, rows.batch, rows.row, index);
        let b = step_row(rows.b, rows.batch, rows.column, index);
        step(self, &a, &b)
    }
}

/// The operands of step `index` from a row of a matrix; zeros beyond K.
///
/// # Panics
/// If an index is out of bounds.
pub fn step_row(matrix: Nvfp4MatrixView<'_>, batch: usize, row: usize, index: usize) -> StepRow {
    let mut step = StepRow {
        elements: [0; STEP / 2],
        scales: [0; STEP_BLOCKS],
    };
    let packed = &matrix.row(batch, row)[index * STEP / 2..];
    let bytes = packed.len().min(STEP / 2);
    step.elements[..bytes].copy_from_slice(&packed[..bytes]);
    let blocks = matrix.shape().blocks() - index * STEP_BLOCKS;
    for (block, scale) in step.scales.iter_mut().take(blocks).enumerate() {
        *scale = matrix.scale(batch, row, index * STEP_BLOCKS + block);
    }
    step
}
