//! Valid kernels with a few random changes, and texts that are hardly PTX: whatever they are, the
//! emulator does not panic, and the step limit ends them.
//!
//! `PROPTEST_CASES` sets how many are tried; `cargo xtask fuzz` tries them for minutes.

mod changes;
mod long;
mod originals;
mod syntax;

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;
use ptx_emulator::machine::{FailureKind, Launch, LaunchOptions, Mode, Schedule};

use changes::{Change, changes};
use originals::Original;

const STEP_LIMIT: u64 = 1 << 15;

/// The longest turn of a warp: how late a launch may notice its limit.
const LONGEST_TURN: u64 = 1 << 10;

static ORIGINALS: LazyLock<Vec<Original>> = LazyLock::new(originals::all);

/// A text, how it is launched and under which conditions.
#[derive(Clone, Debug)]
struct Case {
    original: Index,
    changes: Vec<Change>,
    mode: Mode,
    schedule: Schedule,
}

fn cases() -> impl Strategy<Value = Case> {
    let changes = prop::collection::vec(changes(), 1..4);
    let mode = prop_oneof![Just(Mode::Check), Just(Mode::Strict)];
    let schedule = (any::<u64>(), 0u64..64).prop_map(|(seed, nth)| Schedule::nth(seed, nth));
    (any::<Index>(), changes, mode, schedule).prop_map(|(original, changes, mode, schedule)| Case {
        original,
        changes,
        mode,
        schedule,
    })
}

/// What became of a text: it was not loaded, it ran, or it failed after so many steps.
#[derive(Debug)]
enum Outcome {
    Refused(String),
    Ran { steps: u64 },
    Failed { steps: u64, report: String },
}

impl Case {
    fn original(&self) -> &'static Original {
        self.original.get(&ORIGINALS)
    }

    fn text(&self) -> String {
        let mut lines = self.original().lines.clone();
        for change in &self.changes {
            change.apply(&mut lines);
        }
        lines.join("\n")
    }

    /// Whatever happens, it takes no more steps than the limit and a turn of each warp.
    fn check(&self) {
        let (outcome, warps) = self.original().run(&self.text(), self.mode, self.schedule);
        let most = STEP_LIMIT + LONGEST_TURN * warps;
        match outcome {
            // What a report prints must not panic either, and says something.
            Outcome::Refused(report) => assert!(!report.is_empty()),
            Outcome::Ran { steps } => assert!(steps <= most, "{steps} steps"),
            Outcome::Failed { steps, report } => {
                assert!(steps <= most && !report.is_empty(), "{steps} steps");
            }
        }
    }
}

impl Original {
    /// Runs a text in place of this original; also says how many warps its launch has.
    fn run(&self, text: &str, mode: Mode, schedule: Schedule) -> (Outcome, u64) {
        let (device, mut launches) = match (self.prepare)(text) {
            Ok(prepared) => prepared,
            Err(error) => return (Outcome::Refused(error.to_string()), 0),
        };
        for launch in &mut launches {
            launch.options = LaunchOptions {
                mode,
                schedule,
                threads: 1,
                step_limit: STEP_LIMIT,
                ..LaunchOptions::default()
            };
        }
        let product = |shape: [u32; 3]| shape.into_iter().map(u64::from).product::<u64>();
        let warps_of = |launch: &Launch| product(launch.grid) * product(launch.block).div_ceil(32);
        let warps = launches.iter().map(warps_of).sum();
        let outcome = match device.launch_chain(&launches) {
            Ok(reports) => Outcome::Ran {
                steps: reports
                    .iter()
                    .map(|report| report.warp_instructions)
                    .max()
                    .unwrap_or(0),
            },
            Err(failure) => Outcome::Failed {
                steps: match &failure.kind {
                    FailureKind::Hang(report) | FailureKind::Deadlock(report) => report.steps,
                    _ => 0,
                },
                report: failure.to_string(),
            },
        };
        (outcome, warps)
    }
}

#[test]
fn the_originals_run() {
    // Not those of the other tests, whose programs run at the same time.
    for original in originals::all() {
        let text = original.lines.join("\n");
        for nth in 0..8 {
            let schedule = Schedule::nth(1, nth);
            let (outcome, _) = original.run(&text, Mode::Check, schedule);
            match outcome {
                Outcome::Ran { .. } => {}
                Outcome::Failed { .. } if !original.runs => {}
                _ => panic!("{schedule}: {outcome:?}\n{text}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_kernels_end(case in cases()) {
        case.check();
    }

    #[test]
    fn any_text_is_loaded_or_refused(text in syntax::texts()) {
        syntax::check(&text);
    }
}
