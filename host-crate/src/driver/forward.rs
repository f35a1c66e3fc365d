//! Forwarders: this crate defines the `cu*` symbols that `cust` wants from `libcuda` at link time, and each passes its
//! call on to the selected driver.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use cust::sys::CUresult;

use super::DriverError;
use super::status::{self, to_cu_result};

/// One driver function: its name, and its address once it was looked up.
pub(super) struct Slot {
    name: &'static str,
    address: AtomicPtr<c_void>,
}

/// A slot's address after its driver was found to lack the function; no function lies at address 1.
const MISSING: *mut c_void = ptr::without_provenance_mut(1);

impl Slot {
    pub(super) const fn new(name: &'static str) -> Self {
        Self {
            name,
            address: AtomicPtr::new(ptr::null_mut()),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The function's address in the driver of this process. Where none was selected, this selects by `NVFP4_DEVICE`.
    pub(super) fn find(&self) -> Result<*const c_void, DriverError> {
        let known = self.address.load(Ordering::Acquire);
        if !known.is_null() && known != MISSING {
            return Ok(known);
        }
        let found = super::selection()?.library.function(self.name)?;
        self.address.store(found.cast_mut(), Ordering::Release);
        Ok(found)
    }

    /// As [`Slot::find`], for callers that only get a status; the reason goes to stderr, once.
    pub(super) fn find_or_report(&self) -> Result<*const c_void, u32> {
        static REPORT: Once = Once::new();
        if self.address.load(Ordering::Acquire) == MISSING {
            return Err(status::NOT_FOUND);
        }
        self.find().map_err(|error| {
            if let DriverError::MissingFunction { .. } = error {
                eprintln!("{error}");
                self.address.store(MISSING, Ordering::Release);
                return status::NOT_FOUND;
            }
            REPORT.call_once(|| eprintln!("{error}"));
            // As a driver without a GPU answers: cuInit says so, and nothing was initialised.
            match self.name {
                "cuInit" => status::NO_DEVICE,
                _ => status::NOT_INITIALIZED,
            }
        })
    }
}

/// Defines one exported function per line, all returning `CUresult`.
macro_rules! forward {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?);)*) => {
        /// Every function defined here.
        #[cfg(all(test, feature = "emulator"))]
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
        // The definition and cust_raw's declaration have one type, or this does not compile.
        const _: [unsafe extern "C" fn($($ty),*) -> CUresult; 2] = [cust::sys::$name, $name];

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            static SLOT: $crate::driver::forward::Slot =
                $crate::driver::forward::Slot::new(stringify!($name));
            let code = match SLOT.find_or_report() {
                Ok(address) => {
                    // SAFETY: the driver's function of this name has these parameters (the driver API's names carry a
                    // version suffix whenever a signature changes) and returns a 32-bit status; the caller keeps the
                    // contract of that function.
                    unsafe {
                        let function: unsafe extern "C" fn($($ty),*) -> u32 =
                            std::mem::transmute(address);
                        function($($arg),*)
                    }
                }
                Err(code) => code,
            };
            $crate::driver::status::to_cu_result(code)
        }
    )*};
}
pub(super) use forward;

type ErrorText = unsafe extern "C" fn(CUresult, *mut *const c_char) -> u32;

const _: [unsafe extern "C" fn(CUresult, *mut *const c_char) -> CUresult; 4] = [
    cust::sys::cuGetErrorString,
    cuGetErrorString,
    cust::sys::cuGetErrorName,
    cuGetErrorName,
];

/// `cust` formats its errors through this function and panics where it fails: it answers without a driver too.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: CUresult, text: *mut *const c_char) -> CUresult {
    static SLOT: Slot = Slot::new("cuGetErrorString");
    // SAFETY: passes the caller's contract on.
    unsafe {
        error_text(
            &SLOT,
            error,
            text,
            c"no CUDA driver (libcuda.so.1) was found",
        )
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: CUresult, text: *mut *const c_char) -> CUresult {
    static SLOT: Slot = Slot::new("cuGetErrorName");
    // SAFETY: passes the caller's contract on.
    unsafe { error_text(&SLOT, error, text, c"CUDA_ERROR_NO_DEVICE") }
}

/// # Safety
/// `text` is null or valid for writes; `slot` is one of the two functions above.
unsafe fn error_text(
    slot: &Slot,
    error: CUresult,
    text: *mut *const c_char,
    without_driver: &'static CStr,
) -> CUresult {
    match slot.find_or_report() {
        Ok(address) => {
            // SAFETY: both functions have this signature.
            let function: ErrorText = unsafe { std::mem::transmute(address) };
            // SAFETY: passes the caller's contract on.
            to_cu_result(unsafe { function(error, text) })
        }
        Err(_) if text.is_null() => CUresult::CUDA_ERROR_INVALID_VALUE,
        Err(_) => {
            // SAFETY: not null, and valid for writes as the caller promises.
            unsafe { text.write(without_driver.as_ptr()) };
            CUresult::CUDA_SUCCESS
        }
    }
}
