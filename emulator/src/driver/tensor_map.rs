//! `cuTensorMapEncodeTiled`.

use std::ffi::c_void;

use super::abi::{Out, answer, elements};
use super::report;
use super::state::driver;
use super::status::Status;
use crate::tma::{
    DataType, Interleave, L2Promotion, OutOfBoundsFill, Swizzle, TensorMap, TiledDescription,
};

pub(super) const FUNCTIONS: &[super::Function] = functions![cuTensorMapEncodeTiled];

/// `CUtensorMap`; its alignment is the caller's to keep, and checked.
type Map = [u8; 128];

/// Of a `CUtensorMap` (CUDA driver API, tensor map object management).
const MAP_ALIGNMENT: usize = 64;

/// Whether the type or the swizzle came with compute capability 10.0.
fn is_of_blackwell(description: &TiledDescription) -> bool {
    matches!(
        description.data_type,
        DataType::U4x16Align8 | DataType::U4x16Align16 | DataType::U6x16Align16
    ) || matches!(
        description.swizzle,
        Swizzle::B128Atom32 | Swizzle::B128Atom32Flip8 | Swizzle::B128Atom64
    )
}

/// # Safety
/// The arrays are null or have `rank` elements, `global_strides` one fewer.
unsafe extern "C" fn cuTensorMapEncodeTiled(
    map: Out<Map>,
    data_type: u32,
    rank: u32,
    global_address: *mut c_void,
    global_dims: *const u64,
    global_strides: *const u64,
    box_dims: *const u32,
    element_strides: *const u32,
    interleave: u32,
    swizzle: u32,
    l2_promotion: u32,
    out_of_bounds: u32,
) -> Status {
    answer(|| {
        let rank = rank as usize;
        if !(1..=crate::tma::tensor_map::MAX_RANK).contains(&rank) {
            return Err(Status::INVALID_VALUE);
        }
        let map = map.ok_or(Status::INVALID_VALUE)?;
        if !map.as_ptr().addr().is_multiple_of(MAP_ALIGNMENT) {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the caller's promise.
        let description = unsafe {
            TiledDescription {
                data_type: DataType::from_code(data_type).ok_or(Status::INVALID_VALUE)?,
                global_address: global_address.addr() as u64,
                global_dims: elements(global_dims, rank)?,
                global_strides: elements(global_strides, rank - 1)?,
                box_dims: elements(box_dims, rank)?,
                element_strides: elements(element_strides, rank)?,
                interleave: Interleave::from_code(interleave).ok_or(Status::INVALID_VALUE)?,
                swizzle: Swizzle::from_code(swizzle).ok_or(Status::INVALID_VALUE)?,
                l2_promotion: L2Promotion::from_code(l2_promotion).ok_or(Status::INVALID_VALUE)?,
                out_of_bounds: OutOfBoundsFill::from_code(out_of_bounds)
                    .ok_or(Status::INVALID_VALUE)?,
            }
        };
        if is_of_blackwell(&description) && driver()?.device.properties.compute_capability < (10, 0)
        {
            let message = format!(
                "cuTensorMapEncodeTiled: {:?} with the swizzle {:?} needs compute capability 10.0",
                description.data_type, description.swizzle
            );
            report::file(message, false);
            return Err(Status::INVALID_VALUE);
        }
        let encoded = TensorMap::encode_tiled(&description).map_err(|error| {
            report::file(format!("cuTensorMapEncodeTiled: {error}"), false);
            Status::INVALID_VALUE
        })?;
        map.write(encoded.to_bytes());
        Ok(())
    })
}
