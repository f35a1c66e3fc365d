//! The CUDA driver, resolved at run time: `libcuda.so.1`, or the emulated B200 in its place.
//!
//! [`cust`] wants the driver's `cu*` functions at link time. This module defines them, and forwards each to the driver
//! that the process selected; so nothing of CUDA is needed to build, and the binary does not depend on `libcuda`. A
//! program that uses `cust` itself gets the same by linking this crate: `use nvfp4_dual_gemm as _;`, or by taking
//! `cust` from here (`nvfp4_dual_gemm::cust`).
//!
//! # Which driver
//! A process selects once, by [`select`] or [`select_with_fallback`]. A program that does neither (any `cust` program)
//! selects with its first driver call, by the environment variable `NVFP4_DEVICE`:
//!
//! | `NVFP4_DEVICE`  | [`select`]      | [`select_with_fallback`]                       | neither         |
//! |-----------------|-----------------|------------------------------------------------|-----------------|
//! | `auto` or unset | `libcuda.so.1`  | a GPU that the caller accepts, else emulator   | `libcuda.so.1`  |
//! | `cuda`          | `libcuda.so.1`  | a GPU that the caller accepts, else an error   | `libcuda.so.1`  |
//! | `emulator`      | emulator        | emulator                                       | emulator        |
//!
//! ([`select`] and [`select_with_fallback`] take the choice as an argument: [`DriverChoice::from_env`] reads it.)
//! Only [`select_with_fallback`] takes the emulator unasked, and its result says so and why.
//!
//! Where no driver is found, a program that selected none sees what it would see of a driver without a GPU: `cuInit`
//! answers `CUDA_ERROR_NO_DEVICE`, every other function `CUDA_ERROR_NOT_INITIALIZED`, and one line on stderr says what
//! was looked for. A function that the driver lacks answers `CUDA_ERROR_NOT_FOUND`, and its name goes to stderr.
//!
//! # After a kernel fails
//! A launch is refused by the call that asks for it, and nothing has changed. What a kernel does wrong while it runs (a
//! trap, an illegal address) shows in any later call that waits, and in every call after it: the context is lost
//! ([`DriverError::context_is_lost`]). All that the driver API promises then is that a new process can use the GPU. On
//! the emulator a new context can.
//!
//! # Building without CUDA
//! `cust`'s build scripts look for a CUDA installation and stop where there is none. They are content with
//! `CUDA_LIBRARY_PATH`, a directory with a `lib64/libcuda.a`; an empty archive will do, since all of its symbols are
//! defined here. This workspace sets it in `.cargo/config.toml`, which Cargo does not read for dependencies, so a
//! workspace that depends on this crate does the same once:
//!
//! ```sh
//! mkdir -p cuda-stub/lib64 .cargo && printf '!<arch>\n' > cuda-stub/lib64/libcuda.a
//! printf '[env]\nCUDA_LIBRARY_PATH = { value = "cuda-stub", relative = true }\n' >> .cargo/config.toml
//! ```
//!
//! With a CUDA installation nothing needs to be set. The linker then meets a `libcuda.so` that no symbol is wanted
//! from, and leaves it out.

pub mod api;
mod facts;
mod forward;
pub mod graph;
mod jit;
mod library;
pub(crate) mod status;
mod symbols;

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};

pub use facts::LoadFacts;
use library::Library;

/// The environment variable that [`DriverChoice::from_env`] and driver calls before any selection go by.
pub const DEVICE_VARIABLE: &str = "NVFP4_DEVICE";

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// A real GPU; whether the emulator may stand in for it is the caller's decision ([`select_with_fallback`]).
    #[default]
    Auto,
    /// A real GPU or an error.
    Cuda,
    /// The emulated B200, even where there is a GPU.
    Emulator,
}

impl DriverChoice {
    /// The value of `NVFP4_DEVICE`; [`DriverChoice::Auto`] where it is unset or empty.
    ///
    /// # Errors
    /// [`DriverError::UnknownChoice`] for any other value.
    pub fn from_env() -> Result<Self, DriverError> {
        match std::env::var_os(DEVICE_VARIABLE) {
            None => Ok(Self::Auto),
            Some(value) if value.is_empty() => Ok(Self::Auto),
            Some(value) => value.to_string_lossy().parse(),
        }
    }
}

