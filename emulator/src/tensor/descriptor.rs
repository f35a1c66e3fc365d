//! The 64-bit shared-memory matrix descriptor (PTX ISA §9.7.16.4.1) and the 32-bit instruction descriptor of
//! `.kind::mxf4` and `.kind::mxf4nvf4` (PTX ISA §9.7.16.4.2, table 44).

use std::ops::Range;

use thiserror::Error;

use crate::isa::ir::MmaKind;
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
        "matrix descriptor {descriptor:#018x}: the 128-byte swizzle with 32-byte atoms is not emulated"
    )]
    SwizzleAtom32 { descriptor: u64 },
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

/// A decoded descriptor of a K-major matrix in shared memory. Offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmemDescriptor {
    /// Offset in the CTA's shared window.
    pub start: u32,
    /// From one 16-byte chunk of a row to the next; only without swizzle.
    pub leading: u32,
    /// From one group of eight rows to the next.
    pub stride: u32,
    pub swizzle: Swizzle,
}

impl SmemDescriptor {
    /// Decodes and checks the descriptor.
    ///
    /// ```text
    /// bit 0      14   16     30   32     46    49   52  53    61   64
    ///     | start | 0 |  LBO | 0 |  SBO | 001 | base | A |  0  | swizzle |     addresses and offsets in units of 16 bytes
    /// ```
    pub fn decode(descriptor: u64) -> Result<SmemDescriptor, DescriptorError> {
        const RESERVED: u64 = 0b11 << 14 | 0b11 << 30 | 0xff << 53;
        let field = |low: u32, bits: u32| descriptor >> low & ((1 << bits) - 1);
        if descriptor & RESERVED != 0 {
            return Err(DescriptorError::Reserved {
                descriptor,
                found: descriptor & RESERVED,
            });
        }
        if field(46, 3) != 0b001 {
            return Err(DescriptorError::Version {
                descriptor,
                found: field(46, 3),
            });
        }
        if field(52, 1) != 0 {
            return Err(DescriptorError::AbsoluteLeading { descriptor });
        }
        let swizzle = match field(61, 3) {
            0 => Swizzle::None,
            1 => return Err(DescriptorError::SwizzleAtom32 { descriptor }),
            2 => Swizzle::B128,
            4 => Swizzle::B64,
            6 => Swizzle::B32,
            found => return Err(DescriptorError::SwizzleCode { descriptor, found }),
        };
        // Where nothing is swizzled there is no pattern to be off its boundary; Triton fills the field in all the same.
        if swizzle != Swizzle::None && field(49, 3) != 0 {
            return Err(DescriptorError::BaseOffset {
                descriptor,
                found: field(49, 3),
            });
        }
        let decoded = SmemDescriptor {
            start: (field(0, 14) as u32) << 4,
            leading: (field(16, 14) as u32) << 4,
            stride: (field(32, 14) as u32) << 4,
            swizzle,
        };
        decoded.check_pattern(descriptor)?;
        Ok(decoded)
    }

    /// Base offset 0 states that every pattern begins on its natural boundary. A start inside the first row is how a
    /// kernel steps along K.
    fn check_pattern(&self, descriptor: u64) -> Result<(), DescriptorError> {
        let &SmemDescriptor {
            start,
            stride,
            swizzle,
            ..
        } = self;
        if swizzle == Swizzle::None {
            return Ok(());
        }
        let period = swizzle.period();
        if start % period >= 128 {
            return Err(DescriptorError::PatternStart {
                descriptor,
                start,
                swizzle,
                period,
            });
        }
        if !stride.is_multiple_of(period) {
            return Err(DescriptorError::PatternStride {
                descriptor,
                stride,
                swizzle,
                period,
            });
        }
        Ok(())
    }

