//! Running a planned dual GEMM on a CUDA stream.
//!
//! ```no_run
//! use nvfp4_dual_gemm::launch::{Arguments, DeviceMatrix, DeviceSpan, Kernels};
//! use nvfp4_dual_gemm::plan::{DualGemm, Shape};
//! use nvfp4_dual_gemm::{InputKind, Inputs, Nvfp4Matrix, cust, kernels::Output};
//! use cust::memory::DeviceBuffer;
//! use cust::stream::{Stream, StreamFlags};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let _context = cust::quick_init()?;
//! let stream = Stream::new(StreamFlags::NON_BLOCKING, None)?;
//! let kernels = Kernels::load()?;
//!
//! let shape = Shape::new(256, 4096, 7168, 1)?;
//! let inputs = Inputs::new(InputKind::Normal, 256, 4096, 7168, 1, 0)?;
//! let upload = |matrix: &Nvfp4Matrix| -> cust::error::CudaResult<_> {
//!     let buffer = |bytes: &[u8]| DeviceBuffer::from_slice(bytes);
//!     Ok((buffer(matrix.elements())?, buffer(matrix.tiled_scales())?))
//! };
//! let (a, b1, b2) = (upload(&inputs.a)?, upload(&inputs.b1)?, upload(&inputs.b2)?);
//! let c = DeviceBuffer::<u16>::zeroed(shape.output_elements())?;
//!
//! let plan = DualGemm::plan(shape, Output::F16, kernels.gpu())?;
//! // A Hopper GPU needs some for many tokens; a Blackwell GPU none.
//! let workspace = match plan.workspace_bytes() {
//!     0 => None,
//!     bytes => Some(DeviceBuffer::<u8>::zeroed(bytes)?),
//! };
//! let arguments = Arguments {
//!     a: DeviceMatrix::new(inputs.a.shape(), &a.0, &a.1),
//!     b1: DeviceMatrix::new(inputs.b1.shape(), &b1.0, &b1.1),
//!     b2: DeviceMatrix::new(inputs.b2.shape(), &b2.0, &b2.1),
//!     output: DeviceSpan::of(&c),
//!     output2: None,
//!     workspace: workspace.as_ref().map(DeviceSpan::of),
//!     alpha1: inputs.alpha1,
//!     alpha2: inputs.alpha2,
//! };
//! let bound = plan.bind(&kernels, &arguments)?;
//! // SAFETY: the buffers outlive the synchronisation, and nothing else uses `c` before it.
//! unsafe { bound.launch(&stream)? };
//! stream.synchronize()?;
//! # Ok(())
//! # }
//! ```

use std::ffi::c_void;

use cust::context::legacy::CurrentContext;
use cust::device::DeviceAttribute;
use cust::function::Function;
use cust::memory::{DeviceBuffer, DeviceCopy};
use cust::module::Module;
use cust::stream::Stream;
use cust::sys::CUstream;
use nvfp4_dual_gemm_kernel::contract::hopper::{ActivationParams, Design, HopperParams};
use nvfp4_dual_gemm_kernel::contract::{
    DualGemmParams, KernelEntry, Launch, Output, TILE_M, TensorMap, hopper,
};

use crate::driver::DriverError;
use crate::driver::api::{
    self, FunctionAttribute, LaunchConfig, TensorMapDataType, TensorMapDescription,
    TensorMapL2Promotion, TensorMapSwizzle,
};
use crate::driver::status;
use crate::kernels::Architecture;
use crate::matrix::MatrixShape;
use crate::plan::{DualGemm, Gpu, PlanError, operand_map};

