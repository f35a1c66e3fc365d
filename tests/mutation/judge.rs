//! What notices a changed kernel, if anything does.

use nvfp4_dual_gemm::check::CheckError;
use nvfp4_dual_gemm::cust::stream::{Stream, StreamFlags};
use nvfp4_dual_gemm::kernels::Architecture;
use nvfp4_dual_gemm::launch::Kernels;
use nvfp4_dual_gemm::plan::DualGemm;
use nvfp4_dual_gemm::{InputKind, Inputs};
use ptx_emulator::driver::set_launch_options;
use ptx_emulator::machine::{Asynchrony, LaunchOptions, Mode, Schedule};

use super::earlier::Earlier;
use crate::{Buffers, TestDevice, failed};

/// A changed kernel that spins is given up after this many warp instructions of a CTA, several times what the whole needs.
const STEP_LIMIT: u64 = 1 << 22;

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
    architecture: &'static Architecture,
    cases: Vec<Case>,
    /// How many schedules of the portfolio each case runs under.
    schedules: u64,
    /// What `strict` has against the unchanged kernel.
    reported_strictly: Option<Verdict>,
}

/// Seed of the schedules.
const SEED: u64 = 0;

/// Schedules of the portfolio that show nearly everything: most changes fall under the first, each other shows what only it
/// can.
pub const SCHEDULES: u64 = 12;

/// How a changed kernel is run, in this order: the letter of the ISA comes second, where the unchanged kernel keeps to
/// it, as that is part of what is proved then.
fn runs(
    plan: &DualGemm,
    strictly: bool,
    schedules: u64,
) -> impl Iterator<Item = (Mode, Schedule)> + use<> {
    let check = |index| (Mode::Check, Schedule::nth(SEED, index));
    let strict = strictly.then(strict).into_iter().flatten();
    [check(0)]
        .into_iter()
        .chain(strict)
        .chain((1..schedules).map(check))
        .chain(hasty(plan))
}

/// What follows a wait that gave up meets copies that are not there yet: memory is slow, and slowest for the warp that
/// copies, one of the last four in every kernel.
fn hasty(plan: &DualGemm) -> impl Iterator<Item = (Mode, Schedule)> + use<> {
    let warps = plan.kernel().launch.threads_per_cta / 32;
    (warps - 4..warps).map(|warp| {
        let schedule = Schedule {
            asynchrony: Asynchrony::SlowMemory { warp },
            spurious: Some(SEED),
            ..Schedule::default()
        };
        (Mode::Check, schedule)
    })
}

/// By the letter; with `try_wait`s that give up too, since what follows one may hide it from other modes.
fn strict() -> [(Mode, Schedule); 2] {
    let gives_up = Schedule {
        spurious: Some(SEED),
        ..Schedule::default()
    };
    [Schedule::default(), gives_up].map(|schedule| (Mode::Strict, schedule))
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
    /// Runs `ptx` as it is, on every plan and under so many schedules, as changed ones will be.
    ///
    /// # Errors
    /// The unchanged kernel does not run.
    pub fn new(
        ptx: &str,
        architecture: &'static Architecture,
        plans: Vec<DualGemm>,
        schedules: u64,
    ) -> Result<Self, Verdict> {
        let mut judge = Self {
            architecture,
            cases: Vec::new(),
            schedules,
            reported_strictly: None,
        };
        for (seed, plan) in (0..).zip(plans) {
            let shape = plan.shape();
            let [m, n, k, batch] = [shape.m(), shape.n(), shape.k(), shape.batch()];
            let inputs =
                Inputs::new(InputKind::Normal, m, n, k, batch, seed).expect("inputs of this shape");
            for how in strict() {
                if judge.reported_strictly.is_none() {
                    judge.reported_strictly = judge.run(ptx, &plan, &inputs, how).err();
                }
            }
            let mut right = None;
            for how in runs(&plan, false, schedules) {
                let found = judge.run(ptx, &plan, &inputs, how)?;
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

    /// What `strict` has against the unchanged kernel; changed ones are not run under it then.
    pub fn reported_strictly(&self) -> Option<&Verdict> {
        self.reported_strictly.as_ref()
    }

    /// What notices the changed kernel.
    pub fn judge(&self, ptx: &str) -> Verdict {
        for Case {
            plan,
            inputs,
            right,
        } in &self.cases
        {
            for how in runs(plan, self.reported_strictly.is_none(), self.schedules) {
                match self.run(ptx, plan, inputs, how) {
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

    /// All device buffers after one launch; or how something was noticed.
    fn run(
        &self,
        ptx: &str,
        plan: &DualGemm,
        inputs: &Inputs,
        how: (Mode, Schedule),
    ) -> Result<Vec<Vec<u8>>, Verdict> {
        // A failure stays in its context.
        let device = TestDevice::emulated(self.architecture);
        let kernels = device
            .load(ptx)
            .map_err(|error| Verdict::Refused(first_line(&error.to_string())))?;
        set_launch_options(Some(options(how)));
        let outcome = overlapped(&kernels, plan, inputs);
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
}

/// All device buffers after a launch that overlaps with a grid which writes A.
fn overlapped(
    kernels: &Kernels,
    plan: &DualGemm,
    inputs: &Inputs,
) -> Result<Vec<Vec<u8>>, CheckError> {
    let stream =
        Stream::new(StreamFlags::NON_BLOCKING, None).map_err(failed("creating a stream"))?;
    let buffers = Buffers::new(plan, inputs).map_err(failed("uploading"))?;
    let bound = plan.bind(kernels, &buffers.arguments(inputs))?;
    let _earlier = Earlier::launch(&buffers, &stream)?;
    // SAFETY: the buffers and what the grid before needs live until the stream is idle; that grid writes no weights.
    unsafe { bound.launch_overlapped(&stream) }?;
    stream.synchronize().map_err(failed("running the kernel"))?;
    buffers.download().map_err(failed("downloading"))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
