//! One-dimensional bulk copies. PTX ISA §9.7.9.25.4 `cp.async.bulk`.

use core::arch::asm;

use super::mbarrier::Mbarrier;
use super::tma::CachePolicy;

/// Copies `bytes` bytes from global to shared memory and credits them to `barrier`. One thread;
/// returns before the copy is done. Both addresses and `bytes` are multiples of 16.
#[inline(always)]
pub fn load(destination: u32, source: u64, bytes: u32, barrier: Mbarrier, policy: CachePolicy) {
    // SAFETY: `destination` holds `bytes` bytes and is not read until `barrier` completes, as the
    // pipeline guarantees; `source` points to as many, as the launch contract says.
    unsafe {
        asm!(
            "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes.L2::cache_hint [{0}], [{1}], {2}, [{3}], {4};",
            in(reg32) destination,
            in(reg64) source,
            in(reg32) bytes,
            in(reg32) barrier.0,
            in(reg64) policy.bits(),
            options(nostack),
        );
    }
}

/// As [`load`], without a cache policy.
#[inline(always)]
pub fn load_plain(destination: u32, source: u64, bytes: u32, barrier: Mbarrier) {
    // SAFETY: as for `load`.
    unsafe {
        asm!(
            "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [{0}], [{1}], {2}, [{3}];",
            in(reg32) destination,
            in(reg64) source,
            in(reg32) bytes,
            in(reg32) barrier.0,
            options(nostack),
        );
    }
}

/// As [`load_plain`], into each CTA of the cluster whose bit of `ctas` is set, at the same offset,
/// crediting the barrier at the same offset there.
#[inline(always)]
pub fn load_multicast(destination: u32, source: u64, bytes: u32, barrier: Mbarrier, ctas: u16) {
    // SAFETY: as for `load`, in every CTA of the mask.
    unsafe {
        asm!(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [{0}], [{1}], {2}, [{3}], {4};",
            in(reg32) destination,
            in(reg64) source,
            in(reg32) bytes,
            in(reg32) barrier.0,
            in(reg16) ctas,
            options(nostack),
        );
    }
}

/// Copies `bytes` bytes from this CTA's shared memory to another's, and credits them to `barrier`
/// there. `destination` and `barrier` are `.shared::cluster` addresses of one CTA.
#[inline(always)]
pub fn copy_to_cta(destination: u32, source: u32, bytes: u32, barrier: u32) {
    // SAFETY: both CTAs stay until the copy is done, and nobody touches its ends meanwhile.
    unsafe {
        asm!(
            "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [{0}], [{1}], {2}, [{3}];",
            in(reg32) destination,
            in(reg32) source,
            in(reg32) bytes,
            in(reg32) barrier,
            options(nostack),
        );
    }
}

/// Copies `bytes` bytes from shared to global memory, as part of the thread's current bulk group.
#[inline(always)]
pub fn store(destination: u64, source: u32, bytes: u32) {
    // SAFETY: `source` is not written until the group has been waited for.
    unsafe {
        asm!(
            "cp.async.bulk.global.shared::cta.bulk_group [{0}], [{1}], {2};",
            in(reg64) destination,
            in(reg32) source,
            in(reg32) bytes,
            options(nostack),
        );
    }
}

/// Makes a group of this thread's bulk operations since the last one. PTX ISA §9.7.9.27.2.1
/// `cp.async.bulk.commit_group`.
#[inline(always)]
pub fn commit_group() {
    // SAFETY: an ordering without operands.
    unsafe { asm!("cp.async.bulk.commit_group;", options(nostack)) }
}

/// Waits until this thread's bulk groups are complete. PTX ISA §9.7.9.27.2.2
/// `cp.async.bulk.wait_group`.
#[inline(always)]
pub fn wait_all_groups() {
    // SAFETY: an ordering without operands.
    unsafe { asm!("cp.async.bulk.wait_group 0;", options(nostack)) }
}

/// A bulk reduction `operation.type` of shared memory into global memory, element by element, as
/// part of the thread's current bulk group. PTX ISA §9.7.9.25.4.2 `cp.reduce.async.bulk`.
macro_rules! reduce_to_global {
    ($instruction:literal, $destination:expr, $source:expr, $bytes:expr) => {
        // SAFETY: as for `store`.
        unsafe {
            core::arch::asm!(
                concat!(
                    "cp.reduce.async.bulk.global.shared::cta.bulk_group.",
                    $instruction,
                    " [{0}], [{1}], {2};"
                ),
                in(reg64) $destination,
                in(reg32) $source,
                in(reg32) $bytes,
                options(nostack),
            )
        }
    };
}

/// A bulk reduction `operation.type` of this CTA's shared memory into another's, whose `barrier` is
/// credited with the bytes. PTX ISA §9.7.9.25.4.2 `cp.reduce.async.bulk`.
macro_rules! reduce_to_cta {
    ($instruction:literal, $destination:expr, $source:expr, $bytes:expr, $barrier:expr) => {
        // SAFETY: as for `copy_to_cta`.
        unsafe {
            core::arch::asm!(
                concat!(
                    "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.",
                    $instruction,
                    " [{0}], [{1}], {2}, [{3}];"
                ),
                in(reg32) $destination,
                in(reg32) $source,
                in(reg32) $bytes,
                in(reg32) $barrier,
                options(nostack),
            )
        }
    };
}
