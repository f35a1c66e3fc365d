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

/// Product of two pairs of f16, rounded to nearest even. PTX ISA §9.7.4.3 `mul`.
#[inline(always)]
pub fn multiply_f16x2(x: u32, y: u32) -> u32 {
    let product: u32;
    // SAFETY: only computes a value.
    unsafe {
        asm!(
            "mul.rn.f16x2 {0}, {1}, {2};",
            out(reg32) product,
            in(reg32) x,
            in(reg32) y,
            options(pure, nomem, nostack),
        );
    }
    product
}

/// Absolute values of a pair of f16. PTX ISA §9.7.4.6 `abs`.
#[inline(always)]
pub fn absolute_f16x2(x: u32) -> u32 {
    let result: u32;
    // SAFETY: only computes a value.
    unsafe {
        asm!(
            "abs.f16x2 {0}, {1};",
            out(reg32) result,
            in(reg32) x,
            options(pure, nomem, nostack),
        );
    }
    result
}

/// Byte `i` of the result is the byte that hexadecimal digit `i` of `selector` names: 0–3 of `x`, 4–7 of
/// `y`. PTX ISA §9.7.9.7 `prmt`.
#[inline(always)]
pub fn permute_bytes(x: u32, y: u32, selector: u32) -> u32 {
    let result: u32;
    // SAFETY: only computes a value.
    unsafe {
        asm!(
            "prmt.b32 {0}, {1}, {2}, {3};",
            out(reg32) result,
            in(reg32) x,
            in(reg32) y,
            in(reg32) selector,
            options(pure, nomem, nostack),
        );
    }
    result
}

/// Two e4m3 in the low 16 bits to two f16, exactly. PTX ISA §9.7.9.21 `cvt`.
#[inline(always)]
pub fn e4m3x2_to_f16x2(bytes: u32) -> u32 {
    let pair: u32;
    // SAFETY: only computes a value.
    unsafe {
        asm!(
            "{{",
            ".reg .b16 both;",
            "cvt.u16.u32 both, {1};",
            "cvt.rn.f16x2.e4m3x2 {0}, both;",
            "}}",
            out(reg32) pair,
            in(reg32) bytes,
            options(pure, nomem, nostack),
        );
    }
    pair
}
