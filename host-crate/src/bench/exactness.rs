//! Every element of C against the product in f64: independent of the order in which a kernel sums.
//!
//! A kernel's f32 accumulator is off the exact one by what its steps cut off. A step of `wgmma` adds 16
//! products to the accumulator: 17 terms cut below 2^-25 of the largest, and the sum cut to 24 bits
//! (see [`crate::reference::wgmma`]), so at most 17 · 2^-25 + 2^-23 < 6 · 2^-23 of the largest term,
//! product or partial sum. By Cauchy and Schwarz none is larger than ‖a‖·‖b‖ over the rows' elements,
//! whatever the order; K/16 steps and the few additions that join the shares of K then err by at most
//!
//! ```text
//! (K/16 + 8) · 6 · 2^-23 · ‖a‖ · ‖b‖
//! ```
//!
//! A step on Blackwell takes 64 products and errs by less than four of these. An output may be off the
//! exact one by what that makes of silu(x)·g, whose derivative by x is within 1.1·|g|, and by one ulp
//! of f16 for the epilogue.
//!
//! Random operands come nowhere near the bound, so that the share of correctly rounded outputs and the
//! largest distance in ulp are told as well; `run` and `verify` compare accumulators bit by bit.

use half::f16;
use rayon::prelude::*;

use super::error::BenchError;
use crate::compare::{NAN_DISTANCE, OutputMismatch, Position, REMEMBERED, ulp_distance};
use crate::inputs::Inputs;
use crate::matrix::Nvfp4MatrixView;
use crate::reference::{Accumulators, Operands, RowBlock, epilogue, float64};

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
}

impl Exactness {
    /// The share of correctly rounded outputs.
    pub fn correctly_rounded_fraction(&self) -> f64 {
        self.correctly_rounded as f64 / self.total.max(1) as f64
    }

    /// Adds what another comparison gave.
    pub fn merge(&mut self, other: Self) {
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

/// Compares C, `[L, M, N]`, with what `inputs` should give. `progress` hears of rows done.
///
/// # Errors
/// [`BenchError::Check`] if the inputs do not fit each other.
///
/// # Panics
/// If `c` has not L·M·N elements.
pub fn compare(
    inputs: &Inputs,
    c: &[f16],
    progress: &dyn Fn(usize),
) -> Result<Exactness, BenchError> {
    let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view())
        .map_err(crate::Error::from)?;
    let (m, n) = (operands.m(), operands.n());
    assert_eq!(c.len(), operands.batch() * m * n, "elements of C");
    let scale = accumulator_error(operands.k());
    let mut result = Exactness::default();
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
        let wanted: Accumulators<f64> = float64::row_block(&operands, &block);
        let rounded = epilogue::outputs(&wanted, inputs.alpha1, inputs.alpha2);
        let elements = (batch * m + rows.start) * n..(batch * m + rows.end) * n;
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
    Ok(result)
}
