//! The output that given accumulators should have: `silu(alpha1 · acc1) · (alpha2 · acc2)`, rounded
//! once to f16.
//!
//! With x = alpha1 · acc1 and g = alpha2 · acc2, both exact in f64 for f32 accumulators, and
//! silu(x) = x / (1 + e^−x), the value is computed to a relative error below 2^-50 before it is
//! rounded. Where it approaches x·g (large x) or x·g/2 (small x), either of which can lie exactly
//! between two f16 values, it is kept as a sum of two f64, so that the side it lies on is not lost.

use half::f16;
use rayon::prelude::*;

use super::Accumulators;

/// The outputs for all accumulators, in the same order.
pub fn outputs<T>(accumulators: &Accumulators<T>, alpha1: f32, alpha2: f32) -> Vec<f16>
where
    T: Copy + Into<f64> + Sync,
{
    let pairs = accumulators.acc1.par_iter().zip(&accumulators.acc2);
    pairs
        .map(|(&acc1, &acc2)| output(acc1.into(), acc2.into(), alpha1, alpha2))
        .collect()
}

/// The output for one pair of accumulators, to nearest even; beyond f16's range it is infinite.
///
/// NaN in any argument gives NaN. For infinite accumulators, which finite operands cannot produce,
/// silu has its limits −0 and ∞.
pub fn output(acc1: f64, acc2: f64, alpha1: f32, alpha2: f32) -> f16 {
    let x = f64::from(alpha1) * acc1;
    let gain = f64::from(alpha2) * acc2;
    let product = x * gain;
    if product == 0.0 || !product.is_finite() {
        let silu = if x == f64::NEG_INFINITY {
            -0.0
        } else {
            x * logistic(x)
        };
        return round_to_f16(silu * gain, 0.0);
    }
    if x <= -0.5 {
        return round_to_f16(product * logistic(x), 0.0);
    }
    let (value, rest) = if x < 0.5 {
        // 1 / (1 + e^-x) = (1 + tanh(x/2)) / 2
        let half = product / 2.0;
        let rest = half * (x / 2.0).tanh() + product_error(x, gain, product) / 2.0;
        (half, rest)
    } else {
        // 1 / (1 + e^-x) = 1 - 1 / (1 + e^x)
        let missing = product * logistic(-x);
        (product, product_error(x, gain, product) - missing)
    };
    let sum = value + rest;
    // Exact, as `value` is the larger (Dekker's fast two-sum).
    round_to_f16(sum, rest - (sum - value))
}

/// 1 / (1 + e^−x), without cancellation or overflow on either side.
fn logistic(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x < 0.0 {
        small / (1.0 + small)
    } else {
        1.0 / (1.0 + small)
    }
}

/// What rounding took from `product`, the rounded a · b.
fn product_error(a: f64, b: f64, product: f64) -> f64 {
    a.mul_add(b, -product)
}

/// `value + rest` to f16, nearest even; `rest` is at most half an ulp of `value`.
///
/// `half`'s conversion from f64 may round twice or look at the upper half of the fraction only.
fn round_to_f16(value: f64, rest: f64) -> f16 {
    if value.is_nan() {
        return f16::NAN;
    }
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let magnitude = round_to_odd(value.abs(), if value < 0.0 { -rest } else { rest });
    /// Halfway between the largest finite value, 65504, and the next step.
    const OVERFLOW: f64 = 65520.0;
    if magnitude >= OVERFLOW {
        return f16::from_bits(sign | f16::INFINITY.to_bits());
    }
    // Below 2^-14 the grid no longer shrinks. A significand rounded up to the next binade, or from
    // subnormal to normal, carries into the exponent by itself.
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(-14);
    let grid = f64::from_bits(((1023 + exponent - 10) as u64) << 52);
    let significand = (magnitude / grid).round_ties_even() as u16;
    f16::from_bits(sign | ((((exponent + 14) as u16) << 10) + significand))
}

