//! Modules that load, kernels that run, and kernels that fail.

use std::ffi::CString;
use std::ptr;

use ptx_emulator::driver::{Status, set_launch_options, take_last_report};
use ptx_emulator::machine::LaunchOptions;

use super::functions::*;

const HEAD: &str = ".version 8.7\n.target sm_100a\n.address_size 64\n";

/// Loads a module that consists of the entry `f` with this signature and body; the module and the
/// function.
fn kernel(parameters: &str, directives: &str, body: &str) -> (Pointer, Pointer) {
    let ptx =
        format!("{HEAD}.visible .entry f({parameters})\n{directives}\n{{\n{body}\nret;\n}}\n");
    let (status, module, log) = load(&ptx);
    assert_eq!(status, SUCCESS, "{log}");
    (module, function(module, "f"))
}

fn function(module: Pointer, name: &str) -> Pointer {
    let name = CString::new(name).unwrap();
    let mut function = ptr::null_mut();
    assert_eq!(
        cuModuleGetFunction(&mut function, module, name.as_ptr()),
        SUCCESS
    );
    function
}

/// Launches CTAs of `block` threads that take one 64-bit parameter.
fn launch(function: Pointer, grid: u32, block: u32, shared_bytes: u32, parameter: u64) -> u32 {
    let mut parameter = parameter;
    let mut params: [Pointer; 1] = [ptr::from_mut(&mut parameter).cast()];
    let none = ptr::null_mut();
    cuLaunchKernel(
        function,
        grid,
        1,
        1,
        block,
        1,
        1,
        shared_bytes,
        none,
        params.as_mut_ptr(),
        none.cast(),
    )
}

fn read(address: u64, count: usize) -> Vec<u32> {
    let mut words = vec![0u32; count];
    assert_eq!(
        cuMemcpyDtoH_v2(words.as_mut_ptr().cast(), address, 4 * count),
        SUCCESS
    );
    words
}

/// out[i] = i
const NUMBER_THREADS: &str = "
    .reg .b32 %i, %n;
    .reg .b64 %p, %o;
    mov.u32 %i, %ctaid.x;
    mov.u32 %n, %ntid.x;
    mul.lo.u32 %i, %i, %n;
    mov.u32 %n, %tid.x;
    add.u32 %i, %i, %n;
    mul.wide.u32 %o, %i, 4;
    ld.param.u64 %p, [out];
    add.u64 %p, %p, %o;
    st.global.u32 [%p], %i;";

#[test]
fn a_kernel_runs() {
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    let out = allocate(4 * 96);
    assert_eq!(launch(f, 2, 48, 0, out), SUCCESS);
    assert_eq!(cuCtxSynchronize(), SUCCESS);
    assert!(read(out, 96).into_iter().eq(0..96));
}

#[test]
fn parameters_can_come_as_a_buffer() {
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    let out = allocate(4 * 32);
    let none: Pointer = ptr::null_mut();
    let mut buffer = out.to_ne_bytes();
    let mut run = |mut bytes: usize| {
        let mut extra: [Pointer; 5] = [
            ptr::without_provenance_mut(1),
            buffer.as_mut_ptr().cast(),
            ptr::without_provenance_mut(2),
            ptr::from_mut(&mut bytes).cast(),
            ptr::null_mut(),
        ];
        cuLaunchKernel(
            f,
            1,
            1,
            1,
            32,
            1,
            1,
            0,
            none,
            none.cast(),
            extra.as_mut_ptr(),
        )
    };
    assert_eq!(run(4), Status::INVALID_VALUE.0);
    assert_eq!(run(8), SUCCESS);
    assert!(read(out, 32).into_iter().eq(0..32));
}

#[test]
fn threads_launch_side_by_side() {
    let context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    let (context, f) = (context.0.addr(), f.addr());
    // To Miri, which looks for races between them, one launch of two threads takes long enough.
    let (threads, rounds) = if cfg!(miri) { (2, 1) } else { (4, 8) };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(move || {
                let handle = |address| ptr::without_provenance_mut(address);
                assert_eq!(cuCtxSetCurrent(handle(context)), SUCCESS);
                for _ in 0..rounds {
                    let out = allocate(4 * 256);
                    assert_eq!(launch(handle(f), 4, 64, 0, out), SUCCESS);
                    assert!(read(out, 256).into_iter().eq(0..256));
                    assert_eq!(cuMemFree_v2(out), SUCCESS);
                }
            });
        }
    });
}

