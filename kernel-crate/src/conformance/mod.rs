//! Conformance kernels: each exercises one rule of the machine and writes what it saw, so that a GPU
//! and the emulator can be compared word by word. `tests/conformance` has the cases.
//!
//! A kernel waits only for what it can prove or for a bounded time: where a device counts other bytes
//! than expected, the output says so instead of the kernel hanging.

mod bulk;
mod cluster;
mod dependent;
mod mbarrier;
mod multicast;
mod registers;
mod tma;

use crate::contract::conformance::{AREA, THREADS};
use crate::ptx::mbarrier::{Mbarrier, fence_init};
use crate::ptx::{barrier, global, shared, warp};

/// What shared memory holds where nothing was copied.
const FILL: u32 = 0xA5A5_A5A5;

/// How often [`Mbarrier::wait_bounded`] tries: some 20 ms in all.
const TRIES: u32 = 1000;

#[inline(always)]
fn sync() {
    barrier::sync::<0, THREADS>();
}

/// The barrier of the CTA, at the start of shared memory.
#[inline(always)]
fn first_barrier() -> Mbarrier {
    Mbarrier(shared::base())
}

/// True in one thread of the CTA, of its first warp. Called by a converged CTA.
///
/// An elected thread issues the copies, as in the product, so that what is recorded holds for the same
/// instructions.
#[inline(always)]
fn elect_one() -> bool {
    let warp_index = warp::broadcast_first(warp::thread_index() / 32);
    warp_index == 0 && warp::elect_one()
}

/// Fills `bytes` bytes of the area, has one thread initialise the barrier, and orders both before
/// asynchronous copies. Every thread of the CTA calls it.
#[inline(always)]
fn prepare(bytes: u32) {
    let area = shared::base() + AREA;
    each_word(bytes, |offset| shared::store_u32(area + offset, FILL));
    warp::sync();
    if elect_one() {
        first_barrier().init(1);
        fence_init();
    }
    warp::sync();
    shared::fence_async_proxy();
    sync();
}

/// Copies `bytes` bytes of the input to the area, and orders them before asynchronous copies.
#[inline(always)]
fn upload(input: u64, bytes: u32) {
    let area = shared::base() + AREA;
    each_word(bytes, |offset| {
        // SAFETY: the runner's input has as many bytes.
        let word = unsafe { global::load_u32(input + offset as u64) };
        shared::store_u32(area + offset, word);
    });
    shared::fence_async_proxy();
    sync();
}

/// Copies `bytes` bytes of the area to `output`.
#[inline(always)]
fn download(output: u64, bytes: u32) {
    let area = shared::base() + AREA;
    each_word(bytes, |offset| {
        let word = shared::load_u32(area + offset);
        // SAFETY: the runner's output has as many bytes.
        unsafe { global::store_u32(output + offset as u64, word) };
    });
}

/// Calls `visit` with the offset of each word of `bytes` bytes; the CTA's threads share them.
#[inline(always)]
fn each_word(bytes: u32, visit: impl Fn(u32)) {
    let mut offset = 4 * warp::thread_index();
    while offset < bytes {
        visit(offset);
        offset += 4 * THREADS;
    }
}

/// Writes word `index` of the output.
#[inline(always)]
fn report(output: u64, index: u32, word: u32) {
    // SAFETY: the runner's output has as many words.
    unsafe { global::store_u32(output + 4 * index as u64, word) }
}
