//! The 32-bit instruction descriptor of `tcgen05.mma` (PTX ISA §9.7.16.4.2).
//!
//! ```text
//! bit      0  2  3  4   6  7   10  13  14  15 16  17   23  24   27   29  30  31
//! f16 …  | 0 | S | sat | D  | 0 | A | B | -A | -B | tA | tB | N>>3 | 0 | M>>4      | 0 | 0    |
//! mx…    | 0 | S | 0   | fB | 0 | A | B | -A | -B | tA | tB | N>>3 | s | 0  | M>>7 | fA   | K |
//! ```
//! S: sparse. sat: saturate. D, A, B: types. -A, -B: negate. tA, tB: M- or N-major. s: type of the scale factors, fA and
//! fB: which bytes of their words. K: 96 instead of 64.

use thiserror::Error;

use super::arithmetic::DotResult;
use crate::isa::alu::Format;
use crate::isa::ir::MmaKind;

/// Format of the scale factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleType {
    Ue4m3,
    Ue8m0,
}

/// Scale factors of an instruction: which format, of how many elements of K each, and where in their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    pub scale_type: ScaleType,
    /// Elements of K that share a factor.
    pub block: u32,
    /// The first byte of a word that is used.
    pub id_a: u32,
    pub id_b: u32,
}

/// What A, B and D consist of, and so how an instruction multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elements {
    /// One window over all products.
    Float { a: Format, b: Format, d: DotResult },
    /// E2M1 in pairs; D is f32.
    Fp4,
    /// 8 bits; D is s32.
    Integer {
        a_signed: bool,
        b_signed: bool,
        saturate: bool,
    },
}

/// A field of an instruction descriptor that is wrong or not emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InstructionError {
    #[error("instruction descriptor {descriptor:#010x}: reserved bits {found:#010x} must be zero")]
    Reserved { descriptor: u32, found: u32 },
    #[error("instruction descriptor {descriptor:#010x}: sparse MMAs are not emulated")]
    Sparse { descriptor: u32 },
    #[error(
        "instruction descriptor {descriptor:#010x}: dense K=96 (bit 31) exists on sm_103a only"
    )]
    K96 { descriptor: u32 },
    #[error(
        "instruction descriptor {descriptor:#010x}: {operand} has type code {found}; {kind:?} has {legal}"
    )]
    ElementType {
        descriptor: u32,
        operand: char,
        found: u32,
        kind: MmaKind,
        legal: &'static str,
    },
    #[error("instruction descriptor {descriptor:#010x}: D is f16, but {operand} is not")]
    F16Accumulator { descriptor: u32, operand: char },
    #[error("instruction descriptor {descriptor:#010x}: {kind:?} cannot transpose {operand}")]
    Transpose {
        descriptor: u32,
        kind: MmaKind,
        operand: char,
    },
    #[error("instruction descriptor {descriptor:#010x}: {kind:?} cannot negate A or B")]
    Negate { descriptor: u32, kind: MmaKind },
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

/// A decoded instruction descriptor of a dense MMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstructionDescriptor {
    /// Rows and columns of D, of both CTAs of a pair together.
    pub m: u32,
    pub n: u32,
    pub elements: Elements,
    pub negate_a: bool,
    pub negate_b: bool,
    /// M-major and N-major.
    pub transpose_a: bool,
    pub transpose_b: bool,
    /// `None` without block scaling.
    pub scaling: Option<Scaling>,
}

impl InstructionDescriptor {
    /// Decodes and checks the descriptor against the instruction's qualifiers. `scale_block` is the number of elements
    /// of K that share a scale factor.
    pub fn decode(
        descriptor: u32,
        kind: MmaKind,
        cta_group: u8,
        scale_block: Option<u32>,
    ) -> Result<InstructionDescriptor, InstructionError> {
        let fields = Fields { descriptor, kind };
        let reserved = match kind {
            MmaKind::Mxf4 | MmaKind::Mxf4nvf4 => 0b11 | 1 << 3 | 1 << 6 | 1 << 12 | 0b111 << 24,
            MmaKind::Mxf8f6f4 => 0b11 | 1 << 3 | 1 << 6 | 0b111 << 24 | 1 << 31,
            // Bits 0 and 1 select the metadata of sparse MMAs, 30 and 31 belong to `.ws`.
            MmaKind::I8 => 0b11 | 1 << 6 | 1 << 23 | 1 << 29 | 0b11 << 30,
            MmaKind::F16 | MmaKind::Tf32 | MmaKind::F8f6f4 => {
                0b11 | 1 << 3 | 1 << 6 | 1 << 23 | 1 << 29 | 0b11 << 30
            }
        };
        if descriptor & reserved != 0 {
            return Err(InstructionError::Reserved {
                descriptor,
                found: descriptor & reserved,
            });
        }
        if fields.bit(2) {
            return Err(InstructionError::Sparse { descriptor });
        }
        let is_scaled = kind.is_block_scaled();
        if is_scaled && fields.bit(31) {
            return Err(InstructionError::K96 { descriptor });
        }
        let decoded = InstructionDescriptor {
            m: match is_scaled {
                true => fields.get(27, 2) << 7,
                false => fields.get(24, 5) << 4,
            },
            n: fields.get(17, 6) << 3,
            elements: fields.elements()?,
            negate_a: fields.bit(13),
            negate_b: fields.bit(14),
            transpose_a: fields.bit(15),
            transpose_b: fields.bit(16),
            scaling: scale_block.map(|block| fields.scaling(block)).transpose()?,
        };
        decoded.check_operands(fields)?;
        decoded.check_shape(fields, cta_group)?;
        Ok(decoded)
    }

