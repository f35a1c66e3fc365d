//! The two libraries that driver functions come from.

use std::error::Error;
use std::ffi::{CString, c_int, c_void};

use super::DriverError;
use super::status;

/// Names under which the driver's library is looked for.
const NAMES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// Device attributes of the driver API.
const COMPUTE_CAPABILITY_MAJOR: c_int = 75;
const COMPUTE_CAPABILITY_MINOR: c_int = 76;

/// A source of driver functions. Lives as long as the process: functions taken from it are never taken back.
pub(super) enum Library {
    Cuda {
        library: libloading::Library,
        path: String,
    },
    #[cfg(feature = "emulator")]
    Emulator,
}

impl Library {
    pub(super) fn open_cuda() -> Result<Self, DriverError> {
        let mut tried = Vec::new();
        for name in NAMES {
            // SAFETY: loading NVIDIA's driver runs its initialisers, which is what every CUDA program does at start.
            match unsafe { libloading::Library::new(name) } {
                Ok(library) => {
                    let mut cuda = Self::Cuda {
                        library,
                        path: name.to_owned(),
                    };
                    if let Some(file) = cuda.symbol("cuInit").and_then(file_of)
                        && let Self::Cuda { path, .. } = &mut cuda
                    {
                        *path = file;
                    }
                    return Ok(cuda);
                }
                Err(error) => tried.push(match error.source() {
                    Some(linker) => linker.to_string(),
                    None => format!("{name}: {error}"),
                }),
            }
        }
        Err(DriverError::NoLibrary { tried })
    }

    #[cfg(feature = "emulator")]
    pub(super) fn emulator() -> Result<Self, DriverError> {
        Ok(Self::Emulator)
    }

    #[cfg(not(feature = "emulator"))]
    pub(super) fn emulator() -> Result<Self, DriverError> {
        Err(DriverError::EmulatorNotBuilt)
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Cuda { path, .. } => path,
            #[cfg(feature = "emulator")]
            Self::Emulator => ptx_emulator::driver::NAME,
        }
    }

    /// The address of a driver function.
    pub(super) fn symbol(&self, name: &str) -> Option<*const c_void> {
        match self {
            Self::Cuda { library, .. } => {
                let name = CString::new(name).ok()?;
                // SAFETY: any symbol's address can be taken as an untyped pointer; using it is the caller's part.
                let symbol = unsafe { library.get::<*const c_void>(name.as_bytes_with_nul()) };
                symbol.ok().map(|symbol| *symbol).filter(|p| !p.is_null())
            }
            #[cfg(feature = "emulator")]
            Self::Emulator => ptx_emulator::driver::lookup(name),
        }
    }

    /// As [`Library::symbol`], with an error that names what is missing.
    pub(super) fn function(&self, name: &'static str) -> Result<*const c_void, DriverError> {
        self.symbol(name)
            .ok_or_else(|| DriverError::MissingFunction {
                library: self.name().to_owned(),
                function: name,
            })
    }

    /// The CUDA version that the driver supports, as (major, minor).
    pub(super) fn version(&self) -> Result<(u32, u32), DriverError> {
        let mut version = 0;
        // SAFETY: the function's signature in the driver API; the pointer is valid for the call.
        let code = unsafe {
            let get: unsafe extern "C" fn(*mut c_int) -> u32 =
                std::mem::transmute(self.function("cuDriverGetVersion")?);
            get(&mut version)
        };
        check("cuDriverGetVersion", code)?;
        let version = version.unsigned_abs();
        Ok((version / 1000, version % 1000 / 10))
    }

    /// The compute capability (major, minor) of every device, in order. Initialises the driver.
    pub(super) fn compute_capabilities(&self) -> Result<Vec<(u32, u32)>, DriverError> {
        // SAFETY: the functions' signatures in the driver API.
        let (init, count, device, attribute) = unsafe {
            (
                std::mem::transmute::<*const c_void, unsafe extern "C" fn(u32) -> u32>(
                    self.function("cuInit")?,
                ),
                std::mem::transmute::<*const c_void, unsafe extern "C" fn(*mut c_int) -> u32>(
                    self.function("cuDeviceGetCount")?,
                ),
                std::mem::transmute::<*const c_void, unsafe extern "C" fn(*mut c_int, c_int) -> u32>(
                    self.function("cuDeviceGet")?,
                ),
                std::mem::transmute::<
                    *const c_void,
                    unsafe extern "C" fn(*mut c_int, c_int, c_int) -> u32,
                >(self.function("cuDeviceGetAttribute")?),
            )
        };
        let mut devices = 0;
        // SAFETY: no pointer, and a pointer valid for the call.
        unsafe {
            check("cuInit", init(0))?;
            check("cuDeviceGetCount", count(&mut devices))?;
        }
        (0..devices)
            .map(|ordinal| {
                let (mut handle, mut major, mut minor) = (0, 0, 0);
                // SAFETY: the pointers are valid for the calls; the handle comes from the driver.
                unsafe {
                    check("cuDeviceGet", device(&mut handle, ordinal))?;
                    for (id, value) in [
                        (COMPUTE_CAPABILITY_MAJOR, &mut major),
                        (COMPUTE_CAPABILITY_MINOR, &mut minor),
                    ] {
                        check("cuDeviceGetAttribute", attribute(value, id, handle))?;
                    }
                }
                Ok((c_int::unsigned_abs(major), c_int::unsigned_abs(minor)))
            })
            .collect()
    }
}

/// An error where a driver function's status is one.
pub(super) fn check(function: &'static str, code: u32) -> Result<(), DriverError> {
    if code == status::SUCCESS {
        Ok(())
    } else {
        Err(DriverError::Call { function, code })
    }
}

/// The file that an address was loaded from, as Linux tells it.
fn file_of(address: *const c_void) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = &rest[rest.find('/')?..];
        (start..end)
            .contains(&address.addr())
            .then(|| path.to_owned())
    })
}
