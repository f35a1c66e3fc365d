//! Measuring how long a dual GEMM takes on the current device.
//!
//! Several sets of operands, outputs and workspaces are used in turn, so that weights come from memory
//! and not from the L2 cache. Two modes are timed by events of the stream:
//!
//! - *replay*: a CUDA graph of one call, launched on an idle device, which is waited for. Contains the
//!   fixed cost of a graph launch, which [`baseline::EmptyLaunch`] tells.
//! - *back to back*, or in a row: a CUDA graph of many calls, divided by their number: what a call costs
//!   in a long stream of work. Calls are enqueued by
//!   [`Bound::launch_overlapped`](crate::launch::Bound::launch_overlapped): on Hopper a call's weights may be
//!   copied while the call before still runs, as between the layers of a model that are launched so. In
//!   replay mode each call runs alone, and nothing overlaps.
//!
//! Every element of every set is compared before anything is timed, with what the device's tensor core
//! must give and with the exact product ([`exactness`]); and after each mode, bit by bit, with what was
//! compared. C is filled with NaN in between.

pub mod baseline;
pub mod ceilings;
mod error;
pub mod exactness;
mod operand_sets;
pub mod shapes;
mod statistics;
pub mod timing;

use std::time::{Duration, Instant};

use cust::context::legacy::CurrentContext;
use cust::stream::{Stream, StreamFlags};
use half::f16;

pub use error::{BenchError, REAL_DEVICES};
pub use operand_sets::set_count;
pub use statistics::Summary;

use crate::check::{Progress, cuda_error};
use crate::inputs::InputKind;
use crate::kernels::{KernelEntry, Output};
use crate::launch::Kernels;
use crate::plan::{DualGemm, Shape, Tile};
use crate::reference::wgmma::KOrder;
use exactness::Exactness;
use operand_sets::{OperandSet, run_once};
use timing::{Sequence, Stopwatch, Submission};

/// What to time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Case {
    /// Dimensions.
    pub shape: Shape,
    /// Tile; `None` lets the plan choose.
    pub tile: Option<Tile>,
}

/// How to time it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How inputs are drawn.
    pub inputs: InputKind,
    /// Seed of the first set's inputs; each further set takes the next.
    pub seed: u64,
    /// Sets of operands used in turn.
    pub sets: usize,
    /// Launches timed in each mode, at least one a set.
    pub replays: usize,
    /// How often a back-to-back graph goes through all sets.
    pub rounds: usize,
    /// Milliseconds of work before each mode.
    pub warm_up_ms: f64,
    /// Graphs, or direct launches where there are none.
    pub submission: Submission,
    /// Whether every element is compared.
    pub check: bool,
}

/// What was measured of a [`Case`].
#[derive(Clone, Debug)]
pub struct Measurement {
    /// What was timed.
    pub case: Case,
    /// The plan that ran.
    pub plan: DualGemm,
    /// Sets of operands used in turn.
    pub sets: usize,
    /// Calls in a back-to-back graph.
    pub calls: usize,
    /// Microseconds of a single call on an idle device.
    pub replay: Summary,
    /// Microseconds of a call among many.
    pub back_to_back: Summary,
    /// `None` where nothing was compared.
    pub check: Option<Check>,
}

impl Measurement {
    /// The kernel that ran.
    pub fn kernel(&self) -> &'static KernelEntry {
        self.plan.kernel()
    }

    /// Whether no comparison failed.
    pub fn passed(&self) -> bool {
        self.check.as_ref().is_none_or(Check::passed)
    }
}

/// What the comparisons gave.
#[derive(Clone, Debug)]
pub struct Check {
    /// Every set before it was timed.
    pub exactness: Exactness,
    /// Outputs whose bits were others after a mode was timed.
    pub changed: u64,
    /// Bytes around outputs and workspaces that were written.
    pub guard_bytes_written: usize,
    /// The time all this took.
    pub time: Duration,
}

impl Check {
    /// Whether every output is right and stayed as it was.
    pub fn passed(&self) -> bool {
        self.exactness.passed() && self.changed == 0 && self.guard_bytes_written == 0
    }
}

