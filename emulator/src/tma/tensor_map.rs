//! `CUtensorMap`: what `cuTensorMapEncodeTiled` accepts, and how a map travels through memory.
//!
//! The 128 bytes of a real map are opaque. Ours have their own layout, with a magic number and a checksum, so that a map
//! that was built elsewhere or overwritten is an error and not a wild copy.

use thiserror::Error;

use super::swizzle::Swizzle;

/// Bytes of a tensor map in memory.
pub const TENSOR_MAP_BYTES: usize = 128;

/// Alignment of a tensor map in memory.
pub const TENSOR_MAP_ALIGNMENT: u64 = 64;

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 5;

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

    fn is_gapped(self) -> bool {
        matches!(self, DataType::U4x16Align16 | DataType::U6x16Align16)
    }

    fn is_float(self) -> bool {
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

    fn code(self) -> u8 {
        match self {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 2,
            Swizzle::B128 => 3,
            Swizzle::B128Atom32 => 4,
            Swizzle::B128Atom32Flip8 => 5,
            Swizzle::B128Atom64 => 6,
        }
    }
}

/// The arguments of `cuTensorMapEncodeTiled`. Dimension 0 is innermost. The slices' lengths are the rank, except
/// `global_strides`, which has one entry fewer: dimension 0 is dense.
#[derive(Clone, Copy, Debug)]
pub struct TiledDescription<'a> {
    pub data_type: DataType,
    pub global_address: u64,
    /// Extent of the tensor, in elements.
    pub global_dims: &'a [u64],
    /// Distance between neighbours in dimensions 1 and up, in bytes.
    pub global_strides: &'a [u64],
    /// Extent of the box that a load traverses, in elements.
    pub box_dims: &'a [u32],
    /// Step between the elements of the box that are copied.
    pub element_strides: &'a [u32],
    pub interleave: Interleave,
    pub swizzle: Swizzle,
    pub l2_promotion: L2Promotion,
    pub out_of_bounds: OutOfBoundsFill,
}

/// Why a tensor map cannot be encoded or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TensorMapError {
    #[error("a tensor map has rank 1 to 5, not {rank}")]
    Rank { rank: usize },
    #[error("{what} has {found} entries; a tensor of rank {rank} needs {needed}")]
    Lengths {
        what: &'static str,
        found: usize,
        needed: usize,
        rank: usize,
    },
    #[error(
        "interleaved tensor maps ({interleave:?}) are not emulated; use CU_TENSOR_MAP_INTERLEAVE_NONE"
    )]
    Interleave { interleave: Interleave },
    #[error("global address {address:#x} must be aligned to {alignment} bytes for {data_type:?}")]
    GlobalAddress {
        address: u64,
        alignment: u64,
        data_type: DataType,
    },
    #[error("globalDim[{dimension}] = {found}; it must lie in 1..=2^32")]
    GlobalDim { dimension: usize, found: u64 },
    #[error("globalDim[0] = {found} must be a multiple of {multiple} for {data_type:?}")]
    InnerDimMultiple {
        found: u64,
        multiple: u64,
        data_type: DataType,
    },
    #[error(
        "globalStrides[{index}] = {found} bytes must be a multiple of {multiple} for {data_type:?}"
    )]
    StrideMultiple {
        index: usize,
        found: u64,
        multiple: u64,
        data_type: DataType,
    },
    #[error("globalStrides[{index}] = {found} bytes must be below 2^40")]
    StrideRange { index: usize, found: u64 },
    #[error("boxDim[{dimension}] = {found}; it must lie in 1..=256")]
    BoxDim { dimension: usize, found: u32 },
    #[error(
        "the inner box extent, {elements} elements of {data_type:?}, must be a multiple of 16 bytes"
    )]
    InnerBoxMultiple { elements: u32, data_type: DataType },
    #[error("the inner box extent is {bytes} bytes; swizzle {swizzle:?} allows at most {span}")]
    InnerBoxSpan {
        bytes: u32,
        swizzle: Swizzle,
        span: u32,
    },
    #[error("elementStrides[{dimension}] = {found}; it must lie in 1..=8")]
    ElementStride { dimension: usize, found: u32 },
    #[error("{data_type:?} allows the swizzles None, B128 and B128Atom32, not {swizzle:?}")]
    SwizzleOfType {
        data_type: DataType,
        swizzle: Swizzle,
    },
    #[error("out-of-bounds NaN fill needs a floating-point type, not {data_type:?}")]
    NanFill { data_type: DataType },
    #[error(
        "the 128 bytes are no tensor map of this driver: they begin with {found:#018x}, not {needed:#018x}; \
         encode the map with cuTensorMapEncodeTiled and pass its address"
    )]
    Magic { found: u64, needed: u64 },
    #[error(
        "the tensor map was overwritten after it was encoded: its checksum is {found:#018x}, its content gives \
         {computed:#018x}"
    )]
    Checksum { found: u64, computed: u64 },
}

