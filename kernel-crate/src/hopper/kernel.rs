//! Sets a CTA up and sends each warpgroup to its role.
//!
//! | warpgroup | role | waits for | hands on |
//! |---|---|---|---|
//! | all but the last | [`multiply`](super::multiply), then [`epilogue`](super::epilogue) | stage full | stage empty; C |
//! | last | one thread of [`load`](super::load) | stage empty | stage full |
//!
//! One CTA computes 64 columns of C for its tile of tokens, or, in a cluster, the sum over its part
//! of K; the cluster's CTAs then add up their parts, each for its share of the columns.

use super::config::Config;
use super::epilogue::{self, Epilogue};
use super::load;
use super::multiply::{self, Part};
use super::ring::Ring;
use crate::contract::hopper::{
    CONSUMER_REGISTERS, HopperParams, PRODUCER_REGISTERS, STAGE_K, TILE_N,
};
use crate::ptx::{barrier, registers, shared, warp};

/// Barriers are ready.
const SETUP: u32 = 0;

/// The tile of C that a CTA works on, and its part of K.
#[derive(Clone, Copy)]
pub struct Tile {
    /// First row and first column.
    pub m: u32,
    pub n: u32,
    pub batch: u32,
    pub stages: Stages,
}

/// The CTA's place among those that share the K of a tile. They lie along x.
#[derive(Clone, Copy)]
pub struct Cluster {
    pub rank: u32,
    /// Their number is a power of two; as a shift it divides without a division.
    pub ranks_log2: u32,
}

impl Cluster {
    #[inline(always)]
    fn this() -> Self {
        Self {
            rank: warp::cluster_rank(),
            ranks_log2: warp::cluster_size().trailing_zeros(),
        }
    }

    #[inline(always)]
    pub fn ranks(self) -> u32 {
        1 << self.ranks_log2
    }
}

/// The stages of a tile's K that one CTA of the cluster multiplies.
#[derive(Clone, Copy)]
pub struct Stages {
    first: u32,
    end: u32,
}

impl Stages {
    /// An even share of `k` for this CTA of the cluster.
    #[inline(always)]
    fn share(k: u32, cluster: Cluster) -> Self {
        let all = k.div_ceil(STAGE_K);
        Self {
            first: (all * cluster.rank) >> cluster.ranks_log2,
            end: (all * (cluster.rank + 1)) >> cluster.ranks_log2,
        }
    }

    #[inline(always)]
    pub fn len(self) -> u32 {
        self.end - self.first
    }

    /// First element of stage `index`.
    #[inline(always)]
    pub fn k(self, index: u32) -> u32 {
        (self.first + index) * STAGE_K
    }
}

/// The body of every entry that multiplies. `param_block` is the generic address of `params`.
///
/// # Safety
/// Launched as the contract says; tensor maps and pointers in `params` are valid for its shape.
#[inline(always)]
pub unsafe fn dual_gemm<C: Config, E: Epilogue>(params: &HopperParams, param_block: u64) {
    let thread = warp::thread_index();
    let warpgroup = warp::broadcast_first(thread / 128);
    let ring = Ring::<C>::at(shared::base());
    let cluster = Cluster::this();
    let tile = Tile {
        m: warp::cta_index_y() * C::TOKENS,
        n: (warp::cta_index_x() >> cluster.ranks_log2) * TILE_N,
        batch: warp::cta_index_z(),
        stages: Stages::share(params.k, cluster),
    };

    if warpgroup == C::SHAPE.consumer_threads() / 128 {
        registers::decrease_to::<PRODUCER_REGISTERS>();
        let is_first_warp = warp::broadcast_first(thread / 32) == C::SHAPE.consumer_threads() / 32;
        let leader = is_first_warp && warp::elect_one();
        if leader {
            load::prefetch_maps(param_block);
            ring.init_barriers();
        }
        warp::sync();
        barrier::arrive_all::<SETUP>(C::SHAPE.threads());
        if leader {
            load::run(params, param_block, ring.producer(), tile);
        }
    } else {
        if C::SHAPE.k_shares == 1 {
            registers::increase_to::<{ CONSUMER_REGISTERS[0] }>();
        } else {
            registers::increase_to::<{ CONSUMER_REGISTERS[1] }>();
        }
        barrier::sync_all::<SETUP>(C::SHAPE.threads());
        let part = Part::of::<C>(warpgroup);
        let sums = multiply::run::<C>(params.k, ring.consumer(), tile, part, thread % 128);
        // SAFETY: the caller's contract on the output pointers.
        unsafe {
            epilogue::run::<C, E>(params, shared::base(), tile, thread, cluster, part, &sums)
        };
    }
}