    /// Shared-window offset of the 16 bytes `chunk` of row `row`: the canonical K-major layouts of PTX ISA
    /// §9.7.16.3.3. The swizzle acts on the address, not on the offset inside the matrix.
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
        self.swizzle.apply(dense)
    }

    /// The smallest range of shared memory that holds `rows` rows of `chunks` × 16 bytes.
    pub fn footprint(&self, rows: u32, chunks: u32) -> Range<u32> {
        let addresses =
            (0..rows).flat_map(|row| (0..chunks).map(move |chunk| self.chunk_address(row, chunk)));
        let (low, high) = addresses.fold((u32::MAX, 0), |(low, high), address| {
            (low.min(address), high.max(address + CHUNK_BYTES))
        });
        low.min(high)..high
    }
}

/// Format of the scale factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleType {
    Ue4m3,
    Ue8m0,
}

/// A field of an instruction descriptor that is wrong or not emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InstructionError {
    #[error("instruction descriptors of {kind:?} are not emulated")]
    Kind { kind: MmaKind },
    #[error("instruction descriptor {descriptor:#010x}: reserved bits {found:#010x} must be zero")]
    Reserved { descriptor: u32, found: u32 },
    #[error("instruction descriptor {descriptor:#010x}: sparse MMAs are not emulated")]
    Sparse { descriptor: u32 },
    #[error(
        "instruction descriptor {descriptor:#010x}: dense K=96 (bit 31) exists on sm_103a only"
    )]
    K96 { descriptor: u32 },
    #[error(
        "instruction descriptor {descriptor:#010x}: {operand} has type code {found}; E2M1 is 1"
    )]
    ElementType {
        descriptor: u32,
        operand: char,
        found: u32,
    },
    #[error("instruction descriptor {descriptor:#010x}: {kind:?} cannot transpose A or B")]
    Transpose { descriptor: u32, kind: MmaKind },
    #[error(
        "instruction descriptor {descriptor:#010x}: N = {n}; cta_group::{cta_group} needs a multiple of {step} up to 256"
    )]
    N {
        descriptor: u32,
        n: u32,
        cta_group: u8,
        step: u32,
    },
    #[error(
        "instruction descriptor {descriptor:#010x}: M = {m} does not exist with cta_group::{cta_group}"
    )]
    M {
        descriptor: u32,
        m: u32,
        cta_group: u8,
    },
    #[error(
        "instruction descriptor {descriptor:#010x}: {scale_type:?} scales of {block} elements do not exist with {kind:?}"
    )]
    Scale {
        descriptor: u32,
        scale_type: ScaleType,
        block: u32,
        kind: MmaKind,
    },
    #[error(
        "instruction descriptor {descriptor:#010x}: scale-factor ids A {a}, B {b} do not exist with blocks of {block} \
         elements"
    )]
    ScaleIds {
        descriptor: u32,
        a: u32,
        b: u32,
        block: u32,
    },
}

/// A decoded instruction descriptor of a dense K=64 block-scaled FP4 MMA. A and B are E2M1 and K-major, D is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionDescriptor {
    pub m: u32,
    pub n: u32,
    pub negate_a: bool,
    pub negate_b: bool,
    pub scale_type: ScaleType,
    /// Which half-word of a scale-factor word holds the two scales of 32-element blocks: 0 or 2.
    pub scale_id_a: u32,
    pub scale_id_b: u32,
}

