//! The step and the chain against a big-integer model that follows the rule word by word.

use proptest::prelude::*;

use super::chain;
use super::step::{NAN_BITS, STEP, StepRow, step};
use super::{Operands, RowBlock, float64};
use crate::matrix::{MatrixShape, Nvfp4Matrix};

/// Fixed-point numbers in units of 2^-FRACTION.
const FRACTION: i32 = 64;

/// One factor of a product: sign, significand, exponent of the significand's unit, raw exponent.
#[derive(Clone, Copy)]
struct Factor {
    significand: i128,
    unit: i32,
    raw: i32,
}

fn element(row: &StepRow, k: usize) -> Factor {
    let code = row.elements[k / 2] >> (4 * (k % 2)) & 0xF;
    let field = i32::from(code >> 1 & 3);
    let raw = field.max(1) - 1;
    let magnitude = i128::from(code & 1) + if field > 0 { 2 } else { 0 };
    Factor {
        significand: if code & 8 != 0 { -magnitude } else { magnitude },
        unit: raw - 1,
        raw,
    }
}

fn scale(row: &StepRow, k: usize) -> Factor {
    let code = row.scales[k / 16];
    let field = i32::from(code >> 3 & 0xF);
    let raw = field.max(1) - 7;
    Factor {
        significand: i128::from(code & 7) + if field > 0 { 8 } else { 0 },
        unit: raw - 3,
        raw,
    }
}

fn fixed(significand: i128, unit: i32) -> i128 {
    assert!(unit + FRACTION >= 0, "the model's range ends at 2^-64");
    significand << (unit + FRACTION)
}

/// Finite `c` that is zero or has an exponent of −40 to 40.
fn model(c: f32, a: &StepRow, b: &StepRow) -> u32 {
    let nan = |row: &StepRow| row.scales.iter().any(|scale| scale & 0x7F == 0x7F);
    if nan(a) || nan(b) {
        return NAN_BITS;
    }
    let mut products = Vec::new();
    let (mut r, mut s) = (i32::MIN, i32::MIN);
    for k in 0..STEP {
        let factors = [element(a, k), element(b, k), scale(a, k), scale(b, k)];
        let significand: i128 = factors.iter().map(|factor| factor.significand).product();
        let unit: i32 = factors.iter().map(|factor| factor.unit).sum();
        products.push(fixed(significand, unit));
        if significand != 0 {
            r = r.max(factors.iter().map(|factor| factor.raw).sum());
            s = s.max(factors[2].raw + factors[3].raw);
        }
    }
    if r == i32::MIN {
        return c.to_bits();
    }
    let c_raw = (c.to_bits() >> 23 & 0xFF) as i32 - 127;
    let c_significand = i128::from(c.to_bits() & 0x7F_FFFF | 0x80_0000);
    let c_fixed = match c {
        0.0 => 0,
        _ if c < 0.0 => -fixed(c_significand, c_raw - 23),
        _ => fixed(c_significand, c_raw - 23),
    };
    let (q, group) = if c != 0.0 && c_raw >= r {
        (c_raw - 35, 16)
    } else {
        let highest = if c != 0.0 { r.max(c_raw) } else { r };
        ((highest - 39).max(s - 35), 4)
    };
    let grid = 1i128 << (q + FRACTION);
    let sums = products
        .chunks(group)
        .map(|group| group.iter().sum::<i128>());
    let units = c_fixed / grid + sums.map(|sum| sum / grid).sum::<i128>();
    // Toward zero: keep the 24 highest bits of the magnitude.
    let magnitude = units.unsigned_abs();
    let drop = (128 - magnitude.leading_zeros() as i32 - 24).max(0);
    let kept = (magnitude >> drop) as f64 * 2f64.powi(q + drop);
    (if units < 0 { -kept } else { kept } as f32).to_bits()
}

/// Scale codes around one exponent, around everything, or few at the ends: the spread decides which
/// rule applies.
fn scale_code() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => 0x20..0x50u8,
        2 => 0..0x7Fu8,
        1 => prop_oneof![Just(0u8), Just(1), Just(7), Just(8), Just(0x7E)],
    ]
}

fn elements(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    let dense = prop::collection::vec(any::<u8>(), bytes);
    let sparse = prop::collection::vec(
        prop_oneof![6 => Just(0u8), 1 => any::<u8>(), 1 => Just(0x80), 1 => Just(0x07)],
        bytes,
    );
    prop_oneof![2 => dense, 1 => sparse]
}

fn step_row() -> impl Strategy<Value = StepRow> {
    (elements(32), prop::collection::vec(scale_code(), 4)).prop_map(|(elements, scales)| StepRow {
        elements: elements.try_into().unwrap(),
        scales: scales.try_into().unwrap(),
    })
}

