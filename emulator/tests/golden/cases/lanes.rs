//! Instructions that compute lane by lane: conversions, packed and scalar arithmetic.

use std::fmt::Write;

use super::numbers::{Random, any_f32, any_word};
use super::{Case, module};

const CTAS: usize = 32;
/// Of a CTA, and its words of output.
pub const THREADS: usize = 256;

/// Where an instruction finds its operands and leaves its result.
#[derive(Clone, Copy)]
pub struct Operands {
    /// Words of input per thread: `%a0`, `%a1`, `%a2`.
    words: usize,
    input: fn(&mut Random) -> u32,
    /// From there to the registers of the operands.
    load: &'static str,
    /// Result and operands.
    list: &'static str,
    /// From the result's register to `%r10`.
    store: &'static str,
}

pub const F32_TO_F32: Operands = Operands {
    words: 1,
    input: any_f32,
    load: "mov.b32 %f0, %a0;",
    list: "%f5, %f0",
    store: "mov.b32 %r10, %f5;",
};
const F32_TO_WORD: Operands = Operands {
    list: "%r10, %f0",
    store: "",
    ..F32_TO_F32
};
const F32_TO_HALF: Operands = Operands {
    list: "%h0, %f0",
    store: "cvt.u32.u16 %r10, %h0;",
    ..F32_TO_F32
};
pub const F32_PAIR_TO_F32: Operands = Operands {
    words: 2,
    load: "mov.b32 %f0, %a0; mov.b32 %f1, %a1;",
    list: "%f5, %f0, %f1",
    ..F32_TO_F32
};
const F32_PAIR_TO_WORD: Operands = Operands {
    list: "%r10, %f0, %f1",
    store: "",
    ..F32_PAIR_TO_F32
};
const F32_PAIR_TO_HALF: Operands = Operands {
    list: "%h0, %f0, %f1",
    store: "cvt.u32.u16 %r10, %h0;",
    ..F32_PAIR_TO_F32
};
pub const WORD_TO_WORD: Operands = Operands {
    words: 1,
    input: any_word,
    load: "",
    list: "%r10, %a0",
    store: "",
};
const TWO_WORDS_TO_WORD: Operands = Operands {
    words: 2,
    list: "%r10, %a0, %a1",
    ..WORD_TO_WORD
};
const THREE_WORDS_TO_WORD: Operands = Operands {
    words: 3,
    list: "%r10, %a0, %a1, %a2",
    ..WORD_TO_WORD
};
const WORD_TO_HALF: Operands = Operands {
    list: "%h0, %a0",
    store: "cvt.u32.u16 %r10, %h0;",
    ..WORD_TO_WORD
};
const HALF_TO_WORD: Operands = Operands {
    load: "cvt.u16.u32 %h0, %a0;",
    list: "%r10, %h0",
    ..WORD_TO_WORD
};

impl Operands {
    /// Words of input, for [`Self::case_of`].
    pub fn words(words: usize, input: fn(&mut Random) -> u32) -> Self {
        Operands {
            words,
            input,
            ..WORD_TO_WORD
        }
    }

    pub fn case(self, instruction: &str) -> Case {
        self.case_on(instruction, CTAS)
    }

    /// As [`Self::case`], on the inputs of that many CTAs.
    pub fn case_on(self, instruction: &str, ctas: usize) -> Case {
        let Operands {
            load, list, store, ..
        } = self;
        let statements = format!("{load}\n    {instruction} {list};\n    {store}");
        self.case_of_ctas(instruction, &statements, ctas, 0)
    }

    /// A program of statements that take the words and leave `%r10`.
    pub fn case_of(self, name: &str, statements: &str) -> Case {
        self.case_of_ctas(name, statements, CTAS, 0)
    }

    /// … and have shared memory.
    pub fn case_of_shared(self, name: &str, statements: &str, bytes: usize) -> Case {
        self.case_of_ctas(name, statements, CTAS, bytes)
    }

