//! The accumulators as Hopper's kernels make them, to the last bit.
//!
//! `wgmma` of f16 adds 16 products to the accumulator at a time: over the nonzero products and the
//! accumulator, each term is cut toward zero to 25 fractional bits below the largest raw exponent,
//! the terms are added, and the sum is cut toward zero to f32 (MMA-Sim, arXiv 2511.10909; an H200
//! gives the same bits). A product's raw exponent is the sum of its factors', before its significand
//! is normalised.
//!
//! Which 16 products, in which order, is the kernel's choice: see [`KOrder`].

mod panel;

use nvfp4_dual_gemm_kernel::contract::hopper::{STAGE_K, WGMMA_K};

use super::panel::Loops;
use super::{Accumulators, Operands, RowBlock};

/// How the sum over K is taken apart: CTAs of a cluster share the stages of K. Each sums its share; the
/// shares are added at the end, one CTA's after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KOrder {
    /// CTAs: 1, 2 or 4.
    pub split_k: u32,
}

impl KOrder {
    /// The steps of each share of so many stages, in the order in which the shares are added.
    fn shares(self, stages: usize) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        let ranks = self.split_k as usize;
        (0..ranks).map(move |rank| {
            let own_stages = stages * rank / ranks..stages * (rank + 1) / ranks;
            own_stages.start * STEPS_PER_STAGE..own_stages.end * STEPS_PER_STAGE
        })
    }
}

/// One product of some rows: as the tensor core makes it, and in f64.
struct Products {
    chain: Vec<f32>,
    exact: Vec<f64>,
}

/// Fractional bits of a term below the largest raw exponent.
const FRACTION_BITS: i32 = 25;
/// The least raw exponent of a value. What the kernel multiplies is 2^-7 of it, and where that is a
/// subnormal f16 the exponent is that of the least normal one.
const LEAST_EXPONENT: i32 = -14 + 7;
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
    row_block_and_exact(operands, block, order).0
}

/// As [`row_block`], and with it, at little cost, what
/// [`float64::row_block`](super::float64::row_block) gives, up to the order of additions.
///
/// # Panics
/// If the block is not one of `operands`.
pub fn row_block_and_exact(
    operands: &Operands<'_>,
    block: &RowBlock,
    order: KOrder,
) -> (Accumulators<f32>, Accumulators<f64>) {
    row_block_by(Loops::best(), operands, block, order)
}

fn row_block_by(
    loops: Loops,
    operands: &Operands<'_>,
    block: &RowBlock,
    order: KOrder,
) -> (Accumulators<f32>, Accumulators<f64>) {
    operands.assert_contains(block);
    let [first, second] =
        [operands.b1(), operands.b2()].map(|b| panel::product(loops, operands, b, block, order));
    let chain = Accumulators {
        acc1: first.chain,
        acc2: second.chain,
    };
    let exact = Accumulators {
        acc1: first.exact,
        acc2: second.exact,
    };
    (chain, exact)
}

