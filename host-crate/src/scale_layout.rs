//! The 128×4 tile layout of scale factors, which `tcgen05.cp` and `tcgen05.mma` consume as they
//! are.
//!
//! A matrix of R rows and K columns has one scale factor per row and [`BLOCK`] columns: a grid of R
//! × B bytes, B = K / 16. The grid is cut into tiles of 128 rows × 4 blocks (K = 64, one MMA step),
//! each stored as 512 contiguous bytes; rows are padded up to a multiple of 128 and blocks to one
//! of 4. Tiles follow each other along K first:
//!
//! ```text
//! [ceil(R/128), ceil(B/4), 32, 4, 4] bytes = [row tile, K tile, row % 32, row / 32 % 4, block % 4]
//!
//! one tile, 512 bytes: 32 lines of 16 bytes; r = row within the tile, four blocks each
//!
//!            bytes 0–3     bytes 4–7     bytes 8–11    bytes 12–15
//!          ┌─────────────┬─────────────┬─────────────┬─────────────┐
//!   line 0 │ r=0   b0–b3 │ r=32  b0–b3 │ r=64  b0–b3 │ r=96  b0–b3 │
//!   line 1 │ r=1   b0–b3 │ r=33  b0–b3 │ r=65  b0–b3 │ r=97  b0–b3 │
//!     ⋮    │      ⋮      │      ⋮      │      ⋮      │      ⋮      │
//!  line 31 │ r=31  b0–b3 │ r=63  b0–b3 │ r=95  b0–b3 │ r=127 b0–b3 │
//!          └─────────────┴─────────────┴─────────────┴─────────────┘
//! ```
//!
//! `tcgen05.cp.32x128b.warpx4` copies line i to lane i of tensor memory, so that the scale factors
//! of row r land in lane r % 32, column r / 32. The layout is that of cuBLAS' block-scaled matrices
//! and of CUTLASS' `Sm1xxBlockScaledBasicChunk`.

use crate::format::BLOCK;
use crate::matrix::MatrixError;

/// Rows of one tile.
pub const TILE_ROWS: usize = 128;

/// Scale factors of one tile along K.
pub const TILE_BLOCKS: usize = 4;

/// Bytes of one tile.
pub const TILE_BYTES: usize = TILE_ROWS * TILE_BLOCKS;

/// What [`ScaleLayout::to_tiled`] writes where the tile reaches beyond the matrix: the scale factor
/// 0, so that whatever elements a kernel pairs with it contribute nothing, not even NaN.
pub const PADDING: u8 = 0;

/// Where the scale factors of one rows × columns matrix lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleLayout {
    rows: usize,
    blocks: usize,
    size: usize,
}

impl ScaleLayout {
    /// The layout for a matrix of `rows` × `columns` elements; a last partial block counts as one.
    ///
    /// # Errors
    /// [`MatrixError::TooLarge`] if the padded size in bytes overflows.
    pub fn new(rows: usize, columns: usize) -> Result<Self, MatrixError> {
        let blocks = columns.div_ceil(BLOCK);
        let size = rows
            .div_ceil(TILE_ROWS)
            .checked_mul(blocks.div_ceil(TILE_BLOCKS))
            .and_then(|tiles| tiles.checked_mul(TILE_BYTES))
            .ok_or(MatrixError::TooLarge {
                rows,
                columns,
                batch: 1,
            })?;
        Ok(Self { rows, blocks, size })
    }

    /// Rows of the matrix, without padding.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Scale factors per row, without padding.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of the tiled form, padding included.
    pub fn tiled_size(&self) -> usize {
        self.size
    }

    /// Bytes of the row-major form `[rows, blocks]`. It never exceeds [`Self::tiled_size`].
    pub fn row_major_size(&self) -> usize {
        self.rows * self.blocks
    }

    /// The byte offset, in the tiled form, of the scale factor of `row` and `block`.
    ///
    /// Also defined for padding, up to the next multiple of 128 rows and 4 blocks.
    #[inline]
    pub fn offset(&self, row: usize, block: usize) -> usize {
        let tile = (row / TILE_ROWS) * self.blocks.div_ceil(TILE_BLOCKS) + block / TILE_BLOCKS;
        tile * TILE_BYTES + (row % 32) * 16 + (row % TILE_ROWS / 32) * 4 + block % TILE_BLOCKS
    }

