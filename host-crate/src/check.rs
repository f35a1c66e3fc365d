//! Running a dual GEMM on the current device and comparing every element with the references.
//!
//! Two kernels run on the same inputs: the one asked about, whose f16 outputs are compared with the
//! exact epilogue, and its twin that writes both accumulators, which must have the bits of
//! [`reference::chain`](crate::reference::chain), on Hopper of
//! [`reference::wgmma`](crate::reference::wgmma). They differ in the epilogue alone. Outputs lie
//! between guard bytes, which must not change.

use std::time::{Duration, Instant};

use cust::context::legacy::CurrentContext;
use cust::error::CudaError;
use cust::event::{Event, EventFlags};
use cust::memory::{CopyDestination, DeviceBuffer, mem_get_info};
use cust::stream::{Stream, StreamFlags};
use half::f16;

use crate::compare::{AccumulatorComparison, OutputComparison};
use crate::driver::{DriverError, status};
use crate::error::try_filled;
use crate::inputs::{InputKind, Inputs};
use crate::kernels::{KernelEntry, Output};
use crate::launch::{Arguments, DeviceMatrix, DeviceSpan, Kernels, LaunchError};
use crate::matrix::Nvfp4Matrix;
use crate::plan::{DualGemm, PlanError, Shape, Tile};
use crate::reference::{Accumulators, Operands, RowBlock, chain, epilogue, wgmma};

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Dimensions.
    pub shape: Shape,
    /// How inputs are drawn.
    pub inputs: InputKind,
    /// Seed of the inputs.
    pub seed: u64,
    /// Instead of the alphas that come with the inputs.
    pub alpha1: Option<f32>,
    /// Instead of the alphas that come with the inputs.
    pub alpha2: Option<f32>,
    /// Tile; `None` lets the plan choose.
    pub tile: Option<Tile>,
    /// Timed launches of the kernel; the fastest counts. 0 is taken for 1.
    pub launches: u32,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The kernel that ran.
    pub kernel: &'static KernelEntry,
    /// CTAs.
    pub grid: [u32; 3],
    /// The alphas used.
    pub alphas: [f32; 2],
    /// The fastest launch, between two events of the stream.
    pub kernel_time: Duration,
    /// Drawing the inputs.
    pub inputs_time: Duration,
    /// Both references and the comparison.
    pub reference_time: Duration,
    /// A·B1ᵀ and A·B2ᵀ against the hardware's chain.
    pub accumulators: [AccumulatorComparison; 2],
    /// C against the exact epilogue of the chain's accumulators.
    pub outputs: OutputComparison,
    /// Bytes outside of the outputs that were written.
    pub guard_bytes_written: usize,
}

/// The share of outputs that must be the correctly rounded ones; all must be within 1 ulp.
pub const EXACT_OUTPUTS: f64 = 0.995;

/// Below this number of outputs the share is not asked for: a single element would decide.
pub(crate) const FEW_OUTPUTS: u64 = 1000;

impl Outcome {
    /// Whether every accumulator has the right bits, every output is within 1 ulp and
    /// [`EXACT_OUTPUTS`] of them are correctly rounded.
    pub fn passed(&self) -> bool {
        let exact =
            self.outputs.total < FEW_OUTPUTS || self.outputs.exact_fraction() >= EXACT_OUTPUTS;
        self.accumulators
            .iter()
            .all(AccumulatorComparison::all_equal)
            && self.outputs.beyond_one_ulp() == 0
            && exact
            && self.guard_bytes_written == 0
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// No kernel can run the problem.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The inputs can't be made.
    #[error(transparent)]
    Inputs(#[from] crate::Error),
    /// The launch was refused.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The device has not enough memory.
    #[error(
        "the device has {free} of its {total} bytes of memory free, {needed} are needed for {what}"
    )]
    OutOfDeviceMemory {
        /// What the memory is for.
        what: &'static str,
        /// Bytes asked for, in one piece.
        needed: usize,
        /// Bytes that are free, of `total`; not all of them need be in one piece.
        free: usize,
        /// Bytes that there are.
        total: usize,
    },
    /// A copy or the kernel itself failed.
    #[error(
        "{what}: {}{}{}",
        status::describe(*error as u32), status::advice(*error as u32), indented(.report)
    )]
    Cuda {
        /// What was being done.
        what: &'static str,
        /// The driver's answer.
        error: CudaError,
        /// What an emulated device has to say about it.
        report: Option<String>,
    },
}

