//! The driver as a program sees it. A process selects its driver once, so each scenario runs in a process of its own: this
//! test binary again, told by an environment variable which scenario to run.

#![cfg(all(feature = "launch", feature = "emulator"))]

use std::error::Error;
use std::process::{Command, Output};

use nvfp4_dual_gemm::cust;
use nvfp4_dual_gemm::driver::{
    self, DEVICE_VARIABLE, DriverChoice, DriverError, DriverKind, api, select, select_with_fallback,
};
use object::{Object, ObjectSymbol};

mod vector_add {
    include!("../examples/vector_add.rs");

    pub fn run() {
        main().unwrap();
    }
}

const SCENARIO: &str = "DRIVER_TEST_SCENARIO";

/// The scenarios' side of the tests below.
#[test]
fn scenario() {
    match std::env::var(SCENARIO).as_deref() {
        Err(_) => {}
        Ok("vector_add") => vector_add::run(),
        Ok("plain_init") => plain_init(),
        Ok("select_twice") => select_twice(),
        Ok("prefer_gpu") => prefer_gpu(),
        Ok("load_errors") => load_errors(),
        Ok("tensor_map") => tensor_map(),
        Ok(unknown) => panic!("no scenario {unknown}"),
    }
}

fn run(scenario: &str, device: Option<&str>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "scenario", "--nocapture"]);
    command.env(SCENARIO, scenario).env_remove(DEVICE_VARIABLE);
    if let Some(device) = device {
        command.env(DEVICE_VARIABLE, device);
    }
    command.output().unwrap()
}

/// Runs a scenario that must succeed; its standard output and error.
fn succeed(scenario: &str, device: Option<&str>) -> (String, String) {
    let output = run(scenario, device);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{scenario}:\n{out}\n{err}");
    (out, err)
}

fn has_cuda() -> bool {
    // SAFETY: NVIDIA's driver, if there is one.
    unsafe { libloading::Library::new("libcuda.so.1") }.is_ok()
}

#[test]
fn a_cust_program_runs_on_the_emulator() {
    let (out, _) = succeed("vector_add", Some("emulator"));
    assert!(out.contains("1000 sums are right"), "{out}");
    assert!(out.contains("NVIDIA B200"), "{out}");
}

/// A program that selects nothing; prints what `cust` makes of it.
fn plain_init() {
    match cust::quick_init() {
        Ok(_) => println!("initialised"),
        Err(error) => println!("failed: {error:?}: {error}"),
    }
    // Does not repeat the reason on stderr.
    let _ = cust::device::Device::num_devices();
}

#[test]
fn a_plain_program_with_an_unknown_device_is_told() {
    let (out, err) = succeed("plain_init", Some("gpu"));
    assert!(out.contains("failed: NoDevice"), "{out}");
    let reason = "NVFP4_DEVICE is \"gpu\"; it can be auto, cuda or emulator";
    assert_eq!(err.matches(reason).count(), 1, "{err}");
}

#[test]
fn a_plain_program_without_a_driver_is_told_what_was_looked_for() {
    if has_cuda() {
        eprintln!("not tested: this machine has libcuda.so.1");
        return;
    }
    for device in [None, Some("auto"), Some("cuda")] {
        let (out, err) = succeed("plain_init", device);
        assert!(out.contains("failed: NoDevice"), "{out}");
        assert_eq!(err.matches("no CUDA driver").count(), 1, "{err}");
        assert!(err.contains("libcuda.so.1: cannot open"), "{err}");
        assert!(err.contains("NVFP4_DEVICE=emulator"), "{err}");
    }
}

fn select_twice() {
    let selected = select(DriverChoice::Emulator).unwrap();
    assert_eq!(selected.kind, DriverKind::Emulator);
    assert_eq!(selected.to_string(), "using the emulator");
    assert_eq!(select(DriverChoice::Emulator).unwrap(), selected);
    for choice in [DriverChoice::Cuda, DriverChoice::Auto] {
        assert_eq!(
            select(choice),
            Err(DriverError::AlreadySelected {
                current: DriverKind::Emulator,
                wanted: DriverKind::Cuda,
            })
        );
    }
    // With a fallback, the emulator is an answer to `auto`.
    let again = select_with_fallback(DriverChoice::Auto, |_| true).unwrap();
    assert_eq!(again, selected);
    let info = driver::info().unwrap();
    assert_eq!(info.kind, DriverKind::Emulator);
    assert!(info.library.starts_with("ptx-emulator "), "{info:?}");
    assert!(info.version >= (13, 0), "{info:?}");
    let _context = cust::quick_init().unwrap();
    let device = cust::device::Device::get_device(0).unwrap();
    assert_eq!(api::compute_capability(device), Ok((10, 0)));
}

#[test]
fn a_process_has_one_driver() {
    succeed("select_twice", None);
}

/// No device is ever accepted.
fn prefer_gpu() {
    let error = select_with_fallback(DriverChoice::Cuda, |_| false).unwrap_err();
    assert!(
        matches!(
            error,
            DriverError::NoLibrary { .. }
                | DriverError::NoSuitableDevice { .. }
                | DriverError::Call { .. }
        ),
        "{error:?}"
    );
    let selected = select_with_fallback(DriverChoice::Auto, |_| false).unwrap();
    assert_eq!(selected.kind, DriverKind::Emulator);
    let reason = selected.fallback.unwrap();
    assert!(
        error.to_string().starts_with(&reason) || reason == "no CUDA driver was found",
        "{reason}"
    );
    cust::init(cust::CudaFlags::empty()).unwrap();
}

