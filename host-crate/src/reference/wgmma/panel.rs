//! Panels of rows in the order in which `wgmma` takes their elements, and products of one panel of A with
//! one of B, a step of 16 elements at a time.
//!
//! With C the accumulator, E its exponent, H the sum of the highest raw exponents of the step's nonzero
//! elements in a row and a column, and L that of the exponents of their lowest set bits, most steps of inputs
//! with scale factors of like size fulfil both:
//!
//! - *The sum of 16 products is exact* in f32, as `H − L ≤ 18`: it is a multiple of 2^L below 2^(H+6).
//! - *Nothing is cut* before the last rounding, as 2^(max(H, E) − 25), which no grid is coarser than, divides
//!   C and 2^L. The sum with C then has at most 32 bits, which f64 holds.
//!
//! In the others every term is cut by itself, in f64, which holds the terms in units of the grid.

use rayon::prelude::*;

use super::{
    FRACTION_BITS, KOrder, LEAST_EXPONENT, Products, STAGE, STEP, STEPS_PER_STAGE, place_of,
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
        self.highest[row] = self.highest[row].max(exponent.max(LEAST_EXPONENT));
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
        let left = add_sums(&mut sums[row], &of_step.map(f64::from), exponents);
        if left != 0 {
            add_terms(&mut sums[row], left, (a, row), b, step);
        }
    }
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
/// One bit for each column.
const ALL: u32 = (1 << B_ROWS) - 1;

/// Adds the sums of a step where they are exact and nothing is cut; returns the other columns.
#[inline(always)]
fn add_sums(sums: &mut Sums<B_ROWS>, of_step: &[f64; B_ROWS], exponents: StepExponents<'_>) -> u32 {
    let mut covered = [0u32; B_ROWS];
    let mut chain = [0.0f32; B_ROWS];
    let mut exact = [0.0f64; B_ROWS];
    for column in 0..B_ROWS {
        let c = sums.chain[column];
        let highest = exponents.highest + exponents.b.highest[column];
        let lowest = exponents.lowest + exponents.b.lowest[column];
        let grid = highest.max(exponent_field(c) - 127) - FRACTION_BITS;
        let c_units = f64::from(c) * power_of_two(-grid);
        let nothing_cut = (lowest >= grid) & (c_units.trunc() == c_units);
        covered[column] = u32::from(nothing_cut & (highest - lowest <= F32_SPAN)) << column;
        chain[column] = cut_to_f32(f64::from(c) + of_step[column]);
        exact[column] = sums.exact[column] + of_step[column];
    }
    let covered = covered.iter().fold(0, |all, bit| all | bit);
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
    ALL & !covered
}

/// Adds the terms of a step to the columns in `wanted`, each cut to the grid.
#[inline(always)]
fn add_terms(
    sums: &mut Sums<B_ROWS>,
    wanted: u32,
    (a, row): (&Panel<A_ROWS>, usize),
    b: &Panel<B_ROWS>,
    step: usize,
) {
    let mut highest = [i32::MIN; B_ROWS];
    for (a, b) in a.values[step].iter().zip(&b.values[step]) {
        let a_exponent = product_exponent(a[row]);
        for (highest, &b) in highest.iter_mut().zip(b) {
            *highest = (*highest).max(a_exponent + product_exponent(b));
        }
    }
    let mut grid = [0; B_ROWS];
    let mut units = [0.0f64; B_ROWS];
    for column in 0..B_ROWS {
        let c = sums.chain[column];
        grid[column] = highest[column].max(exponent_field(c) - 127) - FRACTION_BITS;
        units[column] = (f64::from(c) * power_of_two(-grid[column])).trunc();
    }
    let mut exact = sums.exact;
    for (a, b) in a.values[step].iter().zip(&b.values[step]) {
        let a = f64::from(a[row]);
        for column in 0..B_ROWS {
            let product = a * f64::from(b[column]);
            units[column] += (product * power_of_two(-grid[column])).trunc();
            exact[column] += product;
        }
    }
    for column in 0..B_ROWS {
        if wanted >> column & 1 == 1 {
            sums.chain[column] = cut_to_f32(units[column] * power_of_two(grid[column]));
            sums.exact[column] = exact[column];
        }
    }
}

/// The raw exponent with which a value enters a product's; that of 0 is lower than any sum of two others.
#[inline(always)]
fn product_exponent(value: f32) -> i32 {
    match exponent_field(value) {
        0 => -200,
        field => (field - 127).max(LEAST_EXPONENT),
    }
}

#[inline(always)]
fn exponent_field(value: f32) -> i32 {
    (value.to_bits() >> 23 & 0xFF) as i32
}

#[inline(always)]
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}
