//! Stores to global memory. PTX ISA §9.7.9.11 `st`.

use core::arch::asm;

/// Stores 16 bytes to a 16-byte aligned global address.
#[inline(always)]
pub unsafe fn store_16_bytes(address: u64, words: [u32; 4]) {
    let [a, b, c, d] = words;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "st.global.v4.b32 [{0}], {{{1}, {2}, {3}, {4}}};",
            in(reg64) address,
            in(reg32) a,
            in(reg32) b,
            in(reg32) c,
            in(reg32) d,
            options(nostack),
        );
    }
}

/// Stores two f32 to an 8-byte aligned global address.
#[inline(always)]
pub unsafe fn store_f32x2(address: u64, (low, high): (f32, f32)) {
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "st.global.v2.f32 [{0}], {{{1}, {2}}};",
            in(reg64) address,
            in(reg32) low,
            in(reg32) high,
            options(nostack),
        );
    }
}
