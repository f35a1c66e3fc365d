//! What the driver API answers before `cuInit`; a process of its own, where nothing else initialises.

use std::ffi::c_void;

use ptx_emulator::driver::{Status, lookup};

#[test]
fn everything_wants_cu_init_first() {
    let call = |name: &str| {
        // SAFETY: all these take one pointer or integer, which may be null.
        let function: unsafe extern "C" fn(*mut c_void) -> Status =
            unsafe { std::mem::transmute(lookup(name).unwrap()) };
        // SAFETY: as above.
        unsafe { function(std::ptr::null_mut()) }
    };
    for name in [
        "cuDeviceGetCount",
        "cuCtxSynchronize",
        "cuStreamSynchronize",
        "cuMemFree_v2",
        "cuModuleUnload",
    ] {
        assert_eq!(call(name), Status::NOT_INITIALIZED, "{name}");
    }
    assert_eq!(call("cuDriverGetVersion"), Status::INVALID_VALUE);
    assert_eq!(call("cuInit"), Status::SUCCESS);
    assert_eq!(call("cuCtxSynchronize"), Status::INVALID_CONTEXT);
}
