//! Where the state spaces lie in the generic address space.
//!
//! PTX ISA §5.1 leaves the windows to the implementation. These start where no host pointer can be,
//! so that a generic address below [`SHARED`] is a global (or constant) address and equals its host
//! address.

use super::ir::Space;

/// Generic address of 32-bit shared address 0. The window spans 2³² bytes: offset in a CTA's shared
/// memory in the low [`SHARED_OFFSET_BITS`] bits, the CTA's rank in its cluster above.
pub const SHARED: u64 = 1 << 60;

/// Generic address of the executing thread's local byte 0.
pub const LOCAL: u64 = 1 << 61;

/// Generic address of the kernel's parameter byte 0.
pub const PARAM: u64 = 1 << 62;

/// Bytes of each window.
pub const WINDOW_BYTES: u64 = 1 << 32;

/// Bits of a 32-bit shared address that hold the offset within one CTA; the bits above hold the
/// CTA's rank. Production kernels rely on it: CUTLASS clears bit 24 of a barrier's address to name
/// the even CTA of a pair (`include/cute/arch/copy_sm100_tma.hpp`).
pub const SHARED_OFFSET_BITS: u32 = 24;

/// The space of a generic address and the offset in its window; `None` is global memory.
pub fn generic_window(address: u64) -> Option<(Space, u64)> {
    let windows = [
        (Space::SharedCluster, SHARED),
        (Space::Local, LOCAL),
        (Space::Param, PARAM),
    ];
    windows.into_iter().find_map(|(space, base)| {
        let offset = address.wrapping_sub(base);
        (offset < WINDOW_BYTES).then_some((space, offset))
    })
}
