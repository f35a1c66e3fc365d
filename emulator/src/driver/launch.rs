//! Kernel launches. They run to completion inside the call, but for those that may overlap with the next one
//! ([`queue`]); a failure breaks the context, as on a device, and every later call in it returns the failure's status.

use std::ffi::c_void;

use super::abi::{Handle, answer, elements};
use super::state::{Driver, Function};
use super::status::Status;
use super::{observe, options, queue, report};
use crate::machine::{FailureClass, Launch, LaunchFailure, LaunchReport};

pub(super) const FUNCTIONS: &[super::Function] =
    functions![cuLaunchKernel, cuLaunchKernelEx, cuLaunchCooperativeKernel];

/// `CUlaunchConfig`
#[repr(C)]
struct LaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    stream: Handle,
    attributes: *const LaunchAttribute,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: an id, and a union of 64 bytes.
#[repr(C)]
struct LaunchAttribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

/// `CU_LAUNCH_ATTRIBUTE_COOPERATIVE`
const COOPERATIVE: u32 = 2;

/// What the attributes of a launch come to.
#[derive(Default)]
struct Attributes {
    cluster: Option<[u32; 3]>,
    /// All its CTAs run together.
    is_cooperative: bool,
    /// It may start before the launch before it has ended.
    is_dependent: bool,
}

impl Attributes {
    fn parse(attributes: &[LaunchAttribute]) -> Result<Self, Status> {
        let mut parsed = Self::default();
        for attribute in attributes {
            match attribute.id {
                // Hints: ignore, access policy window, synchronisation policy, cluster scheduling, programmatic
                // event, priority, memory synchronisation domains, preferred cluster shape, shared-memory carveout.
                0 | 1 | 3 | 5 | 8 | 9 | 10 | 11 | 14 => {}
                COOPERATIVE => parsed.is_cooperative = attribute.value[0] != 0,
                // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
                6 => parsed.is_dependent = attribute.value[0] != 0,
                // CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION
                4 => {
                    let [x, y, z, ..] = attribute.value;
                    parsed.cluster = Some([x, y, z]);
                }
                _ => return Err(Status::NOT_SUPPORTED),
            }
        }
        Ok(parsed)
    }
}

/// CTAs of a cluster that every device of the family can run.
const PORTABLE_CLUSTER: u64 = 8;

/// The shape of the clusters: the launch's, or the one that the function requires. Whether grid, kernel and device
/// admit it is checked by the device.
fn cluster_shape(function: &Function, asked: Option<[u32; 3]>) -> Result<[u32; 3], Status> {
    let required = Some(function.required_cluster).filter(|required| *required != [0; 3]);
    let shape = match (asked, required) {
        (Some(asked), Some(required)) if asked != required => None,
        (None, None) if function.kernel.directives.explicitcluster => None,
        (None, None) => Some([1; 3]),
        (Some(shape), _) | (None, Some(shape)) => Some(shape),
    };
    let shape = shape.ok_or(Status::INVALID_CLUSTER_SIZE)?;
    let ctas: u64 = shape.iter().map(|&extent| u64::from(extent)).product();
    match ctas > PORTABLE_CLUSTER && !function.non_portable_cluster {
        true => Err(Status::INVALID_CLUSTER_SIZE),
        false => Ok(shape),
    }
}

