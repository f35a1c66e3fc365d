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

/// Copies this CTA's half of the tile's activations, piece by piece, for `stages` stages of K. One thread.
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
    let slots_per_piece = C::SHAPE.slots_per_piece();
    let mut index = 0;
    while index < stages * SLOTS_PER_STAGE {
        let piece = slots.acquire();
        // What this CTA waits for: both halves.
        piece
            .full
            .arrive_expect_tx(slots_per_piece * C::TOKENS * ROW_BYTES);
        let mut within = 0;
        while within < slots_per_piece {
            tma::load_3d_multicast(
                piece.address + (within * C::TOKENS + rank * half) * ROW_BYTES,
                param_block + MAP_ACTIVATIONS,
                [(index + within) * SLOT_K, tile.m + rank * half, tile.batch],
                piece.full,
                ALL_RANKS,
                policy,
            );
            within += 1;
        }
        index += slots_per_piece;
    }
}
