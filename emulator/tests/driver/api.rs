//! Handles, contexts, memory, events, modules that are refused.

use std::ffi::{CStr, c_char};
use std::ptr;

use ptx_emulator::driver::{Status, lookup, take_last_report};

use super::functions::*;

#[test]
fn the_device_is_a_b200() {
    let _context = Context::new();
    let mut count = 0;
    assert_eq!(cuDeviceGetCount(&mut count), SUCCESS);
    assert_eq!(count, 1);
    let mut name: [c_char; 8] = [1; 8];
    assert_eq!(cuDeviceGetName(name.as_mut_ptr(), 8, 0), SUCCESS);
    // Cut to the buffer, and terminated.
    assert_eq!(name.map(|c| c as u8), *b"NVIDIA \0");
    for (attribute, expected) in [
        (75, 10),
        (76, 0),
        (16, 148),
        (97, 232_448),
        (120, 1),
        (127, 1),
    ] {
        let mut value = -1;
        assert_eq!(cuDeviceGetAttribute(&mut value, attribute, 0), SUCCESS);
        assert_eq!(value, expected, "attribute {attribute}");
    }
    let mut value = 0;
    assert_eq!(
        cuDeviceGetAttribute(&mut value, 75, 1),
        Status::INVALID_DEVICE.0
    );
    assert_eq!(
        cuDeviceGetAttribute(&mut value, 9999, 0),
        Status::INVALID_VALUE.0
    );
}

#[test]
fn stray_handles_are_refused() {
    let context = Context::new();
    let handle = Status::INVALID_HANDLE.0;
    assert_eq!(cuStreamSynchronize(stray()), handle);
    assert_eq!(cuStreamDestroy_v2(stray()), handle);
    assert_eq!(cuEventRecord(stray(), ptr::null_mut()), handle);
    assert_eq!(cuEventDestroy_v2(ptr::null_mut()), handle);
    assert_eq!(cuModuleUnload(stray()), handle);
    let mut function = ptr::null_mut();
    assert_eq!(
        cuModuleGetFunction(&mut function, stray(), c"f".as_ptr()),
        handle
    );
    let mut value = 0;
    assert_eq!(cuFuncGetAttribute(&mut value, 0, stray()), handle);
    let none = ptr::null_mut();
    assert_eq!(
        cuLaunchKernel(stray(), 1, 1, 1, 1, 1, 1, 0, none, none.cast(), none.cast()),
        handle
    );
    // A handle of another kind is as wrong.
    assert_eq!(cuStreamSynchronize(context.0), handle);
    assert_eq!(cuCtxSetCurrent(stray()), Status::INVALID_CONTEXT.0);
    assert_eq!(cuCtxDestroy_v2(stray()), Status::INVALID_CONTEXT.0);
}

#[test]
fn null_pointers_are_refused() {
    let _context = Context::new();
    let invalid = Status::INVALID_VALUE.0;
    assert_eq!(cuDeviceGetCount(ptr::null_mut()), invalid);
    assert_eq!(cuDeviceGetName(ptr::null_mut(), 8, 0), invalid);
    assert_eq!(cuStreamCreateWithPriority(ptr::null_mut(), 0, 0), invalid);
    assert_eq!(cuMemcpyHtoD_v2(allocate(4), ptr::null(), 4), invalid);
    assert_eq!(cuMemcpyDtoH_v2(ptr::null_mut(), allocate(4), 4), invalid);
    let mut module = ptr::null_mut();
    let none = ptr::null_mut();
    assert_eq!(
        cuModuleLoadDataEx(&mut module, ptr::null(), 0, ptr::null(), none),
        invalid
    );
    assert_eq!(
        cuModuleGetFunction(&mut module, stray(), ptr::null()),
        invalid
    );
    assert_eq!(cuGetErrorString(0, ptr::null_mut()), invalid);
}