fn indented(report: &Option<String>) -> String {
    let lines = report.iter().flat_map(|report| report.lines());
    lines.map(|line| format!("\n  {line}")).collect()
}

/// Tells how far a check is.
pub trait Progress: Sync {
    /// A new phase begins, of `steps` steps.
    fn phase(&self, name: &'static str, steps: u64);
    /// Steps of the phase were done.
    fn advance(&self, steps: u64);
}

/// For callers who don't ask.
impl Progress for () {
    fn phase(&self, _: &'static str, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// Runs `problem` on the current context's device and checks it.
///
/// # Errors
/// [`CheckError`]; wrong results are no error but part of the [`Outcome`].
pub fn run(
    kernels: &Kernels,
    problem: &Problem,
    progress: &dyn Progress,
) -> Result<Outcome, CheckError> {
    let shape = problem.shape;
    let plan = |output| match problem.tile {
        Some(tile) => DualGemm::plan_as(shape, output, kernels.gpu(), tile),
        None => DualGemm::plan(shape, output, kernels.gpu()),
    };
    let gated = plan(Output::F16)?;
    let twin = plan(Output::Accumulators)?;

    progress.phase("inputs", 0);
    let start = Instant::now();
    let mut inputs = Inputs::new(
        problem.inputs,
        shape.m(),
        shape.n(),
        shape.k(),
        shape.batch(),
        problem.seed,
    )?;
    inputs.alpha1 = problem.alpha1.unwrap_or(inputs.alpha1);
    inputs.alpha2 = problem.alpha2.unwrap_or(inputs.alpha2);
    let inputs_time = start.elapsed();

    let launches = problem.launches.max(1);
    progress.phase("device", u64::from(launches) + 1);
    let on_device = DeviceInputs::upload(&inputs)?;
    let c = GuardedOutput::new(gated.output_bytes())?;
    let acc1 = GuardedOutput::new(twin.output_bytes())?;
    let acc2 = GuardedOutput::new(twin.output_bytes())?;
    let workspace = GuardedOutput::new(gated.workspace_bytes())?;
    let twin_workspace = GuardedOutput::new(twin.workspace_bytes())?;
    let stream =
        Stream::new(StreamFlags::NON_BLOCKING, None).map_err(cuda_error("creating a stream"))?;

    let arguments = on_device.arguments(&inputs, c.span(), None, workspace.span());
    let bound = gated.bind(kernels, &arguments)?;
    let mut kernel_time = Duration::MAX;
    for _ in 0..launches {
        // SAFETY: the buffers outlive `timed`, which waits; the stream is of the current context.
        kernel_time = kernel_time.min(timed(&stream, || unsafe { bound.launch(&stream) })?);
        progress.advance(1);
    }
    let (output2, twin_span) = (Some(acc2.span()), twin_workspace.span());
    let arguments = on_device.arguments(&inputs, acc1.span(), output2, twin_span);
    let bound = twin.bind(kernels, &arguments)?;
    // SAFETY: as above.
    timed(&stream, || unsafe { bound.launch(&stream) })?;
    progress.advance(1);

    let (c, c_guard) = c.download(f16::from_le_bytes)?;
    let (acc1, acc1_guard) = acc1.download(f32::from_le_bytes)?;
    let (acc2, acc2_guard) = acc2.download(f32::from_le_bytes)?;
    let (_, workspace_guard) = workspace.download(u16::from_le_bytes)?;
    let (_, twin_workspace_guard) = twin_workspace.download(u16::from_le_bytes)?;
    let found = Found { c, acc1, acc2 };
    let guards = [
        c_guard,
        acc1_guard,
        acc2_guard,
        workspace_guard,
        twin_workspace_guard,
    ];
    progress.phase("reference", (shape.batch() * shape.m()) as u64);
    let start = Instant::now();
    let (accumulators, outputs) = compare(&gated, &inputs, &found, progress)?;
    Ok(Outcome {
        kernel: gated.kernel(),
        grid: gated.grid(),
        alphas: [inputs.alpha1, inputs.alpha2],
        kernel_time,
        inputs_time,
        reference_time: start.elapsed(),
        accumulators,
        outputs,
        guard_bytes_written: guards.iter().sum(),
    })
}

/// What the device computed.
struct Found {
    c: Vec<f16>,
    acc1: Vec<f32>,
    acc2: Vec<f32>,
}

fn compare(
    plan: &DualGemm,
    inputs: &Inputs,
    found: &Found,
    progress: &dyn Progress,
) -> Result<([AccumulatorComparison; 2], OutputComparison), CheckError> {
    let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view())
        .map_err(crate::Error::from)?;
    let (m, n) = (operands.m(), operands.n());
    let mut comparisons = [
        AccumulatorComparison::default(),
        AccumulatorComparison::default(),
    ];
    let mut outputs = OutputComparison::default();
    for block in operands.row_blocks() {
        let wanted: Accumulators = match plan.k_order() {
            None => chain::row_block(&operands, &block),
            Some(order) => wgmma::row_block(&operands, &block, order),
        };
        let RowBlock { batch, rows } = &block;
        let elements = (batch * m + rows.start) * n..(batch * m + rows.end) * n;
        let [first, second] = &mut comparisons;
        first
            .add(&block, n, &found.acc1[elements.clone()], &wanted.acc1)
            .map_err(crate::Error::from)?;
        second
            .add(&block, n, &found.acc2[elements.clone()], &wanted.acc2)
            .map_err(crate::Error::from)?;
        let exact = epilogue::outputs(&wanted, inputs.alpha1, inputs.alpha2);
        outputs
            .add(&block, n, &found.c[elements], &exact)
            .map_err(crate::Error::from)?;
        progress.advance(rows.len() as u64);
    }
    Ok((comparisons, outputs))
}

/// Bytes in device memory of their own.
fn upload(what: &'static str, bytes: &[u8]) -> Result<DeviceBuffer<u8>, CheckError> {
    DeviceBuffer::from_slice(bytes).map_err(|error| match (error, mem_get_info()) {
        (CudaError::OutOfMemory, Ok((free, total))) => CheckError::OutOfDeviceMemory {
            what,
            needed: bytes.len(),
            free,
            total,
        },
        (error, _) => cuda_error("uploading")(error),
    })
}

/// The operands in device memory.
pub(crate) struct DeviceInputs {
    a: [DeviceBuffer<u8>; 2],
    b1: [DeviceBuffer<u8>; 2],
    b2: [DeviceBuffer<u8>; 2],
}

impl DeviceInputs {
    pub(crate) fn upload(inputs: &Inputs) -> Result<Self, CheckError> {
        let both = |matrix: &Nvfp4Matrix| -> Result<_, CheckError> {
            Ok([
                upload("an operand", matrix.elements())?,
                upload("the scale factors of an operand", matrix.tiled_scales())?,
            ])
        };
        Ok(Self {
            a: both(&inputs.a)?,
            b1: both(&inputs.b1)?,
            b2: both(&inputs.b2)?,
        })
    }

