//! Runs a case through the driver layer.

use std::ffi::c_void;
use std::ptr;

use nvfp4_dual_gemm::cust::context::legacy::{Context, ContextFlags};
use nvfp4_dual_gemm::cust::device::Device;
use nvfp4_dual_gemm::cust::error::CudaError;
use nvfp4_dual_gemm::cust::memory::{CopyDestination, DeviceBuffer};
use nvfp4_dual_gemm::cust::module::Module;
use nvfp4_dual_gemm::cust::stream::{Stream, StreamFlags};
use nvfp4_dual_gemm::driver::api::{
    self, FunctionAttribute, LaunchConfig, TensorMapDescription, TensorMapL2Promotion,
};
use nvfp4_dual_gemm::driver::{self, DriverError};
use nvfp4_dual_gemm_kernel::contract::TensorMap;
use nvfp4_dual_gemm_kernel::contract::conformance::{ConformanceParams, ENTRIES};

use super::case::{Case, Launch, Map, Over};

/// Why a case has no output.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    #[error("the conformance PTX has no entry {0}; `cargo xtask build-ptx` builds it")]
    Entry(&'static str),
    #[error("{what}: {error}{}", .report.as_deref().map_or(String::new(), |report| format!("\n{report}")))]
    Cuda {
        what: &'static str,
        error: CudaError,
        /// What an emulated device had to say.
        report: Option<String>,
    },
    #[error(transparent)]
    Driver(#[from] DriverError),
}

fn failed(what: &'static str) -> impl FnOnce(CudaError) -> CaseError {
    move |error| CaseError::Cuda {
        what,
        error,
        report: driver::take_device_report(),
    }
}

/// The conformance kernels, loaded into a context of their own. After an error it may be of no further use.
pub struct Runner {
    module: Module,
    stream: Stream,
    // Destroyed last.
    _context: Context,
}

impl Runner {
    /// On the device of that ordinal; the driver is initialised.
    ///
    /// # Errors
    /// What the driver answers.
    pub fn new(ordinal: u32, ptx: &str) -> Result<Self, CaseError> {
        let device = Device::get_device(ordinal).map_err(failed("cuDeviceGet"))?;
        let context = Context::create_and_push(ContextFlags::SCHED_AUTO, device)
            .map_err(failed("creating a context"))?;
        let module = api::load_module_with_log(ptx)?;
        for launch in ENTRIES {
            let function = module
                .get_function(launch.name)
                .map_err(|_| CaseError::Entry(launch.name))?;
            let bytes = launch.dynamic_shared_bytes as i32;
            let set = |attribute, value| api::function_set_attribute(&function, attribute, value);
            set(FunctionAttribute::MaxDynamicSharedSizeBytes, bytes)?;
            set(FunctionAttribute::NonPortableClusterSizeAllowed, 1)?;
        }
        // Waits for the uploads, which the null stream may still be doing when their calls return.
        let stream =
            Stream::new(StreamFlags::DEFAULT, None).map_err(failed("creating a stream"))?;
        Ok(Self {
            module,
            stream,
            _context: context,
        })
    }

    /// The bytes of the output after the case's launches; the status of encoding its tensor map, where it
    /// has none.
    ///
    /// # Errors
    /// What the driver answers; an emulated device's report comes with it.
    pub fn run(&self, case: &Case) -> Result<Vec<u8>, CaseError> {
        // A buffer has at least a byte.
        let input = DeviceBuffer::from_slice(&[&*case.input, &[0]].concat())
            .map_err(failed("uploading the input"))?;
        let output = DeviceBuffer::from_slice(&[&*case.output, &[0]].concat())
            .map_err(failed("uploading the output"))?;
        let address = |buffer: &DeviceBuffer<u8>| buffer.as_device_ptr().as_raw();
        let encode = |map: &Map| {
            encode(
                map,
                match map.over {
                    Over::Input => address(&input),
                    Over::Output => address(&output),
                },
            )
        };
        let map = match (&case.map, case.launches.is_empty()) {
            (None, _) => TensorMap([0; 16]),
            (Some(map), false) => TensorMap(encode(map)?.words()),
            (Some(map), true) => {
                return match encode(map) {
                    Ok(_) => Ok(0u32.to_le_bytes().to_vec()),
                    Err(DriverError::Call { code, .. }) => Ok(code.to_le_bytes().to_vec()),
                    Err(error) => Err(error.into()),
                };
            }
        };
        for launch in &case.launches {
            let params = ConformanceParams {
                map,
                input: address(&input),
                output: address(&output),
                words: launch.words,
            };
            self.launch(launch, params)?;
        }
        self.stream
            .synchronize()
            .map_err(failed("running the kernel"))?;
        let mut bytes = vec![0; output.len()];
        output
            .copy_to(&mut bytes)
            .map_err(failed("downloading the output"))?;
        bytes.truncate(case.output.len());
        Ok(bytes)
    }

    fn launch(&self, launch: &Launch, mut params: ConformanceParams) -> Result<(), CaseError> {
        let function = self
            .module
            .get_function(launch.entry)
            .map_err(|_| CaseError::Entry(launch.entry))?;
        let entry = ENTRIES
            .iter()
            .find(|entry| entry.name == launch.entry)
            .ok_or(CaseError::Entry(launch.entry))?;
        let config = LaunchConfig {
            grid: launch.grid,
            block: [entry.threads_per_cta, 1, 1],
            cluster: Some(launch.cluster),
            dynamic_shared_bytes: entry.dynamic_shared_bytes,
            programmatic_dependent_launch: launch.dependent,
        };
        let mut pointers: [*mut c_void; 1] = [ptr::from_mut(&mut params).cast()];
        // SAFETY: the entry has one parameter of this type; the buffers that it points to outlive the
        // stream's synchronisation in `run`.
        unsafe {
            api::launch_kernel_ex(&function, &config, self.stream.as_inner(), &mut pointers)?;
        }
        Ok(())
    }
}

fn encode(map: &Map, buffer: u64) -> Result<api::TensorMap, DriverError> {
    api::encode_tiled_with(
        &TensorMapDescription {
            data_type: map.data_type,
            global_address: buffer + map.offset,
            global_dims: &map.dims,
            global_strides: &map.strides,
            box_dims: &map.box_dims,
            swizzle: map.swizzle,
            l2_promotion: TensorMapL2Promotion::None,
        },
        &map.options,
    )
}
