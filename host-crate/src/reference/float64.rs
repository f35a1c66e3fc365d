//! The accumulators in f64.
//!
//! Products and sums of 16 are exact, and so are the accumulators as long as they stay below 2^33
//! in magnitude: products are multiples of 2^-20. Beyond that each step adds a relative error of at
//! most 2^-51.

use super::panel::{self, Accumulate, B_ROWS, RowPair, StepExponents, StepSums};
use super::{Accumulators, Operands, RowBlock};

/// The accumulators of both products, `[L, M, N]` each; `progress` as in
/// [`chain::accumulators`](super::chain::accumulators).
pub fn accumulators(
    operands: &Operands<'_>,
    progress: &(dyn Fn(usize) + Sync),
) -> Accumulators<f64> {
    operands.collect(|block| row_block(operands, block), progress)
}

/// The accumulators of the rows of `block`, `[rows, N]` each. Uses every thread of rayon's pool.
///
/// # Panics
/// If the block is not one of `operands`.
pub fn row_block(operands: &Operands<'_>, block: &RowBlock) -> Accumulators<f64> {
    operands.assert_contains(block);
    panel::row_block(operands, block)
}

impl Accumulate for f64 {
    const NAN: Self = f64::NAN;

    #[inline(always)]
    fn add_step(
        accumulators: &mut [f64; B_ROWS],
        sums: &StepSums,
        _: StepExponents<1>,
        _: &StepExponents<B_ROWS>,
    ) -> u32 {
        for lane in 0..B_ROWS {
            for sum in sums {
                accumulators[lane] += f64::from(sum[lane]);
            }
        }
        0
    }

    fn add_step_alone(self, _: RowPair<'_>, _: usize) -> f64 {
        unreachable!("add_step leaves no accumulator")
    }
}