/// A checked tiled tensor map. Dimension 0 is innermost; entries from the rank up are 1 (dimensions) or 0 (strides).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    data_type: DataType,
    rank: usize,
    global_address: u64,
    global_dims: [u64; MAX_RANK],
    global_strides: [u64; MAX_RANK - 1],
    box_dims: [u32; MAX_RANK],
    element_strides: [u32; MAX_RANK],
    interleave: Interleave,
    swizzle: Swizzle,
    l2_promotion: L2Promotion,
    out_of_bounds: OutOfBoundsFill,
}

impl TensorMap {
    /// Checks the rules of `cuTensorMapEncodeTiled` (CUDA driver API, tensor map object management).
    pub fn encode_tiled(description: &TiledDescription) -> Result<TensorMap, TensorMapError> {
        let rank = description.global_dims.len();
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(TensorMapError::Rank { rank });
        }
        check_lengths(description, rank)?;
        if description.interleave != Interleave::None {
            return Err(TensorMapError::Interleave {
                interleave: description.interleave,
            });
        }
        check_global(description)?;
        check_box(description)?;
        if description.out_of_bounds == OutOfBoundsFill::NanRequestZeroFma
            && !description.data_type.is_float()
        {
            return Err(TensorMapError::NanFill {
                data_type: description.data_type,
            });
        }
        Ok(TensorMap {
            data_type: description.data_type,
            rank,
            global_address: description.global_address,
            global_dims: padded(description.global_dims, 1),
            global_strides: padded(description.global_strides, 0),
            box_dims: padded(description.box_dims, 1),
            element_strides: padded(description.element_strides, 1),
            interleave: description.interleave,
            swizzle: description.swizzle,
            l2_promotion: description.l2_promotion,
            out_of_bounds: description.out_of_bounds,
        })
    }

    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn global_address(&self) -> u64 {
        self.global_address
    }

    /// Extents of the tensor in elements, innermost first; 1 beyond the rank.
    pub fn global_dims(&self) -> &[u64; MAX_RANK] {
        &self.global_dims
    }

    /// Byte strides of dimensions 1 and up; 0 beyond the rank.
    pub fn global_strides(&self) -> &[u64; MAX_RANK - 1] {
        &self.global_strides
    }

    pub fn swizzle(&self) -> Swizzle {
        self.swizzle
    }

    pub fn out_of_bounds(&self) -> OutOfBoundsFill {
        self.out_of_bounds
    }

    pub fn element_strides(&self) -> &[u32; MAX_RANK] {
        &self.element_strides
    }

    /// Extents of the tile in shared memory, in elements: the box divided by the element strides, rounded up. Dimension
    /// 0's stride is ignored without interleave.
    pub fn tile_dims(&self) -> [u32; MAX_RANK] {
        std::array::from_fn(|d| match d {
            0 => self.box_dims[0],
            _ => self.box_dims[d].div_ceil(self.element_strides[d]),
        })
    }

    /// Bytes of one row (dimension 0) of the tile in shared memory.
    pub fn row_bytes(&self) -> u32 {
        self.box_dims[0] * self.data_type.shared_bits() / 8
    }

    /// Bytes of the whole tile in shared memory: what a load credits to its barrier. Saturates; no shared memory is as
    /// large.
    pub fn tile_bytes(&self) -> u32 {
        self.tile_dims()[1..]
            .iter()
            .fold(self.row_bytes(), |bytes, &dim| bytes.saturating_mul(dim))
    }

    /// The map's 128 bytes in memory.
    pub fn to_bytes(&self) -> [u8; TENSOR_MAP_BYTES] {
        let mut bytes = [0; TENSOR_MAP_BYTES];
        let mut fields = Fields {
            bytes: &mut bytes,
            at: 0,
        };
        fields.put(&MAGIC.to_le_bytes());
        fields.put(&self.global_address.to_le_bytes());
        for dim in self.global_dims {
            // 2^32 is legal: the extent is stored less one.
            fields.put(&((dim - 1) as u32).to_le_bytes());
        }
        for stride in self.global_strides {
            fields.put(&stride.to_le_bytes());
        }
        for extent in self.box_dims {
            fields.put(&[(extent - 1) as u8]);
        }
        for stride in self.element_strides {
            fields.put(&[stride as u8]);
        }
        fields.put(&[
            self.rank as u8,
            self.data_type as u8,
            self.interleave as u8,
            self.swizzle.code(),
            self.l2_promotion as u8,
            self.out_of_bounds as u8,
        ]);
        let checksum = checksum(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a map back; every rule of [`TensorMap::encode_tiled`] holds for the result.
    pub fn from_bytes(bytes: &[u8; TENSOR_MAP_BYTES]) -> Result<TensorMap, TensorMapError> {
        let mut reader = Reader { bytes, at: 0 };
        let magic = reader.u64();
        if magic != MAGIC {
            return Err(TensorMapError::Magic {
                found: magic,
                needed: MAGIC,
            });
        }
        let computed = checksum(&bytes[..CHECKSUM_AT]);
        let found = Reader {
            bytes,
            at: CHECKSUM_AT,
        }
        .u64();
        let trampled = TensorMapError::Checksum { found, computed };
        if found != computed {
            return Err(trampled);
        }
        let global_address = reader.u64();
        let global_dims: [u64; MAX_RANK] = std::array::from_fn(|_| u64::from(reader.u32()) + 1);
        let global_strides: [u64; MAX_RANK - 1] = std::array::from_fn(|_| reader.u64());
        let box_dims: [u32; MAX_RANK] = std::array::from_fn(|_| u32::from(reader.u8()) + 1);
        let element_strides: [u32; MAX_RANK] = std::array::from_fn(|_| u32::from(reader.u8()));
        let rank = usize::from(reader.u8());
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(TensorMapError::Rank { rank });
        }
        TensorMap::encode_tiled(&TiledDescription {
            data_type: DataType::from_code(reader.u8().into()).ok_or(trampled)?,
            interleave: Interleave::from_code(reader.u8().into()).ok_or(trampled)?,
            swizzle: Swizzle::from_code(reader.u8().into()).ok_or(trampled)?,
            l2_promotion: L2Promotion::from_code(reader.u8().into()).ok_or(trampled)?,
            out_of_bounds: OutOfBoundsFill::from_code(reader.u8().into()).ok_or(trampled)?,
            global_address,
            global_dims: &global_dims[..rank],
            global_strides: &global_strides[..rank - 1],
            box_dims: &box_dims[..rank],
            element_strides: &element_strides[..rank],
        })
    }
}