impl InstructionDescriptor {
    /// Decodes and checks the descriptor against the instruction's qualifiers. `scale_block` is the number of elements
    /// of K that share a scale factor.
    pub fn decode(
        descriptor: u32,
        kind: MmaKind,
        cta_group: u8,
        scale_block: u32,
    ) -> Result<InstructionDescriptor, InstructionError> {
        const RESERVED: u32 = 0b11 | 1 << 3 | 1 << 6 | 1 << 12 | 0b111 << 24;
        if !matches!(kind, MmaKind::Mxf4 | MmaKind::Mxf4nvf4) {
            return Err(InstructionError::Kind { kind });
        }
        let field = |low: u32, bits: u32| descriptor >> low & ((1 << bits) - 1);
        if descriptor & RESERVED != 0 {
            return Err(InstructionError::Reserved {
                descriptor,
                found: descriptor & RESERVED,
            });
        }
        if field(2, 1) != 0 {
            return Err(InstructionError::Sparse { descriptor });
        }
        if field(31, 1) != 0 {
            return Err(InstructionError::K96 { descriptor });
        }
        for (operand, found) in [('A', field(7, 3)), ('B', field(10, 2))] {
            if found != 1 {
                return Err(InstructionError::ElementType {
                    descriptor,
                    operand,
                    found,
                });
            }
        }
        if field(15, 2) != 0 {
            return Err(InstructionError::Transpose { descriptor, kind });
        }
        let decoded = InstructionDescriptor {
            m: field(27, 2) << 7,
            n: field(17, 6) << 3,
            negate_a: field(13, 1) != 0,
            negate_b: field(14, 1) != 0,
            scale_type: match field(23, 1) {
                0 => ScaleType::Ue4m3,
                _ => ScaleType::Ue8m0,
            },
            scale_id_a: field(29, 2),
            scale_id_b: field(4, 2),
        };
        decoded.check_shape(descriptor, cta_group)?;
        decoded.check_scales(descriptor, kind, scale_block)?;
        Ok(decoded)
    }

    /// Dense shapes of PTX ISA §9.7.16.2.1.
    fn check_shape(&self, descriptor: u32, cta_group: u8) -> Result<(), InstructionError> {
        let &InstructionDescriptor { m, n, .. } = self;
        let (step, legal_m) = match cta_group {
            1 => (8, m == 128),
            _ => (16, m == 128 || m == 256),
        };
        if n == 0 || n > 256 || !n.is_multiple_of(step) {
            return Err(InstructionError::N {
                descriptor,
                n,
                cta_group,
                step,
            });
        }
        if !legal_m {
            return Err(InstructionError::M {
                descriptor,
                m,
                cta_group,
            });
        }
        Ok(())
    }

