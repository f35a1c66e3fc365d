//! The driver functions that have nothing to act on here: arrays, textures, surfaces, external
//! memory, peers, virtual memory, the device linker and more. They do nothing and answer
//! `CUDA_ERROR_NOT_SUPPORTED`.

use std::ffi::c_void;

use super::status::Status;

macro_rules! list {
    ($($name:ident)*) => {
        &[$(stringify!($name)),*]
    };
}

/// All functions of the driver API.
pub(super) const NAMES: &[&str] = crate::for_each_driver_function!(list);

/// Takes whatever arguments the caller passes: in the C calling conventions of 64-bit Linux the
/// caller cleans up, and this reads none.
extern "C" fn unsupported() -> Status {
    Status::NOT_SUPPORTED
}

pub(super) const ADDRESS: *const c_void = unsupported as *const c_void;
