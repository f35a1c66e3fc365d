//! `wgmma`.

use std::fmt::Write;

use super::numbers::*;
use super::{Case, module, push, vector};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Swizzle {
    None,
    B32,
    B64,
    B128,
}

const SWIZZLES: [(Swizzle, &str); 4] = [
    (Swizzle::None, "none"),
    (Swizzle::B32, "32B"),
    (Swizzle::B64, "64B"),
    (Swizzle::B128, "128B"),
];

/// A matrix descriptor without its address: code of the swizzle, LBO and SBO of dense tiles of 32 bytes along K, or
/// 16 elements of 2 bytes.
fn descriptor(swizzle: Swizzle, mn_major: bool) -> u64 {
    let (code, leading, stride) = match (swizzle, mn_major) {
        (Swizzle::None, _) => (0u64, 128u64, 256u64),
        (Swizzle::B32, false) => (3, 16, 256),
        (Swizzle::B64, false) => (2, 16, 512),
        (Swizzle::B128, false) => (1, 16, 1024),
        (Swizzle::B32, true) => (3, 512, 256),
        (Swizzle::B64, true) => (2, 1024, 512),
        (Swizzle::B128, true) => (1, 2048, 1024),
    };
    code << 62 | (stride >> 4) << 32 | (leading >> 4) << 16
}

#[derive(Clone, Copy)]
struct Warpgroup {
    n: usize,
    d: Type,
    a: Type,
    b: Type,
    /// `None`: A is in registers.
    swizzle_a: Option<Swizzle>,
    swizzle_b: Swizzle,
    transpose_a: bool,
    transpose_b: bool,
    scales: (i32, i32),
    accumulate: bool,
    /// MMAs in a row, each starting 32 bytes further.
    steps: usize,
    suffix: &'static str,
    numbers: Numbers,
    ctas: u32,
    /// Changes of B's descriptor.
    change_b: Change,
}

/// What a descriptor says other than that dense tiles start where the area does.
#[derive(Clone, Copy, Default)]
struct Change {
    /// Bytes from the area's start.
    start: usize,
    base_offset: u64,
    leading: Option<u64>,
    stride: Option<u64>,
}

impl Change {
    fn apply(self, descriptor: u64) -> u64 {
        let field = |descriptor: u64, shift: u32, value: Option<u64>| match value {
            None => descriptor,
            Some(bytes) => descriptor & !(0x3FFF << shift) | (bytes >> 4) << shift,
        };
        let descriptor = field(descriptor, 16, self.leading);
        field(descriptor, 32, self.stride) | self.base_offset << 49
    }
}

const A_BYTES: usize = 8192;
const B_BYTES: usize = 32768;

impl Warpgroup {
    fn new(d: Type, a: Type, b: Type) -> Warpgroup {
        Warpgroup {
            n: 64,
            d,
            a,
            b,
            swizzle_a: Some(Swizzle::B128),
            swizzle_b: Swizzle::B128,
            transpose_a: false,
            transpose_b: false,
            scales: (1, 1),
            accumulate: true,
            steps: 1,
            suffix: "",
            numbers: Numbers::Narrow,
            ctas: 1,
            change_b: Change::default(),
        }
    }