impl FromStr for DriverChoice {
    type Err = DriverError;

    fn from_str(value: &str) -> Result<Self, DriverError> {
        match value {
            "auto" => Ok(Self::Auto),
            "cuda" => Ok(Self::Cuda),
            "emulator" => Ok(Self::Emulator),
            _ => Err(DriverError::UnknownChoice {
                value: value.to_owned(),
            }),
        }
    }
}

/// The two drivers that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    Cuda,
    Emulator,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cuda => "cuda",
            Self::Emulator => "emulator",
        })
    }
}

/// The outcome of a selection. Displays as one line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    pub kind: DriverKind,
    /// Ordinal of the device to use: the first that the caller accepted, or 0 where nobody asked.
    pub device: u32,
    /// Why the emulator was taken, where nobody asked for it.
    pub fallback: Option<String>,
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.fallback) {
            (DriverKind::Cuda, _) => write!(f, "using GPU {}", self.device),
            (DriverKind::Emulator, None) => f.write_str("using the emulator"),
            (DriverKind::Emulator, Some(reason)) => {
                write!(f, "using the emulator: {reason}")
            }
        }
    }
}

/// What answers driver calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverInfo {
    pub kind: DriverKind,
    /// File that the driver was loaded from; for the emulator its name and version.
    pub library: String,
    /// The CUDA version that the driver supports, as (major, minor).
    pub version: (u32, u32),
}

/// Why there is no driver, or why a driver call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    #[error("{DEVICE_VARIABLE} is \"{value}\"; it can be auto, cuda or emulator")]
    UnknownChoice { value: String },

    #[error(
        "no CUDA driver: {}. Install NVIDIA's driver, or set {DEVICE_VARIABLE}=emulator to run on an emulated B200",
        .tried.join("; ")
    )]
    NoLibrary {
        /// The linker's message for each name tried.
        tried: Vec<String>,
    },

    #[error("this program was built without the feature \"emulator\" of nvfp4-dual-gemm")]
    EmulatorNotBuilt,

    #[error(
        "the {wanted} driver was asked for, but this process already uses the {current} driver; \
         select before the first driver call, and only once"
    )]
    AlreadySelected {
        current: DriverKind,
        wanted: DriverKind,
    },

    #[error("{library} has no function {function}: the driver is too old, update it")]
    MissingFunction {
        library: String,
        function: &'static str,
    },

    #[error(
        "no GPU here can be used: found {}. Set {DEVICE_VARIABLE}=emulator to run on an emulated B200",
        list_devices(.found)
    )]
    NoSuitableDevice {
        /// Compute capabilities (major, minor) of the devices found, in order of their ordinals.
        found: Vec<(u32, u32)>,
    },

    #[error("{function} failed: {}{}", status::describe(*.code), status::advice(*.code))]
    Call { function: &'static str, code: u32 },

    #[error(
        "the driver did not launch {config}: {}{}{}",
        status::describe(*.code), status::advice(*.code), indent_log(.report)
    )]
    Launch {
        code: u32,
        config: api::LaunchConfig,
        /// What an emulated device had to say; empty for a real one.
        report: String,
    },

    #[error(
        "the driver refused {facts}: {}{}{}",
        status::describe(*.code), facts.advice(*.code), indent_log(.log)
    )]
    Load {
        code: u32,
        /// What the driver's JIT compiler had to say; may be empty.
        log: String,
        /// What was to run where.
        facts: LoadFacts,
    },

    #[error("the PTX has a NUL byte at offset {offset}; the driver would take it for the end")]
    NulInPtx { offset: usize },
}

impl DriverError {
    /// The driver's status, if a driver function returned one.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Call { code, .. } | Self::Launch { code, .. } | Self::Load { code, .. } => {
                Some(*code)
            }
            _ => None,
        }
    }

    /// Whether a kernel failed, now or before, in a way after which the driver promises no more than that a new
    /// process can use the device ("After a kernel fails" in the [module](self)'s documentation).
    pub fn context_is_lost(&self) -> bool {
        self.code().is_some_and(status::loses_the_context)
    }

    /// As [`Self::context_is_lost`], of a failure that `cust` reports.
    pub fn is_loss_of_context(error: cust::error::CudaError) -> bool {
        status::loses_the_context(error as u32)
    }

    /// The error without the advice, for a line that says what was done instead.
    fn summary(&self) -> String {
        match self {
            Self::NoLibrary { .. } => "no CUDA driver was found".to_owned(),
            Self::NoSuitableDevice { found } => {
                format!("no GPU here can be used: found {}", list_devices(found))
            }
            other => other.to_string(),
        }
    }
}

