//! The conformance cases on the emulated H200, against what an H100 did.

use std::collections::BTreeMap;

use nvfp4_dual_gemm_tests::TestDevice;
use nvfp4_dual_gemm_tests::conformance::{PTX, Runner, cases, hash};

/// What an H100 did: each case and the hash of its output, or its error, as `examples/conform.rs` recorded it.
const RECORDED: &str = include_str!("h100.txt");

#[test]
fn every_case_does_what_it_did_on_an_h100() {
    let device = TestDevice::hopper();
    assert!(device.is_emulated(), "the record is a GPU's already");
    let recorded: BTreeMap<&str, &str> = RECORDED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('\t').expect("name, tab, hash or error"))
        .collect();
    let cases = cases();
    assert_eq!(cases.len(), recorded.len());
    let mut different = Vec::new();
    let mut runner = Runner::new(0, PTX).unwrap();
    for case in &cases {
        let (found, report) = match runner.run(case) {
            Ok(output) => (format!("{:016x}", hash(&output)), String::new()),
            Err(error) => {
                runner = Runner::new(0, PTX).unwrap();
                let text = error.to_string();
                let (error, report) = text.split_once('\n').unwrap_or((&text, ""));
                (format!("failed: {error}"), report.to_owned())
            }
        };
        let expected = recorded.get(case.name.as_str()).copied();
        if expected != Some(&found) {
            let expected = expected.unwrap_or("nothing");
            let name = &case.name;
            different.push(format!("{name}: {found}, on the H100 {expected}\n{report}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}
