//! Panels of rows in the order in which `wgmma` takes their elements, and products of one panel of A with
//! one of B, a step of 16 elements at a time.
//!
//! Almost every step has a result that f32 and f64 give exactly. With C the accumulator, E its exponent,
//! H the sum of the highest raw exponents of the step's nonzero elements in a row and a column, and L that
//! of the exponents of their lowest set bits:
//!
//! - *The sum of 16 products is exact* in f32 if `H − L ≤ 18`: it is a multiple of 2^L below 2^(H+6). In f64
//!   it is wherever nothing is cut.
//! - *Nothing is cut* before the last rounding if 2^(max(H, E) − 25), which no grid is coarser than, divides
//!   C and 2^L. The sum with C then has at most 32 bits.
//!
//! What does not fulfil both goes through [`add_products`] itself.

use rayon::prelude::*;

use super::{
    Element, FRACTION_BITS, KOrder, Products, STAGE, STEP, STEPS_PER_STAGE, add_products, place_of,
};
use crate::format::{BLOCK, e2m1, ue4m3};
use crate::matrix::Nvfp4MatrixView;
use crate::reference::panel::{A_ROWS, B_ROWS, Loops, block_sums};
use crate::reference::step::{NAN_BITS, cut_to_f32, raw_exponent};
use crate::reference::{Operands, RowBlock};

/// W consecutive rows of a matrix, decoded, transposed and filled up with zeros to W rows and whole stages.
struct Panel<const W: usize> {
    /// Elements times scale factors, by step, place in it and row.
    values: Vec<[[f32; W]; STEP]>,
    /// By step.
    exponents: Vec<Exponents<W>>,
    /// Rows that hold a NaN scale factor; in `values` it counts as zero.
    has_nan: [bool; W],
}

/// Of the nonzero elements of a step, by row: the highest exponent, and that of the lowest set bit.
#[derive(Clone, Copy)]
struct Exponents<const W: usize> {
    highest: [i32; W],
    lowest: [i32; W],
}

impl<const W: usize> Exponents<W> {
    /// No nonzero element: the empty range, yet within what can be added.
    const EMPTY: Self = Self {
        highest: [-100; W],
        lowest: [100; W],
    };

    fn include(&mut self, row: usize, value: f32) {
        if value == 0.0 {
            return;
        }
        let exponent = raw_exponent(value);
        let significand = value.to_bits() & 0x7F_FFFF | 1 << 23;
        let lowest = exponent - 23 + significand.trailing_zeros() as i32;
        self.highest[row] = self.highest[row].max(exponent.max(Element::LEAST_EXPONENT));
        self.lowest[row] = self.lowest[row].min(lowest);
    }
}

impl<const W: usize> Panel<W> {
    /// The panel that starts at `first_row`.
    fn decode(matrix: Nvfp4MatrixView<'_>, batch: usize, first_row: usize) -> Self {
        let shape = matrix.shape();
        let places = shape.columns().next_multiple_of(STAGE);
        let mut panel = Self {
            values: vec![[[0.0; W]; STEP]; places / STEP],
            exponents: vec![Exponents::EMPTY; places / STEP],
            has_nan: [false; W],
        };
        for lane in 0..W.min(shape.rows() - first_row) {
            panel.decode_row(matrix, batch, first_row + lane, lane);
        }
        panel
    }

    fn decode_row(&mut self, matrix: Nvfp4MatrixView<'_>, batch: usize, row: usize, lane: usize) {
        for (block, packed) in matrix.row(batch, row).chunks_exact(BLOCK / 2).enumerate() {
            let code = matrix.scale(batch, row, block);
            if ue4m3::is_nan(code) {
                self.has_nan[lane] = true;
                continue;
            }
            let scale = ue4m3::decode(code);
            for (pair, &byte) in packed.iter().enumerate() {
                for (nibble, element) in e2m1::decode_pair(byte).into_iter().enumerate() {
                    let place = place_of(block * BLOCK + 2 * pair + nibble);
                    let value = element * scale;
                    self.values[place / STEP][place % STEP][lane] = value;
                    self.exponents[place / STEP].include(lane, value);
                }
            }
        }
    }
}

/// Accumulators of one element of both kinds.
#[derive(Clone, Copy)]
struct Sums<const W: usize> {
    /// As the tensor core makes them.
    chain: [f32; W],
    exact: [f64; W],
}

