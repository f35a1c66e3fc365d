//! The multiply role: a warpgroup dequantises 32 rows of B1 and of B2 in registers and multiplies them
//! with the tokens of the tile.

use core::marker::PhantomData;

use super::config::{Config, Slots, Stages};
use super::dequantize::{self, Scales, Shifts};
use super::ring::{Consumer, Draining, Ring};
use super::tile::{Span, Tile};
use crate::contract::hopper::{
    COLUMNS_PER_WARP, Design, PREFILL_CLUSTER, ROW_BYTES, SCALE_BYTES, STAGES_PER_ROUND,
    WEIGHT_BYTES, WGMMA_K,
};
use crate::contract::{SCALE_TILE_BYTES, SCALE_TILE_ROWS};
use crate::ptx::wgmma::{self, Accumulator};
use crate::ptx::{shared, warp};

/// What a consumer warp reads.
pub struct Rings<C: Config> {
    stages: Consumer<Stages<C>>,
    slots: Consumer<Slots<C>>,
}

impl<C: Config> Rings<C> {
    #[inline(always)]
    pub fn new(stages: Ring<Stages<C>>, slots: Ring<Slots<C>>) -> Self {
        Self {
            stages: stages.consumer(),
            slots: slots.consumer(),
        }
    }
}

/// Multiplies every stage of the span. In a thread's sums four registers belong together: of one
/// column of C and two tokens, the products with B1, then with B2.
#[inline(always)]
pub fn run<C: Config>(rings: &mut Rings<C>, tile: Tile, span: Span, column_warp: u32) -> C::Sums {
    let lane = warp::lane_index();
    let mut work = Work::<C> {
        sums: C::Sums::undefined(),
        reader: Reader::new(tile, column_warp, lane),
        slots: SlotReader {
            descriptor: wgmma::descriptor(rings.slots.base()),
            lane,
            shifts: Shifts::new(),
            piece: None,
            config: PhantomData,
        },
        span,
        index: 0,
        lane,
    };
    // Once around the rings.
    while !(work.stage(rings) || work.stage(rings) || work.stage(rings) || work.stage(rings)) {}
    wgmma::wait_group::<0>();
    if let Design::Prefill = C::SHAPE.design {
        work.slots.release(work.slots.piece);
    }
    work.sums
}

const _: () = assert!(STAGES_PER_ROUND == 4);

/// The state of the loop over stages.
struct Work<C: Config> {
    sums: C::Sums,
    reader: Reader<C>,
    slots: SlotReader<C>,
    span: Span,
    /// Of the next stage.
    index: u32,
    lane: u32,
}

impl<C: Config> Work<C> {
    /// Multiplies the next stage. Whether it was the last.
    #[inline(always)]
    fn stage(&mut self, rings: &mut Rings<C>) -> bool {
        let stage = rings.stages.acquire();
        let beyond_k = self.lane % 4 >= self.span.scale_tiles(self.index);
        let scales = self.reader.scales(stage.address, beyond_k);
        let words = self.reader.load(stage.address, 0);
        self.slot(rings, 0, words, scales);
        self.slot(rings, 1, words, scales);
        let words = self.reader.load(stage.address, 1);
        self.slot(rings, 2, words, scales);
        give_back(stage, self.lane);
        self.slot(rings, 3, words, scales);
        self.index += 1;
        self.index == self.span.len()
    }

    /// Multiplies slot `index` of the stage.
    #[inline(always)]
    fn slot(
        &mut self,
        rings: &mut Rings<C>,
        index: u32,
        words: [[u32; 4]; 2],
        scales: [Scales; 2],
    ) {
        let weights = Operand::new(words, scales, index as usize);
        // The first of all does not accumulate.
        let accumulate = if index == 0 { self.index } else { 1 };
        self.slots
            .multiply(&mut rings.slots, index, &mut self.sums, weights, accumulate);
    }
}

/// Gives a stage back once the warp has multiplied with the last weights that it loaded. Before their
/// first use they may still be on their way, and copies of the next round would overtake them.
#[inline(always)]
fn give_back(stage: Draining, lane: u32) {
    warp::sync();
    if lane == 0 {
        stage.release();
    }
}

/// Where a thread finds its weights in a stage: a row of B1 and the same of B2, which are eight apart
/// in the A operand of `wgmma`, and so in one thread.
struct Reader<C: Config> {
    row: u32,
    chunks: [u32; 2],
    scales: u32,
    config: PhantomData<C>,
}