/// Why a planned dual GEMM could not be launched. Nothing was launched, no memory was written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A matrix has other dimensions than the plan.
    #[error(
        "{matrix} is [L, rows, K] = [{}, {}, {}]; the plan needs [{}, {}, {}]",
        found.batch(), found.rows(), found.columns(), needed.batch(), needed.rows(), needed.columns()
    )]
    Shape {
        /// `A`, `B1` or `B2`.
        matrix: &'static str,
        /// Dimensions given.
        found: MatrixShape,
        /// Dimensions planned.
        needed: MatrixShape,
    },
    /// A buffer is too short.
    #[error("{buffer} has {found} bytes; needed are {needed}")]
    BufferTooShort {
        /// Which buffer.
        buffer: &'static str,
        /// Bytes given.
        found: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A pointer is null.
    #[error("{buffer} is at address 0")]
    Null {
        /// Which buffer.
        buffer: &'static str,
    },
    /// A pointer is not aligned.
    #[error("{buffer} is at {address:#x}; TMA and 16-byte stores need a multiple of 16")]
    Misaligned {
        /// Which buffer.
        buffer: &'static str,
        /// Its device address.
        address: u64,
    },
    /// A second output buffer is missing, or there is one too many.
    #[error("{output:?} needs {needed} output buffer(s), {found} given")]
    OutputCount {
        /// What the kernel writes.
        output: Output,
        /// Buffers needed.
        needed: usize,
        /// Buffers given.
        found: usize,
    },
    /// The plan was made for another GPU than the kernels were loaded for.
    #[error(
        "the plan is for {planned}, the kernels were loaded for {loaded}: plan with Kernels::gpu"
    )]
    OtherArchitecture {
        /// That of the plan.
        planned: &'static str,
        /// That of the kernels.
        loaded: &'static str,
    },
    /// An alpha is infinite or NaN.
    #[error("{name} is {value}; it must be finite")]
    AlphaNotFinite {
        /// `alpha1` or `alpha2`.
        name: &'static str,
        /// The value given.
        value: f32,
    },
    /// The driver refused a call.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// The shipped kernels, loaded into the CUDA context that was current.
pub struct Kernels {
    module: Module,
    gpu: Gpu,
    architecture: &'static Architecture,
}

impl Kernels {
    /// Loads the shipped PTX for the current context's GPU.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`] on a GPU without a kernel; [`DriverError`] with the
    /// driver's JIT log if it refuses the PTX.
    pub fn load() -> Result<Self, LoadError> {
        Self::load_ptx(current_gpu()?.architecture()?.ptx)
    }

    /// Loads another build of the kernels for the current context's GPU.
    ///
    /// # Errors
    /// As [`Kernels::load`].
    pub fn load_ptx(ptx: &str) -> Result<Self, LoadError> {
        let gpu = current_gpu()?;
        let architecture = gpu.architecture()?;
        let module = api::load_module_with_log(ptx)?;
        for launch in architecture.launches() {
            let function = function(&module, &launch).map_err(|error| match error.code() {
                Some(status::NOT_FOUND) => LoadError::MissingEntry { entry: launch.name },
                _ => error.into(),
            })?;
            api::function_set_attribute(
                &function,
                FunctionAttribute::MaxDynamicSharedSizeBytes,
                launch.dynamic_shared_bytes as i32,
            )?;
            if launch.min_ctas_per_sm > 1 {
                // For more than one an SM needs most of what it shares between L1 and shared memory.
                let percent = 100;
                let carveout = FunctionAttribute::PreferredSharedMemoryCarveout;
                api::function_set_attribute(&function, carveout, percent)?;
            }
        }
        Ok(Self {
            module,
            gpu,
            architecture,
        })
    }

    /// The GPU that the kernels were loaded for.
    pub fn gpu(&self) -> Gpu {
        self.gpu
    }
}

fn function<'a>(module: &'a Module, launch: &Launch) -> Result<Function<'a>, DriverError> {
    module
        .get_function(launch.name)
        .map_err(|error| DriverError::from_cust("cuModuleGetFunction", error))
}

/// The GPU of the current context.
///
/// # Errors
/// [`DriverError`] if there is no current context.
pub fn current_gpu() -> Result<Gpu, DriverError> {
    let device = CurrentContext::get_device()
        .map_err(|error| DriverError::from_cust("cuCtxGetDevice", error))?;
    let multiprocessors = device
        .get_attribute(DeviceAttribute::MultiprocessorCount)
        .map_err(|error| DriverError::from_cust("cuDeviceGetAttribute", error))?;
    Ok(Gpu {
        compute_capability: api::compute_capability(device)?,
        multiprocessors: multiprocessors.unsigned_abs(),
    })
}

/// Why the kernels can't be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The GPU has no kernel.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The PTX is not a build of this version's kernels.
    #[error(
        "the PTX has no entry {entry}: load the PTX that came with this library, or a build of its kernels"
    )]
    MissingEntry {
        /// The first that is missing.
        entry: &'static str,
    },
    /// The driver refused.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// A range of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSpan {
    /// Device address.
    pub address: u64,
    /// Bytes.
    pub bytes: usize,
}

