//! `bench` as its user meets it, on an emulated H200: every step but the times.

#![cfg(all(feature = "cli", feature = "emulator"))]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use nvfp4_dual_gemm::driver::DEVICE_VARIABLE;
use nvfp4_dual_gemm::kernels::HOPPER;
use serde_json::Value;

struct Finished {
    status: Option<i32>,
    out: String,
    err: String,
}

fn bench(arguments: &str) -> Finished {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_nvfp4-dual-gemm"))
        .arg("bench")
        .args(arguments.split_whitespace())
        .env(DEVICE_VARIABLE, "emulator")
        .env("PTX_EMULATOR_DEVICE", "h200")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Finished {
        status: status.code(),
        out: text(stdout),
        err: text(stderr),
    }
}

fn succeed(arguments: &str) -> String {
    let Finished { status, out, err } = bench(arguments);
    assert_eq!(status, Some(0), "{arguments}:\n{out}\n{err}");
    out
}

fn fail(arguments: &str, wanted: &str) {
    let Finished { status, out, err } = bench(arguments);
    assert_eq!(status, Some(2), "{arguments}:\n{out}\n{err}");
    assert!(
        err.contains(wanted),
        "{arguments}: no {wanted:?} in:\n{err}"
    );
    assert!(!err.contains("panicked"), "{err}");
}

