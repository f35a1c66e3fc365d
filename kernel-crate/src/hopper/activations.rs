//! The grid before the prefill design's: A to f16, in the order in which `wgmma` takes it.

use super::dequantize::{self, Scales, Shifts};
use crate::contract::hopper::{
    ACTIVATION_ELEMENTS, ACTIVATION_THREADS, ActivationParams, SLOT_K, STAGE_K, activation_columns,
};
use crate::contract::{MMA_K, SCALE_TILE_BYTES};
use crate::ptx::{global, grid, warp};
use crate::scales::row_block;

/// Each thread dequantises 64 elements of a row, as the thread of a quad that multiplies with them
/// would find its weights; the quad then exchanges registers, so that each thread has whole chunks of
/// 16 bytes to write.
///
/// # Safety
/// Pointers in `params` are valid for its shape.
#[inline(always)]
pub unsafe fn run(params: &ActivationParams) {
    // The grid that multiplies may be set up meanwhile; it waits for this one's end.
    grid::launch_dependents();
    let ActivationParams { m, k, rows, .. } = *params;
    let columns = activation_columns(k);
    let per_row = (columns / ACTIVATION_ELEMENTS).max(1);
    let unit = warp::cta_index_x() * ACTIVATION_THREADS + warp::thread_index();
    let (row, part) = (unit / per_row, unit % per_row);
    let (stage, quad_thread) = (part / 4, part % 4);
    let at = stage * STAGE_K + MMA_K * quad_thread;
    let batch = warp::cta_index_z();
    grid::wait_for_prerequisites();
    let (words, scales) = if row < m && at < k {
        let scale_row = (row % 32 * 16 + row % 128 / 32 * 4) as u64;
        let scale_tile = (at / MMA_K) as u64 * SCALE_TILE_BYTES as u64;
        let scales = row_block(params.scales, m, k, row, batch) + scale_tile + scale_row;
        let row_index = batch as u64 * m as u64 + row as u64;
        let elements = params.elements + (row_index * k as u64 + at as u64) / 2;
        // SAFETY: inside A and its scale factors, which are aligned as their tiles are.
        unsafe {
            (
                [
                    global::load_16_bytes(elements),
                    global::load_16_bytes(elements + 16),
                ],
                global::load_u32(scales),
            )
        }
    } else {
        ([[0; 4]; 2], 0)
    };
    let scales = Scales::unpack(scales);
    let shifts = Shifts::new();
    let row_index = batch as u64 * rows as u64 + row as u64;
    let first = row_index * columns as u64 + (stage * STAGE_K) as u64 + 8 * quad_thread as u64;
    let write = |slot: u32, half: u32, word: u32| {
        let scale = scales.get(slot as usize);
        let chunk = transpose_quad(dequantize::word(word, scale, shifts), quad_thread);
        let element = first + (slot * SLOT_K + half * 32) as u64;
        if row < rows {
            // SAFETY: inside the workspace; 16-byte aligned, as the workspace is.
            unsafe { global::store_16_bytes(params.workspace + 2 * element, chunk) };
        }
    };
    let [[a, b, c, d], [e, f, g, h]] = words;
    write(0, 0, a);
    write(0, 1, b);
    write(1, 0, c);
    write(1, 1, d);
    write(2, 0, e);
    write(2, 1, f);
    write(3, 0, g);
    write(3, 1, h);
}

/// Of four registers in each of four neighbouring threads, thread `q` gets the `q`-th of each. Called
/// by a converged warp.
#[inline(always)]
fn transpose_quad([a, b, c, d]: [u32; 4], quad_thread: u32) -> [u32; 4] {
    let odd = quad_thread % 2 != 0;
    let ((a, b), (c, d)) = (exchange::<1>(odd, (a, b)), exchange::<1>(odd, (c, d)));
    let upper = quad_thread >= 2;
    let ((a, c), (b, d)) = (exchange::<2>(upper, (a, c)), exchange::<2>(upper, (b, d)));
    [a, b, c, d]
}

/// The first of the upper thread's pair for the second of the lower thread's, `MASK` lanes apart.
#[inline(always)]
fn exchange<const MASK: u32>(upper: bool, (first, second): (u32, u32)) -> (u32, u32) {
    let received = warp::shuffle_xor::<MASK>(if upper { first } else { second });
    if upper {
        (received, second)
    } else {
        (first, received)
    }
}
