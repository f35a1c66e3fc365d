//! Sets a CTA up and sends each warp to its role.
//!
//! | warp | role | waits for | hands on |
//! |---|---|---|---|
//! | 0–3 | [`epilogue`] | accumulators full | tensor memory, to warp 5 |
//! | 4 | [`load`] | stage empty | stage full |
//! | 5 | [`mma`] | stage full | stage empty; accumulators full |
//!
//! One CTA computes one 128 × N tile of C. A stage of the ring holds K = 256 of A, B1, B2 and their
//! scale factors; A is loaded once for both products.

use super::epilogue::{self, Epilogue};
use super::{load, mma};
use crate::contract::{
    DualGemmParams, EPILOGUE_WARPS, LOAD_WARP, MMA_WARP, THREADS, TILE_M, TMEM_COLUMNS,
};
use crate::pipeline::Ring;
use crate::ptx::{barrier, shared, tcgen05, warp};

/// Barriers and tensor memory are ready.
const SETUP: u32 = 0;
/// The epilogue has read all of tensor memory.
const TMEM_DRAINED: u32 = 1;
const TMEM_DRAINED_THREADS: u32 = 32 * (EPILOGUE_WARPS + 1);

/// The tile of C that a CTA computes.
#[derive(Clone, Copy)]
pub struct OutputTile {
    /// First row and first column.
    pub m: u32,
    pub n: u32,
    pub batch: u32,
}

/// The body of every entry. `param_block` is the generic address of `params`.
///
/// # Safety
/// Launched as the contract's `KernelEntry` says; tensor maps and pointers in `params` are valid
/// for its shape.
#[inline(always)]
pub unsafe fn dual_gemm<const TILE_N: u32, E: Epilogue>(params: &DualGemmParams, param_block: u64) {
    let warp = warp::broadcast_first(warp::thread_index() / 32);
    let ring = Ring::<TILE_N>::at(shared::base());
    let tile = OutputTile {
        m: warp::cta_index_x() * TILE_M,
        n: warp::cta_index_y() * TILE_N,
        batch: warp::cta_index_z(),
    };

    if warp == LOAD_WARP {
        let leader = warp::elect_one();
        if leader {
            load::prefetch_maps(param_block);
            ring.init_barriers();
        }
        warp::sync();
        // Arrives only: the first copies need nothing that another warp sets up.
        barrier::arrive::<SETUP, THREADS>();
        if leader {
            load::run(params, param_block, ring.producer(), tile);
        }
    } else if warp == MMA_WARP {
        tcgen05::alloc(ring.tmem_address_slot(), TMEM_COLUMNS);
        tcgen05::relinquish_alloc_permit();
        let tmem = setup_complete(ring);
        if warp::elect_one() {
            mma::run(params.k, ring, tmem, tile);
        }
        warp::sync();
        barrier::sync::<TMEM_DRAINED, TMEM_DRAINED_THREADS>();
        tcgen05::fence_after_thread_sync();
        tcgen05::dealloc(tmem, TMEM_COLUMNS);
    } else {
        let tmem = setup_complete(ring);
        ring.accumulators_full().wait(0);
        tcgen05::fence_after_thread_sync();
        // SAFETY: the caller's contract on the output pointers.
        unsafe { epilogue::run::<TILE_N, E>(params, tmem, warp, tile) };
        tcgen05::fence_before_thread_sync();
        barrier::arrive::<TMEM_DRAINED, TMEM_DRAINED_THREADS>();
    }
}

/// Waits for the set-up of all warps; returns the address of tensor memory.
#[inline(always)]
fn setup_complete<const TILE_N: u32>(ring: Ring<TILE_N>) -> u32 {
    tcgen05::fence_before_thread_sync();
    barrier::sync::<SETUP, THREADS>();
    tcgen05::fence_after_thread_sync();
    shared::load_u32(ring.tmem_address_slot())
}
