//! `cargo xtask mutate`: changes every fence, wait, arrival, count, descriptor field, parity, address and the like of the
//! shipped kernels, one at a time, and tells which changes nothing notices.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use clap::Parser;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressStyle};
use nvfp4_dual_gemm::kernels::{ARCHITECTURES, Architecture};
use nvfp4_dual_gemm_tests::mutation::{
    Judge, Mutation, Operator, SCHEDULES, Survivors, Verdict, of_entry, problems,
};
use nvfp4_dual_gemm_tests::ptx_of;
use rayon::prelude::*;

/// Changes the shipped kernels' PTX in one place at a time, runs each on the emulator, and reports the changes that nothing
/// notices.
#[derive(Parser)]
#[command(name = "cargo xtask mutate")]
struct Arguments {
    /// Only this architecture's entries: blackwell or hopper
    #[arg(long, value_parser = architecture)]
    architecture: Option<&'static Architecture>,
    /// Only entries whose name contains this
    #[arg(long)]
    entry: Option<String>,
    /// Only changes whose kind contains this, such as "fence" or "parity"
    #[arg(long)]
    operator: Option<String>,
    /// Run each change under so many schedules on each problem; those that nothing notices take the time
    #[arg(long, default_value_t = SCHEDULES, value_parser = clap::value_parser!(u64).range(1..))]
    schedules: u64,
    /// Print every change and what noticed it
    #[arg(long)]
    verbose: bool,
    /// Print the changes, run nothing
    #[arg(long)]
    list: bool,
}

fn architecture(name: &str) -> Result<&'static Architecture, String> {
    let mut known = ARCHITECTURES.into_iter();
    known
        .find(|architecture| architecture.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| "there are blackwell and hopper".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.architecture {
        Some(architecture) => mutate(architecture, &arguments),
        None => every_architecture(),
    }
}

/// A process has one emulated device: one for each architecture, with the same arguments.
fn every_architecture() -> ExitCode {
    let mut outcome = ExitCode::SUCCESS;
    for architecture in ARCHITECTURES {
        let run = std::env::current_exe().and_then(|program| {
            Command::new(program)
                .args(std::env::args_os().skip(1))
                .args(["--architecture", architecture.name])
                .status()
        });
        match run {
            Ok(status) if status.success() => {}
            Ok(_) => outcome = ExitCode::FAILURE,
            Err(error) => {
                eprintln!("cannot run this program for {}: {error}", architecture.name);
                outcome = ExitCode::FAILURE;
            }
        }
    }
    outcome
}

fn mutate(architecture: &'static Architecture, arguments: &Arguments) -> ExitCode {
    let text = ptx_of(architecture);
    let lines: Vec<&str> = text.lines().collect();
    let (mut killed, mut total, mut unexplained) = (0, 0, 0);
    for entry in architecture.launches() {
        let wanted = arguments.entry.as_deref();
        if wanted.is_some_and(|wanted| !entry.name.contains(wanted)) {
            continue;
        }
        let Some(mut mutations) = of_entry(&text, entry.name) else {
            eprintln!("the PTX has no entry {}", entry.name);
            return ExitCode::FAILURE;
        };
        if let Some(wanted) = &arguments.operator {
            mutations.retain(|mutation| mutation.operator.name().contains(wanted.as_str()));
        }
        if arguments.list {
            mutations.iter().for_each(|mutation| println!("{mutation}"));
            continue;
        }
        let plans = problems::of(architecture, entry.name);
        assert!(!plans.is_empty(), "no problem runs {}", entry.name);
        let judge = match Judge::new(&text, architecture, plans, arguments.schedules) {
            Ok(judge) => judge,
            Err(verdict) => {
                eprintln!("{} fails unchanged: {verdict:?}", entry.name);
                return ExitCode::FAILURE;
            }
        };
        if let Some(Verdict::Reported { report, .. }) = judge.reported_strictly() {
            println!(
                "{}: not run under `strict`, which has against the unchanged kernel:\n  {report}",
                entry.name
            );
        }
        let verdicts: Vec<Verdict> = mutations
            .par_iter()
            .progress_with(progress(entry.name, mutations.len()))
            .map(|mutation| judge.judge(&mutation.apply(&lines)))
            .collect();
        let outcomes: Vec<_> = mutations.iter().zip(&verdicts).collect();
        println!("{}", entry.name);
        print_table(&outcomes);
        if arguments.verbose {
            for (mutation, verdict) in &outcomes {
                println!("  {mutation}\n      {verdict:?}");
            }
        }
        let survived = outcomes.iter().filter(|(_, verdict)| !verdict.is_killed());
        let survivors = Survivors::new(entry.name, survived.map(|(mutation, _)| *mutation));
        print_survivors(&survivors);
        unexplained += survivors.unexplained.len();
        killed += verdicts
            .iter()
            .filter(|verdict| verdict.is_killed())
            .count();
        total += verdicts.len() - survivors.equivalent.len();
    }
    let percent = 100.0 * killed as f64 / f64::from(total.max(1) as u32);
    println!(
        "{}: killed {killed} of {total} ({percent:.1} %)",
        architecture.name
    );
    match unexplained {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn print_survivors(survivors: &Survivors) {
    let mut proofs: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (mutation, equivalent) in &survivors.equivalent {
        proofs
            .entry(equivalent.proof)
            .or_default()
            .push(mutation.to_string());
    }
    for (proof, mutations) in proofs {
        println!("  equivalent, and not counted: {proof}");
        mutations
            .iter()
            .for_each(|mutation| println!("    {mutation}"));
    }
    for mutation in &survivors.unexplained {
        println!("  survived: {mutation}");
    }
}

fn print_table(outcomes: &[(&Mutation, &Verdict)]) {
    let mut rows: BTreeMap<Operator, [usize; 4]> = BTreeMap::new();
    for (mutation, verdict) in outcomes {
        let row = rows.entry(mutation.operator).or_default();
        row[match verdict {
            Verdict::Refused(_) => 0,
            Verdict::Reported { .. } => 1,
            Verdict::Wrong { .. } => 2,
            Verdict::Survived => 3,
        }] += 1;
    }
    println!(
        "  {:<28} {:>8} {:>8} {:>8} {:>8}",
        "", "refused", "reported", "wrong", "survived"
    );
    for (operator, [refused, reported, wrong, survived]) in rows {
        println!("  {operator:<28} {refused:>8} {reported:>8} {wrong:>8} {survived:>8}");
    }
}

fn progress(name: &str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64)
        .with_style(style)
        .with_message(name.to_owned())
}