    /// Which operands can be negated and transposed (PTX ISA §9.7.16.10.1, tables 54 and 57).
    fn check_operands(&self, fields: Fields) -> Result<(), InstructionError> {
        let Fields { descriptor, kind } = fields;
        if kind == MmaKind::I8 && (self.negate_a || self.negate_b) {
            return Err(InstructionError::Negate { descriptor, kind });
        }
        let [a_bits, b_bits] = self.elements.bits();
        for (operand, bits, transpose) in [
            ('A', a_bits, self.transpose_a),
            ('B', b_bits, self.transpose_b),
        ] {
            if transpose && bits < 8 {
                return Err(InstructionError::Transpose {
                    descriptor,
                    kind,
                    operand,
                });
            }
        }
        Ok(())
    }

    /// Dense shapes of PTX ISA §9.7.16.2.1, and of table 55 for N-major B of 8 bits.
    fn check_shape(&self, fields: Fields, cta_group: u8) -> Result<(), InstructionError> {
        let Fields { descriptor, kind } = fields;
        let &InstructionDescriptor { m, n, .. } = self;
        let legal_m = match cta_group {
            1 => m == 128 || m == 64 && !kind.is_block_scaled(),
            _ => m == 128 || m == 256,
        };
        let is_wide = kind == MmaKind::I8 && n > 32
            || self.transpose_b && self.elements.bits()[1] == 8
            || kind == MmaKind::I8 && cta_group == 2;
        let step = if is_wide { 16 } else { 8 } * u32::from(cta_group);
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
}

impl Elements {
    /// Bits of an element of A and of B.
    pub fn bits(&self) -> [u32; 2] {
        match self {
            Elements::Float { a, b, .. } => [a.bits(), b.bits()],
            Elements::Fp4 => [4; 2],
            Elements::Integer { .. } => [8; 2],
        }
    }
}

#[derive(Clone, Copy)]
struct Fields {
    descriptor: u32,
    kind: MmaKind,
}

impl Fields {
    fn get(self, low: u32, bits: u32) -> u32 {
        self.descriptor >> low & ((1 << bits) - 1)
    }

    fn bit(self, at: u32) -> bool {
        self.get(at, 1) != 0
    }

    fn elements(self) -> Result<Elements, InstructionError> {
        let Fields { descriptor, kind } = self;
        let codes = [('A', self.get(7, 3)), ('B', self.get(10, 3))];
        match kind {
            MmaKind::Mxf4 | MmaKind::Mxf4nvf4 => {
                for (operand, found) in codes {
                    if found != 1 {
                        return Err(self.type_error(operand, found, "E2M1 = 1"));
                    }
                }
                Ok(Elements::Fp4)
            }
            MmaKind::I8 => {
                self.check_accumulator(&[2], "S32 = 2")?;
                for (operand, found) in codes {
                    if found > 1 {
                        return Err(self.type_error(operand, found, "U8 = 0, S8 = 1"));
                    }
                }
                Ok(Elements::Integer {
                    a_signed: codes[0].1 == 1,
                    b_signed: codes[1].1 == 1,
                    saturate: self.bit(3),
                })
            }
            _ => {
                let d = match kind {
                    MmaKind::Mxf8f6f4 => DotResult::F32,
                    MmaKind::Tf32 => self.check_accumulator(&[1], "F32 = 1")?,
                    _ => self.check_accumulator(&[0, 1], "F16 = 0, F32 = 1")?,
                };
                let [a, b] = codes.map(|(operand, code)| self.format(operand, code));
                let (a, b) = (a?, b?);
                for (operand, format) in [('A', a), ('B', b)] {
                    if kind == MmaKind::F16 && d == DotResult::F16 && format != Format::F16 {
                        return Err(InstructionError::F16Accumulator {
                            descriptor,
                            operand,
                        });
                    }
                }
                Ok(Elements::Float { a, b, d })
            }
        }
    }

