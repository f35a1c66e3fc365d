//! `run`: one dual GEMM, every element checked.

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::check::{self, Outcome, Problem};
use nvfp4_dual_gemm::driver::prefer_fast_emulation;
use nvfp4_dual_gemm::plan::Shape;
use serde_json::{Value, json};

use super::device::{self, Opened};
use super::progress::Bar;
use super::{InputArgs, exit_code, observe, parse_inputs};

#[derive(Args)]
pub struct RunArgs {
    /// Rows of A and C
    #[arg(long, allow_negative_numbers = true)]
    m: usize,
    /// Rows of B1 and B2, columns of C; a multiple of 8
    #[arg(long, allow_negative_numbers = true)]
    n: usize,
    /// Columns of A, B1 and B2; a multiple of 64
    #[arg(long, allow_negative_numbers = true)]
    k: usize,
    /// Number of dual GEMMs in the batch
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    l: usize,
    /// Factor of A·B1ᵀ; by default what the inputs come with
    #[arg(long, allow_hyphen_values = true)]
    alpha1: Option<f32>,
    /// Factor of A·B2ᵀ; by default what the inputs come with
    #[arg(long, allow_hyphen_values = true)]
    alpha2: Option<f32>,
    /// How inputs are drawn: contest, full or normal
    #[arg(long, default_value = "contest", value_parser = parse_inputs)]
    inputs: InputKind,
    /// Timed launches; the fastest is reported [default: 20 on a GPU, 1 on the emulator]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    launches: Option<u32>,
    #[command(flatten)]
    observe: observe::ObserveArgs,
    #[command(flatten)]
    common: InputArgs,
}

pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let shape = Shape::new(args.m, args.n, args.k, args.l)?;
    let device = device::open()?;
    // Every element is compared with the reference; `verify` is what also looks for missing synchronisation.
    prefer_fast_emulation();
    let problem = Problem {
        shape,
        inputs: args.inputs,
        seed: args.common.seed,
        alpha1: args.alpha1,
        alpha2: args.alpha2,
        tile: args.common.tile(),
        launches: args
            .launches
            .unwrap_or(if device.is_emulated() { 1 } else { 20 }),
    };
    let observing = args.observe.start(&device)?;
    let bar = Bar::new(shape.to_string());
    let outcome = check::run(&device.kernels, &problem, &bar);
    bar.finish();
    // Of a run that fails, too: that is what they are for.
    let kernel = outcome.as_ref().ok().map(|outcome| outcome.kernel);
    let mut out = std::io::stdout().lock();
    observing.finish(kernel, &shape.to_string(), args.common.json, &mut out)?;
    let outcome = outcome?;
    if args.common.json {
        writeln!(out, "{}", to_json(&device, &problem, &outcome))?;
    } else {
        write_report(&mut out, &device, &problem, &outcome)?;
    }
    Ok(exit_code(outcome.passed()))
}

fn write_report(
    out: &mut impl Write,
    device: &Opened,
    problem: &Problem,
    outcome: &Outcome,
) -> std::io::Result<()> {
    let Problem {
        shape,
        inputs,
        seed,
        ..
    } = problem;
    let [alpha1, alpha2] = outcome.alphas;
    let [x, y, z] = outcome.grid;
    let kernel = outcome.kernel;
    writeln!(out, "device        {}", device.describe())?;
    writeln!(
        out,
        "shape         M {}, N {}, K {}, L {}",
        shape.m(),
        shape.n(),
        shape.k(),
        shape.batch()
    )?;
    writeln!(
        out,
        "inputs        {inputs}, seed {seed}, alpha1 {alpha1}, alpha2 {alpha2}"
    )?;
    writeln!(
        out,
        "plan          {}, {x} x {y} x {z} CTAs of {} threads, {} KiB shared memory",
        kernel.launch.name,
        kernel.launch.threads_per_cta,
        kernel.launch.dynamic_shared_bytes / 1024,
    )?;
    writeln!(
        out,
        "time          {}",
        describe_time(device, shape, outcome)
    )?;
    writeln!(out, "A·B1ᵀ         {}", outcome.accumulators[0])?;
    writeln!(out, "A·B2ᵀ         {}", outcome.accumulators[1])?;
    writeln!(out, "C             {}", outcome.outputs)?;
    if outcome.guard_bytes_written > 0 {
        writeln!(
            out,
            "guards        {} bytes outside of the outputs written",
            outcome.guard_bytes_written
        )?;
    }
    writeln!(
        out,
        "{}",
        if outcome.passed() { "passed" } else { "FAILED" }
    )
}

fn describe_time(device: &Opened, shape: &Shape, outcome: &Outcome) -> String {
    let seconds = outcome.kernel_time.as_secs_f64();
    let checking = (outcome.inputs_time + outcome.reference_time).as_secs_f64();
    if device.is_emulated() {
        return format!("{seconds:.2} s to emulate, {checking:.2} s for inputs and reference");
    }
    let tflops = 2.0 * shape.multiply_accumulates() as f64 / seconds / 1e12;
    format!(
        "{:.2} µs, {tflops:.0} TFLOP/s; {checking:.2} s for inputs and reference",
        seconds * 1e6
    )
}

/// One object for a problem and its outcome; `verify` prints the same.
pub fn to_json(device: &Opened, problem: &Problem, outcome: &Outcome) -> Value {
    let (major, minor) = device.gpu().compute_capability;
    let shape = problem.shape;
    let different = |index: usize| outcome.accumulators[index].different;
    json!({
        "device": device.name,
        "emulated": device.is_emulated(),
        "compute_capability": format!("{major}.{minor}"),
        "m": shape.m(),
        "n": shape.n(),
        "k": shape.k(),
        "l": shape.batch(),
        "inputs": problem.inputs.name(),
        "seed": problem.seed,
        "alpha1": outcome.alphas[0],
        "alpha2": outcome.alphas[1],
        "kernel": outcome.kernel.launch.name,
        "grid": outcome.grid,
        "kernel_seconds": outcome.kernel_time.as_secs_f64(),
        "reference_seconds": outcome.reference_time.as_secs_f64(),
        "accumulators": outcome.accumulators[0].total + outcome.accumulators[1].total,
        "accumulators_different": different(0) + different(1),
        "outputs": outcome.outputs.total,
        "outputs_exact_fraction": outcome.outputs.exact_fraction(),
        "outputs_beyond_one_ulp": outcome.outputs.beyond_one_ulp(),
        "guard_bytes_written": outcome.guard_bytes_written,
        "passed": outcome.passed(),
    })
}
