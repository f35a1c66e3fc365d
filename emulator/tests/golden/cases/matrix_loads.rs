//! `ldmatrix`, `stmatrix` and `movmatrix`.

use std::fmt::Write;

use super::numbers::{Random, any_word};
use super::{Case, module, vector};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, transpose) in [
        ("ldmatrix", ""),
        ("ldmatrix.trans", ".trans"),
        ("stmatrix", ""),
        ("stmatrix.trans", ".trans"),
        ("movmatrix", ""),
    ] {
        let mut random = Random::new(name);
        let input: Vec<u8> = (0..128)
            .flat_map(|_| any_word(&mut random).to_le_bytes())
            .collect();
        let mut body = "
    mov.u32 %r2, smem;
    shl.b32 %r3, %r0, 2;
    cvt.u64.u32 %rd3, %r3;
    add.u64 %rd1, %rd1, %rd3;
    add.u64 %rd0, %rd0, %rd3;
    shl.b32 %r4, %r0, 4;
    add.u32 %r4, %r4, %r2;
    add.u32 %r5, %r2, %r3;
"
        .to_owned();
        for i in 0..4 {
            writeln!(body, "    ld.global.b32 %a{i}, [%rd1+{}];", 128 * i).unwrap();
        }
        if name.starts_with("ld") {
            for i in 0..4 {
                writeln!(body, "    st.shared.b32 [%r5+{}], %a{i};", 128 * i).unwrap();
            }
            writeln!(
                body,
                "    bar.sync 0;\n    ldmatrix.sync.aligned.m8n8.x4{transpose}.shared.b16 {}, [%r4];",
                vector("%b", 4)
            )
            .unwrap();
        } else if name.starts_with("st") {
            writeln!(
                body,
                "    stmatrix.sync.aligned.m8n8.x4{transpose}.shared.b16 [%r4], {};\n    bar.sync 0;",
                vector("%a", 4)
            )
            .unwrap();
            for i in 0..4 {
                writeln!(body, "    ld.shared.b32 %b{i}, [%r5+{}];", 128 * i).unwrap();
            }
        } else {
            for i in 0..4 {
                writeln!(
                    body,
                    "    movmatrix.sync.aligned.m8n8.trans.b16 %b{i}, %a{i};"
                )
                .unwrap();
            }
        }
        for i in 0..4 {
            writeln!(body, "    st.global.b32 [%rd0+{}], %b{i};", 128 * i).unwrap();
        }
        cases.push(Case {
            name: name.to_owned(),
            ptx: module(512, 128, 1024, &body),
            ctas: 1,
            threads: 32,
            input,
            output_words: 128,
        });
    }
    cases
}
