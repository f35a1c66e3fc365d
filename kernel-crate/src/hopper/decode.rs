//! The decode design: few tokens, bound by the bytes of the weights.
//!
//! | warps | role | waits for | hands on |
//! |---|---|---|---|
//! | 0–15 | [`multiply`], then [`reduce`] and [`epilogue`] | stage full, slot full | stage empty, slot empty; C |
//! | 16–23 | [`unpack`]: loads and dequantises activations | the grid before, slot empty | slot full |
//! | 24 (25–27 fill the warpgroup) | one thread of [`load`] | stage empty | stage full |
//!
//! One CTA computes 64 columns of C for its tile of tokens, or, in a cluster, the sum over its share
//! of K. Warps 0–7 multiply with the first half of each stage's slots, 8–15 with the second.

use super::config::{Config, Slots, Stages};
use super::epilogue::{self, Epilogue};
use super::load;
use super::multiply::{self, Rings};
use super::reduce::{self, Reduction};
use super::ring::Ring;
use super::tile::{Cluster, Span, Tile};
use super::unpack;
use crate::contract::hopper::{
    COLUMN_WARPS, HopperParams, MAX_DEQUANTIZE_WARPS, TILE_N, TileShape, arrivals,
};
use crate::ptx::{barrier, cluster, grid, mbarrier, registers, shared, warp};

/// Barriers are ready.
const SETUP: u32 = 0;
/// The same for every tile of the design.
const SHAPE: TileShape = TileShape { tokens: 8 };
const THREADS: u32 = SHAPE.threads();
const CONSUMER_WARPS: u32 = SHAPE.consumer_warps();
const LOAD_WARP: u32 = CONSUMER_WARPS + MAX_DEQUANTIZE_WARPS;

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

    if warp_index >= LOAD_WARP {
        registers::decrease_to::<{ TileShape::COPY_REGISTERS }>();
        let leader = warp::elect_one();
        // Weights are to be on their way soon: another warp prepares what they do not need.
        if warp_index == LOAD_WARP && leader {
            load::prefetch_maps(param_block);
            stages.init_barriers(arrivals::STAGE_FULL, arrivals::stage_empty(C::SHAPE));
            mbarrier::fence_init();
        } else if warp_index == LOAD_WARP + 1 && leader {
            slots.init_barriers(
                arrivals::slot_full(C::SHAPE),
                arrivals::slot_empty(C::SHAPE),
            );
            reduce::init::<C>(shared::base(), cluster);
            mbarrier::fence_init();
        }
        warp::sync();
        barrier::arrive::<SETUP, THREADS>();
        announce(cluster);
        if warp_index == LOAD_WARP && leader {
            load::run::<C>(params, param_block, &mut stages.producer(), tile, span);
            grid::launch_dependents();
        }
        warp::sync();
        await_start(cluster);
    } else if warp_index >= CONSUMER_WARPS {
        registers::decrease_to::<{ TileShape::DEQUANTIZE_REGISTERS }>();
        announce(cluster);
        barrier::sync::<SETUP, THREADS>();
        let index = warp_index - CONSUMER_WARPS;
        if index < C::SHAPE.dequantize_warps() {
            unpack::run::<C>(params, slots, tile, span, index);
        }
        await_start(cluster);
    } else {
        C::take_consumer_registers();
        announce(cluster);
        barrier::sync::<SETUP, THREADS>();
        let (column_warp, share) = (warp_index % COLUMN_WARPS, warp_index / COLUMN_WARPS);
        let mut rings = Rings::new(stages, slots, share);
        let sums = multiply::run::<C>(&mut rings, tile, span, column_warp);
        let reduction = Reduction::<C>::new(shared::base(), cluster, column_warp, share);
        // Sums may only be sent to a CTA that is there.
        await_start(cluster);
        if reduction.is_owner() {
            reduction.wait();
            let complete = |group, sums| reduction.complete(group, sums);
            // SAFETY: the caller's contract on the output pointers.
            unsafe { epilogue::run::<C, E>(params, tile, column_warp, &sums, complete) };
        } else {
            reduction.send(&sums);
        }
        if cluster.ranks_log2 != 0 {
            // Nobody leaves before what it sent has arrived.
            cluster::arrive_relaxed();
            cluster::wait();
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

/// Waits until every warp of the cluster has started.
#[inline(always)]
fn await_start(cluster: Cluster) {
    if cluster.ranks_log2 != 0 {
        cluster::wait();
    }
}
