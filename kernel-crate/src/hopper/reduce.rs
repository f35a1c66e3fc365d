//! Adding up what the warps that share the K of the same columns have summed.
//!
//! They are `k_shares` warps of each CTA of the cluster. Each finishes its part of the columns: a warp
//! whose columns another one finishes sends its sums there, into distributed shared memory.

use core::marker::PhantomData;

use super::config::Config;
use super::epilogue::GroupSums;
use super::tile::Cluster;
use crate::contract::hopper::{COLUMN_WARPS, arrivals, partial_sum_bytes};
use crate::ptx::mbarrier::Mbarrier;
use crate::ptx::wgmma::Accumulator;
use crate::ptx::{cluster, shared, warp};

/// Bytes that a warp sends of each group of tokens.
const GROUP_BYTES: u32 = 32 * 16;

/// A consumer warp's part in the reduction.
#[derive(Clone, Copy)]
pub struct Reduction<C: Config> {
    base: u32,
    sharers_log2: u32,
    /// Among the sharers.
    index: u32,
    /// Which eight columns of the tile.
    column_warp: u32,
    config: PhantomData<C>,
}

/// The barrier that completes when every warp's sums for this CTA have arrived.
#[inline(always)]
fn sums_barrier<C: Config>(shared_base: u32) -> Mbarrier {
    Mbarrier(shared_base + C::PLAN.sums)
}

/// Prepares the CTA for the sums of others. One thread, before any of them can come.
#[inline(always)]
pub fn init<C: Config>(shared_base: u32, cluster: Cluster) {
    let barrier = sums_barrier::<C>(shared_base);
    barrier.init(arrivals::SUMS);
    barrier.arrive_expect_tx(match cluster.ranks_log2 {
        0 => partial_sum_bytes(C::TOKENS, 1),
        1 => partial_sum_bytes(C::TOKENS, 2),
        _ => partial_sum_bytes(C::TOKENS, 4),
    });
}

impl<C: Config> Reduction<C> {
    const SHARES_LOG2: u32 = C::SHAPE.k_shares().trailing_zeros();

    /// Of the warp with columns `column_warp` and K share `share`.
    #[inline(always)]
    pub fn new(shared_base: u32, cluster: Cluster, column_warp: u32, share: u32) -> Self {
        Self {
            base: shared_base,
            sharers_log2: cluster.ranks_log2 + Self::SHARES_LOG2,
            index: (cluster.rank << Self::SHARES_LOG2) + share,
            column_warp,
            config: PhantomData,
        }
    }

    /// Column warps that one sharer finishes.
    #[inline(always)]
    fn owned_log2(self) -> u32 {
        COLUMN_WARPS.trailing_zeros() - self.sharers_log2
    }

    /// The sharer that finishes the warp's columns.
    #[inline(always)]
    fn owner(self) -> u32 {
        self.column_warp >> self.owned_log2()
    }

    /// Whether this warp finishes its columns itself.
    #[inline(always)]
    pub fn is_owner(self) -> bool {
        self.owner() == self.index
    }

    /// Where the sums of the warp's columns that `sender` has lie in their owner's CTA.
    #[inline(always)]
    fn address(self, sender: u32, group: u32) -> u32 {
        let sharers = 1 << self.sharers_log2;
        let place = (sender.wrapping_sub(self.owner()) - 1) & (sharers - 1);
        let share = self.owner() & ((1 << Self::SHARES_LOG2) - 1);
        let block = share * (sharers - 1) + place;
        let column_warp = self.column_warp & ((1 << self.owned_log2()) - 1);
        let block = (block << self.owned_log2()) + column_warp;
        let within = (block * (C::TOKENS / 8) + group) * GROUP_BYTES;
        self.base + C::PLAN.partial_sums + within + 16 * warp::lane_index()
    }

    /// Sends the warp's sums to their owner.
    #[inline(always)]
    pub fn send(self, sums: &C::Sums) {
        let rank = self.owner() >> Self::SHARES_LOG2;
        let barrier = cluster::map_shared(sums_barrier::<C>(self.base).0, rank);
        let first = cluster::map_shared(self.address(self.index, 0), rank);
        sums.for_each_group(|group, sums| {
            cluster::store_16_bytes_async(first + group * GROUP_BYTES, sums, barrier);
        });
    }

    /// Waits until the sums of all others are here.
    #[inline(always)]
    pub fn wait(self) {
        sums_barrier::<C>(self.base).wait(0);
    }

    /// Adds up the sums of a group, in the order of the sharers.
    #[inline(always)]
    pub fn complete(self, group: u32, own: GroupSums) -> GroupSums {
        let mut total = [0.0; 4];
        let mut sharer = 0;
        while sharer < 1 << self.sharers_log2 {
            let sums = if sharer == self.index {
                own
            } else {
                shared::load_16_bytes(self.address(sharer, group)).map(f32::from_bits)
            };
            total = [
                total[0] + sums[0],
                total[1] + sums[1],
                total[2] + sums[2],
                total[3] + sums[3],
            ];
            sharer += 1;
        }
        total
    }
}
