//! The 64-bit matrix descriptors of shared memory, of `tcgen05` (PTX ISA §9.7.16.4.1) and of `wgmma` (§9.7.15.5.1).

use std::ops::Range;

use thiserror::Error;

use crate::tma::Swizzle;

/// Bytes that a descriptor addresses as a unit.
pub const CHUNK_BYTES: u32 = 16;

/// Rows of a core matrix: consecutive rows lie one swizzle span apart, groups of eight rows one stride offset.
const GROUP_ROWS: u32 = 8;

/// A field of a shared-memory descriptor that is wrong or not emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptorError {
    #[error("matrix descriptor {descriptor:#018x}: reserved bits {found:#018x} must be zero")]
    Reserved { descriptor: u64, found: u64 },
    #[error(
        "matrix descriptor {descriptor:#018x}: bits 46-48 are {found:#05b}; Blackwell needs 0b001"
    )]
    Version { descriptor: u64, found: u64 },
    #[error(
        "matrix descriptor {descriptor:#018x}: base offset {found} is not emulated; align the swizzle pattern to its \
         period and use 0"
    )]
    BaseOffset { descriptor: u64, found: u64 },
    #[error(
        "matrix descriptor {descriptor:#018x}: the absolute leading-dimension mode (bit 52) is not emulated"
    )]
    AbsoluteLeading { descriptor: u64 },
    #[error("matrix descriptor {descriptor:#018x}: swizzle mode {found} does not exist")]
    SwizzleCode { descriptor: u64, found: u64 },
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
    #[error(
        "matrix descriptor {descriptor:#018x}: stride offset {stride} is not a multiple of the {swizzle:?} pattern's \
         {period} bytes"
    )]
    PatternStride {
        descriptor: u64,
        stride: u32,
        swizzle: Swizzle,
        period: u32,
    },
}

/// A decoded descriptor of a matrix in shared memory. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmemDescriptor {
    /// Offset in the CTA's shared window.
    pub start: u32,
    /// K-major: from one 16-byte chunk of a row to the next; only without swizzle. MN-major: see
    /// [`SmemDescriptor::transposed_chunk_address`].
    pub leading: u32,
    /// K-major: from one group of eight rows to the next.
    pub stride: u32,
    pub swizzle: Swizzle,
    /// The line of 128 bytes, modulo the pattern's, where the swizzle's pattern begins.
    pub base_offset: u32,
}

impl SmemDescriptor {
    /// Decodes and checks a descriptor of `tcgen05`.
    ///
    /// ```text
    /// bit 0      14   16     30   32     46    49   52  53    61   64
    ///     | start | 0 |  LBO | 0 |  SBO | 001 | base | A |  0  | swizzle |     addresses and offsets in units of 16 bytes
    /// ```
    pub fn decode(descriptor: u64) -> Result<SmemDescriptor, DescriptorError> {
        check_reserved(descriptor, 0b11 << 14 | 0b11 << 30 | 0xff << 53)?;
        let version = field(descriptor, 46, 3);
        if version != 0b001 {
            return Err(DescriptorError::Version {
                descriptor,
                found: version,
            });
        }
        if field(descriptor, 52, 1) != 0 {
            return Err(DescriptorError::AbsoluteLeading { descriptor });
        }
        let swizzle = match field(descriptor, 61, 3) {
            0 => Swizzle::None,
            1 => Swizzle::B128Atom32,
            2 => Swizzle::B128,
            4 => Swizzle::B64,
            6 => Swizzle::B32,
            found => return Err(DescriptorError::SwizzleCode { descriptor, found }),
        };
        // Where nothing is swizzled there is no pattern to be off its boundary; Triton fills the field in all the same.
        if swizzle != Swizzle::None {
            check_base_offset(descriptor)?;
        }
        let decoded = SmemDescriptor::placed(descriptor, swizzle);
        let (start, period) = (decoded.start, swizzle.period());
        // A start inside the first row is how a kernel steps along K.
        if swizzle != Swizzle::None && start % period >= 128 {
            return Err(DescriptorError::PatternStart {
                descriptor,
                start,
                swizzle,
                period,
            });
        }
        if swizzle != Swizzle::None && !decoded.stride.is_multiple_of(period) {
            return Err(DescriptorError::PatternStride {
                descriptor,
                stride: decoded.stride,
                swizzle,
                period,
            });
        }
        Ok(decoded)
    }

