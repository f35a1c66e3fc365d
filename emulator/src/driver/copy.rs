//! Copies and fills. Host memory is the caller's word; every device range is checked against the allocation table
//! before it is touched.

use std::ffi::c_void;

use super::abi::{Handle, answer, elements};
use super::memory::{host_pointer, memory, on_stream};
use super::status::Status;
use crate::machine::global::GlobalMemory;

pub(super) const FUNCTIONS: &[super::Function] = functions![
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
    let source = unsafe { elements(source.cast::<u8>(), bytes)? };
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
