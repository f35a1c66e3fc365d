//! The activation role of the prefill design: each CTA of a cluster copies half of a tile's tokens,
//! to both.

use super::config::{Config, Slots};
use super::load::MAP_ACTIVATIONS;
use super::ring::Producer;
use super::tile::Tile;
use crate::contract::hopper::{PREFILL_CLUSTER, ROW_BYTES, SLOT_K, SLOTS_PER_STAGE};
use crate::ptx::tma::{self, CachePolicy};

/// Every CTA of the cluster.
const ALL_RANKS: u16 = (1 << PREFILL_CLUSTER) - 1;

/// Copies this CTA's half of the tile's activations, slot by slot, for `stages` stages of K. One thread.
#[inline(always)]
pub fn run<C: Config>(
    param_block: u64,
    slots: &mut Producer<Slots<C>>,
    tile: Tile,
    stages: u32,
    rank: u32,
) {
    let policy = CachePolicy::evict_normal();
    let half = C::TOKENS / PREFILL_CLUSTER;
    let mut index = 0;
    while index < stages * SLOTS_PER_STAGE {
        let slot = slots.acquire();
        // What this CTA waits for: both halves.
        slot.full.arrive_expect_tx(C::TOKENS * ROW_BYTES);
        tma::load_3d_multicast(
            slot.address + rank * half * ROW_BYTES,
            param_block + MAP_ACTIVATIONS,
            [index * SLOT_K, tile.m + rank * half, tile.batch],
            slot.full,
            ALL_RANKS,
            policy,
        );
        index += 1;
    }
}
