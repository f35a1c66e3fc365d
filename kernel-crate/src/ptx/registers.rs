//! Moving registers between warpgroups. PTX ISA §9.7.19.5 `setmaxnreg`.
//!
//! Called by all warps of a warpgroup, converged, once.

use core::arch::asm;

/// Gives registers back, down to `COUNT` a thread.
#[inline(always)]
pub fn decrease_to<const COUNT: u32>() {
    // SAFETY: the contract's register counts fit the SM.
    unsafe { asm!("setmaxnreg.dec.sync.aligned.u32 {0};", const COUNT, options(nostack)) }
}

/// Waits for registers, up to `COUNT` a thread.
#[inline(always)]
pub fn increase_to<const COUNT: u32>() {
    // SAFETY: the contract's register counts fit the SM.
    unsafe { asm!("setmaxnreg.inc.sync.aligned.u32 {0};", const COUNT, options(nostack)) }
}
