//! `verify`: a list of shapes, one line each, and a summary.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::check::{self, Outcome, Problem};
use nvfp4_dual_gemm::kernels::BLACKWELL;
use nvfp4_dual_gemm::plan::{Shape, Tile};
use nvfp4_dual_gemm::suite::Suite;
use serde_json::json;

use super::progress::Bar;
use super::run::to_json;
use super::{InputArgs, device, exit_code, parse_inputs, schedules};

#[derive(Args)]
pub struct VerifyArgs {
    /// Which shapes: quick (every edge, small), contest (the thirteen of GPU MODE's problem) or all
    #[arg(long, default_value = "quick", value_parser = parse_suite)]
    suite: Suite,
    /// Only these inputs; may be repeated [default: contest and full]
    #[arg(long, value_parser = parse_inputs)]
    inputs: Vec<InputKind>,
    /// Only this shape, instead of a suite
    #[arg(long, value_name = "MxNxK[xL]", value_parser = parse_shape)]
    shape: Option<Shape>,
    /// Run each problem under this many schedules of the emulator, which look for races
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    schedules: Option<u64>,
    /// Seed of the schedules
    #[arg(long, default_value_t = 0, requires = "schedules")]
    schedule_seed: u64,
    #[command(flatten)]
    common: InputArgs,
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    let extents: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let shape = match extents.as_deref() {
        Ok(&[m, n, k]) => Shape::new(m, n, k, 1),
        Ok(&[m, n, k, batch]) => Shape::new(m, n, k, batch),
        _ => return Err("a shape is MxNxK or MxNxKxL".to_owned()),
    };
    shape.map_err(|error| error.to_string())
}

fn parse_suite(name: &str) -> Result<Suite, String> {
    name.parse().map_err(|error| format!("{error}"))
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let shapes = match args.shape {
        Some(shape) => vec![shape],
        None => args.suite.shapes()?,
    };
    let kinds = match args.inputs.as_slice() {
        [] => &[InputKind::Contest, InputKind::Full],
        kinds => kinds,
    };
    // Small shapes all get the smaller tile unless told otherwise.
    let device = device::open()?;
    let is_blackwell = BLACKWELL.has(device.gpu().compute_capability);
    let tiles = match (args.common.tile(), args.suite) {
        (None, Suite::Quick) if is_blackwell => [64, 128].map(Tile::Columns).map(Some).to_vec(),
        (tile, _) => vec![tile],
    };
    let combinations = shapes.iter().flat_map(|&shape| {
        let tiles = &tiles;
        kinds
            .iter()
            .flat_map(move |&inputs| tiles.iter().map(move |&tile| (shape, inputs, tile)))
    });
    let json = args.common.json;
    let problems = combinations.map(|(shape, inputs, tile)| Problem {
        shape,
        inputs,
        seed: args.common.seed,
        alpha1: None,
        alpha2: None,
        tile,
        launches: 1,
    });
    if let Some(count) = args.schedules {
        return schedules::run(&device, problems, count, args.schedule_seed, json);
    }
    let mut out = std::io::stdout();
    if !json {
        writeln!(out, "{}", device.describe())?;
        writeln!(out, "{HEADER}")?;
    }
    let start = Instant::now();
    let (mut runs, mut failed) = (0, 0);
    for problem in problems {
        let bar = Bar::new(format!("{} {}", problem.shape, problem.inputs));
        let outcome = check::run(&device.kernels, &problem, &bar);
        bar.finish();
        let outcome = outcome?;
        runs += 1;
        failed += usize::from(!outcome.passed());
        if json {
            writeln!(out, "{}", to_json(&device, &problem, &outcome))?;
        } else {
            writeln!(out, "{}", line(&problem, &outcome))?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if json {
        writeln!(
            out,
            "{}",
            json!({ "runs": runs, "failed": failed, "seconds": seconds })
        )?;
    } else {
        writeln!(out, "{} of {runs} right in {seconds:.0} s", runs - failed)?;
    }
    Ok(exit_code(failed == 0))
}

const HEADER: &str = "M x N x K              inputs   tile N  device s  reference s  accumulators  C exact    \
                      C max ulp  result";

fn line(problem: &Problem, outcome: &Outcome) -> String {
    let different: u64 = outcome
        .accumulators
        .iter()
        .map(|comparison| comparison.different)
        .sum();
    let accumulators = match different {
        0 => "equal".to_owned(),
        different => format!("{different} differ"),
    };
    format!(
        "{:<22} {:<8} {:>6}  {:>8.2}  {:>11.2}  {accumulators:<12}  {:>8.4} %  {:>8}  {}",
        problem.shape.to_string(),
        problem.inputs,
        outcome.kernel.tile_n,
        outcome.kernel_time.as_secs_f64(),
        outcome.reference_time.as_secs_f64(),
        100.0 * outcome.outputs.exact_fraction(),
        outcome.outputs.max_distance,
        if outcome.passed() { "passed" } else { "FAILED" },
    )
}
