//! Scale factors in tensor memory (PTX ISA §9.7.16.10.7).

use std::ops::Range;

use thiserror::Error;

use super::arithmetic::GROUPS;
use super::memory::{PARTITION_LANES, TensorMemory};

/// Rows of scale factors that share a column: the words of 32 lanes.
const ROWS_PER_COLUMN: u32 = PARTITION_LANES as u32;

/// Scale factors that differ between the four partitions of the lanes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "scale factors of {operand} in column {column} differ between lane {lane} ({first:#010x}) and lane {other_lane} \
     ({other:#010x}); all four 32-lane partitions must hold the same, as tcgen05.cp.32x128b.warpx4 leaves them"
)]
pub struct PartitionError {
    pub operand: char,
    pub column: u32,
    pub lane: u32,
    pub first: u32,
    pub other_lane: u32,
    pub other: u32,
}

/// The scale factors of one operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleFactors {
    pub operand: char,
    pub columns: Range<u32>,
    /// The first byte of each word that is used, and how many are: 1, 2 or 4.
    pub first: u32,
    pub count: u32,
}

impl ScaleFactors {
    /// Columns that the factors of `rows` rows take.
    pub fn column_count(rows: u32) -> u32 {
        rows.div_ceil(ROWS_PER_COLUMN)
    }

    /// The factors of row i, by sixteenths of 64 elements or the like: each factor stands for 4 / `count` of them.
    ///
    /// They are bytes `first`.. of the word in lane i % 32, column base + i / 32. All partitions must agree.
    pub fn row(&self, row: u32, memory: &TensorMemory) -> Result<[u8; GROUPS], PartitionError> {
        let column = self.columns.start + row / ROWS_PER_COLUMN;
        let lane = row % ROWS_PER_COLUMN;
        let word = |lane: u32| memory.row(lane as usize)[column as usize];
        let used = match self.count {
            4 => u32::MAX,
            count => ((1 << (8 * count)) - 1) << (8 * self.first),
        };
        let first = word(lane);
        for partition in 1..4 {
            let other_lane = lane + partition * PARTITION_LANES as u32;
            let other = word(other_lane);
            if (other ^ first) & used != 0 {
                return Err(PartitionError {
                    operand: self.operand,
                    column,
                    lane,
                    first,
                    other_lane,
                    other,
                });
            }
        }
        let bytes = first.to_le_bytes();
        Ok(std::array::from_fn(|i| {
            bytes[self.first as usize + i * self.count as usize / GROUPS]
        }))
    }
}