#[test]
fn a_destroyed_context_takes_its_objects_along() {
    let (stream, address, destroyed);
    {
        let context = Context::new();
        let mut made = ptr::null_mut();
        assert_eq!(cuStreamCreateWithPriority(&mut made, 0, 0), SUCCESS);
        (stream, address, destroyed) = (made, allocate(64), context.0);
    }
    assert_eq!(cuCtxSynchronize(), Status::INVALID_CONTEXT.0);
    assert_eq!(cuCtxSetCurrent(destroyed), Status::CONTEXT_IS_DESTROYED.0);
    assert_eq!(cuStreamDestroy_v2(stream), Status::INVALID_HANDLE.0);
    assert_eq!(cuMemFree_v2(address), Status::INVALID_VALUE.0);
}

#[test]
fn copies_and_fills_are_checked() {
    let _context = Context::new();
    let invalid = Status::INVALID_VALUE.0;
    let (a, b) = (allocate(64), allocate(64));
    let source: Vec<u8> = (0..64).collect();
    let mut back = [0u8; 64];
    assert_eq!(cuMemcpyHtoD_v2(a, source.as_ptr().cast(), 64), SUCCESS);
    assert_eq!(cuMemcpyDtoD_v2(b, a, 64), SUCCESS);
    assert_eq!(cuMemsetD32_v2(b + 8, 0x0403_0201, 2), SUCCESS);
    assert_eq!(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), b, 64), SUCCESS);
    assert_eq!(back[..8], source[..8]);
    assert_eq!(back[8..16], [1, 2, 3, 4, 1, 2, 3, 4]);
    assert_eq!(back[16..], source[16..]);

    assert_eq!(cuMemcpyHtoD_v2(a + 1, source.as_ptr().cast(), 64), invalid);
    assert_eq!(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), b, 65), invalid);
    assert_eq!(cuMemcpyDtoD_v2(b, a + 60, 8), invalid);
    assert_eq!(cuMemsetD8_v2(a, 0, 65), invalid);
    assert_eq!(cuMemsetD8_v2(a, 0, usize::MAX), invalid);
    assert_eq!(cuMemsetD32_v2(a + 2, 0, 1), invalid);
    assert_eq!(cuMemcpyHtoD_v2(8, source.as_ptr().cast(), 4), invalid);
}

#[test]
fn memory_is_freed_once_and_as_what_it_is() {
    let _context = Context::new();
    let invalid = Status::INVALID_VALUE.0;
    let address = allocate(16);
    assert_eq!(cuMemFree_v2(address + 1), invalid);
    assert_eq!(cuMemFree_v2(address), SUCCESS);
    assert_eq!(cuMemFree_v2(address), invalid);
    let mut host = ptr::null_mut();
    assert_eq!(cuMemAllocHost_v2(&mut host, 16), SUCCESS);
    assert_eq!(cuMemFree_v2(host.addr() as u64), invalid);
    assert_eq!(cuMemFreeHost(host), SUCCESS);
    let mut none = 0;
    assert_eq!(cuMemAlloc_v2(&mut none, 0), invalid);
    assert_eq!(
        cuMemAlloc_v2(&mut none, usize::MAX),
        Status::OUT_OF_MEMORY.0
    );
}

#[test]
fn events_tell_elapsed_time() {
    let _context = Context::new();
    let (mut start, mut end, mut untimed) = Default::default();
    for (event, flags) in [(&mut start, 0), (&mut end, 0), (&mut untimed, 2)] {
        *event = ptr::null_mut();
        assert_eq!(cuEventCreate(event, flags), SUCCESS);
    }
    let mut time = -1.0;
    assert_eq!(
        cuEventElapsedTime(&mut time, start, end),
        Status::INVALID_HANDLE.0
    );
    assert_eq!(cuEventRecord(start, ptr::null_mut()), SUCCESS);
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert_eq!(cuEventRecord(end, ptr::null_mut()), SUCCESS);
    assert_eq!(cuEventRecord(untimed, ptr::null_mut()), SUCCESS);
    assert_eq!(cuEventElapsedTime(&mut time, start, end), SUCCESS);
    assert!(time >= 2.0, "{time}");
    assert_eq!(cuEventElapsedTime(&mut time, end, start), SUCCESS);
    assert!(time <= -2.0, "{time}");
    assert_eq!(
        cuEventElapsedTime(&mut time, start, untimed),
        Status::INVALID_HANDLE.0
    );
}

