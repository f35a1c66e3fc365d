//! Commands and what they share.

mod bench;
mod device;
mod info;
mod observe;
mod progress;
mod run;
mod schedules;
mod verify;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::plan::Tile;

/// A result was wrong.
pub const EXIT_WRONG: u8 = 1;
/// A command could not be carried out.
pub const EXIT_ERROR: u8 = 2;

/// NVFP4 gated dual GEMM for NVIDIA Blackwell and Hopper: C = silu(alpha1·A·B1ᵀ) ⊙ (alpha2·A·B2ᵀ)
///
/// A [L, M, K], B1 and B2 [L, N, K]: e2m1 with a ue4m3 scale per 16 elements. C [L, M, N]: f16.
///
/// Where there is no GPU with kernels, everything runs on an emulated B200.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Environment:
  NVFP4_DEVICE   auto (default): a B200, B300, H100 or H200 if there is one, else the emulated B200
                 cuda: a real GPU or an error; emulator: the emulated B200
  NVFP4_PTX      file with another build of the kernels for Blackwell, instead of the one in this program
  NVFP4_HOPPER_PTX
                 likewise for Hopper
  PTX_EMULATOR_DEVICE=h200
                 emulates an H200 instead, which runs the kernels for Hopper

Exit status: 0 if all results are right, 1 if one is wrong, 2 on an error.";

#[derive(Subcommand)]
enum Command {
    /// Run one dual GEMM and check every element
    Run(run::RunArgs),
    /// Run a list of shapes, a line each
    Verify(verify::VerifyArgs),
    /// Time shapes on a GPU, every element checked
    ///
    /// Each shape has several sets of operands, used in turn, so that weights come from memory and not from
    /// the L2 cache. It is timed in two modes, by events on the device:
    ///
    /// replay: a CUDA graph of one call, launched on an idle device. Includes the fixed cost of a launch,
    /// which the line "empty kernel" tells.
    ///
    /// in row: a CUDA graph of many calls, divided by their number. On Hopper a call's weights may be copied
    /// while the call before still runs, as between layers of a model enqueued by launch_overlapped.
    ///
    /// Every output of every set is compared with what the tensor core must give, step by step, and with the
    /// exact product; and again after timing. Floors are the bytes and operations that no kernel can do
    /// without, over the rates of memory (measured) and arithmetic (measured with --against, else of the
    /// datasheet).
    #[command(after_long_help = bench::EXAMPLES)]
    Bench(bench::BenchArgs),
    /// Show the driver, devices and kernels found
    Info(info::InfoArgs),
}

impl Cli {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(&args),
            Command::Verify(args) => verify::run(&args),
            Command::Bench(args) => bench::run(&args),
            Command::Info(args) => info::run(&args),
        }
    }
}

/// Options of every command that runs kernels.
#[derive(Args)]
struct InputArgs {
    /// Seed of the random inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// N tile of the kernel on Blackwell, 64 or 128; by default the one expected to be fastest
    #[arg(long, value_name = "COLUMNS")]
    tile_n: Option<u32>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

impl InputArgs {
    fn tile(&self) -> Option<Tile> {
        self.tile_n.map(Tile::Columns)
    }
}

fn parse_inputs(name: &str) -> Result<InputKind, String> {
    name.parse().map_err(|error| format!("{error}"))
}

fn exit_code(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_WRONG)
    }
}
