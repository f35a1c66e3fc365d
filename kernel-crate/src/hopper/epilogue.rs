//! From partial sums to the output: the cluster adds up, gates, and stores.

use core::marker::PhantomData;

use super::config::Config;
use super::kernel::{Cluster, Tile};
use super::multiply::Part;
use crate::contract::hopper::{HopperParams, OUTPUT_ROW_BYTES, PRODUCT_SCALE, TILE_N};
use crate::ptx::math::{Device, pack_f16x2};
use crate::ptx::wgmma::Accumulator;
use crate::ptx::{barrier, cluster, global, matrix, shared, warp};
use crate::silu;

/// All multiplying warps have come here.
const CONSUMERS: u32 = 1;
/// Tokens that one group of four accumulator registers covers.
const GROUP: u32 = 8;
/// The four warps of a warpgroup own a quarter of its rows each.
const OWNERS_LOG2: u32 = 2;
/// Rows of a weight matrix, columns of C, whose sums one warp holds.
const COLUMNS_PER_WARP: u32 = 16;

/// What an entry writes.
pub trait Epilogue {
    /// Called with the sums of 16 columns of C × 8 tokens, as four registers of an
    /// [`Accumulator`] hold them; `column` counts within the tile.
    ///
    /// # Safety
    /// The output pointers of `params` cover `[L, M, N]` elements. Called by a converged warp.
    unsafe fn group<C: Config>(params: &HopperParams, staging: u32, tile: Tile, fragment: Fragment);

    /// Called by all multiplying warps after the last group.
    ///
    /// # Safety
    /// As for `group`.
    unsafe fn finish<C: Config>(
        params: &HopperParams,
        staging: u32,
        tile: Tile,
        thread: u32,
        columns: Columns,
    );
}

/// The sums of 16 columns × 8 tokens.
#[derive(Clone, Copy)]
pub struct Fragment {
    pub products1: [f32; 4],
    pub products2: [f32; 4],
    /// First column and first token in the tile.
    pub column: u32,
    pub token: u32,
}

/// The columns of the tile that a CTA of a cluster finishes.
#[derive(Clone, Copy)]
pub struct Columns {
    first: u32,
    /// Their number is a power of two.
    count_log2: u32,
}

/// Adds up what the CTAs of the cluster have summed, each CTA for its share of the columns, and
/// writes that.
///
/// # Safety
/// As for [`Epilogue::group`].
#[inline(always)]
pub unsafe fn run<C: Config, E: Epilogue>(
    params: &HopperParams,
    base: u32,
    tile: Tile,
    thread: u32,
    cluster: Cluster,
    part: Part,
    sums: &C::Sums,
) {
    let partial = PartialSums::<C> {
        base: base + C::PLAN.partial_sums,
        config: PhantomData,
    };
    let staging = base + C::PLAN.output;
    // The stages are free: every copy has landed, and now every warp has read them.
    barrier::sync_all::<CONSUMERS>(C::SHAPE.consumer_threads());
    partial.store(sums, part, thread % 128);
    if cluster.ranks_log2 == 0 {
        barrier::sync_all::<CONSUMERS>(C::SHAPE.consumer_threads());
    } else {
        cluster::sync();
    }

    let warp = warp::broadcast_first(thread / 32);
    // Each CTA finishes the columns of this many of the four warps that have a part's rows; its warps
    // share those of one, as far as there are groups of tokens.
    let owners_log2 = OWNERS_LOG2 - cluster.ranks_log2;
    let sharers_log2 = ((C::SHAPE.consumer_threads() / 32).trailing_zeros() - owners_log2)
        .min((C::TOKENS / GROUP).trailing_zeros());
    if warp < 1 << (owners_log2 + sharers_log2) {
        let owner = (cluster.rank << owners_log2) + (warp >> sharers_log2);
        let groups = (C::TOKENS / GROUP) >> sharers_log2;
        let first = (warp & ((1 << sharers_log2) - 1)) * groups;
        let last = first + groups - 1;
        let mut group = first;
        while group <= last {
            // Two at a time: one hides the other's latencies.
            let this = partial.sum(cluster, owner, group);
            let next = partial.sum(cluster, owner, last.min(group + 1));
            // SAFETY: the caller's contract.
            unsafe {
                E::group::<C>(params, staging, tile, this);
                E::group::<C>(params, staging, tile, next);
            }
            group += 2;
        }
    }
    barrier::sync_all::<CONSUMERS>(C::SHAPE.consumer_threads());
    let columns = Columns {
        first: COLUMNS_PER_WARP * (cluster.rank << owners_log2),
        count_log2: COLUMNS_PER_WARP.trailing_zeros() + owners_log2,
    };
    // SAFETY: the caller's contract.
    unsafe { E::finish::<C>(params, staging, tile, thread, columns) };
    if cluster.ranks_log2 != 0 {
        // Nobody leaves while another reads its sums.
        cluster::sync();
    }
}

/// The sums of a CTA in shared memory: register by register, the threads side by side.
#[derive(Clone, Copy)]
struct PartialSums<C: Config> {
    base: u32,
    config: PhantomData<C>,
}

impl<C: Config> PartialSums<C> {
    #[inline(always)]
    fn offset(part: Part, register: u32, thread: u32) -> u32 {
        let block = part.share * 2 + part.matrix;
        4 * ((block * (C::TOKENS / 2) + register) * 128 + thread)
    }

