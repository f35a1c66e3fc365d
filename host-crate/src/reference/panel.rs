//! The part of both references that takes the time: decoded panels of rows, and products of one
//! panel of A with one of B, sixteen elements at a time.
//!
//! The inner loops are plain arrays of lanes that the compiler vectorises. On x86-64 they are
//! compiled a second time for AVX2 and FMA, chosen at run time.

use rayon::prelude::*;

use super::step::{STEP, STEP_BLOCKS, scale_fields};
use super::{Accumulators, Operands, RowBlock};
use crate::format::{BLOCK, e2m1, ue4m3};
use crate::matrix::Nvfp4MatrixView;

/// Rows of A in a panel.
pub(super) const A_ROWS: usize = 4;

/// Rows of B, that is columns of the output, in a panel: two AVX2 registers of f64, one of f32.
pub(super) const B_ROWS: usize = 8;

/// The sums of 16 products of one row of A with every row of a B panel, by scale-factor block.
///
/// They are exact: a product has significands of 2, 2, 4 and 4 bits and a sum of 16 at most 20, in
/// units of 2^-8 times the scale factors' exponents.
pub(super) type StepSums = [[f32; B_ROWS]; STEP_BLOCKS];

/// W consecutive rows of a matrix, decoded, transposed and filled up with zeros to W rows and whole
/// steps.
pub(super) struct Panel<const W: usize> {
    /// Elements times scale factors, by k and row.
    pub values: Vec<[f32; W]>,
    /// Exponents of the scale factors, by step.
    pub exponents: Vec<StepExponents<W>>,
    /// Rows that hold a NaN scale factor; in `values` it counts as zero.
    pub has_nan: [bool; W],
}

/// The range of the raw exponents of a step's nonzero scale factors, by row, at the place of f32's
/// exponent field.
#[derive(Clone, Copy)]
pub(super) struct StepExponents<const W: usize> {
    pub highest: [i32; W],
    pub lowest: [i32; W],
}

impl<const W: usize> StepExponents<W> {
    /// No nonzero scale factor: the empty range, yet within what can be added in the exponent
    /// field.
    const EMPTY: Self = Self {
        highest: [-40 << 23; W],
        lowest: [40 << 23; W],
    };
}

impl<const W: usize> Panel<W> {
    /// The panel that starts at `first_row`.
    pub fn decode(matrix: Nvfp4MatrixView<'_>, batch: usize, first_row: usize) -> Self {
        let shape = matrix.shape();
        let steps = shape.columns().div_ceil(STEP);
        let mut panel = Self {
            values: vec![[0.0; W]; steps * STEP],
            exponents: vec![StepExponents::EMPTY; steps],
            has_nan: [false; W],
        };
        for lane in 0..W.min(shape.rows() - first_row) {
            panel.decode_row(matrix, batch, first_row + lane, lane);
        }
        panel
    }

    fn decode_row(&mut self, matrix: Nvfp4MatrixView<'_>, batch: usize, row: usize, lane: usize) {
        let packed = matrix.row(batch, row).chunks_exact(BLOCK / 2);
        let values = self.values.chunks_exact_mut(BLOCK);
        for (block, (packed, values)) in packed.zip(values).enumerate() {
            let code = matrix.scale(batch, row, block);
            if ue4m3::is_nan(code) {
                self.has_nan[lane] = true;
                continue;
            }
            let scale = ue4m3::decode(code);
            for (pair, &byte) in values.chunks_exact_mut(2).zip(packed) {
                let [low, high] = e2m1::decode_pair(byte);
                pair[0][lane] = low * scale;
                pair[1][lane] = high * scale;
            }
            let (significand, exponent) = scale_fields(code);
            if significand != 0 {
                let range = &mut self.exponents[block / STEP_BLOCKS];
                range.highest[lane] = range.highest[lane].max(exponent << 23);
                range.lowest[lane] = range.lowest[lane].min(exponent << 23);
            }
        }
    }
}

/// How the sums of a step enter the accumulators.
pub(super) trait Accumulate: Copy + Default + Send + Sync {
    /// What a NaN scale factor leaves.
    const NAN: Self;

