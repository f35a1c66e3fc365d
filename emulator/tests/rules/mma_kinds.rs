//! `tcgen05.mma` of every kind: types, scale factors, and what modifies the product (PTX ISA §9.7.16.10).
//!
//! Sums are exact in f32; the arithmetic of inexact ones has its own suite beside the code.

use half::f16;

use super::mma::{A_AT, SFA, SFA_AT, kernel};
use super::mma_layouts::TRANSPOSED;
use super::mma_product::*;
use super::program::*;

/// A product of every kind, with and without scale factors.
pub fn examples() -> Vec<Program> {
    let plain = [("f16", BF16), ("tf32", TF32), ("f8f6f4", E5M2)]
        .map(|(kind, ty)| Product::new(kind, [ty; 2], 128, 64));
    let scaled = [("mxf8f6f4.block_scale", E2M3), ("mxf4.block_scale", E2M1)]
        .map(|(kind, ty)| Product::new(kind, [ty; 2], 128, 64).scaled());
    let mut integers = Product::new("i8", [Type { code: 1, ..E4M3 }; 2], 128, 64);
    integers.more = 2 << 4;
    let products = plain.iter().chain(&scaled).chain([&integers]);
    products
        .map(|product| product.program(&product.mma("%p18")))
        .collect()
}

#[test]
fn f16_bf16_and_tf32_are_multiplied() {
    for (kind, ty) in [("f16", F16), ("f16", BF16), ("tf32", TF32)] {
        for (m, n, majors) in [(128, 256, K_MAJOR), (128, 8, K_MAJOR_PLAIN)] {
            let product = Product::new(kind, [ty; 2], m, n).majors(majors, majors);
            product.check(&product.mma("%p18"), |m, n| product.dot(m, n));
        }
    }
}

/// Their own bit of the descriptor; each in the lower half of a word.
#[test]
fn f16_accumulators_take_half_a_word() {
    for (kind, ty) in [("f16", F16), ("f8f6f4", E4M3)] {
        let mut product = Product::new(kind, [ty; 2], 128, 64);
        product.more = 0;
        // The second MMA adds to the first.
        let body = product.mma("%p18") + &product.mma("%p19");
        product.check_words(
            &body,
            |m| m,
            |m, n| u32::from(f16::from_f64(2.0 * product.dot(m, n) + 0.0).to_bits()),
        );
    }
}

/// 6- and 4-bit elements: 16 of them in the first 12 or 8 of every 16 bytes.
#[test]
fn all_pairs_of_narrow_types_are_multiplied() {
    for a in NARROW {
        for b in NARROW {
            let product = Product::new("f8f6f4", [a, b], 128, 16).majors(K_MAJOR, K_MAJOR_PLAIN);
            product.check(&product.mma("%p18"), |m, n| product.dot(m, n));
        }
    }
}

/// One factor for 32 elements: any byte of a word.
#[test]
fn scale_factors_of_mxf8f6f4_are_single_bytes() {
    for (id_a, id_b) in [(0, 0), (1, 3), (3, 2)] {
        for [a, b] in [[E4M3, E4M3], [E2M1, E5M2]] {
            let product = Product::new("mxf8f6f4.block_scale", [a, b], 128, 136)
                .scaled()
                .more(id_a << 29 | id_b << 4);
            let first = [id_a as usize, id_b as usize];
            product.check(&product.mma("%p18"), |m, n| {
                product.dot_scaled(m, n, 32, first)
            });
        }
    }
}

/// Two factors for 64 elements: the lower or the upper half of a word. Four: all of it.
#[test]
fn ue8m0_scale_factors_of_fp4_are_half_words_or_words() {
    for kind in [
        "mxf4.block_scale",
        "mxf4nvf4.block_scale.scale_vec::2X",
        "mxf4.block_scale.block32",
    ] {
        for (id_a, id_b) in [(0, 0), (0, 2), (2, 0)] {
            let product = Product::new(kind, [E2M1; 2], 128, 40)
                .scaled()
                .more(id_a << 29 | id_b << 4);
            let first = [id_a as usize, id_b as usize];
            product.check(&product.mma("%p18"), |m, n| {
                product.dot_scaled(m, n, 32, first)
            });
        }
    }
    let product = Product::new("mxf4nvf4.block_scale.block16", [E2M1; 2], 128, 40).scaled();
    product.check(&product.mma("%p18"), |m, n| {
        product.dot_scaled(m, n, 16, [0, 0])
    });
}

