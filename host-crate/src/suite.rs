//! Lists of shapes to verify.

use std::fmt;
use std::str::FromStr;

use crate::plan::{PlanError, Shape};

/// A list of shapes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// Every kind of edge, small, on Blackwell with every N tile: seconds on an emulated device.
    #[default]
    Quick,
    /// The thirteen shapes of GPU MODE's NVFP4 dual-GEMM problem, tests and benchmarks.
    Contest,
    /// Both.
    All,
}

impl Suite {
    /// Every suite.
    pub const EACH: [Self; 3] = [Self::Quick, Self::Contest, Self::All];

    /// The name that [`FromStr`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Contest => "contest",
            Self::All => "all",
        }
    }

    /// The shapes, in order.
    ///
    /// # Errors
    /// None for the shapes listed here; they are checked like any other.
    pub fn shapes(self) -> Result<Vec<Shape>, PlanError> {
        let lists: &[&[Dimensions]] = match self {
            Self::Quick => &[QUICK],
            Self::Contest => &[CONTEST],
            Self::All => &[QUICK, CONTEST],
        };
        let dimensions = lists.iter().copied().flatten();
        dimensions
            .map(|&[m, n, k, batch]| Shape::new(m, n, k, batch))
            .collect()
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is not one of a [`Suite`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown suite {found:?}; known are quick, contest and all")]
pub struct UnknownSuite {
    /// The name given.
    pub found: String,
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::EACH.into_iter().find(|suite| suite.name() == name);
        found.ok_or_else(|| UnknownSuite {
            found: name.to_owned(),
        })
    }
}

/// M, N, K, L.
type Dimensions = [usize; 4];

const QUICK: &[Dimensions] = &[
    // The smallest of everything.
    [1, 8, 64, 1],
    // One full tile; partial K tiles of one, two and three MMAs; the first wrap of either ring.
    [128, 64, 256, 1],
    [128, 128, 320, 1],
    [128, 64, 1152, 1],
    [128, 128, 1472, 1],
    // Ragged M and N: one more and one less than a tile, and N tiles in the middle of a
    // scale-factor tile.
    [129, 72, 512, 1],
    [127, 184, 448, 1],
    [33, 264, 2048, 1],
    // Batches.
    [64, 64, 256, 3],
    [130, 136, 192, 2],
    // Decoding one token, and a longer accumulation.
    [1, 512, 7168, 1],
    [256, 512, 256, 1],
];

/// gpu-mode/reference-kernels, problems/nvidia/nvfp4_dual_gemm/task.yml: tests, then benchmarks.
const CONTEST: &[Dimensions] = &[
    [1536, 512, 7168, 1],
    [256, 512, 256, 1],
    [3072, 1024, 1536, 1],
    [7168, 1024, 256, 1],
    [7168, 2304, 2048, 1],
    [4608, 384, 7168, 1],
    [7168, 384, 2304, 1],
    [512, 768, 7168, 1],
    [4096, 768, 512, 1],
    [256, 4096, 7168, 1],
    [512, 4096, 7168, 1],
    [256, 3072, 4096, 1],
    [512, 3072, 7168, 1],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_shape_can_run() {
        assert_eq!(Suite::Contest.shapes().unwrap().len(), 13);
        assert_eq!(Suite::All.shapes().unwrap().len(), QUICK.len() + 13);
    }

    #[test]
    fn names_round_trip() {
        for suite in Suite::EACH {
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        let error = "slow".parse::<Suite>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown suite \"slow\"; known are quick, contest and all"
        );
    }
}