    /// Decodes and checks a descriptor of `wgmma`.
    ///
    /// ```text
    /// bit 0      14   16     30   32     46   49   52    62   64
    ///     | start | 0 |  LBO | 0 |  SBO | 0 | base |  0  | swizzle |     addresses and offsets in units of 16 bytes
    /// ```
    pub fn decode_warpgroup(descriptor: u64) -> Result<SmemDescriptor, DescriptorError> {
        check_reserved(
            descriptor,
            0b11 << 14 | 0b11 << 30 | 0b111 << 46 | 0x3ff << 52,
        )?;
        let swizzle = match field(descriptor, 62, 2) {
            0 => Swizzle::None,
            1 => Swizzle::B128,
            2 => Swizzle::B64,
            _ => Swizzle::B32,
        };
        Ok(SmemDescriptor {
            base_offset: field(descriptor, 49, 3) as u32,
            ..SmemDescriptor::placed(descriptor, swizzle)
        })
    }

    /// Where the matrix lies, with a pattern that begins on its natural boundary.
    fn placed(descriptor: u64, swizzle: Swizzle) -> SmemDescriptor {
        let bytes = |low| (field(descriptor, low, 14) as u32) << 4;
        SmemDescriptor {
            start: bytes(0),
            leading: bytes(16),
            stride: bytes(32),
            swizzle,
            base_offset: 0,
        }
    }

    /// Shared-window offset of the 16 bytes `chunk` of row `row` of a K-major matrix (PTX ISA §9.7.16.3.3). The swizzle
    /// acts on the address, not on the offset inside the matrix.
    #[inline]
    pub fn chunk_address(&self, row: u32, chunk: u32) -> u32 {
        let (pitch, leading) = match self.swizzle.span() {
            None => (CHUNK_BYTES, self.leading),
            Some(span) => (span, CHUNK_BYTES),
        };
        let dense = self.start
            + row % GROUP_ROWS * pitch
            + row / GROUP_ROWS * self.stride
            + chunk * leading;
        self.swizzle.apply_from(self.base_offset, dense)
    }

    /// Shared-window offset of the 16 bytes `chunk` along M or N at column `k` of an MN-major matrix (PTX ISA
    /// §9.7.16.3.3). With s the swizzle's span in chunks and g the columns of its atom:
    ///
    /// ```text
    /// swizzled       k mod g: spans    k / g: stride offset     chunk mod s: 16 bytes   chunk / s: leading offset
    /// without        k mod 8: 16 bytes k / 8: leading offset    chunk: stride offset
    /// ```
    #[inline]
    pub fn transposed_chunk_address(&self, chunk: u32, k: u32) -> u32 {
        let Some(span) = self.swizzle.span() else {
            return self.start + k % 8 * CHUNK_BYTES + k / 8 * self.leading + chunk * self.stride;
        };
        let chunks = span / CHUNK_BYTES;
        let columns = self.swizzle.period() / span;
        let dense = self.start
            + chunk % chunks * CHUNK_BYTES
            + chunk / chunks * self.leading
            + k % columns * span
            + k / columns * self.stride;
        self.swizzle.apply_from(self.base_offset, dense)
    }

    /// Where `rows` rows of `chunks` × 16 bytes of a K-major matrix lie.
    pub fn chunk_addresses(&self, rows: u32, chunks: u32) -> impl Iterator<Item = u32> {
        (0..rows).flat_map(move |row| (0..chunks).map(move |chunk| self.chunk_address(row, chunk)))
    }
}

/// The smallest range that holds the chunks of 16 bytes at `addresses`.
pub fn enclosing(addresses: impl Iterator<Item = u32>) -> Range<u32> {
    let (low, high) = addresses.fold((u32::MAX, 0), |(low, high), address| {
        (low.min(address), high.max(address + CHUNK_BYTES))
    });
    low.min(high)..high
}

fn field(descriptor: u64, low: u32, bits: u32) -> u64 {
    descriptor >> low & ((1 << bits) - 1)
}

fn check_reserved(descriptor: u64, reserved: u64) -> Result<(), DescriptorError> {
    match descriptor & reserved {
        0 => Ok(()),
        found => Err(DescriptorError::Reserved { descriptor, found }),
    }
}

