//! The enumerations of a tensor map.

use crate::tma::swizzle::Swizzle;

/// `CUtensorMapDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DataType {
    Uint8 = 0,
    Uint16 = 1,
    Uint32 = 2,
    Int32 = 3,
    Uint64 = 4,
    Int64 = 5,
    Float16 = 6,
    Float32 = 7,
    Float64 = 8,
    Bfloat16 = 9,
    Float32Ftz = 10,
    Tfloat32 = 11,
    Tfloat32Ftz = 12,
    /// Packed 4-bit elements, copied as they are.
    U4x16Align8 = 13,
    /// 4-bit elements; shared memory has an 8-byte gap after each 8 bytes.
    U4x16Align16 = 14,
    /// 6-bit elements; shared memory has a 4-byte gap after each 12 bytes.
    U6x16Align16 = 15,
}

impl DataType {
    /// From the driver's enumeration.
    pub fn from_code(code: u32) -> Option<DataType> {
        use DataType::*;
        const ALL: [DataType; 16] = [
            Uint8,
            Uint16,
            Uint32,
            Int32,
            Uint64,
            Int64,
            Float16,
            Float32,
            Float64,
            Bfloat16,
            Float32Ftz,
            Tfloat32,
            Tfloat32Ftz,
            U4x16Align8,
            U4x16Align16,
            U6x16Align16,
        ];
        ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// From the immediates of `tensormap.replace`, which count otherwise (PTX ISA §9.7.9.28, table 33).
    pub fn from_replacement(code: u32) -> Option<DataType> {
        match code {
            8 => Some(DataType::Float32Ftz),
            9 => Some(DataType::Float64),
            10 => Some(DataType::Bfloat16),
            _ => DataType::from_code(code),
        }
    }

    /// Bits of one element in shared memory, its gap included.
    pub fn shared_bits(self) -> u32 {
        match self {
            DataType::Uint8 => 8,
            DataType::Uint16 | DataType::Float16 | DataType::Bfloat16 => 16,
            DataType::Uint32
            | DataType::Int32
            | DataType::Float32
            | DataType::Float32Ftz
            | DataType::Tfloat32
            | DataType::Tfloat32Ftz => 32,
            DataType::Uint64 | DataType::Int64 | DataType::Float64 => 64,
            DataType::U4x16Align8 => 4,
            DataType::U4x16Align16 | DataType::U6x16Align16 => 8,
        }
    }

    /// Bits of one element in global memory.
    pub fn global_bits(self) -> u32 {
        match self {
            DataType::U4x16Align16 => 4,
            DataType::U6x16Align16 => 6,
            other => other.shared_bits(),
        }
    }

    /// Whether 16 elements leave a gap at the end of their 16 bytes of shared memory.
    pub fn is_gapped(self) -> bool {
        matches!(self, DataType::U4x16Align16 | DataType::U6x16Align16)
    }

    pub(super) fn is_float(self) -> bool {
        matches!(
            self,
            DataType::Float16
                | DataType::Float32
                | DataType::Float64
                | DataType::Bfloat16
                | DataType::Float32Ftz
                | DataType::Tfloat32
                | DataType::Tfloat32Ftz
        )
    }
}

/// `CUtensorMapInterleave`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Interleave {
    None = 0,
    B16 = 1,
    B32 = 2,
}

impl Interleave {
    /// From the driver's enumeration.
    pub fn from_code(code: u32) -> Option<Interleave> {
        match code {
            0 => Some(Interleave::None),
            1 => Some(Interleave::B16),
            2 => Some(Interleave::B32),
            _ => None,
        }
    }
}

/// `CUtensorMapL2promotion`: a cache hint, without effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum L2Promotion {
    None = 0,
    L2B64 = 1,
    L2B128 = 2,
    L2B256 = 3,
}

impl L2Promotion {
    /// From the driver's enumeration.
    pub fn from_code(code: u32) -> Option<L2Promotion> {
        match code {
            0 => Some(L2Promotion::None),
            1 => Some(L2Promotion::L2B64),
            2 => Some(L2Promotion::L2B128),
            3 => Some(L2Promotion::L2B256),
            _ => None,
        }
    }
}

/// `CUtensorMapFloatOOBfill`: what a load writes for coordinates outside the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OutOfBoundsFill {
    Zero = 0,
    NanRequestZeroFma = 1,
}

impl OutOfBoundsFill {
    /// From the driver's enumeration.
    pub fn from_code(code: u32) -> Option<OutOfBoundsFill> {
        match code {
            0 => Some(OutOfBoundsFill::Zero),
            1 => Some(OutOfBoundsFill::NanRequestZeroFma),
            _ => None,
        }
    }
}

impl Swizzle {
    /// From `CUtensorMapSwizzle`.
    pub fn from_code(code: u32) -> Option<Swizzle> {
        Swizzle::ALL.get(usize::try_from(code).ok()?).copied()
    }

    /// From the width and the atomicity that `tensormap.replace` knows (PTX ISA §9.7.9.28, table 33).
    pub fn from_mode(mode: u8, atomicity: u8) -> Option<Swizzle> {
        Swizzle::ALL
            .into_iter()
            .find(|swizzle| swizzle.mode() == (mode, atomicity))
    }

    /// The inverse of [`from_mode`](Self::from_mode).
    pub fn mode(self) -> (u8, u8) {
        match self {
            Swizzle::None => (0, 0),
            Swizzle::B32 => (1, 0),
            Swizzle::B64 => (2, 0),
            Swizzle::B128 => (3, 0),
            Swizzle::B128Atom32 => (3, 1),
            Swizzle::B128Atom32Flip8 => (3, 2),
            Swizzle::B128Atom64 => (3, 3),
        }
    }
}