#[test]
fn ptx_that_is_too_new_is_named_in_the_log() {
    let _context = Context::new();
    let (status, _, log) = load(".version 99.0\n.target sm_100a\n.address_size 64\n");
    assert_eq!(status, Status::UNSUPPORTED_PTX_VERSION.0);
    assert!(log.contains("99.0"), "{log}");
    assert_eq!(take_last_report(), Some(log));
}

#[test]
fn ptx_of_another_device_is_named_in_the_log() {
    let _context = Context::new();
    for target in ["sm_90a", "sm_103a", "sm_120a"] {
        let (status, _, log) = load(&format!(".version 8.7\n.target {target}\n"));
        assert_eq!(status, Status::INVALID_PTX.0);
        assert!(log.contains(target), "{log}");
    }
}

#[test]
fn machine_code_is_refused() {
    let _context = Context::new();
    let mut module = ptr::null_mut();
    let none = ptr::null_mut();
    for image in [b"\x7fELF\x02\x01\x01\0", b"\x50\xed\x55\xba\x01\0\x10\0"] {
        let status = cuModuleLoadDataEx(&mut module, image.as_ptr().cast(), 0, ptr::null(), none);
        assert_eq!(status, Status::NO_BINARY_FOR_GPU.0);
    }
    assert!(take_last_report().unwrap().contains("machine code"));
}

#[test]
fn broken_ptx_is_refused_with_a_log() {
    let _context = Context::new();
    let (status, _, log) = load(".version 8.7\n.target sm_100a\n.visible .entry f( {");
    assert_eq!(status, Status::INVALID_PTX.0);
    assert!(!log.is_empty());
}

#[test]
fn every_status_has_a_text() {
    // All of them take Miri minutes.
    let step = if cfg!(miri) { 100 } else { 1 };
    for code in (0..1000).step_by(step).chain([912]) {
        let mut text = ptr::null();
        assert_eq!(cuGetErrorString(code, &mut text), SUCCESS, "{code}");
        // SAFETY: a C string of the driver.
        assert!(!unsafe { CStr::from_ptr(text) }.is_empty());
    }
    let mut name = ptr::null();
    assert_eq!(cuGetErrorName(702, &mut name), SUCCESS);
    // SAFETY: a C string of the driver.
    let name = unsafe { CStr::from_ptr(name) };
    assert_eq!(name, c"CUDA_ERROR_LAUNCH_TIMEOUT");
}

#[test]
fn functions_are_found_by_name() {
    let mut function = ptr::null_mut();
    let mut status = 9;
    let found = cuGetProcAddress_v2(c"cuMemAlloc".as_ptr(), &mut function, 12000, 0, &mut status);
    assert_eq!((found, status), (SUCCESS, 0));
    assert_eq!(function.cast_const(), lookup("cuMemAlloc_v2").unwrap());
    let missing = cuGetProcAddress_v2(c"cuNothing".as_ptr(), &mut function, 12000, 0, &mut status);
    assert_eq!((missing, status, function.is_null()), (SUCCESS, 1, true));
    assert_eq!(cuGraphCreate(), Status::NOT_SUPPORTED.0);
}

#[test]
fn tensor_maps_are_checked() {
    let _context = Context::new();
    let mut map = TensorMap([0; 128]);
    let address = allocate(128 * 64);
    let (dims, strides, ones) = ([128, 64], [128], [1, 1]);
    let mut encode = |box_dims: [u32; 2]| {
        cuTensorMapEncodeTiled(
            &mut map,
            0,
            2,
            device_pointer(address),
            dims.as_ptr(),
            strides.as_ptr(),
            box_dims.as_ptr(),
            ones.as_ptr(),
            0,
            3,
            2,
            0,
        )
    };
    assert_eq!(encode([128, 64]), SUCCESS);
    assert_eq!(encode([256, 64]), Status::INVALID_VALUE.0);
    assert!(take_last_report().unwrap().contains("swizzle"));
    assert_ne!(map.0, [0; 128]);
}