    #[inline(always)]
    fn store(self, sums: &C::Sums, part: Part, thread: u32) {
        let first = self.base + Self::offset(part, 0, thread);
        sums.for_each(|register, value| shared::store_f32(first + 4 * 128 * register, value));
    }

    /// The sums of one group of tokens and the rows of warp `owner`, over the shares of K: those of
    /// this CTA, then those of the CTAs that follow.
    #[inline(always)]
    fn sum(self, cluster: Cluster, owner: u32, group: u32) -> Fragment {
        let thread = 32 * owner + warp::lane_index();
        let mut products = [[0.0; 4]; 2];
        let mut share = 0;
        while share < C::SHAPE.k_shares {
            let first =
                |matrix| self.base + Self::offset(Part { matrix, share }, 4 * group, thread);
            let mut add = |matrix: u32, load: &dyn Fn(u32) -> f32| {
                let [a, b, c, d] = products[matrix as usize];
                products[matrix as usize] = [
                    a + load(first(matrix)),
                    b + load(first(matrix) + 4 * 128),
                    c + load(first(matrix) + 2 * 4 * 128),
                    d + load(first(matrix) + 3 * 4 * 128),
                ];
            };
            add(0, &shared::load_f32);
            add(1, &shared::load_f32);
            let mut other = 1;
            while other < cluster.ranks() {
                let rank = (cluster.rank + other) & (cluster.ranks() - 1);
                let load = |address| cluster::load_f32(cluster::map_shared(address, rank));
                add(0, &load);
                add(1, &load);
                other += 1;
            }
            share += 1;
        }
        Fragment {
            products1: products[0],
            products2: products[1],
            column: COLUMNS_PER_WARP * owner,
            token: GROUP * group,
        }
    }
}

/// `silu(alpha1·p1) · (alpha2·p2)` in f16.
pub struct GatedF16;

impl Epilogue for GatedF16 {
    #[inline(always)]
    unsafe fn group<C: Config>(params: &HopperParams, staging: u32, _: Tile, fragment: Fragment) {
        let (alpha1, alpha2) = (params.alpha1, params.alpha2);
        let gated = |i: usize| {
            let x = alpha1 * (fragment.products1[i] * (1.0 / PRODUCT_SCALE));
            let y = alpha2 * (fragment.products2[i] * (1.0 / PRODUCT_SCALE));
            silu::gate::<Device>(x, y)
        };
        let upper = pack_f16x2(gated(0), gated(1));
        let lower = pack_f16x2(gated(2), gated(3));
        // Lanes 0–7 name the rows of the first 8×8 matrix, 8–15 of the second: transposed, a row is
        // one token's 8 columns.
        let lane = warp::lane_index();
        let row = staging + (fragment.token + lane % 8) * OUTPUT_ROW_BYTES;
        matrix::store_2_transposed(
            row + 2 * (fragment.column + lane / 8 % 2 * 8),
            [upper, lower],
        );
    }

    #[inline(always)]
    unsafe fn finish<C: Config>(
        params: &HopperParams,
        staging: u32,
        tile: Tile,
        thread: u32,
        columns: Columns,
    ) {
        const COLUMNS_PER_STORE: u32 = 8;
        let per_token_log2 = columns.count_log2 - COLUMNS_PER_STORE.trailing_zeros();
        let mut index = thread;
        while index < C::TOKENS << per_token_log2 {
            let token = index >> per_token_log2;
            let within = index & ((1 << per_token_log2) - 1);
            let column = columns.first + within * COLUMNS_PER_STORE;
            let (row, at) = (tile.m + token, tile.n + column);
            if row < params.m && at < params.n {
                let words = shared::load_16_bytes(staging + token * OUTPUT_ROW_BYTES + 2 * column);
                let element = (tile.batch as u64 * params.m as u64 + row as u64) * params.n as u64
                    + at as u64;
                // SAFETY: inside the output; a multiple of 8 elements from its start.
                unsafe { global::store_16_bytes(params.output + 2 * element, words) };
            }
            index += C::SHAPE.consumer_threads();
        }
    }
}

/// Both products in f32, before the alphas.
pub struct Accumulators;

impl Epilogue for Accumulators {
    #[inline(always)]
    unsafe fn group<C: Config>(params: &HopperParams, _: u32, tile: Tile, fragment: Fragment) {
        let lane = warp::lane_index();
        let store = |i: u32| {
            let row = tile.m + fragment.token + 2 * (lane % 4) + i % 2;
            let column = tile.n + fragment.column + lane / 4 + 8 * (i / 2);
            if row < params.m && column < params.n {
                let element = (tile.batch as u64 * params.m as u64 + row as u64) * params.n as u64
                    + column as u64;
                let value = |products: [f32; 4]| products[i as usize] * (1.0 / PRODUCT_SCALE);
                // SAFETY: inside the outputs.
                unsafe {
                    global::store_f32(params.output + 4 * element, value(fragment.products1));
                    global::store_f32(params.output2 + 4 * element, value(fragment.products2));
                }
            }
        };
        store(0);
        store(1);
        store(2);
        store(3);
    }

    #[inline(always)]
    unsafe fn finish<C: Config>(_: &HopperParams, _: u32, _: Tile, _: u32, _: Columns) {}
}

const _: () = assert!(TILE_N == COLUMNS_PER_WARP << OWNERS_LOG2);
