//! Clusters: addresses of shared memory, and what reaches another CTA's.

use super::{TRIES, download, elect_one, first_barrier, prepare, report, upload};
use crate::contract::conformance::{AREA, ConformanceParams};
use crate::ptx::mbarrier::fence_init;
use crate::ptx::{bulk, cluster, shared, warp};

/// Words that each CTA writes: its part of the output starts at `ADDRESS_WORDS` times its index.
const ADDRESS_WORDS: u32 = 128;

/// The CTA's index in the grid, x fastest, for a grid of word 8 by word 9 CTAs by any number.
#[inline(always)]
fn cta_index(params: &ConformanceParams) -> u32 {
    let across = params.words[9] * warp::cta_index_z() + warp::cta_index_y();
    params.words[8] * across + warp::cta_index_x()
}

// Each CTA writes where dynamic shared memory begins, what the system reserves, its place in cluster
// and grid, and the addresses of the barrier in the CTAs of ranks 0 to word 0, exclusive.
entry!(
    shared_addresses,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        cluster::sync();
        if warp::thread_index() == 0 {
            let output = params.output + (4 * ADDRESS_WORDS * cta_index(params)) as u64;
            let base = shared::base();
            // Relative to the generic address of the window's start, which is no rule.
            let window = shared::to_generic(0);
            let relative = |generic: u64| generic.wrapping_sub(window);
            let mut index = 0;
            let mut write = |word| {
                report(output, index, word);
                index += 1;
            };
            write(base);
            write(cluster::rank_of(base));
            write(relative(shared::to_generic(base)) as u32);
            write((relative(shared::to_generic(base)) >> 32) as u32);
            write(warp::dynamic_shared_bytes());
            write(warp::total_shared_bytes());
            write(warp::aggregate_shared_bytes());
            write(warp::reserved_shared_begin());
            write(warp::reserved_shared_end());
            write(warp::reserved_shared_capacity());
            write(warp::cluster_rank());
            write(warp::cluster_size());
            write(warp::cluster_cta_x());
            write(warp::cluster_cta_y());
            write(warp::cluster_cta_z());
            write(warp::cluster_size_x());
            write(warp::cluster_size_y());
            write(warp::cluster_size_z());
            write(warp::cluster_index_x());
            write(warp::cluster_index_y());
            write(warp::cluster_index_z());
            write((window & 0xFF_FFFF) as u32);
            for rank in 0..params.words[0] {
                let mapped = cluster::map_shared(base, rank);
                let generic = cluster::map_generic(shared::to_generic(base), rank);
                let at = 24 + 6 * rank;
                report(output, at, mapped);
                report(output, at + 1, cluster::rank_of(mapped));
                report(output, at + 2, relative(generic) as u32);
                report(output, at + 3, (relative(generic) >> 32) as u32);
                report(output, at + 4, relative(cluster::to_generic(mapped)) as u32);
                report(output, at + 5, cluster::map_shared(mapped + 64, rank / 2));
            }
        }
        cluster::sync();
    }
);

// Each CTA stores to, loads from, adds to and exchanges with the memory of every CTA of its cluster,
// itself included, and writes what it read; 32 lanes at a time.
entry!(
    cluster_exchange,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        let (lane, rank, size) = (
            warp::lane_index(),
            warp::cluster_rank(),
            warp::cluster_size(),
        );
        let output = params.output + (4 * 32 * 16 * 3 * rank) as u64;
        let area = shared::base() + AREA;
        let row = |index: u32| area + 128 * index + 4 * lane;
        for index in 0..3 * 16 {
            shared::store_u32(row(index), 0x100 * rank + index);
        }
        cluster::sync();
        for other in 0..size {
            // Row `rank` of each CTA is this CTA's own.
            cluster::store_u32(
                cluster::map_shared(row(rank), other),
                0x1_0000 * other + 0x100 * rank + lane,
            );
            cluster::atomic_add(cluster::map_shared(row(16), other), rank + lane);
            cluster::atomic_exchange(cluster::map_shared(row(32 + rank), other), !lane - rank);
        }
        cluster::sync();
        for other in 0..size {
            let peer = |index: u32| cluster::load_u32(cluster::map_shared(row(index), other));
            report(output, 32 * other + lane, peer(rank));
            report(output, 512 + 32 * other + lane, peer(16));
            report(output, 1024 + 32 * other + lane, peer(32 + rank));
        }
        cluster::sync();
    }
);

// Each CTA stores 4 and 16 bytes to every CTA of its cluster, which counts the bytes and writes what
// came.
entry!(
    cluster_store_async,
    ConformanceParams,
    |params: &ConformanceParams, _| {
        let (lane, rank, size) = (
            warp::lane_index(),
            warp::cluster_rank(),
            warp::cluster_size(),
        );
        let barrier = first_barrier();
        let area = shared::base() + AREA;
        if lane == 0 {
            barrier.init(1);
            fence_init();
            barrier.arrive_expect_tx(20 * 32 * size);
        }
        cluster::sync();
        for other in 0..size {
            let credited = cluster::map_shared(barrier.0, other);
            let word = cluster::map_shared(area + 128 * rank + 4 * lane, other);
            let words = cluster::map_shared(area + 2048 + 512 * rank + 16 * lane, other);
            let value = 0x0101_0101 * (rank + 16 * other) ^ lane << 8;
            cluster::store_async(word, value, credited);
            cluster::store_async_16_bytes(
                words,
                [value, !value, value + 1, value ^ 0xFFFF],
                credited,
            );
        }
        let complete = barrier.wait_bounded(0, TRIES);
        let output = params.output + (4 * 160 * 16 + 4) as u64 * rank as u64;
        if lane == 0 {
            report(output, 0, complete as u32);
        }
        for index in 0..size {
            report(
                output,
                1 + 32 * index + lane,
                shared::load_u32(area + 128 * index + 4 * lane),
            );
            for word in 0..4 {
                let at = area + 2048 + 512 * index + 128 * word + 4 * lane;
                report(
                    output,
                    1 + 512 + 128 * index + 32 * word + lane,
                    shared::load_u32(at),
                );
            }
        }
        cluster::sync();
    }
);