fn accumulator() -> impl Strategy<Value = f32> {
    let any_exponent = (-40..40i32, any::<u32>()).prop_map(|(exponent, bits)| {
        f32::from_bits((bits & 0x807F_FFFF) | (((127 + exponent) as u32) << 23))
    });
    prop_oneof![1 => Just(0.0f32), 8 => any_exponent]
}

fn matrix(
    rows: usize,
    columns: usize,
    scales: impl Strategy<Value = u8>,
) -> impl Strategy<Value = Nvfp4Matrix> {
    let shape = MatrixShape::new(rows, columns, 1).unwrap();
    let scales = prop::collection::vec(scales, shape.row_major_scales_size());
    (elements(shape.packed_size()), scales).prop_map(move |(elements, scales)| {
        Nvfp4Matrix::from_row_major_scales(shape, elements, &scales).unwrap()
    })
}

/// A and two weights of a random shape, their scale factors drawn by `scales`.
fn operands<S>(scales: fn() -> S) -> impl Strategy<Value = [Nvfp4Matrix; 3]>
where
    S: Strategy<Value = u8> + 'static,
{
    (1..7usize, 1..12usize, 1..30usize).prop_flat_map(move |(m, n, blocks)| {
        [m, n, n].map(|rows| matrix(rows, blocks * 16, scales()).boxed())
    })
}

fn chain_by_model(a: &Nvfp4Matrix, b: &Nvfp4Matrix) -> Vec<u32> {
    let (rows, columns) = (a.shape().rows(), b.shape().rows());
    let one = |row, column| {
        (0..a.shape().columns().div_ceil(STEP)).fold(0, |c: u32, index| {
            if c == NAN_BITS {
                return c;
            }
            let a = chain::step_row(a.view(), 0, row, index);
            let b = chain::step_row(b.view(), 0, column, index);
            model(f32::from_bits(c), &a, &b)
        })
    };
    (0..rows * columns)
        .map(|index| one(index / columns, index % columns))
        .collect()
}

fn check_chain([a, b1, b2]: &[Nvfp4Matrix; 3]) -> Result<(), TestCaseError> {
    let operands = Operands::new(a.view(), b1.view(), b2.view()).unwrap();
    let found = chain::accumulators(&operands, &|_| ());
    let bits = |values: &[f32]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    prop_assert_eq!(bits(&found.acc1), chain_by_model(a, b1));
    prop_assert_eq!(bits(&found.acc2), chain_by_model(a, b2));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn step_follows_the_model(c in accumulator(), a in step_row(), b in step_row()) {
        prop_assert_eq!(step(c, &a, &b).to_bits(), model(c, &a, &b));
    }

    #[test]
    fn step_follows_the_model_where_c_barely_matters(
        a in step_row(),
        b in step_row(),
        offset in -40..=8i32,
        bits: u32,
    ) {
        // An accumulator whose last bits lie around the grid of this very step.
        let alone = f32::from_bits(model(0.0, &a, &b));
        prop_assume!(alone != 0.0);
        let exponent = (alone.to_bits() >> 23 & 0xFF) as i32 + offset;
        let c = f32::from_bits((bits & 0x807F_FFFF) | ((exponent.clamp(87, 167) as u32) << 23));
        prop_assert_eq!(step(c, &a, &b).to_bits(), model(c, &a, &b));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn chain_follows_the_model(matrices in operands(scale_code)) {
        check_chain(&matrices)?;
    }

    #[test]
    fn chain_follows_the_model_at_the_ends_of_the_scale_range(
        matrices in operands(|| prop_oneof![0..0x10u8, 0x70..0x7Fu8]),
    ) {
        check_chain(&matrices)?;
    }

    #[test]
    fn nan_scale_factors_reach_exactly_their_rows_and_columns(
        matrices in operands(|| prop_oneof![60 => 0..0x7Fu8, 1 => Just(0x7F), 1 => Just(0xFF)]),
    ) {
        check_chain(&matrices)?;
        let [a, b1, b2] = &matrices;
        let operands = Operands::new(a.view(), b1.view(), b2.view()).unwrap();
        let chain = chain::accumulators(&operands, &|_| ());
        let float64 = float64::accumulators(&operands, &|_| ());
        for (chain, float64) in chain.acc2.iter().zip(&float64.acc2) {
            prop_assert_eq!(chain.is_nan(), float64.is_nan());
        }
    }

    #[test]
    fn float64_is_the_exact_sum(matrices in operands(scale_code)) {
        let [a, b1, b2] = &matrices;
        let operands = Operands::new(a.view(), b1.view(), b2.view()).unwrap();
        let found = float64::accumulators(&operands, &|_| ());
        let (n, k) = (operands.n(), operands.k());
        for (index, &found) in found.acc1.iter().enumerate() {
            let value = |matrix: &Nvfp4Matrix, row, k| f64::from(matrix.view().value(0, row, k));
            // Units of 2^-20: every product is an integer.
            let sum: i128 = (0..k)
                .map(|k| value(a, index / n, k) * value(b1, index % n, k) * 2f64.powi(20))
                .map(|product| product as i128)
                .sum();
            prop_assert_eq!(found, sum as f64 / 2f64.powi(20));
        }
    }
}

#[test]
fn the_portable_loops_and_the_vector_loops_agree() {
    let inputs = crate::Inputs::new(crate::InputKind::Full, 9, 19, 1040, 2, 3).unwrap();
    let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view()).unwrap();
    for block in operands.row_blocks() {
        let chosen = chain::row_block(&operands, &block);
        let portable = super::panel::row_block_portable::<f32>(&operands, &block);
        assert_eq!(chosen, portable);
    }
}

