//! Adding up what the CTAs of a cluster, which share the K of a tile, have summed.
//!
//! A piece of the tile is eight columns, those of a warp, and eight tokens. Each CTA finishes an equal
//! part of the pieces: the others send their sums of them there, into distributed shared memory.

use core::marker::PhantomData;

use super::config::Config;
use super::epilogue::{GROUP, GroupSums};
use super::tile::Cluster;
use crate::contract::hopper::{COLUMN_WARPS, arrivals, partial_sum_bytes};
use crate::ptx::mbarrier::Mbarrier;
use crate::ptx::wgmma::Accumulator;
use crate::ptx::{cluster, shared, warp};

/// Bytes of a piece's sums.
const PIECE_BYTES: u32 = 32 * 16;

/// A consumer warp's part in the reduction among `RANKS` CTAs.
///
/// Their number is a constant, so that a warp knows which groups it finishes and takes them together:
/// a branch for each would leave nothing to do while it waits.
#[derive(Clone, Copy)]
pub struct Reduction<C: Config, const RANKS: u32> {
    base: u32,
    /// Of this CTA.
    rank: u32,
    /// Which eight columns of the tile.
    column_warp: u32,
    config: PhantomData<C>,
}

/// The barrier that completes when the sums of every other CTA have arrived.
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

impl<C: Config, const RANKS: u32> Reduction<C, RANKS> {
    const GROUPS: u32 = C::TOKENS / GROUP;
    /// Pieces that one CTA finishes.
    const OWNED: u32 = COLUMN_WARPS * Self::GROUPS / RANKS;

    /// Of the warp with columns `column_warp`.
    #[inline(always)]
    pub fn new(shared_base: u32, rank: u32, column_warp: u32) -> Self {
        Self {
            base: shared_base,
            rank,
            column_warp,
            config: PhantomData,
        }
    }

    /// The warp's piece of a group of tokens. In this order the pieces that a CTA finishes are spread
    /// over as many warps as possible.
    #[inline(always)]
    fn piece(self, group: u32) -> u32 {
        group * COLUMN_WARPS + self.column_warp
    }

    /// The CTA that finishes the piece of a group.
    #[inline(always)]
    fn owner(self, group: u32) -> u32 {
        if Self::GROUPS >= RANKS {
            // The same for all warps, and the compiler should know.
            group * RANKS / Self::GROUPS
        } else {
            self.piece(group) / Self::OWNED
        }
    }

    /// Where `sender`'s sums of a group lie in their owner's CTA.
    #[inline(always)]
    fn address(self, sender: u32, group: u32) -> u32 {
        let place = (sender.wrapping_sub(self.owner(group)) - 1) % RANKS;
        let within = (place * Self::OWNED + self.piece(group) % Self::OWNED) * PIECE_BYTES;
        self.base + C::PLAN.partial_sums + within + 16 * warp::lane_index()
    }

    /// Sends the sums of the groups that other CTAs finish, and waits for what those send.
    #[inline(always)]
    pub fn exchange(self, sums: &C::Sums) {
        if RANKS == 1 {
            return;
        }
        let barrier = sums_barrier::<C>(self.base);
        sums.for_each_group(|group, sums| {
            let owner = self.owner(group);
            if owner != self.rank {
                let address = self.address(self.rank, group);
                cluster::store_async_16_bytes(
                    cluster::map_shared(address, owner),
                    sums.map(f32::to_bits),
                    cluster::map_shared(barrier.0, owner),
                );
            }
        });
        barrier.wait(0);
    }

    /// Adds up the sums of a group, in the order of the CTAs, if this one finishes it.
    #[inline(always)]
    pub fn complete(self, group: u32, own: GroupSums) -> Option<GroupSums> {
        if self.owner(group) != self.rank {
            return None;
        }
        let mut total = [0.0; 4];
        let mut rank = 0;
        while rank < RANKS {
            let sums = if rank == self.rank {
                own
            } else {
                shared::load_16_bytes(self.address(rank, group)).map(f32::from_bits)
            };
            total = [
                total[0] + sums[0],
                total[1] + sums[1],
                total[2] + sums[2],
                total[3] + sums[3],
            ];
            rank += 1;
        }
        Some(total)
    }
}
