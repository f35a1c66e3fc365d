//! Every element of C, in two ways.
//!
//! *Step by step*: what the accumulators must be to the last bit, as the device's tensor core sums
//! ([`wgmma`], [`chain`]), and the exact epilogue of them. An output may be one ulp of f16 off, as the
//! epilogue's exponential is an approximation, and [`EXACT_OUTPUTS`] of them must be equal: so a product that
//! is left out or counted twice shows, almost wherever it is.
//!
//! *Against f64*: the exact product, independent of how anything sums. A kernel's f32 accumulator is off by
//! what its steps cut off. A step of `wgmma` adds 16 products to the accumulator: 17 terms cut below 2^-25 of
//! the largest, and the sum cut to 24 bits, so at most 17 · 2^-25 + 2^-23 < 6 · 2^-23 of the largest term,
//! product or partial sum. By Cauchy and Schwarz none is larger than ‖a‖·‖b‖ over the rows' elements,
//! whatever the order; K/16 steps and the few additions that join the shares of K then err by at most
//!
//! ```text
//! (K/16 + 8) · 6 · 2^-23 · ‖a‖ · ‖b‖
//! ```
//!
//! A step on Blackwell takes 64 products and errs by less than four of these. An output may be off the
//! exact one by what that makes of silu(x)·g, whose derivative by x is within 1.1·|g|, and by one ulp
//! of f16 for the epilogue. Random operands come nowhere near this bound; the share of correctly rounded
//! outputs and the largest distance in ulp are told as well.

use half::f16;
use rayon::prelude::*;

use super::error::BenchError;
use crate::check::{EXACT_OUTPUTS, FEW_OUTPUTS};
use crate::compare::{
    NAN_DISTANCE, OutputComparison, OutputMismatch, Position, REMEMBERED, ulp_distance,
};
use crate::inputs::Inputs;
use crate::matrix::Nvfp4MatrixView;
use crate::reference::wgmma::KOrder;
use crate::reference::{Operands, RowBlock, chain, epilogue, float64, wgmma};

/// What comparing some outputs with the exact ones gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exactness {
    /// Outputs compared.
    pub total: u64,
    /// Those that are the exact value, correctly rounded.
    pub correctly_rounded: u64,
    /// Those further off than the bound.
    pub beyond_bound: u64,
    /// The largest distance in ulp.
    pub max_ulp: u32,
    /// The largest error, in units of its bound.
    pub max_share_of_bound: f64,
    /// The first of those beyond the bound.
    pub first: Vec<OutputMismatch>,
    /// The same outputs against the epilogue of accumulators summed as the device sums.
    pub step_by_step: OutputComparison,
}

impl Exactness {
    /// The share of correctly rounded outputs.
    pub fn correctly_rounded_fraction(&self) -> f64 {
        self.correctly_rounded as f64 / self.total.max(1) as f64
    }

    /// Whether every output is within the bound and within 1 ulp of what the device's steps give, and
    /// [`EXACT_OUTPUTS`] of them are equal to that.
    pub fn passed(&self) -> bool {
        let steps = &self.step_by_step;
        let equal = steps.total < FEW_OUTPUTS || steps.exact_fraction() >= EXACT_OUTPUTS;
        self.beyond_bound == 0 && steps.beyond_one_ulp() == 0 && equal
    }

    /// Adds what was found in another row.
    fn merge(&mut self, other: Self) {
        self.total += other.total;
        self.correctly_rounded += other.correctly_rounded;
        self.beyond_bound += other.beyond_bound;
        self.max_ulp = self.max_ulp.max(other.max_ulp);
        self.max_share_of_bound = self.max_share_of_bound.max(other.max_share_of_bound);
        let room = REMEMBERED - self.first.len();
        self.first.extend(other.first.into_iter().take(room));
    }

    fn add(&mut self, position: Position, found: f16, exact: &Exact) {
        self.total += 1;
        let wanted = exact.rounded;
        let distance = ulp_distance(found, wanted);
        self.max_ulp = self.max_ulp.max(distance);
        if distance == 0 {
            self.correctly_rounded += 1;
            return;
        }
        let share = if distance == NAN_DISTANCE {
            f64::INFINITY
        } else {
            (finite(found) - exact.value.clamp(-BEYOND_F16, BEYOND_F16)).abs() / exact.bound
        };
        self.max_share_of_bound = self.max_share_of_bound.max(share);
        if share > 1.0 {
            self.beyond_bound += 1;
            if self.first.len() < REMEMBERED {
                self.first.push(OutputMismatch {
                    position,
                    found,
                    wanted,
                });
            }
        }
    }
}