/// A file of this test, gone when the test is done.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str) -> Self {
        let name = format!("{}-{name}", std::process::id());
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn with(name: &str, text: &str) -> Self {
        let file = Self::new(name);
        fs::write(&file.0, text).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const SMALL: &str = "--dry-run --m 8 --n 64 --k 256";

#[test]
fn a_dry_run_checks_every_output_of_every_set() {
    let out = succeed(SMALL);
    for wanted in [
        "NVIDIA H200 (emulated)",
        "8x64x256",
        "8x64/1 ",
        "passed",
        "Dry run: the times",
    ] {
        assert!(out.contains(wanted), "no {wanted:?} in:\n{out}");
    }
    let out = succeed(&format!("{SMALL} --l 2 --sets 3 --json"));
    let objects: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [setting, row] = objects.as_slice() else {
        panic!("two lines were expected:\n{out}");
    };
    assert_eq!(setting["dry_run"], true);
    assert_eq!(setting["graphs"], false);
    assert_eq!(setting["peers"], Value::Null);
    assert_eq!(setting["date"].as_str().unwrap().len(), "2025-01-01".len());
    let outputs = 3 * 2 * 8 * 64;
    for (key, wanted) in [
        ("outputs", outputs),
        ("beyond_bound", 0),
        ("beyond_one_ulp_of_steps", 0),
        ("changed", 0),
        ("guard_bytes_written", 0),
    ] {
        assert_eq!(row["check"][key], wanted, "{key} in {row}");
    }
    assert!(row["check"]["equal_to_steps"].as_i64().unwrap() >= outputs * 99 / 100);
    assert_eq!(
        (&row["sets"], &row["calls_per_graph"]),
        (&3.into(), &3.into())
    );
    assert_eq!(row["passed"], true);
    assert_eq!(row["replay_us"]["samples"], 3);
    assert!(row["back_to_back_us"]["median"].as_f64().unwrap() > 0.0);
    // Bytes over the faster of both rates.
    let number = |object: &Value, key: &str| object[key].as_f64().unwrap();
    let rate =
        number(setting, "copy_bytes_per_second").max(number(setting, "read_bytes_per_second"));
    let floor = 1e6 * number(row, "bytes") / rate;
    assert!(
        (number(row, "floor_us") / floor - 1.0).abs() < 1e-9,
        "{row}"
    );
}

#[test]
fn an_unchecked_run_says_so() {
    let out = succeed(&format!("{SMALL} --no-check"));
    assert!(
        out.contains("not checked") && !out.contains("passed"),
        "{out}"
    );
    assert!(out.contains("No output was compared"), "{out}");
    let out = succeed(&format!("{SMALL} --no-check --json"));
    let row: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&row["check"], &row["passed"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_wrong_kernel_fails() {
    let wrong = HOPPER
        .ptx
        .replace("rcp.approx.ftz.f32", "sqrt.approx.ftz.f32");
    assert_ne!(wrong, HOPPER.ptx);
    let ptx = TestFile::with("wrong.ptx", &wrong);
    let Finished { status, out, err } = bench(&format!("{SMALL} --ptx {}", ptx.path()));
    assert_eq!(status, Some(1), "{out}\n{err}");
    assert!(out.contains("FAILED: of 1024 outputs"), "{out}");
    let Finished { status, out, .. } = bench(&format!("{SMALL} --json --ptx {}", ptx.path()));
    let row: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((status, &row["passed"]), (Some(1), &false.into()));
    assert!(
        row["check"]["beyond_one_ulp_of_steps"].as_u64().unwrap() > 1024 / 2,
        "{row}"
    );
}

#[test]
fn files_have_what_was_printed() {
    let shapes = TestFile::with("shapes", "8 64 256\n32 64 256 # more tokens\n8 72 128\n");
    let (table, plot) = (TestFile::new("table.csv"), TestFile::new("plot.svg"));
    let out = succeed(&format!(
        "--dry-run --json --shapes {} --csv {} --plot {}",
        shapes.path(),
        table.path(),
        plot.path()
    ));
    let rows: Vec<Value> = out
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let text = table.text();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let records: Vec<std::collections::HashMap<String, String>> =
        reader.deserialize().map(Result::unwrap).collect();
    assert_eq!((records.len(), rows.len()), (3, 3), "{text}");
    for (record, row) in records.iter().zip(&rows) {
        assert_eq!(record["implementation"], "nvfp4-dual-gemm");
        assert_eq!(record["device"], "NVIDIA H200 (emulated)");
        assert_eq!(record["passed"], "true");
        for key in ["m", "n", "k", "l", "bytes", "flop"] {
            assert_eq!(record[key], row[key].to_string(), "{key}");
        }
        for (column, times, part) in [
            ("replay_us", "replay_us", "median"),
            ("replay_p90_us", "replay_us", "p90"),
            ("in_row_us", "back_to_back_us", "median"),
            ("in_row_p10_us", "back_to_back_us", "p10"),
        ] {
            let written: f64 = record[column].parse().unwrap();
            let printed = row[times][part].as_f64().unwrap();
            // The JSON parser is off by an ulp at times.
            assert!(
                (written / printed - 1.0).abs() < 1e-14,
                "{column}: {written} for {printed}"
            );
        }
    }

    let svg = plot.text();
    let document = roxmltree::Document::parse(&svg).unwrap();
    let texts: Vec<&str> = document
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .map(|node| node.text().unwrap().trim())
        .collect();
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("dry run: these times mean nothing; NVIDIA H200"))
    );
    // Two panels, of the one N and K that has two M.
    let panels = texts.iter().filter(|text| text.ends_with("; N 64, K 256"));
    assert_eq!(panels.count(), 2, "{texts:?}");
    assert!(!texts.iter().any(|text| text.contains("N 72")));
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_runs() {
    fail(
        "--m 8 --n 64 --k 256",
        "NVIDIA H200 (emulated) tells nothing about time",
    );
    fail(
        &format!("{SMALL} --against all"),
        "--against times other programs on the same card",
    );
    fail(
        &format!("{SMALL} --against cublas"),
        "possible values: torch-bf16, torch-fp8, triton, all",
    );
    fail(
        &format!("{SMALL} --csv no/such/directory.csv"),
        "--csv no/such/directory.csv",
    );
    fail(&format!("{SMALL} --sets 0"), "it must be at least 1");
    fail(
        "--dry-run --shapes no/such/file",
        "--shapes takes contest, decode, prefill or a file",
    );
    let plot = TestFile::new("never.svg");
    fail(
        &format!("{SMALL} --plot {}", plot.path()),
        "at least two M, as --shapes decode has",
    );
    assert!(!plot.0.exists());
}
