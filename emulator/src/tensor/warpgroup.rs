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

use std::ops::Range;

use thiserror::Error;

use super::descriptor::{CHUNK_BYTES, SmemDescriptor};
use crate::tma::Swizzle;

/// A matrix descriptor that `wgmma` cannot take, or that is not emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WarpgroupDescriptorError {
    #[error("matrix descriptor {descriptor:#018x}: unused bits {found:#018x} must be zero")]
    Reserved { descriptor: u64, found: u64 },
    #[error(
        "matrix descriptor {descriptor:#018x}: base offset {found} is not emulated; align the swizzle pattern to its \
         period and use 0"
    )]
    BaseOffset { descriptor: u64, found: u64 },
    #[error(
        "matrix descriptor {descriptor:#018x}: start address {start:#x} is not in the first row of a {swizzle:?} pattern, \
         which repeats every {period} bytes; with base offset 0 it must be"
    )]
    PatternStart {
        descriptor: u64,
        start: u32,
        swizzle: Swizzle,
        period: u32,
    },
}

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
    ///
    /// ```text
    /// bit 0      14   16     30   32     46   49   52    62   64
    ///     | start | 0 |  LBO | 0 |  SBO | 0 | base |  0  | swizzle |     addresses and offsets in units of 16 bytes
    /// ```
    pub fn decode(
        descriptor: u64,
        mn_major: bool,
        element_bits: u32,
    ) -> Result<WarpgroupTile, WarpgroupDescriptorError> {
        const RESERVED: u64 = 0b11 << 14 | 0b11 << 30 | 0b111 << 46 | 0x3ff << 52;
        let field = |low: u32, bits: u32| descriptor >> low & ((1 << bits) - 1);
        if descriptor & RESERVED != 0 {
            return Err(WarpgroupDescriptorError::Reserved {
                descriptor,
                found: descriptor & RESERVED,
            });
        }
        if field(49, 3) != 0 {
            return Err(WarpgroupDescriptorError::BaseOffset {
                descriptor,
                found: field(49, 3),
            });
        }
        let swizzle = match field(62, 2) {
            0 => Swizzle::None,
            1 => Swizzle::B128,
            2 => Swizzle::B64,
            _ => Swizzle::B32,
        };
        let bytes = |low| (field(low, 14) as u32) << 4;
        let layout = SmemDescriptor {
            start: bytes(0),
            leading: bytes(16),
            stride: bytes(32),
            swizzle,
        };
        let period = swizzle.period();
        if swizzle != Swizzle::None && layout.start % period >= 128 {
            return Err(WarpgroupDescriptorError::PatternStart {
                descriptor,
                start: layout.start,
                swizzle,
                period,
            });
        }
        Ok(WarpgroupTile {
            layout,
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
            true => self.mn_major_chunk(chunk, k),
            false => self.layout.chunk_address(line, chunk),
        };
        chunk_at + within
    }

    fn mn_major_chunk(&self, chunk: u32, k: u32) -> u32 {
        let SmemDescriptor {
            start,
            leading,
            stride,
            swizzle,
        } = self.layout;
        let (row, group) = (k % 8, k / 8);
        let dense = match swizzle.span() {
            None => chunk * stride + row * CHUNK_BYTES + group * leading,
            Some(span) => {
                let width = span / CHUNK_BYTES;
                chunk % width * CHUNK_BYTES + chunk / width * leading + row * span + group * stride
            }
        };
        swizzle.apply(start + dense)
    }

    /// The smallest range of shared memory that holds `lines` lines of `k` elements.
    pub fn footprint(&self, lines: u32, k: u32) -> Range<u32> {
        let per_chunk = (CHUNK_BYTES / self.element_bytes) as usize;
        let (line_step, k_step) = match self.mn_major {
            true => (per_chunk, 1),
            false => (1, per_chunk),
        };
        let addresses = (0..lines)
            .step_by(line_step)
            .flat_map(|line| (0..k).step_by(k_step).map(move |k| self.address(line, k)));
        let (low, high) = addresses.fold((u32::MAX, 0), |(low, high), address| {
            (low.min(address), high.max(address + CHUNK_BYTES))
        });
        low.min(high)..high
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
