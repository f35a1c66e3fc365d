//! What notices a changed kernel, if anything does.

use nvfp4_dual_gemm::check::CheckError;
use nvfp4_dual_gemm::kernels::KernelEntry;
use nvfp4_dual_gemm::plan::{DualGemm, Gpu, Shape};
use nvfp4_dual_gemm::{InputKind, Inputs};
use nvfp4_dual_gemm_kernel::contract::SharedPlan;
use ptx_emulator::driver::set_launch_options;
use ptx_emulator::machine::{LaunchOptions, Mode, Schedule};

use crate::{TestDevice, failed};

/// A changed kernel that spins is given up after this many warp instructions of a CTA, some twenty times what the whole
/// needs.
const STEP_LIMIT: u64 = 1 << 20;

/// What a run of a changed kernel came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The emulator would not load it.
    Refused(String),
    /// A rule was broken: the report's first line, and under which schedule.
    Reported {
        report: String,
        mode: Mode,
        schedule: Schedule,
    },
    /// It ran, and some bytes of the output differ.
    Wrong { bytes: usize, schedule: Schedule },
    /// Nothing noticed.
    Survived,
}

impl Verdict {
    pub fn is_killed(&self) -> bool {
        *self != Self::Survived
    }
}

/// A dual GEMM with its right result.
struct Case {
    plan: DualGemm,
    inputs: Inputs,
    right: Vec<Vec<u8>>,
}

/// Runs changed kernels on problems whose results are known.
pub struct Judge {
    cases: Vec<Case>,
}

/// Seed of the schedules.
const SEED: u64 = 0;

/// Schedules of the portfolio: most changes fall under the first, each other shows what only it can.
const SCHEDULES: u64 = 12;

/// How a changed kernel is run, in this order: the letter of the ISA comes second, as a kernel that keeps to it is part of
/// what is proved.
fn runs() -> impl Iterator<Item = (Mode, Schedule)> {
    let check = |index| (Mode::Check, Schedule::nth(SEED, index));
    let strict = (Mode::Strict, Schedule::default());
    [check(0), strict]
        .into_iter()
        .chain((1..SCHEDULES).map(check))
}

fn options((mode, schedule): (Mode, Schedule)) -> LaunchOptions {
    LaunchOptions {
        mode,
        schedule,
        threads: 1,
        step_limit: STEP_LIMIT,
        ..LaunchOptions::default()
    }
}

impl Judge {
    /// Runs the kernel of `ptx` as it is, on every case and under every schedule.
    ///
    /// # Errors
    /// The unchanged kernel does not run.
    pub fn new(ptx: &str, entry: &KernelEntry) -> Result<Self, Verdict> {
        let stages = SharedPlan::new(entry.tile_n).stages as usize;
        let tile_n = entry.tile_n as usize;
        let shapes = [
            // One CTA, which is fast and finds nearly all. It wraps the ring of stages twice, and ends in three of the
            // four K steps of a tile.
            (128, tile_n, 256 * (2 * stages + 1) + 192, 1),
            // Nothing but a partial K tile; an odd M, so that the row pitches of a batch are odd; half a tile of the
            // scale factors of N.
            (129, 64, 192, 2),
            // No partial K tile, and more than one tile of scale factors of M and N in a batch.
            (320, 3 * tile_n.max(88) + 8, 512, 2),
            // The other lengths of a partial K tile; scale factors of two tiles of N.
            (128, 2 * tile_n, 256 + 64, 1),
            (128, 2 * tile_n, 256 + 128, 1),
        ];
        let mut judge = Self { cases: Vec::new() };
        for (seed, (m, n, k, batch)) in (0..).zip(shapes) {
            let shape = Shape::new(m, n, k, batch).expect("a shape that every kernel supports");
            let plan = DualGemm::plan_with_tile(shape, entry.output, Gpu::B200, entry.tile_n)
                .expect("a plan for this kernel");
            let inputs =
                Inputs::new(InputKind::Normal, m, n, k, batch, seed).expect("inputs of this shape");
            let mut right = None;
            for how in runs() {
                let found = run(ptx, &plan, &inputs, how)?;
                assert_eq!(*right.get_or_insert_with(|| found.clone()), found);
            }
            let right = right.unwrap_or_default();
            judge.cases.push(Case {
                plan,
                inputs,
                right,
            });
        }
        Ok(judge)
    }

    /// What notices the changed kernel.
    pub fn judge(&self, ptx: &str) -> Verdict {
        for Case {
            plan,
            inputs,
            right,
        } in &self.cases
        {
            for how in runs() {
                match run(ptx, plan, inputs, how) {
                    Err(verdict) => return verdict,
                    Ok(found) => {
                        let pairs = found.iter().flatten().zip(right.iter().flatten());
                        let bytes = pairs.filter(|(found, right)| found != right).count();
                        if bytes > 0 {
                            return Verdict::Wrong {
                                bytes,
                                schedule: how.1,
                            };
                        }
                    }
                }
            }
        }
        Verdict::Survived
    }
}

/// All device buffers after one launch.
fn run(
    ptx: &str,
    plan: &DualGemm,
    inputs: &Inputs,
    how: (Mode, Schedule),
) -> Result<Vec<Vec<u8>>, Verdict> {
    // A failure stays in its context.
    let device = TestDevice::emulator();
    let kernels = device
        .load(ptx)
        .map_err(|error| Verdict::Refused(first_line(&error.to_string())))?;
    set_launch_options(Some(options(how)));
    let outcome = crate::run(&kernels, plan, inputs)
        .and_then(|buffers| buffers.download().map_err(failed("downloading")));
    set_launch_options(None);
    outcome.map_err(|error| {
        let report = match error {
            CheckError::Cuda {
                report: Some(report),
                ..
            } => report,
            error => error.to_string(),
        };
        Verdict::Reported {
            report: first_line(&report),
            mode: how.0,
            schedule: how.1,
        }
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