    /// Adds one step to B_ROWS accumulators of one row.
    ///
    /// Returns, one bit for each, which accumulators it had to leave as they were.
    fn add_step(
        accumulators: &mut [Self; B_ROWS],
        sums: &StepSums,
        a: StepExponents<1>,
        b: &StepExponents<B_ROWS>,
    ) -> u32;

    /// Adds one step to one accumulator that [`Self::add_step`] left: `step` of `row` of A and
    /// `column` of B.
    fn add_step_alone(self, rows: RowPair<'_>, step: usize) -> Self;
}

/// A row of A and one of B.
#[derive(Clone, Copy)]
pub(super) struct RowPair<'a> {
    pub a: Nvfp4MatrixView<'a>,
    pub b: Nvfp4MatrixView<'a>,
    pub batch: usize,
    pub row: usize,
    pub column: usize,
}

/// How the inner loops were compiled.
#[derive(Clone, Copy)]
pub(super) enum Loops {
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Loops {
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// Both products of some rows of A with all of B1 and B2.
pub(super) fn row_block<T: Accumulate>(
    operands: &Operands<'_>,
    block: &RowBlock,
) -> Accumulators<T> {
    row_block_by(Loops::best(), operands, block)
}

/// As [`row_block`], for comparison.
#[cfg(test)]
pub(super) fn row_block_portable<T: Accumulate>(
    operands: &Operands<'_>,
    block: &RowBlock,
) -> Accumulators<T> {
    row_block_by(Loops::Portable, operands, block)
}

fn row_block_by<T: Accumulate>(
    loops: Loops,
    operands: &Operands<'_>,
    block: &RowBlock,
) -> Accumulators<T> {
    let a_panels: Vec<Panel<A_ROWS>> = block
        .rows
        .clone()
        .into_par_iter()
        .step_by(A_ROWS)
        .map(|row| Panel::decode(operands.a, block.batch, row))
        .collect();
    Accumulators {
        acc1: product(loops, operands.a, operands.b1, block, &a_panels),
        acc2: product(loops, operands.a, operands.b2, block, &a_panels),
    }
}

/// A·Bᵀ for the rows of `block`, `[rows, N]`.
fn product<T: Accumulate>(
    loops: Loops,
    a: Nvfp4MatrixView<'_>,
    b: Nvfp4MatrixView<'_>,
    block: &RowBlock,
    a_panels: &[Panel<A_ROWS>],
) -> Vec<T> {
    let columns = b.shape().rows();
    let by_panel: Vec<Vec<[T; B_ROWS]>> = (0..columns)
        .into_par_iter()
        .step_by(B_ROWS)
        .map(|column| {
            let b_panel = Panel::decode(b, block.batch, column);
            let tile = Tile {
                a,
                b,
                block,
                column,
                a_panels,
                b_panel: &b_panel,
            };
            tile.accumulators(loops)
        })
        .collect();

    let mut product = vec![T::default(); block.rows.len() * columns];
    product
        .par_chunks_exact_mut(columns)
        .enumerate()
        .for_each(|(row, product)| {
            for (product, panel) in product.chunks_mut(B_ROWS).zip(&by_panel) {
                product.copy_from_slice(&panel[row][..product.len()]);
            }
        });
    product
}

/// All rows of a row block by one panel of B.
struct Tile<'a> {
    a: Nvfp4MatrixView<'a>,
    b: Nvfp4MatrixView<'a>,
    block: &'a RowBlock,
    column: usize,
    a_panels: &'a [Panel<A_ROWS>],
    b_panel: &'a Panel<B_ROWS>,
}

impl Tile<'_> {
    /// The accumulators by row, those of padding rows included.
    fn accumulators<T: Accumulate>(&self, loops: Loops) -> Vec<[T; B_ROWS]> {
        match loops {
            // SAFETY: only `Loops::best` makes this value, once it found both features.
            #[cfg(target_arch = "x86_64")]
            Loops::Avx2 => unsafe { self.accumulators_avx2() },
            Loops::Portable => self.accumulators_inline::<T, { cfg!(target_arch = "aarch64") }>(),
        }
    }

    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn accumulators_avx2<T: Accumulate>(&self) -> Vec<[T; B_ROWS]> {
        self.accumulators_inline::<T, true>()
    }

