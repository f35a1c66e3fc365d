//! The tool as its user meets it: output, exit status, and what it says of input that cannot be
//! run.

#![cfg(all(feature = "cli", feature = "emulator"))]

use std::path::PathBuf;
use std::process::{Command, Output};

use nvfp4_dual_gemm::driver::DEVICE_VARIABLE;
use nvfp4_dual_gemm::kernels::{ARCHITECTURES, BLACKWELL};
use serde_json::Value;

const PTX_VARIABLE: &str = "NVFP4_PTX";

const EXIT_WRONG: i32 = 1;
const EXIT_ERROR: i32 = 2;

/// The tool on the emulated B200, with the shipped PTX.
fn tool(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nvfp4-dual-gemm"));
    command
        .args(arguments.split_whitespace())
        .env(DEVICE_VARIABLE, "emulator")
        .env_remove("PTX_EMULATOR_DEVICE")
        .env_remove(PTX_VARIABLE);
    command
}

struct Finished {
    status: Option<i32>,
    out: String,
    err: String,
}

fn finish(mut command: Command) -> Finished {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished {
        status: status.code(),
        out: text(stdout),
        err: text(stderr),
    }
}

/// The standard output of a command that must succeed.
fn succeed(arguments: &str) -> String {
    let Finished { status, out, err } = finish(tool(arguments));
    assert_eq!(status, Some(0), "{arguments}:\n{out}\n{err}");
    out
}

/// The command must end in an error whose text holds each of `wanted`, with nothing on standard
/// output.
fn assert_error(command: Command, wanted: &[&str]) {
    let what = format!("{command:?}");
    let Finished { status, out, err } = finish(command);
    assert_eq!(status, Some(EXIT_ERROR), "{what}:\n{out}\n{err}");
    assert_eq!(out, "", "{what}");
    for wanted in wanted {
        assert!(err.contains(wanted), "{what}: no {wanted:?} in:\n{err}");
    }
    assert!(!err.contains("panicked"), "{what}:\n{err}");
}

/// Each line of the output as JSON.
fn json(out: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    out.lines().map(parse).collect()
}

const SMALL: &str = "run --m 40 --n 72 --k 320";

#[test]
fn run_prints_what_it_did() {
    let out = succeed(&format!(
        "{SMALL} --l 2 --inputs normal --seed 5 --tile-n 128"
    ));
    for wanted in [
        "NVIDIA B200 (emulated)",
        "M 40, N 72, K 320, L 2",
        "normal, seed 5",
        "nvfp4_dual_gemm_n128_f16, 1 x 1 x 2 CTAs",
        "5760 of 5760 accumulators equal to the bit",
    ] {
        assert!(out.contains(wanted), "no {wanted:?} in:\n{out}");
    }
    assert_eq!(out.lines().last(), Some("passed"), "{out}");
}

#[test]
fn run_in_json() {
    let out = succeed(&format!("{SMALL} --alpha1 -0.5 --alpha2 2 --json"));
    let objects = json(&out);
    let [object] = objects.as_slice() else {
        panic!("one line was expected:\n{out}");
    };
    for (key, wanted) in [
        ("m", Value::from(40)),
        ("n", Value::from(72)),
        ("k", Value::from(320)),
        ("l", Value::from(1)),
        ("alpha1", Value::from(-0.5)),
        ("alpha2", Value::from(2.0)),
        ("emulated", Value::from(true)),
        ("accumulators", Value::from(2 * 40 * 72)),
        ("accumulators_different", Value::from(0)),
        ("outputs", Value::from(40 * 72)),
        ("outputs_beyond_one_ulp", Value::from(0)),
        ("guard_bytes_written", Value::from(0)),
        ("passed", Value::from(true)),
    ] {
        assert_eq!(object[key], wanted, "{key} in {out}");
    }
}

