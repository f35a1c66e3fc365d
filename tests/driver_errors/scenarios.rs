//! What is done to a driver, and what it must answer.

use std::error::Error;
use std::ffi::c_void;
use std::fmt::Display;

use nvfp4_dual_gemm::check::{self, CheckError, Outcome, Problem};
use nvfp4_dual_gemm::cust::context::legacy::{Context, ContextFlags};
use nvfp4_dual_gemm::cust::device::Device;
use nvfp4_dual_gemm::cust::error::CudaError;
use nvfp4_dual_gemm::cust::memory::{CopyDestination, DeviceBuffer};
use nvfp4_dual_gemm::cust::module::Module;
use nvfp4_dual_gemm::cust::stream::{Stream, StreamFlags};
use nvfp4_dual_gemm::driver::api::{self, FunctionAttribute, LaunchConfig};
use nvfp4_dual_gemm::driver::{self, DriverError, DriverKind};
use nvfp4_dual_gemm::kernels::{ARCHITECTURES, Architecture, Output};
use nvfp4_dual_gemm::launch::{Kernels, LoadError};
use nvfp4_dual_gemm::plan::{DualGemm, Shape};
use nvfp4_dual_gemm::{InputKind, Inputs};
use nvfp4_dual_gemm_tests::{Buffers, TestDevice, assert_passed, ptx_of};
use ptx_emulator::machine::DeviceProperties;

/// What a scenario prints when it is through.
pub const DONE: &str = "the scenario is through";

/// Does what is called `name`.
pub fn run(name: &str, architecture: &'static Architecture) {
    let scenario = match name {
        "dual_gemm" => dual_gemm,
        "ptx_newer_than_the_driver" => ptx_newer_than_the_driver,
        "ptx_for_another_architecture" => ptx_for_another_architecture,
        "ptx_that_does_not_parse" => ptx_that_does_not_parse,
        "ptx_with_a_missing_entry" => ptx_with_a_missing_entry,
        "more_memory_than_there_is" => more_memory_than_there_is,
        "memory_that_is_taken" => memory_that_is_taken,
        "too_much_shared_memory" => too_much_shared_memory,
        "too_many_threads" => too_many_threads,
        "impossible_clusters" => impossible_clusters,
        "a_trap" => a_trap,
        "an_illegal_address" => an_illegal_address,
        "a_misaligned_address" => a_misaligned_address,
        unknown => panic!("no scenario {unknown}"),
    };
    scenario(architecture);
    println!("{DONE}");
}

const INVALID_VALUE: u32 = 1;
const INVALID_PTX: u32 = 218;
const UNSUPPORTED_PTX_VERSION: u32 = 222;
const INVALID_CLUSTER_SIZE: u32 = 912;

/// Shows what a user would see, and that each of `wanted` is in it.
fn told(error: &dyn Display, wanted: &[&str]) {
    let text = error.to_string();
    println!("{text}");
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in: {text}");
    }
}

fn problem(m: usize, n: usize, k: usize) -> Problem {
    Problem {
        shape: Shape::new(m, n, k, 1).unwrap(),
        inputs: InputKind::Normal,
        seed: 1,
        alpha1: None,
        alpha2: None,
        tile: None,
        launches: 1,
    }
}

/// The context and its kernels work.
fn assert_works(kernels: &Kernels) {
    let outcome = check::run(kernels, &problem(5, 72, 320), &());
    assert_passed(&"a dual GEMM", outcome);
}

fn dual_gemm(architecture: &'static Architecture) {
    assert_works(&TestDevice::of(architecture).kernels());
}

/// The driver's refusal of a PTX; shown with what must be in it.
fn refused(device: &TestDevice, ptx: &str, wanted: &[&str]) -> (u32, String) {
    let error = device.load(ptx).err().expect("the PTX is refused");
    told(&error, wanted);
    match error {
        LoadError::Driver(DriverError::Load { code, log, .. }) => (code, log),
        other => panic!("expected a refusal with a log, found {other:?}"),
    }
}

fn ptx_newer_than_the_driver(architecture: &'static Architecture) {
    let device = TestDevice::of(architecture);
    let ptx = ptx_of(architecture);
    let (major, minor) = architecture.ptx_version;
    let newer = ptx.replacen(&format!(".version {major}.{minor}"), ".version 99.0", 1);
    let (code, log) = refused(
        &device,
        &newer,
        &[
            "UNSUPPORTED_PTX_VERSION (222)",
            "PTX 99.0",
            "update the driver",
        ],
    );
    assert_eq!(code, UNSUPPORTED_PTX_VERSION);
    assert!(log.contains("99.0"), "{log}");
    assert_works(&device.kernels());
}