fn list_devices(found: &[(u32, u32)]) -> String {
    if found.is_empty() {
        return "no device".to_owned();
    }
    let capabilities = found
        .iter()
        .map(|(major, minor)| format!("{major}.{minor}"));
    format!(
        "compute capability {}",
        capabilities.collect::<Vec<_>>().join(", ")
    )
}

fn indent_log(log: &str) -> String {
    log.trim_end()
        .lines()
        .map(|line| format!("\n  {line}"))
        .collect()
}

struct Selection {
    library: Library,
    selected: Selected,
}

static SELECTION: OnceLock<Selection> = OnceLock::new();
/// Held while [`SELECTION`] is being made.
static SELECTING: Mutex<()> = Mutex::new(());

/// Selects the driver of this process, without looking at its devices; `Auto` means a real one. Selecting the same
/// driver again is fine.
///
/// # Errors
/// [`DriverError::NoLibrary`] or [`DriverError::EmulatorNotBuilt`] where the driver is not there: the process may then
/// select another one. [`DriverError::AlreadySelected`] where it already has another one.
pub fn select(choice: DriverChoice) -> Result<Selected, DriverError> {
    Ok(select_library(choice)?.selected.clone())
}

fn select_library(choice: DriverChoice) -> Result<&'static Selection, DriverError> {
    let wanted = match choice {
        DriverChoice::Auto | DriverChoice::Cuda => DriverKind::Cuda,
        DriverChoice::Emulator => DriverKind::Emulator,
    };
    select_once(Some(wanted), || {
        Ok(Selection {
            library: match wanted {
                DriverKind::Cuda => Library::open_cuda()?,
                DriverKind::Emulator => Library::emulator()?,
            },
            selected: Selected {
                kind: wanted,
                device: 0,
                fallback: None,
            },
        })
    })
}

/// Selects a driver that has a device of a compute capability (major, minor) which the caller `accepts`. `Auto` takes
/// the emulator where there is none, and [`Selected::fallback`] then tells why. If the process has a driver already,
/// `Auto` returns that.
///
/// # Errors
/// As [`select`]; [`DriverError::NoSuitableDevice`] where `Cuda` was chosen and no device is accepted.
pub fn select_with_fallback(
    choice: DriverChoice,
    accepts: impl Fn((u32, u32)) -> bool,
) -> Result<Selected, DriverError> {
    let open_accepted = || {
        let library = Library::open_cuda()?;
        let found = library.compute_capabilities()?;
        match found.iter().position(|&capability| accepts(capability)) {
            Some(device) => Ok(Selection {
                library,
                selected: Selected {
                    kind: DriverKind::Cuda,
                    device: device as u32,
                    fallback: None,
                },
            }),
            None => Err(DriverError::NoSuitableDevice { found }),
        }
    };
    let selection = match choice {
        DriverChoice::Emulator => return select(choice),
        DriverChoice::Cuda => select_once(Some(DriverKind::Cuda), open_accepted)?,
        DriverChoice::Auto => select_once(None, || {
            open_accepted().or_else(|refusal| {
                // Without an emulator, what is wrong with the real driver is the better answer.
                let library = Library::emulator().map_err(|_| refusal.clone())?;
                Ok(Selection {
                    library,
                    selected: Selected {
                        kind: DriverKind::Emulator,
                        device: 0,
                        fallback: Some(refusal.summary()),
                    },
                })
            })
        })?,
    };
    Ok(selection.selected.clone())
}

/// The driver that this process selected.
///
/// # Errors
/// [`DriverError::MissingFunction`] or [`DriverError::Call`] where it does not tell its version; the errors of
/// [`select`] where nothing was selected yet and `NVFP4_DEVICE` can't be followed.
pub fn info() -> Result<DriverInfo, DriverError> {
    let selection = selection()?;
    Ok(DriverInfo {
        kind: selection.selected.kind,
        library: selection.library.name().to_owned(),
        version: selection.library.version()?,
    })
}