impl<C: Config> Reader<C> {
    #[inline(always)]
    fn new(tile: Tile, column_warp: u32, lane: u32) -> Self {
        let (row_of_warp, quad_thread) = (lane / 4, lane % 4);
        let row = column_warp * COLUMNS_PER_WARP + row_of_warp;
        // A tile of scale factors has 128 rows: a tile of 64 starts in the middle of every other.
        let scale_row = tile.n % SCALE_TILE_ROWS + row;
        // TMA's swizzle of 128 bytes: 16-byte chunks are permuted by the row's last three bits. With
        // chunks 2q and 2q + 1 to a thread, eight threads' loads fall on different banks.
        let chunk = |half: u32| 16 * ((2 * quad_thread + half) ^ row_of_warp);
        Self {
            row: C::PLAN.b1 + row * ROW_BYTES,
            chunks: [chunk(0), chunk(1)],
            scales: C::PLAN.scale_b1
                + quad_thread * SCALE_TILE_BYTES
                + scale_row % 32 * 16
                + scale_row / 32 * 4,
            config: PhantomData,
        }
    }

    /// Half of the thread's 64 elements of K of both rows.
    #[inline(always)]
    fn load(&self, stage: u32, half: usize) -> [[u32; 4]; 2] {
        let address = stage + self.row + self.chunks[half];
        [
            shared::load_16_bytes(address),
            shared::load_16_bytes(address + WEIGHT_BYTES),
        ]
    }

    /// The scale factors of both rows, one to a slot; 0 where the thread's elements are beyond K.
    #[inline(always)]
    fn scales(&self, stage: u32, beyond_k: bool) -> [Scales; 2] {
        let unpack = |address: u32| {
            let word = if beyond_k {
                0
            } else {
                shared::load_u32(address)
            };
            Scales::unpack(word)
        };
        [
            unpack(stage + self.scales),
            unpack(stage + self.scales + SCALE_BYTES),
        ]
    }
}

/// A thread's weights for one slot, of both rows: two words each with a common scale factor.
struct Operand {
    words: [[u32; 2]; 2],
    scales: [u32; 2],
}

impl Operand {
    /// For slot `slot` of a stage, from the half of the stage's weights that it is in.
    #[inline(always)]
    fn new([upper, lower]: [[u32; 4]; 2], scales: [Scales; 2], slot: usize) -> Self {
        let first = slot % 2 * 2;
        Self {
            words: [
                [upper[first], lower[first]],
                [upper[first + 1], lower[first + 1]],
            ],
            scales: [scales[0].get(slot), scales[1].get(slot)],
        }
    }
}

/// Takes slots of activations and gives them back once they have been multiplied.
struct SlotReader<C: Config> {
    /// Of the ring's first slot.
    descriptor: u64,
    lane: u32,
    shifts: Shifts,
    /// The one with the last slot that was multiplied.
    piece: Option<Draining>,
    config: PhantomData<C>,
}

impl<C: Config> SlotReader<C> {
    #[inline(always)]
    fn multiply(
        &mut self,
        slots: &mut Consumer<Slots<C>>,
        index: u32,
        sums: &mut C::Sums,
        weights: Operand,
        accumulate: u32,
    ) {
        let within = index % C::SHAPE.slots_per_piece();
        let before = self.piece;
        let piece = match before {
            Some(piece) if within != 0 => piece,
            _ => slots.acquire(),
        };
        self.piece = Some(piece);
        // Addresses are in units of 16 bytes, in the descriptor's lowest bits.
        let offset = piece.offset + within * C::TOKENS * ROW_BYTES;
        let activations = self.descriptor + (offset / 16) as u64;
        let [first, second] = weights.words;
        let scales = weights.scales;
        let (first, second) = (
            dequantize_word(first, scales, self.shifts),
            dequantize_word(second, scales, self.shifts),
        );
        wgmma::fence();
        multiply_word::<C>(sums, first, activations, accumulate);
        multiply_word::<C>(sums, second, activations + 2 * STEP, 1);
        wgmma::commit_group();
        // Of the slot before, everything is complete after this.
        wgmma::wait_group::<1>();
        if within == 0 {
            self.release(before);
        }
    }

    #[inline(always)]
    fn release(&self, piece: Option<Draining>) {
        let Some(piece) = piece else { return };
        match C::SHAPE.design {
            Design::Decode => {
                if self.lane == 0 {
                    piece.release();
                }
            }
            Design::Prefill => {
                if self.lane < PREFILL_CLUSTER {
                    piece.release_to(self.lane);
                }
            }
        }
    }
}

/// From one `wgmma`'s activations to the next's, in a descriptor.
const STEP: u64 = ((WGMMA_K * 2) >> 4) as u64;

/// The A operands of two `wgmma`s: a word of both rows.
#[inline(always)]
fn dequantize_word([upper, lower]: [u32; 2], scales: [u32; 2], shifts: Shifts) -> [[u32; 4]; 2] {
    let [u0, u1, u2, u3] = dequantize::word(upper, scales[0], shifts);
    let [l0, l1, l2, l3] = dequantize::word(lower, scales[1], shifts);
    [[u0, l0, u1, l1], [u2, l2, u3, l3]]
}

#[inline(always)]
fn multiply_word<C: Config>(
    sums: &mut C::Sums,
    [first, second]: [[u32; 4]; 2],
    activations: u64,
    accumulate: u32,
) {
    sums.multiply(first, activations, accumulate);
    sums.multiply(second, activations + STEP, 1);
}
