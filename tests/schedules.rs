//! No false alarm: the shipped kernels are right, and no check of the emulator objects to them,
//! under many schedules.

use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::check::Problem;
use nvfp4_dual_gemm::plan::{Shape, Tile};
use nvfp4_dual_gemm_tests::{TestDevice, assert_no_alarm};

/// Ends in a partial K tile and wraps the ring of stages; several CTAs, some of them partial.
const PROBLEMS: [([usize; 4], u32); 2] = [([129, 72, 1472, 1], 64), ([64, 136, 1216, 2], 128)];

/// Each problem runs two of the shipped entries: the gated kernel, and its twin with accumulators.
fn every_kernel_under(count: u64, seed: u64) {
    let device = TestDevice::emulator();
    let kernels = device.kernels();
    for ([m, n, k, batch], tile_n) in PROBLEMS {
        let problem = Problem {
            shape: Shape::new(m, n, k, batch).unwrap(),
            inputs: InputKind::Full,
            seed: 0x5EED,
            alpha1: None,
            alpha2: None,
            tile: Some(Tile::Columns(tile_n)),
            launches: 1,
        };
        assert_no_alarm(&kernels, &problem, count, seed);
    }
}

#[test]
fn forty_schedules() {
    every_kernel_under(40, 1);
}

/// Run with `cargo test -p nvfp4-dual-gemm-tests --test schedules -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn five_hundred_schedules() {
    every_kernel_under(500, 2);
}
