//! `cargo xtask miri`: the emulator's unit tests under Miri, which finds undefined behaviour.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::workspace;

/// Views of global memory and what is next to them. Whole programs take Miri minutes each; AVX2 it
/// does not run.
const FILTERS: [&str; 4] = [
    "machine::global",
    "machine::shared",
    "driver::",
    "emulator::",
];

/// Device addresses are host addresses as integers, which is what permissive provenance is for.
const FLAGS: &str = "-Zmiri-disable-isolation -Zmiri-permissive-provenance";

pub fn run() -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(workspace::root());
    cmd!(
        sh,
        "cargo +nightly miri test --locked --package ptx-emulator --lib -- {FILTERS...}"
    )
    .env("MIRIFLAGS", FLAGS)
    .quiet()
    .run()
    .context(
        "Miri found undefined behaviour, or is not there: \
         `rustup toolchain install nightly --component miri` installs it",
    )
}
