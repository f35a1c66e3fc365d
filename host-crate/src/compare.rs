//! Comparing what a device computed with the [`reference`](crate::reference): block by block, so
//! that nobody has to hold everything at once.

use std::fmt;

use half::f16;

use crate::matrix::MatrixError;
use crate::reference::RowBlock;

/// How many differing elements a comparison remembers; it counts all.
pub const REMEMBERED: usize = 8;

/// Where an element lies in `[L, M, N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Matrix of the batch.
    pub batch: usize,
    /// Row, along M.
    pub row: usize,
    /// Column, along N.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { batch, row, column } = self;
        write!(f, "batch {batch}, row {row}, column {column}")
    }
}

/// One accumulator that differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AccumulatorMismatch {
    /// Its place.
    pub position: Position,
    /// What was computed.
    pub found: f32,
    /// What it should be.
    pub wanted: f32,
}

impl fmt::Display for AccumulatorMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, wanted) = (self.found, self.wanted);
        write!(
            f,
            "{}: found {found:e} ({:#010x}), wanted {wanted:e} ({:#010x})",
            self.position,
            found.to_bits(),
            wanted.to_bits()
        )
    }
}

/// Accumulators against their reference, bit by bit: NaN must have the tensor core's bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccumulatorComparison {
    /// Accumulators compared.
    pub total: u64,
    /// Those whose bits differ.
    pub different: u64,
    /// The first [`REMEMBERED`] of them.
    pub first: Vec<AccumulatorMismatch>,
}

impl AccumulatorComparison {
    /// Compares the rows of `block`, `[rows, N]`.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if the slices differ in length or are not `[rows, n]`.
    pub fn add(
        &mut self,
        block: &RowBlock,
        n: usize,
        found: &[f32],
        wanted: &[f32],
    ) -> Result<(), MatrixError> {
        check_lengths("accumulators", block, n, found.len(), wanted.len())?;
        self.total += found.len() as u64;
        for (index, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
            if found.to_bits() != wanted.to_bits() {
                self.different += 1;
                if self.first.len() < REMEMBERED {
                    self.first.push(AccumulatorMismatch {
                        position: position(block, n, index),
                        found,
                        wanted,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether every accumulator was equal.
    pub fn all_equal(&self) -> bool {
        self.different == 0
    }
}

impl fmt::Display for AccumulatorComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            total, different, ..
        } = self;
        write!(
            f,
            "{} of {total} accumulators equal to the bit",
            total - different
        )?;
        for mismatch in &self.first {
            write!(f, "\n  {mismatch}")?;
        }
        let left_out = different - self.first.len() as u64;
        if left_out > 0 {
            write!(f, "\n  and {left_out} more")?;
        }
        Ok(())
    }
}

/// One output that differs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputMismatch {
    /// Its place.
    pub position: Position,
    /// What was computed.
    pub found: f16,
    /// What it should be.
    pub wanted: f16,
}

impl fmt::Display for OutputMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, wanted) = (self.found, self.wanted);
        write!(
            f,
            "{}: found {found:e} ({:#06x}), wanted {wanted:e} ({:#06x})",
            self.position,
            found.to_bits(),
            wanted.to_bits()
        )
    }
}

/// Outputs against the correctly rounded ones, in units in the last place.
///
/// The distance is the number of f16 values from one to the other, infinity following the largest
/// finite one. +0 and −0 are one value; so are all NaNs, at distance [`NAN_DISTANCE`] from
/// everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputComparison {
    /// Outputs compared.
    pub total: u64,
    /// How many lie within each distance of [`DISTANCES`] and beyond the one before.
    pub histogram: [u64; DISTANCES.len()],
    /// The largest distance.
    pub max_distance: u32,
    /// The first [`REMEMBERED`] outputs that are more than 1 ulp away.
    pub first: Vec<OutputMismatch>,
}

/// The upper ends of the histogram's bins.
pub const DISTANCES: [u32; 7] = [0, 1, 2, 8, 64, u32::MAX - 1, NAN_DISTANCE];

/// The distance between NaN and a number.
pub const NAN_DISTANCE: u32 = u32::MAX;

impl OutputComparison {
    /// Compares the rows of `block`, `[rows, N]`.
    ///
    /// # Errors
    /// [`MatrixError::Length`] if the slices differ in length or are not `[rows, n]`.
    pub fn add(
        &mut self,
        block: &RowBlock,
        n: usize,
        found: &[f16],
        wanted: &[f16],
    ) -> Result<(), MatrixError> {
        check_lengths("outputs", block, n, found.len(), wanted.len())?;
        self.total += found.len() as u64;
        for (index, (&found, &wanted)) in found.iter().zip(wanted).enumerate() {
            let distance = ulp_distance(found, wanted);
            let bin = DISTANCES.partition_point(|&end| end < distance);
            self.histogram[bin] += 1;
            self.max_distance = self.max_distance.max(distance);
            if distance > 1 && self.first.len() < REMEMBERED {
                self.first.push(OutputMismatch {
                    position: position(block, n, index),
                    found,
                    wanted,
                });
            }
        }
        Ok(())
    }

    /// The fraction of outputs that are exactly the correctly rounded ones; 1 if there are none.
    pub fn exact_fraction(&self) -> f64 {
        match self.total {
            0 => 1.0,
            total => self.histogram[0] as f64 / total as f64,
        }
    }

    /// Outputs more than 1 ulp away.
    pub fn beyond_one_ulp(&self) -> u64 {
        self.histogram[2..].iter().sum()
    }
}

