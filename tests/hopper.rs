//! The kernels for Hopper on an H100, an H200 or the emulated one: every element of small shapes with
//! every tile, and every way of sharing K.

use nvfp4_dual_gemm::InputKind;
use nvfp4_dual_gemm::check::{self, Problem};
use nvfp4_dual_gemm::kernels::{HOPPER, Output};
use nvfp4_dual_gemm::launch::{Kernels, LaunchError};
use nvfp4_dual_gemm::plan::{DualGemm, Gpu, Shape, Tile};
use nvfp4_dual_gemm_kernel::contract::hopper::Design;
use nvfp4_dual_gemm_tests::{TestDevice, assert_no_alarm, assert_passed, hopper_ptx};

fn problem(shape: Shape, inputs: InputKind, tile: Option<Tile>) -> Problem {
    Problem {
        shape,
        inputs,
        seed: 0x5EED,
        alpha1: None,
        alpha2: None,
        tile,
        launches: 1,
    }
}

fn kernels(device: &TestDevice) -> Kernels {
    device.load(&hopper_ptx()).unwrap()
}

/// Partial tiles of M and N, batches, a K that ends in half a stage, and fewer tokens than the tile.
#[test]
fn every_tile_and_every_share_of_k() {
    let device = TestDevice::hopper();
    let kernels = kernels(&device);
    let decode = [
        ([1, 8, 64, 1], 8, 1),
        ([5, 72, 640, 2], 8, 2),
        ([16, 64, 1408, 1], 16, 4),
        ([19, 136, 832, 1], 32, 2),
        ([70, 64, 2432, 2], 64, 4),
        ([150, 72, 576, 1], 64, 1),
        ([129, 72, 1344, 1], 128, 1),
        ([77, 136, 832, 2], 128, 2),
    ]
    .map(|(shape, tokens, split_k)| (shape, Tile::Decode { tokens, split_k }));
    let prefill = [
        ([129, 72, 576, 1], 128),
        ([100, 200, 448, 2], 128),
        ([260, 64, 320, 1], 256),
        ([200, 136, 1216, 2], 256),
    ]
    .map(|(shape, tokens)| (shape, Tile::Prefill { tokens }));
    for ([m, n, k, batch], tile) in decode.into_iter().chain(prefill) {
        let shape = Shape::new(m, n, k, batch).unwrap();
        for inputs in [InputKind::Normal, InputKind::Full] {
            let what = format!("{shape}, {inputs}, {tile}");
            let problem = problem(shape, inputs, Some(tile));
            assert_passed(&what, check::run(&kernels, &problem, &()));
        }
    }
}

/// The plan's own choice.
#[test]
fn contest_inputs() {
    let device = TestDevice::hopper();
    let kernels = kernels(&device);
    // In the last three tiles that hold all tokens take least time; of 128, there are no two SMs for each.
    let shapes = [
        ((1, 256, 512), (Design::Decode, 8)),
        ((33, 64, 256), (Design::Decode, 8)),
        ((150, 72, 192), (Design::Decode, 8)),
        ((11, 4288, 64), (Design::Decode, 16)),
        ((40, 4288, 64), (Design::Decode, 64)),
        ((65, 4296, 64), (Design::Prefill, 128)),
    ];
    for ((m, n, k), tile) in shapes {
        let shape = Shape::new(m, n, k, 1).unwrap();
        let kernel = DualGemm::plan(shape, Output::F16, Gpu::H200)
            .unwrap()
            .kernel();
        assert_eq!(
            kernel.design.map(|design| (design, kernel.tile_m)),
            Some(tile),
            "{shape}"
        );
        let problem = problem(shape, InputKind::Contest, None);
        assert_passed(&shape, check::run(&kernels, &problem, &()));
    }
}

fn no_alarm_under(count: u64, seed: u64, [m, n, k]: [usize; 3], tile: Tile) {
    let device = TestDevice::hopper();
    if !device.is_emulated() {
        println!("schedules are the emulator's: nothing to explore on a GPU");
        return;
    }
    let kernels = kernels(&device);
    let shape = Shape::new(m, n, k, 1).unwrap();
    let problem = problem(shape, InputKind::Full, Some(tile));
    assert_no_alarm(&kernels, &problem, count, seed);
}

/// Every tile; K shared by one, two and four CTAs; where one has all of K, more than a round of its rings.
/// The long ones: `cargo test -p nvfp4-dual-gemm-tests --test hopper -- --ignored`.
macro_rules! no_alarm {
    ($($name:ident: $shape:expr, $design:ident($($tile:literal),*);)*) => {
        mod three_schedules {
            $(#[test]
            fn $name() {
                super::no_alarm_under(3, 1, $shape, super::$design($($tile),*));
            })*
        }

        mod five_hundred_schedules {
            $(#[test]
            #[ignore = "takes minutes"]
            fn $name() {
                super::no_alarm_under(500, 2, $shape, super::$design($($tile),*));
            })*
        }
    };
}

no_alarm! {
    decode_m8_split_2: [3, 64, 6272], decode(8, 2);
    decode_m16: [12, 64, 1408], decode(16, 1);
    decode_m32_split_4: [30, 64, 2048], decode(32, 4);
    decode_m64: [50, 64, 1216], decode(64, 1);
    decode_m64_split_2: [50, 64, 1216], decode(64, 2);
    decode_m128: [100, 64, 1216], decode(128, 1);
    decode_m128_split_2: [70, 64, 1216], decode(128, 2);
    prefill_m128: [100, 72, 1216], prefill(128);
    prefill_m256: [130, 64, 1216], prefill(256);
}

fn decode(tokens: u32, split_k: u32) -> Tile {
    Tile::Decode { tokens, split_k }
}

fn prefill(tokens: u32) -> Tile {
    Tile::Prefill { tokens }
}

#[test]
fn a_plan_for_another_architecture_is_not_bound() {
    let device = TestDevice::hopper();
    let kernels = kernels(&device);
    let shape = Shape::new(1, 8, 64, 1).unwrap();
    let plan = DualGemm::plan(shape, Output::F16, Gpu::B200).unwrap();
    let inputs = nvfp4_dual_gemm::Inputs::new(InputKind::Normal, 1, 8, 64, 1, 0).unwrap();
    let error = nvfp4_dual_gemm_tests::compute(&kernels, &plan, &inputs).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("Blackwell") && text.contains(HOPPER.name),
        "{text}"
    );
}

#[test]
fn a_missing_workspace_is_an_error() {
    let device = TestDevice::hopper();
    let kernels = kernels(&device);
    let shape = Shape::new(1, 8, 64, 1).unwrap();
    let plan = DualGemm::plan_as(shape, Output::F16, Gpu::H200, prefill(128)).unwrap();
    let inputs = nvfp4_dual_gemm::Inputs::new(InputKind::Normal, 1, 8, 64, 1, 0).unwrap();
    let buffers = nvfp4_dual_gemm_tests::Buffers::new(&plan, &inputs).unwrap();
    let mut arguments = buffers.arguments(&inputs);
    arguments.workspace = None;
    let error = plan.bind(&kernels, &arguments).err().unwrap();
    assert_eq!(
        error,
        LaunchError::Null {
            buffer: "the workspace"
        }
    );
}
