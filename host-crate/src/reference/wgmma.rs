//! The accumulators as Hopper's kernels make them, to the last bit.
//!
//! `wgmma` of f16 adds 16 products to the accumulator at a time: over the nonzero products and the
//! accumulator, each term is cut toward zero to 25 fractional bits below the largest raw exponent,
//! the terms are added, and the sum is cut toward zero to f32 (MMA-Sim, arXiv 2511.10909; an H200
//! gives the same bits). A product's raw exponent is the sum of its factors', before its significand
//! is normalised.
//!
//! Which 16 products, in which order, is the kernel's choice: see [`KOrder`].

use rayon::prelude::*;

use nvfp4_dual_gemm_kernel::contract::hopper::{STAGE_K, WGMMA_K};

use super::step::{NAN_BITS, raw_exponent, round_toward_zero, shift_toward_zero};
use super::{Accumulators, Operands, RowBlock};
use crate::matrix::Nvfp4MatrixView;

/// How the sum over K is taken apart: CTAs of a cluster share the stages of K, warps of a CTA the
/// elements of a stage. Each sums its share; the shares are added at the end, one CTA's after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KOrder {
    /// CTAs: 1, 2 or 4.
    pub split_k: u32,
    /// Warps: 1 or 2.
    pub k_shares: u32,
}

/// Fractional bits of a term below the largest raw exponent.
const FRACTION_BITS: i32 = 25;
/// Threads of a quad, each with 64 consecutive elements of a stage.
const QUAD: usize = 4;
const STAGE: usize = STAGE_K as usize;
const STEP: usize = WGMMA_K as usize;
const STEPS_PER_STAGE: usize = STAGE / STEP;

/// The accumulators of the rows of `block`, `[rows, N]` each. Uses every thread of rayon's pool.
///
/// # Panics
/// If the block is not one of `operands`.
pub fn row_block(operands: &Operands<'_>, block: &RowBlock, order: KOrder) -> Accumulators<f32> {
    operands.assert_contains(block);
    let decode = |matrix: Nvfp4MatrixView<'_>, rows: std::ops::Range<usize>| -> Vec<Row> {
        rows.into_par_iter()
            .map(|row| Row::decode(matrix, block.batch, row))
            .collect()
    };
    let a = decode(operands.a(), block.rows.clone());
    let product = |weights: Nvfp4MatrixView<'_>| -> Vec<f32> {
        let b = decode(weights, 0..operands.n());
        let elements = (0..a.len() * b.len()).into_par_iter();
        elements
            .map(|index| {
                let (row, column) = (index / b.len(), index % b.len());
                dot(&a[row], &b[column], order)
            })
            .collect()
    };
    Accumulators {
        acc1: product(operands.b1()),
        acc2: product(operands.b2()),
    }
}

/// A row of a matrix in the order in which `wgmma` takes its elements, filled up to whole stages.
struct Row {
    elements: Vec<Element>,
    has_nan: bool,
}

/// `significand · 2^(exponent − 10)`, the fields of an f16.
#[derive(Clone, Copy, Default)]
struct Element {
    significand: i16,
    exponent: i8,
}

impl Element {
    /// # Panics
    /// In debug builds, if `value` is no f16.
    fn new(value: f32) -> Self {
        // What the kernel multiplies is 2^-7 of the value; the smallest of those are subnormal f16.
        let exponent = (raw_exponent(value) - 7).max(-14);
        let significand = value * 2f32.powi(10 - 7 - exponent);
        debug_assert_eq!(significand.fract(), 0.0, "{value} is no f16");
        Self {
            significand: significand as i16,
            exponent: exponent as i8,
        }
    }
}

impl Row {
    fn decode(matrix: Nvfp4MatrixView<'_>, batch: usize, row: usize) -> Self {
        let columns = matrix.shape().columns();
        let positions = (0..columns.next_multiple_of(STAGE)).map(element_at);
        let mut has_nan = false;
        let elements = positions.map(|k| {
            if k >= columns {
                return Element::default();
            }
            let value = matrix.value(batch, row, k);
            has_nan |= value.is_nan();
            if value.is_nan() {
                return Element::default();
            }
            Element::new(value)
        });
        let elements = elements.collect();
        Self { elements, has_nan }
    }
}

/// The element of K at a place of the order: step by step, each quad thread's four elements.
fn element_at(place: usize) -> usize {
    let (stage, within) = (place / STAGE, place % STAGE);
    let (step, slot) = (within / STEP, within % STEP);
    let (quad_thread, element) = (slot / QUAD, slot % QUAD);
    stage * STAGE + quad_thread * (STAGE / QUAD) + step * QUAD + element
}

