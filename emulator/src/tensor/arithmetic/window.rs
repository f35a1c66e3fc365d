//! The summation window for eight elements of D at once, in f64.
//!
//! Why f64 is exact here. With d the integer sum of 16 doubled products (|d| ≤ 16·12·12 = 2304), a group contributes
//! T = d·sa·sb/4. A scale is a significand of 4 bits times 2^(raw-3), raw in -6..=8; with s = raw(sa) + raw(sb), T is a
//! multiple of 2^(s-8) and |T| < 2^(s+11). So T has at most 20 significant bits.
//!
//! The reference's two cases reduce to one quantum. A product's raw exponent exceeds its scale pair's by at most 4
//! (elements have raw 0, 1 or 2), hence S ≤ R ≤ S + 4, and R - 39 ≤ S - 35. With c the raw exponent of C ≠ 0:
//! - c ≥ R, C dominates: the quantum is 2^(c-35), and c ≥ S;
//! - c < R: c - 39 < R - 39 ≤ S - 35, so the quantum is 2^(S-35).
//!
//! Where all groups' T are multiples of the quantum, sums of 4 products and of 16 alike lose nothing, and which case
//! holds between S and R does not matter: for S ≤ c < R the quantum may be taken as 2^(c-35) as well, since C and T are
//! multiples of either. So with `top` = max(S, c):
//!
//!   D = toward-zero(trunc(C) + Σ trunc(T)) at the quantum 2^(top-35)
//!
//! holds if the T are multiples of the quantum (top - low ≤ 27, low being the least s of a nonzero group), or if c ≥ S +
//! 4, when C surely dominates and the reference truncates the same four sums. Everything else is left to the reference.
//!
//! In units of the quantum each |T| < 2^(s+11-top+35) ≤ 2^46 and |C| < 2^36: integers below 2^49 in total, exact in f64.

use super::formats::*;
use super::pack::{ColumnBlock, LANES, Row, power_of_two};
use super::reference::dot64_reference;

/// The integer dot products of four groups, of eight columns each.
pub type GroupSums = [[i32; LANES]; GROUPS];

/// Fractional bits of the window.
const WINDOW: i32 = 35;

/// The largest `top - low` at which no product has bits below the quantum.
const EXACT_SPAN: i32 = WINDOW - 8;

/// Largest excess of a product's raw exponent over its scale pair's.
const ELEMENT_RAW: i32 = 4;

/// Bits of C below its leading one, plus this, fit the window below S: C at 2^(S-12) and above is never truncated.
const EXACT_BELOW: i32 = WINDOW - F32_MANTISSA_BITS as i32;

/// Below every exponent.
const NONE: i32 = -1000;

/// The f32 exponent fields for which C and a row's products add up exactly; C = +0 always does.
///
/// C's last bit is at or above the window's end if c ≥ S - 12. No product reaches below the window if max(S, c) ≤ low +
/// 27. The sum then spans at most 49 bits: from min(low - 8, c - 23) to max(S + 14, c + 2).
#[derive(Clone, Copy, Debug)]
pub struct ExactFields {
    pub first: i32,
    pub last: i32,
}

/// Says for which C the plain f64 sum of a row's products with a block's columns is exact; `None` if for no C.
#[inline(always)]
pub fn exact_fields(row: &Row, block: &ColumnBlock) -> Option<ExactFields> {
    let low = row.span.low + block.span.low;
    let high = row.span.high + block.span.high;
    if row.has_nan || block.has_nan || high - low > EXACT_SPAN {
        return None;
    }
    Some(ExactFields {
        first: high - EXACT_BELOW + F32_EXPONENT_BIAS,
        last: low + EXACT_SPAN + F32_EXPONENT_BIAS,
    })
}

impl ExactFields {
    /// Whether all of `c` qualify. Branch-free, for the vectoriser's sake.
    #[inline(always)]
    pub fn admit(self, c: &[u32; LANES]) -> bool {
        let width = (self.last - self.first) as u32;
        let outside = c.map(|c| {
            let field = (c >> F32_MANTISSA_BITS & 0xff) as i32;
            u32::from(c != 0) & u32::from((field - self.first) as u32 > width)
        });
        outside.iter().fold(0, |any, &outside| any | outside) == 0
    }
}

/// Truncates toward zero. `value` must be zero or in the range of normal f32, or above: that becomes infinite.
#[inline(always)]
pub fn f32_toward_zero(value: f64) -> u32 {
    const DROPPED: u64 = (1 << (52 - F32_MANTISSA_BITS)) - 1;
    let truncated = f64::from_bits(value.to_bits() & !DROPPED);
    (truncated as f32).to_bits()
}

/// Eight elements of D for any C.
#[inline(always)]
pub fn accumulate_windowed(row: &Row, block: &ColumnBlock, sums: &GroupSums, c: &mut [u32; LANES]) {
    let mut high = [NONE; LANES];
    let mut low = [-NONE; LANES];
    for g in 0..GROUPS {
        for n in 0..LANES {
            let s = row.raw[g] + block.raw[g][n];
            // All ones where a product is nonzero; selecting by mask keeps the loop free of branches.
            let mask = -i32::from(row.nonzero[g] & block.nonzero[g][n] != 0);
            high[n] = high[n].max(s & mask | NONE & !mask);
            low[n] = low[n].min(s & mask | -NONE & !mask);
        }
    }
    let mut quantum = [0; LANES];
    let mut is_covered = [0; LANES];
    for n in 0..LANES {
        let field = (c[n] >> F32_MANTISSA_BITS & 0xff) as i32;
        let raw = field.max(1) - F32_EXPONENT_BIAS;
        let raw = if c[n] << 1 == 0 { NONE } else { raw };
        let top = high[n].max(raw);
        quantum[n] = top - WINDOW;
        let products_fit = top - low[n] <= EXACT_SPAN;
        let c_dominates = raw >= high[n] + ELEMENT_RAW;
        let is_finite = (field != 0xff) & (high[n] != NONE);
        is_covered[n] = u32::from((products_fit | c_dominates) & is_finite);
    }
    let mut result = [0; LANES];
    for n in 0..LANES {
        let per_unit = power_of_two(-quantum[n]);
        // Starting from +0 makes an empty sum +0.
        let mut units = 0.0;
        for (g, sums) in sums.iter().enumerate() {
            let scale = row.quarter_scale[g] * block.scale[g][n];
            units += (f64::from(sums[n]) * scale * per_unit).trunc();
        }
        units += (f64::from(f32::from_bits(c[n])) * per_unit).trunc();
        result[n] = f32_toward_zero(units * power_of_two(quantum[n]));
    }
    let all_covered = is_covered.iter().fold(1, |all, &covered| all & covered) != 0;
    if row.has_nan | block.has_nan | !all_covered {
        for n in 0..LANES {
            if row.has_nan || block.is_nan[n] {
                result[n] = CANONICAL_NAN;
            } else if high[n] == NONE && c[n] & F32_INFINITY != F32_INFINITY {
                result[n] = c[n];
            } else if is_covered[n] == 0 {
                result[n] = by_reference(row, block, n, c[n]);
            }
        }
    }
    *c = result;
}

#[cold]
fn by_reference(row: &Row, block: &ColumnBlock, n: usize, c: u32) -> u32 {
    let (a, b) = (&row.source, &block.source[n]);
    dot64_reference(&a.elements, &b.elements, a.scales, b.scales, c)
}
