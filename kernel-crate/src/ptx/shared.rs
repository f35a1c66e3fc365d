//! The CTA's dynamic shared memory.

use core::arch::{asm, global_asm};

// Rust has no shared memory. PTX ISA §5.4: an extern array in `.shared` is what the launch
// provides.
global_asm!(".extern .shared .align 1024 .b8 nvfp4_dual_gemm_shared[];");

/// The `.shared::cta` address at which dynamic shared memory starts; 1024-byte aligned.
#[inline(always)]
pub fn base() -> u32 {
    let address: u32;
    // SAFETY: names the array declared above; reads no memory.
    unsafe {
        asm!("mov.u32 {0}, nvfp4_dual_gemm_shared;", out(reg32) address, options(nomem, nostack));
    }
    address
}

/// Loads 32 bits. The address is 4-byte aligned and was written before a barrier that the caller
/// has passed.
#[inline(always)]
pub fn load_u32(address: u32) -> u32 {
    let value: u32;
    // SAFETY: an aligned address inside the CTA's shared memory, as every caller takes it from the
    // shared-memory plan.
    unsafe {
        asm!("ld.shared.u32 {0}, [{1}];", out(reg32) value, in(reg32) address, options(nostack));
    }
    value
}
