//! Whole tiles of D.

use super::formats::*;
use super::reference::dot64_reference;

/// One row of an operand: 64 packed elements and their four scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaledRow {
    pub elements: [u8; ROW_BYTES],
    pub scales: [u8; GROUPS],
}

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

/// D = C + A·Bᵀ, where C is what `d` holds, or +0 without `accumulate`.
pub fn multiply_tile(a: &OperandRows, b: &OperandRows, accumulate: bool, d: AccumulatorTile) {
    for (a, row) in a.rows.iter().zip(d.words.chunks_mut(d.pitch)) {
        for (b, d) in b.rows.iter().zip(row) {
            let c = if accumulate { *d } else { 0 };
            *d = dot64_reference(&a.elements, &b.elements, a.scales, b.scales, c);
        }
    }
}