#[test]
fn a_nan_scale_factor_spoils_its_row() {
    let product = Product::new("mxf8f6f4.block_scale", [E4M3; 2], 128, 8).scaled();
    let mut image = product.image();
    image[(SFA_AT - A_AT) as usize + 5 * 16] = 0xff;
    let body = kernel(&product.mma("%p18"));
    let out = Program::with_input(&body, &image).threads(128).run();
    for m in 0..128 {
        let is_nan = out[m * SFA as usize] == 0x7fff_ffff;
        assert_eq!(is_nan, m == 5, "row {m}");
    }
}

#[test]
fn integers_of_8_bits_are_multiplied() {
    for (a_signed, b_signed) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut product = Product::new("i8", [E4M3; 2], 128, 48);
        let code = |signed| Type {
            code: u32::from(signed),
            codes: [1, 255, 128, 127, 0, 200, 3],
            ..E4M3
        };
        (product.a.ty, product.b.ty) = (code(a_signed), code(b_signed));
        product.more = 2 << 4;
        let value = |matrix: &Matrix, row, k, signed| {
            let byte = matrix.code(row, k) as u8;
            if signed {
                i32::from(byte as i8)
            } else {
                i32::from(byte)
            }
        };
        product.check_words(
            &product.mma("%p18"),
            |m| m,
            |m, n| {
                let a = |k| value(&product.a, m, k, a_signed);
                let b = |k| value(&product.b, n, k, b_signed);
                (0..32).map(|k| a(k) * b(k)).sum::<i32>() as u32
            },
        );
    }
}

/// D of FRESH + products of ones: beyond the ends of s32 or not.
#[test]
fn integers_saturate_if_told_to() {
    for saturate in [false, true] {
        let mut product = Product::new("i8", [E4M3; 2], 128, 8);
        product.a.ty = Type {
            code: 0,
            codes: [255; 7],
            ..E4M3
        };
        product.b.ty = product.a.ty;
        product.more = 2 << 4 | u32::from(saturate) << 3;
        let most = format!(
            "mov.u32 %r40, 0x7fffffff;\ntcgen05.st.sync.aligned.32x32b.x8.b32 [%r4], {{{}}};\n\
             {STORED}",
            ["%r40"; 8].join(", ")
        );
        let sum = 0x7fff_ffffu32.wrapping_add(32 * 255 * 255);
        product.check_words(
            &(most + &product.mma("%p19")),
            |m| m,
            |_, _| if saturate { 0x7fff_ffff } else { sum },
        );
    }
}

/// D = A·B + D · 2^-s.
#[test]
fn the_input_d_can_be_scaled() {
    for (kind, ty) in [("f16", F16), ("tf32", TF32)] {
        for shift in [0, 1, 3, 15] {
            let product = Product::new(kind, [ty; 2], 128, 8);
            let body = product.mma("%p18") + &product.mma(&format!("%p19, {shift}"));
            let factor = 1.0 + 2f64.powi(-shift);
            product.check(&body, |m, n| product.dot(m, n) * factor);
        }
    }
    for (kind, ty, shift) in [("f16", F16, 16), ("f8f6f4", E4M3, 1)] {
        let product = Product::new(kind, [ty; 2], 128, 8);
        load_error(&kernel(&product.mma(&format!("%p19, {shift}"))));
    }
}

#[test]
fn disabled_lanes_are_left_alone() {
    let product = Product::new("f16", [F16; 2], 128, 16);
    let masks = [0x8000_0001u32, 0, 0xffff_ffff, 0x0000_ff00];
    let mut body = String::new();
    for (i, mask) in masks.iter().enumerate() {
        body += &format!("mov.u32 %r{}, {mask:#x};\n", 60 + i);
    }
    body += &product.mma("{%r60, %r61, %r62, %r63}, %p18");
    let out = product.program(&body).run();
    for m in 0..128 {
        for n in 0..16 {
            let wanted = match masks[m / 32] >> (m % 32) & 1 {
                1 => FRESH,
                _ => f32_bits(product.dot(m, n)),
            };
            assert_eq!(out[m * SFA as usize + n], wanted, "D[{m}, {n}]");
        }
    }
    let short = product.mma("{%r60, %r61}, %p18");
    assert!(load_error(&kernel(&short)).contains("needs 4"));
}

