//! Allocation, hints and attributes.
//!
//! A device address is a host address, so that managed and page-locked memory need no second
//! mapping. Every device range is checked against the allocation table before it is touched.

use std::ffi::{c_int, c_void};

use super::abi::{Handle, Out, answer, put};
use super::device::check_device;
use super::queue::{finish_launches, finish_launches_of};
use super::state::{Allocation, AllocationKind, Driver, driver};
use super::status::Status;
use crate::machine::global::{AllocationError, GlobalFault, GlobalMemory};

pub(super) const FUNCTIONS: &[super::Function] = functions![
    cuMemAlloc_v2,
    cuMemAllocAsync,
    cuMemAllocManaged,
    cuMemAllocHost_v2,
    cuMemHostAlloc,
    cuMemHostGetDevicePointer_v2,
    cuMemFree_v2,
    cuMemFreeAsync,
    cuMemFreeHost,
    cuMemGetInfo_v2,
    cuMemGetAddressRange_v2,
    cuMemAdvise,
    cuMemAdvise_v2,
    cuMemPrefetchAsync,
    cuMemPrefetchAsync_v2,
    cuStreamAttachMemAsync,
    cuPointerGetAttribute,
];

impl From<AllocationError> for Status {
    fn from(error: AllocationError) -> Self {
        match error {
            AllocationError::OutOfDeviceMemory { .. } | AllocationError::OutOfHostMemory { .. } => {
                Status::OUT_OF_MEMORY
            }
            AllocationError::ZeroBytes | AllocationError::NotAnAllocation { .. } => {
                Status::INVALID_VALUE
            }
        }
    }
}

impl From<GlobalFault> for Status {
    fn from(_: GlobalFault) -> Self {
        Status::INVALID_VALUE
    }
}

fn allocate(bytes: usize, kind: AllocationKind) -> Result<u64, Status> {
    let (driver, mut objects, context) = Driver::with_context()?;
    let address = driver.device.memory.allocate(bytes as u64)?;
    objects
        .allocations
        .insert(address, Allocation { context, kind });
    Ok(address)
}

/// Frees memory of the kinds that `accepts` names. It needs no current context: what is freed is
/// found by its address.
fn free(address: u64, accepts: fn(AllocationKind) -> bool) -> Result<(), Status> {
    let driver = driver()?;
    let context = driver
        .objects()
        .allocations
        .get(&address)
        .map(|allocation| allocation.context);
    finish_launches_of(context);
    let mut objects = driver.objects();
    match objects.allocations.get(&address) {
        Some(allocation) if accepts(allocation.kind) => {
            objects.allocations.remove(&address);
            Ok(driver.device.memory.free(address)?)
        }
        _ => Err(Status::INVALID_VALUE),
    }
}

extern "C" fn cuMemAlloc_v2(address: Out<u64>, bytes: usize) -> Status {
    answer(|| put(address, allocate(bytes, AllocationKind::Device)?))
}

extern "C" fn cuMemAllocAsync(address: Out<u64>, bytes: usize, stream: Handle) -> Status {
    on_stream(stream, || {
        put(address, allocate(bytes, AllocationKind::Device)?)
    })
}

extern "C" fn cuMemAllocManaged(address: Out<u64>, bytes: usize, flags: u32) -> Status {
    answer(|| {
        // CU_MEM_ATTACH_GLOBAL, _HOST or _SINGLE
        if !matches!(flags, 1 | 2 | 4) {
            return Err(Status::INVALID_VALUE);
        }
        put(address, allocate(bytes, AllocationKind::Managed)?)
    })
}

extern "C" fn cuMemAllocHost_v2(pointer: Out<*mut c_void>, bytes: usize) -> Status {
    cuMemHostAlloc(pointer, bytes, 0)
}

extern "C" fn cuMemHostAlloc(pointer: Out<*mut c_void>, bytes: usize, _flags: u32) -> Status {
    answer(|| {
        let address = allocate(bytes, AllocationKind::Host)?;
        put(pointer, host_pointer(address))
    })
}

/// The host's view of an allocation, whose provenance the allocator exposed.
pub(super) fn host_pointer(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

extern "C" fn cuMemHostGetDevicePointer_v2(
    address: Out<u64>,
    pointer: *mut c_void,
    flags: u32,
) -> Status {
    answer(|| {
        let (driver, objects, _) = Driver::with_context()?;
        let extent = driver.device.memory.lookup(pointer.addr() as u64);
        let allocation = extent.and_then(|extent| objects.allocations.get(&extent.base));
        match allocation {
            Some(allocation) if allocation.kind == AllocationKind::Host && flags == 0 => {
                put(address, pointer.addr() as u64)
            }
            _ => Err(Status::INVALID_VALUE),
        }
    })
}

extern "C" fn cuMemFree_v2(address: u64) -> Status {
    answer(|| free(address, |kind| kind != AllocationKind::Host))
}

extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> Status {
    answer(|| {
        driver()?.objects().check_stream(stream)?;
        free(address, |kind| kind == AllocationKind::Device)
    })
}

extern "C" fn cuMemFreeHost(pointer: *mut c_void) -> Status {
    let address = pointer.addr() as u64;
    answer(|| free(address, |kind| kind == AllocationKind::Host))
}

extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> Status {
    answer(|| {
        let (driver, _objects, _) = Driver::with_context()?;
        let memory = &driver.device.memory;
        put(free, (memory.total_bytes() - memory.used_bytes()) as usize)?;
        put(total, memory.total_bytes() as usize)
    })
}

/// Of the allocation that holds an address; either result may be left out.
extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, bytes: Out<usize>, address: u64) -> Status {
    answer(|| {
        let extent = memory()?.lookup(address).ok_or(Status::NOT_FOUND)?;
        if base.is_some() {
            put(base, extent.base)?;
        }
        if bytes.is_some() {
            put(bytes, extent.bytes as usize)?;
        }
        Ok(())
    })
}