    pub(crate) fn arguments(
        &self,
        inputs: &Inputs,
        output: DeviceSpan,
        output2: Option<DeviceSpan>,
        workspace: DeviceSpan,
    ) -> Arguments {
        let matrix = |host: &Nvfp4Matrix, [elements, scales]: &[DeviceBuffer<u8>; 2]| {
            DeviceMatrix::new(host.shape(), elements, scales)
        };
        Arguments {
            a: matrix(&inputs.a, &self.a),
            b1: matrix(&inputs.b1, &self.b1),
            b2: matrix(&inputs.b2, &self.b2),
            output,
            output2,
            workspace: Some(workspace),
            alpha1: inputs.alpha1,
            alpha2: inputs.alpha2,
        }
    }
}

/// Bytes before and after an output that nobody may write.
const GUARD_BYTES: usize = 1024;
/// Fills outputs and guards: no kernel writes it by chance for long.
const FILL: u8 = 0xA5;

/// A device output between guards, filled with a pattern.
pub(crate) struct GuardedOutput {
    buffer: DeviceBuffer<u8>,
}

impl GuardedOutput {
    pub(crate) fn new(bytes: usize) -> Result<Self, CheckError> {
        let fill = try_filled("an output", bytes + 2 * GUARD_BYTES, FILL)?;
        let buffer = upload("an output", &fill)?;
        Ok(Self { buffer })
    }

