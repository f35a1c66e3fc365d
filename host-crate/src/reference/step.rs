//! One K = 64 step of `tcgen05.mma.kind::mxf4nvf4` with ue4m3 scale factors, for one output.
//!
//! PTX leaves the accumulation order and rounding open. The rule below is what two models fitted to
//! the hardware agree on: MMA-Sim (arXiv 2511.10909) and sf-tensor/tcgen05 (`MODEL.md`, §5).
//! Exponents are *raw*: those of the fields, before a significand is normalised.
//!
//! - e2m1: significand `m` or `2 + m`, raw = max(e, 1) − 1, value = ±significand · 2^(raw−1);
//! - ue4m3: significand `m` or `8 + m`, raw = max(e, 1) − 7, value = significand · 2^(raw−3);
//! - a product's raw exponent is the sum of those of its four factors (two elements, two scale
//!   factors).
//!
//! Over the nonzero products, R is the largest raw exponent and S the largest sum of the raw
//! exponents of the two scale factors; `c.raw` is that of C. Everything is then cut to a grid 2^q,
//! toward zero, added, and the sum cut to f32:
//!
//! | case                      | q                           | cut to the grid                    |
//! |---------------------------|-----------------------------|------------------------------------|
//! | C ≠ 0 and `c.raw` ≥ R     | `c.raw` − 35                | C and the exact sums of 16 products|
//! | else                      | max(max(R, `c.raw`) − 39, S − 35) | C and the exact sums of 4 products |
//!
//! Before that: a NaN among scale factors or C gives [`NAN_BITS`], an infinite C is kept, and C is
//! kept if no product is nonzero.

use crate::format::{BLOCK, ue4m3};

/// Elements along K that one instruction multiplies.
pub const STEP: usize = 64;

/// Scale factors along K of one step.
pub const STEP_BLOCKS: usize = STEP / BLOCK;

/// The bits of the tensor core's NaN.
pub const NAN_BITS: u32 = 0x7FFF_FFFF;

/// The operands of one step for one output: a row of A or B, 64 packed elements and their four
/// scale factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// e2m1, the lower k in the low nibble.
    pub elements: [u8; STEP / 2],
    /// ue4m3, the one of the lowest k first.
    pub scales: [u8; STEP_BLOCKS],
}

/// The accumulator after the step, from the accumulator `c` before it.
pub fn step(c: f32, a: &StepRow, b: &StepRow) -> f32 {
    let scales = || a.scales.iter().chain(&b.scales);
    if c.is_nan() || scales().any(|&scale| ue4m3::is_nan(scale)) {
        return f32::from_bits(NAN_BITS);
    }
    if c.is_infinite() {
        return c;
    }
    let groups: [Group; STEP_BLOCKS] = std::array::from_fn(|index| Group::new(a, b, index));
    let nonzero = || {
        groups
            .iter()
            .filter(|group| group.highest_product.is_some())
    };
    let (Some(highest_product), Some(highest_scale)) = (
        nonzero().filter_map(|group| group.highest_product).max(),
        nonzero().map(|group| group.scale_exponent).max(),
    ) else {
        return c;
    };

    let c_exponent = raw_exponent(c);
    let dominated_by_c = c != 0.0 && c_exponent >= highest_product;
    let q = if dominated_by_c {
        c_exponent - 35
    } else if c == 0.0 {
        (highest_product - 39).max(highest_scale - 35)
    } else {
        (highest_product.max(c_exponent) - 39).max(highest_scale - 35)
    };
    let significand = (c.to_bits() & 0x7F_FFFF) | ((c.is_normal() as u32) << 23);
    let magnitude = shift_toward_zero(i64::from(significand), c_exponent - 23 - q);
    let mut units = if c.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    };
    for group in &groups {
        // A quarter sum counts products of doubled elements (2^-2) with integer significands of
        // scale factors (2^-6).
        let shift = group.scale_exponent - 8 - q;
        units += if dominated_by_c {
            shift_toward_zero(group.quarter_sums.iter().sum(), shift)
        } else {
            let quarters = group.quarter_sums.iter();
            quarters
                .map(|&sum| shift_toward_zero(sum, shift))
                .sum::<i64>()
        };
    }
    round_toward_zero(units, q)
}

/// Sixteen products under one pair of scale factors.
struct Group {
    /// Exact sums of four products each, in units of 2^(scale_exponent − 8).
    quarter_sums: [i64; 4],
    /// Sum of the raw exponents of both scale factors.
    scale_exponent: i32,
    /// The largest raw exponent among nonzero products.
    highest_product: Option<i32>,
}