/// Gathers the parameter buffer.
///
/// # Safety
/// `params` is null or an array of pointers, one per parameter of the kernel and each valid for
/// that parameter's bytes; `extra` is null or a list of (tag, value) as `cuLaunchKernel` documents
/// it.
unsafe fn parameters(
    function: &Function,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Result<Vec<u8>, Status> {
    let kernel = &function.kernel;
    if !extra.is_null() {
        if !params.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the caller's promise.
        let buffer = unsafe { extra_buffer(extra)? };
        return match buffer.len() == kernel.param_bytes as usize {
            true => Ok(buffer.to_vec()),
            false => Err(Status::INVALID_VALUE),
        };
    }
    // SAFETY: the caller's promise.
    let params = unsafe { elements(params, kernel.params.len())? };
    let mut buffer = vec![0; kernel.param_bytes as usize];
    for (param, &value) in kernel.params.iter().zip(params) {
        let (start, bytes) = (param.offset as usize, param.size as usize);
        // SAFETY: the caller's promise.
        let value = unsafe { elements(value.cast::<u8>(), bytes)? };
        let place = buffer.get_mut(start..start + bytes);
        place.ok_or(Status::UNKNOWN)?.copy_from_slice(value);
    }
    Ok(buffer)
}

/// # Safety
/// `extra` is a list of (tag, value) that ends in `CU_LAUNCH_PARAM_END`.
unsafe fn extra_buffer<'a>(extra: *const *const c_void) -> Result<&'a [u8], Status> {
    let (mut buffer, mut bytes) = (std::ptr::null::<u8>(), None);
    // One of each tag and the end: more would be a repetition.
    for index in [0, 2, 4] {
        // SAFETY: the list goes on to here, since no end was found before.
        let tag = unsafe { extra.add(index).read() }.addr();
        if tag == 0 {
            break;
        }
        // SAFETY: a value follows each tag but the end.
        let value = unsafe { extra.add(index + 1).read() };
        match tag {
            // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE
            1 => buffer = value.cast(),
            // SAFETY: the tag says that the value points to a size.
            2 => bytes = unsafe { value.cast::<usize>().as_ref() }.copied(),
            _ => return Err(Status::INVALID_VALUE),
        }
    }
    // SAFETY: the caller's promise about the buffer and its size.
    unsafe { elements(buffer, bytes.ok_or(Status::INVALID_VALUE)?) }
}

/// # Safety
/// As [`parameters`]; the configuration's attributes are an array of `attribute_count` elements.
unsafe fn launch(
    config: &LaunchConfig,
    function: Handle,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Result<(), Status> {
    // The lock is not held while the kernel runs.
    let (driver, context, function) = {
        let (driver, objects, context) = Driver::with_context()?;
        objects.check_stream(config.stream)?;
        (driver, context, objects.function(function)?.clone())
    };
    // SAFETY: the caller's promise.
    let attributes = unsafe { elements(config.attributes, config.attribute_count as usize)? };
    let attributes = Attributes::parse(attributes)?;
    let cluster = cluster_shape(&function, attributes.cluster)?;
    if config.shared_bytes > function.dynamic_shared_limit() {
        report::file(
            format!(
                "{}: {} bytes of dynamic shared memory; {} are allowed, raise \
                 CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES",
                function.kernel.name,
                config.shared_bytes,
                function.dynamic_shared_limit()
            ),
            false,
        );
        return Err(Status::INVALID_VALUE);
    }
    let launch = Launch {
        grid: config.grid,
        block: config.block,
        cluster,
        dynamic_shared_bytes: config.shared_bytes,
        cooperative: attributes.is_cooperative,
        // SAFETY: the caller's promise.
        params: unsafe { parameters(&function, params, extra)? },
        options: options::of_thread().unwrap_or_else(|| driver.options.clone()),
        kernel: function.kernel,
    };
    let is_dependent = attributes.is_dependent;
    let Some(launch) = queue::enqueue(driver, context, config.stream, launch, is_dependent)? else {
        return Ok(());
    };
    let launched = driver.device.launch(&launch);
    observe::write();
    settle(driver, context, launched.map(|report| vec![report]))
}

/// Reports what launches were warned of, or why one failed. A refusal is the result of the call; any other failure breaks
/// the context.
pub(super) fn settle(
    driver: &Driver,
    context: Handle,
    launched: Result<Vec<LaunchReport>, LaunchFailure>,
) -> Result<(), Status> {
    let failure = match launched {
        Ok(launched) => {
            let warnings = launched.iter().flat_map(|launched| &launched.warnings);
            warnings.for_each(report::file_warning);
            return Ok(());
        }
        Err(failure) => failure,
    };
    report::file_failure(&failure);
    let status = status_of(&failure);
    if failure.is_refusal() {
        return Err(status);
    }
    let mut objects = driver.objects();
    if let Some(context) = objects.contexts.get_mut(&context) {
        context.failure = Some(status);
    }
    Ok(())
}

fn status_of(failure: &LaunchFailure) -> Status {
    match failure.class() {
        FailureClass::InvalidValue => Status::INVALID_VALUE,
        FailureClass::InvalidCluster => Status::INVALID_CLUSTER_SIZE,
        FailureClass::OutOfResources => Status::LAUNCH_OUT_OF_RESOURCES,
        FailureClass::CooperativeLaunchTooLarge => Status::COOPERATIVE_LAUNCH_TOO_LARGE,
        FailureClass::IllegalAddress => Status::ILLEGAL_ADDRESS,
        FailureClass::MisalignedAddress => Status::MISALIGNED_ADDRESS,
        FailureClass::Timeout => Status::LAUNCH_TIMEOUT,
        FailureClass::IllegalInstruction => Status::ILLEGAL_INSTRUCTION,
        FailureClass::NotSupported => Status::NOT_SUPPORTED,
        FailureClass::LaunchFailed => Status::LAUNCH_FAILED,
    }
}

/// # Safety
/// As [`parameters`].
unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: Handle,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Status {
    let config = LaunchConfig {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        shared_bytes,
        stream,
        attributes: std::ptr::null(),
        attribute_count: 0,
    };
    // SAFETY: the caller's promise; there are no attributes.
    answer(|| unsafe { launch(&config, function, params, extra) })
}

/// # Safety
/// As [`parameters`].
unsafe extern "C" fn cuLaunchCooperativeKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: Handle,
    params: *const *const c_void,
) -> Status {
    let attribute = LaunchAttribute {
        id: COOPERATIVE,
        padding: 0,
        value: [1; 16],
    };
    let config = LaunchConfig {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        shared_bytes,
        stream,
        attributes: &attribute,
        attribute_count: 1,
    };
    // SAFETY: the caller's promise; there is one attribute.
    answer(|| unsafe { launch(&config, function, params, std::ptr::null()) })
}

/// # Safety
/// `config` is null or a configuration as [`launch`] wants it; the rest as [`parameters`].
unsafe extern "C" fn cuLaunchKernelEx(
    config: *const LaunchConfig,
    function: Handle,
    params: *const *const c_void,
    extra: *const *const c_void,
) -> Status {
    answer(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { config.as_ref() }.ok_or(Status::INVALID_VALUE)?;
        // SAFETY: the caller's promise.
        unsafe { launch(config, function, params, extra) }
    })
}