    fn check_accumulator(
        self,
        legal: &[u32],
        names: &'static str,
    ) -> Result<DotResult, InstructionError> {
        match self.get(4, 2) {
            found if !legal.contains(&found) => Err(self.type_error('D', found, names)),
            0 => Ok(DotResult::F16),
            _ => Ok(DotResult::F32),
        }
    }

    fn format(self, operand: char, code: u32) -> Result<Format, InstructionError> {
        match (self.kind, code) {
            (MmaKind::F16, 0) => Ok(Format::F16),
            (MmaKind::F16, 1) => Ok(Format::Bf16),
            (MmaKind::F16, _) => Err(self.type_error(operand, code, "F16 = 0, BF16 = 1")),
            (MmaKind::Tf32, 2) => Ok(Format::Tf32),
            (MmaKind::Tf32, _) => Err(self.type_error(operand, code, "TF32 = 2")),
            (_, 0) => Ok(Format::E4m3),
            (_, 1) => Ok(Format::E5m2),
            (_, 3) => Ok(Format::E2m3),
            (_, 4) => Ok(Format::E3m2),
            (_, 5) => Ok(Format::E2m1),
            _ => Err(self.type_error(
                operand,
                code,
                "E4M3 = 0, E5M2 = 1, E2M3 = 3, E3M2 = 4, E2M1 = 5",
            )),
        }
    }

    fn type_error(self, operand: char, found: u32, legal: &'static str) -> InstructionError {
        InstructionError::ElementType {
            descriptor: self.descriptor,
            operand,
            found,
            kind: self.kind,
            legal,
        }
    }

    /// Scale formats and ids of PTX ISA §9.7.16.10.7.
    fn scaling(self, block: u32) -> Result<Scaling, InstructionError> {
        let Fields { descriptor, kind } = self;
        let scaling = Scaling {
            scale_type: match self.get(23, 1) {
                0 => ScaleType::Ue4m3,
                _ => ScaleType::Ue8m0,
            },
            block,
            id_a: self.get(29, 2),
            id_b: self.get(4, 2),
        };
        let legal = match (kind, scaling.scale_type) {
            (MmaKind::Mxf4nvf4, ScaleType::Ue4m3) => block == 16,
            (MmaKind::Mxf4nvf4, ScaleType::Ue8m0) => block == 16 || block == 32,
            (_, ScaleType::Ue8m0) => block == 32,
            _ => false,
        };
        if !legal {
            return Err(InstructionError::Scale {
                descriptor,
                scale_type: scaling.scale_type,
                block,
                kind,
            });
        }
        let legal_id = |id| match (kind, block) {
            (MmaKind::Mxf8f6f4, _) => true,
            (_, 32) => id == 0 || id == 2,
            _ => id == 0,
        };
        if !legal_id(scaling.id_a) || !legal_id(scaling.id_b) {
            return Err(InstructionError::ScaleIds {
                descriptor,
                a: scaling.id_a,
                b: scaling.id_b,
                block,
            });
        }
        Ok(scaling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENSE: u32 = 0x0820_0480;

    fn instruction(bits: u32) -> Result<InstructionDescriptor, InstructionError> {
        InstructionDescriptor::decode(bits, MmaKind::Mxf4nvf4, 1, Some(16))
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
                InstructionDescriptor::decode(bits, MmaKind::Mxf4nvf4, cta_group, Some(16))
                    .unwrap();
            assert_eq!((decoded.m, decoded.n), (m, n));
            let scaling = decoded.scaling.unwrap();
            assert_eq!((scaling.scale_type, scaling.block), (ScaleType::Ue4m3, 16));
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
            decode(DENSE, MmaKind::Mxf4nvf4, 1, Some(32)),
            Err(E::Scale { .. })
        ));
        assert!(matches!(
            decode(DENSE, MmaKind::Mxf4, 1, Some(32)),
            Err(E::Scale { .. })
        ));
        let n136 = DENSE & !(0x3f << 17) | 17 << 17;
        assert!(matches!(
            decode(n136, MmaKind::Mxf4nvf4, 2, Some(16)),
            Err(E::N { step: 16, .. })
        ));
        assert!(instruction(n136).is_ok());
        let ue8m0 = DENSE | 1 << 23 | 2 << 4;
        assert!(decode(ue8m0, MmaKind::Mxf4, 1, Some(32)).is_ok());
    }
}
