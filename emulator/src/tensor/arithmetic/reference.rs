//! The definition: one element of D, in exact integers.

use super::formats::*;

/// Fractional bits below the accumulator's exponent where it dominates, and below the largest scale exponent where it
/// does not.
const WINDOW: i32 = 35;

/// Fractional bits below the largest product's exponent.
const PRODUCT_WINDOW: i32 = 39;

/// Elements that are summed exactly before truncation where products dominate.
const QUAD: usize = 4;

/// Every product is a multiple of 2^-20: two elements contribute 2^-1 each, two scales 2^-9 each.
const PRODUCT_UNIT: i32 = -20;

/// `c` + Σ a·b·sa·sb, bit for bit as the tensor core computes it.
///
/// `a` and `b` hold 64 packed E2M1 elements each, `sa` and `sb` the UE4M3 scales of their groups of 16, `c` the bits of
/// the f32 accumulator (+0 where the instruction does not read it). Every result that involves a NaN is 0x7fffffff; a
/// scale's NaN counts even if its elements are zero.
///
/// With R the largest raw exponent of a nonzero product and S that of its scale pair:
/// - C ≠ 0 and its exponent ≥ R: the quantum is 35 bits below C's exponent, and four sums of 16 products are truncated;
/// - otherwise the quantum is the larger of max(R, C's exponent) - 39 and S - 35, and C and sixteen sums of 4 are.
pub fn dot64_reference(
    a: &[u8; ROW_BYTES],
    b: &[u8; ROW_BYTES],
    sa: [u8; GROUPS],
    sb: [u8; GROUPS],
    c: u32,
) -> u32 {
    let mut quads = [0i64; K / QUAD];
    let mut product_raw: Option<i32> = None;
    let mut scale_raw: Option<i32> = None;
    for group in 0..GROUPS {
        let (Some(sa), Some(sb)) = (decode_ue4m3(sa[group]), decode_ue4m3(sb[group])) else {
            return CANONICAL_NAN;
        };
        for k in group * GROUP_ELEMENTS..(group + 1) * GROUP_ELEMENTS {
            let (ak, bk) = (element(a, k), element(b, k));
            let factors = [ak, bk, sa, sb];
            let significand: i32 = factors.iter().map(|f| f.significand).product();
            let unit: i32 = factors.iter().map(|f| f.unit).sum();
            if significand != 0 {
                product_raw = product_raw.max(Some(factors.iter().map(|f| f.raw).sum()));
                scale_raw = scale_raw.max(Some(sa.raw + sb.raw));
            }
            quads[k / QUAD] += i64::from(significand) << (unit - PRODUCT_UNIT);
        }
    }
    let is_special = c & F32_INFINITY == F32_INFINITY;
    if is_special {
        let is_infinite = c << 9 == 0;
        return if is_infinite { c } else { CANONICAL_NAN };
    }
    let (Some(product_raw), Some(scale_raw)) = (product_raw, scale_raw) else {
        return c;
    };
    let c = decode_f32(c);
    let accumulator_dominates = c.significand != 0 && c.raw >= product_raw;
    let (quantum, terms_per_sum) = if accumulator_dominates {
        (c.raw - WINDOW, GROUP_ELEMENTS / QUAD)
    } else {
        let top = if c.significand != 0 {
            product_raw.max(c.raw)
        } else {
            product_raw
        };
        ((top - PRODUCT_WINDOW).max(scale_raw - WINDOW), 1)
    };
    let products: i128 = quads
        .chunks_exact(terms_per_sum)
        .map(|quads| truncate(quads.iter().sum(), PRODUCT_UNIT, quantum))
        .sum();
    let units = products + truncate(c.significand.into(), c.unit, quantum);
    f32_toward_zero(units, quantum)
}

fn element(row: &[u8; ROW_BYTES], k: usize) -> Decoded {
    decode_e2m1(row[k / 2] >> (k % 2 * 4))
}

/// `value` · 2^`unit` in units of 2^`quantum`, fractions dropped.
pub(super) fn truncate(value: i64, unit: i32, quantum: i32) -> i128 {
    let shift = quantum - unit;
    let magnitude = u128::from(value.unsigned_abs());
    let truncated = if shift > 0 {
        magnitude.checked_shr(shift.unsigned_abs()).unwrap_or(0)
    } else {
        // No set bit is lost: C has 24 bits and is shifted by at most 16, products stay below 2^46.
        magnitude << -shift
    };
    truncated as i128 * i128::from(value.signum())
}

/// The f32 next to `units` · 2^`quantum` toward zero. Beyond the largest f32 lies infinity; zero is positive.
pub(super) fn f32_toward_zero(units: i128, quantum: i32) -> u32 {
    let sign = if units < 0 { 1 << 31 } else { 0 };
    let magnitude = units.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let exponent = magnitude.ilog2() as i32 + quantum;
    if exponent > F32_EXPONENT_BIAS {
        return sign | F32_INFINITY;
    }
    // Subnormals share the least normal exponent.
    let exponent = exponent.max(1 - F32_EXPONENT_BIAS);
    let shift = quantum - (exponent - F32_MANTISSA_BITS as i32);
    let significand = if shift >= 0 {
        (magnitude << shift) as u32
    } else {
        magnitude.checked_shr(shift.unsigned_abs()).unwrap_or(0) as u32
    };
    if significand == 0 {
        return 0;
    }
    // The significand's top bit, where set, carries into the exponent field.
    let below = (exponent + F32_EXPONENT_BIAS - 1) as u32;
    sign | ((below << F32_MANTISSA_BITS) + significand)
}
