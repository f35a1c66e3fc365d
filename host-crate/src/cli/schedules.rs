//! `verify --schedules`: each problem under many schedules of the emulator.

use std::process::ExitCode;

use nvfp4_dual_gemm::check::Problem;

use super::device::Opened;

#[cfg(not(feature = "emulator"))]
pub fn run(
    _: &Opened,
    _: impl Iterator<Item = Problem>,
    _: u64,
    _: u64,
    _: bool,
) -> anyhow::Result<ExitCode> {
    anyhow::bail!("schedules are the emulator's, and this program was built without it")
}

/// Runs each problem under the schedules of a portfolio and prints a line for each, and how to replay the first that
/// fails.
#[cfg(feature = "emulator")]
pub fn run(
    device: &Opened,
    problems: impl Iterator<Item = Problem>,
    count: u64,
    seed: u64,
    json: bool,
) -> anyhow::Result<ExitCode> {
    use std::io::Write;
    use std::time::Instant;

    use nvfp4_dual_gemm::check;
    use nvfp4_dual_gemm::driver::explore_schedules;
    use serde_json::json;

    use super::exit_code;
    use super::progress::Bar;

    anyhow::ensure!(
        device.is_emulated(),
        "a GPU's schedule can't be chosen; set NVFP4_DEVICE=emulator"
    );
    let mut out = std::io::stdout();
    if !json {
        writeln!(out, "{}", device.describe())?;
    }
    for problem in problems {
        let Problem { shape, inputs, .. } = problem;
        let start = Instant::now();
        let bar = Bar::new(format!("{shape} {inputs}"));
        let exploration = explore_schedules(count, seed, || {
            match check::run(&device.kernels, &problem, &()) {
                Ok(outcome) if outcome.passed() => Ok(()),
                Ok(outcome) => Err(format!("wrong results: C: {}", outcome.outputs)),
                Err(error) => Err(error.to_string()),
            }
        })?;
        bar.finish();
        let seconds = start.elapsed().as_secs_f64();
        let failure = &exploration.failure;
        let what = match problem.tile {
            Some(tile) => format!("{shape}, {inputs}, {tile}"),
            None => format!("{shape}, {inputs}"),
        };
        if json {
            let line = json!({
                "m": shape.m(),
                "n": shape.n(),
                "k": shape.k(),
                "l": shape.batch(),
                "inputs": inputs.name(),
                "tile": problem.tile.map(|tile| tile.to_string()),
                "schedules": exploration.tried,
                "seconds": seconds,
                "failure": failure.as_ref().map(|failure| failure.error.clone()),
                "failing_schedule": failure.as_ref().map(|failure| failure.schedule.to_string()),
            });
            writeln!(out, "{line}")?;
        } else {
            match failure {
                None => writeln!(out, "{what}: right under {count} schedules, {seconds:.1} s")?,
                Some(failure) => writeln!(out, "{what}: {failure}")?,
            }
        }
        // A kernel that failed has broken the context.
        if failure.is_some() {
            return Ok(exit_code(false));
        }
    }
    Ok(exit_code(true))
}
