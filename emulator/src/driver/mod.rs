//! The CUDA driver API over the emulator.
//!
//! [`lookup`] gives C functions by the names of NVIDIA's `libcuda`: every name of the API has one, and
//! those without a counterpart here answer `CUDA_ERROR_NOT_SUPPORTED`. The crates `cust` and
//! `cudarc` work. There is one device, a B200. The package `ptx-emulator-cuda` makes a shared library
//! of it.
//!
//! # What differs from a device
//! - Work runs when it is submitted, inside the call: a stream is always idle, and events tell the
//!   emulation's own time.
//! - A launch that fails on the device returns success, and every later call in its context returns
//!   the failure (as the driver API allows it), but for `cuCtxGetDevice`; destroying the context
//!   clears it. On an H100 (driver 580.159.04) it is of the whole process: a new context meets it too.
//!   `CUDA_ERROR_LAUNCH_TIMEOUT` means a deadlock or a hang, `CUDA_ERROR_NOT_SUPPORTED` something
//!   that the emulator lacks, `CUDA_ERROR_LAUNCH_FAILED` any broken rule of the machine. The report
//!   of what happened where goes to stderr, unless the thread asked for [`capture_reports`];
//!   [`take_last_report`] returns it. What strict mode would refuse is told there too, as warnings,
//!   once for each line ([`take_warnings`]).
//! - Device addresses are host addresses. Copies and fills are checked against the allocation table
//!   (`CUDA_ERROR_INVALID_VALUE`); fresh memory holds a pattern, not zeros.
//! - Textures, surfaces, arrays, graphs, memory pools, virtual memory, external memory, IPC and the
//!   linker answer `CUDA_ERROR_NOT_SUPPORTED`.
//!
//! A bad handle gets `CUDA_ERROR_INVALID_HANDLE` or `CUDA_ERROR_INVALID_CONTEXT`, a null pointer
//! `CUDA_ERROR_INVALID_VALUE`; all functions may be called from any thread.
//!
//! # Environment
//! Read by `cuInit`, which fails with `CUDA_ERROR_INVALID_VALUE` and a line on stderr if a value is
//! not understood.
//!
//! | variable                  | values                                | default |
//! |---------------------------|---------------------------------------|---------|
//! | `PTX_EMULATOR_DEVICE`     | `b200`, `h100`, `h200`: the GPU that there is; it decides which PTX targets load | `b200` |
//! | `PTX_EMULATOR_MODE`       | `fast`: results only; `check`: and whether accesses are ordered; `strict`: by the letter of the PTX ISA | `check` |
//! | `PTX_EMULATOR_SCHEDULE`   | in which order things happen: the text of a [`Schedule`](crate::machine::Schedule), such as `pct:seed=17,depth=3/async=late/spurious=17` | `round-robin:quantum=64/async=late` |
//! | `PTX_EMULATOR_ASYNC`      | only when TMA and tensor-core operations take effect: `late`, `early`, `random:SEED`, `chunked:SEED` | the schedule's |
//! | `PTX_EMULATOR_REPORT`     | `text`: reports for people; `json`: an object a line ([`LaunchFailure::to_json`](crate::LaunchFailure::to_json)) | `text` |
//! | `PTX_EMULATOR_TRACE`      | a file for a trace that Perfetto and Chrome read ([`observe`](crate::observe)) | none |
//! | `PTX_EMULATOR_TRACE_CTAS` | CTAs of each launch that are traced   | 4 |
//! | `PTX_EMULATOR_PROFILE`    | a file for counts by PTX line and warp: tables, or JSON if it is called so | none |
//! | `PTX_EMULATOR_THREADS`    | host threads that run CTAs; 0: one per core | 0 |
//! | `PTX_EMULATOR_STEP_LIMIT` | warp instructions per CTA after which a launch counts as hung | 2³² |
//!
//! [`set_launch_options`] overrides them for the calling thread.

// The functions are named as in C.
#![allow(non_snake_case)]

use std::ffi::c_void;

/// A table of functions for [`lookup`].
macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        &[$((stringify!($name), $name as *const std::ffi::c_void)),*]
    };
}

mod abi;
mod context;
mod copy;
mod device;
mod entry;
mod function;
mod launch;
mod memory;
mod module;
mod names;
mod observe;
mod options;
mod profiler;
mod queue;
mod report;
mod state;
mod status;
mod stream;
mod tensor_map;
mod unsupported;

pub use options::{OptionError, from_environment, prefer_device, prefer_fast, set_launch_options};
pub use report::{capture_reports, take_last_report, take_warnings};
pub use status::Status;

/// What answers in place of a driver's library.
pub const NAME: &str = concat!("ptx-emulator ", env!("CARGO_PKG_VERSION"));

