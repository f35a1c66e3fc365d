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
