//! The activation role of the decode design: warps dequantise packed activations into slots.

use super::config::{Config, Packed, Slots};
use super::dequantize::{self, Scales, Shifts};
use super::ring::{Consumer, Producer, Ring};
use super::tile::{Span, Tile};
use crate::contract::hopper::{ROW_BYTES, SLOTS_PER_STAGE, STAGE_K};
use crate::contract::{MMA_K, SCALE_TILE_BYTES, SCALE_TILE_ROWS};
use crate::ptx::math::permute_bytes;
use crate::ptx::{shared, warp};

/// Dequantises this warp's share of every stage: of a group of tokens, a lane a token's row of a slot
/// at a time.
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
    let (groups, tokens) = (C::SHAPE.token_groups(), C::SHAPE.tokens_per_warp());
    let first_piece = warp_index / groups * C::SHAPE.turns_per_stage();
    let first_stage = first_piece / C::SHAPE.pieces_per_stage();
    let token = warp_index % groups * tokens + lane % tokens;
    let slot_of_piece = lane / tokens;
    let slot = first_piece % C::SHAPE.pieces_per_stage() + slot_of_piece;
    let mut work = Work::<C> {
        packed: packed.from(first_stage).consumer(),
        slots: slots.from(first_piece).producer(),
        reader: Reader::new(tile, token, slot),
        row: (slot_of_piece * C::TOKENS + token) * ROW_BYTES,
        span,
        stage: first_stage,
        lane,
        shifts: Shifts::new(),
    };
    while work.next_stage() && work.next_stage() {}
}

/// The state of a warp's loop over its stages.
struct Work<C: Config> {
    packed: Consumer<Packed<C>>,
    slots: Producer<Slots<C>>,
    reader: Reader<C>,
    /// Of the lane in a piece of slots.
    row: u32,
    span: Span,
    /// The next.
    stage: u32,
    lane: u32,
    shifts: Shifts,
}

impl<C: Config> Work<C> {
    /// Dequantises the warp's next stage, if there is one.
    #[inline(always)]
    fn next_stage(&mut self) -> bool {
        if self.stage >= self.span.len() {
            return false;
        }
        let turns = C::SHAPE.turns_per_stage();
        let stages = C::SHAPE.stages_unpacked_at_once();
        let source = self.packed.acquire();
        self.packed.skip(stages - 1);
        let scale_tiles = self.span.scale_tiles(self.stage);
        let rows = self.reader.load(source.address, scale_tiles);
        let [first, second] = rows;
        self.fill(first);
        if turns == 2 {
            self.fill(second);
        }
        // Behind the use of what was loaded, as in `multiply`.
        if self.lane == 0 {
            source.release();
        }
        self.slots
            .skip(stages * C::SHAPE.pieces_per_stage() - turns);
        self.stage += stages;
        true
    }

    /// Fills the warp's rows of its next piece of slots.
    #[inline(always)]
    fn fill(&mut self, row: Row) {
        let slots = self.slots.acquire();
        row.unpack(slots.address + self.row, self.lane % 8, self.shifts);
        // Of what was read too: copies will overwrite it.
        shared::fence_async_proxy();
        warp::sync();
        if self.lane == 0 {
            slots.full.arrive();
        }
    }
}

/// Where a lane finds its activations in a piece.
struct Reader<C: Config> {
    elements: [u32; 4],
    /// Of the scale factors of a stage's four slots.
    scales: u32,
    slot: u32,
    config: core::marker::PhantomData<C>,
}

impl<C: Config> Reader<C> {
    /// Of a token, from `slot` on.
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
            scales: C::PLAN.scale_a + scale_row % 32 * 16 + scale_row / 32 * 4,
            slot,
            config: core::marker::PhantomData,
        }
    }

    /// The lane's rows of a stage, one for each turn, of which those of `scale_tiles` threads of a quad
    /// are in K.
    #[inline(always)]
    fn load(&self, stage: u32, scale_tiles: u32) -> [Row; 2] {
        let two = C::SHAPE.turns_per_stage() == 2;
        let chunks = self.elements.map(|offset| {
            if two {
                shared::load_16_bytes(stage + offset)
            } else {
                let [first, second] = shared::load_8_bytes(stage + offset);
                [first, second, 0, 0]
            }
        });
        // Beyond K elements are zeros, and their scale factor anything.
        let scales = [0, 1, 2, 3].map(|quad_thread| {
            if quad_thread < scale_tiles {
                shared::load_u32(stage + self.scales + quad_thread * SCALE_TILE_BYTES)
            } else {
                0
            }
        });
        let row = |turn: usize| Row {
            elements: chunks.map(|chunk| [chunk[2 * turn], chunk[2 * turn + 1]]),
            scales: Scales::unpack(gather_bytes(scales, self.slot + turn as u32)),
        };
        [row(0), row(1)]
    }
}

/// Byte `index` of each.
#[inline(always)]
fn gather_bytes([a, b, c, d]: [u32; 4], index: u32) -> u32 {
    let selector = 0x40 + 0x11 * index;
    permute_bytes(
        permute_bytes(a, b, selector),
        permute_bytes(c, d, selector),
        0x5410,
    )
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
    fn unpack(self, row: u32, swizzle: u32, shifts: Shifts) {
        let store = |chunk: u32, registers: [u32; 4]| {
            shared::store_16_bytes(row + 16 * (chunk ^ swizzle), registers);
        };
        let half = |half: usize| {
            let of = |quad_thread: usize| {
                let scale = self.scales.get(quad_thread);
                dequantize::word(self.elements[quad_thread][half], scale, shifts)
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