fn check_lengths(description: &TiledDescription, rank: usize) -> Result<(), TensorMapError> {
    let lengths = [
        ("globalStrides", description.global_strides.len(), rank - 1),
        ("boxDim", description.box_dims.len(), rank),
        ("elementStrides", description.element_strides.len(), rank),
    ];
    for (what, found, needed) in lengths {
        if found != needed {
            return Err(TensorMapError::Lengths {
                what,
                found,
                needed,
                rank,
            });
        }
    }
    Ok(())
}

fn check_global(description: &TiledDescription) -> Result<(), TensorMapError> {
    let data_type = description.data_type;
    let alignment = if data_type.is_gapped() { 32 } else { 16 };
    let address = description.global_address;
    if !address.is_multiple_of(alignment) {
        return Err(TensorMapError::GlobalAddress {
            address,
            alignment,
            data_type,
        });
    }
    for (dimension, &found) in description.global_dims.iter().enumerate() {
        if !(1..=1 << 32).contains(&found) {
            return Err(TensorMapError::GlobalDim { dimension, found });
        }
    }
    let multiple = match data_type {
        DataType::U4x16Align8 => 2,
        DataType::U4x16Align16 | DataType::U6x16Align16 => 128,
        _ => 1,
    };
    let found = description.global_dims[0];
    if !found.is_multiple_of(multiple) {
        return Err(TensorMapError::InnerDimMultiple {
            found,
            multiple,
            data_type,
        });
    }
    for (index, &found) in description.global_strides.iter().enumerate() {
        if !found.is_multiple_of(alignment) {
            return Err(TensorMapError::StrideMultiple {
                index,
                found,
                multiple: alignment,
                data_type,
            });
        }
        if found >= 1 << 40 {
            return Err(TensorMapError::StrideRange { index, found });
        }
    }
    Ok(())
}

