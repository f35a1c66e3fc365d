//! `cargo xtask third-party`: programs that know nothing of the emulator run against its library.
//!
//! A Python script that calls the driver through ctypes, and the examples and the driver tests of
//! the crate cudarc, as its authors published them; those that compile CUDA C++ do so with NVIDIA's
//! own runtime compiler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use xshell::{Shell, cmd};

use crate::setup::{self, Wheel};
use crate::{libcuda, workspace};

/// NVIDIA's runtime compiler, which cudarc opens by name.
const NVRTC: Wheel = Wheel {
    package: "nvidia-cuda-nvrtc",
    version: "13.0.88",
    platform: "manylinux2010",
    sha256: &[(
        "x86_64",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    )],
};
const NVRTC_FILES: [&str; 2] = ["libnvrtc.so.13", "libnvrtc-builtins.so.13.0"];

const CUDARC: &str = "0.19.10";
/// SHA-256 of the crate as crates.io has it.
const CUDARC_SHA256: &str = "7359bf1de037ddada72729c3acec9b040f3468400c6e9e740b01ba0cd2e89562";
const CUDARC_FEATURES: &str = "std,driver,nvrtc,dynamic-loading,cuda-13000";

/// Examples of cudarc, and a line that each prints when all is well.
const EXAMPLES: [(&str, &str); 9] = [
    ("01-allocate", ""),
    ("02-copy", ""),
    ("03-launch-kernel", "Found [0.841471, 0.90929747, 0.14112]"),
    ("04-streams", "Found [0.841471, 0.90929747, 0.14112]"),
    ("05-device-repr", ""),
    ("09-constant-memory", "All results match expected values!"),
    ("10-function-attributes", "Max threads per block:    1024"),
    (
        "12-context-config",
        "Restored cache config to CU_FUNC_CACHE_PREFER_NONE",
    ),
    ("matmul-kernel", "Found [7.0, 10.0, 15.0, 22.0]"),
];

/// Tests of cudarc that cannot pass, and why.
const SKIPPED: [(&str, &str); 8] = [
    (
        "test_par_launch",
        "wants two streams to take less time than one",
    ),
    (
        "test_multi_stream",
        "a million 64-bit remainders one after the other take minutes",
    ),
    (
        "test_event_try_is_complete",
        "wants work to wait in a stream; here it runs when it is submitted",
    ),
    ("test_pinned_copy_is_faster", "compares times"),
    (
        "test_default_pinned_host_reads_are_faster_than_write_combined",
        "compares times",
    ),
    ("test_end_capture_flags", "needs graphs"),
    ("test_end_capture_invalid_flags", "needs graphs"),
    (
        "test_event_try_is_complete_preserves_capture_error",
        "needs graphs",
    ),
];

pub fn run() -> Result<()> {
    let dir = workspace::target_dir().join("third-party");
    let libraries = dir.join("lib");
    libcuda::build(&libraries)?;
    let sh = Shell::new()?;
    sh.set_var("LD_LIBRARY_PATH", &libraries);

    sh.change_dir(workspace::root());
    let script = "emulator/cdylib/vector_add.py";
    println!("Python: {script}");
    let printed = cmd!(sh, "python3 {script}").quiet().read();
    let printed = printed.context("the Python program failed")?;
    ensure!(printed.contains("1000 sums right"), "found {printed:?}");

    let cudarc = fetch_cudarc(&sh, &dir)?;
    setup::require_pip(&sh)?;
    NVRTC.install(&sh, &NVRTC_FILES, &libraries)?;
    sh.change_dir(&cudarc);
    sh.set_var("CARGO_TARGET_DIR", dir.join("target"));
    for (example, line) in EXAMPLES {
        println!("cudarc {CUDARC}: example {example}");
        let printed = cmd!(
            sh,
            "cargo run --locked --quiet --no-default-features --features {CUDARC_FEATURES}
             --example {example}"
        )
        .quiet()
        .read();
        let printed = printed.with_context(|| format!("the example {example} failed"))?;
        ensure!(
            printed.contains(line),
            "{example} printed {printed:?}, not {line:?}"
        );
    }
    test_cudarc(&sh)
}

fn test_cudarc(sh: &Shell) -> Result<()> {
    let skip = SKIPPED.iter().flat_map(|(test, _)| ["--skip", test]);
    println!("cudarc {CUDARC}: its tests of `driver` and `nvrtc`");
    let tests = cmd!(
        sh,
        "cargo test --locked --quiet --no-default-features --features {CUDARC_FEATURES} --lib --
         driver nvrtc {skip...}"
    );
    let output = tests.quiet().ignore_status().output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "cudarc's tests fail:\n{printed}");
    let result = printed
        .lines()
        .find(|line| line.starts_with("test result:"))
        .context("cudarc's tests say no result")?;
    println!("  {result}");
    for (test, reason) in SKIPPED {
        println!("  not run: {test}: {reason}");
    }
    Ok(())
}

/// A copy of cudarc's sources, as cargo unpacks them.
fn fetch_cudarc(sh: &Shell, dir: &Path) -> Result<PathBuf> {
    let to = dir.join(format!("cudarc-{CUDARC}"));
    let context = || format!("cannot write to {}", dir.display());
    // A package whose one purpose is that cargo fetches what it depends on.
    let fetch = dir.join("fetch");
    fs::create_dir_all(fetch.join("src")).with_context(context)?;
    fs::write(fetch.join("src/lib.rs"), "").with_context(context)?;
    let manifest = format!(
        "[package]\nname = \"fetch\"\nedition = \"2024\"\n\n[dependencies]\n\
         cudarc = {{ version = \"={CUDARC}\", default-features = false, \
         features = [\"driver\", \"dynamic-loading\", \"cuda-13000\"] }}\n\n[workspace]\n"
    );
    fs::write(fetch.join("Cargo.toml"), manifest).with_context(context)?;
    let _fetch = sh.push_dir(&fetch);
    let metadata = cmd!(sh, "cargo metadata --quiet --format-version 1")
        .quiet()
        .read()
        .context("cannot fetch cudarc from crates.io")?;
    let sources = manifest_of(&metadata, "cudarc").context("cargo did not say where cudarc is")?;
    setup::check_sha256(&crate_file(&sources)?, CUDARC_SHA256)?;
    if !to.exists() {
        let partial = dir.join("cudarc-partial");
        sh.remove_path(&partial)?;
        cmd!(sh, "cp -r {sources} {partial}").quiet().run()?;
        fs::rename(&partial, &to).with_context(context)?;
    }
    Ok(to)
}

/// The folder of a package in the output of `cargo metadata`.
fn manifest_of(metadata: &str, package: &str) -> Option<PathBuf> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    let packages = metadata["packages"].as_array()?;
    let found = packages.iter().find(|p| p["name"] == package)?;
    let manifest = Path::new(found["manifest_path"].as_str()?);
    Some(manifest.parent()?.to_owned())
}

/// `registry/src/INDEX/NAME` was unpacked from `registry/cache/INDEX/NAME.crate`.
fn crate_file(sources: &Path) -> Result<PathBuf> {
    let parts = || {
        let name = sources.file_name()?.to_str()?;
        let index = sources.parent()?;
        let registry = index.parent()?.parent()?;
        let cache = registry.join("cache").join(index.file_name()?);
        Some(cache.join(format!("{name}.crate")))
    };
    parts().with_context(|| format!("{} is not in cargo's registry", sources.display()))
}
