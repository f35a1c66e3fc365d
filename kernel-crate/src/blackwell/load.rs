//! The load role: one thread keeps the ring of stages full.

use super::kernel::OutputTile;
use crate::contract::{
    DualGemmParams, MMA_K, MMAS_PER_STAGE, SCALE_TILE_BYTES, SharedPlan, TILE_K,
};
use crate::pipeline::Producer;
use crate::ptx::bulk;
use crate::ptx::tma::{self, CachePolicy};
use crate::scales::row_block;

const MAP_A: u64 = core::mem::offset_of!(DualGemmParams, a) as u64;
const MAP_B1: u64 = core::mem::offset_of!(DualGemmParams, b1) as u64;
const MAP_B2: u64 = core::mem::offset_of!(DualGemmParams, b2) as u64;

/// Starts fetching the three tensor maps: a first use would otherwise wait for them.
#[inline(always)]
pub fn prefetch_maps(param_block: u64) {
    tma::prefetch_map(param_block + MAP_A);
    tma::prefetch_map(param_block + MAP_B1);
    tma::prefetch_map(param_block + MAP_B2);
}

/// Issues the copies of every K tile, in order. One thread.
#[inline(always)]
pub fn run<const TILE_N: u32>(
    params: &DualGemmParams,
    param_block: u64,
    mut stages: Producer<TILE_N>,
    tile: OutputTile,
) {
    let plan = const { SharedPlan::new(TILE_N) };
    // Weights are read by few CTAs and never again; activations by every CTA along N.
    let weights = CachePolicy::evict_first();
    let activations = CachePolicy::evict_normal();

    let DualGemmParams { m, n, k, .. } = *params;
    let mut scale_a = row_block(params.scale_a, m, k, tile.m, tile.batch);
    let mut scale_b1 = row_block(params.scale_b1, n, k, tile.n, tile.batch);
    let mut scale_b2 = row_block(params.scale_b2, n, k, tile.n, tile.batch);

    let mut k_start = 0;
    while k_start < k {
        let mmas = ((k - k_start) / MMA_K).min(MMAS_PER_STAGE);
        let scale_bytes = mmas * SCALE_TILE_BYTES;
        let stage = stages.acquire(plan.transaction_bytes(mmas));
        let (to, full) = (stage.tiles, stage.full);
        let weight_box = [k_start, tile.n, tile.batch];
        let activation_box = [k_start, tile.m, tile.batch];

        tma::load_3d(
            to + plan.b1,
            param_block + MAP_B1,
            weight_box,
            full,
            weights,
        );
        tma::load_3d(
            to + plan.b2,
            param_block + MAP_B2,
            weight_box,
            full,
            weights,
        );
        tma::load_3d(
            to + plan.a,
            param_block + MAP_A,
            activation_box,
            full,
            activations,
        );
        bulk::load(to + plan.scale_b1, scale_b1, scale_bytes, full, weights);
        bulk::load(to + plan.scale_b2, scale_b2, scale_bytes, full, weights);
        bulk::load(to + plan.scale_a, scale_a, scale_bytes, full, activations);

        scale_a += scale_bytes as u64;
        scale_b1 += scale_bytes as u64;
        scale_b2 += scale_bytes as u64;
        k_start += TILE_K;
    }
}
