//! Rust to PTX text: rustc to unoptimised LLVM IR, inline asm marked, `opt`, `llc`.
//!
//! rustc's own optimiser is not used: it treats inline asm as if any thread could run it alone, and
//! so copies barriers into divergent branches (see [`super::convergent`]). MIR jump threading does
//! the same one level up and is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use nvfp4_dual_gemm_kernel::contract::{self, Launch};

use super::convergent::{self, Marked};
use super::toolchain::Toolchain;
use crate::workspace;

const PACKAGE: &str = "nvfp4-dual-gemm-kernel";
const LLVM_IR_FILE: &str = "nvfp4_dual_gemm_kernel.ll";
const TARGET_TRIPLE: &str = "nvptx64-nvidia-cuda";

/// What one PTX file is built for.
pub struct Target {
    /// LLVM's and PTX's name of the architecture.
    pub architecture: &'static str,
    /// LLVM's feature for the PTX version.
    pub ptx_feature: &'static str,
    /// What `llc` is told in addition.
    pub llc: &'static [&'static str],
    /// Features of the kernel crate.
    pub features: &'static [&'static str],
    /// The folder of the committed file, relative to the workspace.
    pub folder: &'static str,
    /// The file in that folder.
    pub file: &'static str,
    /// Names a PTX file that the tests take instead of the committed one.
    pub ptx_variable: &'static str,
    /// The architectures that ptxas must accept it for.
    pub assembled_for: &'static [&'static str],
    /// The contract's entries for it.
    pub entries: fn() -> Vec<Launch>,
}

/// One PTX for B200 and B300. Family-specific `sm_100f` came with PTX 8.8 (PTX ISA §11.1.2).
pub const BLACKWELL: Target = Target {
    architecture: "sm_100f",
    ptx_feature: "ptx88",
    llc: &[],
    features: &[],
    folder: "host-crate/ptx",
    file: "nvfp4_dual_gemm.sm_100f.ptx",
    ptx_variable: "NVFP4_PTX",
    assembled_for: &["sm_100f", "sm_100a", "sm_103f", "sm_103a"],
    entries: || {
        let kernels = contract::KERNELS.iter();
        kernels.map(|kernel| kernel.launch).collect()
    },
};

/// PTX for H100 and H200. `sm_90a` is not carried forward to other GPUs; `.shared::cta` as the
/// destination of bulk copies came with PTX 8.6 (PTX ISA §9.7.9.25.4).
pub const HOPPER: Target = Target {
    architecture: "sm_90a",
    ptx_feature: "ptx86",
    llc: &[],
    features: &[],
    folder: "host-crate/ptx",
    file: "nvfp4_dual_gemm.sm_90a.ptx",
    ptx_variable: "NVFP4_HOPPER_PTX",
    assembled_for: &["sm_90a"],
    entries: || {
        let kernels = contract::hopper::KERNELS.iter();
        let multiply = kernels.map(|kernel| kernel.launch);
        [contract::hopper::ACTIVATIONS]
            .into_iter()
            .chain(multiply)
            .collect()
    },
};

/// The conformance kernels, for tests on an H100 or H200 and on the emulated ones. They do not ship.
pub const CONFORMANCE: Target = Target {
    architecture: "sm_90a",
    ptx_feature: "ptx86",
    // The audit follows branches to labels only.
    llc: &["-min-jump-table-entries=4294967295"],
    features: &["conformance"],
    folder: "tests/conformance",
    file: "conformance.sm_90a.ptx",
    ptx_variable: "NVFP4_CONFORMANCE_PTX",
    assembled_for: &["sm_90a"],
    entries: || contract::conformance::ENTRIES.to_vec(),
};

/// Every PTX file that is committed.
pub const TARGETS: [&Target; 3] = [&BLACKWELL, &HOPPER, &CONFORMANCE];

impl Target {
    /// Where what is committed lies.
    pub fn committed_file(&self) -> PathBuf {
        workspace::root().join(self.folder).join(self.file)
    }

    /// Where it is built.
    pub fn build_dir(&self) -> PathBuf {
        let name = self.file.trim_end_matches(".ptx");
        workspace::target_dir().join("ptx").join(name)
    }

    /// Whether the host crate embeds it.
    pub fn ships(&self) -> bool {
        self.features.is_empty()
    }
}

