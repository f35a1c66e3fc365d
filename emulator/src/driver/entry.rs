//! `cuGetProcAddress`: looking driver functions up by name at run time.

use std::ffi::{c_char, c_int, c_void};

use super::abi::{Out, answer, put, text};
use super::lookup;
use super::status::Status;

pub(super) const FUNCTIONS: &[super::Function] = functions![cuGetProcAddress, cuGetProcAddress_v2];

/// Variants that came with CUDA 11.4 and later, and the version that brought them, as
/// `cuGetProcAddress` takes it. All others are older than any header in use.
const SINCE: &[(&str, c_int)] = &[
    ("cuCtxCreate_v3", 11_040),
    ("cuCtxCreate_v4", 12_050),
    ("cuCtxGetDevice_v2", 13_000),
    ("cuCtxSynchronize_v2", 13_000),
    ("cuEventElapsedTime_v2", 12_080),
    ("cuGetProcAddress_v2", 12_000),
    ("cuGraphAddKernelNode_v2", 12_000),
    ("cuGraphAddNode_v2", 12_030),
    ("cuGraphAddNode_v3", 13_020),
    ("cuGraphGetEdges_v2", 12_030),
    ("cuGraphKernelNodeGetParams_v2", 12_000),
    ("cuLaunchHostFunc_v2", 13_020),
    ("cuMemAdvise_v2", 12_020),
    ("cuMemPrefetchAsync_v2", 12_020),
    ("cuStreamGetCaptureInfo_v2", 11_030),
    ("cuStreamGetCaptureInfo_v3", 12_030),
    ("cuStreamGetCtx_v2", 12_050),
];

/// The newest variant of a function that a header of that CUDA version declares, as the name without
/// suffix means.
fn find(name: &str, cuda_version: c_int) -> Option<*const c_void> {
    let is_in_header = |variant: &str| {
        let since = SINCE.iter().find(|(name, _)| *name == variant);
        since.is_none_or(|(_, since)| *since <= cuda_version)
    };
    ["_v4", "_v3", "_v2", ""]
        .iter()
        .map(|suffix| format!("{name}{suffix}"))
        .filter(|variant| is_in_header(variant))
        .find_map(|variant| lookup(&variant))
}

/// # Safety
/// `name` is null or a C string.
unsafe extern "C" fn cuGetProcAddress(
    name: *const c_char,
    function: Out<*const c_void>,
    cuda_version: c_int,
    _flags: u64,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let found = find(unsafe { text(name)? }, cuda_version);
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
    cuda_version: c_int,
    _flags: u64,
    status: Out<u32>,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let found = find(unsafe { text(name)? }, cuda_version);
        put(function, found.unwrap_or(std::ptr::null()))?;
        if status.is_some() {
            return put(status, found.is_none().into());
        }
        found.map(|_| ()).ok_or(Status::NOT_FOUND)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variant_follows_the_header() {
        assert_eq!(find("cuCtxCreate", 11_030), lookup("cuCtxCreate_v2"));
        assert_eq!(find("cuCtxCreate", 12_000), lookup("cuCtxCreate_v3"));
        assert_eq!(find("cuCtxCreate", 13_000), lookup("cuCtxCreate_v4"));
        assert_eq!(find("cuMemAlloc", 12_000), lookup("cuMemAlloc_v2"));
        assert_eq!(find("cuLaunchKernel", 12_000), lookup("cuLaunchKernel"));
        assert_eq!(find("cuNothing", 13_000), None);
    }

    #[test]
    fn variants_with_a_version_exist() {
        for (variant, _) in SINCE {
            assert!(lookup(variant).is_some(), "{variant}");
        }
    }
}