impl fmt::Display for OutputComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} outputs correctly rounded ({:.4} %)",
            self.histogram[0],
            self.total,
            100.0 * self.exact_fraction()
        )?;
        for (bin, &count) in self.histogram.iter().enumerate().skip(1) {
            if count == 0 {
                continue;
            }
            match (DISTANCES[bin - 1] + 1, DISTANCES[bin]) {
                (_, NAN_DISTANCE) => write!(f, ", {count} NaN on one side only")?,
                (low, high) if high == NAN_DISTANCE - 1 => {
                    write!(f, ", {count} at {low} ulp or more")?
                }
                (low, high) if low == high => write!(f, ", {count} at {low} ulp")?,
                (low, high) => write!(f, ", {count} at {low} to {high} ulp")?,
            }
        }
        for mismatch in &self.first {
            write!(f, "\n  {mismatch}")?;
        }
        let left_out = self.beyond_one_ulp() - self.first.len() as u64;
        if left_out > 0 {
            write!(f, "\n  and {left_out} more beyond 1 ulp")?;
        }
        Ok(())
    }
}

/// The number of steps between two f16 values; see [`OutputComparison`].
pub fn ulp_distance(a: f16, b: f16) -> u32 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => 0,
        (false, false) => order(a).abs_diff(order(b)),
        _ => NAN_DISTANCE,
    }
}

/// Consecutive numbers for consecutive values, 0 for both zeros.
fn order(value: f16) -> i32 {
    let magnitude = i32::from(value.to_bits() & 0x7FFF);
    if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

fn position(block: &RowBlock, n: usize, index: usize) -> Position {
    Position {
        batch: block.batch,
        row: block.rows.start + index / n,
        column: index % n,
    }
}

fn check_lengths(
    buffer: &'static str,
    block: &RowBlock,
    n: usize,
    found: usize,
    wanted: usize,
) -> Result<(), MatrixError> {
    let needed = block.rows.len() * n;
    MatrixError::check_length_in("elements", buffer, found, needed)?;
    MatrixError::check_length_in("elements", buffer, wanted, needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: RowBlock = RowBlock {
        batch: 1,
        rows: 256..259,
    };

    #[test]
    fn accumulators_differ_by_bits() {
        let wanted = [1.0, -0.0, 2.0, f32::from_bits(0x7FFF_FFFF), 5.0, 6.0];
        let found = [1.0, 0.0, 2.0, f32::NAN, 5.0, 6.5];
        let mut comparison = AccumulatorComparison::default();
        comparison.add(&BLOCK, 2, &wanted, &wanted).unwrap();
        assert!(comparison.all_equal());
        comparison.add(&BLOCK, 2, &found, &wanted).unwrap();
        assert_eq!((comparison.total, comparison.different), (12, 3));
        assert_eq!(
            comparison.to_string(),
            "9 of 12 accumulators equal to the bit\n  \
             batch 1, row 256, column 1: found 0e0 (0x00000000), wanted -0e0 (0x80000000)\n  \
             batch 1, row 257, column 1: found NaN (0x7fc00000), wanted NaN (0x7fffffff)\n  \
             batch 1, row 258, column 1: found 6.5e0 (0x40d00000), wanted 6e0 (0x40c00000)"
        );
    }

    #[test]
    fn only_the_first_mismatches_are_kept() {
        let block = RowBlock {
            batch: 0,
            rows: 0..1,
        };
        let mut comparison = AccumulatorComparison::default();
        comparison.add(&block, 20, &[1.0; 20], &[2.0; 20]).unwrap();
        assert_eq!(comparison.first.len(), REMEMBERED);
        assert!(comparison.to_string().ends_with("and 12 more"));
    }

    #[test]
    fn distances() {
        let h = f16::from_f32;
        assert_eq!(ulp_distance(h(1.0), h(1.0)), 0);
        assert_eq!(ulp_distance(h(0.0), h(-0.0)), 0);
        assert_eq!(ulp_distance(f16::NAN, -f16::NAN), 0);
        assert_eq!(
            ulp_distance(h(1.0), f16::from_bits(h(1.0).to_bits() - 1)),
            1
        );
        assert_eq!(ulp_distance(f16::from_bits(1), f16::from_bits(0x8001)), 2);
        assert_eq!(ulp_distance(f16::MAX, f16::INFINITY), 1);
        assert_eq!(ulp_distance(f16::NAN, f16::INFINITY), NAN_DISTANCE);
        assert_eq!(ulp_distance(f16::INFINITY, f16::NEG_INFINITY), 2 * 0x7C00);
    }

    #[test]
    fn outputs_are_sorted_into_bins() {
        let one = f16::ONE.to_bits();
        let found = [0, 1, 2, 5, 300, 0].map(|ulps| f16::from_bits(one + ulps));
        let mut wanted = [f16::ONE; 6];
        wanted[5] = f16::NAN;
        let mut comparison = OutputComparison::default();
        comparison.add(&BLOCK, 2, &found, &wanted).unwrap();
        assert_eq!(comparison.histogram, [1, 1, 1, 1, 0, 1, 1]);
        assert_eq!(comparison.beyond_one_ulp(), 4);
        assert_eq!(comparison.max_distance, NAN_DISTANCE);
        let text = comparison.to_string();
        assert!(
            text.starts_with(
                "1 of 6 outputs correctly rounded (16.6667 %), 1 at 1 ulp, 1 at 2 ulp, \
                 1 at 3 to 8 ulp, 1 at 65 ulp or more, 1 NaN on one side only\n  \
                 batch 1, row 257, column 0: found"
            ),
            "{text}"
        );
    }

    #[test]
    fn lengths_are_checked() {
        let mut comparison = OutputComparison::default();
        let error = comparison
            .add(&BLOCK, 2, &[f16::ONE; 5], &[f16::ONE; 6])
            .unwrap_err();
        assert_eq!(error.to_string(), "outputs: found 5 elements, needed 6");
        assert_eq!(comparison, OutputComparison::default());
    }
}
