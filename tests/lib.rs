//! What the whole-product tests share: a device with the kernels loaded, and one dual GEMM on it.
//!
//! The tests of the kernels for Blackwell run on a B200 or B300 if there is one, else on the emulated
//! B200; those of the kernels for Hopper likewise on an H100 or H200. A process has one device, so that
//! each test binary keeps to one architecture, and says once where it runs. Tests that are about the
//! emulator's own checks ask for it. `NVFP4_PTX` and `NVFP4_HOPPER_PTX` name files with other builds of
//! the kernels, to be tested instead of the shipped ones.

pub mod conformance;
pub mod mutation;

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::sync::Once;

use nvfp4_dual_gemm::check::{self, CheckError, Outcome, Problem};
use nvfp4_dual_gemm::cust::context::legacy::{Context, ContextFlags};
use nvfp4_dual_gemm::cust::device::Device;
use nvfp4_dual_gemm::cust::error::{CudaError, CudaResult};
use nvfp4_dual_gemm::cust::memory::{CopyDestination, DeviceBuffer};
use nvfp4_dual_gemm::cust::stream::{Stream, StreamFlags};
use nvfp4_dual_gemm::cust::{self, CudaFlags};
use nvfp4_dual_gemm::driver::{self, DriverChoice, DriverKind, Selected};
use nvfp4_dual_gemm::kernels::{Architecture, BLACKWELL, HOPPER, Output};
use nvfp4_dual_gemm::launch::{Arguments, DeviceMatrix, DeviceSpan, Kernels, LoadError};
use nvfp4_dual_gemm::plan::{DualGemm, Gpu};
use nvfp4_dual_gemm::{Inputs, Nvfp4Matrix};

/// The PTX for Blackwell under test.
pub fn ptx() -> Cow<'static, str> {
    ptx_of(&BLACKWELL)
}

/// The PTX for Hopper under test.
pub fn hopper_ptx() -> Cow<'static, str> {
    ptx_of(&HOPPER)
}

/// The PTX for an architecture under test.
pub fn ptx_of(architecture: &Architecture) -> Cow<'static, str> {
    let variable = architecture.ptx_variable;
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) else {
        return Cow::Borrowed(architecture.ptx);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Cow::Owned(text),
        Err(error) => panic!("{variable}={}: {error}", path.display()),
    }
}

/// A context of its own, so that a kernel which fails in one test breaks no other.
pub struct TestDevice {
    selected: Selected,
    architecture: &'static Architecture,
    // Destroyed when the test is done; everything on the device lives in it.
    _context: Context,
}

impl TestDevice {
    /// The device that `NVFP4_DEVICE` asks for: by default a B200 or B300, else the emulated B200.
    pub fn open() -> Self {
        Self::of(&BLACKWELL)
    }

    /// The device that `NVFP4_DEVICE` asks for: by default an H100 or H200, else the emulated H200.
    pub fn hopper() -> Self {
        Self::of(&HOPPER)
    }

    /// The device of this architecture that `NVFP4_DEVICE` asks for.
    pub fn of(architecture: &'static Architecture) -> Self {
        Self::choose(DriverChoice::from_env().unwrap(), architecture)
    }

    /// The emulated B200. A process has one driver: panics where [`Self::open`] took a GPU.
    pub fn emulator() -> Self {
        Self::emulated(&BLACKWELL)
    }

    /// The emulated device of this architecture.
    pub fn emulated(architecture: &'static Architecture) -> Self {
        Self::choose(DriverChoice::Emulator, architecture)
    }

    fn choose(choice: DriverChoice, architecture: &'static Architecture) -> Self {
        if architecture.has(Gpu::H200.compute_capability) {
            driver::prefer_emulated_hopper();
        }
        let accepts = |capability| architecture.has(capability);
        let selected = driver::select_with_fallback(choice, accepts).unwrap();
        cust::init(CudaFlags::empty()).unwrap();
        driver::capture_device_reports();
        let device = Device::get_device(selected.device).unwrap();
        announce(architecture, &selected, &device.name().unwrap());
        let context = Context::create_and_push(ContextFlags::SCHED_AUTO, device).unwrap();
        Self {
            selected,
            architecture,
            _context: context,
        }
    }

    pub fn is_emulated(&self) -> bool {
        self.selected.kind == DriverKind::Emulator
    }

    /// Loads the PTX under test.
    pub fn kernels(&self) -> Kernels {
        self.load(&ptx_of(self.architecture)).unwrap()
    }

    /// Loads any PTX with the same entries.
    pub fn load(&self, ptx: &str) -> Result<Kernels, LoadError> {
        Kernels::load_ptx(ptx)
    }
}

/// Says once where this process' tests run; past libtest, which keeps to itself what passing tests print.
fn announce(architecture: &Architecture, selected: &Selected, device: &str) {
    static ONCE: Once = Once::new();
    let why = match &selected.fallback {
        Some(reason) => format!("; {reason}"),
        None => String::new(),
    };
    let line = format!("the kernels for {} on {device}{why}\n", architecture.name);
    // Nothing is lost with it.
    ONCE.call_once(|| drop(std::io::stderr().write_all(line.as_bytes())));
}

/// Fills outputs before a launch: no kernel writes it by chance for long.
const FILL: u8 = 0xA5;

