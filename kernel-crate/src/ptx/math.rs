//! Arithmetic that Rust has no exact spelling for on this target.

use core::arch::asm;

use crate::silu::Arithmetic;

/// The device's own instructions.
pub struct Device;

macro_rules! unary {
    ($function:ident, $instruction:literal) => {
        #[inline(always)]
        fn $function(x: f32) -> f32 {
            let result: f32;
            // SAFETY: only computes a value.
            unsafe {
                asm!(concat!($instruction, " {0}, {1};"), out(reg32) result, in(reg32) x, options(nomem, nostack));
            }
            result
        }
    };
}

impl Arithmetic for Device {
    // PTX ISA §9.7.3.21: maximum relative error 2^-22.5 + 2^-23 over the full range.
    unary!(exp2_approx, "ex2.approx.ftz.f32");
    // PTX ISA §9.7.3.13: maximum error 1 ulp.
    unary!(reciprocal_approx, "rcp.approx.ftz.f32");

    #[inline(always)]
    fn max_propagating_nan(x: f32, y: f32) -> f32 {
        let result: f32;
        // SAFETY: only computes a value.
        unsafe {
            asm!(
                "max.NaN.f32 {0}, {1}, {2};",
                out(reg32) result,
                in(reg32) x,
                in(reg32) y,
                options(nomem, nostack),
            );
        }
        result
    }

    #[inline(always)]
    fn fused_multiply_add(x: f32, y: f32, z: f32) -> f32 {
        let result: f32;
        // SAFETY: only computes a value.
        unsafe {
            asm!(
                "fma.rn.f32 {0}, {1}, {2}, {3};",
                out(reg32) result,
                in(reg32) x,
                in(reg32) y,
                in(reg32) z,
                options(nomem, nostack),
            );
        }
        result
    }
}

/// Two f32 rounded to nearest even into f16, `low` in the low half. PTX ISA §9.7.9.21 `cvt`.
#[inline(always)]
pub fn pack_f16x2(low: f32, high: f32) -> u32 {
    let packed: u32;
    // SAFETY: only computes a value.
    unsafe {
        asm!(
            "cvt.rn.f16x2.f32 {0}, {1}, {2};",
            out(reg32) packed,
            in(reg32) high,
            in(reg32) low,
            options(nomem, nostack),
        );
    }
    packed
}
