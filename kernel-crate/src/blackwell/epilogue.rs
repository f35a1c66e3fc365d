//! The epilogue role: four warps turn the accumulators into rows of the output.

use super::kernel::OutputTile;
use crate::contract::{DualGemmParams, TmemPlan};
use crate::ptx::math::{Device, pack_f16x2};
use crate::ptx::{global, tcgen05, warp};
use crate::silu;

/// Lanes that one `tcgen05.ld` of shape 16x256b covers; a warp owns 32.
const FRAGMENT_ROWS: u32 = 16;
/// Columns that its `.x4` covers.
const FRAGMENT_COLUMNS: u32 = 32;

/// Both accumulators of 16 rows × 32 columns, as [`tcgen05::load_16x256b_x4`] spreads them over a
/// warp.
///
/// ```text
/// thread t: rows t/4 and t/4 + 8, columns 2·(t%4) + {0, 1} of each group g of 8 columns
/// register 4·g + 2·(second row?) + (second column?)
/// ```
#[derive(Clone, Copy)]
pub struct Fragment {
    products1: [u32; 16],
    products2: [u32; 16],
    /// First row and first column in the tile.
    row: u32,
    column: u32,
}

impl Fragment {
    /// Starts loading fragment `index` of the warp's 32 rows; the products are valid after
    /// `wait_load`.
    #[inline(always)]
    fn load<const TILE_N: u32>(tmem: u32, warp: u32, index: u32) -> Self {
        let columns = const { TmemPlan::new(TILE_N) };
        let row = 32 * warp + FRAGMENT_ROWS * (index % 2);
        let column = FRAGMENT_COLUMNS * (index / 2);
        let at = tmem + (row << 16) + column;
        Self {
            products1: tcgen05::load_16x256b_x4(at + columns.accumulator1),
            products2: tcgen05::load_16x256b_x4(at + columns.accumulator2),
            row,
            column,
        }
    }
}

/// What an entry writes from a fragment.
pub trait Epilogue {
    /// # Safety
    /// The output pointers of `params` cover `[L, M, N]` elements. Called by a converged warp.
    unsafe fn store(params: &DualGemmParams, tile: OutputTile, fragment: Fragment);
}

/// Walks the warp's 32 rows of the tile in fragments; each is requested before the one before it is
/// stored. A converged warp, after both accumulators are full.
///
/// # Safety
/// As for [`Epilogue::store`].
#[inline(always)]
pub unsafe fn run<const TILE_N: u32, E: Epilogue>(
    params: &DualGemmParams,
    tmem: u32,
    warp: u32,
    tile: OutputTile,
) {
    let fragments = 2 * TILE_N / FRAGMENT_COLUMNS;
    let mut next = Fragment::load::<TILE_N>(tmem, warp, 0);
    let mut index = 0;
    while index < fragments {
        tcgen05::wait_load();
        let current = next;
        index += 1;
        if index < fragments {
            next = Fragment::load::<TILE_N>(tmem, warp, index);
        }
        // SAFETY: the caller's contract.
        unsafe { E::store(params, tile, current) };
    }
}

/// Where a thread's part of a fragment goes in the output `[L, M, N]`.
struct Destination<'a> {
    params: &'a DualGemmParams,
    batch: u32,
    row: u32,
    column: u32,
}

impl Destination<'_> {
    /// The element's index `rows` below the first, or `None` outside of the output. N is a multiple
    /// of 8, so that columns taken in aligned groups of up to 8 are inside or outside as a whole.
    #[inline(always)]
    fn index(&self, rows: u32, columns: u32) -> Option<u64> {
        let (row, column) = (self.row + rows, self.column + columns);
        let DualGemmParams { m, n, .. } = *self.params;
        let index = (self.batch as u64 * m as u64 + row as u64) * n as u64 + column as u64;
        (row < m && column < n).then_some(index)
    }
}

/// `silu(alpha1·p1) · (alpha2·p2)` in f16, 16 bytes per store.
pub struct GatedF16;

impl Epilogue for GatedF16 {
    #[inline(always)]
    unsafe fn store(params: &DualGemmParams, tile: OutputTile, fragment: Fragment) {
        let gated = |r: usize| {
            let x = params.alpha1 * f32::from_bits(fragment.products1[r]);
            let y = params.alpha2 * f32::from_bits(fragment.products2[r]);
            silu::gate::<Device>(x, y)
        };
        let pair = |r: usize| pack_f16x2(gated(r), gated(r + 1));
        let lane = warp::lane_index();
        // After the exchange thread t holds all 8 columns of group t % 4: 16 bytes.
        let upper = transpose_quad([pair(0), pair(4), pair(8), pair(12)], lane);
        let lower = transpose_quad([pair(2), pair(6), pair(10), pair(14)], lane);
        let destination = Destination {
            params,
            batch: tile.batch,
            row: tile.m + fragment.row + lane / 4,
            column: tile.n + fragment.column + 8 * (lane % 4),
        };
        let store = |rows: u32, words: [u32; 4]| {
            if let Some(index) = destination.index(rows, 0) {
                // SAFETY: inside the output; a multiple of 8 elements from its start.
                unsafe { global::store_16_bytes(params.output + 2 * index, words) };
            }
        };
        store(0, upper);
        store(8, lower);
    }
}

/// Transposes the 4 × 4 words of four neighbouring threads: thread q gets word q of each. A
/// converged warp.
#[inline(always)]
fn transpose_quad(words: [u32; 4], lane: u32) -> [u32; 4] {
    let odd = lane & 1 != 0;
    let high = lane & 2 != 0;
    let [a, b, c, d] = words;
    let (a, b) = exchange::<1>(a, b, odd);
    let (c, d) = exchange::<1>(c, d, odd);
    let (a, c) = exchange::<2>(a, c, high);
    let (b, d) = exchange::<2>(b, d, high);
    [a, b, c, d]
}

/// Swaps the second word of the lower thread with the first of the upper one; the threads differ in
/// the bit `MASK`.
#[inline(always)]
fn exchange<const MASK: u32>(first: u32, second: u32, is_upper: bool) -> (u32, u32) {
    let outgoing = if is_upper { first } else { second };
    let incoming = warp::shuffle_xor::<MASK>(outgoing);
    if is_upper {
        (incoming, second)
    } else {
        (first, incoming)
    }
}

/// Both products in f32, as they left the tensor core.
pub struct Accumulators;

impl Epilogue for Accumulators {
    #[inline(always)]
    unsafe fn store(params: &DualGemmParams, tile: OutputTile, fragment: Fragment) {
        let lane = warp::lane_index();
        let destination = Destination {
            params,
            batch: tile.batch,
            row: tile.m + fragment.row + lane / 4,
            column: tile.n + fragment.column + 2 * (lane % 4),
        };
        let store = |group: usize, rows: u32| {
            if let Some(index) = destination.index(rows, 8 * group as u32) {
                let r = 4 * group + rows as usize / 4;
                let pair = |products: &[u32; 16]| {
                    (f32::from_bits(products[r]), f32::from_bits(products[r + 1]))
                };
                // SAFETY: inside the outputs; an even number of elements from their start.
                unsafe {
                    global::store_f32x2(params.output + 4 * index, pair(&fragment.products1));
                    global::store_f32x2(params.output2 + 4 * index, pair(&fragment.products2));
                }
            }
        };
        store(0, 0);
        store(0, 8);
        store(1, 0);
        store(1, 8);
        store(2, 0);
        store(2, 8);
        store(3, 0);
        store(3, 8);
    }
}
