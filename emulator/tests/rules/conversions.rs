//! `cvt` (PTX ISA §9.7.9.21), and the widths of operands. What conversions compute is checked against a GPU's results by
//! `tests/golden`, for the formats of Hopper.

use super::program::*;

const REGISTERS: &str = ".reg .b8 %q; .reg .f32 %f<2>; .reg .f64 %fd;";

fn refused(instruction: &str) {
    let error = load_error(&format!("{REGISTERS} {instruction}"));
    assert!(error.contains(", needs a"), "{instruction}: {error}");
}

fn accepted(instructions: &[&str]) {
    Program::new(&format!("{REGISTERS} {}", instructions.concat()));
}

/// As ptxas 13.0 has it.
#[test]
fn conversions_take_wider_registers() {
    accepted(&[
        "cvt.rn.f16x2.f32 %rd3, %f0, %f1;",
        "cvt.f32.f16 %f0, %r10;",
        "cvt.rn.f16.f32 %r10, %f0;",
        "cvt.u64.u32 %rd3, %rd4;",
        "cvt.rzi.s32.f32 %rd3, %f0;",
        "cvt.rn.f32.s32 %f0, %rd3;",
    ]);
}

#[test]
fn conversions_do_not_take_narrower_registers() {
    for instruction in [
        "cvt.rn.f16x2.f32 %rs0, %f0, %f1;",
        "cvt.u32.u64 %r10, %r11;",
        "cvt.u32.u32 %rs0, %r11;",
        "cvt.rn.bf16.f32 %rs0, %rs1;",
    ] {
        refused(instruction);
    }
}

#[test]
fn narrow_pairs_and_tf32_have_registers_of_their_width() {
    accepted(&[
        "cvt.rn.satfinite.e4m3x2.f32 %rs0, %f0, %f1;",
        "cvt.rn.satfinite.e2m1x2.f32 %q, %f0, %f1;",
        "cvt.rn.f16x2.e2m1x2 %r10, %q;",
        "cvt.rn.tf32.f32 %r10, %f0;",
    ]);
    for instruction in [
        "cvt.rn.satfinite.e4m3x2.f32 %r10, %f0, %f1;",
        "cvt.rn.f16x2.e4m3x2 %r10, %r11;",
        "cvt.rn.satfinite.e2m1x2.f32 %rs0, %f0, %f1;",
        "cvt.rn.f16x2.e2m1x2 %r10, %rs0;",
        "cvt.rn.tf32.f32 %rd3, %f0;",
    ] {
        refused(instruction);
    }
}

#[test]
fn collectives_and_lop3_take_words() {
    for instruction in [
        "shfl.sync.bfly.b32 %rd3, %r10, 1, 31, -1;",
        "shfl.sync.bfly.b32 %r10, %rd3, 1, 31, -1;",
        "shfl.sync.bfly.b32 %r10|%r11, %r12, 1, 31, -1;",
        "vote.sync.ballot.b32 %rd3, %p0, -1;",
        "vote.sync.all.pred %r10, %p0, -1;",
        "match.any.sync.b64 %r10, %r11, -1;",
        "redux.sync.add.s32 %rd3, %r10, -1;",
        "elect.sync %rd3|%p0, -1;",
        "activemask.b32 %rd3;",
        "lop3.b32 %r10, %r11, %rd3, %r12, 0x80;",
        "lop3.b32 %rd3, %r10, %r11, %r12, 0x80;",
    ] {
        refused(instruction);
    }
}

#[test]
fn stores_do_not_take_narrower_registers() {
    accepted(&["st.global.u32 [%rd0], %rd3;", "st.global.f32 [%rd0], %r10;"]);
    refused("st.global.u32 [%rd0], %rs0;");
    refused("st.global.b32 [%rd0], %p1;");
}

#[test]
fn stochastic_rounding_is_refused() {
    let error = load_error(&format!(
        "{REGISTERS} cvt.rs.f16x2.f32 %r10, %f0, %f1, %r11;"
    ));
    assert!(error.contains("cvt.rs"), "{error}");
}
