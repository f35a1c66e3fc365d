//! Status codes of the driver API.

use std::ffi::{CStr, c_char};

use super::abi::{Out, put};

/// What a driver function returns.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

macro_rules! statuses {
    ($($name:ident = $code:literal, $c_name:literal, $text:literal;)*) => {
        impl Status {
            $(pub const $name: Self = Self($code);)*

            fn texts(self) -> Option<(&'static CStr, &'static CStr)> {
                match self {
                    $(Self::$name => Some(($c_name, $text)),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0, c"CUDA_SUCCESS", c"no error";
    INVALID_VALUE = 1, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument";
    OUT_OF_MEMORY = 2, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory";
    NOT_INITIALIZED = 3, c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error";
    NO_DEVICE = 100, c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected";
    INVALID_DEVICE = 101, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal";
    INVALID_CONTEXT = 201, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context";
    NO_BINARY_FOR_GPU = 209, c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image is available for the device";
    UNSUPPORTED_LIMIT = 215, c"CUDA_ERROR_UNSUPPORTED_LIMIT", c"limit is not supported on this device";
    INVALID_PTX = 218, c"CUDA_ERROR_INVALID_PTX", c"the PTX could not be compiled";
    UNSUPPORTED_PTX_VERSION = 222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", c"the PTX is newer than the driver";
    FILE_NOT_FOUND = 301, c"CUDA_ERROR_FILE_NOT_FOUND", c"file not found";
    INVALID_HANDLE = 400, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle";
    NOT_FOUND = 500, c"CUDA_ERROR_NOT_FOUND", c"named symbol not found";
    NOT_READY = 600, c"CUDA_ERROR_NOT_READY", c"device not ready";
    ILLEGAL_ADDRESS = 700, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered";
    LAUNCH_OUT_OF_RESOURCES = 701, c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources requested for launch";
    LAUNCH_TIMEOUT = 702, c"CUDA_ERROR_LAUNCH_TIMEOUT", c"the launch hung and was terminated";
    PRIMARY_CONTEXT_ACTIVE = 708, c"CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", c"the primary context is active";
    CONTEXT_IS_DESTROYED = 709, c"CUDA_ERROR_CONTEXT_IS_DESTROYED", c"context is destroyed";
    ILLEGAL_INSTRUCTION = 715, c"CUDA_ERROR_ILLEGAL_INSTRUCTION", c"an illegal instruction was encountered";
    MISALIGNED_ADDRESS = 716, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address";
    LAUNCH_FAILED = 719, c"CUDA_ERROR_LAUNCH_FAILED", c"the kernel broke a rule of the machine";
    COOPERATIVE_LAUNCH_TOO_LARGE = 720, c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE",
        c"too many blocks in a cooperative launch";
    NOT_SUPPORTED = 801, c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported";
    INVALID_CLUSTER_SIZE = 912, c"CUDA_ERROR_INVALID_CLUSTER_SIZE", c"invalid cluster size";
    UNKNOWN = 999, c"CUDA_ERROR_UNKNOWN", c"unknown error";
}

impl Status {
    /// The driver API's name of the code.
    pub fn name(self) -> &'static str {
        let name = self.texts().and_then(|(name, _)| name.to_str().ok());
        name.unwrap_or("an unknown CUDA status")
    }
}

pub(super) const FUNCTIONS: &[super::Function] = functions![cuGetErrorName, cuGetErrorString];

extern "C" fn cuGetErrorName(error: Status, text: Out<*const c_char>) -> Status {
    describe(error, text, |(name, _)| name)
}

extern "C" fn cuGetErrorString(error: Status, text: Out<*const c_char>) -> Status {
    describe(error, text, |(_, text)| text)
}

fn describe(
    error: Status,
    out: Out<*const c_char>,
    choose: fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Status {
    // cust formats any status through these functions, so one that is not listed here still gets a
    // text.
    let (text, status) = match error.texts() {
        Some(texts) => (choose(texts), Status::SUCCESS),
        None if (1..=999).contains(&error.0) => (c"a CUDA error", Status::SUCCESS),
        None => (c"", Status::INVALID_VALUE),
    };
    put(out, text.as_ptr()).err().unwrap_or(status)
}
