//! Thread-block clusters and their distributed shared memory.

use core::arch::asm;

/// Arrives at the cluster's barrier without waiting, and without making anything visible. Converged
/// warps; [`wait`] follows. PTX ISA §9.7.13.3 `barrier.cluster`.
#[inline(always)]
pub fn arrive_relaxed() {
    // SAFETY: every warp of the cluster that has not exited reaches it, as the roles guarantee.
    unsafe { asm!("barrier.cluster.arrive.relaxed.aligned;", options(nostack)) }
}

/// Waits for the cluster's barrier, at which this thread has arrived. Converged warps.
#[inline(always)]
pub fn wait() {
    // SAFETY: as for `arrive_relaxed`.
    unsafe { asm!("barrier.cluster.wait.acquire.aligned;", options(nostack)) }
}

/// Arrives at the cluster's barrier and waits for all its threads that have not exited; what each
/// wrote to shared memory before is visible to all after. Converged warps.
#[inline(always)]
pub fn sync() {
    // SAFETY: as for `arrive_relaxed`.
    unsafe { asm!("barrier.cluster.arrive.release.aligned;", options(nostack)) }
    wait();
}

/// The `.shared::cluster` address, in the CTA of this rank, of what is at `address` here. PTX ISA
/// §9.7.9.23 `mapa`.
#[inline(always)]
pub fn map_shared(address: u32, rank: u32) -> u32 {
    let mapped: u32;
    // SAFETY: only computes an address.
    unsafe {
        asm!(
            "mapa.shared::cluster.u32 {0}, {1}, {2};",
            out(reg32) mapped,
            in(reg32) address,
            in(reg32) rank,
            options(nomem, nostack),
        );
    }
    mapped
}

/// The rank of the CTA that a `.shared::cluster` address lies in. PTX ISA §9.7.9.24 `getctarank`.
#[inline(always)]
pub fn rank_of(address: u32) -> u32 {
    let rank: u32;
    // SAFETY: only computes a value.
    unsafe {
        asm!(
            "getctarank.shared::cluster.u32 {0}, {1};",
            out(reg32) rank,
            in(reg32) address,
            options(nomem, nostack),
        );
    }
    rank
}

/// The generic address, in the CTA of this rank, of what is at the generic `address` here. PTX ISA
/// §9.7.9.23 `mapa`.
#[inline(always)]
pub fn map_generic(address: u64, rank: u32) -> u64 {
    let mapped: u64;
    // SAFETY: only computes an address.
    unsafe {
        asm!("mapa.u64 {0}, {1}, {2};", out(reg64) mapped, in(reg64) address, in(reg32) rank, options(nomem, nostack));
    }
    mapped
}

/// The generic address of a `.shared::cluster` address. PTX ISA §9.7.9.20 `cvta`.
#[inline(always)]
pub fn to_generic(address: u32) -> u64 {
    let generic: u64;
    // SAFETY: only computes an address.
    unsafe {
        asm!(
            "{{",
            ".reg .b64 wide;",
            "cvt.u64.u32 wide, {1};",
            "cvta.shared::cluster.u64 {0}, wide;",
            "}}",
            out(reg64) generic,
            in(reg32) address,
            options(nomem, nostack),
        );
    }
    generic
}

/// Loads 32 bits from a `.shared::cluster` address.
#[inline(always)]
pub fn load_u32(address: u32) -> u32 {
    let value: u32;
    // SAFETY: as for `load_f32`.
    unsafe {
        asm!("ld.shared::cluster.u32 {0}, [{1}];", out(reg32) value, in(reg32) address, options(nostack));
    }
    value
}

/// Stores 32 bits to a `.shared::cluster` address.
#[inline(always)]
pub fn store_u32(address: u32, value: u32) {
    // SAFETY: as for `load_f32`.
    unsafe {
        asm!("st.shared::cluster.u32 [{0}], {1};", in(reg32) address, in(reg32) value, options(nostack));
    }
}

macro_rules! atomic {
    ($(#[$doc:meta])* $function:ident, $instruction:literal) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $function(address: u32, value: u32) -> u32 {
            let old: u32;
            // SAFETY: as for `load_f32`.
            unsafe {
                asm!(
                    concat!("atom.relaxed.cluster.shared::cluster.", $instruction, " {0}, [{1}], {2};"),
                    out(reg32) old,
                    in(reg32) address,
                    in(reg32) value,
                    options(nostack),
                );
            }
            old
        }
    };
}

atomic!(
    /// Adds to 32 bits and returns what was there. PTX ISA §9.7.13.5 `atom`.
    atomic_add, "add.u32"
);
atomic!(
    /// Exchanges 32 bits. PTX ISA §9.7.13.5 `atom`.
    atomic_exchange, "exch.b32"
);

/// Stores 32 bits asynchronously and credits 4 bytes to `barrier`, which is in the same CTA as
/// `address`. PTX ISA §9.7.9.12 `st.async`.
#[inline(always)]
pub fn store_async(address: u32, value: u32, barrier: u32) {
    // SAFETY: `.shared::cluster` addresses of a CTA that has not exited.
    unsafe {
        asm!(
            "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [{0}], {1}, [{2}];",
            in(reg32) address,
            in(reg32) value,
            in(reg32) barrier,
            options(nostack),
        );
    }
}

/// Stores 16 bytes asynchronously, as [`store_async`]; `address` is 16-byte aligned.
#[inline(always)]
pub fn store_async_16_bytes(address: u32, [a, b, c, d]: [u32; 4], barrier: u32) {
    // SAFETY: as for `store_async`.
    unsafe {
        asm!(
            "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [{0}], {{{1}, {2}, {3}, {4}}}, [{5}];",
            in(reg32) address,
            in(reg32) a,
            in(reg32) b,
            in(reg32) c,
            in(reg32) d,
            in(reg32) barrier,
            options(nostack),
        );
    }
}

macro_rules! reduction {
    ($($function:ident: $instruction:literal;)*) => {
        $(
            /// Updates 32 bits asynchronously and credits 4 bytes to `barrier`, which is in the same
            /// CTA as `address`. PTX ISA §9.7.13.7 `red.async`.
            #[inline(always)]
            pub fn $function(address: u32, value: u32, barrier: u32) {
                // SAFETY: `.shared::cluster` addresses of a CTA that has not exited.
                unsafe {
                    asm!(
                        concat!(
                            "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.",
                            $instruction,
                            " [{0}], {1}, [{2}];",
                        ),
                        in(reg32) address,
                        in(reg32) value,
                        in(reg32) barrier,
                        options(nostack),
                    );
                }
            }
        )*
    };
}

reduction! {
    reduce_async_inc: "inc.u32";
    reduce_async_dec: "dec.u32";
    reduce_async_min_u32: "min.u32";
    reduce_async_min_s32: "min.s32";
    reduce_async_max_u32: "max.u32";
    reduce_async_max_s32: "max.s32";
    reduce_async_add: "add.u32";
    reduce_async_and: "and.b32";
    reduce_async_or: "or.b32";
    reduce_async_xor: "xor.b32";
}
