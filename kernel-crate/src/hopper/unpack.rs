//! The activation role of the decode design: warps load the tile's activations and dequantise them into
//! slots.
//!
//! Activations are few and shared by all CTAs: they come from L2 by ordinary loads. Behind the weights in
//! the queue of the copy engine they would come too late.

use super::config::{Config, Slots};
use super::dequantize::{self, Scales};
use super::ring::Ring;
use super::tile::{Span, Tile};
use crate::contract::hopper::{HopperParams, ROW_BYTES, SLOTS_PER_STAGE, STAGE_K};
use crate::contract::{MMA_K, SCALE_TILE_BYTES, SCALE_TILE_ROWS};
use crate::ptx::{global, grid, shared, warp};
use crate::scales::row_block;

/// Dequantises this warp's share of every stage.
///
/// A warp takes 32 rows of slots at a time, a lane a row: 32 tokens of one slot, or fewer tokens of
/// several.
///
/// ```text
/// a token's stage  │ K 0–63: slot 0, 1, 2, 3, 8 B each │ K 64–127 │ K 128–191 │ K 192–255 │
/// its row of slot j│ 16-byte chunk c = 0…7: register c%4 of word c/4 of the j-th 8 B of each │
/// ```
#[inline(always)]
pub fn run<C: Config>(
    params: &HopperParams,
    slots: Ring<Slots<C>>,
    tile: Tile,
    span: Span,
    warp_index: u32,
) {
    let lane = warp::lane_index();
    // The warp always fills the same rows of the ring: a token, and every so many slots.
    let token =
        warp_index % Rows::<C>::TURNS_PER_SLOT * Rows::<C>::TOKENS + lane % Rows::<C>::TOKENS;
    let source = Source::new(params, tile, token);
    let slot_of =
        |turn: u32| turn / Rows::<C>::TURNS_PER_SLOT * Rows::<C>::SLOTS + lane / Rows::<C>::TOKENS;
    grid::wait_for_prerequisites();
    let turns = span.len() * Rows::<C>::TURNS_PER_STAGE;
    let mut turn = warp_index;
    if turn >= turns {
        return;
    }
    let mut row = source.load(span, slot_of(turn));
    while turn < turns {
        let number = slot_of(turn);
        let next = turn + C::SHAPE.dequantize_warps();
        // What comes next is on its way while this is dequantised.
        let ahead = if next < turns {
            source.load(span, slot_of(next))
        } else {
            row
        };
        row.unpack::<C>(slots, token, number);
        row = ahead;
        turn = next;
    }
}

/// The rows of slots that a warp dequantises at a time.
struct Rows<C: Config>(core::marker::PhantomData<C>);

impl<C: Config> Rows<C> {
    const TOKENS: u32 = if C::TOKENS < 32 { C::TOKENS } else { 32 };
    const SLOTS: u32 = 32 / Self::TOKENS;
    const TURNS_PER_SLOT: u32 = C::TOKENS / Self::TOKENS;
    const TURNS_PER_STAGE: u32 = Self::TURNS_PER_SLOT * SLOTS_PER_STAGE / Self::SLOTS;
}

/// Where a token's activations are in global memory.
struct Source {
    elements: u64,
    scales: u64,
    /// Whether there is such a token.
    exists: bool,
}

impl Source {
    #[inline(always)]
    fn new(params: &HopperParams, tile: Tile, token: u32) -> Self {
        let row = tile.m + token;
        let row_index = tile.batch as u64 * params.m as u64 + row as u64;
        let scale_row = row % SCALE_TILE_ROWS;
        let scales = row_block(params.scale_a, params.m, params.k, tile.m, tile.batch);
        Self {
            elements: params.elements_a + row_index * (params.k / 2) as u64,
            scales: scales + (scale_row % 32 * 16 + scale_row / 32 * 4) as u64,
            exists: row < params.m,
        }
    }

    /// The elements of the span's slot number `number`.
    #[inline(always)]
    fn load(&self, span: Span, number: u32) -> Row {
        let (stage, slot) = (number / SLOTS_PER_STAGE, number % SLOTS_PER_STAGE);
        let first = span.k(stage);
        let elements = self.elements + (first / 2 + 8 * slot) as u64;
        let scales = self.scales + (first / MMA_K * SCALE_TILE_BYTES + slot) as u64;
        let in_k = if self.exists {
            span.scale_tiles(stage)
        } else {
            0
        };
        let load = |quad_thread: u32| {
            if quad_thread >= in_k {
                return ([0, 0], 0);
            }
            let elements = elements + (MMA_K / 2 * quad_thread) as u64;
            let scale = scales + (SCALE_TILE_BYTES * quad_thread) as u64;
            // SAFETY: inside A and its scale factors, as the token and K exist.
            unsafe { (global::load_8_bytes(elements), global::load_u8(scale)) }
        };
        Row([load(0), load(1), load(2), load(3)])
    }
}

/// A token's 64 elements of a slot: of each thread of a quad that multiplies two words, and their scale
/// factor.
#[derive(Clone, Copy)]
struct Row([([u32; 2], u32); 4]);

impl Row {
    /// Fills a token's row of the slot that is filled as number `number`. A converged warp, a row to a
    /// lane.
    #[inline(always)]
    fn unpack<C: Config>(self, slots: Ring<Slots<C>>, token: u32, number: u32) {
        let lane = warp::lane_index();
        let scale = |quad_thread: usize| Scales::unpack(self.0[quad_thread].1).get(0);
        let scales = [scale(0), scale(1), scale(2), scale(3)];
        let first = number - lane / Rows::<C>::TOKENS;
        let mut index = 0;
        while index < Rows::<C>::SLOTS {
            slots.turn(first + index).wait();
            index += 1;
        }
        let slot = slots.turn(number).filling();
        let row = slot.address + token * ROW_BYTES;
        let store = |chunk: u32, registers: [u32; 4]| {
            shared::store_16_bytes(row + 16 * (chunk ^ token % 8), registers);
        };
        let half = |half: usize| {
            let of = |quad_thread: usize| {
                dequantize::word(self.0[quad_thread].0[half], scales[quad_thread])
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
        shared::fence_async_proxy();
        warp::sync();
        // The first lane of each slot.
        if lane % Rows::<C>::TOKENS == 0 {
            slot.full.arrive();
        }
    }
}

const _: () = assert!(STAGE_K == MMA_K * SLOTS_PER_STAGE);