impl Group {
    fn new(a: &StepRow, b: &StepRow, index: usize) -> Self {
        let (a_significand, a_exponent) = scale_fields(a.scales[index]);
        let (b_significand, b_exponent) = scale_fields(b.scales[index]);
        let scale_significand = a_significand * b_significand;
        let scale_exponent = a_exponent + b_exponent;
        let bytes = index * BLOCK / 2..(index + 1) * BLOCK / 2;
        let mut sums = [0i32; 4];
        let mut highest = ElementProduct::ZERO.exponent;
        let pairs = a.elements[bytes.clone()].iter().zip(&b.elements[bytes]);
        for (pair, (&a, &b)) in pairs.enumerate() {
            for product in [element_product(a, b), element_product(a >> 4, b >> 4)] {
                sums[pair / 2] += i32::from(product.quadrupled);
                highest = highest.max(product.exponent);
            }
        }
        let any = scale_significand != 0 && highest >= 0;
        Self {
            quarter_sums: sums.map(|sum| i64::from(sum * scale_significand)),
            scale_exponent,
            highest_product: any.then_some(i32::from(highest) + scale_exponent),
        }
    }
}

/// The product of two e2m1 elements.
#[derive(Clone, Copy)]
struct ElementProduct {
    /// Four times the product: both factors doubled, which makes them integers. At most 144.
    quadrupled: i16,
    /// The raw exponent, 0 to 4; −1 for a zero product.
    exponent: i16,
}

impl ElementProduct {
    const ZERO: Self = Self {
        quadrupled: 0,
        exponent: -1,
    };

    const fn new(a: usize, b: usize) -> Self {
        let (a_significand, a_exponent) = element_fields(a);
        let (b_significand, b_exponent) = element_fields(b);
        let exponent = a_exponent + b_exponent;
        let magnitude = (a_significand * b_significand) << exponent;
        match (magnitude, (a ^ b) & 8) {
            (0, _) => Self::ZERO,
            (_, 0) => Self {
                quadrupled: magnitude,
                exponent,
            },
            _ => Self {
                quadrupled: -magnitude,
                exponent,
            },
        }
    }
}

/// The product of every pair of codes, at index 16 a + b.
static ELEMENT_PRODUCTS: [ElementProduct; 256] = {
    let mut products = [ElementProduct::ZERO; 256];
    let mut index = 0;
    while index < 256 {
        products[index] = ElementProduct::new(index >> 4, index & 0xF);
        index += 1;
    }
    products
};

#[inline]
fn element_product(a: u8, b: u8) -> ElementProduct {
    ELEMENT_PRODUCTS[usize::from(a << 4 | (b & 0xF))]
}

/// Significand and raw exponent of an e2m1 code, without the sign.
const fn element_fields(code: usize) -> (i16, i16) {
    let (exponent, mantissa) = ((code >> 1 & 3) as i16, (code & 1) as i16);
    match exponent {
        0 => (mantissa, 0),
        _ => (2 + mantissa, exponent - 1),
    }
}

/// Significand and raw exponent of a ue4m3 code; bit 7 is ignored.
pub(super) fn scale_fields(code: u8) -> (i32, i32) {
    let (exponent, mantissa) = (i32::from(code >> 3 & 0xF), i32::from(code & 7));
    match exponent {
        0 => (mantissa, -6),
        _ => (8 + mantissa, exponent - 7),
    }
}

/// The raw exponent of a finite f32: that of the smallest normal number for zero and subnormals.
pub(super) fn raw_exponent(value: f32) -> i32 {
    ((value.to_bits() >> 23 & 0xFF) as i32).max(1) - 127
}

/// `value · 2^shift`, cut toward zero to an integer.
pub(super) fn shift_toward_zero(value: i64, shift: i32) -> i64 {
    if shift >= 0 {
        value << shift
    } else {
        value / (1i64 << (-shift).min(62))
    }
}

/// `units · 2^q` cut toward zero to f32; too large becomes infinite, zero is +0.
pub(super) fn round_toward_zero(units: i64, q: i32) -> f32 {
    // `units` has at most 49 bits: exact in f64, and far from f64's limits once scaled.
    let exact = units as f64 * f64::from_bits(((1023 + q) as u64) << 52);
    if exact.abs() >= 2f64.powi(128) {
        return f32::INFINITY.copysign(exact as f32);
    }
    cut_to_f32(exact)
}

/// A value that is zero or in f32's normal range, cut toward zero to f32.
#[inline(always)]
pub(super) fn cut_to_f32(value: f64) -> f32 {
    const EXTRA_FRACTION_BITS: u32 = 52 - 23;
    f64::from_bits(value.to_bits() & !((1 << EXTRA_FRACTION_BITS) - 1)) as f32
}
