//! E2M1 elements with UE8M0 scales: `.kind::mxf4`, and `.kind::mxf4nvf4` with scales of that type.
//!
//! sf-tensor's rule (`model.py`, `Tcgen05BlockScaledMmaModel`), with R the largest raw exponent of a nonzero product,
//! S that of the scale pair of a nonzero product, and c that of C ≠ 0: sums of 16 products are exact, and truncated at
//! 2^(c - 35) where c ≥ R, else at the larger of max(R, c) - 39 and S - 35, where a sum whose own products c outranks
//! is truncated at c - 35 as well.
//!
//! Here scales are powers of two and elements have raw exponents 0 to 2, so S ≤ R ≤ S + 4, and a sum with scale
//! exponent s is a multiple of 2^(s-2). All the cases come to one quantum, q = max(S, c) - 35, which is also MMA-Sim's:
//! - c ≥ R: then c ≥ S, and q = c - 35.
//! - c ≤ S: R - 39 ≤ S - 35 and c - 39 < S - 35, so q = S - 35.
//! - S < c < R: C is a multiple of 2^(c-23), so nothing of it is lost either way. A sum that c outranks is truncated at
//!   c - 35. One that it does not outrank has s ≥ c - 3, and loses nothing at c - 35.

use super::dot::decode_ue8m0;
use super::formats::{
    CANONICAL_NAN, F32_INFINITY, GROUP_ELEMENTS, GROUPS, K, ROW_BYTES, decode_e2m1, decode_f32,
};
use super::reference::{f32_toward_zero, truncate};

/// Fractional bits of the window.
const WINDOW: i32 = 35;

/// Where the result is subnormal, sums of a smaller scale than the largest vanish below this (sf-tensor
/// `product_subnormal_group_floor_exp`).
const SUBNORMAL_FLOOR: i32 = -174;

/// One row of an operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mxfp4Row {
    /// Twice each element.
    doubled: [i8; K],
    /// Exponents of the scales, by sum; `None` for the NaN.
    scales: [Option<i32>; GROUPS],
}

impl Mxfp4Row {
    /// `elements` are packed, the even one in the low nibble; `scales` are UE8M0, of 16 elements each.
    pub fn new(elements: &[u8; ROW_BYTES], scales: [u8; GROUPS]) -> Mxfp4Row {
        Mxfp4Row {
            doubled: std::array::from_fn(|k| {
                let nibble = elements[k / 2] >> (k % 2 * 4);
                DOUBLED[usize::from(nibble & 15)]
            }),
            scales: scales.map(decode_ue8m0),
        }
    }
}

/// Twice each E2M1 value.
const DOUBLED: [i8; 16] = {
    let mut values = [0; 16];
    let mut code = 0;
    while code < 16 {
        let value = decode_e2m1(code as u8);
        values[code] = (value.significand << (value.unit + 1)) as i8;
        code += 1;
    }
    values
};

/// An exact sum of products.
#[derive(Clone, Copy)]
struct Sum {
    /// In units of a quarter of the scales' product.
    quarters: i32,
    scale: i32,
    /// Whether one of its products is not zero.
    counts: bool,
}

/// C + Σ aₖ·bₖ·sa·sb, bit for bit; `c` and the result are f32. Any NaN gives 0x7fffffff, and where all products are zero
/// the result is C.
pub fn mxfp4_dot(a: &Mxfp4Row, b: &Mxfp4Row, c: u32) -> u32 {
    let mut sums = [Sum {
        quarters: 0,
        scale: 0,
        counts: false,
    }; GROUPS];
    for (i, sum) in sums.iter_mut().enumerate() {
        let (Some(scale_a), Some(scale_b)) = (a.scales[i], b.scales[i]) else {
            return CANONICAL_NAN;
        };
        sum.scale = scale_a + scale_b;
        for k in i * GROUP_ELEMENTS..(i + 1) * GROUP_ELEMENTS {
            let product = i32::from(a.doubled[k]) * i32::from(b.doubled[k]);
            sum.quarters += product;
            sum.counts |= product != 0;
        }
    }
    if c & F32_INFINITY == F32_INFINITY {
        let is_infinite = c << 9 == 0;
        return if is_infinite { c } else { CANONICAL_NAN };
    }
    let value = decode_f32(c);
    let counting = || sums.iter().filter(|sum| sum.counts);
    let Some(largest) = counting().map(|sum| sum.scale).max() else {
        return c;
    };
    let top = match value.significand {
        0 => largest,
        _ => largest.max(value.raw),
    };
    let quantum = top - WINDOW;
    let truncated = |sum: &Sum| truncate(sum.quarters.into(), sum.scale - 2, quantum);
    let from_c = match value.significand {
        0 => 0,
        significand => truncate(significand.into(), value.unit, quantum),
    };
    let total: i128 = counting().map(truncated).sum();
    let result = f32_toward_zero(from_c + total, quantum);

    let is_subnormal = result << 1 != 0 && result & F32_INFINITY == 0;
    if is_subnormal && quantum < SUBNORMAL_FLOOR {
        let least = 1i128.checked_shl((SUBNORMAL_FLOOR - quantum) as u32);
        let reaches = |units: i128| least.is_some_and(|least| units.abs() >= least);
        let total: i128 = counting()
            .map(|sum| (sum.scale, truncated(sum)))
            .filter(|(scale, units)| *scale == largest || reaches(*units))
            .map(|(_, units)| units)
            .sum();
        return f32_toward_zero(from_c + total, quantum);
    }
    result
}