impl DeviceSpan {
    /// The memory of a buffer.
    pub fn of<T: DeviceCopy>(buffer: &DeviceBuffer<T>) -> Self {
        Self {
            address: buffer.as_device_ptr().as_raw(),
            bytes: std::mem::size_of::<T>() * buffer.len(),
        }
    }
}

/// An NVFP4 matrix in device memory; layouts as in [`crate::Nvfp4Matrix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMatrix {
    /// Dimensions.
    pub shape: MatrixShape,
    /// Packed e2m1, `[L, rows, K/2]` bytes, 16-byte aligned.
    pub elements: DeviceSpan,
    /// Scale factors in 128×4 tiles, 16-byte aligned.
    pub scales: DeviceSpan,
}

impl DeviceMatrix {
    /// A matrix in two buffers.
    pub fn new(shape: MatrixShape, elements: &DeviceBuffer<u8>, scales: &DeviceBuffer<u8>) -> Self {
        Self {
            shape,
            elements: DeviceSpan::of(elements),
            scales: DeviceSpan::of(scales),
        }
    }
}

/// What a dual GEMM reads and writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arguments {
    /// A, `[L, M, K]`.
    pub a: DeviceMatrix,
    /// B1, the gate weights, `[L, N, K]`.
    pub b1: DeviceMatrix,
    /// B2, the up weights, `[L, N, K]`.
    pub b2: DeviceMatrix,
    /// `[L, M, N]`: C, or the accumulators of A·B1ᵀ. 16-byte aligned.
    pub output: DeviceSpan,
    /// The accumulators of A·B2ᵀ, for [`Output::Accumulators`] only.
    pub output2: Option<DeviceSpan>,
    /// [`DualGemm::workspace_bytes`] bytes, 16-byte aligned, where the plan needs any. Its contents
    /// before and after do not matter.
    pub workspace: Option<DeviceSpan>,
    /// Multiplies A·B1ᵀ, in f32; finite. A product beyond the range of f32 counts as infinite.
    pub alpha1: f32,
    /// Multiplies A·B2ᵀ; as `alpha1`.
    pub alpha2: f32,
}

/// A dual GEMM with its arguments checked and its tensor maps made: can be launched any number of
/// times.
pub struct Bound<'a> {
    kernel: &'static KernelEntry,
    grid: [u32; 3],
    cluster: u32,
    work: Work<'a>,
}

/// What is launched, on each architecture.
enum Work<'a> {
    Blackwell {
        function: Function<'a>,
        params: DualGemmParams,
    },
    Hopper {
        /// In the prefill design a grid runs before, and the other waits for it where it needs the
        /// workspace.
        activations: Option<ActivationGrid<'a>>,
        function: Function<'a>,
        params: HopperParams,
    },
}

/// The grid that dequantises A.
struct ActivationGrid<'a> {
    function: Function<'a>,
    grid: [u32; 3],
    params: ActivationParams,
}

/// Whether a launch may start while the stream's previous kernel still runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    InOrder,
    Overlapped,
}

