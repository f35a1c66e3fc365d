//! `mma.sync` (PTX ISA §9.7.14.5): the fragments of each type, what is exact in each format, special values, and what is
//! refused. The arithmetic of inexact sums is checked by `tests/golden.rs` and by the models beside it.

use half::{bf16, f16};

use super::program::*;

/// One type of A and B: its name, K, and the codes of small integers.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    k: usize,
    bits: usize,
    encode: fn(i32) -> u32,
}

fn e4m3(value: i32) -> u32 {
    let magnitude = [0x00, 0x38, 0x40, 0x44][value.unsigned_abs() as usize];
    magnitude | u32::from(value < 0) << 7
}

fn e5m2(value: i32) -> u32 {
    let magnitude = [0x00, 0x3c, 0x40, 0x42][value.unsigned_abs() as usize];
    magnitude | u32::from(value < 0) << 7
}

fn half_code(value: i32) -> u32 {
    f16::from_f32(value as f32).to_bits().into()
}

const KINDS: [Kind; 12] = [
    Kind {
        name: "f16",
        k: 8,
        bits: 16,
        encode: half_code,
    },
    Kind {
        name: "f16",
        k: 16,
        bits: 16,
        encode: half_code,
    },
    Kind {
        name: "bf16",
        k: 8,
        bits: 16,
        encode: |v| bf16::from_f32(v as f32).to_bits().into(),
    },
    Kind {
        name: "bf16",
        k: 16,
        bits: 16,
        encode: |v| bf16::from_f32(v as f32).to_bits().into(),
    },
    Kind {
        name: "tf32",
        k: 4,
        bits: 32,
        encode: |v| (v as f32).to_bits(),
    },
    Kind {
        name: "tf32",
        k: 8,
        bits: 32,
        encode: |v| (v as f32).to_bits(),
    },
    Kind {
        name: "e4m3",
        k: 16,
        bits: 8,
        encode: e4m3,
    },
    Kind {
        name: "e4m3",
        k: 32,
        bits: 8,
        encode: e4m3,
    },
    Kind {
        name: "e5m2",
        k: 16,
        bits: 8,
        encode: e5m2,
    },
    Kind {
        name: "e5m2",
        k: 32,
        bits: 8,
        encode: e5m2,
    },
    Kind {
        name: "s8",
        k: 16,
        bits: 8,
        encode: |v| v as u32 & 0xff,
    },
    Kind {
        name: "s8",
        k: 32,
        bits: 8,
        encode: |v| v as u32 & 0xff,
    },
];

/// Row and k of element `i` of A, as the figures of PTX ISA §9.7.14.5 number them: registers hold consecutive elements;
/// lanes 4g to 4g + 3 hold rows g and g + 8.
fn place_of_a(kind: Kind, lane: usize, i: usize) -> (usize, usize) {
    let per = 32 / kind.bits;
    let (register, element) = (i / per, i % per);
    let row = lane / 4 + if register % 2 == 1 { 8 } else { 0 };
    let k = lane % 4 * per + element + if register >= 2 { 4 * per } else { 0 };
    (row, k)
}

/// k and column of element `i` of B.
fn place_of_b(kind: Kind, lane: usize, i: usize) -> (usize, usize) {
    let per = 32 / kind.bits;
    let k = lane % 4 * per + i % per + if i / per == 1 { 4 * per } else { 0 };
    (k, lane / 4)
}

/// Row and column of element `i` of C and D.
fn place_of_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + if i >= 2 { 8 } else { 0 }, lane % 4 * 2 + i % 2)
}

/// Kernel: registers are loaded from words 32·i + lane of the input, A first, then B, then C.
fn program(instruction: &str, a: usize, b: usize, c: usize, input: &[u32]) -> Program {
    let mut text =
        "mul.wide.u32 %rd3, %r0, 4; add.u64 %rd4, %rd3, %rd1; add.u64 %rd3, %rd3, %rd0;\n"
            .to_owned();
    for i in 0..a + b + c {
        text += &format!("ld.global.b32 %r{}, [%rd4+{}];\n", 10 + i, 128 * i);
    }
    let vector = |from: usize, count: usize| {
        let names: Vec<String> = (0..count).map(|i| format!("%r{}", from + i)).collect();
        format!("{{{}}}", names.join(", "))
    };
    text += &format!(
        "{instruction} {}, {}, {}, {};\n",
        vector(30, c),
        vector(10, a),
        vector(10 + a, b),
        vector(10 + a + b, c)
    );
    for i in 0..c {
        text += &format!("st.global.b32 [%rd3+{}], %r{};\n", 128 * i, 30 + i);
    }
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_le_bytes()).collect();
    Program::with_input(&text, &bytes)
}

/// A product of f16 matrices.
pub fn example() -> Program {
    let instruction = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32";
    program(instruction, 4, 2, 4, &[0x3C00_4000; 320])
}

/// Small integers without a pattern.
fn integers(count: usize, least: i32, most: i32) -> Vec<i32> {
    noise(4 * count)
        .chunks_exact(4)
        .map(|b| {
            let word = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            least + (word % (most - least + 1) as u32) as i32
        })
        .collect()
}

