//! Allocation, copies and fills.
//!
//! A device address is a host address, so that managed and page-locked memory need no second
//! mapping. Every device range is checked against the allocation table before it is touched.

use std::ffi::{c_int, c_void};

use super::abi::{Handle, Out, answer, put};
use super::device::check_device;
use super::queue::finish_launches;
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
    cuMemcpyHtoD_v2,
    cuMemcpyHtoDAsync_v2,
    cuMemcpyDtoH_v2,
    cuMemcpyDtoHAsync_v2,
    cuMemcpyDtoD_v2,
    cuMemcpyDtoDAsync_v2,
    cuMemcpyPeer,
    cuMemcpyPeerAsync,
    cuMemcpy,
    cuMemcpyAsync,
    cuMemcpy2D_v2,
    cuMemsetD8_v2,
    cuMemsetD8Async,
    cuMemsetD16_v2,
    cuMemsetD16Async,
    cuMemsetD32_v2,
    cuMemsetD32Async,
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
    finish_launches();
    let driver = driver()?;
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
fn host_pointer(address: u64) -> *mut c_void {
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
fn on_stream(stream: Handle, work: impl FnOnce() -> Result<(), Status>) -> Status {
    answer(|| {
        Driver::with_context()?.1.check_stream(stream)?;
        work()
    })
}

/// The device memory, for work in the current context.
fn memory() -> Result<&'static GlobalMemory, Status> {
    finish_launches();
    Ok(&Driver::with_context()?.0.device.memory)
}

/// # Safety
/// `source` is null or valid for reads of `bytes` bytes.
unsafe fn host_to_device(
    destination: u64,
    source: *const c_void,
    bytes: usize,
) -> Result<(), Status> {
    let memory = memory()?;
    memory.view().check(destination, bytes as u64)?;
    // Page-locked and managed memory may overlap the destination, and kernels may write it.
    if memory.lookup(source.addr() as u64).is_some() {
        return Ok(memory.copy(destination, source.addr() as u64, bytes as u64)?);
    }
    // SAFETY: passes the caller's promise on; nothing else writes the caller's buffer during the
    // call.
    let source = unsafe { super::abi::elements(source.cast::<u8>(), bytes)? };
    Ok(memory.write(destination, source)?)
}

/// # Safety
/// `destination` is null or valid for writes of `bytes` bytes.
unsafe fn device_to_host(
    destination: *mut c_void,
    source: u64,
    bytes: usize,
) -> Result<(), Status> {
    let memory = memory()?;
    memory.view().check(source, bytes as u64)?;
    if bytes == 0 {
        return Ok(());
    }
    if destination.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    // As in `host_to_device`.
    if memory.lookup(destination.addr() as u64).is_some() {
        return Ok(memory.copy(destination.addr() as u64, source, bytes as u64)?);
    }
    // The caller's buffer may be uninitialised, so no slice of it is formed before it is written.
    let mut staging = vec![0u8; bytes.min(STAGING_BYTES)];
    for offset in (0..bytes).step_by(STAGING_BYTES) {
        let part = &mut staging[..STAGING_BYTES.min(bytes - offset)];
        memory.read(source + offset as u64, part)?;
        // SAFETY: `offset + part.len()` is at most `bytes`, for which `destination` is valid;
        // `part` is our own.
        unsafe {
            destination
                .cast::<u8>()
                .add(offset)
                .copy_from_nonoverlapping(part.as_ptr(), part.len());
        }
    }
    Ok(())
}

const STAGING_BYTES: usize = 1 << 20;

unsafe extern "C" fn cuMemcpyHtoD_v2(
    destination: u64,
    source: *const c_void,
    bytes: usize,
) -> Status {
    // SAFETY: the contract of cuMemcpyHtoD.
    answer(|| unsafe { host_to_device(destination, source, bytes) })
}

unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    destination: u64,
    source: *const c_void,
    bytes: usize,
    stream: Handle,
) -> Status {
    // SAFETY: the contract of cuMemcpyHtoDAsync.
    on_stream(stream, || unsafe {
        host_to_device(destination, source, bytes)
    })
}

unsafe extern "C" fn cuMemcpyDtoH_v2(
    destination: *mut c_void,
    source: u64,
    bytes: usize,
) -> Status {
    // SAFETY: the contract of cuMemcpyDtoH.
    answer(|| unsafe { device_to_host(destination, source, bytes) })
}

unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    destination: *mut c_void,
    source: u64,
    bytes: usize,
    stream: Handle,
) -> Status {
    // SAFETY: the contract of cuMemcpyDtoHAsync.
    on_stream(stream, || unsafe {
        device_to_host(destination, source, bytes)
    })
}

extern "C" fn cuMemcpyDtoD_v2(destination: u64, source: u64, bytes: usize) -> Status {
    answer(|| Ok(memory()?.copy(destination, source, bytes as u64)?))
}

extern "C" fn cuMemcpyDtoDAsync_v2(
    destination: u64,
    source: u64,
    bytes: usize,
    stream: Handle,
) -> Status {
    on_stream(stream, || {
        Ok(memory()?.copy(destination, source, bytes as u64)?)
    })
}

/// Between contexts, which share the one device.
extern "C" fn cuMemcpyPeer(
    destination: u64,
    _destination_context: Handle,
    source: u64,
    _source_context: Handle,
    bytes: usize,
) -> Status {
    cuMemcpyDtoD_v2(destination, source, bytes)
}

extern "C" fn cuMemcpyPeerAsync(
    destination: u64,
    _destination_context: Handle,
    source: u64,
    _source_context: Handle,
    bytes: usize,
    stream: Handle,
) -> Status {
    cuMemcpyDtoDAsync_v2(destination, source, bytes, stream)
}

