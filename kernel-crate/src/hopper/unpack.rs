//! The activation role of the decode design: warps dequantise packed activations into slots.

use super::config::{Config, Packed, Slots};
use super::dequantize::{self, Scales};
use super::ring::{Consumer, Producer, Ring};
use super::tile::{Span, Tile};
use crate::contract::hopper::{ROW_BYTES, SLOTS_PER_STAGE, STAGE_K};
use crate::contract::{MMA_K, SCALE_TILE_BYTES, SCALE_TILE_ROWS};
use crate::ptx::{shared, warp};

/// Dequantises this warp's share of every stage: eight tokens, a lane one token's row of one slot.
///
/// ```text
/// a token's stage  │ K 0–63: slot 0, 1, 2, 3, 8 B each │ K 64–127 │ K 128–191 │ K 192–255 │
/// its row of slot j│ 16-byte chunk c = 0…7: register c%4 of word c/4 of the j-th 8 B of each │
/// ```
#[inline(always)]
pub fn run<C: Config>(
    packed: Ring<Packed<C>>,
    slots: Ring<Slots<C>>,
    tile: Tile,
    span: Span,
    warp_index: u32,
) {
    let lane = warp::lane_index();
    let first = warp_index / C::SHAPE.token_groups();
    let token = warp_index % C::SHAPE.token_groups() * 8 + lane % 8;
    let slot = lane / 8;
    let mut work = Work::<C> {
        packed: packed.from(first).consumer(),
        slots: slots.from(first).producer(),
        reader: Reader::new(tile, token, slot),
        row: (slot * C::TOKENS + token) * ROW_BYTES,
        span,
        stage: first,
        lane,
    };
    while work.next_stage() && work.next_stage() {}
}

/// The state of a warp's loop over its stages.
struct Work<C: Config> {
    packed: Consumer<Packed<C>>,
    slots: Producer<Slots<C>>,
    reader: Reader<C>,
    /// Of the lane in a stage's slots.
    row: u32,
    span: Span,
    /// The next.
    stage: u32,
    lane: u32,
}

impl<C: Config> Work<C> {
    /// Dequantises the warp's next stage, if there is one.
    #[inline(always)]
    fn next_stage(&mut self) -> bool {
        if self.stage >= self.span.len() {
            return false;
        }
        let others = C::SHAPE.stages_unpacked_at_once() - 1;
        let source = self.packed.acquire();
        self.packed.skip(others);
        let scale_tiles = self.span.scale_tiles(self.stage);
        let activations = self.reader.load(source.address, scale_tiles);
        let slots = self.slots.acquire();
        self.slots.skip(others);
        activations.unpack(slots.address + self.row, self.lane % 8);
        // Of what was read too: copies will overwrite it.
        shared::fence_async_proxy();
        // Behind the use of what was loaded, as in `multiply`.
        warp::sync();
        if self.lane == 0 {
            source.release();
            slots.full.arrive();
        }
        self.stage += C::SHAPE.stages_unpacked_at_once();
        true
    }
}

/// Where a lane finds its activations in a piece.
struct Reader<C: Config> {
    elements: [u32; 4],
    scales: u32,
    config: core::marker::PhantomData<C>,
}

impl<C: Config> Reader<C> {
    #[inline(always)]
    fn new(tile: Tile, token: u32, slot: u32) -> Self {
        // TMA's swizzle of 128 bytes: 16-byte chunks are permuted by the row's last three bits.
        let elements = |quad_thread: u32| {
            let chunk = (2 * quad_thread + slot / 2) ^ token % 8;
            token * ROW_BYTES + 16 * chunk + 8 * (slot % 2)
        };
        let scale_row = tile.m % SCALE_TILE_ROWS + token;
        Self {
            elements: [elements(0), elements(1), elements(2), elements(3)],
            scales: C::PLAN.scale_a + scale_row % 32 * 16 + scale_row / 32 * 4 + slot,
            config: core::marker::PhantomData,
        }
    }

    /// The lane's elements, of which those of `scale_tiles` threads of a quad are in K.
    #[inline(always)]
    fn load(&self, piece: u32, scale_tiles: u32) -> Row {
        let elements = self
            .elements
            .map(|offset| shared::load_8_bytes(piece + offset));
        // Beyond K elements are zeros, and their scale factor anything.
        let scale = |quad_thread: u32| {
            if quad_thread < scale_tiles {
                let tile = quad_thread * SCALE_TILE_BYTES;
                shared::load_u8(piece + self.scales + tile) << (8 * quad_thread)
            } else {
                0
            }
        };
        Row {
            elements,
            scales: Scales::unpack(scale(0) | scale(1) | scale(2) | scale(3)),
        }
    }
}

/// A token's 64 elements of a slot: of each thread of a quad that multiplies two words, and their scale
/// factor.
#[derive(Clone, Copy)]
struct Row {
    elements: [[u32; 2]; 4],
    scales: Scales,
}

impl Row {
    /// Fills a row of a slot, at `row`, whose chunks are permuted by `swizzle`.
    #[inline(always)]
    fn unpack(self, row: u32, swizzle: u32) {
        let store = |chunk: u32, registers: [u32; 4]| {
            shared::store_16_bytes(row + 16 * (chunk ^ swizzle), registers);
        };
        let half = |half: usize| {
            let of = |quad_thread: usize| {
                let scale = self.scales.get(quad_thread);
                dequantize::word(self.elements[quad_thread][half], scale)
            };
            let [a, b, c, d] = [of(0), of(1), of(2), of(3)];
            let first = 4 * half as u32;
            store(first, [a[0], b[0], c[0], d[0]]);
            store(first + 1, [a[1], b[1], c[1], d[1]]);
            store(first + 2, [a[2], b[2], c[2], d[2]]);
            store(first + 3, [a[3], b[3], c[3], d[3]]);
        };
        half(0);
        half(1);
    }
}

const _: () = assert!(STAGE_K == MMA_K * SLOTS_PER_STAGE);