#[test]
fn dimensions_that_cannot_run() {
    for (arguments, wanted) in [
        (
            "run --m 40 --n 72 --k 96",
            "K is 96; it must be a multiple of 64",
        ),
        (
            "run --m 40 --n 12 --k 64",
            "N is 12; it must be a multiple of 8",
        ),
        (
            "run --m 0 --n 8 --k 64",
            "M is 0; M, N, K and L must each be at least 1",
        ),
        (
            "run --m 1 --n 8 --k 64 --l 0",
            "L is 0; M, N, K and L must each be at least 1",
        ),
        (
            "run --m 18446744073709551615 --n 8 --k 64",
            "M is 18446744073709551615; the largest possible is",
        ),
        (
            "run --m 1 --n 8 --k 64 --tile-n 96",
            "no kernel has an N tile of 96; there are 64 and 128",
        ),
    ] {
        assert_error(tool(arguments), &[wanted]);
    }
}

#[test]
fn alphas_that_are_not_finite() {
    for (option, value, shown) in [
        ("alpha1", "nan", "NaN"),
        ("alpha1", "inf", "inf"),
        ("alpha2", "-inf", "-inf"),
        // Too large for an f32.
        ("alpha2", "1e39", "inf"),
    ] {
        assert_error(
            tool(&format!("{SMALL} --{option} {value}")),
            &[&format!("{option} is {shown}; it must be finite")],
        );
    }
}

#[test]
fn names_that_are_not_known() {
    assert_error(
        tool(&format!("{SMALL} --inputs ones")),
        &["unknown inputs \"ones\"; known are contest, full and normal"],
    );
    assert_error(
        tool("verify --suite slow"),
        &["unknown suite \"slow\"; known are quick, contest and all"],
    );
    for arguments in ["", "multiply", "run", "run --m one --n 8 --k 64"] {
        let finished = finish(tool(arguments));
        assert_eq!(finished.status, Some(EXIT_ERROR), "{arguments:?}");
        assert!(finished.err.contains("--help"), "{}", finished.err);
    }
}

#[test]
fn an_unknown_device() {
    for arguments in [SMALL, "verify", "info"] {
        let mut command = tool(arguments);
        command.env(DEVICE_VARIABLE, "gpu");
        let wanted = "NVFP4_DEVICE is \"gpu\"; it can be auto, cuda or emulator";
        assert_error(command, &[wanted]);
    }
}

#[test]
fn cuda_without_a_driver() {
    // SAFETY: NVIDIA's driver, if there is one.
    if unsafe { libloading::Library::new("libcuda.so.1") }.is_ok() {
        eprintln!("not tested: this machine has libcuda.so.1");
        return;
    }
    for arguments in [SMALL, "verify", "info"] {
        let mut command = tool(arguments);
        command.env(DEVICE_VARIABLE, "cuda");
        let wanted = ["no CUDA driver: libcuda.so.1", "NVFP4_DEVICE=emulator"];
        assert_error(command, &wanted);
    }
    // Unless told otherwise, the tool runs nevertheless, and says why on the emulator.
    let mut command = tool(SMALL);
    command.env_remove(DEVICE_VARIABLE);
    let Finished { status, out, err } = finish(command);
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("no CUDA driver was found"), "{out}");
}

#[test]
fn info_names_device_and_kernels() {
    let out = succeed("info");
    assert!(out.contains("NVIDIA B200 (emulated)"), "{out}");
    assert!(out.contains("10.0"), "{out}");
    for architecture in ARCHITECTURES {
        for entry in architecture.entries {
            let name = entry.launch.name;
            assert!(out.contains(name), "no {name} in:\n{out}");
        }
    }
    assert!(!json(&succeed("info --json")).is_empty());
}

#[test]
fn verify_gives_a_line_to_each_problem() {
    let out = succeed("verify --inputs contest");
    let passed = out.lines().filter(|line| line.ends_with("passed")).count();
    let summary = out.lines().last().unwrap_or_default();
    assert!(
        summary.starts_with(&format!("{passed} of {passed} right")),
        "{out}"
    );

    let objects = json(&succeed("verify --inputs contest --json"));
    let (last, problems) = objects.split_last().unwrap();
    assert_eq!(problems.len(), passed);
    assert!(problems.iter().all(|object| object["passed"] == true));
    assert_eq!(last["runs"], passed);
    assert_eq!(last["failed"], 0);
}

/// Another build of the kernels, in a file of its own that goes when the test is done.
struct PtxFile(PathBuf);