/// Measures one case on the current context's device.
///
/// # Errors
/// [`BenchError`]; wrong results are no error but part of the [`Measurement`].
pub fn measure(
    kernels: &Kernels,
    case: Case,
    settings: &Settings,
    progress: &dyn Progress,
) -> Result<Measurement, BenchError> {
    let plan = match case.tile {
        Some(tile) => DualGemm::plan_as(case.shape, Output::F16, kernels.gpu(), tile)?,
        None => DualGemm::plan(case.shape, Output::F16, kernels.gpu())?,
    };
    progress.phase("inputs", settings.sets as u64);
    let mut sets = Vec::new();
    for index in 0..settings.sets as u64 {
        let seed = settings.seed.wrapping_add(index);
        sets.push(OperandSet::new(kernels, &plan, settings.inputs, seed)?);
        progress.advance(1);
    }
    let stream = stream()?;
    let mut checker = settings.check.then(Checker::default);
    if let Some(checker) = &mut checker {
        checker.before(&mut sets, plan.k_order(), &stream, progress)?;
    }

    progress.phase("timing", 2);
    let watch = Stopwatch::new(&stream)?;
    let replay = {
        let one = |set| {
            // SAFETY: the sets outlive the sequences, and nobody touches them before the mode has ended.
            unsafe { sequence(&stream, settings.submission, std::slice::from_ref(set), 1) }
        };
        let sequences = sets.iter().map(one).collect::<Result<Vec<_>, _>>()?;
        watch.warm_up(&sequences, settings.warm_up_ms)?;
        watch.sample(&sequences, settings.replays.max(sets.len()), 1)?
    };
    progress.advance(1);
    if let Some(checker) = &mut checker {
        checker.after(&mut sets)?;
    }
    let calls = settings.rounds * sets.len();
    let back_to_back = {
        // SAFETY: as above.
        let sequences =
            [unsafe { sequence(&stream, settings.submission, &sets, settings.rounds)? }];
        watch.warm_up(&sequences, settings.warm_up_ms)?;
        watch.sample(&sequences, settings.replays.div_ceil(4), calls)?
    };
    progress.advance(1);
    if let Some(checker) = &mut checker {
        checker.after(&mut sets)?;
    }
    Ok(Measurement {
        case,
        plan,
        sets: sets.len(),
        calls,
        replay,
        back_to_back,
        check: checker.map(|checker| checker.result),
    })
}

/// `rounds` times through `sets`.
///
/// # Safety
/// As [`Sequence::new`].
unsafe fn sequence<'a>(
    stream: &Stream,
    submission: Submission,
    sets: &'a [OperandSet<'_>],
    rounds: usize,
) -> Result<Sequence<'a>, BenchError> {
    let enqueue = move |stream: &Stream| {
        let mut turns = (0..rounds).flat_map(|_| sets);
        turns.try_for_each(|set| set.launch(stream))
    };
    // SAFETY: the caller's contract.
    unsafe { Sequence::new(stream, submission, enqueue) }
}

/// Compares outputs before and after timing.
#[derive(Default)]
struct Checker {
    /// C of every set, as it was compared.
    compared: Vec<Vec<f16>>,
    result: Check,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            exactness: Exactness::default(),
            changed: 0,
            guard_bytes_written: 0,
            time: Duration::ZERO,
        }
    }
}

impl Checker {
    /// Runs every set and compares all of it. C is poisoned before and after.
    fn before(
        &mut self,
        sets: &mut [OperandSet<'_>],
        order: Option<KOrder>,
        stream: &Stream,
        progress: &dyn Progress,
    ) -> Result<(), BenchError> {
        let start = Instant::now();
        sets.iter_mut().try_for_each(OperandSet::poison)?;
        run_once(sets, stream)?;
        let rows: usize = sets.iter().map(|set| set.inputs.a.shape().rows()).sum();
        progress.phase("reference", rows as u64);
        let mut guard_bytes_written = 0;
        for set in sets.iter_mut() {
            let (c, guard_bytes) = set.download()?;
            let advance = |rows| progress.advance(rows as u64);
            let found = &mut self.result.exactness;
            exactness::compare(&set.inputs, &c, order, found, &advance)?;
            guard_bytes_written += guard_bytes;
            self.compared.push(c);
            set.poison()?;
        }
        self.result.guard_bytes_written = guard_bytes_written;
        self.result.time += start.elapsed();
        Ok(())
    }

    /// Compares the bits of every set with those compared before, and poisons C again.
    fn after(&mut self, sets: &mut [OperandSet<'_>]) -> Result<(), BenchError> {
        let start = Instant::now();
        let mut guard_bytes_written = 0;
        for (set, compared) in sets.iter_mut().zip(&self.compared) {
            let (c, guard_bytes) = set.download()?;
            let pairs = c.iter().zip(compared);
            let changed = pairs.filter(|(now, then)| now.to_bits() != then.to_bits());
            self.result.changed += changed.count() as u64;
            guard_bytes_written += guard_bytes;
            set.poison()?;
        }
        self.result.guard_bytes_written = guard_bytes_written;
        self.result.time += start.elapsed();
        Ok(())
    }
}

/// A stream for timing, in the current context.
///
/// # Errors
/// [`BenchError::Check`] as the driver fails.
pub fn stream() -> Result<Stream, BenchError> {
    let stream = Stream::new(StreamFlags::NON_BLOCKING, None);
    Ok(stream.map_err(cuda_error("creating a stream"))?)
}

/// Waits for everything in the current context.
fn synchronize() -> Result<(), BenchError> {
    Ok(CurrentContext::synchronize().map_err(cuda_error("waiting for the device"))?)
}