    fn case_of_ctas(self, name: &str, statements: &str, ctas: usize, shared_bytes: usize) -> Case {
        let words = self.words;
        let mut random = Random::new(name);
        let input: Vec<u8> = (0..ctas * THREADS * words)
            .flat_map(|_| (self.input)(&mut random).to_le_bytes())
            .collect();
        let mut body = format!(
            "
    mul.wide.u32 %rd3, %r0, {};
    add.u64 %rd1, %rd1, %rd3;
    mul.wide.u32 %rd3, %r0, 4;
    add.u64 %rd0, %rd0, %rd3;
",
            4 * words
        );
        for i in 0..words {
            writeln!(body, "    ld.global.b32 %a{i}, [%rd1+{}];", 4 * i).unwrap();
        }
        write!(body, "    {statements}\n    st.global.b32 [%rd0], %r10;\n").unwrap();
        Case {
            ptx: module(4 * words * THREADS, THREADS, shared_bytes, &body),
            name: name.to_owned(),
            ctas: ctas as u32,
            threads: THREADS as u32,
            input,
            output_words: ctas * THREADS,
        }
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = conversions();
    cases.extend(packed_arithmetic());
    cases.extend(f32_arithmetic());
    cases
}

fn conversions() -> Vec<Case> {
    let mut cases = Vec::new();
    for to in ["f16x2", "bf16x2"] {
        for modifiers in [
            "rn",
            "rz",
            "rn.relu",
            "rz.relu",
            "rn.satfinite",
            "rz.satfinite",
            "rn.relu.satfinite",
        ] {
            cases.push(F32_PAIR_TO_WORD.case(&format!("cvt.{modifiers}.{to}.f32")));
        }
    }
    for ty in ["e4m3x2", "e5m2x2"] {
        for relu in ["", ".relu"] {
            cases.push(F32_PAIR_TO_HALF.case(&format!("cvt.rn.satfinite{relu}.{ty}.f32")));
            cases.push(WORD_TO_HALF.case(&format!("cvt.rn.satfinite{relu}.{ty}.f16x2")));
            cases.push(HALF_TO_WORD.case(&format!("cvt.rn{relu}.f16x2.{ty}")));
        }
    }
    // `.rn.satfinite` and `.rz.satfinite` exist from sm_100 on.
    for modifiers in ["rna", "rn", "rz", "rn.relu", "rz.relu", "rna.satfinite"] {
        cases.push(F32_TO_WORD.case(&format!("cvt.{modifiers}.tf32.f32")));
    }
    for to in ["f16", "bf16"] {
        for modifiers in [
            "rn",
            "rz",
            "rn.relu",
            "rz.relu",
            "rn.satfinite",
            "rz.satfinite",
        ] {
            cases.push(F32_TO_HALF.case(&format!("cvt.{modifiers}.{to}.f32")));
        }
    }
    for (list, instruction) in [
        ("%f1, %h0", "cvt.f32.f16"),
        ("%f1, %h0", "cvt.f32.bf16"),
        ("%f1, %f0", "cvt.rni.f32.f32"),
        ("%f1, %f0", "cvt.rni.ftz.f32.f32"),
        ("%f1, %f0", "cvt.sat.f32.f32"),
    ] {
        let operands = Operands {
            load: "mov.b32 %f0, %a0; cvt.u16.u32 %h0, %a0;",
            list,
            store: "mov.b32 %r10, %f1;",
            ..F32_TO_F32
        };
        cases.push(operands.case(instruction));
    }
    for instruction in [
        "cvt.rni.s32.f32",
        "cvt.rzi.s32.f32",
        "cvt.rmi.u32.f32",
        "cvt.rpi.s32.f32",
        "cvt.rzi.s8.f32",
        "cvt.rni.u16.f32",
    ] {
        cases.push(F32_TO_WORD.case(instruction));
    }
    cases
}

fn packed_arithmetic() -> Vec<Case> {
    let mut cases = Vec::new();
    for ty in ["f16x2", "bf16x2"] {
        for (instruction, operands) in [
            ("fma.rn", THREE_WORDS_TO_WORD),
            ("fma.rn.relu", THREE_WORDS_TO_WORD),
            ("add.rn", TWO_WORDS_TO_WORD),
            ("sub.rn", TWO_WORDS_TO_WORD),
            ("mul.rn", TWO_WORDS_TO_WORD),
            ("min", TWO_WORDS_TO_WORD),
            ("max", TWO_WORDS_TO_WORD),
            ("min.NaN", TWO_WORDS_TO_WORD),
            ("max.NaN", TWO_WORDS_TO_WORD),
            ("max.xorsign.abs", TWO_WORDS_TO_WORD),
            ("min.NaN.xorsign.abs", TWO_WORDS_TO_WORD),
            ("neg", WORD_TO_WORD),
            ("abs", WORD_TO_WORD),
        ] {
            cases.push(operands.case(&format!("{instruction}.{ty}")));
        }
    }
    for instruction in [
        "fma.rn.sat.f16x2",
        "fma.rn.ftz.f16x2",
        "fma.rn.ftz.relu.f16x2",
    ] {
        cases.push(THREE_WORDS_TO_WORD.case(instruction));
    }
    for instruction in ["add.ftz.f16x2", "mul.sat.f16x2"] {
        cases.push(TWO_WORDS_TO_WORD.case(instruction));
    }
    cases
}

fn f32_arithmetic() -> Vec<Case> {
    const THREE_F32: Operands = Operands {
        words: 3,
        load: "mov.b32 %f0, %a0; mov.b32 %f1, %a1; mov.b32 %f2, %a2;",
        list: "%f5, %f0, %f1, %f2",
        ..F32_TO_F32
    };
    const FIRST_TWO: Operands = Operands {
        list: "%f5, %f0, %f1",
        ..THREE_F32
    };
    let cases = [
        ("min.f32", FIRST_TWO),
        ("max.NaN.f32", FIRST_TWO),
        ("max.ftz.f32", FIRST_TWO),
        ("max.xorsign.abs.f32", FIRST_TWO),
        ("fma.rn.f32", THREE_F32),
        ("fma.rz.f32", THREE_F32),
        ("fma.rm.ftz.sat.f32", THREE_F32),
        ("add.rn.ftz.f32", FIRST_TWO),
        ("mul.rp.f32", FIRST_TWO),
    ];
    cases
        .map(|(instruction, operands)| operands.case(instruction))
        .into()
}

/// Words as a golden file has them.
#[allow(dead_code, reason = "the example writes what the test reads")]
pub fn in_hexadecimal(words: &[u32]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:08x}")).collect();
    words.join(" ")
}
