//! Attributes of functions, and occupancy.

use std::ffi::c_int;

use super::abi::{Handle, Out, answer, put};
use super::device::{SHARED_BYTES_PER_BLOCK, THREADS_PER_BLOCK};
use super::state::{Driver, Function};
use super::status::Status;
use crate::isa::ir::LANES;
use crate::machine::DeviceProperties;

pub(super) const FUNCTIONS: &[super::Function] = functions![
    cuFuncGetAttribute,
    cuFuncSetAttribute,
    cuFuncSetCacheConfig,
    cuFuncSetSharedMemConfig,
    cuOccupancyAvailableDynamicSMemPerBlock,
    cuOccupancyMaxActiveBlocksPerMultiprocessor,
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags,
    cuOccupancyMaxPotentialBlockSize,
    cuOccupancyMaxPotentialBlockSizeWithFlags,
];

/// `CUfunction_attribute` ids that can be set.
const MAX_DYNAMIC_SHARED_SIZE_BYTES: u32 = 8;
const PREFERRED_SHARED_MEMORY_CARVEOUT: u32 = 9;
const REQUIRED_CLUSTER_WIDTH: u32 = 11;
const REQUIRED_CLUSTER_DEPTH: u32 = 13;
const NON_PORTABLE_CLUSTER_SIZE_ALLOWED: u32 = 14;

impl Function {
    /// Threads that a CTA of this function can have.
    pub(super) fn threads_per_block(&self) -> u32 {
        let directives = &self.kernel.directives;
        match directives.reqntid.or(directives.maxntid) {
            Some(threads) => threads
                .iter()
                .fold(1, |product: u32, extent| product.saturating_mul(*extent))
                .min(THREADS_PER_BLOCK),
            None => THREADS_PER_BLOCK,
        }
    }

    /// Dynamic shared memory that a launch may ask for, in bytes: what was opted into, at least
    /// what static shared memory leaves of the 48 KiB that need no opt-in.
    pub(super) fn dynamic_shared_limit(&self) -> u32 {
        let plain = SHARED_BYTES_PER_BLOCK.saturating_sub(self.kernel.static_shared_bytes);
        plain.max(self.max_dynamic_shared_bytes)
    }

    fn attribute(&self, id: u32) -> Option<u32> {
        let directives = &self.kernel.directives;
        Some(match id {
            0 => self.threads_per_block(),
            1 => self.kernel.static_shared_bytes,
            // Constants are part of the parameters' bank, which is not counted.
            2 => 0,
            3 => self.kernel.local_bytes,
            // The emulator does not allocate registers.
            4 => self.kernel.directives.maxnreg.unwrap_or(0),
            5 => self.ptx_version.0 * 10 + self.ptx_version.1,
            6 => 100,
            7 => 0,
            MAX_DYNAMIC_SHARED_SIZE_BYTES => self.dynamic_shared_limit(),
            PREFERRED_SHARED_MEMORY_CARVEOUT => self.shared_carveout as u32,
            // Whether the cluster shape must be given at launch, and the shape that the PTX
            // requires.
            10 => (directives.explicitcluster && directives.reqnctapercluster.is_none()).into(),
            REQUIRED_CLUSTER_WIDTH..=REQUIRED_CLUSTER_DEPTH => {
                self.required_cluster[(id - REQUIRED_CLUSTER_WIDTH) as usize]
            }
            NON_PORTABLE_CLUSTER_SIZE_ALLOWED => self.non_portable_cluster.into(),
            15 => 0,
            _ => return None,
        })
    }

    /// CTAs of `threads` threads and `dynamic` bytes of dynamic shared memory that one
    /// multiprocessor can hold.
    fn blocks_per_multiprocessor(
        &self,
        properties: &DeviceProperties,
        threads: u32,
        dynamic: usize,
    ) -> u32 {
        match threads > self.threads_per_block() {
            true => 0,
            false => properties.ctas_per_multiprocessor(&self.kernel, threads, dynamic as u64),
        }
    }
}

/// A function and the device that it runs on. No lock is held.
fn function_of(handle: Handle) -> Result<(Function, &'static DeviceProperties), Status> {
    let (driver, objects, _) = Driver::with_context()?;
    Ok((objects.function(handle)?.clone(), &driver.device.properties))
}

extern "C" fn cuFuncGetAttribute(value: Out<c_int>, attribute: u32, function: Handle) -> Status {
    answer(|| {
        let known = function_of(function)?.0.attribute(attribute);
        put(value, known.ok_or(Status::INVALID_VALUE)? as c_int)
    })
}