/// `value + rest` cut toward zero to f64, with the last bit set if that lost anything: rounding the
/// result to a narrower format is then the same as rounding the sum.
fn round_to_odd(value: f64, rest: f64) -> f64 {
    let bits = value.to_bits();
    if rest == 0.0 || bits & 1 == 1 || value == 0.0 || value.is_infinite() {
        return value;
    }
    f64::from_bits(if rest > 0.0 { bits + 1 } else { bits - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn every_finite() -> impl Iterator<Item = f16> {
        (0..0x7C00u16).map(f16::from_bits)
    }

    #[test]
    fn rounding_is_to_nearest_even_everywhere() {
        for low in every_finite() {
            let next = f16::from_bits(low.to_bits() + 1);
            assert_eq!(round_to_f16(low.into(), 0.0), low);
            let upper = if next.is_finite() {
                f64::from(next)
            } else {
                65536.0
            };
            let middle = (f64::from(low) + upper) / 2.0;
            let even = if low.to_bits() & 1 == 0 { low } else { next };
            assert_eq!(round_to_f16(middle, 0.0), even, "tie above {low}");
            assert_eq!(round_to_f16(middle.next_down(), 0.0), low);
            assert_eq!(round_to_f16(middle.next_up(), 0.0), next);
            assert_eq!(round_to_f16(middle, 1e-300), next);
            assert_eq!(round_to_f16(middle, -1e-300), low);
            assert_eq!(round_to_f16(-middle, 1e-300), -low);
            assert_eq!(round_to_f16(-middle, -1e-300), -next);
        }
    }

    #[test]
    fn known_outputs() {
        let one = |acc1, acc2| output(acc1, acc2, 1.0, 1.0);
        assert_eq!(one(0.0, 5.0).to_bits(), 0);
        assert_eq!(one(0.0, -5.0).to_bits(), 0x8000);
        // silu(1) = 0.731058..., silu(-1) = -0.268941...
        assert_eq!(one(1.0, 1.0), f16::from_f32(0.731_058_6));
        assert_eq!(one(-1.0, 1.0), f16::from_f32(-0.268_941_43));
        assert_eq!(output(2.0, 3.0, 0.5, -1.0), f16::from_f32(-2.193_175_7));
        assert_eq!(one(100.0, 655.0), f16::from_f32(65500.0));
        assert_eq!(one(300.0, 300.0), f16::INFINITY);
        assert_eq!(one(300.0, -300.0), f16::NEG_INFINITY);
        assert_eq!(one(-800.0, 1e30).to_bits(), 0x8000);
        assert!(one(f64::NAN, 1.0).is_nan() && one(0.0, f64::NAN).is_nan());
        assert_eq!(one(f64::INFINITY, 1.0), f16::INFINITY);
        assert_eq!(one(f64::NEG_INFINITY, 1.0).to_bits(), 0x8000);
    }

    #[test]
    fn the_side_of_a_midpoint_is_kept() {
        // silu(64) = 64 - 1e-26: 64 · 32.015625 = 2049 lies between 2048 and 2050, the output just
        // below.
        assert_eq!(output(64.0, 32.015625, 1.0, 1.0).to_f32(), 2048.0);
        // 2051 lies between 2050 and 2052 (even): a tie would go up.
        assert_eq!(output(64.0, 32.046875, 1.0, 1.0).to_f32(), 2050.0);
        assert_eq!(output(64.0, -32.046875, 1.0, 1.0).to_f32(), -2050.0);
        // silu(x) = x/2 + x²/4: a negative x stays below the midpoint of magnitudes, a positive one
        // goes beyond.
        let x = 2f64.powi(-70);
        assert_eq!(output(x, 4098.0 / x, 1.0, 1.0).to_f32(), 2050.0);
        assert_eq!(output(-x, 4098.0 / x, 1.0, 1.0).to_f32(), -2048.0);
        assert_eq!(output(-x, 4102.0 / x, 1.0, 1.0).to_f32(), -2050.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn outputs_are_the_nearest_to_another_formula(
            acc1 in prop_oneof![-30.0..30.0f32, -1.0..1.0f32, -3000.0..3000.0f32],
            acc2 in -1000.0..1000.0f32,
            alpha1 in -2.0..2.0f32,
            alpha2 in -2.0..2.0f32,
        ) {
            let x = f64::from(alpha1) * f64::from(acc1);
            let value = x / (1.0 + (-x).exp()) * (f64::from(alpha2) * f64::from(acc2));
            let found = output(acc1.into(), acc2.into(), alpha1, alpha2);
            if found.is_infinite() {
                prop_assert!(value.abs() > 65520.0 * (1.0 - 1e-12));
                prop_assert_eq!(found.is_sign_negative(), value < 0.0);
            } else {
                let error = (f64::from(found) - value).abs();
                let ulp = 2f64.powi(value.abs().log2().floor().max(-14.0) as i32 - 10);
                prop_assert!(error <= ulp / 2.0 * (1.0 + 1e-9), "{} for {}", found, value);
            }
        }
    }
}
