//! `cargo xtask build-ptx`: kernel-crate becomes `host-crate/ptx/*.ptx`.
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
use nvfp4_dual_gemm_kernel::contract::KERNELS;

pub use compile::{BLACKWELL, Target};

use crate::workspace;
use compile::Flags;
use header::Header;
use toolchain::Toolchain;

/// Names a PTX file that the host crate takes instead of the one it was built with.
const PTX_VARIABLE: &str = "NVFP4_PTX";
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
    let target = &BLACKWELL;
    let mut recorded = None;
    if arguments.check {
        header::check_sources(target)?;
        let committed = read(&workspace::ptx_dir().join(target.file))?;
        recorded = Some(Header::parse(&committed)?.version);
    }
    // Only the recorded compiler can show that the committed PTX is what the sources build.
    let toolchain = toolchain::find(arguments.compiler.as_deref(), recorded.as_ref())?;
    let ptx = build(&toolchain, target)?;
    if arguments.check {
        check(&ptx, &toolchain, target)
    } else {
        write(&ptx, target)
    }
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
    let ptx = directives::insert(&compiled.ptx, KERNELS)?;
    let ptx = collective::strip_site_comments(&ptx);
    Ok(header.text(target) + &ptx)
}

fn write(ptx: &str, target: &Target) -> Result<()> {
    // Assembled before anything committed is replaced.
    let built = write_built(ptx, target)?;
    let report = report::assemble(&built, target)?;
    let dir = workspace::ptx_dir();
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (name, text) in [(target.file, ptx), (report::FILE, &report)] {
        let file = dir.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        println!("wrote     {}", workspace::shown(&file));
    }
    print!("\n{report}");
    Ok(())
}

fn write_built(ptx: &str, target: &Target) -> Result<PathBuf> {
    let built = workspace::target_dir()
        .join("ptx")
        .join(target.architecture)
        .join(target.file);
    fs::write(&built, ptx).with_context(|| format!("cannot write {}", built.display()))?;
    Ok(built)
}

fn check(ptx: &str, toolchain: &Toolchain, target: &Target) -> Result<()> {
    let committed_file = workspace::ptx_dir().join(target.file);
    let committed = read(&committed_file)?;
    let recorded = Header::parse(&committed)?.version;
    let built = write_built(ptx, target)?;
    let report = report::assemble(&built, target)?;
    if recorded == toolchain.version {
        compare(&committed_file, &committed, ptx)?;
        let report_file = workspace::ptx_dir().join(report::FILE);
        compare(&report_file, &read(&report_file)?, &report)?;
        println!(
            "{} is what the sources build, byte for byte",
            workspace::shown(&committed_file)
        );
        return Ok(());
    }
    println!(
        "the committed PTX was built with {recorded}; this is {}.\n\
         Another compiler may write other text: what it wrote assembles, and is now tested instead. To repeat:\n  \
         {PTX_VARIABLE}={} cargo test --package {TESTS_PACKAGE}",
        toolchain.version,
        built.display(),
    );
    test_built(&built)
}

fn compare(file: &Path, committed: &str, built: &str) -> Result<()> {
    if let Some(difference) = difference::first(committed, built) {
        bail!(
            "{} differs from what the sources build with the recorded compiler; `cargo xtask build-ptx` rewrites it. \
             First difference (- committed, + built):\n{difference}",
            workspace::shown(file),
        );
    }
    Ok(())
}

fn test_built(built: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let status = Command::new(&cargo)
        .current_dir(workspace::root())
        .args(["test", "--package", TESTS_PACKAGE])
        .env(PTX_VARIABLE, built)
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
