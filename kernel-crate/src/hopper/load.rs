//! The load role: copies into stages.

use core::ops::Range;

use super::config::{Config, Stages};
use super::ring::{Filling, Producer};
use super::tile::{Span, Tile};
use crate::contract::SCALE_TILE_BYTES;
use crate::contract::hopper::{HopperParams, SCALE_BYTES, STAGE_K, SharedPlan};
use crate::ptx::bulk;
use crate::ptx::mbarrier::Mbarrier;
use crate::ptx::shared;
use crate::ptx::tma::{self, CachePolicy};
use crate::scales::row_block;

pub const MAP_ACTIVATIONS: u64 = core::mem::offset_of!(HopperParams, activations) as u64;
const MAP_B1: u64 = core::mem::offset_of!(HopperParams, b1) as u64;
const MAP_B2: u64 = core::mem::offset_of!(HopperParams, b2) as u64;

/// Starts fetching the tensor maps.
#[inline(always)]
pub fn prefetch_maps(param_block: u64) {
    tma::prefetch_map(param_block + MAP_B1);
    tma::prefetch_map(param_block + MAP_B2);
    tma::prefetch_map(param_block + MAP_ACTIVATIONS);
}

/// Copies the weights of a tile, those stages of the span that `indices` has. One thread.
///
/// Weights do not depend on the grid before, which may write A: nothing here waits for it.
#[inline(always)]
pub fn run<C: Config>(
    params: &HopperParams,
    param_block: u64,
    stages: &mut Producer<Stages<C>>,
    tile: Tile,
    span: Span,
    indices: Range<u32>,
) {
    let weights = Weights::new::<C>(params, param_block, tile);
    let mut index = indices.start;
    while index < indices.end {
        weights.load::<C>(stages, span, index);
        index += 1;
    }
}

/// Where a tile's weights are in global memory.
struct Weights {
    param_block: u64,
    tile: Tile,
    scale_b1: u64,
    scale_b2: u64,
    policy: CachePolicy,
}

impl Weights {
    #[inline(always)]
    fn new<C: Config>(params: &HopperParams, param_block: u64, tile: Tile) -> Self {
        let scales = |base| row_block(base, params.n, params.k, tile.n, tile.batch);
        Self {
            param_block,
            tile,
            scale_b1: scales(params.scale_b1),
            scale_b2: scales(params.scale_b2),
            // Weights that one tile of tokens reads are not read again.
            policy: if params.m <= C::TOKENS {
                CachePolicy::evict_first()
            } else {
                CachePolicy::evict_normal()
            },
        }
    }

    /// Copies stage `index` of the span, once there is room.
    #[inline(always)]
    fn load<C: Config>(&self, stages: &mut Producer<Stages<C>>, span: Span, index: u32) {
        let (k, scale_tiles) = (span.k(index), span.scale_tiles(index));
        let Filling { address: to, full } = stages.acquire();
        // Warps have read it by ordinary loads, and copies are of another proxy.
        shared::fence_async_proxy();
        full.arrive_expect_tx(SharedPlan::stage_transaction_bytes(scale_tiles));
        let at = [k / 2, self.tile.n, self.tile.batch];
        let matrix = |offset, map| {
            tma::load_3d(to + offset, self.param_block + map, at, full, self.policy);
        };
        matrix(C::PLAN.b1, MAP_B1);
        matrix(C::PLAN.b2, MAP_B2);
        load_scales(
            to + C::PLAN.scale_b1,
            self.scale_b1,
            k,
            scale_tiles,
            full,
            self.policy,
        );
        load_scales(
            to + C::PLAN.scale_b2,
            self.scale_b2,
            k,
            scale_tiles,
            full,
            self.policy,
        );
    }
}

/// The tiles of scale factors of one stage lie one after the other.
#[inline(always)]
pub fn load_scales(
    to: u32,
    row_block: u64,
    k: u32,
    tiles: u32,
    full: Mbarrier,
    policy: CachePolicy,
) {
    let from = row_block + (k / STAGE_K) as u64 * SCALE_BYTES as u64;
    bulk::load(to, from, tiles * SCALE_TILE_BYTES, full, policy);
}
