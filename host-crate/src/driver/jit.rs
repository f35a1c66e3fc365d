//! Loading PTX with the log of the driver's compiler.
//!
//! `cust` makes [`Module`]s by `cuModuleLoadDataEx` but asks for no log, and a `Module` cannot be made of a handle. Its call
//! comes through this crate's forwarder, which asks for the log in its stead.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_uint, c_void};
use std::ptr;

use cust::context::legacy::CurrentContext;
use cust::module::Module;
use cust::sys::CUjit_option::{self, CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
use cust::sys::{CUmodule, CUresult};

use super::forward::Slot;
use super::status::{self, to_cu_result};
use super::{DriverError, LoadFacts, api};

/// What [`load_module_with_log`] wants to know of the load that `cust` makes for it.
struct Inquiry {
    log: Vec<u8>,
    /// The driver's own status: `cust` 0.3.2 has no name for some, `CUDA_ERROR_UNSUPPORTED_PTX_VERSION` among them.
    code: u32,
}

thread_local! {
    static INQUIRY: RefCell<Option<Inquiry>> = const { RefCell::new(None) };
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
    INQUIRY.set(Some(Inquiry {
        log: vec![0; LOG_BYTES],
        code: status::SUCCESS,
    }));
    let module = Module::from_ptx_cstr(&ptx, &[]);
    let inquiry = INQUIRY.take();
    module.map_err(|error| match inquiry {
        Some(Inquiry { log, code }) if code != status::SUCCESS => {
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default();
            DriverError::Load {
                code,
                log: log.to_string_lossy().into_owned(),
                facts: facts(&ptx),
            }
        }
        // The load never came through the forwarder, so some other definition of it was linked.
        _ => DriverError::from_cust(SLOT.name(), error),
    })
}

/// What the driver was given, and what it and the current context's device are.
fn facts(ptx: &CStr) -> LoadFacts {
    let device = CurrentContext::get_device().ok();
    LoadFacts {
        compute_capability: device.and_then(|device| api::compute_capability(device).ok()),
        cuda_version: super::info().ok().map(|driver| driver.version),
        ..LoadFacts::of_ptx(&ptx.to_string_lossy())
    }
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
    let code = INQUIRY.with_borrow_mut(|inquiry| match inquiry {
        Some(Inquiry { log, code }) if count == 0 => {
            let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
            let mut values = [
                log.as_mut_ptr().cast(),
                ptr::without_provenance_mut(log.len()),
            ];
            // SAFETY: module and image as the caller promises; options and values are two elements each, and the log has the
            // size given there.
            *code = unsafe { load(module, image, 2, options.as_mut_ptr(), values.as_mut_ptr()) };
            *code
        }
        // SAFETY: the caller's promise.
        _ => unsafe { load(module, image, count, options, values) },
    });
    to_cu_result(code)
}
