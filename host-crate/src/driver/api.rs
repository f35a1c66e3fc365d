//! Driver functions that `cust` has no wrapper for: tensor maps, cluster launches, large shared memory, and PTX loading
//! with the compiler's log.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use cust::device::{Device, DeviceAttribute};
use cust::error::CudaError;
use cust::function::Function;
use cust::sys::{CUfunction, CUstream, CUuuid, cuDeviceGetUuid};

use super::DriverError;
use super::forward::Slot;
use super::library::check;
use super::status;

pub use super::jit::load_module_with_log;

impl DriverError {
    /// A failure that `cust` reported of a driver function.
    pub(crate) fn from_cust(function: &'static str, error: CudaError) -> Self {
        Self::Call {
            function,
            code: error as u32,
        }
    }
}

/// The compute capability of a device, as (major, minor).
///
/// # Errors
/// [`DriverError::Call`] as the driver fails.
pub fn compute_capability(device: Device) -> Result<(u32, u32), DriverError> {
    let get = |attribute| {
        let value = device
            .get_attribute(attribute)
            .map_err(|error| DriverError::from_cust("cuDeviceGetAttribute", error))?;
        Ok(value.unsigned_abs())
    };
    Ok((
        get(DeviceAttribute::ComputeCapabilityMajor)?,
        get(DeviceAttribute::ComputeCapabilityMinor)?,
    ))
}

/// The UUID of a device, in the order in which it is written.
///
/// # Errors
/// [`DriverError::Call`] as the driver fails.
pub fn uuid(device: Device) -> Result<[u8; 16], DriverError> {
    let mut uuid = CUuuid { bytes: [0; 16] };
    // SAFETY: both are valid; the driver writes 16 bytes.
    let code = unsafe { cuDeviceGetUuid(&mut uuid, device.as_raw()) };
    check("cuDeviceGetUuid", code as u32)?;
    Ok(uuid.bytes.map(|byte| byte as u8))
}

/// Attributes of a function that can be set; the numbers are the driver API's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FunctionAttribute {
    /// Dynamic shared memory that a launch may ask for, in bytes; needed above 48 KiB of shared memory in all.
    MaxDynamicSharedSizeBytes = 8,
    /// Share of the L1 cache to use as shared memory, in percent.
    PreferredSharedMemoryCarveout = 9,
    /// Whether clusters of more than 8 CTAs are allowed, 0 or 1.
    NonPortableClusterSizeAllowed = 14,
}

/// `cuFuncSetAttribute`.
///
/// # Errors
/// [`DriverError::Call`] where the value is not possible for this function and device.
pub fn function_set_attribute(
    function: &Function<'_>,
    attribute: FunctionAttribute,
    value: i32,
) -> Result<(), DriverError> {
    static SLOT: Slot = Slot::new("cuFuncSetAttribute");
    type SetAttribute = unsafe extern "C" fn(CUfunction, u32, c_int) -> u32;
    // SAFETY: the driver API's signature.
    let set: SetAttribute = unsafe { std::mem::transmute(SLOT.find()?) };
    // SAFETY: the function is alive as long as the reference.
    let code = unsafe { set(function.to_raw(), attribute as u32, value) };
    check(SLOT.name(), code)
}

/// The geometry of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchConfig {
    /// In CTAs.
    pub grid: [u32; 3],
    /// In threads.
    pub block: [u32; 3],
    /// In CTAs; `None` takes the shape that the PTX requires, or one CTA.
    pub cluster: Option<[u32; 3]>,
    pub dynamic_shared_bytes: u32,
    /// Lets the kernel start while its predecessor in the stream still runs; it must then execute `griddepcontrol.wait`
    /// before it uses the predecessor's results.
    pub programmatic_dependent_launch: bool,
}

/// `[2, 1, 1] CTAs of [128, 1, 1] threads in clusters of [2, 1, 1] with 1024 bytes of dynamic shared memory`
impl fmt::Display for LaunchConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} CTAs of {:?} threads", self.grid, self.block)?;
        if let Some(cluster) = self.cluster {
            write!(f, " in clusters of {cluster:?}")?;
        }
        let bytes = self.dynamic_shared_bytes;
        write!(f, " with {bytes} bytes of dynamic shared memory")
    }
}

/// `CUlaunchConfig`
#[repr(C)]
struct RawLaunchConfig {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared_bytes: u32,
    stream: CUstream,
    attributes: *const RawLaunchAttribute,
    attribute_count: u32,
}