#[test]
fn an_illegal_address_breaks_the_context() {
    let context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    let out = allocate(4 * 32);
    // One word too few. The launch itself succeeds, as it does on a device.
    assert_eq!(launch(f, 1, 33, 0, out), SUCCESS);
    let report = take_last_report().unwrap();
    assert!(report.contains("st.global.u32 [%p], %i;"), "{report}");
    let illegal = Status::ILLEGAL_ADDRESS.0;
    let mut other = 0;
    assert_eq!(cuCtxSynchronize(), illegal);
    assert_eq!(cuStreamSynchronize(ptr::null_mut()), illegal);
    assert_eq!(cuMemAlloc_v2(&mut other, 4), illegal);
    assert_eq!(launch(f, 1, 32, 0, out), illegal);
    // An H100 still tells the context's device.
    let mut device = -1;
    assert_eq!(cuCtxGetDevice(&mut device), SUCCESS);
    assert_eq!(device, 0);
    assert_eq!(cuCtxDestroy_v2(context.0), SUCCESS);
    // Another context works.
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    assert_eq!(launch(f, 1, 32, 0, allocate(4 * 32)), SUCCESS);
    assert_eq!(cuCtxSynchronize(), SUCCESS);
}

#[test]
fn a_misaligned_address_has_its_own_status() {
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    assert_eq!(launch(f, 1, 1, 0, allocate(64) + 2), SUCCESS);
    assert_eq!(cuCtxSynchronize(), Status::MISALIGNED_ADDRESS.0);
}

#[test]
fn an_endless_loop_is_a_timeout() {
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", "loop: bra loop;");
    set_launch_options(Some(LaunchOptions {
        step_limit: 1000,
        ..LaunchOptions::default()
    }));
    assert_eq!(launch(f, 1, 32, 0, 0), SUCCESS);
    set_launch_options(None);
    assert_eq!(cuCtxSynchronize(), Status::LAUNCH_TIMEOUT.0);
    let report = take_last_report().unwrap();
    assert!(report.contains("loop: bra loop;"), "{report}");
}

#[test]
fn a_barrier_that_nobody_arrives_at_is_a_timeout() {
    let _context = Context::new();
    let body = "
        .shared .align 8 .b64 barrier;
        .reg .pred %done;
        .reg .b32 %b;
        mov.u32 %b, barrier;
        mbarrier.init.shared.b64 [%b], 1;
    wait:
        mbarrier.try_wait.parity.shared.b64 %done, [%b], 0;
        @!%done bra wait;";
    let (_, f) = kernel(".param .u64 out", "", body);
    assert_eq!(launch(f, 1, 1, 0, 0), SUCCESS);
    assert_eq!(cuCtxSynchronize(), Status::LAUNCH_TIMEOUT.0);
    let report = take_last_report().unwrap();
    assert!(report.contains("parity 0 of mbarrier"), "{report}");
}

#[test]
fn a_launch_that_does_not_fit_is_refused_at_once() {
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", ".reqntid 64", NUMBER_THREADS);
    let out = allocate(4 * 64);
    assert_eq!(launch(f, 1, 32, 0, out), Status::INVALID_VALUE.0);
    assert_eq!(launch(f, 0, 64, 0, out), Status::INVALID_VALUE.0);
    // Nothing ran and nothing broke.
    assert_eq!(cuCtxSynchronize(), SUCCESS);
    assert_eq!(launch(f, 1, 64, 0, out), SUCCESS);
    assert!(read(out, 64).into_iter().eq(0..64));
}

