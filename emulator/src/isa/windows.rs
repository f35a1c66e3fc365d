//! Where the state spaces lie in the generic address space.
//!
//! PTX ISA §5.1 leaves the windows to the implementation. These start where no host pointer can be,
//! so that a generic address below [`SHARED`] is a global (or constant) address and equals its host
//! address.

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
