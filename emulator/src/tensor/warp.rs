//! Matrix fragments in the registers of a warp, and products of them (PTX ISA §9.7.14.5, §9.7.15.5).
//!
//! All fragments of 16 rows follow one pattern. With `g` = lane / 4, `t` = lane % 4 and E elements in a 32-bit register:
//!
//! ```text
//! A, register r, element e:  row g + 8·(r & 1),  k = E·t + e + 4E·(r >> 1)
//! B, register r, element e:  column g,           k = E·t + e + 4E·r
//! D, element i:              row g + 8·(i >> 1 & 1),  column 2t + (i & 1) + 8·(i >> 2)
//! ```
//!
//! D's elements are numbered through its registers, the low half of a register first.

use super::arithmetic::{DotResult, DotVector};
use crate::isa::ir::LANES;
use crate::isa::matrix::{Accumulator, MatrixElement};

/// Rows of A and D that one warp holds.
pub const ROWS: usize = 16;

/// Row and column of D's element `index` in `lane`.
pub fn accumulator_position(lane: usize, index: usize) -> (usize, usize) {
    let row = lane / 4 + 8 * (index >> 1 & 1);
    let column = 2 * (lane % 4) + (index & 1) + 8 * (index >> 2);
    (row, column)
}

/// Rows of A or columns of B, decoded, along K.
#[derive(Clone, Debug)]
pub enum Lines {
    Float(Vec<DotVector>),
    Bytes(Vec<Vec<i32>>),
}

impl Lines {
    /// `count` lines of `k` elements whose codes `code(line, k)` gives.
    pub fn new(
        element: MatrixElement,
        negate: bool,
        count: usize,
        k: usize,
        code: impl Fn(usize, usize) -> u32,
    ) -> Lines {
        match element {
            MatrixElement::Float(format) => Lines::Float(
                (0..count)
                    .map(|line| DotVector::new(format, (0..k).map(|k| code(line, k)), negate))
                    .collect(),
            ),
            MatrixElement::Byte { signed } => {
                let value = |code: u32| match signed {
                    true => i32::from(code as i8),
                    false => i32::from(code as u8),
                };
                Lines::Bytes(
                    (0..count)
                        .map(|line| (0..k).map(|k| value(code(line, k))).collect())
                        .collect(),
                )
            }
        }
    }

    /// The 16 rows of an A fragment.
    pub fn of_a(
        element: MatrixElement,
        negate: bool,
        k: usize,
        registers: &[[u32; LANES]],
    ) -> Lines {
        let per = element.per_register() as usize;
        Lines::new(element, negate, ROWS, k, |row, k| {
            let register = row / 8 + 2 * (k / (4 * per));
            element_of(element, registers, register, row % 8, k % (4 * per))
        })
    }

    /// The 8 columns of a B fragment.
    pub fn of_b(element: MatrixElement, k: usize, registers: &[[u32; LANES]]) -> Lines {
        let per = element.per_register() as usize;
        Lines::new(element, false, 8, k, |column, k| {
            element_of(element, registers, k / (4 * per), column, k % (4 * per))
        })
    }
}

/// The element `k` of the 4·E that the four lanes of a group hold in one register.
fn element_of(
    element: MatrixElement,
    registers: &[[u32; LANES]],
    register: usize,
    group: usize,
    k: usize,
) -> u32 {
    let per = element.per_register() as usize;
    let word = registers[register][4 * group + k / per];
    let bits = element.bits();
    word >> (bits as usize * (k % per)) & (u32::MAX >> (32 - bits))
}

/// `c` + a · b of floating-point elements.
pub type FloatDot = fn(DotResult, &DotVector, &DotVector, u32) -> u32;

/// `c` + `A[row] · B[column]`; `c` and the result are codes of the accumulator's type.
pub fn multiply(
    accumulator: Accumulator,
    float_dot: FloatDot,
    (a, row): (&Lines, usize),
    (b, column): (&Lines, usize),
    c: u32,
) -> u32 {
    match (a, b) {
        (Lines::Float(a), Lines::Float(b)) => {
            let result = match accumulator {
                Accumulator::F16 => DotResult::F16,
                _ => DotResult::F32,
            };
            float_dot(result, &a[row], &b[column], c)
        }
        (Lines::Bytes(a), Lines::Bytes(b)) => {
            let products = a[row].iter().zip(&b[column]).map(|(a, b)| i64::from(a * b));
            let sum = products.sum::<i64>() + i64::from(c as i32);
            match accumulator {
                Accumulator::S32 { saturate: true } => {
                    sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32
                }
                _ => sum as u32,
            }
        }
        // The decoder lets no float meet an integer.
        _ => c,
    }
}

/// Replaces D's fragment of `columns` columns by D + A·B. Where `accumulate` is false, D's old values do not count.
pub fn accumulate(
    accumulator: Accumulator,
    float_dot: FloatDot,
    a: &Lines,
    b: &Lines,
    accumulate: bool,
    d: &mut [[u32; LANES]],
) {
    let per = accumulator.per_register() as usize;
    let bits = 32 / per;
    for (register, words) in d.iter_mut().enumerate() {
        for (lane, word) in words.iter_mut().enumerate() {
            let old = if accumulate { *word } else { 0 };
            *word = (0..per).fold(0, |new, part| {
                let (row, column) = accumulator_position(lane, register * per + part);
                let c = old >> (bits * part) & (u32::MAX >> (32 - bits));
                new | multiply(accumulator, float_dot, (a, row), (b, column), c) << (bits * part)
            });
        }
    }
}
