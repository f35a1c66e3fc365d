//! Copies and reductions of contiguous bytes between global and shared memory.
//!
//! Word 5 is the offset in the area, 6 the bytes to copy, 7 how many bytes of the area take part.

use super::{TRIES, download, elect_one, first_barrier, prepare, report, sync, upload};
use crate::contract::conformance::{AREA, ConformanceParams};
use crate::ptx::{bulk, shared, warp};

entry!(
    bulk_load,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        let (offset, bytes, area_bytes) = (params.words[5], params.words[6], params.words[7]);
        prepare(area_bytes);
        let barrier = first_barrier();
        if elect_one() {
            barrier.arrive_expect_tx(bytes);
            bulk::load_plain(shared::base() + AREA + offset, params.input, bytes, barrier);
            let complete = barrier.wait_bounded(0, TRIES);
            report(params.output, 0, complete as u32);
        }
        warp::sync();
        sync();
        barrier.wait_bounded(0, 1);
        download(params.output + 16, area_bytes);
    }
);

/// From the area, which holds the input, to the output.
#[inline(always)]
fn store(params: &ConformanceParams, copy: impl Fn(u64, u32, u32)) {
    upload(params.input, params.words[7]);
    if elect_one() {
        let source = shared::base() + AREA + params.words[5];
        copy(params.output, source, params.words[6]);
        bulk::commit_group();
        bulk::wait_all_groups();
    }
    warp::sync();
}

entry!(
    bulk_store,
    ConformanceParams,
    |params: &ConformanceParams, _| store(params, bulk::store)
);

macro_rules! reductions {
    ($($entry:ident: $instruction:literal;)*) => {
        $(entry!($entry, ConformanceParams, |params: &ConformanceParams, _| {
            store(params, |destination, source, bytes| {
                reduce_to_global!($instruction, destination, source, bytes)
            })
        });)*
    };
}

reductions! {
    bulk_reduce_add_u32: "add.u32";
    bulk_reduce_add_s32: "add.s32";
    bulk_reduce_add_u64: "add.u64";
    bulk_reduce_add_f16: "add.noftz.f16";
    bulk_reduce_add_bf16: "add.noftz.bf16";
    bulk_reduce_add_f32: "add.f32";
    bulk_reduce_add_f64: "add.f64";
    bulk_reduce_min_u32: "min.u32";
    bulk_reduce_min_s32: "min.s32";
    bulk_reduce_min_u64: "min.u64";
    bulk_reduce_min_s64: "min.s64";
    bulk_reduce_min_f16: "min.f16";
    bulk_reduce_min_bf16: "min.bf16";
    bulk_reduce_max_u32: "max.u32";
    bulk_reduce_max_s32: "max.s32";
    bulk_reduce_max_u64: "max.u64";
    bulk_reduce_max_s64: "max.s64";
    bulk_reduce_max_f16: "max.f16";
    bulk_reduce_max_bf16: "max.bf16";
    bulk_reduce_inc_u32: "inc.u32";
    bulk_reduce_dec_u32: "dec.u32";
    bulk_reduce_and_b32: "and.b32";
    bulk_reduce_or_b32: "or.b32";
    bulk_reduce_xor_b32: "xor.b32";
    bulk_reduce_and_b64: "and.b64";
    bulk_reduce_or_b64: "or.b64";
    bulk_reduce_xor_b64: "xor.b64";
}
