//! The device that a command runs on.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Context as _;
use cust::context::Context;
use cust::device::Device;
use nvfp4_dual_gemm::driver::{self, DriverChoice, DriverError, DriverKind, Selected};
use nvfp4_dual_gemm::kernels::{Architecture, COMPUTE_CAPABILITIES};
use nvfp4_dual_gemm::launch::{self, Kernels};
use nvfp4_dual_gemm::plan::{Gpu, PlanError};

/// A device with the kernels loaded.
pub struct Opened {
    pub kernels: Kernels,
    pub name: String,
    /// Which build of the kernels was loaded.
    pub ptx_origin: String,
    pub selected: Selected,
    // Everything on the device lives in it.
    _context: Context,
}

/// Takes a GPU that has a kernel, else the emulated B200, and loads the kernels.
pub fn open() -> anyhow::Result<Opened> {
    open_with(None)
}

/// As [`open`], with the build of the kernels in a file.
pub fn open_with(ptx_file: Option<&Path>) -> anyhow::Result<Opened> {
    let selected = select()?;
    driver::capture_device_reports();
    let device = Device::get_device(selected.device).context("opening the device")?;
    let context = Context::new(device).context("creating a context")?;
    let architecture = launch::current_gpu()?.architecture()?;
    let ptx = match ptx_file {
        Some(path) => Ptx::read(path, "--ptx")?,
        None => ptx(architecture)?,
    };
    let kernels = Kernels::load_ptx(&ptx.text)?;
    Ok(Opened {
        kernels,
        name: device.name().context("asking for the device's name")?,
        ptx_origin: ptx.origin,
        selected,
        _context: context,
    })
}

/// Chooses and initialises the driver.
pub fn select() -> anyhow::Result<Selected> {
    let selected = driver::select_with_fallback(DriverChoice::from_env()?, |capability| {
        COMPUTE_CAPABILITIES.contains(&capability)
    })
    .map_err(|error| match error {
        // Says what is needed as well as what was found.
        DriverError::NoSuitableDevice { found } if !found.is_empty() => {
            anyhow::Error::from(PlanError::UnsupportedDevice {
                found: found[0],
                needed: COMPUTE_CAPABILITIES,
            })
        }
        other => other.into(),
    })?;
    cust::init(cust::CudaFlags::empty()).context("initialising the driver")?;
    Ok(selected)
}

/// A build of the kernels and where it came from.
pub struct Ptx {
    pub text: Cow<'static, str>,
    pub origin: String,
}

/// The build of the kernels that the architecture's variable names, else the one in this program.
pub fn ptx(architecture: &Architecture) -> anyhow::Result<Ptx> {
    let variable = architecture.ptx_variable;
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) else {
        return Ok(Ptx {
            text: architecture.ptx.into(),
            origin: "built in".to_owned(),
        });
    };
    Ptx::read(Path::new(&path), variable)
}

impl Ptx {
    /// The text of a file; `named_by` is what named it.
    fn read(path: &Path, named_by: &str) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("reading {}, which {named_by} names", path.display()))?;
        Ok(Self {
            text: text.into(),
            origin: format!("{named_by}={}", path.display()),
        })
    }
}

impl Opened {
    pub fn is_emulated(&self) -> bool {
        self.selected.kind == DriverKind::Emulator
    }

    pub fn gpu(&self) -> Gpu {
        self.kernels.gpu()
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let (major, minor) = self.gpu().compute_capability;
        let sms = self.gpu().multiprocessors;
        let fallback = self.selected.fallback.as_deref();
        let reason = fallback
            .map(|reason| format!("; {reason}"))
            .unwrap_or_default();
        format!(
            "{}, compute capability {major}.{minor}, {sms} SMs{reason}",
            self.name
        )
    }
}
