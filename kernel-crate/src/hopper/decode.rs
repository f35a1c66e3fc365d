//! The decode design: few tokens, bound by the bytes of the weights.
//!
//! | warps | role | waits for | hands on |
//! |---|---|---|---|
//! | 0–7 | [`multiply`], then [`reduce`](super::reduce) and [`epilogue`] | stage full, slot full | stage empty, slot empty; C |
//! | 8–10 | [`unpack`]: dequantises activations | stage full, slot empty | slot full, stage empty |
//! | 11 | one thread of [`load`] | stage empty | stage full |
//!
//! One CTA computes 64 columns of C for its tile of tokens, or, in a cluster, the sum over its share
//! of K. Two CTAs fit an SM: while one multiplies its last stages, one of the stream's next grid may
//! already copy its first weights.

use super::config::{Config, Slots, Stages};
use super::epilogue::{self, Epilogue};
use super::load::{self, Activations, Weights};
use super::multiply::{self, Rings};
use super::reduce::Reduction;
use super::ring::Ring;
use super::tile::{Cluster, Span, Tile};
use super::unpack;
use crate::contract::hopper::{
    CONSUMER_WARPGROUPS, CONSUMER_WARPS, DEQUANTIZE_WARPS, HopperParams, THREADS, TILE_N, arrivals,
};
use crate::ptx::{barrier, cluster, grid, mbarrier, shared, warp};

/// Barriers are ready.
const SETUP: u32 = 0;
const LOAD_WARP: u32 = CONSUMER_WARPS + DEQUANTIZE_WARPS;

/// The body of every entry of the design. `param_block` is the generic address of `params`.
///
/// # Safety
/// Launched as the contract says; tensor maps and pointers in `params` are valid for its shape.
#[inline(always)]
pub unsafe fn dual_gemm<C: Config, E: Epilogue>(params: &HopperParams, param_block: u64) {
    let warp_index = warp::broadcast_first(warp::thread_index() / 32);
    let stages = Ring::<Stages<C>>::at(shared::base());
    let slots = Ring::<Slots<C>>::at(shared::base());
    let cluster = Cluster::this();
    let tile = Tile {
        m: warp::cta_index_y() * C::TOKENS,
        n: (warp::cta_index_x() >> cluster.ranks_log2) * TILE_N,
        batch: warp::cta_index_z(),
    };
    let span = Span::share(params.k, cluster);

    if warp_index / 4 == CONSUMER_WARPGROUPS {
        C::keep_producer_registers();
        if warp_index == LOAD_WARP {
            let leader = warp::elect_one();
            if leader {
                load::prefetch_maps(param_block);
                stages.init_barriers(arrivals::STAGE_FULL, arrivals::stage_empty(C::SHAPE));
                slots.init_barriers(
                    arrivals::slot_full(C::SHAPE),
                    arrivals::slot_empty(C::SHAPE),
                );
                mbarrier::fence_init();
            }
            warp::sync();
            barrier::arrive::<SETUP, THREADS>();
            announce(cluster);
            if leader {
                run_load::<C>(params, param_block, stages, tile, span);
            }
        } else {
            announce(cluster);
            barrier::sync::<SETUP, THREADS>();
            unpack::run::<C>(
                stages.consumer(),
                slots,
                tile,
                span,
                warp_index - CONSUMER_WARPS,
            );
        }
    } else {
        C::take_consumer_registers();
        announce(cluster);
        barrier::sync::<SETUP, THREADS>();
        let mut rings = Rings {
            stages: stages.consumer(),
            slots: slots.consumer(),
        };
        let sums = multiply::run::<C>(&mut rings, tile, span, warp_index);
        if cluster.ranks_log2 == 0 {
            // SAFETY: the caller's contract on the output pointers.
            unsafe { epilogue::run::<C, E>(params, tile, warp_index, &sums, |_, sums| sums) };
            return;
        }
        let reduction = Reduction::<C>::new(shared::base(), cluster, warp_index);
        // Every CTA has started.
        cluster::wait();
        if C::PLAN.sums_overlay_stages {
            // Every CTA has read its stages.
            cluster::sync();
        }
        if !reduction.is_owner() {
            reduction.send(&sums);
        }
        cluster::sync();
        if reduction.is_owner() {
            let complete = |group, sums| reduction.complete(group, sums);
            // SAFETY: the caller's contract on the output pointers.
            unsafe { epilogue::run::<C, E>(params, tile, warp_index, &sums, complete) };
        }
    }
}

/// Tells the cluster that this warp has started.
#[inline(always)]
fn announce(cluster: Cluster) {
    if cluster.ranks_log2 != 0 {
        cluster::arrive_relaxed();
    }
}

/// Issues the copies of the CTA's stages, in order. One thread.
///
/// Weights do not depend on the grid before, which may write A: those of the first round are on their
/// way while it still runs.
#[inline(always)]
fn run_load<C: Config>(
    params: &HopperParams,
    param_block: u64,
    ring: Ring<Stages<C>>,
    tile: Tile,
    span: Span,
) {
    let mut stages = ring.producer();
    let weights = Weights::new::<C>(params, param_block, tile);
    let first_round = span.len().min(C::PLAN.stages.count);
    let mut index = 0;
    while index < first_round {
        let scale_tiles = span.scale_tiles(index);
        let stage = stages.acquire();
        stage
            .full
            .arrive_expect_tx(load::decode_transaction_bytes::<C>(scale_tiles));
        weights.load::<C>(&stage, span.k(index), scale_tiles);
        index += 1;
    }
    grid::wait_for_prerequisites();
    let activations = Activations::new(params, param_block, tile);
    index = 0;
    while index < first_round {
        let stage = ring.of_first_round(index);
        activations.load::<C>(&stage, span.k(index), span.scale_tiles(index));
        index += 1;
    }
    while index < span.len() {
        let scale_tiles = span.scale_tiles(index);
        let stage = stages.acquire();
        stage
            .full
            .arrive_expect_tx(load::decode_transaction_bytes::<C>(scale_tiles));
        weights.load::<C>(&stage, span.k(index), scale_tiles);
        activations.load::<C>(&stage, span.k(index), scale_tiles);
        index += 1;
    }
    grid::launch_dependents();
}