/// Each lane of each CTA reduces `value(rank, lane)` of the input into a word of the next CTA. The
/// words' own values come from the input as well; what they become is written.
#[inline(always)]
fn reduce_async(params: &ConformanceParams, reduce: impl Fn(u32, u32, u32)) {
    let (lane, rank, size) = (
        warp::lane_index(),
        warp::cluster_rank(),
        warp::cluster_size(),
    );
    let barrier = first_barrier();
    let at = shared::base() + AREA + 4 * lane;
    let input = |index: u32| {
        // SAFETY: the runner's input has 32 words for each of 32 rows.
        unsafe { crate::ptx::global::load_u32(params.input + (4 * (32 * index + lane)) as u64) }
    };
    shared::store_u32(at, input(rank));
    if lane == 0 {
        barrier.init(1);
        fence_init();
        barrier.arrive_expect_tx(4 * 32);
    }
    cluster::sync();
    let other = (rank + 1) % size;
    reduce(
        cluster::map_shared(at, other),
        input(16 + rank),
        cluster::map_shared(barrier.0, other),
    );
    let complete = barrier.wait_bounded(0, TRIES);
    let output = params.output + (4 * 33 * rank) as u64;
    report(output, 1 + lane, shared::load_u32(at));
    if lane == 0 {
        report(output, 0, complete as u32);
    }
    cluster::sync();
}

macro_rules! asynchronous_reductions {
    ($($entry:ident: $reduce:ident;)*) => {
        $(entry!($entry, ConformanceParams, |params: &ConformanceParams, _| {
            reduce_async(params, cluster::$reduce)
        });)*
    };
}

asynchronous_reductions! {
    cluster_reduce_async_add: reduce_async_add;
    cluster_reduce_async_min_u32: reduce_async_min_u32;
    cluster_reduce_async_min_s32: reduce_async_min_s32;
    cluster_reduce_async_max_u32: reduce_async_max_u32;
    cluster_reduce_async_max_s32: reduce_async_max_s32;
    cluster_reduce_async_inc: reduce_async_inc;
    cluster_reduce_async_dec: reduce_async_dec;
    cluster_reduce_async_and: reduce_async_and;
    cluster_reduce_async_or: reduce_async_or;
    cluster_reduce_async_xor: reduce_async_xor;
}

/// Copies or reduces bytes of each CTA's area into the second half of the next CTA's. Word 5 is the
/// source's offset, 6 the bytes, 7 the bytes of each half. Both halves start as the CTA's part of the
/// input.
#[inline(always)]
fn bulk_to_next(params: &ConformanceParams, copy: impl Fn(u32, u32, u32, u32)) {
    let (offset, bytes, half) = (params.words[5], params.words[6], params.words[7]);
    let (rank, size) = (warp::cluster_rank(), warp::cluster_size());
    let barrier = first_barrier();
    let area = shared::base() + AREA;
    prepare(2 * half);
    upload(params.input + (2 * half * rank) as u64, 2 * half);
    let leader = elect_one();
    if leader {
        barrier.arrive_expect_tx(bytes);
    }
    warp::sync();
    cluster::sync();
    let next = (rank + 1) % size;
    if leader {
        copy(
            cluster::map_shared(area + half, next),
            area + offset,
            bytes,
            cluster::map_shared(barrier.0, next),
        );
    }
    warp::sync();
    let complete = barrier.wait_bounded(0, TRIES);
    let output = params.output + ((16 + 2 * half) * rank) as u64;
    if warp::thread_index() == 0 {
        report(output, 0, complete as u32);
    }
    download(output + 16, 2 * half);
    cluster::sync();
}

entry!(
    cluster_bulk_copy,
    ConformanceParams,
    |params: &ConformanceParams, _| { bulk_to_next(params, bulk::copy_to_cta) }
);

macro_rules! bulk_reductions {
    ($($entry:ident: $instruction:literal;)*) => {
        $(entry!($entry, ConformanceParams, |params: &ConformanceParams, _| {
            bulk_to_next(params, |destination, source, bytes, barrier| {
                reduce_to_cta!($instruction, destination, source, bytes, barrier)
            })
        });)*
    };
}

bulk_reductions! {
    cluster_bulk_reduce_add_u32: "add.u32";
    cluster_bulk_reduce_add_s32: "add.s32";
    cluster_bulk_reduce_add_u64: "add.u64";
    cluster_bulk_reduce_min_u32: "min.u32";
    cluster_bulk_reduce_min_s32: "min.s32";
    cluster_bulk_reduce_max_u32: "max.u32";
    cluster_bulk_reduce_max_s32: "max.s32";
    cluster_bulk_reduce_inc_u32: "inc.u32";
    cluster_bulk_reduce_dec_u32: "dec.u32";
    cluster_bulk_reduce_and_b32: "and.b32";
    cluster_bulk_reduce_or_b32: "or.b32";
    cluster_bulk_reduce_xor_b32: "xor.b32";
}