/// The step after the largest f16, where infinity is taken to lie.
const BEYOND_F16: f64 = 65536.0;

fn finite(value: f16) -> f64 {
    f64::from(value).clamp(-BEYOND_F16, BEYOND_F16)
}

/// An output as it should be, and how far off it may be.
struct Exact {
    value: f64,
    rounded: f16,
    bound: f64,
}

impl Exact {
    /// `errors` are those of the accumulators.
    fn new(
        [acc1, acc2]: [f64; 2],
        [error1, error2]: [f64; 2],
        alphas: [f32; 2],
        rounded: f16,
    ) -> Self {
        let [alpha1, alpha2] = alphas.map(f64::from);
        let (x, gain) = (alpha1 * acc1, alpha2 * acc2);
        let (dx, dgain) = (alpha1.abs() * error1, alpha2.abs() * error2);
        let silu = x / (1.0 + (-x).exp());
        const SLOPE: f64 = 1.1;
        let propagated = SLOPE * dx * (gain.abs() + dgain) + silu.abs() * dgain;
        let value = silu * gain;
        Self {
            value,
            rounded,
            bound: propagated + ulp(value),
        }
    }
}

/// The distance between f16 values around `value`.
fn ulp(value: f64) -> f64 {
    let exponent = value.abs().clamp(2f64.powi(-14), 32768.0).log2().floor();
    2f64.powi(exponent as i32 - 10)
}

/// The bound of an accumulator's error, over ‖a‖·‖b‖.
fn accumulator_error(k: usize) -> f64 {
    (k / 16 + 8) as f64 * 6.0 * 2f64.powi(-23)
}

/// ‖row‖ of every row of one matrix of the batch.
fn norms(matrix: Nvfp4MatrixView<'_>, batch: usize) -> Vec<f64> {
    let shape = matrix.shape();
    let norm = |row| {
        let values = (0..shape.columns()).map(|k| f64::from(matrix.value(batch, row, k)));
        values.map(|value| value * value).sum::<f64>().sqrt()
    };
    (0..shape.rows()).into_par_iter().map(norm).collect()
}