/// The place of an element of K in the order: step by step, each quad thread's four elements, which are
/// two pairs of a word of eight.
fn place_of(k: usize) -> usize {
    let (stage, within) = (k / STAGE, k % STAGE);
    let (quad_thread, of_thread) = (within / (STAGE / QUAD), within % (STAGE / QUAD));
    let (word, nibble) = (of_thread / 8, of_thread % 8);
    let (step, element) = (2 * word + nibble / 2 % 2, nibble / 4 * 2 + nibble % 2);
    stage * STAGE + step * STEP + quad_thread * QUAD + element
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{InputKind, Inputs};
    use crate::matrix::{Nvfp4Matrix, Nvfp4MatrixView};
    use crate::reference::step::{raw_exponent, round_toward_zero, shift_toward_zero};
    use crate::reference::{NAN_BITS, float64};
    use nvfp4_dual_gemm_kernel::contract::hopper::activation_position;

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
            // What the kernel multiplies is 2^-7 of the value.
            let exponent = raw_exponent(value).max(LEAST_EXPONENT) - 7;
            let significand = value * 2f32.powi(10 - 7 - exponent);
            debug_assert_eq!(significand.fract(), 0.0, "{value} is no f16");
            Self {
                significand: significand as i16,
                exponent: exponent as i8,
            }
        }
    }

    /// One `wgmma` for one output.
    fn add_products(c: f32, products: impl Iterator<Item = (Element, Element)> + Clone) -> f32 {
        let nonzero = products.filter(|(a, b)| a.significand != 0 && b.significand != 0);
        let exponent = |(a, b): (Element, Element)| i32::from(a.exponent) + i32::from(b.exponent);
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

    /// The device's own formula for the order, and the one here, are inverse to each other up to the
    /// order within a step, which does not matter.
    #[test]
    fn steps_have_the_elements_that_the_device_gives_them() {
        for k in 0..STAGE {
            assert_eq!(
                activation_position(k as u32) as usize / STEP,
                place_of(k) / STEP
            );
        }
        let mut places: Vec<usize> = (0..2 * STAGE).map(place_of).collect();
        places.sort_unstable();
        assert!(places.into_iter().eq(0..2 * STAGE));
    }

    /// An accumulator of A·B1ᵀ, step by step.
    fn by_definition(inputs: &Inputs, [row, column]: [usize; 2], order: KOrder) -> f32 {
        let (a, b) = (inputs.a.view(), inputs.b1.view());
        let columns = a.shape().columns();
        let has_nan = |matrix: Nvfp4MatrixView<'_>, row| {
            (0..columns).any(|k| matrix.value(0, row, k).is_nan())
        };
        if has_nan(a, row) || has_nan(b, column) {
            return f32::from_bits(NAN_BITS);
        }
        let places = columns.next_multiple_of(STAGE);
        let mut elements = vec![(Element::default(), Element::default()); places];
        for k in 0..columns {
            let values = (a.value(0, row, k), b.value(0, column, k));
            elements[place_of(k)] = (Element::new(values.0), Element::new(values.1));
        }
        let shares = order.shares(places / STAGE).map(|steps| {
            steps.fold(0.0, |sum, step| {
                add_products(sum, elements[step * STEP..][..STEP].iter().copied())
            })
        });
        shares.fold(0.0, |total, share| total + share) * 16_384.0
    }

    fn same_bits(one: &[f32], other: &[f32]) -> bool {
        let other = other.iter().map(|x| x.to_bits());
        one.iter().map(|x| x.to_bits()).eq(other)
    }

    const WHOLE: KOrder = KOrder { split_k: 1 };

    #[test]
    fn shares_take_stages() {
        let order = KOrder { split_k: 2 };
        let shares: Vec<Vec<usize>> = order.shares(3).map(Iterator::collect).collect();
        assert!(shares[0].iter().copied().eq(0..16));
        assert!(shares[1].iter().copied().eq(16..48));
    }

    /// Panels give what steps one by one give.
    fn assert_like_steps(inputs: &Inputs, order: KOrder) {
        let operands = Operands::new(inputs.a.view(), inputs.b1.view(), inputs.b2.view()).unwrap();
        let n = operands.n();
        let block = RowBlock {
            batch: 0,
            rows: 1..operands.m(),
        };
        let (chain, exact) = row_block_and_exact(&operands, &block, order);
        for (index, found) in chain.acc1.iter().enumerate() {
            let at = [1 + index / n, index % n];
            let wanted = by_definition(inputs, at, order);
            assert_eq!(found.to_bits(), wanted.to_bits(), "{found} at {at:?}");
        }
        let wanted = float64::row_block(&operands, &block);
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&exact.acc1), bits(&wanted.acc1));
        assert_eq!(bits(&exact.acc2), bits(&wanted.acc2));
        let (portable, _) = row_block_by(Loops::Portable, &operands, &block, order);
        assert!(same_bits(&portable.acc1, &chain.acc1) && same_bits(&portable.acc2, &chain.acc2));
    }

    /// `matrix` with other scale factors: `code` has the present ones, by row and block.
    fn with_scales(matrix: Nvfp4Matrix, code: impl Fn(usize, usize) -> Option<u8>) -> Nvfp4Matrix {
        let shape = matrix.shape();
        let (elements, mut scales) = matrix.into_parts();
        for row in 0..shape.rows() {
            for block in 0..shape.blocks() {
                let at = shape.scale_layout().offset(row, block);
                scales[at] = code(row, block).unwrap_or(scales[at]);
            }
        }
        Nvfp4Matrix::from_tiled_scales(shape, elements, scales).unwrap()
    }

    #[test]
    fn panels_give_what_steps_one_by_one_give() {
        for (kind, k, split_k) in [
            (InputKind::Contest, 3136, 1),
            (InputKind::Contest, 1024, 4),
            (InputKind::Full, 832, 1),
            (InputKind::Full, 1088, 2),
            (InputKind::Normal, 576, 2),
        ] {
            let inputs = Inputs::new(kind, 6, 20, k, 1, 7).unwrap();
            assert_like_steps(&inputs, KOrder { split_k });
        }
    }

    #[test]
    fn a_nan_fills_its_row_or_column() {
        let mut inputs = Inputs::new(InputKind::Contest, 6, 20, 320, 1, 7).unwrap();
        let nan_in = |nan_row| move |row, block| (row == nan_row && block == 19).then_some(0x7F);
        inputs.a = with_scales(inputs.a, nan_in(2));
        inputs.b1 = with_scales(inputs.b1, nan_in(13));
        assert_like_steps(&inputs, WHOLE);
    }

    /// Four steps with small products leave an accumulator that the next steps, with large ones, cut.
    #[test]
    fn an_accumulator_below_the_window_is_cut() {
        let mut inputs = Inputs::new(InputKind::Full, 6, 20, 256, 1, 7).unwrap();
        let code = |_, block| Some([0x01, 0x78, 0, 0][block % 4]);
        inputs.a = with_scales(inputs.a, code);
        inputs.b1 = with_scales(inputs.b1, code);
        assert_like_steps(&inputs, WHOLE);
    }

    /// A quarter of each step's products are zeros times large elements, and do not count.
    #[test]
    fn a_zero_raises_no_grid() {
        let mut inputs = Inputs::new(InputKind::Full, 6, 20, 256, 1, 7).unwrap();
        let by_quad_thread = |codes: [u8; QUAD]| move |_, block| Some(codes[block / QUAD]);
        inputs.a = with_scales(inputs.a, by_quad_thread([0x00, 0x01, 0x30, 0x11]));
        inputs.b1 = with_scales(inputs.b1, by_quad_thread([0x7E, 0x01, 0x11, 0x30]));
        assert_like_steps(&inputs, WHOLE);
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
        let sum = |c, pairs: &[(Element, Element)]| add_products(c, pairs.iter().copied());
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
