//! Status codes of the driver API, and their passage into `cust_raw`'s enum.

use std::ffi::{CStr, c_char};
use std::ptr;

use cust::sys::CUresult::{self, *};

use super::forward::Slot;

pub(crate) const SUCCESS: u32 = CUDA_SUCCESS as u32;
pub(crate) const INVALID_VALUE: u32 = CUDA_ERROR_INVALID_VALUE as u32;
pub(crate) const NOT_INITIALIZED: u32 = CUDA_ERROR_NOT_INITIALIZED as u32;
pub(crate) const NO_DEVICE: u32 = CUDA_ERROR_NO_DEVICE as u32;
pub(crate) const NOT_FOUND: u32 = CUDA_ERROR_NOT_FOUND as u32;

pub(crate) const OUT_OF_MEMORY: u32 = CUDA_ERROR_OUT_OF_MEMORY as u32;
pub(crate) const NO_BINARY_FOR_GPU: u32 = CUDA_ERROR_NO_BINARY_FOR_GPU as u32;
pub(crate) const INVALID_PTX: u32 = CUDA_ERROR_INVALID_PTX as u32;
pub(crate) const UNSUPPORTED_PTX_VERSION: u32 = CUDA_ERROR_UNSUPPORTED_PTX_VERSION as u32;

/// A driver's status as `cust_raw`'s enum, which ends at CUDA 11.4. A newer code becomes `CUDA_ERROR_UNKNOWN`, since a
/// Rust enum must not hold a value outside of its variants; the code itself goes to stderr.
pub(crate) fn to_cu_result(code: u32) -> CUresult {
    if code == SUCCESS {
        return CUDA_SUCCESS;
    }
    let known = KNOWN.iter().find(|known| **known as u32 == code);
    known.copied().unwrap_or_else(|| {
        eprintln!(
            "the CUDA driver answered {}, a code that cust 0.3 does not know",
            describe(code)
        );
        CUDA_ERROR_UNKNOWN
    })
}

/// The name, number and meaning of a status code, in the words of the selected driver if there is one.
pub(crate) fn describe(code: u32) -> String {
    static NAME: Slot = Slot::new("cuGetErrorName");
    static MEANING: Slot = Slot::new("cuGetErrorString");
    let known = || {
        let known = KNOWN.iter().find(|known| **known as u32 == code);
        known.map(|known| format!("{known:?}"))
    };
    let name = known().or_else(|| ask(&NAME, code));
    let name = name.unwrap_or_else(|| "CUDA error".to_owned());
    match ask(&MEANING, code) {
        Some(meaning) => format!("{name} ({code}), {meaning}"),
        None => format!("{name} ({code})"),
    }
}

/// What a function of the selected driver that explains status codes has to say. Explaining an error selects none.
fn ask(function: &Slot, code: u32) -> Option<String> {
    type Explain = unsafe extern "C" fn(u32, *mut *const c_char) -> u32;
    super::SELECTION.get()?;
    let mut text = ptr::null();
    // SAFETY: both functions have this signature in the driver API; the pointer is valid for the call.
    let answer = unsafe {
        let explain: Explain = std::mem::transmute(function.find().ok()?);
        explain(code, &mut text)
    };
    if answer != SUCCESS || text.is_null() {
        return None;
    }
    // SAFETY: on success the driver gives a C string that lives as long as the driver.
    let text = unsafe { CStr::from_ptr(text) };
    Some(text.to_string_lossy().into_owned())
}

/// Whether the driver API says of this failure that it "leaves the process in an inconsistent state and any further
/// CUDA work will return the same error. To continue using CUDA, the process must be terminated and relaunched".
pub(crate) fn loses_the_context(code: u32) -> bool {
    // Illegal address; timeout; assertion; hardware stack, illegal instruction, misaligned address, address space,
    // program counter, launch failed; tensor memory leak.
    matches!(code, 700 | 702 | 710 | 714..=719 | 721)
}

/// What to do about a failed call, to follow its description.
pub(crate) fn advice(code: u32) -> &'static str {
    if loses_the_context(code) {
        "; a kernel failed, and its process can't use the GPU any more: start a new one"
    } else if code == OUT_OF_MEMORY {
        "; free some, or run a smaller problem"
    } else {
        ""
    }
}