/// Copies between addresses of the one address space: those that the allocation table knows are the
/// device's.
///
/// # Safety
/// Ranges outside of the device's allocations are valid host memory of `bytes` bytes.
unsafe fn copy_unified(destination: u64, source: u64, bytes: usize) -> Result<(), Status> {
    let memory = memory()?;
    let on_device = |address| memory.lookup(address).is_some();
    match (on_device(destination), on_device(source)) {
        (true, true) => Ok(memory.copy(destination, source, bytes as u64)?),
        // SAFETY: a host range, as the caller promises.
        (true, false) => unsafe { host_to_device(destination, host_pointer(source), bytes) },
        // SAFETY: as above.
        (false, true) => unsafe { device_to_host(host_pointer(destination), source, bytes) },
        (false, false) if bytes == 0 => Ok(()),
        (false, false) if destination == 0 || source == 0 => Err(Status::INVALID_VALUE),
        (false, false) => {
            let source: *const u8 = host_pointer(source).cast();
            // SAFETY: two host ranges, as the caller promises; `copy_to` allows overlap.
            unsafe { source.copy_to(host_pointer(destination).cast(), bytes) };
            Ok(())
        }
    }
}

unsafe extern "C" fn cuMemcpy(destination: u64, source: u64, bytes: usize) -> Status {
    // SAFETY: the contract of cuMemcpy.
    answer(|| unsafe { copy_unified(destination, source, bytes) })
}

unsafe extern "C" fn cuMemcpyAsync(
    destination: u64,
    source: u64,
    bytes: usize,
    stream: Handle,
) -> Status {
    // SAFETY: the contract of cuMemcpyAsync.
    on_stream(stream, || unsafe {
        copy_unified(destination, source, bytes)
    })
}

/// One side of `CUDA_MEMCPY2D`.
#[repr(C)]
struct Side {
    x_bytes: usize,
    y: usize,
    memory_type: u32,
    host: usize,
    device: u64,
    array: usize,
    pitch: usize,
}

/// `CUDA_MEMCPY2D`
#[repr(C)]
struct Copy2d {
    source: Side,
    destination: Side,
    width_bytes: usize,
    height: usize,
}

/// `CU_MEMORYTYPE_DEVICE`
const DEVICE_MEMORY: u32 = 2;

impl Side {
    /// Address of a row's first byte to copy; the device's, if the row is said to be there.
    fn row(&self, row: usize, width_bytes: usize, memory: &GlobalMemory) -> Result<u64, Status> {
        let address = self.address(row, width_bytes)?;
        match self.memory_type == DEVICE_MEMORY && memory.lookup(address).is_none() {
            true => Err(Status::INVALID_VALUE),
            false => Ok(address),
        }
    }

    fn address(&self, row: usize, width_bytes: usize) -> Result<u64, Status> {
        let base = match self.memory_type {
            // CU_MEMORYTYPE_HOST; _UNIFIED; _ARRAY has no counterpart here.
            1 => self.host as u64,
            DEVICE_MEMORY | 4 => self.device,
            3 => return Err(Status::NOT_SUPPORTED),
            _ => return Err(Status::INVALID_VALUE),
        };
        // A pitch of 0 is that of dense rows.
        let pitch = match self.pitch {
            0 => width_bytes,
            pitch if pitch < width_bytes => return Err(Status::INVALID_VALUE),
            pitch => pitch,
        };
        let row = self.y.checked_add(row).and_then(|y| y.checked_mul(pitch));
        row.and_then(|row| row.checked_add(self.x_bytes))
            .and_then(|offset| base.checked_add(offset as u64))
            .ok_or(Status::INVALID_VALUE)
    }
}

/// # Safety
/// `copy` is null or points to a `CUDA_MEMCPY2D` whose host side, if any, is valid for all rows.
unsafe extern "C" fn cuMemcpy2D_v2(copy: *const Copy2d) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let copy = unsafe { copy.as_ref() }.ok_or(Status::INVALID_VALUE)?;
        let memory = memory()?;
        for row in 0..copy.height {
            let source = copy.source.row(row, copy.width_bytes, memory)?;
            let destination = copy.destination.row(row, copy.width_bytes, memory)?;
            // SAFETY: the caller's promise for the host side; the device side is checked.
            unsafe { copy_unified(destination, source, copy.width_bytes)? };
        }
        Ok(())
    })
}

/// Fills `count` elements; their address must be aligned to their size.
fn fill(address: u64, pattern: &[u8], count: usize) -> Result<(), Status> {
    let memory = memory()?;
    if !address.is_multiple_of(pattern.len() as u64) {
        return Err(Status::INVALID_VALUE);
    }
    Ok(memory.fill(address, pattern, count as u64)?)
}

extern "C" fn cuMemsetD8_v2(address: u64, value: u8, count: usize) -> Status {
    answer(|| fill(address, &[value], count))
}

extern "C" fn cuMemsetD16_v2(address: u64, value: u16, count: usize) -> Status {
    answer(|| fill(address, &value.to_ne_bytes(), count))
}

extern "C" fn cuMemsetD32_v2(address: u64, value: u32, count: usize) -> Status {
    answer(|| fill(address, &value.to_ne_bytes(), count))
}

extern "C" fn cuMemsetD8Async(address: u64, value: u8, count: usize, stream: Handle) -> Status {
    on_stream(stream, || fill(address, &[value], count))
}

extern "C" fn cuMemsetD16Async(address: u64, value: u16, count: usize, stream: Handle) -> Status {
    on_stream(stream, || fill(address, &value.to_ne_bytes(), count))
}

extern "C" fn cuMemsetD32Async(address: u64, value: u32, count: usize, stream: Handle) -> Status {
    on_stream(stream, || fill(address, &value.to_ne_bytes(), count))
}
