//! The conformance cases on the emulated H200, against what an H100 computed.

use std::collections::{BTreeMap, BTreeSet};

use nvfp4_dual_gemm_tests::TestDevice;
use nvfp4_dual_gemm_tests::conformance::{PTX, Runner, cases, hash};

/// What an H100 computed: each case and the hash of its output, as `examples/conform.rs` recorded it.
const RECORDED: &str = include_str!("h100.txt");

/// Cases that the H100 refused to run, as an illegal instruction: unaligned innermost coordinates, and
/// stores and reductions from below 0. The emulator runs some of them.
const NOT_RUN_BY_THE_GPU: usize = 97;

/// What the emulator refuses, by its own words, and how many cases it refuses so.
const REFUSED: [(&str, usize); 1] = [("a tensor of Float64 cannot be reduced", 4)];

/// Where the emulator differs from the H100, to be mended: the bits of the NaN that fills what is outside of
/// a tensor, TF32 elements, two f32 sums of reductions, which kinds of tensor maps the driver makes for a
/// GPU without 4-bit elements, and bits of shared-memory addresses and sizes.
const DIFFERENT: [&str; 56] = [
    "load Tfloat32 None filled with Zero",
    "load Tfloat32 B128 filled with Zero",
    "load Tfloat32Ftz None filled with Zero",
    "load Tfloat32Ftz B128 filled with Zero",
    "load Float16 None filled with Nan",
    "load Float16 B128 filled with Nan",
    "load Bfloat16 None filled with Nan",
    "load Bfloat16 B128 filled with Nan",
    "load Float32 None filled with Nan",
    "load Float32 B128 filled with Nan",
    "load Float32Ftz None filled with Nan",
    "load Float32Ftz B128 filled with Nan",
    "load Tfloat32 None filled with Nan",
    "load Tfloat32 B128 filled with Nan",
    "load Tfloat32Ftz None filled with Nan",
    "load Tfloat32Ftz B128 filled with Nan",
    "load Float64 None filled with Nan",
    "load Float64 B128 filled with Nan",
    "load Tfloat32 of all magnitudes",
    "load Tfloat32Ftz of all magnitudes",
    "tma_reduce_add Float32 None inside",
    "encode B128Atom32 of 16 words",
    "encode B128Atom32 of 32 words",
    "encode B128Atom32Flip8 of 16 words",
    "encode B128Atom32Flip8 of 32 words",
    "encode B128Atom64 of 16 words",
    "encode B128Atom64 of 32 words",
    "encode U4x16Align8 None",
    "encode U4x16Align8 B128",
    "encode U4x16Align16 None",
    "encode U4x16Align16 B128",
    "encode U6x16Align16 None",
    "encode U6x16Align16 B128",
    "bulk_reduce_add_f32 4064 bytes",
    "shared addresses in clusters of 1x1x1, grid [1, 1, 1]",
    "shared addresses in clusters of 1x1x1, grid [2, 1, 2]",
    "shared addresses in clusters of 2x1x1, grid [2, 1, 1]",
    "shared addresses in clusters of 2x1x1, grid [4, 1, 2]",
    "shared addresses in clusters of 1x2x1, grid [1, 2, 1]",
    "shared addresses in clusters of 1x2x1, grid [2, 2, 2]",
    "shared addresses in clusters of 1x1x2, grid [1, 1, 2]",
    "shared addresses in clusters of 1x1x2, grid [2, 1, 4]",
    "shared addresses in clusters of 2x2x1, grid [2, 2, 1]",
    "shared addresses in clusters of 2x2x1, grid [4, 2, 2]",
    "shared addresses in clusters of 3x1x1, grid [3, 1, 1]",
    "shared addresses in clusters of 3x1x1, grid [6, 1, 2]",
    "shared addresses in clusters of 1x5x1, grid [1, 5, 1]",
    "shared addresses in clusters of 1x5x1, grid [2, 5, 2]",
    "shared addresses in clusters of 2x2x2, grid [2, 2, 2]",
    "shared addresses in clusters of 2x2x2, grid [4, 2, 4]",
    "shared addresses in clusters of 8x1x1, grid [8, 1, 1]",
    "shared addresses in clusters of 8x1x1, grid [16, 1, 2]",
    "shared addresses in clusters of 16x1x1, grid [16, 1, 1]",
    "shared addresses in clusters of 16x1x1, grid [32, 1, 2]",
    "shared addresses in clusters of 4x2x2, grid [4, 2, 2]",
    "shared addresses in clusters of 4x2x2, grid [8, 2, 4]",
];

#[test]
fn every_case_gives_what_an_h100_gave() {
    let device = TestDevice::hopper();
    assert!(device.is_emulated(), "a GPU refuses nothing by name");
    let recorded: BTreeMap<&str, &str> = RECORDED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('\t').expect("name, tab, hash"))
        .collect();
    let cases = cases();
    assert_eq!(cases.len(), recorded.len() + NOT_RUN_BY_THE_GPU);
    let mut refused = BTreeMap::new();
    let mut different = BTreeSet::new();
    let mut runner = Runner::new(0, PTX).unwrap();
    for case in &cases {
        match runner.run(case) {
            Ok(output) => {
                let found = format!("{:016x}", hash(&output));
                let name = case.name.as_str();
                if recorded.get(name).is_some_and(|hash| *hash != found) {
                    different.insert(name);
                }
            }
            Err(error) => {
                let error = error.to_string();
                let reason = REFUSED.iter().find(|(reason, _)| error.contains(reason));
                let (reason, _) = reason.unwrap_or_else(|| panic!("{}: {error}", case.name));
                *refused.entry(*reason).or_insert(0) += 1;
                runner = Runner::new(0, PTX).unwrap();
            }
        }
    }
    assert_eq!(refused, BTreeMap::from(REFUSED));
    assert_eq!(different, BTreeSet::from(DIFFERENT));
}
