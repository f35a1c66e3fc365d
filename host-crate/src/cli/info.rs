//! `info`: what was found, and what to do if nothing fits.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use cust::device::{Device, DeviceAttribute};
use nvfp4_dual_gemm::driver::{self, DriverKind, api};
use nvfp4_dual_gemm::kernels::{COMPUTE_CAPABILITIES, ENTRIES};
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
    let ptx = device::ptx()?;
    let digest = Sha256::digest(ptx.text.as_bytes());
    let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let advice = advice(selected.kind, selected.fallback.as_deref());
    let mut out = std::io::stdout().lock();
    if args.json {
        write_json(&mut out, &driver, &devices, [&ptx.origin, &hash], &advice)?;
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
    writeln!(
        out,
        "PTX       {}, {}, sha256 {hash}",
        ptx.origin,
        directives(&ptx.text)
    )?;
    for entry in ENTRIES {
        writeln!(
            out,
            "kernel    {:<34} N tile {:>3}, {} bytes of shared memory",
            entry.name, entry.tile_n, entry.dynamic_shared_bytes
        )?;
    }
    writeln!(out, "          for compute capability {}", capabilities())?;
    for line in &advice {
        writeln!(out, "note      {line}")?;
    }
    Ok(exit_code(true))
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

fn capabilities() -> String {
    let texts = COMPUTE_CAPABILITIES
        .iter()
        .map(|(major, minor)| format!("{major}.{minor}"));
    texts.collect::<Vec<_>>().join(" and ")
}

/// The `.version` and `.target` lines of a PTX text.
fn directives(ptx: &str) -> String {
    let lines = ptx.lines().map(str::trim);
    let found = lines.filter(|line| line.starts_with(".version") || line.starts_with(".target"));
    found.take(2).collect::<Vec<_>>().join(" ")
}

/// What a user should know or do.
fn advice(kind: DriverKind, fallback: Option<&str>) -> Vec<String> {
    match (kind, fallback) {
        (DriverKind::Cuda, _) => Vec::new(),
        (DriverKind::Emulator, Some(reason)) => vec![
            format!("the emulated B200 stands in: {reason}"),
            format!(
                "to run on hardware: a GPU of compute capability {} and NVIDIA's driver for CUDA 12.9 or later",
                COMPUTE_CAPABILITIES
                    .iter()
                    .map(|(major, minor)| format!("{major}.{minor}"))
                    .collect::<Vec<_>>()
                    .join(" or ")
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
    [ptx, hash]: [&str; 2],
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
    let kernels: Vec<Value> = ENTRIES
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name,
                "tile_n": entry.tile_n,
                "dynamic_shared_bytes": entry.dynamic_shared_bytes,
            })
        })
        .collect();
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
            "ptx": ptx,
            "ptx_sha256": hash,
            "kernels": kernels,
            "notes": advice,
        })
    )
}
