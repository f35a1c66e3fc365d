//! The driver's functions as C declares them, and what tests have in common.

// Raw pointers come from the tests, which pass null or valid ones.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;

use ptx_emulator::driver::{Status, capture_reports, lookup};

pub type Pointer = *mut c_void;

/// The functions under test, with the C signatures of the driver API; but for what is not supported, which one function
/// without parameters answers for, whatever it is called with: to Miri that is an error.
macro_rules! driver_functions {
    ($(fn $name:ident($($arg:ident: $ty:ty),*);)*) => {$(
        #[allow(non_snake_case, clippy::too_many_arguments)]
        pub fn $name($($arg: $ty),*) -> u32 {
            let address = lookup(stringify!($name)).expect(stringify!($name));
            // SAFETY: the signature of the driver API; each test passes pointers that are null or
            // valid.
            unsafe {
                let function: unsafe extern "C" fn($($ty),*) -> u32 = std::mem::transmute(address);
                function($($arg),*)
            }
        }
    )*};
}

driver_functions! {
    fn cuInit(flags: u32);
    fn cuDeviceGetCount(count: *mut i32);
    fn cuDeviceGetName(name: *mut c_char, length: i32, device: i32);
    fn cuDeviceGetAttribute(value: *mut i32, attribute: i32, device: i32);
    fn cuGetErrorName(error: u32, text: *mut *const c_char);
    fn cuGetErrorString(error: u32, text: *mut *const c_char);
    fn cuGetProcAddress_v2(name: *const c_char, function: *mut Pointer, version: i32, flags: u64, status: *mut u32);
    fn cuCtxCreate_v2(context: *mut Pointer, flags: u32, device: i32);
    fn cuCtxDestroy_v2(context: Pointer);
    fn cuCtxGetDevice(device: *mut i32);
    fn cuCtxSetCurrent(context: Pointer);
    fn cuCtxSynchronize();
    fn cuStreamCreateWithPriority(stream: *mut Pointer, flags: u32, priority: i32);
    fn cuStreamSynchronize(stream: Pointer);
    fn cuStreamDestroy_v2(stream: Pointer);
    fn cuEventCreate(event: *mut Pointer, flags: u32);
    fn cuEventRecord(event: Pointer, stream: Pointer);
    fn cuEventElapsedTime(milliseconds: *mut f32, start: Pointer, end: Pointer);
    fn cuEventDestroy_v2(event: Pointer);
    fn cuMemAlloc_v2(address: *mut u64, bytes: usize);
    fn cuMemAllocHost_v2(pointer: *mut Pointer, bytes: usize);
    fn cuMemFree_v2(address: u64);
    fn cuMemFreeHost(pointer: Pointer);
    fn cuMemcpyHtoD_v2(destination: u64, source: *const c_void, bytes: usize);
    fn cuMemcpyDtoH_v2(destination: Pointer, source: u64, bytes: usize);
    fn cuMemcpyDtoD_v2(destination: u64, source: u64, bytes: usize);
    fn cuMemsetD8_v2(address: u64, value: u8, count: usize);
    fn cuMemsetD32_v2(address: u64, value: u32, count: usize);
    fn cuModuleLoadDataEx(module: *mut Pointer, image: *const c_void, count: u32, options: *const u32, values: *mut Pointer);
    fn cuModuleUnload(module: Pointer);
    fn cuModuleGetFunction(function: *mut Pointer, module: Pointer, name: *const c_char);
    fn cuFuncGetAttribute(value: *mut i32, attribute: u32, function: Pointer);
    fn cuLaunchKernel(
        function: Pointer, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared_bytes: u32, stream: Pointer, params: *mut Pointer, extra: *mut Pointer
    );
    fn cuLaunchCooperativeKernel(
        function: Pointer, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared_bytes: u32, stream: Pointer, params: *mut Pointer
    );
    fn cuTensorMapEncodeTiled(
        map: *mut TensorMap, data_type: u32, rank: u32, address: Pointer, dims: *const u64, strides: *const u64,
        box_dims: *const u32, element_strides: *const u32, interleave: u32, swizzle: u32, promotion: u32, fill: u32
    );
    fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: Pointer, name: *const c_char);
    fn cuFuncSetAttribute(function: Pointer, attribute: u32, value: i32);
    fn cuLaunchKernelEx(config: *const LaunchConfig, function: Pointer, params: *mut Pointer, extra: *mut Pointer);
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: *mut i32, function: Pointer, threads: i32, bytes: usize);
    fn cuGraphCreate();
    fn cuGetProcAddress(name: *const c_char, function: *mut Pointer, version: i32, flags: u64);
    fn cuCtxCreate_v4(context: *mut Pointer, params: *const CreateParams, flags: u32, device: i32);
    fn cuMemAllocManaged(address: *mut u64, bytes: usize, flags: u32);
    fn cuPointerGetAttribute(value: Pointer, attribute: u32, address: u64);
    fn cuMemcpyHtoDAsync_v2(destination: u64, source: *const c_void, bytes: usize, stream: Pointer);
    fn cuMemcpyDtoHAsync_v2(destination: Pointer, source: u64, bytes: usize, stream: Pointer);
    fn cuMemcpy(destination: u64, source: u64, bytes: usize);
    fn cuMemcpyAsync(destination: u64, source: u64, bytes: usize, stream: Pointer);
    fn cuMemcpy2D_v2(copy: *const Copy2d);
    fn cuModuleLoad(module: *mut Pointer, path: *const c_char);
    fn cuModuleLoadData(module: *mut Pointer, image: *const c_void);
    fn cuStreamAddCallback(stream: Pointer, callback: Option<StreamCallback>, data: Pointer, flags: u32);
    fn cuLaunchHostFunc(stream: Pointer, function: Option<HostFunction>, data: Pointer);
    fn cuOccupancyMaxPotentialBlockSize(
        grid: *mut i32, block: *mut i32, function: Pointer, dynamic_of: Option<DynamicBytes>, dynamic_bytes: usize,
        limit: i32
    );
}

