//! Functions that programs may link to but that have nothing to act on here: arrays, textures,
//! surfaces, external memory, graphs, the device linker, registered host memory. They do nothing
//! and answer `CUDA_ERROR_NOT_SUPPORTED`.

use std::ffi::c_void;

use super::status::Status;

const NAMES: &[&str] = &[
    "cuArray3DCreate_v2",
    "cuArray3DGetDescriptor_v2",
    "cuArrayDestroy",
    "cuDestroyExternalMemory",
    "cuExternalMemoryGetMappedBuffer",
    "cuGraphAddKernelNode",
    "cuGraphCreate",
    "cuGraphDebugDotPrint",
    "cuGraphDestroy",
    "cuGraphGetEdges",
    "cuGraphGetNodes",
    "cuGraphKernelNodeGetParams",
    "cuGraphNodeGetType",
    "cuImportExternalMemory",
    "cuIpcCloseMemHandle",
    "cuIpcGetMemHandle",
    "cuIpcOpenMemHandle_v2",
    "cuLinkAddData_v2",
    "cuLinkComplete",
    "cuLinkCreate_v2",
    "cuLinkDestroy",
    "cuMemcpyAtoH_v2",
    "cuMemcpyHtoA_v2",
    "cuMemHostRegister_v2",
    "cuMemHostUnregister",
    "cuPointerGetAttributes",
    "cuSurfObjectCreate",
    "cuSurfObjectDestroy",
    "cuSurfObjectGetResourceDesc",
    "cuTensorMapEncodeIm2col",
    "cuTensorMapReplaceAddress",
    "cuTexObjectCreate",
    "cuTexObjectDestroy",
    "cuTexObjectGetResourceDesc",
    "cuTexObjectGetResourceViewDesc",
];

/// Takes whatever arguments the caller passes: in the C calling conventions of 64-bit Linux the
/// caller cleans up, and this reads none.
extern "C" fn unsupported() -> Status {
    Status::NOT_SUPPORTED
}

pub(super) fn lookup(name: &str) -> Option<*const c_void> {
    NAMES
        .contains(&name)
        .then_some(unsupported as *const c_void)
}