fn dot(a: &Row, b: &Row, order: KOrder) -> f32 {
    if a.has_nan || b.has_nan {
        return f32::from_bits(NAN_BITS);
    }
    let stages = a.elements.len() / STAGE;
    let (ranks, shares) = (order.split_k as usize, order.k_shares as usize);
    let steps = STEPS_PER_STAGE / shares;
    let sum_of = |sharer: usize| {
        let (rank, share) = (sharer / shares, sharer % shares);
        let own_stages = stages * rank / ranks..stages * (rank + 1) / ranks;
        let own_steps = own_stages.flat_map(|stage| {
            let first = stage * STEPS_PER_STAGE + share * steps;
            first..first + steps
        });
        own_steps.fold(0.0, |sum, step| {
            let at = step * STEP;
            let (a, b) = (&a.elements[at..at + STEP], &b.elements[at..at + STEP]);
            add_products(sum, a.iter().zip(b))
        })
    };
    let total = (0..ranks * shares)
        .map(sum_of)
        .fold(0.0, |total, sum| total + sum);
    // Each factor was 2^-7 of its value.
    total * 16_384.0
}

/// One `wgmma` for one output.
fn add_products<'a>(
    c: f32,
    products: impl Iterator<Item = (&'a Element, &'a Element)> + Clone,
) -> f32 {
    let nonzero = products.filter(|(a, b)| a.significand != 0 && b.significand != 0);
    let exponent = |(a, b): (&Element, &Element)| i32::from(a.exponent) + i32::from(b.exponent);
    let Some(mut highest) = nonzero.clone().map(exponent).max() else {
        return c;
    };
    let c_exponent = raw_exponent(c);
    if c != 0.0 {
        highest = highest.max(c_exponent);
    }
    let grid = highest - FRACTION_BITS;
    let c_significand = (c.to_bits() & 0x7F_FFFF) | (u32::from(c.is_normal()) << 23);
    let magnitude = shift_toward_zero(i64::from(c_significand), c_exponent - 23 - grid);
    let mut units = if c.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    };
    for (a, b) in nonzero {
        let product = i64::from(a.significand) * i64::from(b.significand);
        units += shift_toward_zero(product, exponent((a, b)) - 20 - grid);
    }
    round_toward_zero(units, grid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvfp4_dual_gemm_kernel::contract::hopper::activation_position;

    /// The device's own formula for the order, and the one here, are inverse to each other up to the
    /// order within a step, which does not matter.
    #[test]
    fn steps_have_the_elements_that_the_device_gives_them() {
        let mut seen = [0; STAGE];
        for place in 0..STAGE {
            let k = element_at(place);
            seen[k] += 1;
            assert_eq!(activation_position(k as u32) as usize / STEP, place / STEP);
        }
        assert_eq!(seen, [1; STAGE]);
        assert_eq!(element_at(STAGE), STAGE);
    }

    #[test]
    fn every_dequantised_value_is_an_f16() {
        for scale in 0..0x7F {
            for element in 0..16 {
                let value =
                    crate::format::e2m1::decode(element) * crate::format::ue4m3::decode(scale);
                let found = Element::new(value);
                let back =
                    f32::from(found.significand) * 2f32.powi(i32::from(found.exponent) - 10 + 7);
                assert_eq!(back, value);
                assert!(found.significand.unsigned_abs() < 2048);
            }
        }
    }

    #[test]
    fn terms_are_cut_below_the_window() {
        let element = |significand, exponent| Element {
            significand,
            exponent,
        };
        let one = element(1024, 0);
        let sum =
            |c, pairs: &[(Element, Element)]| add_products(c, pairs.iter().map(|(a, b)| (a, b)));
        assert_eq!(sum(0.0, &[(one, one)]), 1.0);
        assert_eq!(sum(2.0, &[(one, one), (element(-1024, 0), one)]), 2.0);
        // 2^-24 and 2^-24 below 1: each is kept by 25 bits, and only their sum by f32.
        let small = element(1024, -12);
        assert_eq!(sum(0.0, &[(one, one), (small, small)]), 1.0);
        assert_eq!(
            sum(0.0, &[(one, one), (small, small), (small, small)]),
            1.0 + 2f32.powi(-23)
        );
        // 2^-26 is cut before the sum, however often it comes.
        let tiny = (element(1024, -13), element(1024, -13));
        assert_eq!(sum(1.0, &[tiny; 16]), 1.0);
    }
}
