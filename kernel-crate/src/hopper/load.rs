//! The load role: one thread keeps the ring of stages full.

use core::marker::PhantomData;

use super::config::Config;
use super::kernel::Tile;
use super::ring::{Filling, Producer};
use crate::contract::hopper::{
    ATOM_K, HopperParams, STAGE_K, WEIGHT_ROW_BYTES, WEIGHT_SCALE_BYTES,
};
use crate::contract::{MMA_K, SCALE_TILE_BYTES};
use crate::ptx::tma::{self, CachePolicy};
use crate::ptx::{bulk, grid};
use crate::scales::row_block;

const MAP_ACTIVATIONS: u64 = core::mem::offset_of!(HopperParams, activations) as u64;
const MAP_B1: u64 = core::mem::offset_of!(HopperParams, b1) as u64;
const MAP_B2: u64 = core::mem::offset_of!(HopperParams, b2) as u64;

/// Starts fetching the tensor maps.
#[inline(always)]
pub fn prefetch_maps(param_block: u64) {
    tma::prefetch_map(param_block + MAP_ACTIVATIONS);
    tma::prefetch_map(param_block + MAP_B1);
    tma::prefetch_map(param_block + MAP_B2);
}

/// Issues the copies of the CTA's stages, in order. One thread.
///
/// Weights do not depend on the grid that dequantises A: those of the first round are on their way
/// while it still runs.
#[inline(always)]
pub fn run<C: Config>(
    params: &HopperParams,
    param_block: u64,
    mut stages: Producer<C>,
    tile: Tile,
) {
    let source = Source::<C>::new(params, param_block, tile);
    let first_round = tile.stages.len().min(C::PLAN.stages);
    let mut index = 0;
    while index < first_round {
        let k = tile.stages.k(index);
        let stage = stages.acquire(C::PLAN.transaction_bytes(source.scale_tiles(k)));
        source.load_weights(&stage, k);
        index += 1;
    }
    grid::wait_for_prerequisites();
    index = 0;
    while index < first_round {
        source.load_activations(&stages.of_first_round(index), tile.stages.k(index));
        index += 1;
    }
    while index < tile.stages.len() {
        let k = tile.stages.k(index);
        let stage = stages.acquire(C::PLAN.transaction_bytes(source.scale_tiles(k)));
        source.load_activations(&stage, k);
        source.load_weights(&stage, k);
        index += 1;
    }
}

/// Where the tile's operands are in global memory.
struct Source<C: Config> {
    param_block: u64,
    tile: Tile,
    k: u32,
    scale_b1: u64,
    scale_b2: u64,
    weights: CachePolicy,
    activations: CachePolicy,
    config: PhantomData<C>,
}

impl<C: Config> Source<C> {
    #[inline(always)]
    fn new(params: &HopperParams, param_block: u64, tile: Tile) -> Self {
        let scales = |base| row_block(base, params.n, params.k, tile.n, tile.batch);
        Self {
            param_block,
            tile,
            k: params.k,
            scale_b1: scales(params.scale_b1),
            scale_b2: scales(params.scale_b2),
            // Weights that one tile of tokens reads are not read again.
            weights: if params.m <= C::TOKENS {
                CachePolicy::evict_first()
            } else {
                CachePolicy::evict_normal()
            },
            activations: CachePolicy::evict_normal(),
            config: PhantomData,
        }
    }

    /// Tiles of scale factors in the stage that starts at `k`: the last may have one.
    #[inline(always)]
    fn scale_tiles(&self, k: u32) -> u32 {
        ((self.k - k) / MMA_K).min(STAGE_K / MMA_K)
    }

    #[inline(always)]
    fn load_weights(&self, stage: &Filling, k: u32) {
        let (to, full) = (stage.tiles, stage.full);
        let weight_box = [k / 2, self.tile.n, self.tile.batch];
        tma::load_3d(
            to + C::PLAN.b1,
            self.param_block + MAP_B1,
            weight_box,
            full,
            self.weights,
        );
        tma::load_3d(
            to + C::PLAN.b2,
            self.param_block + MAP_B2,
            weight_box,
            full,
            self.weights,
        );
        let scale_offset = (k / STAGE_K) as u64 * WEIGHT_SCALE_BYTES as u64;
        let bytes = self.scale_tiles(k) * SCALE_TILE_BYTES;
        bulk::load(
            to + C::PLAN.scale_b1,
            self.scale_b1 + scale_offset,
            bytes,
            full,
            self.weights,
        );
        bulk::load(
            to + C::PLAN.scale_b2,
            self.scale_b2 + scale_offset,
            bytes,
            full,
            self.weights,
        );
    }

    #[inline(always)]
    fn load_activations(&self, stage: &Filling, k: u32) {
        let load = |half: u32| {
            tma::load_3d(
                stage.tiles + C::PLAN.activations + half * C::TOKENS * 2 * ATOM_K,
                self.param_block + MAP_ACTIVATIONS,
                [k + half * ATOM_K, self.tile.m, self.tile.batch],
                stage.full,
                self.activations,
            );
        };
        load(0);
        load(1);
    }
}

const _: () = assert!(WEIGHT_ROW_BYTES == STAGE_K / 2);
