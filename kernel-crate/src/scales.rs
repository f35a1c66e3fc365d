//! Where scale factors lie in global memory.

use crate::contract::{MMA_K, SCALE_TILE_BYTES, SCALE_TILE_ROWS};

/// Where one operand's scale factors start: the 128×4 tiles of a block of 128 rows lie one after
/// the other along K.
#[inline(always)]
pub fn row_block(base: u64, rows: u32, k: u32, tile_row: u32, batch: u32) -> u64 {
    let row_blocks = rows.div_ceil(SCALE_TILE_ROWS);
    let row_block = batch as u64 * row_blocks as u64 + (tile_row / SCALE_TILE_ROWS) as u64;
    base + row_block * ((k / MMA_K) as u64 * SCALE_TILE_BYTES as u64)
}