    /// The part between the guards.
    pub(crate) fn span(&self) -> DeviceSpan {
        let whole = DeviceSpan::of(&self.buffer);
        DeviceSpan {
            address: whole.address + GUARD_BYTES as u64,
            bytes: whole.bytes - 2 * GUARD_BYTES,
        }
    }

    /// Fills the part between the guards, and waits.
    pub(crate) fn fill(&mut self, byte: u8) -> Result<(), CheckError> {
        let end = self.buffer.len() - GUARD_BYTES;
        let filling = cuda_error("filling an output");
        self.buffer
            .index(GUARD_BYTES..end)
            .set_8(byte)
            .map_err(&filling)?;
        CurrentContext::synchronize().map_err(&filling)
    }

    /// How many guard bytes have changed.
    pub(crate) fn guard_bytes_written(&self) -> Result<usize, CheckError> {
        let mut guards = [FILL; 2 * GUARD_BYTES];
        let (before, after) = guards.split_at_mut(GUARD_BYTES);
        let end = self.buffer.len() - GUARD_BYTES;
        let downloading = cuda_error("downloading the bytes around an output");
        self.buffer
            .index(..GUARD_BYTES)
            .copy_to(before)
            .map_err(&downloading)?;
        self.buffer
            .index(end..)
            .copy_to(after)
            .map_err(&downloading)?;
        Ok(guards.iter().filter(|&&byte| byte != FILL).count())
    }

    /// The elements, and how many guard bytes have changed.
    pub(crate) fn download<const SIZE: usize, T>(
        &self,
        decode: impl Fn([u8; SIZE]) -> T,
    ) -> Result<(Vec<T>, usize), CheckError> {
        let mut bytes = try_filled("an output", self.buffer.len(), 0)?;
        self.buffer
            .copy_to(&mut bytes)
            .map_err(cuda_error("downloading an output"))?;
        let (before, rest) = bytes.split_at(GUARD_BYTES);
        let (output, after) = rest.split_at(rest.len() - GUARD_BYTES);
        let written = before
            .iter()
            .chain(after)
            .filter(|&&byte| byte != FILL)
            .count();
        let (elements, _) = output.as_chunks();
        Ok((elements.iter().copied().map(decode).collect(), written))
    }
}

/// Runs `enqueue` between two events and waits.
fn timed(
    stream: &Stream,
    enqueue: impl FnOnce() -> Result<(), LaunchError>,
) -> Result<Duration, CheckError> {
    let event = || Event::new(EventFlags::DEFAULT).map_err(cuda_error("creating an event"));
    let (start, end) = (event()?, event()?);
    start
        .record(stream)
        .map_err(cuda_error("recording an event"))?;
    enqueue()?;
    // A driver may report the kernel's failure with any call that follows.
    end.record(stream)
        .map_err(cuda_error("running the kernel"))?;
    stream
        .synchronize()
        .map_err(cuda_error("running the kernel"))?;
    let milliseconds = end
        .elapsed_time_f32(&start)
        .map_err(cuda_error("reading an event"))?;
    Ok(Duration::from_secs_f32(milliseconds.max(0.0) / 1000.0))
}

pub(crate) fn cuda_error(what: &'static str) -> impl Fn(CudaError) -> CheckError {
    move |error| CheckError::Cuda {
        what,
        error,
        report: crate::driver::take_device_report(),
    }
}