#[test]
fn special_accumulators() {
    let row = |element: u8, scale: u8| StepRow {
        elements: [element; 32],
        scales: [scale; 4],
    };
    let one = row(0x22, 0x38);
    assert_eq!(step(0.0, &one, &one), 64.0);
    assert_eq!(step(-64.0, &one, &one).to_bits(), 0);
    assert_eq!(step(f32::INFINITY, &one, &one), f32::INFINITY);
    assert_eq!(step(f32::NEG_INFINITY, &one, &one), f32::NEG_INFINITY);
    assert_eq!(step(f32::NAN, &one, &one).to_bits(), NAN_BITS);
    assert_eq!(step(f32::INFINITY, &one, &row(0, 0x7F)).to_bits(), NAN_BITS);
    assert_eq!(step(f32::MAX, &one, &one), f32::MAX);
    // Without a nonzero product C is kept as it is, even -0 and subnormals.
    for c in [-0.0, f32::from_bits(1), f32::MIN_POSITIVE, 3.5] {
        assert_eq!(step(c, &row(0x80, 0x38), &one).to_bits(), c.to_bits());
        assert_eq!(step(c, &row(0x22, 0), &one).to_bits(), c.to_bits());
    }
    // A subnormal C next to products is below every grid.
    assert_eq!(step(-f32::from_bits(1), &one, &one), 64.0);
}

#[test]
fn row_blocks_cover_every_row_once() {
    let inputs = crate::Inputs::new(crate::InputKind::Contest, 600, 8, 64, 2, 1).unwrap();
    let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view()).unwrap();
    let blocks = operands.row_blocks();
    let wanted: Vec<RowBlock> = [0, 1]
        .into_iter()
        .flat_map(|batch| [0..256, 256..512, 512..600].map(move |rows| RowBlock { batch, rows }))
        .collect();
    assert_eq!(blocks, wanted);

    let rows = std::sync::atomic::AtomicUsize::new(0);
    let whole = chain::accumulators(&operands, &|finished| {
        rows.fetch_add(finished, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(rows.into_inner(), 1200);
    let by_block: Vec<f32> = blocks
        .iter()
        .flat_map(|block| chain::row_block(&operands, block).acc1)
        .collect();
    assert_eq!(whole.acc1, by_block);
}

#[test]
fn operands_must_fit() {
    let matrix = |rows, columns, batch| {
        let shape = MatrixShape::new(rows, columns, batch).unwrap();
        let elements = vec![0; shape.packed_size()];
        Nvfp4Matrix::from_tiled_scales(shape, elements, vec![0; shape.tiled_scales_size()]).unwrap()
    };
    let (a, b) = (matrix(3, 64, 2), matrix(8, 64, 2));
    let error = |a: &Nvfp4Matrix, b1: &Nvfp4Matrix, b2: &Nvfp4Matrix| {
        let error = Operands::new(a.view(), b1.view(), b2.view()).unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error(&a, &b, &matrix(16, 64, 2)),
        "B1 has rows 8 and B2 16; both must be [L, N, K] with the same dimensions"
    );
    assert_eq!(
        error(&matrix(3, 80, 2), &b, &b),
        "A has columns 80 and B1 64; A is [L, M, K] and B1 [L, N, K] with the same L and K"
    );
    assert_eq!(
        error(&matrix(3, 64, 1), &b, &b),
        "A has batch 1 and B1 2; A is [L, M, K] and B1 [L, N, K] with the same L and K"
    );
}
