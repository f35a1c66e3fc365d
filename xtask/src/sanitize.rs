//! `cargo xtask sanitize`: the emulator's tests under a tool that finds undefined behaviour. All of them need a nightly
//! toolchain.

use anyhow::{Context, Result};
use xshell::{Cmd, Shell, cmd};

use crate::workspace;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(value_enum)]
    tool: Tool,
    /// Only tests whose names contain this
    filter: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Tool {
    /// Interprets the tests of what has unsafe code: views of memory, the functions of the driver, small launches. The
    /// strictest, in minutes (component `miri`)
    Miri,
    /// Runs all tests with the bounds and the lifetime of every access checked
    Address,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(workspace::root());
    let filter: Vec<&str> = arguments.filter.as_deref().into_iter().collect();
    match arguments.tool {
        Tool::Miri => miri(&sh, &filter),
        Tool::Address => address(&sh)?
            .args(["--lib", "--tests", "--"])
            .args(filter)
            .run()
            .context("the address sanitizer, or a test, found the error above"),
    }
}

/// Unit tests that Miri runs: of modules with unsafe code, and of what stands on them.
const MIRI_UNIT_TESTS: [&str; 4] = [
    "machine::global",
    "machine::shared",
    "driver::",
    "emulator::",
];

/// Tests of the driver that Miri runs, which call it as a program does, through pointers: all but most launches, which take
/// it minutes each.
const MIRI_DRIVER_TESTS: [&str; 6] = [
    "api::",
    "pointers::",
    "launch::a_kernel_runs",
    "launch::parameters_can_come_as_a_buffer",
    "launch::threads_launch_side_by_side",
    "launch::an_illegal_address_breaks_the_context",
];

/// Device addresses are host addresses as integers, which is what permissive provenance is for; files and clocks are the
/// host's.
const MIRI_FLAGS: &str = "-Zmiri-disable-isolation -Zmiri-permissive-provenance";

fn miri(sh: &Shell, filter: &[&str]) -> Result<()> {
    let runs: [(&[&str], &[&str]); 2] = [
        (&["--lib"], &MIRI_UNIT_TESTS),
        (&["--test", "driver"], &MIRI_DRIVER_TESTS),
    ];
    for (target, all) in runs {
        let tests = if filter.is_empty() { all } else { filter };
        cmd!(
            sh,
            "cargo +nightly miri test --locked --package ptx-emulator {target...} -- {tests...}"
        )
        .env("MIRIFLAGS", MIRI_FLAGS)
        .run()
        .context(
            "Miri found the error above, or is not there: \
             `rustup toolchain install nightly --component miri` installs it",
        )?;
    }
    Ok(())
}

/// `cargo test` of the emulator with the address sanitizer.
pub fn address(sh: &Shell) -> Result<Cmd<'_>> {
    let host = host(sh)?;
    Ok(cmd!(
        sh,
        "cargo +nightly test --locked --package ptx-emulator --target {host}"
    )
    .env("RUSTFLAGS", "-Zsanitizer=address"))
}

/// The target that sanitizers want named: flags for it are then not those of build scripts.
fn host(sh: &Shell) -> Result<String> {
    Ok(cmd!(sh, "rustc +nightly --print host-tuple")
        .quiet()
        .read()?)
}
