//! `cargo xtask build-ptx`: kernel-crate becomes `host-crate/ptx/*.ptx` and the conformance kernels of
//! the tests.
//!
//! ```text
//! kernel-crate ── rustc ──▶ LLVM IR ── convergent ──▶ opt ──▶ llc ──▶ PTX text ── audit ──▶ directives ──▶ header ──▶ ptxas
//! ```

mod audit;
mod collective;
mod compile;
mod convergent;
mod difference;
mod directives;
mod header;
mod ptx_text;
mod report;
pub mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
pub use compile::{BLACKWELL, HOPPER, TARGETS, Target};

use crate::workspace;
use compile::Flags;
use header::Header;
use toolchain::Toolchain;

const TESTS_PACKAGE: &str = "nvfp4-dual-gemm-tests";

#[derive(clap::Args)]
pub struct Arguments {
    /// Compare with the committed PTX instead of writing it. With another compiler version than the
    /// recorded one: build, assemble, and run the tests on the result
    #[arg(long)]
    check: bool,
    /// The rustc to use; its library source must be installed. Default: $NVFP4_KERNEL_RUSTC, a
    /// rustup nightly, the system's
    #[arg(long, value_name = "PATH")]
    compiler: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let mut recorded = None;
    if arguments.check {
        for target in TARGETS {
            header::check_sources(target)?;
        }
        recorded = Some(committed_version(TARGETS[0])?);
    }
    // Only the recorded compiler can show that the committed PTX is what the sources build.
    let toolchain = toolchain::find(arguments.compiler.as_deref(), recorded.as_ref())?;
    let mut built = Vec::new();
    for target in TARGETS {
        built.push(Built::new(&toolchain, target)?);
    }
    let report = report::assemble(&built)?;
    match recorded {
        None => write(&built, &report),
        Some(recorded) if recorded == toolchain.version => compare(&built, &report),
        Some(recorded) => test(&built, &recorded, &toolchain),
    }
}

/// One target's PTX as it would ship.
struct Built {
    target: &'static Target,
    ptx: String,
    /// Where it was written, in the build folder.
    file: PathBuf,
}

impl Built {
    fn new(toolchain: &Toolchain, target: &'static Target) -> Result<Self> {
        let ptx = build(toolchain, target)?;
        let file = target.build_dir().join(target.file);
        fs::write(&file, &ptx).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { target, ptx, file })
    }
}

fn committed_version(target: &Target) -> Result<toolchain::Version> {
    let committed = read(&target.committed_file())?;
    Ok(Header::parse(&committed)?.version)
}

/// The PTX as it ships.
fn build(toolchain: &Toolchain, target: &Target) -> Result<String> {
    let flags = Flags::new(target);
    let header = Header {
        version: toolchain.version.clone(),
        flags: flags.clone(),
        sources_sha256: header::sources_sha256()?,
    };
    let compiled = compile::compile(toolchain, target, &flags)?;
    audit::audit(&compiled.ptx, &compiled.marked)?;
    let ptx = directives::insert(&compiled.ptx, &(target.entries)())?;
    let ptx = collective::strip_site_comments(&ptx);
    Ok(header.text(target) + &ptx)
}

/// Replaces what is committed; everything has been assembled before.
fn write(built: &[Built], report: &str) -> Result<()> {
    let dir = workspace::ptx_dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let report_file = dir.join(report::FILE);
    let ptx = built
        .iter()
        .map(|one| (one.target.committed_file(), &*one.ptx));
    for (file, text) in ptx.chain([(report_file, report)]) {
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("wrote     {}", workspace::shown(&file));
    }
    print!("\n{report}");
    Ok(())
}

/// Fails where what is committed is not what was built.
fn compare(built: &[Built], report: &str) -> Result<()> {
    let report_file = workspace::ptx_dir().join(report::FILE);
    let ptx = built
        .iter()
        .map(|one| (one.target.committed_file(), &*one.ptx));
    for (file, text) in ptx.chain([(report_file, report)]) {
        let shown = workspace::shown(&file);
        if let Some(difference) = difference::first(&read(&file)?, text) {
            bail!(
                "{shown} differs from what the sources build with the recorded compiler; `cargo xtask build-ptx` rewrites it. \
                 First difference (- committed, + built):\n{difference}",
            );
        }
        println!("{shown} is what the sources build, byte for byte");
    }
    Ok(())
}

/// Runs the tests on the PTX of another compiler than the recorded one.
fn test(built: &[Built], recorded: &toolchain::Version, toolchain: &Toolchain) -> Result<()> {
    let variables: Vec<_> = built
        .iter()
        .map(|one| (one.target.ptx_variable, &one.file))
        .collect();
    let shown: Vec<_> = variables
        .iter()
        .map(|(name, file)| format!("{name}={}", file.display()))
        .collect();
    println!(
        "the committed PTX was built with {recorded}; this is {}.\n\
         Another compiler may write other text: what it wrote assembles, and is now tested instead. To repeat:\n  \
         {} cargo test --package {TESTS_PACKAGE}",
        toolchain.version,
        shown.join(" "),
    );
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let status = Command::new(&cargo)
        .current_dir(workspace::root())
        .args(["test", "--package", TESTS_PACKAGE])
        .envs(variables)
        .status()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    ensure!(
        status.success(),
        "the tests fail on the PTX that this compiler built"
    );
    Ok(())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {}; `cargo xtask build-ptx` writes it",
            workspace::shown(file)
        )
    })
}
