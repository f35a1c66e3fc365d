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

/// Loads 16 bytes from a 16-byte aligned address; as [`load_u32`].
#[inline(always)]
pub fn load_16_bytes(address: u32) -> [u32; 4] {
    let (a, b, c, d): (u32, u32, u32, u32);
    // SAFETY: as for `load_u32`.
    unsafe {
        asm!(
            "ld.shared.v4.u32 {{{0}, {1}, {2}, {3}}}, [{4}];",
            out(reg32) a,
            out(reg32) b,
            out(reg32) c,
            out(reg32) d,
            in(reg32) address,
            options(nostack),
        );
    }
    [a, b, c, d]
}

/// Stores 16 bytes to a 16-byte aligned address that no copy in flight touches.
#[inline(always)]
pub fn store_16_bytes(address: u32, [a, b, c, d]: [u32; 4]) {
    // SAFETY: an aligned address inside the CTA's shared memory.
    unsafe {
        asm!(
            "st.shared.v4.u32 [{0}], {{{1}, {2}, {3}, {4}}};",
            in(reg32) address,
            in(reg32) a,
            in(reg32) b,
            in(reg32) c,
            in(reg32) d,
            options(nostack),
        );
    }
}

/// Makes this thread's stores visible to the asynchronous proxy, for those that the thread
/// synchronises with afterwards. PTX ISA §9.7.13.4.
#[inline(always)]
pub fn fence_async_proxy() {
    // SAFETY: a fence without operands.
    unsafe { asm!("fence.proxy.async.shared::cta;", options(nostack)) }
}

/// Loads a byte, zero-extended; as [`load_u32`].
#[inline(always)]
pub fn load_u8(address: u32) -> u32 {
    let value: u32;
    // SAFETY: as for `load_u32`.
    unsafe {
        asm!("ld.shared.u8 {0}, [{1}];", out(reg32) value, in(reg32) address, options(nostack));
    }
    value
}

/// Loads 8 bytes from an 8-byte aligned address; as [`load_u32`].
#[inline(always)]
pub fn load_8_bytes(address: u32) -> [u32; 2] {
    let (a, b): (u32, u32);
    // SAFETY: as for `load_u32`.
    unsafe {
        asm!(
            "ld.shared.v2.u32 {{{0}, {1}}}, [{2}];",
            out(reg32) a,
            out(reg32) b,
            in(reg32) address,
            options(nostack),
        );
    }
    [a, b]
}

/// Loads an f32; as [`load_u32`].
#[inline(always)]
pub fn load_f32(address: u32) -> f32 {
    f32::from_bits(load_u32(address))
}

/// Stores 32 bits to a 4-byte aligned address that no copy in flight touches.
#[inline(always)]
pub fn store_u32(address: u32, value: u32) {
    // SAFETY: an aligned address inside the CTA's shared memory.
    unsafe {
        asm!("st.shared.u32 [{0}], {1};", in(reg32) address, in(reg32) value, options(nostack));
    }
}

/// The generic address of a `.shared` address. PTX ISA §9.7.9.20 `cvta`.
#[inline(always)]
pub fn to_generic(address: u32) -> u64 {
    let generic: u64;
    // SAFETY: only computes an address.
    unsafe {
        asm!(
            "{{",
            ".reg .b64 wide;",
            "cvt.u64.u32 wide, {1};",
            "cvta.shared.u64 {0}, wide;",
            "}}",
            out(reg64) generic,
            in(reg32) address,
            options(nomem, nostack),
        );
    }
    generic
}
