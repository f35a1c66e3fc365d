//! CTA barriers. PTX ISA §9.7.13.1 `barrier`.
//!
//! Called by converged warps; `THREADS` counts the threads of every warp that arrives or waits.

use core::arch::asm;

/// Arrives at barrier `ID` and waits until `THREADS` threads have.
#[inline(always)]
pub fn sync<const ID: u32, const THREADS: u32>() {
    // SAFETY: all warps that the role table names arrive at this barrier once.
    unsafe { asm!("barrier.cta.sync.aligned {0}, {1};", const ID, const THREADS, options(nostack)) }
}

/// Arrives at barrier `ID` without waiting.
#[inline(always)]
pub fn arrive<const ID: u32, const THREADS: u32>() {
    // SAFETY: as for `sync`.
    unsafe {
        asm!("barrier.cta.arrive.aligned {0}, {1};", const ID, const THREADS, options(nostack))
    }
}
