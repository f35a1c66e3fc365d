//! The conformance cases on the emulated H200.

use std::collections::BTreeMap;

use nvfp4_dual_gemm_tests::TestDevice;
use nvfp4_dual_gemm_tests::conformance::{PTX, Runner, cases};

/// What the emulator refuses, by its own words, and how many cases it refuses so.
const REFUSED: [(&str, usize); 2] = [
    ("the row pitch of boxes narrower than the swizzle's", 288),
    ("a tensor of Float64 cannot be reduced", 4),
];

#[test]
fn every_case_runs_or_is_refused_by_name() {
    let device = TestDevice::hopper();
    assert!(device.is_emulated(), "a GPU refuses nothing by name");
    let mut refused = BTreeMap::new();
    let mut runner = Runner::new(0, PTX).unwrap();
    for case in cases() {
        if let Err(error) = runner.run(&case) {
            let error = error.to_string();
            let reason = REFUSED.iter().find(|(reason, _)| error.contains(reason));
            let (reason, _) = reason.unwrap_or_else(|| panic!("{}: {error}", case.name));
            *refused.entry(*reason).or_insert(0) += 1;
            runner = Runner::new(0, PTX).unwrap();
        }
    }
    assert_eq!(refused, BTreeMap::from(REFUSED));
}
