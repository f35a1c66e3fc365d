//! Initialisation and device queries.

use std::ffi::{c_char, c_int};

use super::DRIVER_VERSION;
use super::abi::{Out, answer, put};
use super::state::{driver, initialise};
use super::status::Status;
use super::{options, report};
use crate::machine::DeviceProperties;

pub(super) const FUNCTIONS: &[super::Function] = functions![
    cuInit,
    cuDriverGetVersion,
    cuDeviceGet,
    cuDeviceGetCount,
    cuDeviceGetName,
    cuDeviceCanAccessPeer,
    cuDeviceComputeCapability,
    cuDeviceGetUuid,
    cuDeviceGetAttribute,
    cuDeviceTotalMem_v2,
];

/// `CUdevice` is the ordinal; there is one device.
pub(super) fn check_device(device: c_int) -> Result<(), Status> {
    driver()?;
    if device == 0 {
        Ok(())
    } else {
        Err(Status::INVALID_DEVICE)
    }
}

extern "C" fn cuInit(flags: u32) -> Status {
    answer(|| {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let refused = |error| {
            eprintln!("{error}");
            Status::INVALID_VALUE
        };
        report::set_format(options::report_format_from_environment().map_err(refused)?);
        let device = options::device_from_environment().map_err(refused)?;
        let options = options::from_environment().map_err(refused)?;
        initialise(device, options);
        Ok(())
    })
}

extern "C" fn cuDriverGetVersion(version: Out<c_int>) -> Status {
    answer(|| put(version, DRIVER_VERSION))
}

extern "C" fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) -> Status {
    answer(|| {
        check_device(ordinal)?;
        put(device, ordinal)
    })
}

extern "C" fn cuDeviceGetCount(count: Out<c_int>) -> Status {
    answer(|| {
        driver()?;
        put(count, 1)
    })
}

extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        let text = driver()?.device.properties.name.as_bytes();
        let length = usize::try_from(length).map_err(|_| Status::INVALID_VALUE)?;
        if name.is_null() || length == 0 {
            return Err(Status::INVALID_VALUE);
        }
        let copied = text.len().min(length - 1);
        // SAFETY: the caller provides `length` bytes, of which `copied` + 1 are written.
        unsafe {
            name.copy_from_nonoverlapping(text.as_ptr().cast(), copied);
            name.add(copied).write(0);
        }
        Ok(())
    })
}

/// There is no peer.
extern "C" fn cuDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        check_device(peer)?;
        put(can, 0)
    })
}

extern "C" fn cuDeviceComputeCapability(
    major: Out<c_int>,
    minor: Out<c_int>,
    device: c_int,
) -> Status {
    answer(|| {
        check_device(device)?;
        let capability = driver()?.device.properties.compute_capability;
        put(major, capability.0 as c_int)?;
        put(minor, capability.1 as c_int)
    })
}

extern "C" fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        put(uuid, *b"ptx-emulator-b20")
    })
}

extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        put(bytes, driver()?.device.memory.total_bytes() as usize)
    })
}

extern "C" fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_int, device: c_int) -> Status {
    answer(|| {
        check_device(device)?;
        let known = device_attribute(&driver()?.device.properties, attribute);
        put(value, known.ok_or(Status::INVALID_VALUE)?)
    })
}

/// Shared memory that a CTA gets without opting in, in bytes.
pub(super) const SHARED_BYTES_PER_BLOCK: u32 = 48 * 1024;
pub(super) const THREADS_PER_BLOCK: u32 = 1024;

/// `CUdevice_attribute`. What has no meaning on an emulator (clocks, bus, textures) is 0; `None`
/// for ids that no documented attribute has.
fn device_attribute(properties: &DeviceProperties, id: c_int) -> Option<c_int> {
    const LAST: c_int = 140;
    Some(match id {
        // Limits of a launch.
        1 => THREADS_PER_BLOCK as c_int,
        2 | 3 => 1024,
        4 => 64,
        5 => c_int::MAX,
        6 | 7 => 65535,
        8 => SHARED_BYTES_PER_BLOCK as c_int,
        9 => 64 * 1024,
        10 => crate::isa::ir::LANES as c_int,
        11 => c_int::MAX,
        12 | 82 => properties.multiprocessor.registers as c_int,
        // Texture, surface and pitch alignments: what memory allocators round to.
        14 | 30 => 512,
        51 => 32,
        16 => properties.multiprocessors as c_int,
        // Maps host memory, runs kernels concurrently, one address space, managed memory.
        19 | 31 | 41 | 83 | 89 | 90 => 1,
        38 => 126 * 1024 * 1024,
        39 => properties.multiprocessor.threads as c_int,
        40 => 1,
        75 => properties.compute_capability.0 as c_int,
        76 => properties.compute_capability.1 as c_int,
        78..=80 => 1,
        81 => properties.multiprocessor.shared_bytes as c_int,
        97 => properties.shared_bytes_per_block_optin as c_int,
        106 => properties.multiprocessor.ctas as c_int,
        111 => properties.reserved_shared_bytes as c_int,
        // Cooperative launches, cuMemAllocAsync, cluster launch, tensor maps.
        95 | 115 | 120 | 127 => 1,
        _ if (1..=LAST).contains(&id) => 0,
        _ => return None,
    })
}
