//! Loading PTX with the log of the driver's compiler.
//!
//! `cust` makes [`Module`]s by `cuModuleLoadDataEx` but asks for no log, and a `Module` cannot be made of a handle. Its call
//! comes through this crate's forwarder, which asks for the log in its stead.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_uint, c_void};
use std::ptr;

use cust::module::Module;
use cust::sys::CUjit_option::{self, CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
use cust::sys::{CUmodule, CUresult};

use super::DriverError;
use super::forward::Slot;
use super::status::to_cu_result;

thread_local! {
    /// The buffer for the log of the calling thread's next load, while [`load_module_with_log`] runs.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

const LOG_BYTES: usize = 16 << 10;

/// Loads PTX into the current context, as [`Module::from_ptx`] does, and tells what the driver's compiler had against it.
///
/// # Errors
/// [`DriverError::Load`] with the compiler's log; [`DriverError::NulInPtx`]; the errors of [`select`](super::select) where
/// there is no driver.
pub fn load_module_with_log(ptx: &str) -> Result<Module, DriverError> {
    let ptx = CString::new(ptx).map_err(|error| DriverError::NulInPtx {
        offset: error.nul_position(),
    })?;
    SLOT.find()?;
    LOG.set(Some(vec![0; LOG_BYTES]));
    let module = Module::from_ptx_cstr(&ptx, &[]);
    let log = LOG.take().unwrap_or_default();
    module.map_err(|error| {
        let log = CStr::from_bytes_until_nul(&log).unwrap_or_default();
        DriverError::Load {
            code: error as u32,
            log: log.to_string_lossy().into_owned(),
        }
    })
}

static SLOT: Slot = Slot::new("cuModuleLoadDataEx");

type LoadDataEx = unsafe extern "C" fn(
    *mut CUmodule,
    *const c_void,
    c_uint,
    *mut CUjit_option,
    *mut *mut c_void,
) -> u32;

const _: [unsafe extern "C" fn(
    *mut CUmodule,
    *const c_void,
    c_uint,
    *mut CUjit_option,
    *mut *mut c_void,
) -> CUresult; 2] = [cust::sys::cuModuleLoadDataEx, cuModuleLoadDataEx];

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut CUmodule,
    image: *const c_void,
    count: c_uint,
    options: *mut CUjit_option,
    values: *mut *mut c_void,
) -> CUresult {
    let load: LoadDataEx = match SLOT.find_or_report() {
        // SAFETY: the driver API's signature of this function.
        Ok(address) => unsafe { std::mem::transmute::<*const c_void, LoadDataEx>(address) },
        Err(code) => return to_cu_result(code),
    };
    let code = LOG.with_borrow_mut(|log| match log {
        Some(log) if count == 0 => {
            let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
            let mut values = [
                log.as_mut_ptr().cast(),
                ptr::without_provenance_mut(log.len()),
            ];
            // SAFETY: module and image as the caller promises; options and values are two elements each, and the log has the
            // size given there.
            unsafe { load(module, image, 2, options.as_mut_ptr(), values.as_mut_ptr()) }
        }
        // SAFETY: the caller's promise.
        _ => unsafe { load(module, image, count, options, values) },
    });
    to_cu_result(code)
}
