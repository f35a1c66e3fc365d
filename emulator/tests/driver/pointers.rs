//! Whatever follows a pointer of the caller: texts, arrays, buffers, callbacks; as little of each as there can be, so that
//! Miri gets through (`cargo xtask sanitize miri`).

use std::ffi::{CString, c_void};
use std::ptr;

use ptx_emulator::driver::Status;

use super::functions::*;

const INVALID: u32 = Status::INVALID_VALUE.0;

const EMPTY: &str =
    ".version 8.7\n.target sm_100a\n.address_size 64\n.visible .entry f()\n{\nret;\n}\n";

fn device_words(words: &[u32]) -> u64 {
    let address = allocate(size_of_val(words));
    assert_eq!(
        cuMemcpyHtoD_v2(address, words.as_ptr().cast(), size_of_val(words)),
        SUCCESS
    );
    address
}

/// An array of the host as an address that the unified functions take.
fn exposed<T>(array: &mut [T]) -> u64 {
    array.as_mut_ptr().expose_provenance() as u64
}

#[test]
fn copies_follow_the_pointers_of_both_sides() {
    let _context = Context::new();
    let (null, stream) = (ptr::null_mut(), ptr::null_mut());
    let device = device_words(&[1, 2, 3, 4]);
    let mut host = [0u32; 4];
    assert_eq!(
        cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), device + 4, 12, stream),
        SUCCESS
    );
    assert_eq!(host, [2, 3, 4, 0]);
    let source: *const c_void = host.as_ptr().cast();
    assert_eq!(cuMemcpyHtoDAsync_v2(device + 1, source, 7, stream), SUCCESS);
    assert_eq!(cuMemcpyDtoH_v2(null, device, 0), SUCCESS);
    assert_eq!(cuMemcpyDtoH_v2(null, device, 4), INVALID);
    assert_eq!(cuMemcpyHtoD_v2(device, source, usize::MAX), INVALID);
    assert_eq!(
        cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), device, usize::MAX),
        INVALID
    );
    // Either side, or both, may be the host's where all addresses are of one space.
    let address = exposed(&mut host);
    assert_eq!(cuMemcpy(address, device, 16), SUCCESS);
    assert_eq!(cuMemcpyAsync(address + 4, address, 8, stream), SUCCESS);
    assert_eq!(cuMemcpy(device, address, 16), SUCCESS);
    assert_eq!(cuMemcpy(0, address, 4), INVALID);
    assert_eq!(cuMemcpy(0, 0, 0), SUCCESS);
    let mut back = [0u32; 4];
    assert_eq!(
        cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), device, 16),
        SUCCESS
    );
    assert_eq!(back, [0x201, 0x201, 0x300, 4]);
}

/// They are the host's and the device's: ranges that overlap are copied as if through a buffer.
#[test]
fn managed_memory_is_copied_onto_itself() {
    let _context = Context::new();
    let mut address = 0;
    assert_eq!(cuMemAllocManaged(&mut address, 16, 1), SUCCESS);
    let host: *mut u8 = ptr::with_exposed_provenance_mut(address as usize);
    // SAFETY: managed memory of 16 bytes.
    let bytes = || unsafe { host.cast::<[u8; 16]>().read() };
    // SAFETY: as above.
    unsafe {
        host.cast::<[u8; 16]>()
            .write(std::array::from_fn(|i| i as u8))
    };
    assert_eq!(cuMemcpyHtoD_v2(address + 2, host.cast(), 13), SUCCESS);
    assert_eq!(
        bytes(),
        [0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15]
    );
    assert_eq!(cuMemcpyDtoH_v2(host.cast(), address + 3, 13), SUCCESS);
    assert_eq!(
        bytes(),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 11, 12, 15]
    );
    assert_eq!(cuMemcpyHtoD_v2(address, host.cast(), 17), INVALID);
    assert_eq!(cuMemFree_v2(address), SUCCESS);
}

