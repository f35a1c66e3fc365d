//! Tiles in shared memory: where elements go, what fills in out of bounds, what is credited.
//!
//! Words 0–4 are the coordinates, innermost first; 5 is the tile's offset in the area, 6 how many bytes
//! a load is expected to credit, 7 how many bytes of the area take part.

use super::{FILL, TRIES, download, elect_one, first_barrier, prepare, report, sync, upload};
use crate::contract::conformance::{AREA, ConformanceParams};
use crate::ptx::{bulk, shared, tma, warp};

/// Writes whether exactly the expected bytes were credited, three words of nothing, and the area.
#[inline(always)]
fn load(params: &ConformanceParams, copy: impl Fn(u32)) {
    let bytes = params.words[7];
    prepare(bytes);
    let barrier = first_barrier();
    if elect_one() {
        barrier.arrive_expect_tx(params.words[6]);
        copy(shared::base() + AREA + params.words[5]);
        let complete = barrier.wait_bounded(0, TRIES);
        report(params.output, 0, complete as u32);
    }
    warp::sync();
    sync();
    // Every thread sees the phase complete, which makes the copy's writes visible to it.
    barrier.wait_bounded(0, 1);
    download(params.output + 16, bytes);
}

/// Stores or reduces a tile of the area, which holds the input.
#[inline(always)]
fn store(params: &ConformanceParams, copy: impl Fn(u32)) {
    upload(params.input, params.words[7]);
    if elect_one() {
        copy(shared::base() + AREA + params.words[5]);
        bulk::commit_group();
        bulk::wait_all_groups();
    }
    warp::sync();
}

macro_rules! tiles {
    ($($load:ident $store:ident: $load_tile:ident $store_tile:ident [$($x:literal)*];)*) => {
        $(
            entry!($load, ConformanceParams, |params: &ConformanceParams, block| {
                load(params, |destination| {
                    tma::$load_tile(destination, block, [$(params.words[$x]),*], first_barrier())
                })
            });
            entry!($store, ConformanceParams, |params: &ConformanceParams, block| {
                store(params, |source| tma::$store_tile(source, block, [$(params.words[$x]),*]))
            });
        )*
    };
}

tiles! {
    tma_load_1d tma_store_1d: load_tile_1d store_tile_1d [0];
    tma_load_2d tma_store_2d: load_tile_2d store_tile_2d [0 1];
    tma_load_3d tma_store_3d: load_tile_3d store_tile_3d [0 1 2];
    tma_load_4d tma_store_4d: load_tile_4d store_tile_4d [0 1 2 3];
    tma_load_5d tma_store_5d: load_tile_5d store_tile_5d [0 1 2 3 4];
}

macro_rules! reductions {
    ($($entry:ident: $reduce:ident;)*) => {
        $(entry!($entry, ConformanceParams, |params: &ConformanceParams, block| {
            store(params, |source| tma::$reduce(source, block, [params.words[0], params.words[1]]))
        });)*
    };
}

reductions! {
    tma_reduce_add: reduce_tile_add;
    tma_reduce_min: reduce_tile_min;
    tma_reduce_max: reduce_tile_max;
    tma_reduce_inc: reduce_tile_inc;
    tma_reduce_dec: reduce_tile_dec;
    tma_reduce_and: reduce_tile_and;
    tma_reduce_or: reduce_tile_or;
    tma_reduce_xor: reduce_tile_xor;
}

const _: () = assert!(
    FILL != 0,
    "the filling of bounds and the fill of shared memory differ"
);