#[test]
fn large_shared_memory_is_opted_into() {
    const MAX_DYNAMIC: u32 = 8;
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    let out = allocate(4 * 32);
    assert_eq!(launch(f, 1, 32, 48 << 10, out), SUCCESS);
    assert_eq!(
        launch(f, 1, 32, (48 << 10) + 1, out),
        Status::INVALID_VALUE.0
    );
    assert_eq!(
        cuFuncSetAttribute(f, MAX_DYNAMIC, (227 << 10) + 1),
        Status::INVALID_VALUE.0
    );
    assert_eq!(
        cuFuncSetAttribute(f, MAX_DYNAMIC, -1),
        Status::INVALID_VALUE.0
    );
    assert_eq!(cuFuncSetAttribute(f, MAX_DYNAMIC, 227 << 10), SUCCESS);
    assert_eq!(launch(f, 1, 32, 227 << 10, out), SUCCESS);
    assert_eq!(cuCtxSynchronize(), SUCCESS);
    let mut value = 0;
    assert_eq!(cuFuncGetAttribute(&mut value, MAX_DYNAMIC, f), SUCCESS);
    assert_eq!(value, 227 << 10);
    for (bytes, blocks) in [(0, 32), (100 << 10, 2), (227 << 10, 1)] {
        let mut count = 0;
        let status = cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut count, f, 32, bytes);
        assert_eq!((status, count), (SUCCESS, blocks), "{bytes}");
    }
}

/// Every CTA waits for all others: as many as the occupancy says can.
#[test]
fn cooperative_launches_have_to_fit() {
    let _context = Context::new();
    let body = "
    .reg .pred %q;
    .reg .b32 %n, %m;
    .reg .b64 %p;
    ld.param.u64 %p, [out];
    red.release.gpu.global.add.u32 [%p], 1;
    mov.u32 %n, %nctaid.x;
LOOK:
    ld.acquire.gpu.global.u32 %m, [%p];
    setp.lt.u32 %q, %m, %n;
    @%q bra LOOK;";
    let (_, f) = kernel(".param .u64 out", "", body);
    assert_eq!(cuFuncSetAttribute(f, 8, 120 << 10), SUCCESS);
    let (mut per_multiprocessor, mut multiprocessors) = (0, 0);
    let bytes = 70 << 10;
    let counted = cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut per_multiprocessor, f, 1, bytes);
    assert_eq!((counted, per_multiprocessor), (SUCCESS, 3));
    assert_eq!(cuDeviceGetAttribute(&mut multiprocessors, 16, 0), SUCCESS);
    let most = (per_multiprocessor * multiprocessors) as u32;
    let mut out = allocate(4);
    assert_eq!(cuMemsetD32_v2(out, 0, 1), SUCCESS);
    let mut params: [Pointer; 1] = [ptr::from_mut(&mut out).cast()];
    let mut run = |ctas| {
        let (params, stream) = (params.as_mut_ptr(), ptr::null_mut());
        cuLaunchCooperativeKernel(f, ctas, 1, 1, 1, 1, 1, bytes as u32, stream, params)
    };
    let too_large = Status::COOPERATIVE_LAUNCH_TOO_LARGE.0;
    assert_eq!(run(most + 1), too_large);
    assert_eq!(run(most), SUCCESS);
    assert_eq!(cuCtxSynchronize(), SUCCESS);
    assert_eq!(read(out, 1), [most]);
}

