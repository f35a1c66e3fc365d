//! Loads from and stores to global memory. PTX ISA §9.7.9.8 `ld`, §9.7.9.11 `st`.

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

/// Stores an f32 to a 4-byte aligned global address.
#[inline(always)]
pub unsafe fn store_f32(address: u64, value: f32) {
    // SAFETY: the caller's.
    unsafe {
        asm!("st.global.f32 [{0}], {1};", in(reg64) address, in(reg32) value, options(nostack));
    }
}

/// Loads 32 bits from a 4-byte aligned global address.
#[inline(always)]
pub unsafe fn load_u32(address: u64) -> u32 {
    let value: u32;
    // SAFETY: the caller's.
    unsafe {
        asm!("ld.global.u32 {0}, [{1}];", out(reg32) value, in(reg64) address, options(nostack));
    }
    value
}

/// Loads a byte, zero-extended.
#[inline(always)]
pub unsafe fn load_u8(address: u64) -> u32 {
    let value: u32;
    // SAFETY: the caller's.
    unsafe {
        asm!("ld.global.u8 {0}, [{1}];", out(reg32) value, in(reg64) address, options(nostack));
    }
    value
}

/// Stores 32 bits to a 4-byte aligned global address.
#[inline(always)]
pub unsafe fn store_u32(address: u64, value: u32) {
    // SAFETY: the caller's.
    unsafe {
        asm!("st.global.u32 [{0}], {1};", in(reg64) address, in(reg32) value, options(nostack));
    }
}
