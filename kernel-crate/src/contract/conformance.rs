//! What the conformance kernels and their runner agree on.
//!
//! Each entry exercises one rule of the machine and writes what it saw. They are built into a PTX file
//! of their own, with the feature `conformance`, and do not ship.

use super::{Launch, PARAM_ALIGNMENT, TensorMap};

/// The one parameter of every entry, passed by value. What `words` mean is said where an entry is
/// defined.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ConformanceParams {
    /// Over the input or the output, where an entry uses one.
    pub map: TensorMap,
    /// Device address of the input, 16-byte aligned.
    pub input: u64,
    /// Device address of the output, 16-byte aligned.
    pub output: u64,
    pub words: [u32; 12],
}

const _: () = {
    assert!(align_of::<ConformanceParams>() == 8);
    assert!(size_of::<ConformanceParams>() == 192);
};

/// Dynamic shared memory of every entry, in bytes.
pub const SHARED_BYTES: u32 = 160 * 1024;

/// Where in it the area starts that copies use; barriers and other small things lie before.
pub const AREA: u32 = 1024;

/// Threads of a CTA of every entry but those that say otherwise.
pub const THREADS: u32 = 128;

const fn entry(name: &'static str, threads: u32) -> Launch {
    Launch {
        name,
        threads_per_cta: threads,
        min_ctas_per_sm: 1,
        cluster: [1; 3],
        param_alignment: PARAM_ALIGNMENT,
        dynamic_shared_bytes: SHARED_BYTES,
    }
}

macro_rules! entries {
    ($($name:ident: $threads:expr;)*) => {
        /// Every entry of the conformance PTX.
        pub const ENTRIES: &[Launch] = &[$(entry(stringify!($name), $threads),)*];
    };
}

entries! {
    tma_load_1d: THREADS;
    tma_load_2d: THREADS;
    tma_load_3d: THREADS;
    tma_load_4d: THREADS;
    tma_load_5d: THREADS;
    tma_store_1d: THREADS;
    tma_store_2d: THREADS;
    tma_store_3d: THREADS;
    tma_store_4d: THREADS;
    tma_store_5d: THREADS;
    tma_reduce_add: THREADS;
    tma_reduce_min: THREADS;
    tma_reduce_max: THREADS;
    tma_reduce_inc: THREADS;
    tma_reduce_dec: THREADS;
    tma_reduce_and: THREADS;
    tma_reduce_or: THREADS;
    tma_reduce_xor: THREADS;
    bulk_load: THREADS;
    bulk_store: THREADS;
    bulk_reduce_add_u32: THREADS;
    bulk_reduce_add_s32: THREADS;
    bulk_reduce_add_u64: THREADS;
    bulk_reduce_add_f16: THREADS;
    bulk_reduce_add_bf16: THREADS;
    bulk_reduce_add_f32: THREADS;
    bulk_reduce_add_f64: THREADS;
    bulk_reduce_min_u32: THREADS;
    bulk_reduce_min_s32: THREADS;
    bulk_reduce_min_u64: THREADS;
    bulk_reduce_min_s64: THREADS;
    bulk_reduce_min_f16: THREADS;
    bulk_reduce_min_bf16: THREADS;
    bulk_reduce_max_u32: THREADS;
    bulk_reduce_max_s32: THREADS;
    bulk_reduce_max_u64: THREADS;
    bulk_reduce_max_s64: THREADS;
    bulk_reduce_max_f16: THREADS;
    bulk_reduce_max_bf16: THREADS;
    bulk_reduce_inc_u32: THREADS;
    bulk_reduce_dec_u32: THREADS;
    bulk_reduce_and_b32: THREADS;
    bulk_reduce_or_b32: THREADS;
    bulk_reduce_xor_b32: THREADS;
    bulk_reduce_and_b64: THREADS;
    bulk_reduce_or_b64: THREADS;
    bulk_reduce_xor_b64: THREADS;
    mbarrier_script: 32;
    mbarrier_of_many: THREADS;
    mbarrier_remote: 32;
    shared_addresses: 32;
    cluster_exchange: 32;
    cluster_store_async: 32;
    cluster_reduce_async_add: 32;
    cluster_reduce_async_min_u32: 32;
    cluster_reduce_async_min_s32: 32;
    cluster_reduce_async_max_u32: 32;
    cluster_reduce_async_max_s32: 32;
    cluster_reduce_async_inc: 32;
    cluster_reduce_async_dec: 32;
    cluster_reduce_async_and: 32;
    cluster_reduce_async_or: 32;
    cluster_reduce_async_xor: 32;
    cluster_bulk_copy: THREADS;
    cluster_bulk_reduce_add_u32: THREADS;
    cluster_bulk_reduce_add_s32: THREADS;
    cluster_bulk_reduce_add_u64: THREADS;
    cluster_bulk_reduce_min_u32: THREADS;
    cluster_bulk_reduce_min_s32: THREADS;
    cluster_bulk_reduce_max_u32: THREADS;
    cluster_bulk_reduce_max_s32: THREADS;
    cluster_bulk_reduce_inc_u32: THREADS;
    cluster_bulk_reduce_dec_u32: THREADS;
    cluster_bulk_reduce_and_b32: THREADS;
    cluster_bulk_reduce_or_b32: THREADS;
    cluster_bulk_reduce_xor_b32: THREADS;
    multicast_bulk: THREADS;
    multicast_tile: THREADS;
    dependent_primary: THREADS;
    dependent_secondary: THREADS;
    registers_24_240: 384;
    registers_40_232: 384;
    registers_56_224: 384;
}

/// What `mbarrier_script` does: each step is two words, the operation and its operand; each writes
/// one word, its result or 0. Steps with a token use the one that the latest step with a token left
/// in the slot that the operand's upper half names (0 to 3); the operand's lower half is the rest.
pub mod step {
    /// Initialises the barrier for as many arrivals.
    pub const INIT: u32 = 0;
    pub const INVALIDATE: u32 = 1;
    /// Arrives as often; the token goes to the slot. The result is the token's pending count.
    pub const ARRIVE: u32 = 2;
    pub const ARRIVE_DROP: u32 = 3;
    pub const ARRIVE_NO_COMPLETE: u32 = 4;
    /// Expects as many bytes, then arrives once.
    pub const ARRIVE_EXPECT_TX: u32 = 5;
    pub const ARRIVE_DROP_EXPECT_TX: u32 = 6;
    pub const EXPECT_TX: u32 = 7;
    pub const COMPLETE_TX: u32 = 8;
    /// The result is whether the phase of this parity has completed.
    pub const TEST_WAIT_PARITY: u32 = 9;
    pub const TRY_WAIT_PARITY: u32 = 10;
    /// The result is whether the token's phase has completed.
    pub const TEST_WAIT_TOKEN: u32 = 11;
    pub const TRY_WAIT_TOKEN: u32 = 12;
}