/// `CUlaunchAttribute`: an id and a union of 64 bytes, aligned to 8.
#[repr(C, align(8))]
struct RawLaunchAttribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

impl RawLaunchAttribute {
    /// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION`
    const CLUSTER_DIMENSION: u32 = 4;
    /// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`
    const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;

    const fn new(id: u32, words: &[u32]) -> Self {
        let mut value = [0; 16];
        value.split_at_mut(words.len()).0.copy_from_slice(words);
        Self {
            id,
            padding: 0,
            value,
        }
    }
}

/// `cuLaunchKernelEx`.
///
/// # Safety
/// `stream` is a stream of the current context, or null. `params` holds one pointer per parameter of the kernel, in order, each valid for reads of that parameter's size. What
/// the kernel does with them must be sound: memory behind device addresses is alive until the launch has finished.
///
/// # Errors
/// [`DriverError::MissingFunction`] from drivers before CUDA 11.8; [`DriverError::Launch`] where the launch is refused.
pub unsafe fn launch_kernel_ex(
    function: &Function<'_>,
    config: &LaunchConfig,
    stream: CUstream,
    params: &mut [*mut c_void],
) -> Result<(), DriverError> {
    static SLOT: Slot = Slot::new("cuLaunchKernelEx");
    type LaunchKernelEx = unsafe extern "C" fn(
        *const RawLaunchConfig,
        CUfunction,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> u32;
    let cluster = config
        .cluster
        .map(|cluster| RawLaunchAttribute::new(RawLaunchAttribute::CLUSTER_DIMENSION, &cluster));
    let overlap = config.programmatic_dependent_launch.then(|| {
        RawLaunchAttribute::new(RawLaunchAttribute::PROGRAMMATIC_STREAM_SERIALIZATION, &[1])
    });
    // On the stack: a launch does not allocate.
    let mut attributes = [const { RawLaunchAttribute::new(0, &[]) }; 2];
    let mut attribute_count = 0;
    for attribute in [cluster, overlap].into_iter().flatten() {
        attributes[attribute_count] = attribute;
        attribute_count += 1;
    }
    let raw = RawLaunchConfig {
        grid: config.grid,
        block: config.block,
        dynamic_shared_bytes: config.dynamic_shared_bytes,
        stream,
        attributes: attributes.as_ptr(),
        attribute_count: attribute_count as u32,
    };
    // SAFETY: the driver API's signature.
    let launch: LaunchKernelEx = unsafe { std::mem::transmute(SLOT.find()?) };
    // SAFETY: the configuration and its attributes outlive the call; the parameters are the caller's promise.
    let code = unsafe {
        launch(
            &raw,
            function.to_raw(),
            params.as_mut_ptr(),
            ptr::null_mut(),
        )
    };
    match code {
        status::SUCCESS => Ok(()),
        code => Err(DriverError::Launch {
            code,
            config: *config,
            report: super::take_device_report().unwrap_or_default(),
        }),
    }
}

/// A tensor map, opaque: the driver writes it, the tensor memory accelerator reads it, most often from a kernel
/// parameter.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct TensorMap([u64; 16]);

impl TensorMap {
    /// Its 128 bytes, to be placed on a 64-byte boundary.
    pub fn words(&self) -> [u64; 16] {
        self.0
    }
}

/// `CUtensorMapDataType`. TMA copies bits: the type sets the size of an element and what fills out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TensorMapDataType {
    Uint8 = 0,
    Uint16 = 1,
    Uint32 = 2,
    Int32 = 3,
    Uint64 = 4,
    Int64 = 5,
    Float16 = 6,
    Float32 = 7,
    Float64 = 8,
    Bfloat16 = 9,
    /// f32 whose subnormals are flushed to zero.
    Float32Ftz = 10,
    Tfloat32 = 11,
    Tfloat32Ftz = 12,
    /// Packed 4-bit elements; 16 of them are 8 bytes in shared memory.
    U4x16Align8 = 13,
    /// Packed 4-bit elements; 16 of them are 8 bytes in global and 16 bytes in shared memory.
    U4x16Align16 = 14,
    /// Packed 6-bit elements; 16 of them are 12 bytes in global and 16 bytes in shared memory.
    U6x16Align16 = 15,
}

