//! Scale factors as data: NaN spreads over exactly the row or column that it scales, padding is
//! never looked at, and the sign bit of the byte means nothing.

use std::collections::BTreeSet;

use nvfp4_dual_gemm::compare::ulp_distance;
use nvfp4_dual_gemm::format::BLOCK;
use nvfp4_dual_gemm::kernels::Output;
use nvfp4_dual_gemm::launch::Kernels;
use nvfp4_dual_gemm::plan::{DualGemm, Shape};
use nvfp4_dual_gemm::reference::{Operands, chain, epilogue};
use nvfp4_dual_gemm::scale_layout::TILE_ROWS;
use nvfp4_dual_gemm::{InputKind, Inputs, Nvfp4Matrix};
use nvfp4_dual_gemm_tests::{TestDevice, compute};

use half::f16;

const NAN: u8 = 0x7F;
const SIGN: u8 = 0x80;

/// Two M tiles, an N tile that starts inside a scale-factor tile, partial tiles of M, N and K, two
/// batches.
const SHAPE: [usize; 4] = [130, 72, 320, 2];

struct Case {
    plan: DualGemm,
    inputs: Inputs,
    /// C as the device computes it from `inputs`; all numbers.
    c: Vec<u16>,
}

/// One case for each N tile.
fn cases(kernels: &Kernels) -> [Case; 2] {
    let [m, n, k, l] = SHAPE;
    let inputs = Inputs::new(InputKind::Normal, m, n, k, l, 7).unwrap();
    [64, 128].map(|tile_n| {
        let shape = Shape::new(m, n, k, l).unwrap();
        let plan = DualGemm::plan_with_tile(shape, Output::F16, kernels.gpu(), tile_n).unwrap();
        let c = compute(kernels, &plan, &inputs).unwrap();
        assert!(c.iter().all(|&bits| f16::from_bits(bits).is_finite()));
        Case {
            plan,
            inputs: inputs.clone(),
            c,
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    A,
    B1,
    B2,
}

impl Operand {
    const ALL: [Self; 3] = [Self::A, Self::B1, Self::B2];

    fn of(self, inputs: &mut Inputs) -> &mut Nvfp4Matrix {
        match self {
            Self::A => &mut inputs.a,
            Self::B1 => &mut inputs.b1,
            Self::B2 => &mut inputs.b2,
        }
    }
}

/// The inputs with every scale factor of an operand, padding included, replaced by what `change`
/// makes of batch, row, block and the old value.
fn with_scales(inputs: &Inputs, operand: Operand, change: impl Fn([usize; 3], u8) -> u8) -> Inputs {
    let mut inputs = inputs.clone();
    let matrix = operand.of(&mut inputs);
    let shape = matrix.shape();
    let layout = shape.scale_layout();
    let (elements, mut scales) = matrix.clone().into_parts();
    for (batch, scales) in scales.chunks_exact_mut(layout.tiled_size()).enumerate() {
        for row in 0..shape.rows().next_multiple_of(TILE_ROWS) {
            for block in 0..layout.blocks() {
                let scale = &mut scales[layout.offset(row, block)];
                *scale = change([batch, row, block], *scale);
            }
        }
    }
    *matrix = Nvfp4Matrix::from_tiled_scales(shape, elements, scales).unwrap();
    inputs
}

/// Batch, row and block of the scale factors that become NaN: the first and the last of everything,
/// and some in between.
fn places(rows: usize) -> Vec<[usize; 3]> {
    let blocks = SHAPE[2] / BLOCK;
    let all = [
        [0, 0, 0],
        [0, rows / 2, blocks / 2],
        [0, rows - 1, blocks - 1],
        [1, 31, 15],
        [1, 32, 16],
        [1, 65, 3],
        [1, rows - 1, 0],
    ];
    // Several in one row are no different from one.
    all.into_iter().chain([[1, 31, 4]]).collect()
}

#[test]
fn nan_fills_exactly_its_row_or_column() {
    let device = TestDevice::open();
    let kernels = device.kernels();
    let [m, n, ..] = SHAPE;
    for case in cases(&kernels) {
        for operand in Operand::ALL {
            let places = places(if operand == Operand::A { m } else { n });
            let inputs = with_scales(&case.inputs, operand, |place, scale| {
                if places.contains(&place) { NAN } else { scale }
            });
            let lines: BTreeSet<[usize; 2]> =
                places.iter().map(|&[batch, row, _]| [batch, row]).collect();
            let found = compute(&kernels, &case.plan, &inputs).unwrap();
            for (index, (&found, &before)) in found.iter().zip(&case.c).enumerate() {
                let (batch, row, column) = (index / (m * n), index / n % m, index % n);
                let line = [batch, if operand == Operand::A { row } else { column }];
                let is_nan = f16::from_bits(found).is_nan();
                let what = format!(
                    "{}, NaN in {operand:?}: batch {batch}, row {row}, column {column}: \
                     {found:#06x}, was {before:#06x}",
                    case.plan.kernel().launch.name
                );
                if lines.contains(&line) {
                    assert!(is_nan, "{what}");
                } else {
                    assert_eq!(found, before, "{what}");
                }
            }
            let reference = reference(&inputs);
            let different = found
                .iter()
                .zip(reference)
                .position(|(&found, wanted)| ulp_distance(f16::from_bits(found), wanted) > 1);
            assert_eq!(different, None, "{operand:?}: the reference knows it too");
        }
    }
}

fn reference(inputs: &Inputs) -> Vec<f16> {
    let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view()).unwrap();
    let accumulators = chain::accumulators(&operands, &|_| ());
    epilogue::outputs(&accumulators, inputs.alpha1, inputs.alpha2)
}

/// C must stay as it is, to the bit, when `change` is made to the scale factors of any operand.
fn assert_no_change(what: &str, change: impl Fn([usize; 3], usize, u8) -> u8) {
    let device = TestDevice::open();
    let kernels = device.kernels();
    for case in cases(&kernels) {
        for operand in Operand::ALL {
            let rows = operand.of(&mut case.inputs.clone()).shape().rows();
            let inputs = with_scales(&case.inputs, operand, |place, scale| {
                change(place, rows, scale)
            });
            assert_ne!(inputs, case.inputs, "{what}: nothing was changed");
            let found = compute(&kernels, &case.plan, &inputs).unwrap();
            let different = found.iter().zip(&case.c).filter(|(a, b)| a != b).count();
            let name = case.plan.kernel().launch.name;
            assert_eq!(
                different, 0,
                "{name}: outputs changed by {what} of {operand:?}"
            );
        }
    }
}

#[test]
fn nan_in_the_padding_changes_nothing() {
    assert_no_change(
        "NaN in the padding",
        |[_, row, _], rows, scale| {
            if row < rows { scale } else { NAN }
        },
    );
}

#[test]
fn garbage_in_the_padding_changes_nothing() {
    assert_no_change(
        "garbage in the padding",
        |[batch, row, block], rows, scale| {
            let garbage = (row * 31 + block * 7 + batch * 101) as u8;
            if row < rows { scale } else { garbage }
        },
    );
}

/// ue4m3 has no sign; the top bit of the byte is not part of it (PTX ISA §5.2.3, alternate
/// floating-point formats).
#[test]
fn the_top_bit_is_ignored() {
    assert_no_change("the top bit", |_, _, scale| scale | SIGN);
}

#[test]
fn nan_with_the_top_bit_is_nan() {
    let device = TestDevice::open();
    let kernels = device.kernels();
    for case in cases(&kernels) {
        let inputs = with_scales(&case.inputs, Operand::A, |place, scale| {
            if place == [0, 5, 0] {
                NAN | SIGN
            } else {
                scale
            }
        });
        let n = SHAPE[1];
        let found = compute(&kernels, &case.plan, &inputs).unwrap();
        for (index, (&found, &before)) in found.iter().zip(&case.c).enumerate() {
            if index / n == 5 {
                assert!(f16::from_bits(found).is_nan(), "column {}", index % n);
            } else {
                assert_eq!(found, before, "row {}, column {}", index / n, index % n);
            }
        }
    }
}