fn check_base_offset(descriptor: u64) -> Result<(), DescriptorError> {
    match field(descriptor, 49, 3) {
        0 => Ok(()),
        found => Err(DescriptorError::BaseOffset { descriptor, found }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_descriptors_decode() {
        let decode = |bits| SmemDescriptor::decode(bits).unwrap();
        assert_eq!(
            decode(0x4000_4040_0001_0000),
            SmemDescriptor {
                start: 0,
                leading: 16,
                stride: 1024,
                swizzle: Swizzle::B128,
                base_offset: 0,
            }
        );
        assert_eq!(
            decode(0x0000_4008_0000_0000),
            SmemDescriptor {
                start: 0,
                leading: 0,
                stride: 128,
                swizzle: Swizzle::None,
                base_offset: 0,
            }
        );
        assert_eq!(
            decode(0x8000_4020_0000_0000),
            SmemDescriptor {
                start: 0,
                leading: 0,
                stride: 512,
                swizzle: Swizzle::B64,
                base_offset: 0,
            }
        );
        assert_eq!(
            decode(0xC000_4010_0000_0000),
            SmemDescriptor {
                start: 0,
                leading: 0,
                stride: 256,
                swizzle: Swizzle::B32,
                base_offset: 0,
            }
        );
    }

    #[test]
    fn every_descriptor_rule_is_enforced() {
        use DescriptorError as E;
        const GOOD: u64 = 0x4000_4040_0001_0000;
        let error = |bits| SmemDescriptor::decode(bits).unwrap_err();
        for bit in [14, 15, 30, 31, 53, 60] {
            assert!(
                matches!(error(GOOD | 1 << bit), E::Reserved { .. }),
                "bit {bit}"
            );
        }
        assert!(matches!(
            error(GOOD & !(1 << 46)),
            E::Version { found: 0, .. }
        ));
        assert!(matches!(error(GOOD | 1 << 47), E::Version { found: 3, .. }));
        assert!(matches!(
            error(GOOD | 2 << 49),
            E::BaseOffset { found: 2, .. }
        ));
        assert!(matches!(error(GOOD | 1 << 52), E::AbsoluteLeading { .. }));
        for code in [3, 5, 7] {
            let found = error(GOOD & !(7 << 61) | code << 61);
            assert!(matches!(found, E::SwizzleCode { .. }), "code {code}");
        }
        assert!(matches!(
            error(GOOD | 128 >> 4),
            E::PatternStart { start: 128, .. }
        ));
        assert!(SmemDescriptor::decode(GOOD | 96 >> 4).is_ok());
        assert!(matches!(
            error(GOOD | 512 >> 4 << 32),
            E::PatternStride { stride: 1536, .. }
        ));
    }

    proptest! {
        /// 128 bytes per row in each swizzle's canonical form occupy distinct bytes.
        #[test]
        fn canonical_layouts_are_injective(mode in 0usize..4, base in 0u32..64, groups in 1u32..=16) {
            let swizzle = [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128][mode];
            let chunks = swizzle.span().unwrap_or(32) / 16;
            let descriptor = SmemDescriptor {
                start: base * 1024,
                leading: 128,
                stride: if swizzle == Swizzle::None { 256 } else { swizzle.period() },
                swizzle,
                base_offset: 0,
            };
            let mut seen = HashSet::new();
            for row in 0..groups * 8 {
                for chunk in 0..chunks {
                    prop_assert!(seen.insert(descriptor.chunk_address(row, chunk)));
                }
            }
            let bytes = groups * 8 * chunks * 16;
            prop_assert_eq!(
                enclosing(descriptor.chunk_addresses(groups * 8, chunks)),
                descriptor.start..descriptor.start + bytes
            );
        }

        /// Stepping the start address by 32 bytes reads the next K slice of a wider row.
        #[test]
        fn the_k_advance_is_a_start_offset(row in 0u32..128, step in 0u32..4, chunk in 0u32..2) {
            let at = |start| SmemDescriptor { start, leading: 0, stride: 1024, swizzle: Swizzle::B128, base_offset: 0 };
            prop_assert_eq!(
                at(2048 + 32 * step).chunk_address(row, chunk),
                at(2048).chunk_address(row, 2 * step + chunk)
            );
        }
    }
}
