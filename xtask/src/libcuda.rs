//! `cargo xtask libcuda DIR`: the emulator as a library that takes the place of NVIDIA's driver.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::workspace;

#[derive(clap::Args)]
pub struct Arguments {
    /// Where the libraries go; made if need be
    dir: PathBuf,
}

const LIBRARY: &str = "libptx_emulator.so";
/// What programs look for: the name that they are linked to, and the one that a linker looks for.
const ALIASES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

pub fn run(arguments: &Arguments) -> Result<()> {
    build(&arguments.dir)?;
    println!(
        "{} as {LIBRARY}, {}. Run a CUDA program on the emulated device with\n  LD_LIBRARY_PATH={} PROGRAM",
        workspace::shown(&arguments.dir),
        ALIASES.join(", "),
        arguments.dir.display(),
    );
    Ok(())
}

/// Builds the library and puts it into `dir` under all its names.
pub fn build(dir: &Path) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(workspace::root());
    cmd!(
        sh,
        "cargo build --locked --release --quiet --package ptx-emulator-cuda"
    )
    .quiet()
    .run()
    .context("cannot build the emulator's library")?;
    let context = || format!("cannot write to {}", dir.display());
    fs::create_dir_all(dir).with_context(context)?;
    let library = dir.join(LIBRARY);
    // A process may have the old file mapped: replace it rather than write into it.
    remove(&library).with_context(context)?;
    let built = workspace::target_dir().join("release/libptx_emulator_cuda.so");
    fs::copy(&built, &library)
        .with_context(|| format!("cannot copy {} to {}", built.display(), dir.display()))?;
    for alias in ALIASES {
        let alias = dir.join(alias);
        remove(&alias).with_context(context)?;
        link(Path::new(LIBRARY), &alias).with_context(context)?;
    }
    Ok(())
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn link(to: &Path, alias: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, alias)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::other("the library is for Linux"))
}
