//! The decode design: few tokens, bound by the bytes of the weights.
//!
//! | warps | role | waits for | hands on |
//! |---|---|---|---|
//! | 0–7 | [`multiply`], then [`reduce`] and [`epilogue`] | stage full, slot full | stage empty, slot empty; C |
//! | 8–15 (8, 9) | [`unpack`]: dequantises activations | packed full, slot empty | packed empty, slot full |
//! | 16 (10) | one thread of [`load`], which lets the next grid in | stage empty | stage full |
//! | 17 (11); 18, 19 fill the warpgroup | one thread of [`packed`] | the grid before, packed empty | packed full |
//!
//! In brackets: with up to 16 tokens, where an SM has room for two CTAs.
//!
//! One CTA computes 64 columns of C for its tile of tokens, or, in a cluster, the sum over its share
//! of K.

use super::config::{Config, Packed, Slots, Stages};
use super::epilogue::{self, Epilogue};
use super::load;
use super::multiply::{self, Rings};
use super::packed;
use super::reduce::{self, Reduction};
use super::ring::Ring;
use super::tile::{Cluster, Span, Tile};
use super::unpack;
use crate::contract::hopper::{COLUMN_WARPS, HopperParams, TILE_N};
use crate::ptx::{cluster, grid, mbarrier, shared, trap, warp};

/// The body of every entry of the design. `param_block` is the generic address of `params`.
///
/// # Safety
/// Launched as the contract says; tensor maps and pointers in `params` are valid for its shape.
#[inline(always)]
pub unsafe fn dual_gemm<C: Config, E: Epilogue>(params: &HopperParams, param_block: u64) {
    let load_warp = C::SHAPE.first_copy_warp();
    let packed_warp = load_warp + 1;
    let warp_index = warp::broadcast_first(warp::thread_index() / 32);
    let stages = Ring::<Stages<C>>::at(shared::base());
    let slots = Ring::<Slots<C>>::at(shared::base());
    let packed = Ring::<Packed<C>>::at(shared::base());
    let cluster = Cluster::this();
    let tile = Tile {
        m: warp::cta_index_y() * C::TOKENS,
        n: (warp::cta_index_x() >> cluster.ranks_log2) * TILE_N,
        batch: warp::cta_index_z(),
    };
    let span = Span::share(params.k, cluster);

    if warp_index >= COLUMN_WARPS {
        // Warps of a warpgroup give registers back by the same instruction. Otherwise each role does, as
        // ptxas holds all code behind it to what it leaves.
        let one_warpgroup = C::SHAPE.copies_beside_dequantizing();
        if one_warpgroup {
            C::take_copy_registers();
        }
        if warp_index >= load_warp {
            if !one_warpgroup {
                C::take_copy_registers();
            }
            let leader = warp::elect_one();
            // Weights are to be on their way soon: another warp prepares what they do not need.
            if warp_index == load_warp && leader {
                load::prefetch_maps(param_block);
                stages.init_barriers();
                mbarrier::fence_init();
            } else if warp_index == packed_warp && leader {
                slots.init_barriers();
                packed.init_barriers();
                reduce::init::<C>(shared::base(), cluster);
                mbarrier::fence_init();
            }
            warp::sync();
            cluster::arrive_relaxed();
            if warp_index == load_warp && leader {
                let stages = &mut stages.producer();
                let (all, left) = (span.len(), C::SHAPE.stages_behind_dependents());
                let before = all.saturating_sub(left);
                load::run::<C>(params, param_block, stages, tile, span, 0..before);
                // Where shares are short this may be before the grid before has ended. Three grids may
                // then run at a time, in order nevertheless: each waits for the one before, in every CTA,
                // before it reads A or writes C, and so ends after it.
                grid::launch_dependents();
                load::run::<C>(params, param_block, stages, tile, span, before..all);
            } else if warp_index == packed_warp && leader {
                grid::wait_for_prerequisites();
                packed::run::<C>(params, param_block, &mut packed.producer(), tile, span);
            }
            warp::sync();
            cluster::wait();
        } else {
            if !one_warpgroup {
                C::take_dequantize_registers();
            }
            cluster::arrive_relaxed();
            cluster::wait();
            let index = warp_index - COLUMN_WARPS;
            if index < C::SHAPE.dequantize_warps() {
                unpack::run::<C>(packed, slots, tile, span, index);
            }
        }
    } else {
        C::take_consumer_registers();
        cluster::arrive_relaxed();
        cluster::wait();
        let mut rings = Rings::new(stages, slots);
        let sums = multiply::run::<C>(&mut rings, tile, span, warp_index);
        // SAFETY: the caller's contract on the output pointers.
        unsafe {
            match cluster.ranks_log2 {
                0 => finish::<C, E, 1>(params, tile, 0, warp_index, &sums),
                1 => finish::<C, E, 2>(params, tile, cluster.rank, warp_index, &sums),
                2 if C::SHAPE.max_split_k() == 4 => {
                    finish::<C, E, 4>(params, tile, cluster.rank, warp_index, &sums);
                }
                // A launch that the contract does not have.
                _ => trap(),
            }
        }
        if cluster.ranks_log2 != 0 {
            // Nobody leaves before what it sent has arrived.
            cluster::arrive_relaxed();
            cluster::wait();
        }
    }
}

/// From a warp's sums over the CTA's share of K to the output.
///
/// # Safety
/// As for [`epilogue::run`].
#[inline(always)]
unsafe fn finish<C: Config, E: Epilogue, const RANKS: u32>(
    params: &HopperParams,
    tile: Tile,
    rank: u32,
    column_warp: u32,
    sums: &C::Sums,
) {
    let reduction = Reduction::<C, RANKS>::new(shared::base(), rank, column_warp);
    reduction.exchange(sums);
    let complete = |group, sums| reduction.complete(group, sums);
    // SAFETY: the caller's contract.
    unsafe { epilogue::run::<C, E>(params, tile, column_warp, sums, complete) };
}
