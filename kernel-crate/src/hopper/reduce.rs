//! Adding up what the CTAs of a cluster have summed, each over its share of K.
//!
//! Each CTA finishes its share of the columns. A warp whose columns belong to another sends its sums
//! there, into distributed shared memory.

use core::marker::PhantomData;

use super::config::Config;
use super::epilogue::GroupSums;
use super::tile::Cluster;
use crate::contract::hopper::CONSUMER_WARPS;
use crate::ptx::wgmma::Accumulator;
use crate::ptx::{cluster, shared, warp};

/// Bytes that a warp sends of each group of tokens.
const GROUP_BYTES: u32 = 32 * 16;

/// A consumer warp's part in the reduction.
#[derive(Clone, Copy)]
pub struct Reduction<C: Config> {
    base: u32,
    cluster: Cluster,
    warp_index: u32,
    config: PhantomData<C>,
}

impl<C: Config> Reduction<C> {
    #[inline(always)]
    pub fn new(shared_base: u32, cluster: Cluster, warp_index: u32) -> Self {
        Self {
            base: shared_base + C::PLAN.partial_sums,
            cluster,
            warp_index,
            config: PhantomData,
        }
    }

    #[inline(always)]
    fn warps_per_rank_log2(self) -> u32 {
        CONSUMER_WARPS.trailing_zeros() - self.cluster.ranks_log2
    }

    /// The CTA that finishes the warp's columns.
    #[inline(always)]
    fn owner(self) -> u32 {
        self.warp_index >> self.warps_per_rank_log2()
    }

    /// Whether this warp finishes its columns itself.
    #[inline(always)]
    pub fn is_owner(self) -> bool {
        self.owner() == self.cluster.rank
    }

    /// Where the sums that `sender` has of the warp's columns lie in their owner.
    #[inline(always)]
    fn address(self, sender: u32, group: u32) -> u32 {
        let place = (sender.wrapping_sub(self.owner()) - 1) & (self.cluster.ranks() - 1);
        let warp = self.warp_index & ((1 << self.warps_per_rank_log2()) - 1);
        let block = (place << self.warps_per_rank_log2()) + warp;
        self.base + (block * (C::TOKENS / 8) + group) * GROUP_BYTES + 16 * warp::lane_index()
    }

    /// Sends the warp's sums to their owner. A cluster barrier follows.
    #[inline(always)]
    pub fn send(self, sums: &C::Sums) {
        let owner = self.owner();
        sums.for_each_group(|group, sums| {
            let address = self.address(self.cluster.rank, group);
            cluster::store_16_bytes(cluster::map_shared(address, owner), sums);
        });
    }

    /// Adds up the shares of a group, in the order of ranks.
    #[inline(always)]
    pub fn complete(self, group: u32, own: GroupSums) -> GroupSums {
        let mut total = [0.0; 4];
        let mut rank = 0;
        while rank < self.cluster.ranks() {
            let share = if rank == self.cluster.rank {
                own
            } else {
                shared::load_16_bytes(self.address(rank, group)).map(f32::from_bits)
            };
            total = [
                total[0] + share[0],
                total[1] + share[1],
                total[2] + share[2],
                total[3] + share[3],
            ];
            rank += 1;
        }
        total
    }
}