fn ptx_for_another_architecture(architecture: &'static Architecture) {
    let device = TestDevice::of(architecture);
    let kernels = device.kernels();
    let (major, minor) = kernels.gpu().compute_capability;
    let mut others = 0;
    for other in ARCHITECTURES {
        if other.name == architecture.name {
            continue;
        }
        others += 1;
        let found = format!("on compute capability {major}.{minor}");
        let (code, log) = refused(&device, &ptx_of(other), &[&found, "for another GPU"]);
        assert_eq!(code, INVALID_PTX);
        assert!(!log.trim().is_empty());
    }
    assert!(others > 0);
    assert_works(&kernels);
}

fn ptx_that_does_not_parse(architecture: &'static Architecture) {
    const BROKEN: &str = "\
.version 8.0
.target sm_90
.address_size 64
.visible .entry broken() {
    this is no PTX;
    ret;
}
";
    let device = TestDevice::of(architecture);
    let (code, log) = refused(&device, BROKEN, &["INVALID_PTX (218)", "PTX 8.0 for sm_90"]);
    assert_eq!(code, INVALID_PTX);
    assert!(log.contains("line 5") || log.contains(":5:"), "{log}");
    assert_works(&device.kernels());
}

fn ptx_with_a_missing_entry(architecture: &'static Architecture) {
    let device = TestDevice::of(architecture);
    let ptx = ptx_of(architecture);
    for launch in architecture.launches() {
        let without = ptx.replace(&format!("{}(", launch.name), "another_name(");
        let error = device.load(&without).err().expect("an entry is missing");
        told(&error, &[launch.name]);
        assert_eq!(error, LoadError::MissingEntry { entry: launch.name });
    }
    assert_works(&device.kernels());
}

fn more_memory_than_there_is(architecture: &'static Architecture) {
    let device = TestDevice::of(architecture);
    // SAFETY: nothing reads it.
    let found = unsafe { DeviceBuffer::<u8>::uninitialized(1 << 46) };
    let error = found.expect_err("64 TiB are too many");
    told(&error, &["out of memory"]);
    assert_eq!(error, CudaError::OutOfMemory);
    assert_works(&device.kernels());
}

fn memory_that_is_taken(architecture: &'static Architecture) {
    // The emulator writes a pattern into memory that is taken: let there be little.
    ptx_emulator::driver::prefer_device(DeviceProperties {
        total_memory_bytes: 64 << 20,
        ..match architecture.has((9, 0)) {
            true => DeviceProperties::h200(),
            false => DeviceProperties::b200(),
        }
    });
    let device = TestDevice::of(architecture);
    let kernels = device.kernels();
    let (mut taken, mut bytes) = (Vec::new(), 1 << 40);
    while bytes >= 1 << 20 {
        // SAFETY: nothing reads it.
        match unsafe { DeviceBuffer::<u8>::uninitialized(bytes) } {
            Ok(buffer) => taken.push(buffer),
            Err(error) => {
                assert_eq!(error, CudaError::OutOfMemory);
                bytes /= 2;
            }
        }
    }
    // Each of its weight matrices has 4 MiB: more than what may be left in pieces.
    let error = check::run(&kernels, &problem(1, 4096, 2048), &()).unwrap_err();
    told(&error, &["bytes of memory free", "are needed for"]);
    assert!(matches!(error, CheckError::OutOfDeviceMemory { .. }));
    drop(taken);
    assert_works(&kernels);
}

/// Small kernels; the PTX runs on every architecture here.
const SMALL: &str = "\
.version 8.0
.target sm_90
.address_size 64
.visible .entry nothing(.param .u64 nothing_param_0) {
    ret;
}
.visible .entry traps(.param .u64 traps_param_0) {
    trap;
}
.visible .entry stores(.param .u64 stores_param_0) {
    .reg .b64 %rd<3>;
    .reg .b32 %r<2>;
    ld.param.u64 %rd1, [stores_param_0];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u32 %r1, 7;
    st.global.u32 [%rd2], %r1;
    ret;
}
";

/// One warp.
const WARP: LaunchConfig = LaunchConfig {
    grid: [1, 1, 1],
    block: [32, 1, 1],
    cluster: None,
    dynamic_shared_bytes: 0,
    programmatic_dependent_launch: false,
};

