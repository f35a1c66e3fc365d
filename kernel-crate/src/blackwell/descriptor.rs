//! Shared-memory descriptors of `tcgen05`. PTX ISA §9.7.16.4.1.
//!
//! ```text
//! bits 0–13 start address / 16 │ 16–29 leading offset / 16 │ 32–45 stride offset / 16 │ 46–48 = 1 │ 61–63 swizzle
//! ```

const VERSION: u64 = 1 << 46;
const SWIZZLE_NONE: u64 = 0;
const SWIZZLE_128B: u64 = 2;

const fn layout(stride_bytes: u64, swizzle: u64) -> u64 {
    ((stride_bytes >> 4) << 32) | VERSION | (swizzle << 61)
}

/// Eight rows of 128 bytes form a swizzle atom; the next eight rows follow 1024 bytes on. K-major
/// tiles ignore the leading offset.
const OPERAND_TILE: u64 = layout(1024, SWIZZLE_128B);
/// Eight rows of 16 bytes, then the next eight.
const SCALE_TILE: u64 = layout(128, SWIZZLE_NONE);

/// The tiles of a stage, by address in the unit of the descriptors' address field. Descriptors of
/// tiles are sums of this and constants, one addition each.
#[derive(Clone, Copy)]
pub struct StageAddress(u32);

impl StageAddress {
    /// `address` is the shared address of the stage, 1024-byte aligned. Shared addresses of a CTA
    /// have 18 bits, so that the 14 bits of the field never overflow.
    #[inline(always)]
    pub fn new(address: u32) -> Self {
        Self(address >> 4)
    }

    /// The K = 64 slice at byte `offset` of a stage's e2m1 tile of 128-byte rows. Slices are 32
    /// bytes apart: the swizzle acts on address bits, so that advancing the start address inside
    /// the atom is enough.
    #[inline(always)]
    pub fn operand(self, offset: u32) -> u64 {
        OPERAND_TILE | (self.0 + (offset >> 4)) as u64
    }

    /// The 512-byte scale-factor tile at byte `offset` of the stage.
    #[inline(always)]
    pub fn scales(self, offset: u32) -> u64 {
        SCALE_TILE | (self.0 + (offset >> 4)) as u64
    }
}