pub type StreamCallback = unsafe extern "C" fn(Pointer, u32, Pointer);
pub type HostFunction = unsafe extern "C" fn(Pointer);
pub type DynamicBytes = unsafe extern "C" fn(i32) -> usize;

/// `CUctxCreateParams`
#[repr(C)]
pub struct CreateParams {
    pub affinities: Pointer,
    pub affinity_count: i32,
    pub graphics: Pointer,
}

/// `CUDA_MEMCPY2D`
#[repr(C)]
pub struct Copy2d {
    pub source: Side,
    pub destination: Side,
    pub width_bytes: usize,
    pub height: usize,
}

/// Each of its sides.
#[repr(C)]
#[derive(Default)]
pub struct Side {
    pub x_bytes: usize,
    pub y: usize,
    pub memory_type: u32,
    pub host: usize,
    pub device: u64,
    pub array: usize,
    pub pitch: usize,
}

#[repr(C, align(64))]
pub struct TensorMap(pub [u8; 128]);

/// `CUlaunchConfig`
#[repr(C)]
pub struct LaunchConfig {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared_bytes: u32,
    pub stream: Pointer,
    pub attributes: *const LaunchAttribute,
    pub attribute_count: u32,
}

/// `CUlaunchAttribute`
#[repr(C, align(8))]
pub struct LaunchAttribute {
    pub id: u32,
    pub padding: u32,
    pub value: [u32; 16],
}

pub const SUCCESS: u32 = Status::SUCCESS.0;

/// A context of its own for one test, current on its thread.
pub struct Context(pub Pointer);

impl Context {
    pub fn new() -> Self {
        capture_reports(true);
        assert_eq!(cuInit(0), SUCCESS);
        let mut context = ptr::null_mut();
        assert_eq!(cuCtxCreate_v2(&mut context, 0, 0), SUCCESS);
        Self(context)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        cuCtxDestroy_v2(self.0);
    }
}

/// A value that is no handle.
pub fn stray() -> Pointer {
    ptr::without_provenance_mut(0xDEAD_BEE0)
}

/// A device address where the API wants a pointer.
pub fn device_pointer(address: u64) -> Pointer {
    ptr::without_provenance_mut(address as usize)
}

pub fn allocate(bytes: usize) -> u64 {
    let mut address = 0;
    assert_eq!(cuMemAlloc_v2(&mut address, bytes), SUCCESS);
    address
}

/// Loads PTX; the status and the error log.
pub fn load(ptx: &str) -> (u32, Pointer, String) {
    let ptx = CString::new(ptx).unwrap();
    let mut log = [0u8; 4096];
    let mut values: [Pointer; 2] = [
        log.as_mut_ptr().cast(),
        ptr::without_provenance_mut(log.len()),
    ];
    let mut module = ptr::null_mut();
    let status = cuModuleLoadDataEx(
        &mut module,
        ptx.as_ptr().cast(),
        2,
        [5, 6].as_ptr(),
        values.as_mut_ptr(),
    );
    let log = CStr::from_bytes_until_nul(&log).unwrap();
    // The size slot returns the bytes written, NUL included.
    assert_eq!(values[1].addr(), log.count_bytes() + 1);
    (status, module, log.to_str().unwrap().to_owned())
}