#[test]
fn launch_attributes_are_checked() {
    const CLUSTER_DIMENSION: u32 = 4;
    const COOPERATIVE: u32 = 2;
    const NON_PORTABLE_CLUSTER_SIZE_ALLOWED: u32 = 14;
    const REQUIRED_CLUSTER_WIDTH: u32 = 11;
    const PROGRAMMATIC_STREAM_SERIALIZATION: u32 = 6;
    let _context = Context::new();
    let (_, f) = kernel(".param .u64 out", "", NUMBER_THREADS);
    let mut out = allocate(4 * 32);
    let mut params: [Pointer; 1] = [ptr::from_mut(&mut out).cast()];
    let mut run = |id: u32, grid: u32, x: u32| {
        let mut value = [0; 16];
        value[..3].copy_from_slice(&[x, 1, 1]);
        let attribute = LaunchAttribute {
            id,
            padding: 0,
            value,
        };
        let config = LaunchConfig {
            grid: [grid, 1, 1],
            block: [1, 1, 1],
            shared_bytes: 0,
            stream: ptr::null_mut(),
            attributes: &attribute,
            attribute_count: 1,
        };
        cuLaunchKernelEx(&config, f, params.as_mut_ptr(), ptr::null_mut())
    };
    // A cluster must divide the grid and have 1 to 8 CTAs, 16 where the function allows it.
    for (grid, cluster) in [(5, 2), (4, 0), (16, 16), (9, 9)] {
        let status = run(CLUSTER_DIMENSION, grid, cluster);
        assert_eq!(status, Status::INVALID_CLUSTER_SIZE.0, "{grid}, {cluster}");
    }
    const UNKNOWN: u32 = 99;
    assert_eq!(run(UNKNOWN, 4, 1), Status::NOT_SUPPORTED.0);
    assert_eq!(run(COOPERATIVE, 4, 1), SUCCESS);
    let too_large = Status::COOPERATIVE_LAUNCH_TOO_LARGE.0;
    assert_eq!(run(COOPERATIVE, 148 * 32 + 1, 1), too_large);
    assert_eq!(run(CLUSTER_DIMENSION, 4, 2), SUCCESS);
    assert_eq!(
        cuFuncSetAttribute(f, NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1),
        SUCCESS
    );
    assert_eq!(run(CLUSTER_DIMENSION, 16, 16), SUCCESS);
    let too_many = run(CLUSTER_DIMENSION, 17, 17);
    assert_eq!(too_many, Status::INVALID_CLUSTER_SIZE.0);
    // A shape that the function requires holds for launches that ask for none; all extents have to be there.
    let require = |axis: u32, extent| cuFuncSetAttribute(f, REQUIRED_CLUSTER_WIDTH + axis, extent);
    assert_eq!(require(0, -1), Status::INVALID_VALUE.0);
    assert_eq!(require(0, 2), SUCCESS);
    let mut plain = |grid| run(PROGRAMMATIC_STREAM_SERIALIZATION, grid, 1);
    assert_eq!(plain(4), Status::INVALID_CLUSTER_SIZE.0);
    assert_eq!((require(1, 1), require(2, 1)), (SUCCESS, SUCCESS));
    assert_eq!(plain(4), SUCCESS);
    assert_eq!(plain(3), Status::INVALID_CLUSTER_SIZE.0);
    let other = run(CLUSTER_DIMENSION, 4, 4);
    assert_eq!(other, Status::INVALID_CLUSTER_SIZE.0);
    assert_eq!([0, 1, 2].map(|axis| require(axis, 0)), [SUCCESS; 3]);
    assert_eq!(run(CLUSTER_DIMENSION, 3, 1), SUCCESS);
    assert_eq!(run(PROGRAMMATIC_STREAM_SERIALIZATION, 7, 1), SUCCESS);
    assert_eq!(cuCtxSynchronize(), SUCCESS);
    assert!(read(out, 7).into_iter().eq(0..7));
}

/// A primary that writes 1 after its dependents may start, and dependents that copy it to the next word.
const OVERLAPPING: &str = "
.visible .entry primary(.param .u64 out) {
    .reg .b64 %p;
    ld.param.u64 %p, [out];
    griddepcontrol.launch_dependents;
    st.global.u32 [%p], 1;
    ret;
}
.visible .entry waits(.param .u64 out) {
    .reg .b64 %p;
    .reg .b32 %v;
    ld.param.u64 %p, [out];
    griddepcontrol.wait;
    ld.global.u32 %v, [%p];
    st.global.u32 [%p+4], %v;
    ret;
}
.visible .entry reads_early(.param .u64 out) {
    .reg .b64 %p;
    .reg .b32 %v;
    ld.param.u64 %p, [out];
    ld.global.u32 %v, [%p];
    st.global.u32 [%p+4], %v;
    ret;
}";

