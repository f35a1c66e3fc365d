//! `mma.sync`.

use std::fmt::Write;

use super::numbers::*;
use super::{Case, module, push, vector};

fn case(k: usize, d: Type, a: Type, b: Type, numbers: Numbers) -> Case {
    const CTAS: u32 = 64;
    let name = format!("mma m16n8k{k} {}.{}.{} {numbers:?}", d.name, a.name, b.name);
    let mut random = Random::new(&name);
    let a_registers = k * a.bits as usize / 64;
    let b_registers = a_registers / 2;
    let c_registers = d.bits as usize / 8;
    let mut input = Vec::new();
    for _ in 0..CTAS {
        push(&mut input, a, 16 * k, || a.element(&mut random, numbers));
        push(&mut input, b, 8 * k, || b.element(&mut random, numbers));
        push(&mut input, d, 128, || {
            d.accumulator(&mut random, numbers, a, b)
        });
    }
    let mut body = "
    shl.b32 %r2, %r0, 2;
    cvt.u64.u32 %rd3, %r2;
    add.u64 %rd0, %rd0, %rd3;
    add.u64 %rd1, %rd1, %rd3;
"
    .to_owned();
    let mut at = 0;
    for (prefix, count) in [
        ("%a", a_registers),
        ("%b", b_registers),
        ("%c", c_registers),
    ] {
        for i in 0..count {
            writeln!(body, "    ld.global.b32 {prefix}{i}, [%rd1+{at}];").unwrap();
            at += 128;
        }
    }
    // C is declared as words; f32 operands take untyped registers.
    let (d_prefix, c_prefix) = match d {
        F32 => {
            for i in 0..4 {
                writeln!(body, "    mov.b32 %f{i}, %c{i};").unwrap();
            }
            ("%f", "%f")
        }
        _ => ("%w", "%c"),
    };
    writeln!(
        body,
        "    mma.sync.aligned.m16n8k{k}.row.col.{}.{}.{}.{} {}, {}, {}, {};",
        d.name,
        a.name,
        b.name,
        d.name,
        vector(d_prefix, c_registers),
        vector("%a", a_registers),
        vector("%b", b_registers),
        vector(c_prefix, c_registers),
    )
    .unwrap();
    for i in 0..c_registers {
        writeln!(body, "    st.global.b32 [%rd0+{}], {d_prefix}{i};", 128 * i).unwrap();
    }
    let output_words = 32 * c_registers;
    Case {
        ptx: module(at, output_words, 0, &body),
        name,
        ctas: CTAS,
        threads: 32,
        input,
        output_words: output_words * CTAS as usize,
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds = [
        (8, F32, F16, F16),
        (16, F32, F16, F16),
        (8, F16, F16, F16),
        (16, F16, F16, F16),
        (8, F32, BF16, BF16),
        (16, F32, BF16, BF16),
        (4, F32, TF32, TF32),
        (8, F32, TF32, TF32),
        (16, F32, E4M3, E4M3),
        (32, F32, E4M3, E4M3),
        (32, F32, E5M2, E5M2),
        (32, F32, E4M3, E5M2),
        (16, F16, E4M3, E4M3),
        (32, F16, E4M3, E4M3),
        (32, F16, E5M2, E4M3),
    ];
    for (k, d, a, b) in kinds {
        for numbers in NUMBERS {
            cases.push(case(k, d, a, b, numbers));
        }
    }
    for (k, a, b) in [(16, S8, S8), (32, S8, S8), (32, U8, S8), (32, U8, U8)] {
        cases.push(case(k, S32, a, b, Numbers::Wide));
    }
    cases
}
