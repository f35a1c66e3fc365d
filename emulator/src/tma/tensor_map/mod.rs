//! `CUtensorMap`: what `cuTensorMapEncodeTiled` accepts, and how a map travels through memory and changes there.

mod bytes;
mod check;
mod replace;
#[cfg(test)]
mod tests;
mod types;

use thiserror::Error;

use super::swizzle::Swizzle;
pub use replace::{Field, replace};
pub use types::{DataType, Interleave, L2Promotion, OutOfBoundsFill};

/// Bytes of a tensor map in memory.
pub const TENSOR_MAP_BYTES: usize = 128;

/// Alignment of a tensor map in memory.
pub const TENSOR_MAP_ALIGNMENT: u64 = 64;

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 5;

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
    #[error("the tensor map's {field} was never set, or is {found}, which has no meaning")]
    Field { field: &'static str, found: u8 },
    #[error("tensormap.replace: a {field} of {found}; {possible} are possible")]
    Replacement {
        field: &'static str,
        found: u64,
        possible: &'static str,
    },
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
        check::check(description)?;
        Ok(TensorMap {
            data_type: description.data_type,
            rank: description.global_dims.len(),
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

    /// Bytes of one row of the tile in global memory: without gaps.
    pub fn packed_row_bytes(&self) -> u32 {
        self.box_dims[0] * self.data_type.global_bits() / 8
    }

    /// What a load credits to its barrier: the whole tile, elements outside of the tensor included, but no gaps.
    /// CUTLASS (`TmaTransactionBytes`) and Triton count the bits of the elements alone.
    pub fn credited_bytes(&self) -> u32 {
        self.tile_bytes() / self.row_bytes() * self.packed_row_bytes()
    }

    /// Bytes of the rows of the tile in shared memory. Saturates; no shared memory is as large.
    pub fn tile_bytes(&self) -> u32 {
        self.rows_of(self.row_bytes())
    }

    /// Bytes from one row of the tile to the next in shared memory: a swizzle's span, however narrow the box is.
    pub fn row_pitch(&self) -> u32 {
        self.swizzle.span().unwrap_or(self.row_bytes())
    }

    /// Bytes from the start of the tile in shared memory to its end, those between its rows included. Saturates.
    pub fn extent_bytes(&self) -> u32 {
        self.rows_of(self.row_pitch())
    }

    /// Whether nothing lies between the rows of the tile in shared memory.
    pub fn has_adjacent_rows(&self) -> bool {
        self.row_pitch() == self.row_bytes()
    }

    /// Whether its elements take all bytes of the tile in shared memory.
    pub fn is_dense(&self) -> bool {
        !self.data_type.is_gapped() && self.has_adjacent_rows()
    }

    fn rows_of(&self, bytes: u32) -> u32 {
        self.tile_dims()[1..]
            .iter()
            .fold(bytes, |bytes, &dim| bytes.saturating_mul(dim))
    }

    /// The map's 128 bytes in memory.
    pub fn to_bytes(&self) -> [u8; TENSOR_MAP_BYTES] {
        bytes::Fields::of(self).to_bytes()
    }

    /// Reads a map back; every rule of [`TensorMap::encode_tiled`] holds for the result.
    pub fn from_bytes(bytes: &[u8; TENSOR_MAP_BYTES]) -> Result<TensorMap, TensorMapError> {
        bytes::Fields::from_bytes(bytes)?.encode()
    }
}

fn padded<T: Copy, const N: usize>(values: &[T], fill: T) -> [T; N] {
    std::array::from_fn(|i| values.get(i).copied().unwrap_or(fill))
}
