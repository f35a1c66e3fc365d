//! What the device has to compute, worked out on the host.
//!
//! - [`chain`]: the accumulators as the tensor core makes them, to the last bit: one rounding per K
//!   = 64 step;
//! - [`wgmma`]: the same on Hopper, whose tensor core sums otherwise;
//! - [`float64`]: the accumulators in f64, which is exact for all but extreme inputs;
//! - [`epilogue`]: the output from given accumulators, rounded once.

pub mod chain;
pub mod epilogue;
pub mod float64;
mod panel;
mod step;
#[cfg(test)]
mod step_tests;
pub mod wgmma;

use std::ops::Range;

use rayon::prelude::*;

pub use step::{NAN_BITS, STEP, STEP_BLOCKS, StepRow};

use crate::matrix::{MatrixShape, Nvfp4MatrixView};

/// Why three matrices do not make a dual GEMM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperandsError {
    /// B1 and B2 differ in a dimension.
    #[error("B1 has {dimension} {b1} and B2 {b2}; both must be [L, N, K] with the same dimensions")]
    WeightsDiffer {
        /// `rows`, `columns` or `batch`.
        dimension: &'static str,
        /// That of B1.
        b1: usize,
        /// That of B2.
        b2: usize,
    },
    /// A and the weights differ in K or L.
    #[error(
        "A has {dimension} {a} and B1 {b1}; A is [L, M, K] and B1 [L, N, K] with the same L and K"
    )]
    InnerDiffer {
        /// `columns` or `batch`.
        dimension: &'static str,
        /// That of A.
        a: usize,
        /// That of B1.
        b1: usize,
    },
}

/// The three matrices of a dual GEMM, checked to fit each other: A `[L, M, K]`, B1 and B2
/// `[L, N, K]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    a: Nvfp4MatrixView<'a>,
    b1: Nvfp4MatrixView<'a>,
    b2: Nvfp4MatrixView<'a>,
}

impl<'a> Operands<'a> {
    /// The operands, if their dimensions agree.
    ///
    /// # Errors
    /// [`OperandsError`] names the first dimension that differs.
    pub fn new(
        a: Nvfp4MatrixView<'a>,
        b1: Nvfp4MatrixView<'a>,
        b2: Nvfp4MatrixView<'a>,
    ) -> Result<Self, OperandsError> {
        type Dimension = (&'static str, fn(&MatrixShape) -> usize);
        const DIMENSIONS: [Dimension; 3] = [
            ("columns", MatrixShape::columns),
            ("batch", MatrixShape::batch),
            ("rows", MatrixShape::rows),
        ];
        let [a_shape, b1_shape, b2_shape] = [a, b1, b2].map(|matrix| matrix.shape());
        for (dimension, get) in DIMENSIONS {
            let (b1, b2) = (get(&b1_shape), get(&b2_shape));
            if b1 != b2 {
                return Err(OperandsError::WeightsDiffer { dimension, b1, b2 });
            }
        }
        for (dimension, get) in &DIMENSIONS[..2] {
            let (a, b1) = (get(&a_shape), get(&b1_shape));
            if a != b1 {
                return Err(OperandsError::InnerDiffer { dimension, a, b1 });
            }
        }
        Ok(Self { a, b1, b2 })
    }

    /// A, `[L, M, K]`.
    pub fn a(&self) -> Nvfp4MatrixView<'a> {
        self.a
    }

    /// B1, `[L, N, K]`.
    pub fn b1(&self) -> Nvfp4MatrixView<'a> {
        self.b1
    }

    /// B2, `[L, N, K]`.
    pub fn b2(&self) -> Nvfp4MatrixView<'a> {
        self.b2
    }

    /// Rows of A and of the output.
    pub fn m(&self) -> usize {
        self.a.shape().rows()
    }

    /// Rows of the weights, columns of the output.
    pub fn n(&self) -> usize {
        self.b1.shape().rows()
    }

    /// Columns of all three, the dimension summed over.
    pub fn k(&self) -> usize {
        self.a.shape().columns()
    }

    /// Number of dual GEMMs, L.
    pub fn batch(&self) -> usize {
        self.a.shape().batch()
    }

    /// All rows of A, cut into blocks of at most [`ROWS_PER_BLOCK`]; batch by batch, rows
    /// ascending.
    ///
    /// For callers that do not want to hold the accumulators of the whole product.
    pub fn row_blocks(&self) -> Vec<RowBlock> {
        let m = self.m();
        let starts = (0..m).step_by(ROWS_PER_BLOCK);
        let block = |batch, start: usize| RowBlock {
            batch,
            rows: start..m.min(start + ROWS_PER_BLOCK),
        };
        (0..self.batch())
            .flat_map(|batch| starts.clone().map(move |start| block(batch, start)))
            .collect()
    }

    fn assert_contains(&self, block: &RowBlock) {
        let RowBlock { batch, rows } = block;
        assert!(*batch < self.batch(), "batch {batch} out of bounds");
        assert!(rows.end <= self.m(), "rows {rows:?} out of bounds");
    }

    fn collect<T: Send>(
        &self,
        compute: impl Fn(&RowBlock) -> Accumulators<T> + Sync,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Accumulators<T> {
        let blocks: Vec<Accumulators<T>> = self
            .row_blocks()
            .par_iter()
            .map(|block| {
                let accumulators = compute(block);
                progress(block.rows.len());
                accumulators
            })
            .collect();
        let elements = self.batch() * self.m() * self.n();
        let mut all = Accumulators {
            acc1: Vec::with_capacity(elements),
            acc2: Vec::with_capacity(elements),
        };
        for block in blocks {
            all.acc1.extend(block.acc1);
            all.acc2.extend(block.acc2);
        }
        all
    }
}

/// The most rows in one of [`Operands::row_blocks`]: enough that decoding B again for each is a
/// small part of the work.
pub const ROWS_PER_BLOCK: usize = 256;

/// Consecutive rows of A, and of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBlock {
    /// Matrix of the batch.
    pub batch: usize,
    /// Rows of that matrix.
    pub rows: Range<usize>,
}

/// The accumulators of both products, row-major: `[L, M, N]`, or `[rows, N]` for a row block.
#[derive(Clone, Debug, PartialEq)]
pub struct Accumulators<T = f32> {
    /// A·B1ᵀ.
    pub acc1: Vec<T>,
    /// A·B2ᵀ.
    pub acc2: Vec<T>,
}