impl DualGemm {
    /// Checks the arguments against the plan and encodes the tensor maps.
    ///
    /// # Errors
    /// [`LaunchError`]; device memory is not touched.
    pub fn bind<'a>(
        &self,
        kernels: &'a Kernels,
        arguments: &Arguments,
    ) -> Result<Bound<'a>, LaunchError> {
        let (planned, loaded) = (self.architecture().name, kernels.architecture.name);
        if planned != loaded {
            return Err(LaunchError::OtherArchitecture { planned, loaded });
        }
        self.check(arguments)?;
        let function_of = |launch| function(&kernels.module, launch);
        let function = function_of(&self.kernel().launch)?;
        let work = match self.hopper_design() {
            None => Work::Blackwell {
                function,
                params: self.blackwell_params(arguments)?,
            },
            Some(design) => Work::Hopper {
                activations: match design {
                    Design::Decode => None,
                    Design::Prefill => Some(ActivationGrid {
                        function: function_of(&hopper::ACTIVATIONS)?,
                        grid: self.activation_grid(),
                        params: self.activation_params(arguments),
                    }),
                },
                function,
                params: self.hopper_params(arguments, design)?,
            },
        };
        Ok(Bound {
            kernel: self.kernel(),
            grid: self.grid(),
            cluster: self.cluster(),
            work,
        })
    }

    fn blackwell_params(&self, arguments: &Arguments) -> Result<DualGemmParams, DriverError> {
        let tile_n = self.kernel().tile_n;
        Ok(DualGemmParams {
            a: encode(arguments.a, TILE_M)?,
            b1: encode(arguments.b1, tile_n)?,
            b2: encode(arguments.b2, tile_n)?,
            scale_a: arguments.a.scales.address,
            scale_b1: arguments.b1.scales.address,
            scale_b2: arguments.b2.scales.address,
            output: arguments.output.address,
            output2: arguments.output2.map_or(0, |span| span.address),
            // `Shape` bounds each dimension to 32 bits.
            m: self.shape().m() as u32,
            n: self.shape().n() as u32,
            k: self.shape().k() as u32,
            alpha1: arguments.alpha1,
            alpha2: arguments.alpha2,
            reserved: 0,
        })
    }

    /// M, N, K and L, which `Shape` bounds to 32 bits.
    fn dimensions(&self) -> [u32; 4] {
        let shape = self.shape();
        [shape.m(), shape.n(), shape.k(), shape.batch()].map(|dimension| dimension as u32)
    }

    fn activation_grid(&self) -> [u32; 3] {
        let [_, _, k, batch] = self.dimensions();
        // `check_hopper_grid` bounds the number of threads.
        let threads =
            self.workspace_rows() * (hopper::activation_columns(k) / hopper::ACTIVATION_ELEMENTS);
        [threads.div_ceil(hopper::ACTIVATION_THREADS), 1, batch]
    }

    fn activation_params(&self, arguments: &Arguments) -> ActivationParams {
        let [m, _, k, batch] = self.dimensions();
        ActivationParams {
            elements: arguments.a.elements.address,
            scales: arguments.a.scales.address,
            workspace: workspace_address(arguments),
            m,
            k,
            batch,
            rows: self.workspace_rows(),
        }
    }

    fn hopper_params(
        &self,
        arguments: &Arguments,
        design: Design,
    ) -> Result<HopperParams, DriverError> {
        let [m, n, k, batch] = self.dimensions();
        Ok(HopperParams {
            activations: match design {
                Design::Decode => encode_bytes(arguments.a, self.kernel().tile_m)?,
                Design::Prefill => encode_workspace(self, workspace_address(arguments))?,
            },
            b1: encode_bytes(arguments.b1, hopper::TILE_N)?,
            b2: encode_bytes(arguments.b2, hopper::TILE_N)?,
            scale_a: arguments.a.scales.address,
            scale_b1: arguments.b1.scales.address,
            scale_b2: arguments.b2.scales.address,
            output: arguments.output.address,
            output2: arguments.output2.map_or(0, |span| span.address),
            m,
            n,
            k,
            batch,
            alpha1: arguments.alpha1,
            alpha2: arguments.alpha2,
            reserved: [0; 16],
        })
    }

    fn check(&self, arguments: &Arguments) -> Result<(), LaunchError> {
        for (name, value) in [("alpha1", arguments.alpha1), ("alpha2", arguments.alpha2)] {
            if !value.is_finite() {
                return Err(LaunchError::AlphaNotFinite { name, value });
            }
        }
        let (a, b) = (self.shape().a(), self.shape().b());
        for (names, matrix, needed) in [
            (
                ["A", "the elements of A", "the scale factors of A"],
                arguments.a,
                a,
            ),
            (
                ["B1", "the elements of B1", "the scale factors of B1"],
                arguments.b1,
                b,
            ),
            (
                ["B2", "the elements of B2", "the scale factors of B2"],
                arguments.b2,
                b,
            ),
        ] {
            check_matrix(names, matrix, needed)?;
        }
        check_span("the output", arguments.output, self.output_bytes())?;
        let needed = self.workspace_bytes();
        if needed != 0 {
            let absent = DeviceSpan {
                address: 0,
                bytes: 0,
            };
            check_span(
                "the workspace",
                arguments.workspace.unwrap_or(absent),
                needed,
            )?;
        }
        if let Some(output2) = arguments.output2 {
            check_span("the second output", output2, self.output_bytes())?;
        }
        let output = self.kernel().output;
        let needed = output_count(output);
        let found = 1 + usize::from(arguments.output2.is_some());
        if needed != found {
            return Err(LaunchError::OutputCount {
                output,
                needed,
                found,
            });
        }
        Ok(())
    }
}

