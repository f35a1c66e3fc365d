//! The CUDA driver API over the emulator.

use std::ffi::c_void;

/// What answers in place of a driver's library.
pub const NAME: &str = concat!("ptx-emulator ", env!("CARGO_PKG_VERSION"));

/// The address of a driver function.
pub fn lookup(_name: &str) -> Option<*const c_void> {
    None
}
