//! Forwarders: this crate defines the `cu*` symbols that `cust` wants from `libcuda` at link time, and each passes its
//! call on to the selected driver.

use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use cust::sys::CUresult;

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

    /// The function's address in the selected driver. The first call of a program that selected none selects by
    /// `NVFP4_DEVICE`. The error is the code that the caller of the driver gets.
    pub(super) fn address(&self) -> Result<*const c_void, u32> {
        let mut address = self.address.load(Ordering::Acquire);
        if address.is_null() {
            address = self.resolve()?;
        }
        if address == MISSING {
            return Err(status::NOT_FOUND);
        }
        Ok(address)
    }

    #[cold]
    fn resolve(&self) -> Result<*mut c_void, u32> {
        let driver = super::selected_or_reported().ok_or(match self.name {
            // As a driver without a GPU answers: cuInit says so, and nothing was initialised.
            "cuInit" => status::NO_DEVICE,
            _ => status::NOT_INITIALIZED,
        })?;
        let address = driver.symbol(self.name).unwrap_or_else(|| {
            // Two threads may both get here and say it twice.
            eprintln!("{}: no function {}", driver.name(), self.name);
            MISSING.cast_const()
        });
        let address = address.cast_mut();
        self.address.store(address, Ordering::Release);
        Ok(address)
    }
}

/// Defines one exported function per line, all returning `CUresult`.
macro_rules! forward {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?);)*) => {$(
        // The definition and cust_raw's declaration have one type, or this does not compile.
        const _: [unsafe extern "C" fn($($ty),*) -> CUresult; 2] = [cust::sys::$name, $name];

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $ty),*) -> CUresult {
            static SLOT: $crate::driver::forward::Slot =
                $crate::driver::forward::Slot::new(stringify!($name));
            let code = match SLOT.address() {
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
    match slot.address() {
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