fn check_box(description: &TiledDescription) -> Result<(), TensorMapError> {
    let data_type = description.data_type;
    for (dimension, &found) in description.box_dims.iter().enumerate() {
        if !(1..=256).contains(&found) {
            return Err(TensorMapError::BoxDim { dimension, found });
        }
    }
    for (dimension, &found) in description.element_strides.iter().enumerate() {
        if !(1..=8).contains(&found) {
            return Err(TensorMapError::ElementStride { dimension, found });
        }
    }
    let elements = description.box_dims[0];
    let bits = elements * data_type.shared_bits();
    if !bits.is_multiple_of(16 * 8) {
        return Err(TensorMapError::InnerBoxMultiple {
            elements,
            data_type,
        });
    }
    let swizzle = description.swizzle;
    if let Some(span) = swizzle.span()
        && bits / 8 > span
    {
        return Err(TensorMapError::InnerBoxSpan {
            bytes: bits / 8,
            swizzle,
            span,
        });
    }
    if data_type.is_gapped()
        && !matches!(swizzle, Swizzle::None | Swizzle::B128 | Swizzle::B128Atom32)
    {
        return Err(TensorMapError::SwizzleOfType { data_type, swizzle });
    }
    Ok(())
}

fn padded<T: Copy, const N: usize>(values: &[T], fill: T) -> [T; N] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or(fill))
}

const MAGIC: u64 = u64::from_le_bytes(*b"TMAPtil1");
const CHECKSUM_AT: usize = TENSOR_MAP_BYTES - 8;

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

struct Fields<'a> {
    bytes: &'a mut [u8; TENSOR_MAP_BYTES],
    at: usize,
}

impl Fields<'_> {
    fn put(&mut self, field: &[u8]) {
        self.bytes[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
    }
}