extern "C" fn cuFuncSetAttribute(function: Handle, attribute: u32, value: c_int) -> Status {
    answer(|| {
        let (driver, mut objects, _) = Driver::with_context()?;
        let function = objects.function_mut(function)?;
        match attribute {
            MAX_DYNAMIC_SHARED_SIZE_BYTES => {
                let bytes = u32::try_from(value).map_err(|_| Status::INVALID_VALUE)?;
                let limit = driver.device.properties.shared_bytes_per_block_optin;
                let sum = bytes.checked_add(function.kernel.static_shared_bytes);
                if sum.is_none_or(|sum| sum > limit) {
                    return Err(Status::INVALID_VALUE);
                }
                function.max_dynamic_shared_bytes = bytes;
            }
            PREFERRED_SHARED_MEMORY_CARVEOUT if (-1..=100).contains(&value) => {
                function.shared_carveout = value;
            }
            REQUIRED_CLUSTER_WIDTH..=REQUIRED_CLUSTER_DEPTH => {
                let axis = (attribute - REQUIRED_CLUSTER_WIDTH) as usize;
                let extent = u32::try_from(value).map_err(|_| Status::INVALID_VALUE)?;
                // What the PTX requires can be repeated, not changed (found on an H200).
                let fixed = function.kernel.directives.reqnctapercluster;
                if fixed.is_some_and(|fixed| fixed[axis] != extent) {
                    return Err(Status::INVALID_VALUE);
                }
                function.required_cluster[axis] = extent;
            }
            NON_PORTABLE_CLUSTER_SIZE_ALLOWED => function.non_portable_cluster = value != 0,
            _ => return Err(Status::INVALID_VALUE),
        }
        Ok(())
    })
}

extern "C" fn cuFuncSetCacheConfig(function: Handle, config: u32) -> Status {
    answer(|| check_preference(function, config, 3))
}

extern "C" fn cuFuncSetSharedMemConfig(function: Handle, config: u32) -> Status {
    answer(|| check_preference(function, config, 2))
}

/// A preference without effect here.
fn check_preference(function: Handle, config: u32, last: u32) -> Result<(), Status> {
    Driver::with_context()?.1.function(function)?;
    if config > last {
        return Err(Status::INVALID_VALUE);
    }
    Ok(())
}

fn positive(value: c_int) -> Result<u32, Status> {
    match u32::try_from(value) {
        Ok(value) if value > 0 => Ok(value),
        _ => Err(Status::INVALID_VALUE),
    }
}

extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: Out<c_int>,
    function: Handle,
    threads: c_int,
    dynamic_bytes: usize,
) -> Status {
    answer(|| {
        let (function, properties) = function_of(function)?;
        let threads = positive(threads)?;
        let count = function.blocks_per_multiprocessor(properties, threads, dynamic_bytes);
        put(blocks, count as c_int)
    })
}

extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: Out<c_int>,
    function: Handle,
    threads: c_int,
    dynamic_bytes: usize,
    _flags: u32,
) -> Status {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamic_bytes)
}

extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    bytes: Out<usize>,
    function: Handle,
    blocks: c_int,
    threads: c_int,
) -> Status {
    answer(|| {
        let (function, properties) = function_of(function)?;
        let (blocks, threads) = (positive(blocks)?, positive(threads)?);
        if blocks > function.blocks_per_multiprocessor(properties, threads, 0) {
            return Err(Status::INVALID_VALUE);
        }
        let share =
            properties.multiprocessor.shared_bytes / blocks - properties.reserved_shared_bytes;
        let share = share.min(properties.shared_bytes_per_block_optin);
        put(
            bytes,
            (share - function.kernel.static_shared_bytes) as usize,
        )
    })
}

/// `CUoccupancyB2DSize`: dynamic shared memory of a block of so many threads.
type DynamicBytes = unsafe extern "C" fn(c_int) -> usize;

/// # Safety
/// `dynamic_of` is null or a function that may be called.
unsafe extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: Out<c_int>,
    block: Out<c_int>,
    function: Handle,
    dynamic_of: Option<DynamicBytes>,
    dynamic_bytes: usize,
    limit: c_int,
) -> Status {
    answer(|| {
        // The callback may call the driver: no lock is held.
        let (function, properties) = function_of(function)?;
        let mut largest = function.threads_per_block();
        if limit > 0 {
            largest = largest.min(limit.unsigned_abs());
        }
        // The largest block among those that fill a multiprocessor best.
        let (mut best_threads, mut best_blocks) = (0, 0);
        let mut threads = largest;
        while threads > 0 {
            let dynamic = match dynamic_of {
                // SAFETY: the caller's promise.
                Some(dynamic_of) => unsafe { dynamic_of(threads as c_int) },
                None => dynamic_bytes,
            };
            let blocks = function.blocks_per_multiprocessor(properties, threads, dynamic);
            if blocks * threads > best_blocks * best_threads {
                (best_threads, best_blocks) = (threads, blocks);
            }
            threads = (threads - 1) / LANES as u32 * LANES as u32;
        }
        if best_blocks == 0 {
            return Err(Status::INVALID_VALUE);
        }
        put(grid, (best_blocks * properties.multiprocessors) as c_int)?;
        put(block, best_threads as c_int)
    })
}

/// # Safety
/// As [`cuOccupancyMaxPotentialBlockSize`].
unsafe extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    grid: Out<c_int>,
    block: Out<c_int>,
    function: Handle,
    dynamic_of: Option<DynamicBytes>,
    dynamic_bytes: usize,
    limit: c_int,
    _flags: u32,
) -> Status {
    // SAFETY: passes the caller's promise on.
    unsafe {
        cuOccupancyMaxPotentialBlockSize(grid, block, function, dynamic_of, dynamic_bytes, limit)
    }
}
