//! The activation role of the decode design: warps dequantise the tile's activations from stages into
//! slots.

use super::config::{Config, Slots, Stages};
use super::dequantize::{self, Scales};
use super::ring::{Consumer, Ring};
use super::tile::{Span, Tile};
use crate::contract::hopper::{ROW_BYTES, SLOTS_PER_STAGE};
use crate::contract::{SCALE_TILE_BYTES, SCALE_TILE_ROWS};
use crate::ptx::{shared, warp};

/// Dequantises this warp's share of every stage.
///
/// A warp takes 32 rows of slots at a time, a lane a row: 32 tokens of one slot, or fewer tokens of
/// several.
///
/// ```text
/// row of a stage   │ K 0–63: slot 0, 1, 2, 3, 8 B each │ K 64–127 │ K 128–191 │ K 192–255 │
/// row of slot j    │ 16-byte chunk c = 0…7: register c%4 of word c/4 of the j-th 8 B of each │
/// ```
#[inline(always)]
pub fn run<C: Config>(
    mut stages: Consumer<Stages<C>>,
    slots: Ring<Slots<C>>,
    tile: Tile,
    span: Span,
    warp_index: u32,
) {
    let lane = warp::lane_index();
    let rows = Rows::<C>::of(lane);
    let mut turn = warp_index;
    let mut index = 0;
    while index < span.len() {
        let stage = stages.acquire();
        let turns = (index + 1) * Rows::<C>::TURNS_PER_STAGE;
        while turn < turns {
            let number = turn / Rows::<C>::TURNS_PER_SLOT * Rows::<C>::SLOTS + rows.slot;
            let row = Row {
                slot: number % SLOTS_PER_STAGE,
                token: turn % Rows::<C>::TURNS_PER_SLOT * Rows::<C>::TOKENS + rows.token,
            };
            row.unpack::<C>(stage.address, slots, tile, span.scale_tiles(index), number);
            turn += C::SHAPE.dequantize_warps();
        }
        warp::sync();
        if lane == 0 {
            stage.release();
        }
        index += 1;
    }
}

/// The rows of slots that a warp dequantises at a time, and this lane's among them.
struct Rows<C: Config> {
    slot: u32,
    token: u32,
    config: core::marker::PhantomData<C>,
}

impl<C: Config> Rows<C> {
    const TOKENS: u32 = if C::TOKENS < 32 { C::TOKENS } else { 32 };
    const SLOTS: u32 = 32 / Self::TOKENS;
    const TURNS_PER_SLOT: u32 = C::TOKENS / Self::TOKENS;
    const TURNS_PER_STAGE: u32 = Self::TURNS_PER_SLOT * SLOTS_PER_STAGE / Self::SLOTS;

    #[inline(always)]
    fn of(lane: u32) -> Self {
        Self {
            slot: lane / Self::TOKENS,
            token: lane % Self::TOKENS,
            config: core::marker::PhantomData,
        }
    }
}

/// A token's 64 elements of a slot.
#[derive(Clone, Copy)]
struct Row {
    /// Of the stage's four.
    slot: u32,
    token: u32,
}

impl Row {
    /// Fills the row of the slot that is filled as number `number`. A converged warp, a row to a lane.
    #[inline(always)]
    fn unpack<C: Config>(
        self,
        stage: u32,
        slots: Ring<Slots<C>>,
        tile: Tile,
        scale_tiles: u32,
        number: u32,
    ) {
        let scale = |quad_thread| self.scale::<C>(stage, tile, scale_tiles, quad_thread);
        let scales = [scale(0), scale(1), scale(2), scale(3)];
        let slot = slots.turn(number).acquire();
        let row = slot.address + self.token * ROW_BYTES;
        let store = |chunk: u32, registers: [u32; 4]| {
            shared::store_16_bytes(row + 16 * (chunk ^ self.token % 8), registers);
        };
        let half = |half: u32| {
            let of = |quad_thread: u32| {
                let word = self.word::<C>(stage, quad_thread, half);
                dequantize::word(word, scales[quad_thread as usize])
            };
            let [a, b, c, d] = [of(0), of(1), of(2), of(3)];
            store(4 * half, [a[0], b[0], c[0], d[0]]);
            store(4 * half + 1, [a[1], b[1], c[1], d[1]]);
            store(4 * half + 2, [a[2], b[2], c[2], d[2]]);
            store(4 * half + 3, [a[3], b[3], c[3], d[3]]);
        };
        half(0);
        half(1);
        shared::fence_async_proxy();
        warp::sync();
        // The first lane of each slot.
        if warp::lane_index() % Rows::<C>::TOKENS == 0 {
            slot.full.arrive();
        }
    }

    /// One of the two words that one thread of a quad multiplies with.
    #[inline(always)]
    fn word<C: Config>(self, stage: u32, quad_thread: u32, half: u32) -> u32 {
        let chunk = (2 * quad_thread + self.slot / 2) ^ self.token % 8;
        let row = stage + C::PLAN.a + self.token * ROW_BYTES;
        shared::load_u32(row + 16 * chunk + 8 * (self.slot % 2) + 4 * half)
    }

    /// The scale factor of both words, in both halves of a register; 0 where they are beyond K.
    #[inline(always)]
    fn scale<C: Config>(self, stage: u32, tile: Tile, scale_tiles: u32, quad_thread: u32) -> u32 {
        // A tile of scale factors has 128 rows: a tile of 64 tokens may start in the middle.
        let scale_row = tile.m % SCALE_TILE_ROWS + self.token;
        let scale = shared::load_u8(
            stage
                + C::PLAN.scale_a
                + quad_thread * SCALE_TILE_BYTES
                + scale_row % 32 * 16
                + scale_row / 32 * 4
                + self.slot,
        );
        Scales::unpack(if quad_thread < scale_tiles { scale } else { 0 }).get(0)
    }
}
