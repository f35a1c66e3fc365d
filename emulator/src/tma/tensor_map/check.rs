//! What `cuTensorMapEncodeTiled` refuses (CUDA driver API, tensor map object management).

use super::{DataType, Interleave, MAX_RANK, OutOfBoundsFill, TensorMapError, TiledDescription};
use crate::tma::swizzle::Swizzle;

/// Checks every rule; the rank is sound then.
pub(super) fn check(description: &TiledDescription) -> Result<(), TensorMapError> {
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
    Ok(())
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
