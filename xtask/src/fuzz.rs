//! `cargo xtask fuzz`: the random tests of `emulator/tests/rules/mutation.rs`, for as long as one likes.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::{sanitize, workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Which cases: a seed gives the same ones every time
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// With the address sanitizer (needs a nightly toolchain)
    #[arg(long)]
    sanitize: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let sh = Shell::new()?;
    sh.change_dir(workspace::root());
    // Tests are built with overflow checks.
    let test = match arguments.sanitize {
        true => sanitize::address(&sh)?,
        false => cmd!(sh, "cargo test --locked --package ptx-emulator"),
    };
    test.args([
        "--test",
        "rules",
        "--",
        "--ignored",
        "--exact",
        "--nocapture",
    ])
    .arg("mutation::long::fuzz")
    .env(
        "PTX_EMULATOR_FUZZ_SECONDS",
        (60 * arguments.minutes).to_string(),
    )
    .env("PTX_EMULATOR_FUZZ_SEED", arguments.seed.to_string())
    .quiet()
    .run()
    .context("a case failed; its seed and its text are above")
}