/// `CUmemLocation`
#[repr(C)]
struct Location {
    kind: u32,
    id: c_int,
}

extern "C" fn cuMemAdvise_v2(
    address: u64,
    bytes: usize,
    _advice: c_int,
    _location: Location,
) -> Status {
    answer(|| hint(address, bytes))
}

extern "C" fn cuMemPrefetchAsync_v2(
    address: u64,
    bytes: usize,
    location: Location,
    _flags: u32,
    stream: Handle,
) -> Status {
    // CU_MEM_LOCATION_TYPE_DEVICE; others are kinds of host memory.
    let device = if location.kind == 1 { location.id } else { -1 };
    cuMemPrefetchAsync(address, bytes, device, stream)
}

extern "C" fn cuMemAdvise(address: u64, bytes: usize, _advice: c_int, _device: c_int) -> Status {
    answer(|| hint(address, bytes))
}

extern "C" fn cuMemPrefetchAsync(
    address: u64,
    bytes: usize,
    device: c_int,
    stream: Handle,
) -> Status {
    on_stream(stream, || {
        // CU_DEVICE_CPU
        if device != -1 {
            check_device(device)?;
        }
        hint(address, bytes)
    })
}

/// Which stream may touch managed memory: any may, since only one runs at a time.
extern "C" fn cuStreamAttachMemAsync(
    stream: Handle,
    address: u64,
    _bytes: usize,
    flags: u32,
) -> Status {
    on_stream(stream, || {
        // CU_MEM_ATTACH_GLOBAL, _HOST or _SINGLE
        match flags {
            1 | 2 | 4 => hint(address, 1),
            _ => Err(Status::INVALID_VALUE),
        }
    })
}

/// A hint about managed memory: checked, and without effect.
fn hint(address: u64, bytes: usize) -> Result<(), Status> {
    let (driver, objects, _) = Driver::with_context()?;
    let memory = &driver.device.memory;
    memory.view().check(address, bytes as u64)?;
    let base = memory.lookup(address).ok_or(Status::INVALID_VALUE)?.base;
    match objects.allocations.get(&base) {
        Some(allocation) if allocation.kind == AllocationKind::Managed => Ok(()),
        _ => Err(Status::INVALID_VALUE),
    }
}

/// # Safety
/// `value` is null or valid for a write of the attribute's type.
unsafe extern "C" fn cuPointerGetAttribute(
    value: *mut c_void,
    attribute: u32,
    address: u64,
) -> Status {
    answer(|| {
        let driver = driver()?;
        let objects = driver.objects();
        let extent = driver.device.memory.lookup(address);
        let extent = extent.ok_or(Status::INVALID_VALUE)?;
        let allocation = objects.allocations.get(&extent.base);
        let allocation = allocation.ok_or(Status::INVALID_VALUE)?;
        let kind = allocation.kind;
        // As `value` points to a u32, a bool or something of a pointer's size.
        let bytes: &[u8] = match attribute {
            // CU_POINTER_ATTRIBUTE_CONTEXT
            1 => &allocation.context.address().to_ne_bytes(),
            // .._MEMORY_TYPE: CU_MEMORYTYPE_HOST or _DEVICE
            2 if kind == AllocationKind::Host => &1u32.to_ne_bytes(),
            2 => &2u32.to_ne_bytes(),
            // .._DEVICE_POINTER, and .._HOST_POINTER where the host may use it
            3 => &address.to_ne_bytes(),
            4 if kind != AllocationKind::Device => &address.to_ne_bytes(),
            // .._IS_MANAGED, .._DEVICE_ORDINAL
            8 => &[u8::from(kind == AllocationKind::Managed)],
            9 => &0u32.to_ne_bytes(),
            // .._RANGE_START_ADDR, .._RANGE_SIZE, .._MAPPED
            11 => &extent.base.to_ne_bytes(),
            12 => &extent.bytes.to_ne_bytes(),
            13 => &[1],
            4 => return Err(Status::INVALID_VALUE),
            _ => return Err(Status::NOT_SUPPORTED),
        };
        if value.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: `value` is valid for the attribute's type, whose bytes these are.
        unsafe {
            value
                .cast::<u8>()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    })
}

/// Runs an asynchronous operation at once, if its stream can take it.
pub(super) fn on_stream(stream: Handle, work: impl FnOnce() -> Result<(), Status>) -> Status {
    answer(|| {
        Driver::with_context()?.1.check_stream(stream)?;
        work()
    })
}

/// The device memory, for work in the current context.
pub(super) fn memory() -> Result<&'static GlobalMemory, Status> {
    finish_launches();
    Ok(&Driver::with_context()?.0.device.memory)
}