/// A·Bᵀ for the rows of `block`, `[rows, N]`: as the tensor core makes it, and in f64.
pub(super) fn product(
    loops: Loops,
    operands: &Operands<'_>,
    b: Nvfp4MatrixView<'_>,
    block: &RowBlock,
    order: KOrder,
) -> Products {
    let a_panels: Vec<Panel<A_ROWS>> = block
        .rows
        .clone()
        .into_par_iter()
        .step_by(A_ROWS)
        .map(|row| Panel::decode(operands.a(), block.batch, row))
        .collect();
    let columns = b.shape().rows();
    let by_panel: Vec<Vec<Sums<B_ROWS>>> = (0..columns)
        .into_par_iter()
        .step_by(B_ROWS)
        .map(|column| {
            let b_panel = Panel::decode(b, block.batch, column);
            let tiles = a_panels.iter();
            tiles
                .flat_map(|a| tile(loops, a, &b_panel, order))
                .collect()
        })
        .collect();

    let elements = block.rows.len() * columns;
    let mut products = Products {
        chain: vec![0.0; elements],
        exact: vec![0.0; elements],
    };
    let rows = (products.chain.par_chunks_exact_mut(columns))
        .zip(products.exact.par_chunks_exact_mut(columns));
    rows.enumerate().for_each(|(row, (chain, exact))| {
        let panels = chain.chunks_mut(B_ROWS).zip(exact.chunks_mut(B_ROWS));
        for ((chain, exact), panel) in panels.zip(&by_panel) {
            chain.copy_from_slice(&panel[row].chain[..chain.len()]);
            exact.copy_from_slice(&panel[row].exact[..exact.len()]);
        }
    });
    products
}

/// All rows of a panel of A by one panel of B.
fn tile(
    loops: Loops,
    a: &Panel<A_ROWS>,
    b: &Panel<B_ROWS>,
    order: KOrder,
) -> [Sums<B_ROWS>; A_ROWS] {
    match loops {
        // SAFETY: only `Loops::best` makes this value, once it found both features.
        #[cfg(target_arch = "x86_64")]
        Loops::Avx2 => unsafe { tile_avx2(a, b, order) },
        Loops::Portable => tile_inline::<{ cfg!(target_arch = "aarch64") }>(a, b, order),
    }
}

/// # Safety
/// The CPU has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2(a: &Panel<A_ROWS>, b: &Panel<B_ROWS>, order: KOrder) -> [Sums<B_ROWS>; A_ROWS] {
    tile_inline::<true>(a, b, order)
}

#[inline(always)]
fn tile_inline<const FMA: bool>(
    a: &Panel<A_ROWS>,
    b: &Panel<B_ROWS>,
    order: KOrder,
) -> [Sums<B_ROWS>; A_ROWS] {
    const NONE: Sums<B_ROWS> = Sums {
        chain: [0.0; B_ROWS],
        exact: [0.0; B_ROWS],
    };
    let stages = a.values.len() / STEPS_PER_STAGE;
    let mut totals = [NONE; A_ROWS];
    for share in order.shares(stages) {
        let mut sums = totals.map(|total| Sums {
            chain: [0.0; B_ROWS],
            ..total
        });
        for step in share {
            add_step::<FMA>(&mut sums, a, b, step);
        }
        for (total, sums) in totals.iter_mut().zip(sums) {
            total.exact = sums.exact;
            for (total, sum) in total.chain.iter_mut().zip(sums.chain) {
                *total += sum;
            }
        }
    }
    for (row, total) in totals.iter_mut().enumerate() {
        for column in 0..B_ROWS {
            if a.has_nan[row] || b.has_nan[column] {
                total.chain[column] = f32::from_bits(NAN_BITS);
                total.exact[column] = f64::NAN;
            }
        }
    }
    totals
}

