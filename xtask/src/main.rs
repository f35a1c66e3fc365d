//! `cargo xtask COMMAND`: everything about the kernels' PTX and the emulator that plain cargo cannot
//! do.

mod build_ptx;
mod fuzz;
mod graph;
mod libcuda;
mod mutate;
mod ptxas;
mod sanitize;
mod sass;
mod setup;
mod third_party;
mod workspace;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Builds, checks and inspects the kernels' PTX, and the emulator's library"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch ptxas and nvdisasm into target/cuda-tools, and look for a compiler that can build the
    /// kernels
    Setup(setup::Arguments),
    /// Compile kernel-crate to PTX, audit it, assemble it, and write host-crate/ptx
    BuildPtx(build_ptx::Arguments),
    /// Print an entry's SASS and what the K loops of its load and MMA warps consist of
    Sass(sass::Arguments),
    /// Build the emulator as a shared library and put it into a folder as libptx_emulator.so and
    /// libcuda.so.1
    Libcuda(libcuda::Arguments),
    /// Run programs that know nothing of the emulator against that library: a Python script, and
    /// the examples and tests of the crate cudarc
    ThirdParty,
    /// Load and launch changed kernels and broken texts in the emulator, until one of them makes it panic or hang
    Fuzz(fuzz::Arguments),
    /// Run the emulator's tests under Miri or a sanitizer, which find undefined behaviour (needs a
    /// nightly toolchain)
    Sanitize(sanitize::Arguments),
    /// Change the kernels in one place at a time, and report the changes that nothing notices
    Mutate(mutate::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(arguments),
        Command::BuildPtx(arguments) => build_ptx::run(arguments),
        Command::Sass(arguments) => sass::run(arguments),
        Command::Libcuda(arguments) => libcuda::run(&arguments),
        Command::ThirdParty => third_party::run(),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Sanitize(arguments) => sanitize::run(&arguments),
        Command::Mutate(arguments) => mutate::run(arguments),
    }
}