fn check(kind: Kind, accumulator: &str) {
    let Kind {
        name,
        k,
        bits,
        encode,
    } = kind;
    let per = 32 / bits;
    let (a_registers, b_registers) = (k * bits / 64, k * bits / 128);
    let per_c = if accumulator == "f16" { 2 } else { 1 };
    let c_registers = 4 / per_c;
    let values = integers(16 * k + 8 * k + 128, -3, 3);
    let (a, rest) = values.split_at(16 * k);
    let (b, c) = rest.split_at(8 * k);
    let encode_c = |value: i32| match accumulator {
        "f16" => half_code(value),
        "f32" => (value as f32).to_bits(),
        _ => value as u32,
    };
    let mut input = vec![0u32; 32 * (a_registers + b_registers + c_registers)];
    for lane in 0..32 {
        for i in 0..a_registers * per {
            let (row, at) = place_of_a(kind, lane, i);
            input[32 * (i / per) + lane] |= encode(a[row * k + at]) << (bits * (i % per));
        }
        for i in 0..b_registers * per {
            let (at, column) = place_of_b(kind, lane, i);
            let word = 32 * (a_registers + i / per) + lane;
            input[word] |= encode(b[column * k + at]) << (bits * (i % per));
        }
        for i in 0..4 {
            let (row, column) = place_of_c(lane, i);
            let word = 32 * (a_registers + b_registers + i / per_c) + lane;
            input[word] |= encode_c(c[row * 8 + column]) << (16 * (i % per_c));
        }
    }
    let instruction =
        format!("mma.sync.aligned.m16n8k{k}.row.col.{accumulator}.{name}.{name}.{accumulator}");
    let out = program(&instruction, a_registers, b_registers, c_registers, &input).run();
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = place_of_c(lane, i);
            let sum: i32 = (0..k).map(|at| a[row * k + at] * b[column * k + at]).sum();
            let expected = encode_c(sum + c[row * 8 + column]);
            let word = out[32 * (i / per_c) + lane];
            let found = if per_c == 2 {
                word >> (16 * (i % 2)) & 0xffff
            } else {
                word
            };
            assert_eq!(found, expected, "{instruction}: lane {lane}, element {i}");
        }
    }
}

#[test]
fn each_type_has_its_fragments() {
    for kind in KINDS {
        check(kind, if kind.name == "s8" { "s32" } else { "f32" });
    }
}

#[test]
fn accumulators_may_be_f16() {
    for kind in KINDS {
        if matches!(kind.name, "f16" | "e4m3" | "e5m2") {
            check(kind, "f16");
        }
    }
}

/// One product in every element of D: A's row 0 and B's column 0 hold `a` and `b` at k = 0, C is `c`.
fn one_element(instruction: &str, a: u32, b: u32, c: u32) -> u32 {
    let mut input = vec![0; 32 * 10];
    input[0] = a;
    input[32 * 4] = b;
    input[32 * 6] = c;
    program(instruction, 4, 2, 4, &input).run()[0]
}

#[test]
fn special_values_follow_ieee_754_with_one_nan() {
    let mma = |a, b, c| {
        let instruction = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32";
        one_element(instruction, a, b, c)
    };
    const INFINITY: u32 = 0x7f80_0000;
    assert_eq!(mma(0x7c00, 0x3c00, 0), INFINITY);
    assert_eq!(mma(0x7c00, 0xbc00, 0), INFINITY | 1 << 31);
    assert_eq!(mma(0x3c00, 0x3c00, INFINITY), INFINITY);
    assert_eq!(mma(0x7c00, 0xbc00, INFINITY), 0x7fff_ffff);
    assert_eq!(mma(0x7c00, 0, 0), 0x7fff_ffff);
    assert_eq!(mma(0x7e01, 0x3c00, 0), 0x7fff_ffff);
    assert_eq!(mma(0, 0, 0xffc0_0001), 0x7fff_ffff);
}

/// 1 + 2^-24 is 1; the products are exact before they are added.
#[test]
fn sums_are_truncated_to_f32() {
    let mma = |a, b, c: f32| {
        let instruction = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32";
        f32::from_bits(one_element(instruction, a, b, c.to_bits()))
    };
    let below_one = 1.0 - f32::EPSILON / 2.0;
    // 2^-14 · 2^-11 = 2^-25, half of the last bit of the numbers below 1.
    assert_eq!(mma(0x0400, 0x1000, below_one), below_one);
    assert_eq!(mma(0x8400, 0x1000, 1.0), below_one);
}

#[test]
fn tf32_operands_are_truncated() {
    let instruction = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32";
    let mut input = vec![0; 32 * 10];
    input[0] = 0x3f80_1fff;
    input[32 * 4] = 0x3f80_0000;
    assert_eq!(program(instruction, 4, 2, 4, &input).run()[0], 0x3f80_0000);
}

#[test]
fn integer_sums_wrap_or_saturate() {
    let run = |suffix: &str| {
        let instruction = format!("mma.sync.aligned.m16n8k32.row.col{suffix}.s32.u8.s8.s32");
        let mut input = vec![0; 32 * 10];
        input[0] = 255;
        input[32 * 4] = 127;
        input[32 * 6] = i32::MAX as u32 - 1;
        program(&instruction, 4, 2, 4, &input).run()[0] as i32
    };
    assert_eq!(run(""), (i32::MAX - 1).wrapping_add(255 * 127));
    assert_eq!(run(".satfinite"), i32::MAX);
}

#[test]
fn what_is_not_modelled_is_refused_by_name() {
    let operands = "{%r10, %r11, %r12, %r13}, {%r14, %r15, %r16, %r17}, {%r18, %r19}, {%r20, %r21, %r22, %r23}";
    for (instruction, message) in [
        (
            "mma.sync.aligned.kind::mxf8f6f4.block_scale.scale_vec::1X.m16n8k32.row.col.f32.e4m3.e4m3.f32.ue8m0",
            "sm_120",
        ),
        (
            "mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32",
            "sparse",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32",
            "do not go together",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16",
            "do not go together",
        ),
        (
            "mma.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32",
            "does not go with these types",
        ),
        (
            "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32",
            "`.col`",
        ),
        (
            "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32",
            "needs one of `.m16n8k4`",
        ),
    ] {
        let error = load_error(&format!("{instruction} {operands};"));
        assert!(error.contains(message), "{error}");
    }
}