impl PtxFile {
    fn new(name: &str, text: &str) -> Self {
        let file = format!("{name}-{}.ptx", std::process::id());
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn tool(&self, arguments: &str) -> Finished {
        let mut command = tool(arguments);
        command.env(PTX_VARIABLE, &self.0);
        finish(command)
    }
}

impl Drop for PtxFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The text of the entry `name`, changed by `change`, in the shipped PTX.
fn with_entry(name: &str, change: impl Fn(&str) -> String) -> String {
    let ptx = BLACKWELL.ptx;
    let start = ptx.find(&format!(".visible .entry {name}(")).unwrap();
    let end = ptx[start + 1..]
        .find(".visible .entry ")
        .map_or(ptx.len(), |length| start + 1 + length);
    let changed = change(&ptx[start..end]);
    assert_ne!(changed, ptx[start..end], "{name} has nothing to change");
    format!("{}{changed}{}", &ptx[..start], &ptx[end..])
}

/// Makes the second product's accumulators come from the columns of the first: a wrong column
/// offset.
fn same_columns_twice(entry: &str) -> String {
    const LOAD: &str = "tcgen05.ld.sync";
    let address = |from: usize| {
        let load = from + entry[from..].find(LOAD).unwrap();
        let start = load + entry[load..].find('[').unwrap();
        start..start + entry[start..].find(']').unwrap()
    };
    let first = address(0);
    let second = address(first.end);
    let (before, after) = (&entry[..second.start], &entry[second.end..]);
    format!("{before}{}{after}", &entry[first])
}

/// A valid program that computes something else is told from the right one: by C, by the
/// accumulators, by the guards.
#[test]
fn a_wrong_kernel_fails() {
    let f16 = "nvfp4_dual_gemm_n64_f16";
    let accumulators = "nvfp4_dual_gemm_n64_accumulators";
    let alpha_added = with_entry(f16, |entry| {
        // The first multiplication of the epilogue is that by alpha1.
        let (setup, epilogue) = entry.split_at(entry.find("tcgen05.wait::ld").unwrap());
        setup.to_owned() + &epilogue.replacen("mul.rn.f32", "add.rn.f32", 1)
    });
    let last_row_exceeded = with_entry(accumulators, |entry| {
        entry.replace("setp.ge.u32", "setp.gt.u32")
    });
    for (name, ptx, finding) in [
        ("alpha", alpha_added, "outputs_beyond_one_ulp"),
        (
            "columns",
            with_entry(f16, same_columns_twice),
            "outputs_beyond_one_ulp",
        ),
        (
            "accumulators",
            with_entry(accumulators, same_columns_twice),
            "accumulators_different",
        ),
        ("rows", last_row_exceeded, "guard_bytes_written"),
    ] {
        let file = PtxFile::new(name, &ptx);
        let arguments = format!("{SMALL} --inputs normal --tile-n 64");
        let Finished { status, out, err } = file.tool(&arguments);
        assert_eq!(status, Some(EXIT_WRONG), "{name}:\n{out}\n{err}");
        assert_eq!(out.lines().last(), Some("FAILED"), "{name}:\n{out}");

        let Finished { status, out, err } = file.tool(&format!("{arguments} --json"));
        assert_eq!(status, Some(EXIT_WRONG), "{name}:\n{out}\n{err}");
        let object = &json(&out)[0];
        assert_eq!(object["passed"], false, "{name}: {out}");
        assert!(object[finding].as_u64() > Some(0), "{name}: {out}");
    }
}

/// PTX that the driver refuses, or that is not there, is an error, not a wrong result.
#[test]
fn ptx_that_cannot_be_loaded() {
    let newer = BLACKWELL.ptx.replacen(".version ", ".version 9", 1);
    let file = PtxFile::new("newer", &newer);
    let Finished { status, out, err } = file.tool(SMALL);
    assert_eq!((status, out.as_str()), (Some(EXIT_ERROR), ""), "{err}");
    for wanted in [
        "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
        ".version 98.8 is newer",
    ] {
        assert!(err.contains(wanted), "{err}");
    }
    let mut command = tool(SMALL);
    command.env(PTX_VARIABLE, "/nowhere/kernels.ptx");
    assert_error(command, &["/nowhere/kernels.ptx", PTX_VARIABLE]);
}
