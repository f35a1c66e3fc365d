//! The prefill design: many tokens, bound by arithmetic.
//!
//! | warps | role | waits for | hands on |
//! |---|---|---|---|
//! | 0–7 | [`multiply`], then [`epilogue`] | stage full, slot full | stage empty; slot empty, to both CTAs; C |
//! | 8 | one thread copies weights ([`load`]) | stage empty | stage full |
//! | 9 | one thread copies activations ([`multicast`]) | slot empty | slot full, of both CTAs |
//!
//! The CTAs of a cluster compute neighbouring columns of C for the same tokens, so that each has to
//! fetch half of the activations only. The grid is persistent: its clusters go through all tiles, and
//! copies for the next tile are under way during the epilogue of the last.

use super::config::{Config, Slots, Stages};
use super::epilogue::{self, Epilogue};
use super::load;
use super::multicast;
use super::multiply::{self, Rings};
use super::ring::Ring;
use super::tile::{Span, Tiles};
use crate::contract::hopper::{COLUMN_WARPS, HopperParams};
use crate::ptx::{cluster, grid, mbarrier, shared, warp};

const WEIGHT_WARP: u32 = COLUMN_WARPS;
const ACTIVATION_WARP: u32 = COLUMN_WARPS + 1;

/// The body of every entry of the design. `param_block` is the generic address of `params`.
///
/// # Safety
/// Launched as the contract says; tensor maps and pointers in `params` are valid for its shape.
#[inline(always)]
pub unsafe fn dual_gemm<C: Config, E: Epilogue>(params: &HopperParams, param_block: u64) {
    let warp_index = warp::broadcast_first(warp::thread_index() / 32);
    let stages = Ring::<Stages<C>>::at(shared::base());
    let slots = Ring::<Slots<C>>::at(shared::base());
    let mut tiles = Tiles::new(params.m, params.n, params.batch, C::TOKENS);
    let span = Span::all(params.k);

    if warp_index >= COLUMN_WARPS {
        C::take_copy_registers();
        let leader = warp::elect_one();
        if warp_index == WEIGHT_WARP && leader {
            load::prefetch_maps(param_block);
            stages.init_barriers();
            mbarrier::fence_init();
        } else if warp_index == ACTIVATION_WARP && leader {
            slots.init_barriers();
            mbarrier::fence_init();
        }
        warp::sync();
        cluster::arrive_relaxed();
        if warp_index == WEIGHT_WARP {
            if leader {
                let mut stages = stages.producer();
                while let Some(tile) = tiles.next() {
                    let all = 0..span.len();
                    load::run::<C>(params, param_block, &mut stages, tile, span, all);
                }
            }
            warp::sync();
            cluster::wait();
        } else {
            cluster::wait();
            if warp_index == ACTIVATION_WARP && leader {
                grid::wait_for_prerequisites();
                let rank = warp::cluster_rank();
                let mut slots = slots.producer();
                while let Some(tile) = tiles.next() {
                    multicast::run::<C>(param_block, &mut slots, tile, span.len(), rank);
                }
                grid::launch_dependents();
            }
            warp::sync();
        }
    } else {
        C::take_consumer_registers();
        cluster::arrive_relaxed();
        cluster::wait();
        let mut rings = Rings::new(stages, slots);
        while let Some(tile) = tiles.next() {
            let sums = multiply::run::<C>(&mut rings, tile, span, warp_index);
            // SAFETY: the caller's contract on the output pointers.
            unsafe { epilogue::run::<C, E>(params, tile, warp_index, &sums, |_, sums| Some(sums)) };
        }
    }
    // Nobody leaves while the other may still copy or arrive here.
    cluster::arrive_relaxed();
    cluster::wait();
}
