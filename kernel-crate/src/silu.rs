//! The gate: `silu(x) · y` with `silu(x) = x / (1 + e^-x)`, in f32.
//!
//! The relative error of `silu` is at most 2^-20 for every finite x. Two things stand against that.
//! First, `e^-|x|` from `ex2.approx(-|x|·log2 e)` would inherit the rounding of the product, up to
//! 2^-17 for large |x|; so the exponent is split into an integer and a fraction that is computed
//! with two fused steps. Second, for negative x the result is `x·e^x` and small: below x = -87 the
//! exponential leaves the range of f32 long before `silu(x)·y` has left that of f16 when y is
//! large. So the exponential is carried with 2^64 too much, and y takes the 2^-64.

/// What the gate needs of the machine. The device has an instruction for each; tests stand in for
/// it on the host, with errors as large as the instructions are allowed to have.
pub trait Arithmetic {
    /// `2^x` for |x| ≤ 1/2, with a relative error of at most 2^-22.
    fn exp2_approx(x: f32) -> f32;
    /// `1/x` for x in [1, 2], with an error of at most 1 ulp.
    fn reciprocal_approx(x: f32) -> f32;
    /// `x·y + z`, rounded once.
    fn fused_multiply_add(x: f32, y: f32, z: f32) -> f32;
    /// The larger operand; NaN if either is.
    fn max_propagating_nan(x: f32, y: f32) -> f32;
}

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// What `LOG2_E` lacks of log2 e.
const LOG2_E_LOW: f32 = (core::f64::consts::LOG2_E - LOG2_E as f64) as f32;
/// Adding 1.5·2^23 leaves the nearest integer in the low bits of the sum.
const ROUND_TO_INTEGER: f32 = 12_582_912.0;
/// Below this, |silu(x)·y| < 2^-48 for every f32 y: zero in f16, whatever y is. It also keeps
/// `n + 64` a valid exponent.
const NEGATIVE_LIMIT: f32 = -128.0;
const TWO_POW_MINUS_64: f32 = 1.0 / 18_446_744_073_709_551_616.0;

/// `silu(x) · y`. NaN in, NaN out.
#[inline(always)]
pub fn gate<A: Arithmetic>(x: f32, y: f32) -> f32 {
    let negative = x < 0.0;
    let x = A::max_propagating_nan(x, NEGATIVE_LIMIT);
    let magnitude = (-x.abs()).max(NEGATIVE_LIMIT);

    // e^-|x| = 2^(n + fraction), n = rint(-|x|·log2 e).
    let shifted = A::fused_multiply_add(magnitude, LOG2_E, ROUND_TO_INTEGER);
    let minus_n = ROUND_TO_INTEGER - shifted;
    let fraction = A::fused_multiply_add(magnitude, LOG2_E, minus_n);
    let fraction = A::fused_multiply_add(magnitude, LOG2_E_LOW, fraction);
    let mantissa = A::exp2_approx(fraction);

    // mantissa · 2^(n + 64): the low bits of `shifted` are n, moved into the exponent field.
    let exponent = shifted.to_bits().wrapping_shl(23).wrapping_add(64 << 23);
    let scaled_exponential = f32::from_bits(mantissa.to_bits().wrapping_add(exponent));

    let denominator = A::fused_multiply_add(scaled_exponential, TWO_POW_MINUS_64, 1.0);
    let quotient = x * A::reciprocal_approx(denominator);
    if negative {
        (quotient * scaled_exponential) * (y * TWO_POW_MINUS_64)
    } else {
        quotient * y
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    /// Correctly rounded results, then moved by `EXP2_ERROR` and `RECIPROCAL_ERROR` ulps.
    struct Perturbed<const EXP2_ULPS: i32, const RECIPROCAL_ULPS: i32>;

    fn moved_by_ulps(x: f32, ulps: i32) -> f32 {
        f32::from_bits(x.to_bits().wrapping_add_signed(ulps))
    }

    impl<const E: i32, const R: i32> Arithmetic for Perturbed<E, R> {
        fn exp2_approx(x: f32) -> f32 {
            assert!(x.abs() <= 0.5001, "exp2 of {x}");
            moved_by_ulps((x as f64).exp2() as f32, E)
        }
        fn reciprocal_approx(x: f32) -> f32 {
            moved_by_ulps((1.0 / x as f64) as f32, R)
        }
        fn fused_multiply_add(x: f32, y: f32, z: f32) -> f32 {
            x.mul_add(y, z)
        }
        fn max_propagating_nan(x: f32, y: f32) -> f32 {
            if x.is_nan() { x } else { x.max(y) }
        }
    }

    fn exact(x: f64) -> f64 {
        if x >= 0.0 {
            x / (1.0 + (-x).exp())
        } else {
            x * x.exp() / (1.0 + x.exp())
        }
    }

    /// The largest relative error of `gate(x, y) / y` over a dense sweep of the finite x whose gate
    /// is a normal f32.
    fn worst_relative_error<A: Arithmetic>() -> f64 {
        let mut worst = 0.0f64;
        let mut bits = 0u32;
        while bits < 0x7f80_0000 {
            for sign in [0, 0x8000_0000] {
                let x = f32::from_bits(bits | sign);
                let y = if x < -80.0 { 1.0e30 } else { 1.0 };
                let want = exact(x as f64) * y as f64;
                if want.abs() < f32::MIN_POSITIVE as f64 || want.abs() > f32::MAX as f64 {
                    continue;
                }
                if x < NEGATIVE_LIMIT {
                    continue;
                }
                let got = gate::<A>(x, y) as f64;
                worst = worst.max(((got - want) / want).abs());
            }
            bits += 997;
        }
        worst
    }

    #[test]
    fn relative_error_is_below_2_pow_minus_20() {
        let bound = (2.0f64).powi(-20);
        // 2^-22.5 + 2^-23 relative is at most 5 ulp just above a power of two, 2.6 ulp just below:
        // 2 ulp of a mantissa in [0.7, 1) and in [1, 1.42) stand for it from both sides.
        for worst in [
            worst_relative_error::<Perturbed<0, 0>>(),
            worst_relative_error::<Perturbed<2, 1>>(),
            worst_relative_error::<Perturbed<2, -1>>(),
            worst_relative_error::<Perturbed<-2, 1>>(),
            worst_relative_error::<Perturbed<-2, -1>>(),
        ] {
            assert!(worst <= bound, "worst relative error 2^{}", worst.log2());
        }
    }

    #[test]
    fn limits() {
        type Exact = Perturbed<0, 0>;
        assert_eq!(gate::<Exact>(0.0, 3.0), 0.0);
        assert!(gate::<Exact>(f32::NAN, 1.0).is_nan());
        assert!(gate::<Exact>(-1.0, f32::NAN).is_nan());
        assert_eq!(gate::<Exact>(f32::INFINITY, 1.0), f32::INFINITY);
        // e^-x beats every y: the product is zero in f16.
        for x in [-129.0, -1.0e30, f32::NEG_INFINITY] {
            assert!(gate::<Exact>(x, f32::MAX).abs() < 2.0f32.powi(-25));
        }
    }
}