/// The command-line flags that shape the PTX; recorded in its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    pub rustc: Vec<String>,
    pub opt: Vec<String>,
    pub llc: Vec<String>,
}

impl Flags {
    pub fn new(target: &Target) -> Self {
        let cpu = target.architecture;
        let own = |flags: &[&str]| flags.iter().map(|&flag| flag.to_owned()).collect();
        Self {
            rustc: own(&[
                &format!("-Ctarget-cpu={cpu}"),
                "-Zmir-enable-passes=-JumpThreading",
                // Panics become traps: no formatting code, no unresolved externs.
                "-Zunstable-options",
                "-Cpanic=immediate-abort",
            ]),
            // The default unroll threshold: the kernels index accumulators by constants alone, and
            // an epilogue unrolled over the whole tile would not fit the instruction cache.
            opt: own(&["-O3", &format!("-mcpu={cpu}")]),
            llc: [
                own(&[
                    "-O3",
                    &format!("-mcpu={cpu}"),
                    &format!("-mattr=+{}", target.ptx_feature),
                ]),
                own(target.llc),
            ]
            .concat(),
        }
    }
}

/// PTX as `llc` wrote it, with the call sites that the audit needs.
pub struct Compiled {
    pub ptx: String,
    pub marked: Marked,
}

pub fn compile(toolchain: &Toolchain, target: &Target, flags: &Flags) -> Result<Compiled> {
    let build_dir = target.build_dir();
    fs::create_dir_all(&build_dir)
        .with_context(|| format!("cannot create {}", build_dir.display()))?;
    let ir_file = emit_llvm_ir(toolchain, target, flags, &build_dir)?;
    let ir = read(&ir_file)?;
    let marked = convergent::mark(&ir)?;
    let marked_file = build_dir.join("marked.ll");
    fs::write(&marked_file, &marked.ir)
        .with_context(|| format!("cannot write {}", marked_file.display()))?;
    let optimised_file = build_dir.join("optimised.bc");
    let ptx_file = build_dir.join("compiled.ptx");
    llvm(&toolchain.opt, &flags.opt, &marked_file, &optimised_file)?;
    llvm(&toolchain.llc, &flags.llc, &optimised_file, &ptx_file)?;
    Ok(Compiled {
        ptx: read(&ptx_file)?,
        marked,
    })
}

fn emit_llvm_ir(
    toolchain: &Toolchain,
    target: &Target,
    flags: &Flags,
    build_dir: &Path,
) -> Result<PathBuf> {
    let cargo_dir = build_dir.join("cargo");
    let mut rustflags = flags.rustc.clone();
    // The IR is what is wanted; a device library would need a bitcode linker.
    rustflags.push("-Clinker=true".to_owned());
    let status = Command::new(&toolchain.cargo)
        .current_dir(workspace::root())
        .args(["rustc", "--quiet", "--locked", "--release", "--lib"])
        .args(["--package", PACKAGE, "--crate-type", "cdylib"])
        .args(["--features", &target.features.join(",")])
        .args(["--target", TARGET_TRIPLE, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(&cargo_dir)
        .args(["--", "--emit=llvm-ir", "-Cno-prepopulate-passes"])
        .env("RUSTC", &toolchain.rustc)
        // For -Z flags and the nightly features of device code, whatever the compiler's channel.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .status()
        .with_context(|| format!("cannot run {}", toolchain.cargo.display()))?;
    ensure!(
        status.success(),
        "the kernels do not compile ({status}); rustc's messages are above"
    );
    let ir_file = cargo_dir
        .join(TARGET_TRIPLE)
        .join("release/deps")
        .join(LLVM_IR_FILE);
    ensure!(
        ir_file.is_file(),
        "cargo built the kernels and {} is not there; remove {} and try again",
        workspace::shown(&ir_file),
        workspace::shown(build_dir),
    );
    Ok(ir_file)
}

fn llvm(tool: &Path, flags: &[String], input: &Path, output: &Path) -> Result<()> {
    let status = Command::new(tool)
        .args(flags)
        .arg(input)
        .arg("-o")
        .arg(output)
        .status()
        .with_context(|| format!("cannot run {}", tool.display()))?;
    ensure!(
        status.success(),
        "{} failed on {} ({status})",
        tool.display(),
        workspace::shown(input),
    );
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}
