//! The first grid: A to f16, in the order in which `wgmma` takes it.

use super::dequantize;
use crate::contract::hopper::{ACTIVATION_THREADS, ActivationParams, STAGE_K, activation_columns};
use crate::ptx::{global, grid, warp};
use crate::scales::row_block;

/// Each thread writes 16 bytes: of the four quad threads' words, the register that one half of one
/// `wgmma` step takes from each.
///
/// # Safety
/// Pointers in `params` are valid for its shape.
#[inline(always)]
pub unsafe fn run(params: &ActivationParams) {
    // The grid that multiplies may be set up meanwhile; it waits for this one's end.
    grid::launch_dependents();
    let ActivationParams { m, k, .. } = *params;
    let columns = activation_columns(k);
    let per_row = (columns / 8).max(1);
    let unit = warp::cta_index_x() * ACTIVATION_THREADS + warp::thread_index();
    let (row, part) = (unit / per_row, unit % per_row);
    if row >= m {
        return;
    }
    let batch = warp::cta_index_z();
    let (stage_k, word, register) = (part / 16 * STAGE_K, part / 4 % 4, part % 4);
    let row_index = batch as u64 * m as u64 + row as u64;
    let scale_tile_row = (row % 32 * 16 + row % 128 / 32 * 4) as u64;
    let scales = row_block(params.scales, m, k, row, batch) + scale_tile_row;
    let pair = |quad_thread: u32| {
        let at = stage_k + 32 * quad_thread + 8 * word;
        if at >= k {
            return 0;
        }
        // SAFETY: inside A and its scale factors.
        let (elements, scale) = unsafe {
            (
                global::load_u32(params.elements + (row_index * k as u64 + at as u64) / 2),
                global::load_u8(scales + (at / 64 * 512 + at % 64 / 16) as u64),
            )
        };
        dequantize::register(elements, dequantize::scales(scale)[0], register)
    };
    let words = [pair(0), pair(1), pair(2), pair(3)];
    let element = row_index * columns as u64 + 8 * part as u64;
    // SAFETY: inside the workspace; 16-byte aligned, as the workspace is.
    unsafe { global::store_16_bytes(params.workspace + 2 * element, words) };
}