impl Bound<'_> {
    /// Enqueues the dual GEMM on `stream` and returns; no allocation, no synchronisation.
    ///
    /// # Errors
    /// [`LaunchError::Driver`]. A failure of the kernel itself shows at the next synchronisation.
    ///
    /// # Safety
    /// - Until the kernel has run, every buffer of the arguments stays allocated, the inputs are
    ///   not written, and the outputs and the workspace are neither read nor written by anyone else.
    ///   Outputs and workspace overlap neither each other nor an input.
    /// - `stream` belongs to the context that the kernels were loaded into, and that context is
    ///   current.
    pub unsafe fn launch(&self, stream: &Stream) -> Result<(), LaunchError> {
        // SAFETY: the caller's contract.
        unsafe { self.launch_raw(stream.as_inner()) }
    }

    /// As [`Bound::launch`], on a stream of another wrapper of the driver API.
    ///
    /// # Errors
    /// As [`Bound::launch`].
    ///
    /// # Safety
    /// As [`Bound::launch`]; `stream` is a valid stream, or null for the default stream.
    pub unsafe fn launch_raw(&self, stream: CUstream) -> Result<(), LaunchError> {
        // SAFETY: the caller's contract.
        unsafe { self.enqueue(stream, Start::InOrder) }
    }

    /// As [`Bound::launch`], but the kernel may start, and copy weights, while the kernel before it in
    /// the stream still runs, if that one lets it (`griddepcontrol.launch_dependents`, as the kernels for
    /// Hopper do before their end). A, outputs and workspace are not touched before it has finished.
    ///
    /// Layers of a model, each launched like this, keep a Hopper GPU's memory busy without a gap.
    /// On Blackwell this is [`Bound::launch`].
    ///
    /// # Errors
    /// As [`Bound::launch`].
    ///
    /// # Safety
    /// As [`Bound::launch`]; besides, no kernel of the stream that may still run writes B1, B2 or their scale
    /// factors: not the one before this one, nor one before that, back to the last that was launched in order.
    pub unsafe fn launch_overlapped(&self, stream: &Stream) -> Result<(), LaunchError> {
        // SAFETY: the caller's contract.
        unsafe { self.launch_overlapped_raw(stream.as_inner()) }
    }

    /// As [`Bound::launch_overlapped`], on a stream of another wrapper of the driver API.
    ///
    /// # Errors
    /// As [`Bound::launch`].
    ///
    /// # Safety
    /// As [`Bound::launch_overlapped`]; `stream` is a valid stream, or null for the default stream.
    pub unsafe fn launch_overlapped_raw(&self, stream: CUstream) -> Result<(), LaunchError> {
        // SAFETY: the caller's contract.
        unsafe { self.enqueue(stream, Start::Overlapped) }
    }

    /// # Safety
    /// As [`Bound::launch_raw`] or [`Bound::launch_overlapped_raw`], as `start` says.
    unsafe fn enqueue(&self, stream: CUstream, start: Start) -> Result<(), LaunchError> {
        let tiles = LaunchConfig {
            grid: self.grid,
            block: [self.kernel.launch.threads_per_cta, 1, 1],
            cluster: None,
            dynamic_shared_bytes: self.kernel.launch.dynamic_shared_bytes,
            programmatic_dependent_launch: false,
        };
        match &self.work {
            // SAFETY: the entry's parameter is this block; the rest is the caller's contract.
            Work::Blackwell { function, params } => unsafe {
                launch_with(function, &tiles, stream, params)?;
            },
            Work::Hopper {
                activations,
                function,
                params,
            } => {
                if let Some(activations) = activations {
                    let before = LaunchConfig {
                        grid: activations.grid,
                        block: [hopper::ACTIVATION_THREADS, 1, 1],
                        cluster: None,
                        dynamic_shared_bytes: 0,
                        programmatic_dependent_launch: start == Start::Overlapped,
                    };
                    // SAFETY: as above.
                    unsafe {
                        launch_with(&activations.function, &before, stream, &activations.params)?;
                    }
                }
                let tiles = LaunchConfig {
                    cluster: Some([self.cluster, 1, 1]),
                    programmatic_dependent_launch: activations.is_some()
                        || start == Start::Overlapped,
                    ..tiles
                };
                // SAFETY: as above.
                unsafe { launch_with(function, &tiles, stream, params)? };
            }
        }
        Ok(())
    }
}