#[test]
fn rows_are_copied_between_pitches() {
    let _context = Context::new();
    let device = device_words(&[0; 6]);
    let mut host: [u32; 6] = std::array::from_fn(|i| i as u32);
    // CU_MEMORYTYPE_HOST, .._DEVICE
    let mut copy = Copy2d {
        source: Side {
            memory_type: 1,
            host: exposed(&mut host) as usize,
            x_bytes: 4,
            pitch: 12,
            ..Side::default()
        },
        destination: Side {
            memory_type: 2,
            device,
            y: 1,
            ..Side::default()
        },
        width_bytes: 8,
        height: 2,
    };
    assert_eq!(cuMemcpy2D_v2(&copy), SUCCESS);
    let mut back = [0u32; 6];
    assert_eq!(
        cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), device, 24),
        SUCCESS
    );
    assert_eq!(back, [0, 0, 1, 2, 4, 5]);
    // A device address that is none is not taken for one of the host.
    copy.height = 3;
    assert_eq!(cuMemcpy2D_v2(&copy), INVALID);
    assert_eq!(cuMemcpy2D_v2(ptr::null()), INVALID);
}

/// Values have the sizes of their attributes, and no more is written.
#[test]
fn attributes_of_pointers_have_their_own_sizes() {
    let _context = Context::new();
    let device = allocate(64);
    let attribute = |attribute| {
        let mut value = [0xFFu8; 8];
        let status = cuPointerGetAttribute(value.as_mut_ptr().cast(), attribute, device + 8);
        (status, u64::from_ne_bytes(value))
    };
    // CU_POINTER_ATTRIBUTE_MEMORY_TYPE, .._DEVICE_POINTER, .._HOST_POINTER, .._IS_MANAGED, .._RANGE_START_ADDR
    assert_eq!(attribute(2), (SUCCESS, 0xFFFF_FFFF_0000_0002));
    assert_eq!(attribute(3), (SUCCESS, device + 8));
    assert_eq!(attribute(4), (INVALID, u64::MAX));
    assert_eq!(attribute(8), (SUCCESS, 0xFFFF_FFFF_FFFF_FF00));
    assert_eq!(attribute(11), (SUCCESS, device));
    assert_eq!(cuPointerGetAttribute(ptr::null_mut(), 3, device), INVALID);
}

#[test]
fn modules_come_from_texts_and_from_files() {
    let _context = Context::new();
    let text = CString::new(EMPTY).unwrap();
    let mut module = ptr::null_mut();
    assert_eq!(cuModuleLoadData(&mut module, text.as_ptr().cast()), SUCCESS);
    assert_eq!(cuModuleUnload(module), SUCCESS);
    let image = b"\x7fELF";
    let status = cuModuleLoadData(&mut module, image.as_ptr().cast());
    assert_eq!(status, Status::NO_BINARY_FOR_GPU.0);
    assert_eq!(cuModuleLoadData(&mut module, ptr::null()), INVALID);
    let file = std::env::temp_dir().join(format!("ptx-emulator-{}.ptx", std::process::id()));
    std::fs::write(&file, EMPTY).unwrap();
    let path = CString::new(file.to_str().unwrap()).unwrap();
    assert_eq!(cuModuleLoad(&mut module, path.as_ptr()), SUCCESS);
    // Shorter than the magic number that it is compared with.
    std::fs::write(&file, b"\x7fE").unwrap();
    let status = cuModuleLoad(&mut module, path.as_ptr());
    assert_eq!(status, Status::INVALID_PTX.0);
    std::fs::remove_file(&file).unwrap();
    let status = cuModuleLoad(&mut module, path.as_ptr());
    assert_eq!(status, Status::FILE_NOT_FOUND.0);
}

/// The log goes into as many bytes as there are, NUL included.
#[test]
fn logs_are_cut_to_their_buffer() {
    let _context = Context::new();
    let mut module = ptr::null_mut();
    let mut log = [b'?'; 6];
    let mut load = |size: usize| {
        let mut values: [Pointer; 2] = [log.as_mut_ptr().cast(), ptr::without_provenance_mut(size)];
        let image = c"no PTX".as_ptr().cast();
        let status =
            cuModuleLoadDataEx(&mut module, image, 2, [5, 6].as_ptr(), values.as_mut_ptr());
        assert_eq!(status, Status::INVALID_PTX.0);
        (log, values[1].addr())
    };
    assert_eq!(load(0), ([b'?'; 6], 0));
    let (log, length) = load(5);
    assert_eq!((log[4], log[5], length), (0, b'?', 5));
    assert_ne!(log[3], b'?');
}