/// Launches one of the small kernels, whose parameter is an address.
fn launch(
    module: &Module,
    entry: &str,
    config: &LaunchConfig,
    stream: &Stream,
    address: u64,
) -> Result<(), DriverError> {
    let function = module.get_function(entry).unwrap();
    let mut param = address;
    let param = (&raw mut param).cast::<c_void>();
    // SAFETY: the one parameter has 8 bytes. Stores go to memory of this module's tests, or fail.
    unsafe { api::launch_kernel_ex(&function, config, stream.as_inner(), &mut [param]) }
}

fn new_stream() -> Stream {
    Stream::new(StreamFlags::NON_BLOCKING, None).unwrap()
}

/// Launches of `nothing` that the driver must refuse with a code; others work before and after.
fn refuses_launches(architecture: &'static Architecture, refused: &[(LaunchConfig, u32)]) {
    let device = TestDevice::of(architecture);
    let module = api::load_module_with_log(SMALL).unwrap();
    let stream = new_stream();
    launch(&module, "nothing", &WARP, &stream, 0).unwrap();
    stream.synchronize().unwrap();
    let mut other_codes = Vec::new();
    for (config, wanted) in refused {
        let error = launch(&module, "nothing", config, &stream, 0).expect_err("a refusal");
        told(&error, &[&config.to_string()]);
        let DriverError::Launch { code, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(!error.context_is_lost());
        if code != wanted {
            other_codes.push(format!("{config}: {code} instead of {wanted}"));
        }
    }
    assert!(other_codes.is_empty(), "{other_codes:#?}");
    launch(&module, "nothing", &WARP, &stream, 0).unwrap();
    stream.synchronize().unwrap();
    assert_works(&device.kernels());
}

fn too_much_shared_memory(architecture: &'static Architecture) {
    // 48 KiB are allowed unasked.
    let bytes = [(48 << 10) + 1, 228 << 10, 1 << 30, u32::MAX];
    let refused = bytes.map(|dynamic_shared_bytes| {
        let config = LaunchConfig {
            dynamic_shared_bytes,
            ..WARP
        };
        (config, INVALID_VALUE)
    });
    refuses_launches(architecture, &refused);
    let _device = TestDevice::of(architecture);
    let module = api::load_module_with_log(SMALL).unwrap();
    let function = module.get_function("nothing").unwrap();
    let allow = |bytes| {
        let attribute = FunctionAttribute::MaxDynamicSharedSizeBytes;
        api::function_set_attribute(&function, attribute, bytes)
    };
    for bytes in [(227 << 10) + 1, 1 << 30, -1] {
        let error = allow(bytes).expect_err("a refusal");
        told(&error, &["cuFuncSetAttribute", "INVALID_VALUE (1)"]);
        assert_eq!(error.code(), Some(INVALID_VALUE));
    }
    allow(227 << 10).unwrap();
    let config = LaunchConfig {
        dynamic_shared_bytes: 227 << 10,
        ..WARP
    };
    let stream = new_stream();
    launch(&module, "nothing", &config, &stream, 0).unwrap();
    stream.synchronize().unwrap();
}

fn too_many_threads(architecture: &'static Architecture) {
    // More than 1024 in all, more along a dimension than there can be, and none.
    let blocks = [[32, 32, 2], [1025, 1, 1], [1, 1, 65], [0, 1, 1]];
    let blocks = blocks.map(|block| LaunchConfig { block, ..WARP });
    let grids = [[0, 1, 1], [1, 65_536, 1], [1, 1, 65_536]];
    let grids = grids.map(|grid| LaunchConfig { grid, ..WARP });
    let all = blocks.into_iter().chain(grids);
    let refused: Vec<_> = all.map(|config| (config, INVALID_VALUE)).collect();
    refuses_launches(architecture, &refused);
}

fn impossible_clusters(architecture: &'static Architecture) {
    let clusters = [
        // The grid is not a multiple of it.
        (4, 3, INVALID_CLUSTER_SIZE),
        // Beyond what every device of the family has, without asking for it.
        (16, 16, INVALID_CLUSTER_SIZE),
        (64, 64, INVALID_CLUSTER_SIZE),
    ];
    let refused = clusters.map(|(grid, cluster, code)| {
        let config = LaunchConfig {
            grid: [grid, 1, 1],
            cluster: Some([cluster, 1, 1]),
            ..WARP
        };
        (config, code)
    });
    refuses_launches(architecture, &refused);
}

/// Fails a kernel on the stream; everything after it in its context must return the same error. Whether a new context in
/// the same process works is the emulator's promise alone.
fn a_kernel_fails(
    architecture: &'static Architecture,
    wanted: CudaError,
    fail: impl FnOnce(&Kernels, &Stream),
) {
    let device = TestDevice::of(architecture);
    let kernels = device.kernels();
    let stream = new_stream();
    let plan = DualGemm::plan(problem(5, 72, 320).shape, Output::F16, kernels.gpu()).unwrap();
    let inputs = Inputs::new(InputKind::Normal, 5, 72, 320, 1, 1).unwrap();
    let buffers = Buffers::new(&plan, &inputs).unwrap();
    let bound = plan.bind(&kernels, &buffers.arguments(&inputs)).unwrap();

    fail(&kernels, &stream);
    let error = stream.synchronize().expect_err("the kernel failed");
    told(&error, &[]);
    if let Some(report) = driver::take_device_report() {
        println!("{report}");
    }
    assert_eq!(error, wanted);
    assert!(DriverError::is_loss_of_context(error));

    let refused = DeviceBuffer::from_slice(&[0_u8; 16]).err();
    println!("memory: {refused:?}");
    assert_eq!(refused, Some(wanted));
    assert_eq!(stream.synchronize(), Err(wanted));
    // SAFETY: the buffers live on; nothing runs any more.
    let refused = unsafe { bound.launch(&stream) }.expect_err("the context is lost");
    told(&refused, &["start a new one"]);
    let refused = Kernels::load().err().expect("the context is lost");
    told(&refused, &["start a new one"]);
    match refused {
        LoadError::Driver(error) => assert!(error.context_is_lost(), "{error:?}"),
        other => panic!("{other:?}"),
    }
    // What lived in the context goes with it, without a panic.
    drop((bound, buffers, stream));
    drop((kernels, device));

    match in_a_new_context(architecture) {
        Ok(outcome) => assert_passed(&"in a new context", Ok(outcome)),
        Err(refusal) => {
            println!("a new context in the same process: {refusal}");
            assert_eq!(driver::info().unwrap().kind, DriverKind::Cuda);
        }
    }
}

/// A dual GEMM in a context made after another one was lost.
fn in_a_new_context(architecture: &Architecture) -> Result<Outcome, Box<dyn Error>> {
    let device = Device::get_device(0)?;
    let _context = Context::create_and_push(ContextFlags::SCHED_AUTO, device)?;
    let kernels = Kernels::load_ptx(&ptx_of(architecture))?;
    let outcome = check::run(&kernels, &problem(5, 72, 320), &())?;
    println!("a new context in the same process works");
    Ok(outcome)
}

fn a_trap(architecture: &'static Architecture) {
    a_kernel_fails(architecture, CudaError::LaunchFailed, |_, stream| {
        let module = api::load_module_with_log(SMALL).unwrap();
        launch(&module, "traps", &WARP, stream, 0).unwrap();
        // Its code must stay until the kernel has run.
        std::mem::forget(module);
    });
}

/// The shipped kernel, told to write its output where there is no memory.
fn an_illegal_address(architecture: &'static Architecture) {
    a_kernel_fails(
        architecture,
        CudaError::IllegalAddress,
        |kernels, stream| {
            let shape = problem(5, 72, 320).shape;
            let plan = DualGemm::plan(shape, Output::F16, kernels.gpu()).unwrap();
            let inputs = Inputs::new(InputKind::Normal, 5, 72, 320, 1, 1).unwrap();
            let buffers = Buffers::new(&plan, &inputs).unwrap();
            let mut arguments = buffers.arguments(&inputs);
            arguments.output.address = 1 << 20;
            let bound = plan.bind(kernels, &arguments).unwrap();
            // SAFETY: not kept. The inputs live on; the driver answers for the output.
            unsafe { bound.launch(stream) }.unwrap();
            std::mem::forget(buffers);
        },
    );
}

fn a_misaligned_address(architecture: &'static Architecture) {
    a_kernel_fails(architecture, CudaError::MisalignedAddress, |_, stream| {
        let module = api::load_module_with_log(SMALL).unwrap();
        let buffer = DeviceBuffer::from_slice(&[0_u8; 64]).unwrap();
        let address = buffer.as_device_ptr().as_raw();
        launch(&module, "stores", &WARP, stream, address).unwrap();
        stream.synchronize().unwrap();
        let mut bytes = [0; 64];
        buffer.copy_to(&mut bytes).unwrap();
        assert_eq!(bytes[..4], 7_u32.to_le_bytes());
        launch(&module, "stores", &WARP, stream, address + 2).unwrap();
        std::mem::forget((module, buffer));
    });
}