#[test]
fn auto_falls_back_on_the_emulator_and_says_why() {
    succeed("prefer_gpu", None);
}

fn load_errors() {
    let _context = cust::quick_init().unwrap();
    let refused = |ptx: &str| api::load_module_with_log(ptx).unwrap_err();
    let error = refused(".version 99.0\n.target sm_100a\n");
    assert!(
        matches!(&error, DriverError::Load { code: 222, log, .. } if log.contains("99.0")),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)"),
        "{text}"
    );
    // As a driver for an H200 answers PTX for another architecture.
    let error = refused(".version 8.7\n.target sm_90a\n");
    assert!(
        matches!(&error, DriverError::Load { code: 218, log, .. } if log.contains("sm_90a")),
        "{error:?}"
    );
    assert_eq!(refused("a\0b"), DriverError::NulInPtx { offset: 1 });
    // Nothing of a logged load is left to disturb one of cust's own.
    assert!(cust::module::Module::from_ptx(".version 99.0", &[]).is_err());
}

#[test]
fn refused_ptx_comes_with_the_log() {
    let (_, err) = succeed("load_errors", Some("emulator"));
    // Only the load that took no log reports on stderr.
    assert_eq!(err.matches("ptx-emulator:").count(), 1, "{err}");
}

fn tensor_map() {
    let _context = cust::quick_init().unwrap();
    let buffer = cust::memory::DeviceBuffer::<u8>::zeroed(128 * 64).unwrap();
    let description = api::TensorMapDescription {
        data_type: api::TensorMapDataType::Uint8,
        global_address: buffer.as_device_ptr().as_raw(),
        global_dims: &[128, 64],
        global_strides: &[128],
        box_dims: &[128, 32],
        swizzle: api::TensorMapSwizzle::B128,
        l2_promotion: api::TensorMapL2Promotion::L2B256,
    };
    let encode =
        |description: api::TensorMapDescription| api::encode_tiled(&description).map(|_| ());
    let refused = Err(DriverError::Call {
        function: "cuTensorMapEncodeTiled",
        code: 1,
    });
    assert_eq!(encode(description), Ok(()));
    // Wider than the swizzle; slices of different lengths.
    let box_dims = &[256, 32];
    assert_eq!(
        encode(api::TensorMapDescription {
            box_dims,
            ..description
        }),
        refused
    );
    let box_dims = &[128];
    assert_eq!(
        encode(api::TensorMapDescription {
            box_dims,
            ..description
        }),
        refused
    );
    let global_strides = &[];
    assert_eq!(
        encode(api::TensorMapDescription {
            global_strides,
            ..description
        }),
        refused
    );
}

#[test]
fn tensor_maps_are_encoded_by_the_driver() {
    succeed("tensor_map", Some("emulator"));
}

#[test]
fn choices_are_parsed() {
    for (text, choice) in [
        ("auto", DriverChoice::Auto),
        ("cuda", DriverChoice::Cuda),
        ("emulator", DriverChoice::Emulator),
    ] {
        assert_eq!(text.parse(), Ok(choice));
    }
    for text in ["", "Emulator", "gpu", "cuda "] {
        let value = text.to_owned();
        assert_eq!(
            text.parse::<DriverChoice>(),
            Err(DriverError::UnknownChoice { value })
        );
    }
}

/// This binary calls `cust`, and all that it wants of a driver is defined in it.
#[test]
fn nothing_links_to_libcuda() -> Result<(), Box<dyn Error>> {
    let binary = std::fs::read(std::env::current_exe()?)?;
    let file = object::File::parse(&*binary)?;
    let libraries = needed_libraries(&binary)?;
    assert!(
        libraries.iter().any(|name| name.starts_with("libc.so")),
        "{libraries:?}"
    );
    assert!(
        !libraries.iter().any(|name| name.contains("cuda")),
        "{libraries:?}"
    );
    let undefined: Vec<_> = (file.dynamic_symbols())
        .filter(|symbol| symbol.is_undefined())
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| name.starts_with("cu") && name[2..].starts_with(char::is_uppercase))
        .collect();
    assert!(undefined.is_empty(), "{undefined:?}");
    Ok(())
}

/// The `DT_NEEDED` entries of an ELF file.
fn needed_libraries(binary: &[u8]) -> Result<Vec<String>, Box<dyn Error>> {
    use object::elf::{DT_NEEDED, FileHeader64};
    use object::read::elf::{Dyn, FileHeader, SectionHeader};

    let header = FileHeader64::<object::Endianness>::parse(binary)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, binary)?;
    let mut libraries = Vec::new();
    for section in sections.iter() {
        let Some((entries, strings)) = section.dynamic(endian, binary)? else {
            continue;
        };
        let strings = sections.strings(endian, binary, strings)?;
        for entry in entries
            .iter()
            .filter(|entry| entry.tag32(endian) == Some(DT_NEEDED))
        {
            libraries.push(String::from_utf8(entry.string(endian, strings)?.to_vec())?);
        }
    }
    Ok(libraries)
}