#[test]
fn a_launch_with_the_attribute_overlaps_with_the_one_before() {
    let _context = Context::new();
    let (status, module, log) = load(&format!("{HEAD}{OVERLAPPING}"));
    assert_eq!(status, SUCCESS, "{log}");
    let [primary, waits, reads_early] =
        ["primary", "waits", "reads_early"].map(|name| function(module, name));
    let out = allocate(8);
    let launch = |function, is_dependent: u32, stream| {
        let mut out = out;
        let mut params: [Pointer; 1] = [ptr::from_mut(&mut out).cast()];
        let mut value = [0; 16];
        value[0] = is_dependent;
        // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
        let attribute = LaunchAttribute {
            id: 6,
            padding: 0,
            value,
        };
        let config = LaunchConfig {
            grid: [1; 3],
            block: [1; 3],
            shared_bytes: 0,
            stream,
            attributes: &attribute,
            attribute_count: 1,
        };
        cuLaunchKernelEx(&config, function, params.as_mut_ptr(), ptr::null_mut())
    };
    let none = ptr::null_mut();
    let clear = || assert_eq!(cuMemsetD32_v2(out, 0, 2), SUCCESS);
    // A primary without a dependent runs before anybody can notice.
    clear();
    assert_eq!(launch(primary, 0, none), SUCCESS);
    assert_eq!(read(out, 2), [1, 0]);
    clear();
    assert_eq!(launch(primary, 0, none), SUCCESS);
    assert_eq!(launch(waits, 1, none), SUCCESS);
    assert_eq!(read(out, 2), [1, 1]);
    // Without the attribute, in another stream or after a synchronisation, it is no dependent.
    let mut stream = ptr::null_mut();
    assert_eq!(cuStreamCreateWithPriority(&mut stream, 0, 0), SUCCESS);
    for (is_dependent, stream, synchronises) in
        [(0, none, false), (1, stream, false), (1, none, true)]
    {
        clear();
        assert_eq!(launch(primary, 0, none), SUCCESS);
        if synchronises {
            assert_eq!(cuCtxSynchronize(), SUCCESS);
        }
        assert_eq!(launch(reads_early, is_dependent, stream), SUCCESS);
        assert_eq!(read(out, 2), [1, 1]);
    }
    clear();
    assert_eq!(launch(primary, 0, none), SUCCESS);
    // What happens in another context changes nothing.
    let other = Context::new();
    assert_eq!(cuCtxSynchronize(), SUCCESS);
    drop(other);
    assert_eq!(launch(reads_early, 1, none), SUCCESS);
    assert_eq!(cuCtxSynchronize(), Status::LAUNCH_FAILED.0);
    let report = take_last_report().unwrap();
    assert!(
        report.contains("E14") && report.contains("of kernel `primary`"),
        "{report}"
    );
}

#[test]
fn variables_live_as_long_as_their_module() {
    let _context = Context::new();
    let ptx = format!(
        "{HEAD}.global .align 4 .u32 table[3] = {{1, 2, 3}};\n.visible .entry f() {{ ret; }}"
    );
    let (status, module, log) = load(&ptx);
    assert_eq!(status, SUCCESS, "{log}");
    let (mut address, mut bytes) = (0, 0);
    let get = |address: &mut u64, bytes: &mut usize, name: &std::ffi::CStr| {
        cuModuleGetGlobal_v2(address, bytes, module, name.as_ptr())
    };
    assert_eq!(get(&mut address, &mut bytes, c"table"), SUCCESS);
    assert_eq!(bytes, 12);
    assert_eq!(read(address, 3), [1, 2, 3]);
    assert_eq!(get(&mut address, &mut bytes, c"other"), Status::NOT_FOUND.0);
    let f = function(module, "f");
    assert_eq!(function(module, "f"), f);
    let mut missing = ptr::null_mut();
    assert_eq!(
        cuModuleGetFunction(&mut missing, module, c"g".as_ptr()),
        Status::NOT_FOUND.0
    );
    assert_eq!(cuModuleUnload(module), SUCCESS);
    assert_eq!(cuModuleUnload(module), Status::INVALID_HANDLE.0);
    assert_eq!(launch(f, 1, 1, 0, 0), Status::INVALID_HANDLE.0);
    assert_eq!(cuMemsetD8_v2(address, 0, 1), Status::INVALID_VALUE.0);
}

#[test]
fn everything_unknown_is_in_the_log() {
    let _context = Context::new();
    let body = ".reg .b32 %r;\nfrobnicate.u32 %r, 1;\nmov.u32 %r, 0;\nwibble.sync;\nret;";
    let (status, _, log) = load(&format!("{HEAD}.visible .entry f()\n{{\n{body}\n}}\n"));
    assert_eq!(status, Status::INVALID_PTX.0);
    assert!(
        log.contains("frobnicate") && log.contains("wibble"),
        "{log}"
    );
    assert!(log.contains("line 7") && log.contains("line 9"), "{log}");
}