/// The CUDA version that the API answers to, as `cuDriverGetVersion` codes it: the one whose PTX is
/// the newest accepted.
const DRIVER_VERSION: i32 = 13030;

type Function = (&'static str, *const c_void);

/// The address of a driver function, by a name under which `libcuda` exports it.
///
/// Every name of the API is known; what the emulator does not have answers
/// `CUDA_ERROR_NOT_SUPPORTED`.
pub const fn lookup(name: &str) -> Option<*const c_void> {
    if let Some(address) = implemented(name) {
        return Some(address);
    }
    let mut known = unsupported::NAMES;
    while let [first, rest @ ..] = known {
        if equal(first, name) {
            return Some(unsupported::ADDRESS);
        }
        known = rest;
    }
    None
}

const FAMILIES: &[&[Function]] = &[
    context::FUNCTIONS,
    copy::FUNCTIONS,
    device::FUNCTIONS,
    entry::FUNCTIONS,
    function::FUNCTIONS,
    launch::FUNCTIONS,
    memory::FUNCTIONS,
    module::FUNCTIONS,
    profiler::FUNCTIONS,
    status::FUNCTIONS,
    stream::FUNCTIONS,
    tensor_map::FUNCTIONS,
];

/// Variants whose parameters are those of another function, and whose difference means nothing here.
const SAME_AS: &[(&str, &str)] = &[
    ("cuCtxCreate", "cuCtxCreate_v2"),
    ("cuCtxDestroy", "cuCtxDestroy_v2"),
    ("cuCtxPopCurrent", "cuCtxPopCurrent_v2"),
    ("cuCtxPushCurrent", "cuCtxPushCurrent_v2"),
    ("cuDeviceGetUuid_v2", "cuDeviceGetUuid"),
    ("cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2"),
    ("cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2"),
    (
        "cuDevicePrimaryCtxSetFlags",
        "cuDevicePrimaryCtxSetFlags_v2",
    ),
    ("cuEventDestroy", "cuEventDestroy_v2"),
    ("cuEventElapsedTime_v2", "cuEventElapsedTime"),
    ("cuStreamDestroy", "cuStreamDestroy_v2"),
];

const fn implemented(name: &str) -> Option<*const c_void> {
    let mut name = without_stream_suffix(name);
    let mut same = SAME_AS;
    while let [(variant, of), rest @ ..] = same {
        if equal(variant, name) {
            name = of;
            break;
        }
        same = rest;
    }
    let mut families = FAMILIES;
    while let [family, rest @ ..] = families {
        let mut functions = *family;
        while let [(known, address), rest @ ..] = functions {
            if equal(known, name) {
                return Some(*address);
            }
            functions = rest;
        }
        families = rest;
    }
    None
}

/// `_ptds` and `_ptsz` stand for the per-thread default stream, which is like any other: work runs
/// when it is submitted.
const fn without_stream_suffix(name: &str) -> &str {
    let Some((front, suffix)) = name.split_at_checked(name.len().saturating_sub(5)) else {
        return name;
    };
    if equal(suffix, "_ptds") || equal(suffix, "_ptsz") {
        front
    } else {
        name
    }
}

/// `a == b`, for compile time as well.
const fn equal(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while let ([first_of_a, rest_of_a @ ..], [first_of_b, rest_of_b @ ..]) = (a, b) {
        if *first_of_a != *first_of_b {
            return false;
        }
        (a, b) = (rest_of_a, rest_of_b);
    }
    a.is_empty() && b.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_api_is_answered() {
        for name in unsupported::NAMES {
            assert!(lookup(name).is_some(), "{name}");
        }
        assert_eq!(lookup("cuInitialise"), None);
        assert_eq!(lookup(""), None);
        assert_ne!(lookup("cuInit"), Some(unsupported::ADDRESS));
        assert_eq!(lookup("cuTexRefCreate"), Some(unsupported::ADDRESS));
    }

    #[test]
    fn variants_without_difference_are_one_function() {
        assert_eq!(lookup("cuCtxCreate"), lookup("cuCtxCreate_v2"));
        assert_eq!(lookup("cuLaunchKernel_ptsz"), lookup("cuLaunchKernel"));
        assert_eq!(lookup("cuMemcpyHtoD_v2_ptds"), lookup("cuMemcpyHtoD_v2"));
    }

    #[test]
    fn every_function_has_a_name_of_the_api() {
        for (name, _) in FAMILIES.iter().copied().flatten() {
            assert!(unsupported::NAMES.contains(name), "{name}");
        }
        for (variant, of) in SAME_AS {
            assert!(unsupported::NAMES.contains(variant), "{variant}");
            assert!(implemented(of).is_some(), "{of}");
        }
    }
}