/// Launches an entry with `params` as its one parameter.
///
/// # Safety
/// As [`api::launch_kernel_ex`]; the entry's parameter is a `P`.
unsafe fn launch_with<P>(
    function: &Function<'_>,
    config: &LaunchConfig,
    stream: CUstream,
    params: &P,
) -> Result<(), DriverError> {
    let params = (&raw const *params).cast_mut().cast::<c_void>();
    // SAFETY: the caller's contract.
    unsafe { api::launch_kernel_ex(function, config, stream, &mut [params]) }
}

fn output_count(output: Output) -> usize {
    match output {
        Output::F16 => 1,
        Output::Accumulators => 2,
    }
}

fn check_matrix(
    [name, elements, scales]: [&'static str; 3],
    matrix: DeviceMatrix,
    needed: MatrixShape,
) -> Result<(), LaunchError> {
    if matrix.shape != needed {
        return Err(LaunchError::Shape {
            matrix: name,
            found: matrix.shape,
            needed,
        });
    }
    check_span(elements, matrix.elements, needed.packed_size())?;
    check_span(scales, matrix.scales, needed.tiled_scales_size())
}

fn check_span(buffer: &'static str, span: DeviceSpan, needed: usize) -> Result<(), LaunchError> {
    if span.address == 0 {
        return Err(LaunchError::Null { buffer });
    }
    if !span.address.is_multiple_of(16) {
        return Err(LaunchError::Misaligned {
            buffer,
            address: span.address,
        });
    }
    if span.bytes < needed {
        return Err(LaunchError::BufferTooShort {
            buffer,
            found: span.bytes,
            needed,
        });
    }
    Ok(())
}

fn encode(matrix: DeviceMatrix, tile_rows: u32) -> Result<TensorMap, DriverError> {
    let map = operand_map(matrix.shape, tile_rows);
    let encoded = api::encode_tiled(&TensorMapDescription {
        data_type: TensorMapDataType::U4x16Align8,
        global_address: matrix.elements.address,
        global_dims: &map.dimensions,
        global_strides: &map.strides,
        box_dims: &map.box_dimensions,
        swizzle: TensorMapSwizzle::B128,
        l2_promotion: TensorMapL2Promotion::None,
    })?;
    Ok(TensorMap(encoded.words()))
}

/// Packed elements as bytes: Hopper's TMA knows no 4-bit elements.
fn encode_bytes(matrix: DeviceMatrix, tile_rows: u32) -> Result<TensorMap, DriverError> {
    let row_bytes = matrix.shape.row_bytes() as u64;
    let rows = matrix.shape.rows() as u64;
    let encoded = api::encode_tiled(&TensorMapDescription {
        data_type: TensorMapDataType::Uint8,
        global_address: matrix.elements.address,
        global_dims: &[row_bytes, rows, matrix.shape.batch() as u64],
        global_strides: &[row_bytes, row_bytes * rows],
        box_dims: &[hopper::ROW_BYTES, tile_rows, 1],
        swizzle: TensorMapSwizzle::B128,
        // A row of a box, no more: measured (ARCHITECTURE.md).
        l2_promotion: TensorMapL2Promotion::L2B128,
    })?;
    Ok(TensorMap(encoded.words()))
}

/// A as f16, which the first grid writes.
fn encode_workspace(plan: &DualGemm, address: u64) -> Result<TensorMap, DriverError> {
    let shape = plan.shape();
    let columns = u64::from(hopper::activation_columns(shape.k() as u32));
    let rows = u64::from(plan.workspace_rows());
    let encoded = api::encode_tiled(&TensorMapDescription {
        data_type: TensorMapDataType::Float16,
        global_address: address,
        global_dims: &[columns, rows, shape.batch() as u64],
        global_strides: &[2 * columns, 2 * columns * rows],
        box_dims: &[
            hopper::SLOT_K,
            plan.kernel().tile_m / hopper::PREFILL_CLUSTER,
            1,
        ],
        swizzle: TensorMapSwizzle::B128,
        l2_promotion: TensorMapL2Promotion::L2B256,
    })?;
    Ok(TensorMap(encoded.words()))
}

fn workspace_address(arguments: &Arguments) -> u64 {
    arguments.workspace.map_or(0, |span| span.address)
}