    fn case(self, name: &str) -> Case {
        let Warpgroup { n, d, a, b, .. } = self;
        let name = format!("wgmma {}.{}.{} n{n} {name}", d.name, a.name, b.name);
        let d_registers = n * d.bits as usize / 64;
        let k = 256 / a.bits;
        let mut random = Random::new(&name);
        let mut input = Vec::new();
        for _ in 0..self.ctas {
            let numbers = self.numbers;
            let a_count = A_BYTES * 8 / a.bits as usize;
            push(&mut input, a, a_count, || a.element(&mut random, numbers));
            let b_count = B_BYTES * 8 / b.bits as usize;
            push(&mut input, b, b_count, || b.element(&mut random, numbers));
            push(&mut input, d, n * 64, || {
                d.accumulator(&mut random, numbers, a, b)
            });
        }
        let prefix = if d == F32 { "%d" } else { "%w" };
        let mut body = format!(
            "
    mov.u32 %r2, smem;
    shl.b32 %r3, %r0, 4;
    cvt.u64.u32 %rd3, %r3;
    add.u64 %rd3, %rd3, %rd1;
    add.u32 %r4, %r2, %r3;
COPY:
    ld.global.v4.b32 {{%r5, %r6, %r7, %r8}}, [%rd3];
    st.shared.v4.b32 [%r4], {{%r5, %r6, %r7, %r8}};
    add.u64 %rd3, %rd3, 2048;
    add.u32 %r4, %r4, 2048;
    add.u32 %r3, %r3, 2048;
    setp.lt.u32 %p0, %r3, {};
    @%p0 bra COPY;
    fence.proxy.async.shared::cta;
    bar.sync 0;
    mul.wide.u32 %rd3, %r0, {};
    add.u64 %rd0, %rd0, %rd3;
    add.u64 %rd3, %rd3, %rd1;
    shl.b32 %r3, %r0, 4;
    cvt.u64.u32 %rd4, %r3;
    add.u64 %rd4, %rd4, %rd1;
",
            A_BYTES + B_BYTES,
            4 * d_registers
        );
        for i in 0..d_registers {
            let at = A_BYTES + B_BYTES + 4 * i;
            writeln!(body, "    ld.global.b32 {prefix}{i}, [%rd3+{at}];").unwrap();
        }
        for i in 0..4 {
            writeln!(body, "    ld.global.b32 %a{i}, [%rd4+{}];", 4 * i).unwrap();
        }
        write!(
            body,
            "    shr.u32 %r9, %r2, 4;
    cvt.u64.u32 %rd5, %r9;
    or.b64 %rd6, %rd5, {:#x};
    add.u64 %rd5, %rd5, {};
    or.b64 %rd7, %rd5, {:#x};
    setp.{}.u32 %p1, %r0, %r0;
    wgmma.fence.sync.aligned;
",
            descriptor(self.swizzle_a.unwrap_or(Swizzle::None), self.transpose_a),
            (A_BYTES + self.change_b.start) >> 4,
            self.change_b
                .apply(descriptor(self.swizzle_b, self.transpose_b)),
            if self.accumulate { "eq" } else { "ne" },
        )
        .unwrap();
        let mut immediates = String::new();
        if d != S32 {
            write!(immediates, ", {}, {}", self.scales.0, self.scales.1).unwrap();
        }
        if a.bits == 16 {
            if self.swizzle_a.is_some() {
                write!(immediates, ", {}", u8::from(self.transpose_a)).unwrap();
            }
            write!(immediates, ", {}", u8::from(self.transpose_b)).unwrap();
        }
        for step in 0..self.steps {
            if step > 0 {
                body += "    add.u64 %rd6, %rd6, 2;\n    add.u64 %rd7, %rd7, 2;\n";
            }
            let a_operand = match self.swizzle_a {
                None => vector("%a", 4),
                Some(_) => "%rd6".to_owned(),
            };
            writeln!(
                body,
                "    wgmma.mma_async.sync.aligned.m64n{n}k{k}{}.{}.{}.{} {}, {a_operand}, %rd7, %p1{immediates};",
                self.suffix,
                d.name,
                a.name,
                b.name,
                vector(prefix, d_registers),
            )
            .unwrap();
        }
        body += "    wgmma.commit_group.sync.aligned;\n    wgmma.wait_group.sync.aligned 0;\n";
        for i in 0..d_registers {
            writeln!(body, "    st.global.b32 [%rd0+{}], {prefix}{i};", 4 * i).unwrap();
        }
        let output_words = 128 * d_registers;
        let input_bytes = input.len() / self.ctas as usize;
        Case {
            ptx: module(input_bytes, output_words, A_BYTES + B_BYTES, &body),
            name,
            ctas: self.ctas,
            threads: 128,
            input,
            output_words: output_words * self.ctas as usize,
        }
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let kinds = [
        (F32, F16, F16),
        (F16, F16, F16),
        (F32, BF16, BF16),
        (F32, TF32, TF32),
        (F32, E4M3, E4M3),
        (F32, E5M2, E5M2),
        (F32, E4M3, E5M2),
        (F16, E4M3, E4M3),
        (F16, E5M2, E4M3),
    ];
    for (d, a, b) in kinds {
        let kind = Warpgroup::new(d, a, b);
        for numbers in NUMBERS {
            let case = Warpgroup {
                numbers,
                ctas: 8,
                ..kind
            };
            cases.push(case.case(&format!("{numbers:?}")));
        }
        for n in (8..=256).step_by(8) {
            let is_typical = matches!(n, 8 | 24 | 96 | 256);
            if is_typical || (a == BF16 && d == F32) {
                cases.push(Warpgroup { n, ..kind }.case("columns"));
            }
        }
        for (swizzle_b, name) in SWIZZLES {
            for (swizzle_a, a_name) in SWIZZLES
                .map(|(s, n)| (Some(s), n))
                .into_iter()
                .chain([(None, "registers")])
            {
                let transposes = if a.bits == 16 { 4 } else { 1 };
                for transpose in 0..transposes {
                    let (transpose_a, transpose_b) = (transpose & 1 != 0, transpose & 2 != 0);
                    if transpose_a && swizzle_a.is_none() {
                        continue;
                    }
                    // Every pair for one type; for the others each swizzle once.
                    if (d, a) != (F32, F16) && swizzle_a.is_some_and(|a| a != swizzle_b) {
                        continue;
                    }
                    let case = Warpgroup {
                        n: 40,
                        swizzle_a,
                        swizzle_b,
                        transpose_a,
                        transpose_b,
                        ..kind
                    };
                    cases.push(
                        case.case(&format!("A {a_name} {transpose_a} B {name} {transpose_b}")),
                    );
                }
            }
        }
        for scales in [(1, -1), (-1, 1), (-1, -1)] {
            let name = format!("scales {scales:?}");
            cases.push(Warpgroup { scales, ..kind }.case(&name));
        }
        let steps = Warpgroup { steps: 4, ..kind };
        cases.push(steps.case("four steps of K"));
        let fresh = Warpgroup {
            accumulate: false,
            ..steps
        };
        cases.push(fresh.case("scale-d 0"));
    }
    for (a, b) in [(S8, S8), (U8, U8), (S8, U8), (U8, S8)] {
        for suffix in ["", ".satfinite"] {
            let kind = Warpgroup {
                suffix,
                ..Warpgroup::new(S32, a, b)
            };
            cases.push(kind.case(&format!("integers{suffix}")));
        }
    }
    cases
}

/// Descriptors that no kernel of ours uses: tiles that start inside a swizzle's pattern, with and without a base offset,
/// and leading offsets where the layout has no use for one.
pub fn descriptors() -> Vec<Case> {
    let mut cases = Vec::new();
    let kind = Warpgroup {
        n: 40,
        ctas: 2,
        ..Warpgroup::new(F32, F16, F16)
    };
    for (swizzle, name) in &SWIZZLES[1..] {
        let mut add = |what: String, change_b: Change| {
            let case = Warpgroup {
                swizzle_a: Some(*swizzle),
                swizzle_b: *swizzle,
                change_b,
                ..kind
            };
            cases.push(case.case(&format!("B {name} {what}")));
        };
        for rows in [0, 1, 2, 3, 4, 7] {
            for base_offset in [0, 1, 2, 3, 4, 7] {
                let change = Change {
                    start: 128 * rows,
                    base_offset,
                    ..Change::default()
                };
                add(
                    format!("from {} bytes, base offset {base_offset}", 128 * rows),
                    change,
                );
            }
        }
        for leading in [0, 32, 128, 1024] {
            let change = Change {
                leading: Some(leading),
                ..Change::default()
            };
            add(format!("leading offset {leading}"), change);
        }
        for stride in [0, 2048] {
            let change = Change {
                stride: Some(stride),
                ..Change::default()
            };
            add(format!("stride offset {stride}"), change);
        }
    }
    for (swizzle, name) in SWIZZLES {
        for n in [128, 256] {
            for a in [F16, BF16] {
                let case = Warpgroup {
                    n,
                    swizzle_a: Some(swizzle),
                    swizzle_b: swizzle,
                    transpose_a: true,
                    transpose_b: true,
                    ..Warpgroup::new(F32, a, a)
                };
                cases.push(case.case(&format!("both transposed {name}")));
            }
        }
    }
    cases
}
