//! The 128 bytes of a tensor map.
//!
//! Those of a real map are opaque. Ours have their own layout, with a magic number and a checksum, so that a map that
//! was built elsewhere or overwritten is an error and not a wild copy.

use super::{
    DataType, Interleave, L2Promotion, MAX_RANK, OutOfBoundsFill, TENSOR_MAP_BYTES, TensorMap,
    TensorMapError, TiledDescription,
};
use crate::tma::swizzle::Swizzle;

const MAGIC: u64 = u64::from_le_bytes(*b"TMAPtil2");
const CHECKSUM_AT: usize = TENSOR_MAP_BYTES - 8;

/// The fields as they are stored: `tensormap.replace` changes one at a time, so that together they need not make a
/// map. The default is what a kernel starts from that builds a map in zeroed memory.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields {
    pub global_address: u64,
    /// Less one: 2^32 is legal.
    pub global_dims: [u32; MAX_RANK],
    pub global_strides: [u64; MAX_RANK - 1],
    /// Less one: 256 is legal.
    pub box_dims: [u8; MAX_RANK],
    pub element_strides: [u8; MAX_RANK],
    pub rank: u8,
    /// `CUtensorMapDataType`
    pub data_type: u8,
    pub interleave: u8,
    pub swizzle_mode: u8,
    pub swizzle_atomicity: u8,
    pub l2_promotion: u8,
    pub out_of_bounds: u8,
}

impl Fields {
    pub fn of(map: &TensorMap) -> Self {
        let (swizzle_mode, swizzle_atomicity) = map.swizzle.mode();
        Self {
            global_address: map.global_address,
            global_dims: map.global_dims.map(|extent| (extent - 1) as u32),
            global_strides: map.global_strides,
            box_dims: map.box_dims.map(|extent| (extent - 1) as u8),
            element_strides: map.element_strides.map(|stride| stride as u8),
            rank: map.rank as u8,
            data_type: map.data_type as u8,
            interleave: map.interleave as u8,
            swizzle_mode,
            swizzle_atomicity,
            l2_promotion: map.l2_promotion as u8,
            out_of_bounds: map.out_of_bounds as u8,
        }
    }

    /// The map that the fields make, if they do.
    pub fn encode(&self) -> Result<TensorMap, TensorMapError> {
        let rank = usize::from(self.rank);
        if !(1..=MAX_RANK).contains(&rank) {
            return Err(TensorMapError::Rank { rank });
        }
        let unknown = |field, found| TensorMapError::Field { field, found };
        let swizzle = Swizzle::from_mode(self.swizzle_mode, self.swizzle_atomicity);
        TensorMap::encode_tiled(&TiledDescription {
            data_type: DataType::from_code(self.data_type.into())
                .ok_or(unknown("element type", self.data_type))?,
            global_address: self.global_address,
            global_dims: &self.global_dims.map(|extent| u64::from(extent) + 1)[..rank],
            global_strides: &self.global_strides[..rank - 1],
            box_dims: &self.box_dims.map(|extent| u32::from(extent) + 1)[..rank],
            element_strides: &self.element_strides.map(u32::from)[..rank],
            interleave: Interleave::from_code(self.interleave.into())
                .ok_or(unknown("interleave layout", self.interleave))?,
            swizzle: swizzle.ok_or(unknown("swizzle atomicity", self.swizzle_atomicity))?,
            l2_promotion: L2Promotion::from_code(self.l2_promotion.into())
                .ok_or(unknown("L2 promotion", self.l2_promotion))?,
            out_of_bounds: OutOfBoundsFill::from_code(self.out_of_bounds.into())
                .ok_or(unknown("fill mode", self.out_of_bounds))?,
        })
    }

    pub fn to_bytes(self) -> [u8; TENSOR_MAP_BYTES] {
        let mut bytes = [0; TENSOR_MAP_BYTES];
        let mut writer = Writer {
            bytes: &mut bytes,
            at: 0,
        };
        writer.put(&MAGIC.to_le_bytes());
        writer.put(&self.global_address.to_le_bytes());
        for extent in self.global_dims {
            writer.put(&extent.to_le_bytes());
        }
        for stride in self.global_strides {
            writer.put(&stride.to_le_bytes());
        }
        writer.put(&self.box_dims);
        writer.put(&self.element_strides);
        writer.put(&[
            self.rank,
            self.data_type,
            self.interleave,
            self.swizzle_mode,
            self.swizzle_atomicity,
            self.l2_promotion,
            self.out_of_bounds,
        ]);
        let checksum = checksum(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8; TENSOR_MAP_BYTES]) -> Result<Self, TensorMapError> {
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
        if found != computed {
            return Err(TensorMapError::Checksum { found, computed });
        }
        let mut fields = Self {
            global_address: reader.u64(),
            global_dims: std::array::from_fn(|_| u32::from_le_bytes(reader.take())),
            global_strides: std::array::from_fn(|_| reader.u64()),
            box_dims: reader.take(),
            element_strides: reader.take(),
            ..Self::default()
        };
        [
            fields.rank,
            fields.data_type,
            fields.interleave,
            fields.swizzle_mode,
            fields.swizzle_atomicity,
            fields.l2_promotion,
            fields.out_of_bounds,
        ] = reader.take();
        Ok(fields)
    }
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

struct Writer<'a> {
    bytes: &'a mut [u8; TENSOR_MAP_BYTES],
    at: usize,
}

impl Writer<'_> {
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

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
