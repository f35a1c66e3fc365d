//! `info`: what was found, and what to do if nothing fits.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use cust::device::{Device, DeviceAttribute};
use nvfp4_dual_gemm::driver::{self, DriverKind, api};
use nvfp4_dual_gemm::kernels::{ARCHITECTURES, Architecture, COMPUTE_CAPABILITIES};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{device, exit_code};

#[derive(Args)]
pub struct InfoArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &InfoArgs) -> anyhow::Result<ExitCode> {
    let selected = device::select()?;
    let driver = driver::info()?;
    let devices = Device::devices()?
        .map(|device| describe(device?))
        .collect::<Result<Vec<_>, _>>()?;
    let builds = ARCHITECTURES
        .into_iter()
        .map(Build::new)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let advice = advice(selected.kind, selected.fallback.as_deref());
    let mut out = std::io::stdout().lock();
    if args.json {
        write_json(&mut out, &driver, &devices, &builds, &advice)?;
        return Ok(exit_code(true));
    }

    let (major, minor) = driver.version;
    writeln!(
        out,
        "driver    {} {}, CUDA {major}.{minor}",
        driver.kind, driver.library
    )?;
    for (ordinal, found) in devices.iter().enumerate() {
        writeln!(out, "device {ordinal}  {found}")?;
    }
    for build in &builds {
        writeln!(
            out,
            "PTX       {}, {}, {}, sha256 {}",
            build.architecture.name,
            build.origin,
            directives(&build.text),
            build.sha256
        )?;
        for entry in build.architecture.entries {
            writeln!(
                out,
                "kernel    {:<40} tile {:>3} x {:<3}, {} bytes of shared memory",
                entry.launch.name, entry.tile_m, entry.tile_n, entry.launch.dynamic_shared_bytes
            )?;
        }
        let needed = capabilities(build.architecture.compute_capabilities);
        writeln!(out, "          for compute capability {needed}")?;
    }
    for line in &advice {
        writeln!(out, "note      {line}")?;
    }
    Ok(exit_code(true))
}

/// The PTX of an architecture.
struct Build {
    architecture: &'static Architecture,
    text: std::borrow::Cow<'static, str>,
    origin: String,
    sha256: String,
}

impl Build {
    fn new(architecture: &'static Architecture) -> anyhow::Result<Self> {
        let device::Ptx { text, origin } = device::ptx(architecture)?;
        let digest = Sha256::digest(text.as_bytes());
        let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            architecture,
            text,
            origin,
            sha256,
        })
    }

    fn to_json(&self) -> Value {
        let kernels: Vec<Value> = self
            .architecture
            .entries
            .iter()
            .map(|entry| {
                json!({
                    "name": entry.launch.name,
                    "tile_m": entry.tile_m,
                    "tile_n": entry.tile_n,
                    "dynamic_shared_bytes": entry.launch.dynamic_shared_bytes,
                })
            })
            .collect();
        json!({
            "architecture": self.architecture.name,
            "compute_capabilities": self.architecture.compute_capabilities,
            "ptx": self.origin,
            "ptx_sha256": self.sha256,
            "kernels": kernels,
        })
    }
}

struct Found {
    name: String,
    compute_capability: (u32, u32),
    multiprocessors: i32,
    shared_bytes_per_multiprocessor: i32,
    memory_bytes: usize,
}

impl Found {
    fn is_supported(&self) -> bool {
        COMPUTE_CAPABILITIES.contains(&self.compute_capability)
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.compute_capability;
        write!(
            f,
            "{}, compute capability {major}.{minor} ({}), {} SMs, {} GiB, {} bytes of shared memory an SM",
            self.name,
            if self.is_supported() {
                "has kernels"
            } else {
                "no kernel"
            },
            self.multiprocessors,
            self.memory_bytes >> 30,
            self.shared_bytes_per_multiprocessor,
        )
    }
}

fn describe(device: Device) -> anyhow::Result<Found> {
    Ok(Found {
        name: device.name()?,
        compute_capability: api::compute_capability(device)?,
        multiprocessors: device.get_attribute(DeviceAttribute::MultiprocessorCount)?,
        shared_bytes_per_multiprocessor: device
            .get_attribute(DeviceAttribute::MaxSharedMemoryPerMultiprocessor)?,
        memory_bytes: device.total_memory()?,
    })
}

fn capabilities(all: &[(u32, u32)]) -> String {
    let texts = all.iter().map(|(major, minor)| format!("{major}.{minor}"));
    texts.collect::<Vec<_>>().join(" and ")
}

/// The `.version` and `.target` lines of a PTX text.
fn directives(ptx: &str) -> String {
    let lines = ptx.lines().map(str::trim);
    let found = lines.filter(|line| line.starts_with(".version") || line.starts_with(".target"));
    found.take(2).collect::<Vec<_>>().join(" ")
}

/// What running on an architecture takes.
fn requirement(architecture: &Architecture) -> String {
    let (major, minor) = architecture.cuda_version;
    let capabilities = architecture.compute_capabilities.iter();
    let capabilities: Vec<_> = capabilities
        .map(|(major, minor)| format!("{major}.{minor}"))
        .collect();
    format!(
        "a GPU of compute capability {} and NVIDIA's driver for CUDA {major}.{minor} or later",
        capabilities.join(" or ")
    )
}

/// What a user should know or do.
fn advice(kind: DriverKind, fallback: Option<&str>) -> Vec<String> {
    match (kind, fallback) {
        (DriverKind::Cuda, _) => Vec::new(),
        (DriverKind::Emulator, Some(reason)) => vec![
            format!("the emulated B200 stands in: {reason}"),
            format!(
                "to run on hardware: {}",
                ARCHITECTURES.map(requirement).join(", or ")
            ),
        ],
        (DriverKind::Emulator, None) => {
            vec!["NVFP4_DEVICE=emulator asked for the emulated B200".to_owned()]
        }
    }
}

fn write_json(
    out: &mut impl Write,
    driver: &driver::DriverInfo,
    devices: &[Found],
    builds: &[Build],
    advice: &[String],
) -> std::io::Result<()> {
    let (major, minor) = driver.version;
    let devices: Vec<Value> = devices
        .iter()
        .map(|found| {
            let (major, minor) = found.compute_capability;
            json!({
                "name": found.name,
                "compute_capability": format!("{major}.{minor}"),
                "has_kernels": found.is_supported(),
                "multiprocessors": found.multiprocessors,
                "memory_bytes": found.memory_bytes,
                "shared_bytes_per_multiprocessor": found.shared_bytes_per_multiprocessor,
            })
        })
        .collect();
    let builds: Vec<Value> = builds.iter().map(Build::to_json).collect();
    writeln!(
        out,
        "{}",
        json!({
            "driver": {
                "kind": driver.kind.to_string(),
                "library": driver.library,
                "cuda": format!("{major}.{minor}"),
            },
            "devices": devices,
            "builds": builds,
            "notes": advice,
        })
    )
}