/// The device buffers of one dual GEMM; outputs are filled with a pattern.
pub struct Buffers {
    /// Elements and scale factors of A, B1 and B2.
    operands: [[DeviceBuffer<u8>; 2]; 3],
    /// As many as the planned kernel writes.
    outputs: Vec<DeviceBuffer<u8>>,
    workspace: DeviceBuffer<u8>,
}

impl Buffers {
    pub fn new(plan: &DualGemm, inputs: &Inputs) -> CudaResult<Self> {
        let upload = |matrix: &Nvfp4Matrix| -> CudaResult<_> {
            Ok([
                DeviceBuffer::from_slice(matrix.elements())?,
                DeviceBuffer::from_slice(matrix.tiled_scales())?,
            ])
        };
        let outputs = match plan.kernel().output {
            Output::F16 => 1,
            Output::Accumulators => 2,
        };
        let output = |_| DeviceBuffer::from_slice(&vec![FILL; plan.output_bytes()]);
        Ok(Self {
            operands: [upload(&inputs.a)?, upload(&inputs.b1)?, upload(&inputs.b2)?],
            outputs: (0..outputs).map(output).collect::<CudaResult<_>>()?,
            // A buffer has at least a byte.
            workspace: DeviceBuffer::from_slice(&vec![FILL; plan.workspace_bytes().max(1)])?,
        })
    }

    pub fn arguments(&self, inputs: &Inputs) -> Arguments {
        let matrix = |host: &Nvfp4Matrix, [elements, scales]: &[DeviceBuffer<u8>; 2]| {
            DeviceMatrix::new(host.shape(), elements, scales)
        };
        let [a, b1, b2] = &self.operands;
        Arguments {
            a: matrix(&inputs.a, a),
            b1: matrix(&inputs.b1, b1),
            b2: matrix(&inputs.b2, b2),
            output: DeviceSpan::of(&self.outputs[0]),
            output2: self.outputs.get(1).map(DeviceSpan::of),
            workspace: Some(DeviceSpan::of(&self.workspace)),
            alpha1: inputs.alpha1,
            alpha2: inputs.alpha2,
        }
    }

    /// The bytes of every buffer.
    pub fn download(&self) -> CudaResult<Vec<Vec<u8>>> {
        let buffers = self.operands.iter().flatten();
        buffers.chain(&self.outputs).map(bytes).collect()
    }
}

fn bytes(buffer: &DeviceBuffer<u8>) -> CudaResult<Vec<u8>> {
    let mut bytes = vec![0; buffer.len()];
    buffer.copy_to(&mut bytes)?;
    Ok(bytes)
}

/// What a step of running a kernel makes of the driver's answer; an emulated device's report comes with it.
fn failed(what: &'static str) -> impl FnOnce(CudaError) -> CheckError {
    move |error| CheckError::Cuda {
        what,
        error,
        report: driver::take_device_report(),
    }
}

/// The buffers after one launch of the planned kernel.
fn run(kernels: &Kernels, plan: &DualGemm, inputs: &Inputs) -> Result<Buffers, CheckError> {
    let stream =
        Stream::new(StreamFlags::NON_BLOCKING, None).map_err(failed("creating a stream"))?;
    let buffers = Buffers::new(plan, inputs).map_err(failed("uploading"))?;
    let bound = plan.bind(kernels, &buffers.arguments(inputs))?;
    // SAFETY: the buffers live until the stream is idle, and are this function's own until then.
    unsafe { bound.launch(&stream) }?;
    stream.synchronize().map_err(failed("running the kernel"))?;
    Ok(buffers)
}

/// The bits of C, `[L, M, N]` in f16, as the planned kernel computes it.
///
/// # Errors
/// What the driver answers; an emulated device's report comes with it.
pub fn compute(
    kernels: &Kernels,
    plan: &DualGemm,
    inputs: &Inputs,
) -> Result<Vec<u16>, CheckError> {
    let buffers = run(kernels, plan, inputs)?;
    let bytes = bytes(&buffers.outputs[0]).map_err(failed("downloading"))?;
    let (elements, _) = bytes.as_chunks();
    Ok(elements.iter().copied().map(u16::from_le_bytes).collect())
}

/// Panics with what went wrong, if anything did.
pub fn assert_passed(what: &dyn fmt::Display, outcome: Result<Outcome, CheckError>) {
    let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
    let [products1, products2] = &outcome.accumulators;
    assert!(
        outcome.passed(),
        "{what}: {}\nA·B1ᵀ: {products1}\nA·B2ᵀ: {products2}\nC: {}\n\
         {} bytes outside of the outputs written",
        outcome.kernel.launch.name,
        outcome.outputs,
        outcome.guard_bytes_written,
    );
}

/// Runs the problem under `count` schedules of the emulator's portfolio of `seed`; panics with the first under which it
/// is not right, or which a check of the emulator objects to.
pub fn assert_no_alarm(kernels: &Kernels, problem: &Problem, count: u64, seed: u64) {
    let exploration =
        driver::explore_schedules(count, seed, || match check::run(kernels, problem, &()) {
            Ok(outcome) if outcome.passed() => Ok(()),
            Ok(outcome) => Err(format!("wrong results: C: {}", outcome.outputs)),
            Err(error) => Err(error.to_string()),
        });
    if let Some(failure) = exploration.unwrap().failure {
        panic!("{}, {:?}: {failure}", problem.shape, problem.tile);
    }
}
