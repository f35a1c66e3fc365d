//! The MMA role: one thread feeds the tensor core.

use super::descriptor::StageAddress;
use super::kernel::OutputTile;
use crate::contract::{
    MMA_K, MMAS_PER_STAGE, SCALE_COLUMNS, SCALE_STAGE_COLUMNS, SCALE_TILE_BYTES, SCALE_TILE_ROWS,
    SharedPlan, TILE_K, TmemPlan, instruction_descriptor,
};
use crate::pipeline::{Draining, Ring};
use crate::ptx::tcgen05::{self, CollectorA, OperandA, OperandB};

/// Multiplies every stage of the ring into the two accumulators at `tmem`. One thread.
#[inline(always)]
pub fn run<const TILE_N: u32>(k: u32, ring: Ring<TILE_N>, tmem: u32, tile: OutputTile) {
    let mut stages = ring.consumer();
    let mut accumulate = 0;
    // Scale factors come in tiles of 128 rows, one column per 32; an N tile of 64 starts in the
    // middle of every other.
    let scale_b_column = tile.n % SCALE_TILE_ROWS / 32;

    let mut full_tiles = k / TILE_K;
    while full_tiles != 0 {
        let stage = stages.acquire();
        multiply::<TILE_N>(
            &stage,
            MMAS_PER_STAGE,
            tmem,
            scale_b_column,
            &mut accumulate,
        );
        stage.release();
        full_tiles -= 1;
    }
    let last_mmas = k % TILE_K / MMA_K;
    if last_mmas != 0 {
        let stage = stages.acquire();
        multiply::<TILE_N>(&stage, last_mmas, tmem, scale_b_column, &mut accumulate);
        stage.retire();
    }
    tcgen05::commit(ring.accumulators_full());
}

/// The first `mmas` K = 64 slices of a stage: scale factors to tensor memory, then A·B1 and A·B2
/// with A kept in the collector. `accumulate` is 0 for the first slice of the tile only.
#[inline(always)]
fn multiply<const TILE_N: u32>(
    stage: &Draining,
    mmas: u32,
    tmem: u32,
    scale_b_column: u32,
    accumulate: &mut u32,
) {
    const SLICE_BYTES: u32 = MMA_K / 2;
    let shared = const { SharedPlan::new(TILE_N) };
    let columns = const { TmemPlan::new(TILE_N) };
    let idesc = const { instruction_descriptor(TILE_N) };
    let address = StageAddress::new(stage.tiles);
    let scales = tmem + columns.scales + stage.index * columns.scale_columns_per_stage;

    let mut slice = 0;
    while slice < mmas {
        let scale_a = scales + slice * SCALE_COLUMNS;
        let scale_b1 = scale_a + SCALE_STAGE_COLUMNS;
        let scale_b2 = scale_b1 + SCALE_STAGE_COLUMNS;
        let scale_tile = |tiles: u32| address.scales(tiles + slice * SCALE_TILE_BYTES);
        tcgen05::copy_scale_tile(scale_a, scale_tile(shared.scale_a));
        tcgen05::copy_scale_tile(scale_b1, scale_tile(shared.scale_b1));
        tcgen05::copy_scale_tile(scale_b2, scale_tile(shared.scale_b2));

        let tile = |tiles: u32| address.operand(tiles + slice * SLICE_BYTES);
        let a = OperandA {
            descriptor: tile(shared.a),
            scales: scale_a,
        };
        let b1 = OperandB {
            descriptor: tile(shared.b1),
            scales: scale_b1 + scale_b_column,
            accumulator: tmem + columns.accumulator1,
        };
        let b2 = OperandB {
            descriptor: tile(shared.b2),
            scales: scale_b2 + scale_b_column,
            accumulator: tmem + columns.accumulator2,
        };
        tcgen05::mma_nvfp4(CollectorA::Fill, a, b1, idesc, *accumulate);
        tcgen05::mma_nvfp4(CollectorA::LastUse, a, b2, idesc, *accumulate);
        *accumulate = 1;
        slice += 1;
    }
}
