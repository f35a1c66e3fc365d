//! The multiply role: a warpgroup dequantises 64 rows of B1 or B2 in registers and multiplies them with
//! the tokens of the tile.

use core::marker::PhantomData;

use super::config::Config;
use super::dequantize;
use super::kernel::Tile;
use super::ring::{Consumer, Draining};
use crate::contract::hopper::{
    ATOM_K, STAGE_K, TILE_N, WEIGHT_ROW_BYTES, WEIGHT_SCALE_BYTES, WGMMA_K,
};
use crate::contract::{MMA_K, SCALE_TILE_BYTES, SCALE_TILE_ROWS};
use crate::ptx::shared;
use crate::ptx::wgmma::{self, Accumulator};

/// What a warpgroup multiplies.
#[derive(Clone, Copy)]
pub struct Part {
    /// 0 for B1, 1 for B2.
    pub matrix: u32,
    /// Which share of each stage's K.
    pub share: u32,
}

impl Part {
    #[inline(always)]
    pub fn of<C: Config>(warpgroup: u32) -> Self {
        Self {
            matrix: warpgroup / C::SHAPE.k_shares,
            share: warpgroup % C::SHAPE.k_shares,
        }
    }
}

/// Multiplies every stage of the tile; the sums of the part's share of K, 64 rows × the tile's tokens.
#[inline(always)]
pub fn run<C: Config>(
    k: u32,
    mut stages: Consumer<C>,
    tile: Tile,
    part: Part,
    thread: u32,
) -> C::Sums {
    let mut sums = C::Sums::undefined();
    let lane = thread % 32;
    let reader = Reader::<C>::new(tile, part, thread);
    let mut previous: Option<Draining> = None;
    let mut index = 0;
    loop {
        let stage = stages.acquire();
        // A last stage may end after its first 64 elements: those of the quad's first two threads.
        let beyond_k = k - tile.stages.k(index) < STAGE_K && lane % 4 >= 2;
        let rows = reader.load(stage.tiles, beyond_k);
        // The second share's words come after the first atom of activations.
        let activations = wgmma::descriptor(stage.tiles + part.share * C::TOKENS * 2 * ATOM_K);
        multiply_word::<C, 0>(&mut sums, &rows, activations, index);
        // Of the stage before, everything is complete now.
        if let Some(previous) = previous
            && lane == 0
        {
            previous.release();
        }
        multiply_word::<C, 1>(&mut sums, &rows, activations, 1);
        if C::SHAPE.k_shares == 1 {
            multiply_word::<C, 2>(&mut sums, &rows, activations, 1);
            multiply_word::<C, 3>(&mut sums, &rows, activations, 1);
        }
        previous = Some(stage);
        index += 1;
        if index == tile.stages.len() {
            break;
        }
    }
    wgmma::wait_group::<0>();
    sums
}

/// A thread's weights of a stage: 32 elements of K of one row, or the 16 of its share, which come first.
#[derive(Clone, Copy)]
struct Row {
    words: [u32; 4],
    scales: [u32; 2],
}

/// Where a thread finds its weights in a stage.
struct Reader<C: Config> {
    elements: u32,
    scales: u32,
    config: PhantomData<C>,
}

impl<C: Config> Reader<C> {
    #[inline(always)]
    fn new(tile: Tile, part: Part, thread: u32) -> Self {
        let lane = thread % 32;
        let row = thread / 32 * 16 + lane / 4;
        // A tile of scale factors has 128 rows: a tile of 64 starts in the middle of every other.
        let scale_row = tile.n % SCALE_TILE_ROWS + row;
        let quad_thread = lane % 4;
        // Thread q has 32 elements: 16 bytes of the row, and half of a scale-factor word.
        let scale_tile = quad_thread / (MMA_K / 32);
        Self {
            elements: C::PLAN.b1
                + part.matrix * TILE_N * WEIGHT_ROW_BYTES
                + row * WEIGHT_ROW_BYTES
                + 16 * quad_thread
                + 8 * part.share,
            scales: C::PLAN.scale_b1
                + part.matrix * WEIGHT_SCALE_BYTES
                + scale_tile * SCALE_TILE_BYTES
                + scale_row % 32 * 16
                + scale_row / 32 * 4
                + quad_thread % 2 * 2
                + part.share,
            config: PhantomData,
        }
    }

    /// The two rows that a thread has of an A fragment, eight apart.
    #[inline(always)]
    fn load(&self, tiles: u32, beyond_k: bool) -> [Row; 2] {
        let row = |down: u32| {
            let scales = tiles + self.scales + down * 16;
            let words = tiles + self.elements + down * WEIGHT_ROW_BYTES;
            let (scales, words) = if C::SHAPE.k_shares == 1 {
                (shared::load_u16(scales), shared::load_16_bytes(words))
            } else {
                let [first, second] = shared::load_8_bytes(words);
                (shared::load_u8(scales), [first, second, 0, 0])
            };
            let scales = dequantize::scales(if beyond_k { 0 } else { scales });
            Row { words, scales }
        };
        [row(0), row(8)]
    }
}

/// Word `WORD` of both rows: two `wgmma`s, while those of the word before run.
#[inline(always)]
fn multiply_word<C: Config, const WORD: usize>(
    sums: &mut C::Sums,
    [upper, lower]: &[Row; 2],
    activations: u64,
    accumulate: u32,
) {
    let [u0, u1, u2, u3] = dequantize::word(upper.words[WORD], upper.scales[WORD / 2]);
    let [l0, l1, l2, l3] = dequantize::word(lower.words[WORD], lower.scales[WORD / 2]);
    let k = 2 * WORD as u32 * WGMMA_K;
    let atom = k / ATOM_K * (C::TOKENS * 2 * ATOM_K);
    let first = activations + ((atom + k % ATOM_K * 2) >> 4) as u64;
    let second = first + ((WGMMA_K * 2) >> 4) as u64;
    wgmma::fence();
    sums.multiply([u0, l0, u1, l1], first, accumulate);
    sums.multiply([u2, l2, u3, l3], second, 1);
    wgmma::commit_group();
    wgmma::wait_group::<1>();
}
