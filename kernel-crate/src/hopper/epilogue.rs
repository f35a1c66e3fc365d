//! From sums to the output.

use super::config::Config;
use super::tile::Tile;
use crate::contract::hopper::{COLUMNS_PER_WARP, HopperParams, PRODUCT_SCALE};
use crate::ptx::math::{Device, pack_f16x2};
use crate::ptx::wgmma::Accumulator;
use crate::ptx::{global, matrix, warp};
use crate::silu;

/// Tokens that one group of four accumulator registers covers.
pub const GROUP: u32 = 8;

/// What an entry writes.
pub trait Epilogue {
    /// Writes a warp's sums of 8 columns of C × 8 tokens.
    ///
    /// # Safety
    /// The output pointers of `params` cover `[L, M, N]` elements. Called by a converged warp.
    unsafe fn group(params: &HopperParams, at: Tile, sums: GroupSums);
}

/// A thread's sums of a group, of column `lane / 4` and tokens `2·(lane % 4)` and the next: A·B1, then
/// A·B2.
pub type GroupSums = [f32; 4];

/// Writes a warp's sums of a tile: of the groups of tokens that `complete` has complete sums for.
///
/// # Safety
/// As for [`Epilogue::group`].
#[inline(always)]
pub unsafe fn run<C: Config, E: Epilogue>(
    params: &HopperParams,
    tile: Tile,
    column_warp: u32,
    sums: &C::Sums,
    complete: impl Fn(u32, GroupSums) -> Option<GroupSums>,
) {
    let n = tile.n + column_warp * COLUMNS_PER_WARP;
    sums.for_each_group(|group, sums| {
        let Some(sums) = complete(group, sums) else {
            return;
        };
        let at = Tile {
            m: tile.m + GROUP * group,
            n,
            batch: tile.batch,
        };
        // SAFETY: the caller's contract.
        unsafe { E::group(params, at, sums) };
    });
}

/// `silu(alpha1·p1) · (alpha2·p2)` in f16.
pub struct GatedF16;

impl Epilogue for GatedF16 {
    #[inline(always)]
    unsafe fn group(params: &HopperParams, at: Tile, sums: GroupSums) {
        let (alpha1, alpha2) = (params.alpha1, params.alpha2);
        let gated = |i: usize| {
            let x = alpha1 * (sums[i] * (1.0 / PRODUCT_SCALE));
            let y = alpha2 * (sums[2 + i] * (1.0 / PRODUCT_SCALE));
            silu::gate::<Device>(x, y)
        };
        // Rows were columns of C; now they are tokens.
        let columns = matrix::transpose(pack_f16x2(gated(0), gated(1)));
        let lane = warp::lane_index();
        let (row, column) = (at.m + lane / 4, at.n + 2 * (lane % 4));
        if row < params.m && column < params.n {
            // SAFETY: inside the output; N and `column` are even.
            unsafe {
                global::store_u32(params.output + 2 * index(params, at, row, column), columns)
            };
        }
    }
}

/// Both products in f32, before the alphas.
pub struct Accumulators;

impl Epilogue for Accumulators {
    #[inline(always)]
    unsafe fn group(params: &HopperParams, at: Tile, sums: GroupSums) {
        let lane = warp::lane_index();
        let column = at.n + lane / 4;
        let store = |i: u32| {
            let row = at.m + 2 * (lane % 4) + i;
            if row < params.m && column < params.n {
                let element = index(params, at, row, column);
                let value = |i: u32| sums[i as usize] * (1.0 / PRODUCT_SCALE);
                // SAFETY: inside the outputs.
                unsafe {
                    global::store_f32(params.output + 4 * element, value(i));
                    global::store_f32(params.output2 + 4 * element, value(2 + i));
                }
            }
        };
        store(0);
        store(1);
    }
}

/// Of an element of the output.
#[inline(always)]
fn index(params: &HopperParams, at: Tile, row: u32, column: u32) -> u64 {
    (at.batch as u64 * params.m as u64 + row as u64) * params.n as u64 + column as u64
}