#[test]
fn callbacks_are_called_with_what_they_were_given() {
    unsafe extern "C" fn on_stream(_: Pointer, status: u32, data: Pointer) {
        // SAFETY: the test passes a number.
        unsafe { *data.cast::<u32>() += 1 + status };
    }
    unsafe extern "C" fn on_host(data: Pointer) {
        // SAFETY: the test passes a number.
        unsafe { *data.cast::<u32>() += 10 };
    }
    unsafe extern "C" fn per_thread(threads: i32) -> usize {
        1024 * threads as usize
    }
    let _context = Context::new();
    let mut calls = 0u32;
    let data: Pointer = ptr::from_mut(&mut calls).cast();
    let stream = ptr::null_mut();
    assert_eq!(
        cuStreamAddCallback(stream, Some(on_stream), data, 0),
        SUCCESS
    );
    assert_eq!(cuLaunchHostFunc(stream, Some(on_host), data), SUCCESS);
    assert_eq!(cuLaunchHostFunc(stream, None, data), INVALID);
    assert_eq!(calls, 11);
    let (_, module, _) = load(EMPTY);
    let mut function = ptr::null_mut();
    assert_eq!(
        cuModuleGetFunction(&mut function, module, c"f".as_ptr()),
        SUCCESS
    );
    let largest = |dynamic_of| {
        let (mut grid, mut block) = (0, 0);
        let status =
            cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, function, dynamic_of, 0, 0);
        assert_eq!(status, SUCCESS);
        block
    };
    assert_eq!(largest(None), 1024);
    // As many KiB as a multiprocessor has for one block.
    assert!((1..=227).contains(&largest(Some(per_thread))));
}

#[test]
fn names_and_structures_are_read() {
    let _context = Context::new();
    let mut address = ptr::null_mut();
    let name = c"cuMemAlloc".as_ptr();
    assert_eq!(cuGetProcAddress(name, &mut address, 12_000, 0), SUCCESS);
    assert!(!address.is_null());
    assert_eq!(
        cuGetProcAddress(c"cuNothing".as_ptr(), &mut address, 12_000, 0),
        Status::NOT_FOUND.0
    );
    assert!(address.is_null());
    // Bytes that are not UTF-8.
    assert_eq!(
        cuGetProcAddress(c"cu\xFF".as_ptr(), &mut address, 12_000, 0),
        INVALID
    );
    let mut params = CreateParams {
        affinities: ptr::null_mut(),
        affinity_count: 0,
        graphics: ptr::null_mut(),
    };
    let mut context = ptr::null_mut();
    assert_eq!(cuCtxCreate_v4(&mut context, &params, 0, 0), SUCCESS);
    assert_eq!(cuCtxDestroy_v2(context), SUCCESS);
    params.graphics = stray();
    assert_eq!(
        cuCtxCreate_v4(&mut context, &params, 0, 0),
        Status::NOT_SUPPORTED.0
    );
}

/// A map's alignment is checked before anything is written to it.
#[test]
fn a_map_that_is_not_aligned_is_refused() {
    let _context = Context::new();
    let device = allocate(256);
    let mut room = [TensorMap([0; 128]), TensorMap([0; 128])];
    let room: *mut u8 = room.as_mut_ptr().cast();
    let encode = |offset| {
        cuTensorMapEncodeTiled(
            room.wrapping_add(offset).cast(),
            0,
            1,
            device_pointer(device),
            [256].as_ptr(),
            ptr::null(),
            [32].as_ptr(),
            [1].as_ptr(),
            0,
            0,
            0,
            0,
        )
    };
    assert_eq!(encode(16), INVALID);
    assert_eq!(encode(64), SUCCESS);
}