    /// Scale formats and ids of PTX ISA §9.7.16.10.7.
    fn check_scales(
        &self,
        descriptor: u32,
        kind: MmaKind,
        block: u32,
    ) -> Result<(), InstructionError> {
        let legal = match (kind, self.scale_type) {
            (MmaKind::Mxf4nvf4, ScaleType::Ue4m3) => block == 16,
            (MmaKind::Mxf4nvf4, ScaleType::Ue8m0) => block == 16 || block == 32,
            (_, ScaleType::Ue8m0) => block == 32,
            _ => false,
        };
        if !legal {
            return Err(InstructionError::Scale {
                descriptor,
                scale_type: self.scale_type,
                block,
                kind,
            });
        }
        let (a, b) = (self.scale_id_a, self.scale_id_b);
        let legal_id = |id| id == 0 || block == 32 && id == 2;
        if !legal_id(a) || !legal_id(b) {
            return Err(InstructionError::ScaleIds {
                descriptor,
                a,
                b,
                block,
            });
        }
        Ok(())
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
                swizzle: Swizzle::B128
            }
        );
        assert_eq!(
            decode(0x0000_4008_0000_0000),
            SmemDescriptor {
                start: 0,
                leading: 0,
                stride: 128,
                swizzle: Swizzle::None
            }
        );
        assert_eq!(
            decode(0x8000_4020_0000_0000),
            SmemDescriptor {
                start: 0,
                leading: 0,
                stride: 512,
                swizzle: Swizzle::B64
            }
        );
        assert_eq!(
            decode(0xC000_4010_0000_0000),
            SmemDescriptor {
                start: 0,
                leading: 0,
                stride: 256,
                swizzle: Swizzle::B32
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
        assert!(matches!(
            error(GOOD & !(7 << 61) | 1 << 61),
            E::SwizzleAtom32 { .. }
        ));
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

    const DENSE: u32 = 0x0820_0480;

    fn instruction(bits: u32) -> Result<InstructionDescriptor, InstructionError> {
        InstructionDescriptor::decode(bits, MmaKind::Mxf4nvf4, 1, 16)
    }

    #[test]
    fn known_instruction_descriptors_decode() {
        for (bits, cta_group, m, n) in [
            (DENSE, 1, 128, 128),
            (0x0840_0480, 1, 128, 256),
            (0x0830_0480, 1, 128, 192),
            (0x1020_0480, 2, 256, 128),
            (0x1040_0480, 2, 256, 256),
        ] {
            let decoded =
                InstructionDescriptor::decode(bits, MmaKind::Mxf4nvf4, cta_group, 16).unwrap();
            assert_eq!((decoded.m, decoded.n), (m, n));
            assert_eq!(decoded.scale_type, ScaleType::Ue4m3);
            assert!(!decoded.negate_a && !decoded.negate_b);
        }
        let negated = instruction(DENSE | 1 << 14).unwrap();
        assert!(!negated.negate_a && negated.negate_b);
    }

    #[test]
    fn every_instruction_rule_is_enforced() {
        use InstructionError as E;
        let error = |bits| instruction(bits).unwrap_err();
        for bit in [0, 1, 3, 6, 12, 24, 25, 26] {
            assert!(
                matches!(error(DENSE | 1 << bit), E::Reserved { .. }),
                "bit {bit}"
            );
        }
        assert!(matches!(error(DENSE | 1 << 2), E::Sparse { .. }));
        assert!(matches!(error(DENSE | 1 << 31), E::K96 { .. }));
        assert!(matches!(
            error(DENSE | 1 << 8),
            E::ElementType {
                operand: 'A',
                found: 3,
                ..
            }
        ));
        assert!(matches!(
            error(DENSE & !(1 << 10)),
            E::ElementType {
                operand: 'B',
                found: 0,
                ..
            }
        ));
        assert!(matches!(error(DENSE | 1 << 15), E::Transpose { .. }));
        assert!(matches!(error(DENSE | 1 << 16), E::Transpose { .. }));
        assert!(matches!(error(DENSE & !(0x3f << 17)), E::N { n: 0, .. }));
        assert!(matches!(error(DENSE | 0x3f << 17), E::N { n: 504, .. }));
        assert!(matches!(
            error(0x1020_0480),
            E::M {
                m: 256,
                cta_group: 1,
                ..
            }
        ));
        assert!(matches!(error(DENSE | 2 << 4), E::ScaleIds { b: 2, .. }));
        assert!(matches!(error(DENSE | 2 << 29), E::ScaleIds { a: 2, .. }));
        let decode = InstructionDescriptor::decode;
        assert!(matches!(
            decode(DENSE, MmaKind::Mxf4nvf4, 1, 32),
            Err(E::Scale { .. })
        ));
        assert!(matches!(
            decode(DENSE, MmaKind::Mxf4, 1, 32),
            Err(E::Scale { .. })
        ));
        assert!(matches!(
            decode(DENSE, MmaKind::F16, 1, 16),
            Err(E::Kind { .. })
        ));
        let n136 = DENSE & !(0x3f << 17) | 17 << 17;
        assert!(matches!(
            decode(n136, MmaKind::Mxf4nvf4, 2, 16),
            Err(E::N { step: 16, .. })
        ));
        assert!(instruction(n136).is_ok());
        let ue8m0 = DENSE | 1 << 23 | 2 << 4;
        assert!(decode(ue8m0, MmaKind::Mxf4, 1, 32).is_ok());
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
            };
            let mut seen = HashSet::new();
            for row in 0..groups * 8 {
                for chunk in 0..chunks {
                    prop_assert!(seen.insert(descriptor.chunk_address(row, chunk)));
                }
            }
            let bytes = groups * 8 * chunks * 16;
            prop_assert_eq!(
                descriptor.footprint(groups * 8, chunks),
                descriptor.start..descriptor.start + bytes
            );
        }

        /// Stepping the start address by 32 bytes reads the next K slice of a wider row.
        #[test]
        fn the_k_advance_is_a_start_offset(row in 0u32..128, step in 0u32..4, chunk in 0u32..2) {
            let at = |start| SmemDescriptor { start, leading: 0, stride: 1024, swizzle: Swizzle::B128 };
            prop_assert_eq!(
                at(2048 + 32 * step).chunk_address(row, chunk),
                at(2048).chunk_address(row, 2 * step + chunk)
            );
        }
    }
}