    /// The tiled form of row-major scale factors `[rows, blocks]`, with [`PADDING`] outside the
    /// matrix.
    ///
    /// # Errors
    /// [`MatrixError::Length`] unless `row_major` has [`Self::row_major_size`] bytes.
    pub fn to_tiled(&self, row_major: &[u8]) -> Result<Vec<u8>, MatrixError> {
        MatrixError::check_length(
            "row-major scale factors",
            row_major.len(),
            self.row_major_size(),
        )?;
        let mut tiled = vec![PADDING; self.size];
        for (row, scales) in row_major.chunks_exact(self.blocks.max(1)).enumerate() {
            for (tile, four) in scales.chunks(TILE_BLOCKS).enumerate() {
                let start = self.offset(row, tile * TILE_BLOCKS);
                tiled[start..start + four.len()].copy_from_slice(four);
            }
        }
        Ok(tiled)
    }

    /// The row-major form `[rows, blocks]` of tiled scale factors; padding is dropped.
    ///
    /// # Errors
    /// [`MatrixError::Length`] unless `tiled` has [`Self::tiled_size`] bytes.
    pub fn to_row_major(&self, tiled: &[u8]) -> Result<Vec<u8>, MatrixError> {
        MatrixError::check_length("tiled scale factors", tiled.len(), self.size)?;
        let mut row_major = vec![0; self.row_major_size()];
        for (row, scales) in row_major.chunks_exact_mut(self.blocks.max(1)).enumerate() {
            for (tile, four) in scales.chunks_mut(TILE_BLOCKS).enumerate() {
                let start = self.offset(row, tile * TILE_BLOCKS);
                four.copy_from_slice(&tiled[start..start + four.len()]);
            }
        }
        Ok(row_major)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_tile_matches_the_drawing() {
        let layout = ScaleLayout::new(128, 64).unwrap();
        assert_eq!(layout.offset(0, 0), 0);
        assert_eq!(layout.offset(0, 3), 3);
        assert_eq!(layout.offset(32, 0), 4);
        assert_eq!(layout.offset(96, 0), 12);
        assert_eq!(layout.offset(1, 0), 16);
        assert_eq!(layout.offset(127, 3), 511);
    }

    #[test]
    fn tiles_go_along_k_first() {
        let layout = ScaleLayout::new(256, 192).unwrap();
        assert_eq!(layout.tiled_size(), 2 * 3 * 512);
        assert_eq!(layout.offset(0, 4), 512);
        assert_eq!(layout.offset(128, 0), 3 * 512);
    }

    #[test]
    fn partial_tiles_are_padded() {
        let layout = ScaleLayout::new(1, 16).unwrap();
        let tiled = layout.to_tiled(&[0x38]).unwrap();
        assert_eq!(tiled.len(), 512);
        assert_eq!(tiled[0], 0x38);
        assert!(tiled[1..].iter().all(|&byte| byte == PADDING));
    }

    #[test]
    fn wrong_lengths_are_reported() {
        let layout = ScaleLayout::new(3, 32).unwrap();
        let error = layout.to_tiled(&[0; 5]).unwrap_err();
        assert!(matches!(
            error,
            MatrixError::Length {
                found: 5,
                needed: 6,
                ..
            }
        ));
        let error = layout.to_row_major(&[0; 511]).unwrap_err();
        assert!(matches!(
            error,
            MatrixError::Length {
                found: 511,
                needed: 512,
                ..
            }
        ));
    }

    #[test]
    fn overflow_is_reported() {
        assert!(matches!(
            ScaleLayout::new(usize::MAX, usize::MAX),
            Err(MatrixError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn offset_is_a_bijection_of_the_padded_grid(rows in 1..400usize, blocks in 1..20usize) {
            let layout = ScaleLayout::new(rows, blocks * BLOCK).unwrap();
            let mut hits = vec![0u8; layout.tiled_size()];
            for row in 0..rows.next_multiple_of(TILE_ROWS) {
                for block in 0..blocks.next_multiple_of(TILE_BLOCKS) {
                    hits[layout.offset(row, block)] += 1;
                }
            }
            prop_assert!(hits.iter().all(|&count| count == 1));
        }

        #[test]
        fn conversions_are_inverse(
            rows in 1..300usize,
            blocks in 1..10usize,
            seed in any::<u8>(),
        ) {
            let layout = ScaleLayout::new(rows, blocks * BLOCK).unwrap();
            let row_major: Vec<u8> = (0..rows * blocks)
                .map(|index| (index as u8).wrapping_mul(31) ^ seed)
                .collect();
            let tiled = layout.to_tiled(&row_major).unwrap();
            for row in 0..rows {
                for block in 0..blocks {
                    prop_assert_eq!(tiled[layout.offset(row, block)], row_major[row * blocks + block]);
                }
            }
            prop_assert_eq!(layout.to_row_major(&tiled).unwrap(), row_major);
        }
    }
}