#[rustfmt::skip]
const KNOWN: [CUresult; 87] = [
    CUDA_SUCCESS,
    CUDA_ERROR_INVALID_VALUE,
    CUDA_ERROR_OUT_OF_MEMORY,
    CUDA_ERROR_NOT_INITIALIZED,
    CUDA_ERROR_DEINITIALIZED,
    CUDA_ERROR_PROFILER_DISABLED,
    CUDA_ERROR_PROFILER_NOT_INITIALIZED,
    CUDA_ERROR_PROFILER_ALREADY_STARTED,
    CUDA_ERROR_PROFILER_ALREADY_STOPPED,
    CUDA_ERROR_STUB_LIBRARY,
    CUDA_ERROR_NO_DEVICE,
    CUDA_ERROR_INVALID_DEVICE,
    CUDA_ERROR_DEVICE_NOT_LICENSED,
    CUDA_ERROR_INVALID_IMAGE,
    CUDA_ERROR_INVALID_CONTEXT,
    CUDA_ERROR_CONTEXT_ALREADY_CURRENT,
    CUDA_ERROR_MAP_FAILED,
    CUDA_ERROR_UNMAP_FAILED,
    CUDA_ERROR_ARRAY_IS_MAPPED,
    CUDA_ERROR_ALREADY_MAPPED,
    CUDA_ERROR_NO_BINARY_FOR_GPU,
    CUDA_ERROR_ALREADY_ACQUIRED,
    CUDA_ERROR_NOT_MAPPED,
    CUDA_ERROR_NOT_MAPPED_AS_ARRAY,
    CUDA_ERROR_NOT_MAPPED_AS_POINTER,
    CUDA_ERROR_ECC_UNCORRECTABLE,
    CUDA_ERROR_UNSUPPORTED_LIMIT,
    CUDA_ERROR_CONTEXT_ALREADY_IN_USE,
    CUDA_ERROR_PEER_ACCESS_UNSUPPORTED,
    CUDA_ERROR_INVALID_PTX,
    CUDA_ERROR_INVALID_GRAPHICS_CONTEXT,
    CUDA_ERROR_NVLINK_UNCORRECTABLE,
    CUDA_ERROR_JIT_COMPILER_NOT_FOUND,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
    CUDA_ERROR_JIT_COMPILATION_DISABLED,
    CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY,
    CUDA_ERROR_INVALID_SOURCE,
    CUDA_ERROR_FILE_NOT_FOUND,
    CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND,
    CUDA_ERROR_SHARED_OBJECT_INIT_FAILED,
    CUDA_ERROR_OPERATING_SYSTEM,
    CUDA_ERROR_INVALID_HANDLE,
    CUDA_ERROR_ILLEGAL_STATE,
    CUDA_ERROR_NOT_FOUND,
    CUDA_ERROR_NOT_READY,
    CUDA_ERROR_ILLEGAL_ADDRESS,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
    CUDA_ERROR_LAUNCH_TIMEOUT,
    CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING,
    CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED,
    CUDA_ERROR_PEER_ACCESS_NOT_ENABLED,
    CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE,
    CUDA_ERROR_CONTEXT_IS_DESTROYED,
    CUDA_ERROR_ASSERT,
    CUDA_ERROR_TOO_MANY_PEERS,
    CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED,
    CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED,
    CUDA_ERROR_HARDWARE_STACK_ERROR,
    CUDA_ERROR_ILLEGAL_INSTRUCTION,
    CUDA_ERROR_MISALIGNED_ADDRESS,
    CUDA_ERROR_INVALID_ADDRESS_SPACE,
    CUDA_ERROR_INVALID_PC,
    CUDA_ERROR_LAUNCH_FAILED,
    CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE,
    CUDA_ERROR_NOT_PERMITTED,
    CUDA_ERROR_NOT_SUPPORTED,
    CUDA_ERROR_SYSTEM_NOT_READY,
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
    CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE,
    CUDA_ERROR_MPS_CONNECTION_FAILED,
    CUDA_ERROR_MPS_RPC_FAILURE,
    CUDA_ERROR_MPS_SERVER_NOT_READY,
    CUDA_ERROR_MPS_MAX_CLIENTS_REACHED,
    CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
    CUDA_ERROR_STREAM_CAPTURE_MERGE,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED,
    CUDA_ERROR_STREAM_CAPTURE_UNJOINED,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
    CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
    CUDA_ERROR_CAPTURED_EVENT,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD,
    CUDA_ERROR_TIMEOUT,
    CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
    CUDA_ERROR_EXTERNAL_DEVICE,
    CUDA_ERROR_UNKNOWN,
];