/// One `wgmma` for every row and column.
#[inline(always)]
fn add_step<const FMA: bool>(
    sums: &mut [Sums<B_ROWS>; A_ROWS],
    a: &Panel<A_ROWS>,
    b: &Panel<B_ROWS>,
    step: usize,
) {
    let of_step = block_sums::<FMA>(&a.values[step], &b.values[step]);
    for (row, of_step) in of_step.iter().enumerate() {
        let exponents = StepExponents {
            highest: a.exponents[step].highest[row],
            lowest: a.exponents[step].lowest[row],
            b: &b.exponents[step],
        };
        let sums = &mut sums[row];
        let mut left = add_sums::<F32_SPAN>(sums, ALL, &of_step.map(f64::from), exponents);
        if left != 0 {
            let of_step = step_in_f64::<FMA>(a, row, b, step);
            left = add_sums::<LARGEST_SPAN>(sums, left, &of_step, exponents);
        }
        if left != 0 {
            add_left(sums, left, (a, row), b, step);
        }
    }
}

/// The sums of a step for one row, in f64.
#[inline(always)]
fn step_in_f64<const FMA: bool>(
    a: &Panel<A_ROWS>,
    row: usize,
    b: &Panel<B_ROWS>,
    step: usize,
) -> [f64; B_ROWS] {
    let mut sums = [0.0f64; B_ROWS];
    for (a, b) in a.values[step].iter().zip(&b.values[step]) {
        let a = f64::from(a[row]);
        for (&b, sum) in b.iter().zip(&mut sums) {
            let b = f64::from(b);
            *sum = if FMA {
                a.mul_add(b, *sum)
            } else {
                a * b + *sum
            };
        }
    }
    sums
}

/// Those of one row of A and of every row of a panel of B.
#[derive(Clone, Copy)]
struct StepExponents<'a> {
    highest: i32,
    lowest: i32,
    b: &'a Exponents<B_ROWS>,
}

/// H − L up to which a sum of 16 products is exact in f32.
const F32_SPAN: i32 = 24 - 6;
/// The largest H − L of a step in which nothing is cut.
const LARGEST_SPAN: i32 = FRACTION_BITS;
/// One bit for each column.
const ALL: u32 = (1 << B_ROWS) - 1;

/// Adds to the columns in `wanted` what is exact if sums are up to a span of `SPAN`; returns the columns
/// that it had to leave.
#[inline(always)]
fn add_sums<const SPAN: i32>(
    sums: &mut Sums<B_ROWS>,
    wanted: u32,
    of_step: &[f64; B_ROWS],
    exponents: StepExponents<'_>,
) -> u32 {
    let mut covered = [0u32; B_ROWS];
    let mut chain = [0.0f32; B_ROWS];
    let mut exact = [0.0f64; B_ROWS];
    for column in 0..B_ROWS {
        let c = sums.chain[column];
        let c_exponent = (c.to_bits() >> 23 & 0xFF) as i32 - 127;
        let highest = exponents.highest + exponents.b.highest[column];
        let lowest = exponents.lowest + exponents.b.lowest[column];
        let grid = highest.max(c_exponent) - FRACTION_BITS;
        let c_units = f64::from(c) * f64::from_bits(((1023 - grid) as u64) << 52);
        let nothing_cut = (lowest >= grid) & (c_units.trunc() == c_units);
        covered[column] = u32::from(nothing_cut & (highest - lowest <= SPAN)) << column;
        chain[column] = cut_to_f32(f64::from(c) + of_step[column]);
        exact[column] = sums.exact[column] + of_step[column];
    }
    let covered = wanted & covered.iter().fold(0, |all, bit| all | bit);
    if covered == ALL {
        *sums = Sums { chain, exact };
        return 0;
    }
    for column in 0..B_ROWS {
        if covered >> column & 1 == 1 {
            sums.chain[column] = chain[column];
            sums.exact[column] = exact[column];
        }
    }
    wanted & !covered
}

#[cold]
fn add_left(
    sums: &mut Sums<B_ROWS>,
    left: u32,
    (a, row): (&Panel<A_ROWS>, usize),
    b: &Panel<B_ROWS>,
    step: usize,
) {
    for column in (0..B_ROWS).filter(|column| left >> column & 1 == 1) {
        let values = a.values[step].iter().zip(&b.values[step]);
        let values = values.map(|(a, b)| (a[row], b[column]));
        let elements = values
            .clone()
            .map(|(a, b)| (Element::new(a), Element::new(b)));
        // Each factor is 2^-7 of its value.
        sums.chain[column] = add_products(sums.chain[column] / 16_384.0, elements) * 16_384.0;
        sums.exact[column] += values
            .map(|(a, b)| f64::from(a) * f64::from(b))
            .sum::<f64>();
    }
}
