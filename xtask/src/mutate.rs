//! `cargo xtask mutate`: the tool is an example program of the product's tests, which have the device and the
//! references; this builds it in release mode and passes the arguments on.

use xshell::{Shell, cmd};

/// Arguments are the tool's own: see `--help`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub fn run(Arguments { arguments }: Arguments) -> anyhow::Result<()> {
    let shell = Shell::new()?;
    shell.change_dir(crate::workspace::root());
    let package = "nvfp4-dual-gemm-tests";
    cmd!(
        shell,
        "cargo run --quiet --release --package {package} --example mutate -- {arguments...}"
    )
    .quiet()
    .run()?;
    Ok(())
}