/// The compute capability, as (major, minor), of every GPU of this machine. Selects nothing.
///
/// # Errors
/// [`DriverError::NoLibrary`] where there is no driver, [`DriverError::Call`] where it has no device.
pub fn gpus() -> Result<Vec<(u32, u32)>, DriverError> {
    Library::open_cuda()?.compute_capabilities()
}

/// What an emulated device had to say about the last failure that this thread saw, once. `None` for a real one.
pub fn take_device_report() -> Option<String> {
    #[cfg(feature = "emulator")]
    return ptx_emulator::driver::take_last_report();
    #[cfg(not(feature = "emulator"))]
    None
}

/// Keeps an emulated device's reports on this thread's failures from stderr, for [`take_device_report`] alone.
pub fn capture_device_reports() {
    #[cfg(feature = "emulator")]
    ptx_emulator::driver::capture_reports(true);
}

/// Makes the emulated device, where there is one, an H200 that runs the kernels for Hopper, unless the environment
/// names a device (`PTX_EMULATOR_DEVICE`). Before the driver is initialised.
pub fn prefer_emulated_hopper() {
    #[cfg(feature = "emulator")]
    ptx_emulator::driver::prefer_device(ptx_emulator::machine::DeviceProperties::h200());
}

/// Lets this thread's launches on the emulator skip the checks of how accesses are ordered, unless the environment
/// names a mode (`PTX_EMULATOR_MODE`). For long runs whose results are checked anyway.
pub fn prefer_fast_emulation() {
    // A variable that is not understood fails `cuInit`, which names it.
    #[cfg(feature = "emulator")]
    let _ = ptx_emulator::driver::prefer_fast();
}

/// Lets an observer take notes of this thread's launches on the emulator, in addition to what the environment or
/// [`prefer_fast_emulation`] choose.
///
/// # Errors
/// The environment's variable that is not understood.
#[cfg(feature = "emulator")]
pub fn observe_emulation(
    observe: ptx_emulator::observe::Observe,
) -> Result<std::sync::Arc<ptx_emulator::observe::Observer>, ptx_emulator::driver::OptionError> {
    use ptx_emulator::driver::{from_environment, set_launch_options};
    use ptx_emulator::machine::LaunchOptions;
    let observer = std::sync::Arc::new(ptx_emulator::observe::Observer::new(observe));
    set_launch_options(Some(LaunchOptions {
        observer: Some(std::sync::Arc::clone(&observer)),
        ..from_environment()?
    }));
    Ok(observer)
}

/// Calls `run` once per schedule of the emulator, until one fails, with this thread's launches following it. The
/// first `count` schedules of the portfolio of `seed` are tried, in the mode that the environment names, or `check`.
///
/// # Errors
/// The environment's variable that is not understood.
#[cfg(feature = "emulator")]
pub fn explore_schedules<E: std::fmt::Display>(
    count: u64,
    seed: u64,
    mut run: impl FnMut() -> Result<(), E>,
) -> Result<ptx_emulator::machine::Exploration<E>, ptx_emulator::driver::OptionError> {
    use ptx_emulator::driver::{from_environment, set_launch_options};
    use ptx_emulator::machine::{LaunchOptions, explore};
    let options = from_environment()?;
    let exploration = explore(count, seed, |schedule| {
        set_launch_options(Some(LaunchOptions {
            schedule: *schedule,
            ..options.clone()
        }));
        run()
    });
    set_launch_options(None);
    Ok(exploration)
}

fn select_once(
    wanted: Option<DriverKind>,
    make: impl FnOnce() -> Result<Selection, DriverError>,
) -> Result<&'static Selection, DriverError> {
    let _selecting = SELECTING.lock().unwrap_or_else(PoisonError::into_inner);
    let selection = match SELECTION.get() {
        Some(selection) => selection,
        None => {
            let made = make()?;
            SELECTION.get_or_init(|| made)
        }
    };
    match wanted {
        Some(wanted) if wanted != selection.selected.kind => Err(DriverError::AlreadySelected {
            current: selection.selected.kind,
            wanted,
        }),
        _ => Ok(selection),
    }
}

/// What was selected, else what `NVFP4_DEVICE` asks for.
fn selection() -> Result<&'static Selection, DriverError> {
    match SELECTION.get() {
        Some(selection) => Ok(selection),
        None => select_library(DriverChoice::from_env()?),
    }
}