    #[inline(always)]
    fn accumulators_inline<T: Accumulate, const FMA: bool>(&self) -> Vec<[T; B_ROWS]> {
        let mut accumulators = vec![[T::default(); B_ROWS]; self.a_panels.len() * A_ROWS];
        for (index, (accumulators, a_panel)) in accumulators
            .as_chunks_mut::<A_ROWS>()
            .0
            .iter_mut()
            .zip(self.a_panels)
            .enumerate()
        {
            let first_row = self.block.rows.start + index * A_ROWS;
            self.accumulate_panel::<T, FMA>(a_panel, first_row, accumulators);
        }
        accumulators
    }

    #[inline(always)]
    fn accumulate_panel<T: Accumulate, const FMA: bool>(
        &self,
        a_panel: &Panel<A_ROWS>,
        first_row: usize,
        accumulators: &mut [[T; B_ROWS]; A_ROWS],
    ) {
        let a_steps = a_panel.values.as_chunks::<STEP>().0;
        let b_steps = self.b_panel.values.as_chunks::<STEP>().0;
        let exponents = a_panel.exponents.iter().zip(&self.b_panel.exponents);
        for (step, ((a_values, b_values), (a_exponents, b_exponents))) in
            a_steps.iter().zip(b_steps).zip(exponents).enumerate()
        {
            let sums = step_sums::<FMA>(a_values, b_values);
            for row in 0..A_ROWS {
                let a_exponents = StepExponents {
                    highest: [a_exponents.highest[row]],
                    lowest: [a_exponents.lowest[row]],
                };
                let left =
                    T::add_step(&mut accumulators[row], &sums[row], a_exponents, b_exponents);
                if left != 0 {
                    self.add_left(&mut accumulators[row], left, first_row + row, step);
                }
            }
        }
        for (row, accumulators) in accumulators.iter_mut().enumerate() {
            for (column, accumulator) in accumulators.iter_mut().enumerate() {
                if a_panel.has_nan[row] || self.b_panel.has_nan[column] {
                    *accumulator = T::NAN;
                }
            }
        }
    }

    #[cold]
    fn add_left<T: Accumulate>(
        &self,
        accumulators: &mut [T; B_ROWS],
        left: u32,
        row: usize,
        step: usize,
    ) {
        for (lane, accumulator) in accumulators.iter_mut().enumerate() {
            let column = self.column + lane;
            if left >> lane & 1 == 1 && column < self.b.shape().rows() {
                let rows = RowPair {
                    a: self.a,
                    b: self.b,
                    batch: self.block.batch,
                    row,
                    column,
                };
                *accumulator = accumulator.add_step_alone(rows, step);
            }
        }
    }
}

/// The sums of one step for every row of an A panel.
#[inline(always)]
fn step_sums<const FMA: bool>(
    a: &[[f32; A_ROWS]; STEP],
    b: &[[f32; B_ROWS]; STEP],
) -> [StepSums; A_ROWS] {
    let mut sums = [[[0.0; B_ROWS]; STEP_BLOCKS]; A_ROWS];
    let blocks = a
        .as_chunks::<BLOCK>()
        .0
        .iter()
        .zip(b.as_chunks::<BLOCK>().0);
    for (block, (a, b)) in blocks.enumerate() {
        let block_sums = block_sums::<FMA>(a, b);
        for (sums, block_sums) in sums.iter_mut().zip(block_sums) {
            sums[block] = block_sums;
        }
    }
    sums
}

/// The sums of 16 products for every row of an A panel.
#[inline(always)]
pub(super) fn block_sums<const FMA: bool>(
    a: &[[f32; A_ROWS]; BLOCK],
    b: &[[f32; B_ROWS]; BLOCK],
) -> [[f32; B_ROWS]; A_ROWS] {
    let mut sums = [[0.0f32; B_ROWS]; A_ROWS];
    for (a, b) in a.iter().zip(b) {
        for (&a, sums) in a.iter().zip(&mut sums) {
            for (&b, sum) in b.iter().zip(sums) {
                // Both are exact; without the instruction `mul_add` would be a call.
                *sum = if FMA {
                    a.mul_add(b, *sum)
                } else {
                    a * b + *sum
                };
            }
        }
    }
    sums
}
