//! Every way in which a driver can fail, tried for real: on this machine's GPU if it has one with kernels, and on both
//! emulated devices. Each failure is a typed error with the driver's own words, and what comes after it works: in the same
//! context where a call was refused, in a new process where a kernel failed.
//!
//! A process has one driver, and a kernel that fails takes its process with it. So each scenario runs in a process of its
//! own: this test binary again, told by environment variables what to do and for which architecture.

mod scenarios;

use std::process::Command;
use std::sync::{Mutex, PoisonError};

use nvfp4_dual_gemm::driver::{self, DEVICE_VARIABLE};
use nvfp4_dual_gemm::kernels::{ARCHITECTURES, Architecture, BLACKWELL, HOPPER};

const SCENARIO: &str = "DRIVER_ERRORS_SCENARIO";
const ARCHITECTURE: &str = "DRIVER_ERRORS_ARCHITECTURE";

/// The scenarios' side of the tests below.
#[test]
fn scenario() {
    let (Ok(scenario), Ok(architecture)) = (std::env::var(SCENARIO), std::env::var(ARCHITECTURE))
    else {
        return;
    };
    let architecture = ARCHITECTURES
        .into_iter()
        .find(|known| known.name == architecture);
    scenarios::run(&scenario, architecture.expect("a known architecture"));
}

#[derive(Clone, Copy)]
enum Driver {
    Cuda,
    Emulator,
}

/// Runs a scenario in a process of its own, which must succeed.
fn succeed(scenario: &str, architecture: &Architecture, driver: Driver) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "scenario", "--nocapture"])
        .env(SCENARIO, scenario)
        .env(ARCHITECTURE, architecture.name);
    match driver {
        Driver::Cuda => command.env(DEVICE_VARIABLE, "cuda"),
        // The architecture chooses among the emulated devices.
        Driver::Emulator => command
            .env(DEVICE_VARIABLE, "emulator")
            .env_remove("PTX_EMULATOR_DEVICE"),
    };
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success(), "{scenario}: {}", output.status);
    // libtest is content with a filter that fits no test.
    assert!(out.contains(scenarios::DONE), "{scenario} did not run");
}

/// The scenario on a device, and then a dual GEMM on it in another process.
fn on(architecture: &Architecture, driver: Driver, scenario: &str) {
    succeed(scenario, architecture, driver);
    succeed("dual_gemm", architecture, driver);
}

fn on_gpu(scenario: &str) {
    // One of them fills the GPU's memory.
    static GPU: Mutex<()> = Mutex::new(());
    let _one_at_a_time = GPU.lock().unwrap_or_else(PoisonError::into_inner);
    let found = driver::gpus();
    let capabilities = found.iter().flatten().copied();
    match capabilities.filter_map(Architecture::of).next() {
        Some(architecture) => on(architecture, Driver::Cuda, scenario),
        None => println!("not tested: no GPU here that has kernels, {found:?}"),
    }
}

macro_rules! everywhere {
    ($($scenario:ident)*) => {
        mod gpu {
            $(#[test]
            fn $scenario() {
                super::on_gpu(stringify!($scenario));
            })*
        }

        mod emulated_b200 {
            $(#[test]
            fn $scenario() {
                super::on(&super::BLACKWELL, super::Driver::Emulator, stringify!($scenario));
            })*
        }

        mod emulated_h200 {
            $(#[test]
            fn $scenario() {
                super::on(&super::HOPPER, super::Driver::Emulator, stringify!($scenario));
            })*
        }
    };
}

everywhere! {
    ptx_newer_than_the_driver
    ptx_for_another_architecture
    ptx_that_does_not_parse
    ptx_with_a_missing_entry
    more_memory_than_there_is
    memory_that_is_taken
    too_much_shared_memory
    too_many_threads
    impossible_clusters
    a_trap
    an_illegal_address
    a_misaligned_address
}
