//! Dual GEMMs on a device against the references: every element of every shape of the quick suite,
//! and every schedule of the emulator.

use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::check::{self, Problem};
use nvfp4_dual_gemm::launch::Kernels;
use nvfp4_dual_gemm::plan::{Shape, Tile};
use nvfp4_dual_gemm::suite::Suite;
use nvfp4_dual_gemm_tests::{TestDevice, assert_passed};
use ptx_emulator::driver::set_launch_options;
use ptx_emulator::machine::{Asynchrony, LaunchOptions};

const TILES: [u32; 2] = [64, 128];

fn check(kernels: &Kernels, shape: Shape, inputs: InputKind, tile_n: u32, how: &str) {
    let problem = Problem {
        shape,
        inputs,
        seed: 0x5EED,
        alpha1: None,
        alpha2: None,
        tile: Some(Tile::Columns(tile_n)),
        launches: 1,
    };
    let what = format!("{shape}, {inputs}, N tile {tile_n}{how}");
    assert_passed(&what, check::run(kernels, &problem, &()));
}

fn quick_suite(inputs: InputKind) {
    let device = TestDevice::open();
    let kernels = device.kernels();
    for shape in Suite::Quick.shapes().unwrap() {
        for tile_n in TILES {
            check(&kernels, shape, inputs, tile_n, "");
        }
    }
}

#[test]
fn contest_inputs() {
    quick_suite(InputKind::Contest);
}

#[test]
fn full_range_inputs() {
    quick_suite(InputKind::Full);
}

#[test]
fn normal_inputs() {
    quick_suite(InputKind::Normal);
}

/// Alphas of either sign, zero and far from one.
#[test]
fn alphas() {
    let device = TestDevice::open();
    let kernels = device.kernels();
    let shape = Shape::new(96, 72, 320, 1).unwrap();
    for (alpha1, alpha2) in [
        (0.0, 1.0),
        (1.0, 0.0),
        (-0.75, 3.0),
        (1e-30, 1e30),
        (f32::MAX, f32::MIN_POSITIVE),
    ] {
        let problem = Problem {
            shape,
            inputs: InputKind::Normal,
            seed: 1,
            alpha1: Some(alpha1),
            alpha2: Some(alpha2),
            tile: None,
            launches: 1,
        };
        let what = format!("alphas {alpha1:e} and {alpha2:e}");
        assert_passed(&what, check::run(&kernels, &problem, &()));
    }
}

/// When a copy or an MMA takes effect, within what the hardware may do, changes nothing.
#[test]
fn every_schedule() {
    let device = TestDevice::open();
    if !device.is_emulated() {
        eprintln!("not tested: a GPU's schedule can't be chosen");
        return;
    }
    let kernels = device.kernels();
    let random = (0..8).map(|seed| Asynchrony::Random { seed });
    for asynchrony in [Asynchrony::Late, Asynchrony::Early]
        .into_iter()
        .chain(random)
    {
        set_launch_options(Some(LaunchOptions {
            schedule: asynchrony.into(),
            ..LaunchOptions::default()
        }));
        // Each wraps its ring of stages at least twice and ends in a partial K tile; two or more
        // CTAs.
        for (dimensions, tile_n) in [([129, 64, 2880, 1], 64), ([64, 136, 2432, 2], 128)] {
            let [m, n, k, l] = dimensions;
            let shape = Shape::new(m, n, k, l).unwrap();
            let how = format!(", {asynchrony:?}");
            check(&kernels, shape, InputKind::Full, tile_n, &how);
        }
    }
    set_launch_options(None);
}