struct Reader<'a> {
    bytes: &'a [u8; TENSOR_MAP_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let field = std::array::from_fn(|i| self.bytes[self.at + i]);
        self.at += N;
        field
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A K-major FP4 operand of 512 × 1024 elements, loaded in tiles of 128 × 256.
    const FP4: TiledDescription = TiledDescription {
        data_type: DataType::U4x16Align8,
        global_address: 0x7000_0000,
        global_dims: &[1024, 512],
        global_strides: &[512],
        box_dims: &[256, 128],
        element_strides: &[1, 1],
        interleave: Interleave::None,
        swizzle: Swizzle::B128,
        l2_promotion: L2Promotion::L2B128,
        out_of_bounds: OutOfBoundsFill::Zero,
    };

    const F32: TiledDescription = TiledDescription {
        data_type: DataType::Float32,
        global_strides: &[4096],
        box_dims: &[32, 128],
        ..FP4
    };

    #[test]
    fn an_fp4_operand_tile_is_128_rows_of_128_bytes() {
        let map = TensorMap::encode_tiled(&FP4).unwrap();
        assert_eq!(map.row_bytes(), 128);
        assert_eq!(map.tile_bytes(), 128 * 128);
        assert_eq!(TensorMap::from_bytes(&map.to_bytes()), Ok(map));
    }

    #[test]
    fn every_encode_rule_is_enforced() {
        use TensorMapError as E;
        let error = |d: TiledDescription| TensorMap::encode_tiled(&d).unwrap_err();
        let gapped = DataType::U4x16Align16;

        assert_eq!(
            error(TiledDescription {
                global_dims: &[],
                ..FP4
            }),
            E::Rank { rank: 0 }
        );
        assert!(matches!(
            error(TiledDescription {
                global_strides: &[],
                ..FP4
            }),
            E::Lengths {
                what: "globalStrides",
                found: 0,
                needed: 1,
                rank: 2
            }
        ));
        assert!(matches!(
            error(TiledDescription {
                interleave: Interleave::B16,
                ..FP4
            }),
            E::Interleave { .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                global_address: 0x7000_0008,
                ..FP4
            }),
            E::GlobalAddress { alignment: 16, .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                data_type: gapped,
                global_address: 0x7000_0010,
                ..FP4
            }),
            E::GlobalAddress { alignment: 32, .. }
        ));
        assert_eq!(
            error(TiledDescription {
                global_dims: &[1024, 0],
                ..FP4
            }),
            E::GlobalDim {
                dimension: 1,
                found: 0
            }
        );
        assert_eq!(
            error(TiledDescription {
                global_dims: &[1024, (1 << 32) + 1],
                ..FP4
            }),
            E::GlobalDim {
                dimension: 1,
                found: (1 << 32) + 1
            }
        );
        assert!(matches!(
            error(TiledDescription {
                global_dims: &[1023, 512],
                ..FP4
            }),
            E::InnerDimMultiple { multiple: 2, .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                data_type: gapped,
                global_dims: &[1000, 512],
                ..FP4
            }),
            E::InnerDimMultiple { multiple: 128, .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                global_strides: &[520],
                ..FP4
            }),
            E::StrideMultiple { multiple: 16, .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                global_strides: &[1 << 40],
                ..FP4
            }),
            E::StrideRange { .. }
        ));
        assert_eq!(
            error(TiledDescription {
                box_dims: &[256, 257],
                ..FP4
            }),
            E::BoxDim {
                dimension: 1,
                found: 257
            }
        );
        assert!(matches!(
            error(TiledDescription {
                box_dims: &[30, 128],
                ..FP4
            }),
            E::InnerBoxMultiple { elements: 30, .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                swizzle: Swizzle::B64,
                ..FP4
            }),
            E::InnerBoxSpan {
                bytes: 128,
                span: 64,
                ..
            }
        ));
        assert_eq!(
            error(TiledDescription {
                element_strides: &[1, 9],
                ..FP4
            }),
            E::ElementStride {
                dimension: 1,
                found: 9
            }
        );
        assert!(matches!(
            error(TiledDescription {
                data_type: gapped,
                box_dims: &[32, 128],
                swizzle: Swizzle::B32,
                ..FP4
            }),
            E::SwizzleOfType { .. }
        ));
        assert!(matches!(
            error(TiledDescription {
                out_of_bounds: OutOfBoundsFill::NanRequestZeroFma,
                ..FP4
            }),
            E::NanFill { .. }
        ));
        let nan = TiledDescription {
            out_of_bounds: OutOfBoundsFill::NanRequestZeroFma,
            ..F32
        };
        assert!(TensorMap::encode_tiled(&nan).is_ok());
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(
            TensorMap::from_bytes(&[0; 128]),
            Err(TensorMapError::Magic { found: 0, .. })
        ));
    }

    proptest! {
        #[test]
        fn maps_survive_memory_and_trampling_is_noticed(
            rows in 1u64..=1 << 32,
            row_bytes in 1u64..1 << 36,
            box_rows in 1u32..=256,
            stride in 1u32..=8,
            byte in 0usize..TENSOR_MAP_BYTES,
            flip in 1u8..,
        ) {
            let map = TensorMap::encode_tiled(&TiledDescription {
                global_dims: &[1024, rows],
                global_strides: &[row_bytes << 4],
                box_dims: &[256, box_rows],
                element_strides: &[1, stride],
                ..FP4
            }).unwrap();
            let mut bytes = map.to_bytes();
            prop_assert_eq!(TensorMap::from_bytes(&bytes), Ok(map));
            bytes[byte] ^= flip;
            prop_assert!(TensorMap::from_bytes(&bytes).is_err());
        }
    }
}
