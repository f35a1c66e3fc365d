//! `cuGetProcAddress`: looking driver functions up by name at run time.

use std::ffi::{c_char, c_int, c_void};

use super::abi::{Out, answer, put, text};
use super::lookup;
use super::status::Status;

pub(super) const FUNCTIONS: &[super::Function] = functions![cuGetProcAddress, cuGetProcAddress_v2];

/// The newest variant of a function, as the name without suffix means.
fn find(name: &str) -> Option<*const c_void> {
    ["_v3", "_v2", ""]
        .iter()
        .find_map(|suffix| lookup(&format!("{name}{suffix}")))
}

/// # Safety
/// `name` is null or a C string.
unsafe extern "C" fn cuGetProcAddress(
    name: *const c_char,
    function: Out<*const c_void>,
    _cuda_version: c_int,
    _flags: u64,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let found = find(unsafe { text(name)? });
        put(function, found.unwrap_or(std::ptr::null()))?;
        found.map(|_| ()).ok_or(Status::NOT_FOUND)
    })
}

/// Tells by `status` whether the function was found: 0 if so, 1 if not.
///
/// # Safety
/// `name` is null or a C string.
unsafe extern "C" fn cuGetProcAddress_v2(
    name: *const c_char,
    function: Out<*const c_void>,
    _cuda_version: c_int,
    _flags: u64,
    status: Out<u32>,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let found = find(unsafe { text(name)? });
        put(function, found.unwrap_or(std::ptr::null()))?;
        if status.is_some() {
            return put(status, found.is_none().into());
        }
        found.map(|_| ()).ok_or(Status::NOT_FOUND)
    })
}