/// Adds to `result` the comparison of C, `[L, M, N]`, with what `inputs` should give. `order` is the plan's
/// [`k_order`](crate::plan::DualGemm::k_order); `progress` hears of rows done.
///
/// # Errors
/// [`BenchError::Check`] if the inputs do not fit each other.
///
/// # Panics
/// If `c` has not L·M·N elements.
pub fn compare(
    inputs: &Inputs,
    c: &[f16],
    order: Option<KOrder>,
    result: &mut Exactness,
    progress: &dyn Fn(usize),
) -> Result<(), BenchError> {
    let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view())
        .map_err(crate::Error::from)?;
    let (m, n) = (operands.m(), operands.n());
    assert_eq!(c.len(), operands.batch() * m * n, "elements of C");
    let scale = accumulator_error(operands.k());
    let mut of_batch = None;
    for block in operands.row_blocks() {
        let RowBlock { batch, rows } = &block;
        let norms = match &of_batch {
            Some((of, norms)) if of == batch => norms,
            _ => {
                let all = [operands.a(), operands.b1(), operands.b2()].map(|m| norms(m, *batch));
                &of_batch.insert((*batch, all)).1
            }
        };
        let (summed, wanted) = match order {
            Some(order) => wgmma::row_block_and_exact(&operands, &block, order),
            None => (
                chain::row_block(&operands, &block),
                float64::row_block(&operands, &block),
            ),
        };
        let rounded = epilogue::outputs(&wanted, inputs.alpha1, inputs.alpha2);
        let elements = (batch * m + rows.start) * n..(batch * m + rows.end) * n;
        let of_steps = epilogue::outputs(&summed, inputs.alpha1, inputs.alpha2);
        result
            .step_by_step
            .add(&block, n, &c[elements.clone()], &of_steps)
            .map_err(crate::Error::from)?;
        let row = |row: usize, found: &[f16]| {
            let mut compared = Exactness::default();
            let a = norms[0][rows.start + row];
            for (column, &found) in found.iter().enumerate() {
                let at = row * n + column;
                let errors = [&norms[1], &norms[2]].map(|b| scale * a * b[column]);
                let alphas = [inputs.alpha1, inputs.alpha2];
                let accumulators = [wanted.acc1[at], wanted.acc2[at]];
                let exact = Exact::new(accumulators, errors, alphas, rounded[at]);
                let position = Position {
                    batch: *batch,
                    row: rows.start + row,
                    column,
                };
                compared.add(position, found, &exact);
            }
            compared
        };
        let by_row: Vec<Exactness> = c[elements]
            .par_chunks_exact(n)
            .enumerate()
            .map(|(index, found)| row(index, found))
            .collect();
        by_row
            .into_iter()
            .for_each(|compared| result.merge(compared));
        progress(rows.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::InputKind;
    use crate::matrix::Nvfp4Matrix;

    const ORDER: KOrder = KOrder { split_k: 2 };

    fn inputs() -> Inputs {
        Inputs::new(InputKind::Contest, 40, 64, 3584, 1, 3).unwrap()
    }

    /// What a device that sums like Hopper's gives.
    fn outputs(inputs: &Inputs) -> Vec<f16> {
        let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view()).unwrap();
        let [block] = &operands.row_blocks()[..] else {
            panic!("one block was expected");
        };
        let summed = wgmma::row_block(&operands, block, ORDER);
        epilogue::outputs(&summed, inputs.alpha1, inputs.alpha2)
    }

    fn compared(c: &[f16]) -> Exactness {
        let mut result = Exactness::default();
        compare(&inputs(), c, Some(ORDER), &mut result, &|_| ()).unwrap();
        result
    }

    #[test]
    fn the_device_s_own_sums_pass() {
        let found = compared(&outputs(&inputs()));
        assert!(found.passed());
        assert_eq!(found.step_by_step.histogram[0], 40 * 64);
        assert_eq!((found.total, found.beyond_bound), (40 * 64, 0));
        assert!(found.correctly_rounded > 40 * 64 * 99 / 100);
    }

    /// One of the 3584 products of a column's sums has the wrong sign. The bound of rounding errors is too
    /// wide for many of the outputs that this makes wrong; the steps are not.
    #[test]
    fn a_single_wrong_product_is_found() {
        let mut wrong = inputs();
        let shape = wrong.b2.shape();
        let (mut elements, scales) = wrong.b2.into_parts();
        let byte = (0..shape.row_bytes())
            .find(|&at| elements[at] & 7 == 3)
            .unwrap();
        elements[byte] ^= 8;
        wrong.b2 = Nvfp4Matrix::from_tiled_scales(shape, elements, scales).unwrap();
        let found = compared(&outputs(&wrong));
        assert!(!found.passed());
        let off = found.step_by_step.beyond_one_ulp();
        assert!(off > 40 / 2 && off > found.beyond_bound);
        // All in one column.
        assert!(off <= 40);
        assert!(
            found
                .step_by_step
                .first
                .iter()
                .all(|first| first.position.column == 0)
        );
    }

    #[test]
    fn a_wrong_output_is_beyond_the_bound() {
        let right = outputs(&inputs());
        let large = right
            .iter()
            .position(|value| value.to_f32() > 500.0)
            .unwrap();
        for (at, wrong, ulp) in [
            (64 * 7 + 5, f16::NAN, NAN_DISTANCE),
            (large, f16::ONE, 0x2000),
        ] {
            let mut c = right.clone();
            c[at] = wrong;
            let found = compared(&c);
            assert!(!found.passed());
            assert_eq!(found.beyond_bound, 1);
            assert!(found.max_ulp >= ulp);
            let Position { row, column, .. } = found.first[0].position;
            assert_eq!((row, column), (at / 64, at % 64));
        }
    }

    #[test]
    fn each_comparison_decides() {
        let steps = |histogram| OutputComparison {
            total: 100_000,
            histogram,
            ..OutputComparison::default()
        };
        let right = Exactness {
            step_by_step: steps([99_900, 100, 0, 0, 0, 0, 0]),
            ..Exactness::default()
        };
        assert!(right.passed());
        let beyond_bound = Exactness {
            beyond_bound: 1,
            ..right.clone()
        };
        assert!(!beyond_bound.passed());
        let off_steps = Exactness {
            step_by_step: steps([99_999, 0, 1, 0, 0, 0, 0]),
            ..right
        };
        assert!(!off_steps.passed());
    }

    #[test]
    fn many_outputs_off_by_one_ulp_do_not_pass() {
        let mut c = outputs(&inputs());
        for value in c.iter_mut().step_by(100) {
            *value = f16::from_bits(value.to_bits() ^ 1);
        }
        let found = compared(&c);
        assert_eq!(
            (found.beyond_bound, found.step_by_step.beyond_one_ulp()),
            (0, 0)
        );
        assert!(!found.passed());
    }
}
