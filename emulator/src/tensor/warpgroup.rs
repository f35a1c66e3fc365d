//! Operands of `wgmma.mma_async` in shared memory (PTX ISA §9.7.15.5.1).
//!
//! A tile is made of 16-byte chunks. Along the major dimension (K, or M and N where the operand is transposed) a chunk
//! holds consecutive elements. The canonical layouts, with W chunks of 16 bytes in a row of the swizzle pattern:
//!
//! ```text
//!                     no swizzle                                   swizzled
//! K-major             line % 8 · 16 + line / 8 · SBO               line % 8 · 16W + line / 8 · SBO
//!                     + chunk · LBO                                + chunk · 16
//! MN-major            chunk · SBO                                  chunk % W · 16 + chunk / W · LBO
//!                     + k % 8 · 16 + k / 8 · LBO                   + k % 8 · 16W + k / 8 · SBO
//! ```
//!
//! Source: the comments of `include/cute/arch/mma_sm90_desc.hpp` and `include/cute/atom/mma_traits_sm90_gmma.hpp` in
//! NVIDIA/cutlass. The swizzle acts on addresses.

use super::descriptor::{CHUNK_BYTES, DescriptorError, SmemDescriptor};

/// An operand in shared memory: rows of A or columns of B ("lines") along K.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarpgroupTile {
    layout: SmemDescriptor,
    /// 16-bit elements, consecutive along M or N.
    mn_major: bool,
    element_bytes: u32,
}

impl WarpgroupTile {
    /// Decodes and checks the descriptor.
    pub fn decode(
        descriptor: u64,
        mn_major: bool,
        element_bits: u32,
    ) -> Result<WarpgroupTile, DescriptorError> {
        Ok(WarpgroupTile {
            layout: SmemDescriptor::decode_warpgroup(descriptor)?,
            mn_major,
            element_bytes: element_bits / 8,
        })
    }

    /// Shared-window offset of an element.
    pub fn address(&self, line: u32, k: u32) -> u32 {
        let major = if self.mn_major { line } else { k };
        let byte = major * self.element_bytes;
        let (chunk, within) = (byte / CHUNK_BYTES, byte % CHUNK_BYTES);
        let chunk_at = match self.mn_major {
            true => self.layout.transposed_chunk_address(chunk, k),
            false => self.layout.chunk_address(line, chunk),
        };
        chunk_at + within
    }

    /// Where the 16-byte chunks of `lines` lines of `k` elements lie.
    pub fn chunk_addresses(&self, lines: u32, k: u32) -> impl Iterator<Item = u32> {
        let per_chunk = (CHUNK_BYTES / self.element_bytes) as usize;
        let (line_step, k_step) = match self.mn_major {
            true => (per_chunk, 1),
            false => (1, per_chunk),
        };
        let lines = (0..lines).step_by(line_step);
        lines.flat_map(move |line| (0..k).step_by(k_step).map(move |k| self.address(line, k)))
    }

    /// The code of an element. The footprint lies in `shared`.
    pub fn code(&self, shared: &[u8], line: u32, k: u32) -> u32 {
        let at = self.address(line, k) as usize;
        let mut bytes = [0; 4];
        let count = self.element_bytes as usize;
        bytes[..count].copy_from_slice(&shared[at..at + count]);
        u32::from_le_bytes(bytes)
    }
}
