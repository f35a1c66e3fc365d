//! `tensormap.replace` (PTX ISA §9.7.9.28).

use super::bytes::Fields;
use super::types::DataType;
use super::{MAX_RANK, TENSOR_MAP_BYTES, TensorMapError};

/// The field that `tensormap.replace` changes; ordinals are dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    GlobalAddress,
    Rank,
    BoxDim(usize),
    GlobalDim(usize),
    /// Of dimension `1 +` this.
    GlobalStride(usize),
    ElementStride(usize),
    ElementType,
    InterleaveLayout,
    SwizzleMode,
    SwizzleAtomicity,
    FillMode,
}

impl Field {
    /// Whether the map has the ordinal.
    pub fn exists(self) -> bool {
        match self {
            Self::BoxDim(d) | Self::GlobalDim(d) | Self::ElementStride(d) => d < MAX_RANK,
            Self::GlobalStride(d) => d < MAX_RANK - 1,
            _ => true,
        }
    }
}

/// Changes one field of a map, or of zeroed memory that is to become one. The result is checked when it is used.
pub fn replace(
    bytes: &mut [u8; TENSOR_MAP_BYTES],
    field: Field,
    value: u64,
) -> Result<(), TensorMapError> {
    let mut fields = match bytes.iter().all(|byte| *byte == 0) {
        true => Fields::default(),
        false => Fields::from_bytes(bytes)?,
    };
    let within = |name, least: u64, most: u64, possible| match (least..=most).contains(&value) {
        true => Ok(value - least),
        false => Err(TensorMapError::Replacement {
            field: name,
            found: value,
            possible,
        }),
    };
    let code = |name, most, possible| within(name, 0, most, possible).map(|code| code as u8);
    match field {
        Field::GlobalAddress => fields.global_address = value,
        Field::Rank => fields.rank = code("rank less one", 4, "0 to 4")? + 1,
        Field::BoxDim(d) => fields.box_dims[d] = within("box_dim", 1, 256, "1 to 256")? as u8,
        Field::GlobalDim(d) => {
            let most = u64::from(u32::MAX);
            fields.global_dims[d] = within("global_dim", 1, most, "1 to 2^32 - 1")? as u32;
        }
        Field::GlobalStride(d) => fields.global_strides[d] = value,
        Field::ElementStride(d) => {
            fields.element_strides[d] = within("element_stride", 1, 8, "1 to 8")? as u8 + 1;
        }
        Field::ElementType => {
            let data_type = DataType::from_replacement(value as u32);
            fields.data_type = data_type.ok_or(TensorMapError::Replacement {
                field: "elemtype",
                found: value,
                possible: "0 to 15",
            })? as u8;
        }
        Field::InterleaveLayout => {
            fields.interleave = code("interleave_layout", 2, "0 to 2")?;
        }
        // Width 4, of 96 bytes, exists on sm_103a alone.
        Field::SwizzleMode => fields.swizzle_mode = code("swizzle_mode", 3, "0 to 3")?,
        Field::SwizzleAtomicity => {
            fields.swizzle_atomicity = code("swizzle_atomicity", 3, "0 to 3")?;
        }
        Field::FillMode => fields.out_of_bounds = code("fill_mode", 1, "0 and 1")?,
    }
    *bytes = fields.to_bytes();
    Ok(())
}
