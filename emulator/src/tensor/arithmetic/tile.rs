//! Whole tiles of D, eight columns at a time.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use super::pack::{ColumnBlock, LANES, Row, ScaledRow};

/// One operand of an instruction: the rows of A, or the rows of B, which are columns of D.
#[derive(Clone, Debug)]
pub struct OperandRows {
    rows: Vec<ScaledRow>,
}

impl OperandRows {
    pub fn new(rows: Vec<ScaledRow>) -> OperandRows {
        OperandRows { rows }
    }
}

/// A tile of D: `words[m * pitch + n]`. Each row is as long as B has rows.
#[derive(Debug)]
pub struct AccumulatorTile<'a> {
    pub words: &'a mut [u32],
    pub pitch: usize,
}

/// How a tile is computed; every way gives the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TilePath {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl TilePath {
    /// Those that this processor can run, the fastest first.
    pub fn available() -> &'static [TilePath] {
        #[cfg(target_arch = "x86_64")]
        if has_avx2() {
            return &[TilePath::Avx2, TilePath::Portable];
        }
        &[TilePath::Portable]
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// D = C + A·Bᵀ, where C is what `d` holds, or +0 without `accumulate`.
pub fn multiply_tile(a: &OperandRows, b: &OperandRows, accumulate: bool, d: AccumulatorTile) {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        return multiply_tile_by(TilePath::Avx2, a, b, accumulate, d);
    }
    multiply_tile_by(TilePath::Portable, a, b, accumulate, d)
}

/// [`multiply_tile`] by a path that [`TilePath::available`] names; by the portable one where it does not.
pub fn multiply_tile_by(
    path: TilePath,
    a: &OperandRows,
    b: &OperandRows,
    accumulate: bool,
    d: AccumulatorTile,
) {
    let rows: Vec<Row> = a.rows.iter().map(Row::new).collect();
    let blocks: Vec<ColumnBlock> = b.rows.chunks(LANES).map(ColumnBlock::new).collect();
    for row in d.words.chunks_mut(d.pitch).take(rows.len()) {
        if !accumulate {
            row[..b.rows.len()].fill(0);
        }
    }
    let columns = b.rows.len();
    match path {
        #[cfg(target_arch = "x86_64")]
        TilePath::Avx2 if has_avx2() => {
            // SAFETY: the processor has the features that the function is compiled for.
            unsafe { avx2::multiply(&rows, &blocks, columns, d) }
        }
        _ => portable::multiply(&rows, &blocks, columns, d),
    }
}