#[test]
fn every_floating_point_kind_can_negate() {
    for (kind, ty) in [("f16", F16), ("tf32", TF32), ("f8f6f4", E2M3)] {
        for bits in [1 << 13, 1 << 14, 3 << 13] {
            let product = Product::new(kind, [ty; 2], 128, 8).more(bits);
            let sign = if bits == 3 << 13 { 1.0 } else { -1.0 };
            product.check(&product.mma("%p18"), |m, n| sign * product.dot(m, n));
        }
    }
}

#[test]
fn instruction_descriptors_of_all_kinds_are_checked() {
    let f16 = || Product::new("f16", [F16; 2], 128, 64);
    let tf32 = || Product::new("tf32", [TF32; 2], 128, 64);
    let f8 = || Product::new("f8f6f4", [E4M3; 2], 128, 64);
    let mx = || Product::new("mxf8f6f4.block_scale", [E4M3; 2], 128, 64).scaled();
    let i8 = |n| {
        let mut product = Product::new("i8", [E4M3; 2], 128, n);
        product.more = 2 << 4;
        product
    };
    for (product, message) in [
        (f16().more(1), "reserved bits"),
        (f16().more(1 << 3), "reserved bits"),
        (f16().more(1 << 6), "reserved bits"),
        (f16().more(1 << 23), "reserved bits"),
        (f16().more(1 << 29), "reserved bits"),
        (f16().more(1 << 30), "reserved bits"),
        (f16().more(1 << 2), "sparse"),
        (f16().more(2 << 4), "D has type code 3"),
        (f16().more(2 << 7), "A has type code 2"),
        (tf32().more(1 << 10), "B has type code 3"),
        (tf32().more(2 << 4), "D has type code 3"),
        (f8().more(2 << 7), "A has type code 2"),
        (f8().more(6 << 10), "B has type code 6"),
        (mx().more(1 << 31), "reserved bits"),
        (mx().more(1), "reserved bits"),
        (i8(64).more(1 << 13), "cannot negate"),
        (i8(64).more(2 << 10), "B has type code 2"),
        (i8(40), "N = 40"),
        (Product::new("f16", [F16; 2], 32, 64), "M = 32"),
        (Product::new("f16", [F16; 2], 256, 64), "M = 256"),
        (
            Product::new("f8f6f4", [E4M3; 2], 128, 24).majors(K_MAJOR, TRANSPOSED[0]),
            "N = 24",
        ),
    ] {
        product.refused("%p18", message);
    }
    let mut bf16 = Product::new("f16", [BF16; 2], 128, 64);
    bf16.more = 0;
    bf16.refused("%p18", "D is f16, but A is not");
    let mut ue4m3 = mx();
    ue4m3.more = 0;
    ue4m3.refused("%p18", "Ue4m3 scales of 32 elements");
}

#[test]
fn forms_that_are_not_emulated_are_refused_by_name() {
    let mma = Product::new("f16", [F16; 2], 128, 64).mma("%p18");
    for (form, name) in [
        ("tcgen05.mma.ws.cta_group::1", "`.ws`"),
        ("tcgen05.mma.sp.cta_group::1", "`.sp`"),
    ] {
        let text = mma.replace("tcgen05.mma.cta_group::1", form);
        let error = load_error(&kernel(&text));
        assert!(error.contains(name), "{error}");
    }
    let shifted = mma.replace("kind::f16", "kind::f16.ashift");
    assert!(load_error(&kernel(&shifted)).contains("`.ashift`"));
    for (text, name) in [
        ("tcgen05.shift.cta_group::1.down [%r4];", "tcgen05.shift"),
        (
            "tcgen05.ld.red.sync.aligned.32x32b.x2.min.f32 {%r20, %r21}, %r22, [%r4];",
            "`.red`",
        ),
        (
            "tcgen05.cp.cta_group::1.128x128b.b8x16.b4x16_p64 [%r4], %rd20;",
            "b8x16",
        ),
        (
            "tcgen05.cp.cta_group::1.128x128b.b8x16.b6x16_p32 [%r4], %rd20;",
            "b8x16",
        ),
    ] {
        let error = load_error(&kernel(text));
        assert!(error.contains(name), "{error}");
    }
}
