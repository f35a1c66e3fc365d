//! The activation load role of the decode design: copies activations as they are in memory.

use super::config::{Config, Packed};
use super::load::{MAP_ACTIVATIONS, load_scales};
use super::ring::{Filling, Producer};
use super::tile::{Span, Tile};
use crate::contract::hopper::HopperParams;
use crate::ptx::tma::{self, CachePolicy};
use crate::scales::row_block;

/// Copies the activations of the tile's span of K. One thread, after the grid before, which may write A.
#[inline(always)]
pub fn run<C: Config>(
    params: &HopperParams,
    param_block: u64,
    packed: &mut Producer<Packed<C>>,
    tile: Tile,
    span: Span,
) {
    let activations = Activations::new(params, param_block, tile);
    let mut index = 0;
    while index < span.len() {
        activations.load::<C>(packed, span, index);
        index += 1;
    }
}

/// Where a tile's activations are in global memory.
struct Activations {
    param_block: u64,
    tile: Tile,
    scales: u64,
    policy: CachePolicy,
}

impl Activations {
    #[inline(always)]
    fn new(params: &HopperParams, param_block: u64, tile: Tile) -> Self {
        Self {
            param_block,
            tile,
            scales: row_block(params.scale_a, params.m, params.k, tile.m, tile.batch),
            policy: CachePolicy::evict_normal(),
        }
    }

    /// Copies the activations of stage `index` of the span, once there is room.
    #[inline(always)]
    fn load<C: Config>(&self, packed: &mut Producer<Packed<C>>, span: Span, index: u32) {
        let (k, scale_tiles) = (span.k(index), span.scale_tiles(index));
        let Filling { address: to, full } = packed.acquire();
        full.arrive_expect_tx(C::PLAN.packed_transaction_bytes(scale_tiles));
        let map = self.param_block + MAP_ACTIVATIONS;
        let at = [k / 2, self.tile.m, self.tile.batch];
        tma::load_3d(to, map, at, full, self.policy);
        load_scales(
            to + C::PLAN.scale_a,
            self.scales,
            k,
            scale_tiles,
            full,
            self.policy,
        );
    }
}