/// `CUtensorMapSwizzle`: which 16-byte chunks trade places in shared memory, to spread a column over the banks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TensorMapSwizzle {
    None = 0,
    B32 = 1,
    B64 = 2,
    B128 = 3,
    /// As [`Self::B128`] with atoms of 32 bytes.
    B128Atom32 = 4,
    /// As [`Self::B128Atom32`], with the halves of 16-byte chunks exchanged in every other line.
    B128Atom32Flip8 = 5,
    /// As [`Self::B128`] with atoms of 64 bytes.
    B128Atom64 = 6,
}

/// `CUtensorMapFloatOOBfill`: what elements out of bounds read as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum TensorMapFill {
    #[default]
    Zero = 0,
    /// A NaN, for types of floating-point numbers.
    Nan = 1,
}

/// What [`encode_tiled`] leaves at its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TensorMapOptions {
    /// Distance in elements of the box that are copied, 1 to 8 in each dimension; `None` for dense boxes.
    pub element_strides: Option<[u32; MAX_RANK]>,
    pub fill: TensorMapFill,
}

/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 5;

/// `CUtensorMapL2promotion`: bytes that a miss fetches into the L2 cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TensorMapL2Promotion {
    None = 0,
    L2B64 = 1,
    L2B128 = 2,
    L2B256 = 3,
}

/// A tensor in global memory and the box of it that one copy moves. Dimension 0 is innermost and dense; out of bounds
/// reads give zeros.
#[derive(Clone, Copy, Debug)]
pub struct TensorMapDescription<'a> {
    pub data_type: TensorMapDataType,
    /// Device address of element 0.
    pub global_address: u64,
    /// In elements; as many as the tensor has dimensions, 1 to 5.
    pub global_dims: &'a [u64],
    /// In bytes, of dimensions 1 and up: one fewer.
    pub global_strides: &'a [u64],
    /// In elements; as many as dimensions.
    pub box_dims: &'a [u32],
    pub swizzle: TensorMapSwizzle,
    pub l2_promotion: TensorMapL2Promotion,
}

/// `cuTensorMapEncodeTiled`, without interleave and with dense boxes.
///
/// # Errors
/// [`DriverError::Call`] where the description breaks a rule of the driver API, or its slices differ in length;
/// [`DriverError::MissingFunction`] from drivers before CUDA 12.0.
pub fn encode_tiled(description: &TensorMapDescription<'_>) -> Result<TensorMap, DriverError> {
    encode_tiled_with(description, &TensorMapOptions::default())
}

/// `cuTensorMapEncodeTiled`, without interleave.
///
/// # Errors
/// As [`encode_tiled`].
pub fn encode_tiled_with(
    description: &TensorMapDescription<'_>,
    options: &TensorMapOptions,
) -> Result<TensorMap, DriverError> {
    static SLOT: Slot = Slot::new("cuTensorMapEncodeTiled");
    type EncodeTiled = unsafe extern "C" fn(
        *mut TensorMap,
        u32,
        u32,
        *mut c_void,
        *const u64,
        *const u64,
        *const u32,
        *const u32,
        u32,
        u32,
        u32,
        u32,
    ) -> u32;
    let rank = description.global_dims.len();
    if !(1..=MAX_RANK).contains(&rank)
        || description.global_strides.len() != rank - 1
        || description.box_dims.len() != rank
    {
        return Err(DriverError::Call {
            function: SLOT.name(),
            code: status::INVALID_VALUE,
        });
    }
    // SAFETY: the driver API's signature.
    let encode: EncodeTiled = unsafe { std::mem::transmute(SLOT.find()?) };
    let mut map = MaybeUninit::uninit();
    // SAFETY: the arrays have the lengths that the rank says, as checked; the map has its size and alignment.
    let code = unsafe {
        encode(
            map.as_mut_ptr(),
            description.data_type as u32,
            rank as u32,
            ptr::with_exposed_provenance_mut(description.global_address as usize),
            description.global_dims.as_ptr(),
            description.global_strides.as_ptr(),
            description.box_dims.as_ptr(),
            options.element_strides.unwrap_or([1; MAX_RANK]).as_ptr(),
            0,
            description.swizzle as u32,
            description.l2_promotion as u32,
            options.fill as u32,
        )
    };
    check(SLOT.name(), code)?;
    // SAFETY: written by the driver, which succeeded.
    Ok(unsafe { map.assume_init() })
}
