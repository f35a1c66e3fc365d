//! Programs whose results were recorded on a GPU (`examples/witness.rs`) and are checked by `tests/golden`.
//!
//! Each case is a PTX module with one kernel `kernel(out, input)`, its inputs and its launch. Every CTA has its own part
//! of the input and of the output, and computes from random numbers of one distribution.

use std::fmt::Write;

/// One program.
pub struct Case {
    pub name: String,
    pub ptx: String,
    pub ctas: u32,
    pub threads: u32,
    pub input: Vec<u8>,
    pub output_words: usize,
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(name: &str) -> Random {
        Random(hash(name.bytes()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as u64) as i32
    }
}

/// FNV-1a, 64 bits.
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// An element type of A and B, or of C.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Type {
    pub name: &'static str,
    bits: u32,
    exponent_bits: u32,
    mantissa_bits: u32,
}

const fn float(name: &'static str, bits: u32, exponent_bits: u32, mantissa_bits: u32) -> Type {
    Type {
        name,
        bits,
        exponent_bits,
        mantissa_bits,
    }
}

pub const F16: Type = float("f16", 16, 5, 10);
pub const BF16: Type = float("bf16", 16, 8, 7);
pub const TF32: Type = float("tf32", 32, 8, 23);
pub const F32: Type = float("f32", 32, 8, 23);
pub const E4M3: Type = float("e4m3", 8, 4, 3);
pub const E5M2: Type = float("e5m2", 8, 5, 2);
pub const S8: Type = float("s8", 8, 0, 0);
pub const U8: Type = float("u8", 8, 0, 0);
pub const S32: Type = float("s32", 32, 0, 0);

/// Which numbers the inputs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Within a few binades of 1.
    Narrow,
    /// Any finite number but subnormals.
    Wide,
    /// Half are zeros of either sign, the rest any finite number.
    Sparse,
    /// The least exponents, subnormals too.
    Tiny,
    /// Products about the least normal f32 where the format has such.
    Edge,
    /// The largest exponents.
    Huge,
    /// Wide, with some infinities and NaNs.
    Special,
}

pub const NUMBERS: [Numbers; 7] = [
    Numbers::Narrow,
    Numbers::Wide,
    Numbers::Sparse,
    Numbers::Tiny,
    Numbers::Edge,
    Numbers::Huge,
    Numbers::Special,
];

impl Type {
    fn bias(self) -> i32 {
        (1 << (self.exponent_bits - 1)) - 1
    }

    /// The largest exponent field of finite numbers (of all of them, that is).
    fn top(self) -> i32 {
        let all = (1 << self.exponent_bits) - 1;
        if self == E4M3 { all } else { all - 1 }
    }

    /// Exponent fields of a distribution.
    fn fields(self, numbers: Numbers) -> (i32, i32) {
        let (bias, top) = (self.bias(), self.top());
        match numbers {
            Numbers::Narrow => (bias - 2, bias + 2),
            Numbers::Wide | Numbers::Special => (1, top),
            Numbers::Sparse => (0, top),
            Numbers::Tiny => (0, 3),
            Numbers::Edge => ((bias / 2 - 8).max(0), bias / 2 + 8),
            Numbers::Huge => (top - 2, top),
        }
    }

    fn code(self, random: &mut Random, field: i32) -> u32 {
        let code = random.next() as u32 & ((1 << self.mantissa_bits) - 1);
        let sign = (random.below(2) as u32) << (self.bits - 1);
        let code = sign | (field as u32) << self.mantissa_bits | code;
        // E4M3's only NaN.
        if self == E4M3 && code & 0x7f == 0x7f {
            code ^ 1
        } else {
            code
        }
    }

    fn element(self, random: &mut Random, numbers: Numbers) -> u32 {
        if self.exponent_bits == 0 {
            return random.next() as u32 & (u32::MAX >> (32 - self.bits));
        }
        let (low, high) = self.fields(numbers);
        match (numbers, random.below(200)) {
            (Numbers::Sparse, 0..100) => (random.below(2) as u32) << (self.bits - 1),
            (Numbers::Special, 0) if self == E4M3 => 0x7f,
            (Numbers::Special, 0) => {
                let all = (1u32 << self.exponent_bits) - 1;
                let code = self.code(random, 0) & (1 << (self.bits - 1));
                code | all << self.mantissa_bits | random.below(2) as u32
            }
            _ => {
                let field = random.between(low, high);
                self.code(random, field)
            }
        }
    }

    /// C's exponents reach from far below the products' to above them.
    fn accumulator(self, random: &mut Random, numbers: Numbers, a: Type, b: Type) -> u32 {
        if self.exponent_bits == 0 {
            return random.next() as u32;
        }
        if random.below(8) == 0 {
            return (random.below(2) as u32) << (self.bits - 1);
        }
        if numbers == Numbers::Special && random.below(40) == 0 {
            let all = (1u32 << self.exponent_bits) - 1;
            return self.code(random, 0) & (1 << (self.bits - 1)) | all << self.mantissa_bits;
        }
        let (a_low, a_high) = a.fields(numbers);
        let (b_low, b_high) = b.fields(numbers);
        let biases = a.bias() + b.bias() - self.bias();
        let low = (a_low + b_low - biases - 28).clamp(0, self.top());
        let high = (a_high + b_high - biases + 6).clamp(0, self.top());
        let field = random.between(low, high);
        self.code(random, field)
    }
}

/// Appends elements.
fn push(out: &mut Vec<u8>, ty: Type, count: usize, mut element: impl FnMut() -> u32) {
    for _ in 0..count {
        out.extend(&element().to_le_bytes()[..ty.bits as usize / 8]);
    }
}

fn vector(prefix: &str, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|i| format!("{prefix}{i}")).collect();
    format!("{{{}}}", names.join(", "))
}

/// `%rd0`: this CTA's output; `%rd1`: its input; `%r0`: thread.
fn module(input_bytes: usize, output_words: usize, shared_bytes: usize, body: &str) -> String {
    let shared = match shared_bytes {
        0 => String::new(),
        bytes => format!(".shared .align 1024 .b8 smem[{bytes}];"),
    };
    format!(
        ".version 8.7
.target sm_90a
.address_size 64
.visible .entry kernel(.param .u64 out, .param .u64 input)
{{
    {shared}
    .reg .pred %p<8>;
    .reg .b16 %h<16>;
    .reg .b32 %r<32>, %a<8>, %b<8>, %c<8>, %w<128>;
    .reg .f32 %f<8>, %d<128>;
    .reg .b64 %rd<16>;
    ld.param.u64 %rd0, [out];
    ld.param.u64 %rd1, [input];
    cvta.to.global.u64 %rd0, %rd0;
    cvta.to.global.u64 %rd1, %rd1;
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %ctaid.x;
    mul.wide.u32 %rd2, %r1, {input_bytes};
    add.u64 %rd1, %rd1, %rd2;
    mul.wide.u32 %rd2, %r1, {};
    add.u64 %rd0, %rd0, %rd2;
{body}
    ret;
}}
",
        4 * output_words
    )
}

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
            A_BYTES >> 4,
            descriptor(self.swizzle_b, self.transpose_b),
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

fn warpgroup_cases(cases: &mut Vec<Case>) {
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
}

fn mma_case(k: usize, d: Type, a: Type, b: Type, numbers: Numbers) -> Case {
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

fn mma_cases(cases: &mut Vec<Case>) {
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
            cases.push(mma_case(k, d, a, b, numbers));
        }
    }
    for (k, a, b) in [(16, S8, S8), (32, S8, S8), (32, U8, S8), (32, U8, U8)] {
        cases.push(mma_case(k, S32, a, b, Numbers::Wide));
    }
}

/// Instructions on one word of input, or two or three, per thread.
pub fn lane_case(
    instruction: &str,
    operands: &str,
    load: &str,
    store: &str,
    words: usize,
    input: impl Fn(&mut Random) -> u32,
) -> Case {
    const CTAS: u32 = 32;
    const THREADS: u32 = 256;
    let name = instruction.to_owned();
    let mut random = Random::new(&name);
    let input: Vec<u8> = (0..(CTAS * THREADS) as usize * words)
        .flat_map(|_| input(&mut random).to_le_bytes())
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
    write!(
        body,
        "    {load}\n    {instruction} {operands};\n    {store}\n    st.global.b32 [%rd0], %r10;\n"
    )
    .unwrap();
    Case {
        ptx: module(4 * words * THREADS as usize, THREADS as usize, 0, &body),
        name,
        ctas: CTAS,
        threads: THREADS,
        input,
        output_words: (CTAS * THREADS) as usize,
    }
}

/// Any bits, half of the time within the range of small formats.
pub fn any_f32(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => random.next() as u32,
        1 => {
            // Ties and their neighbours.
            let field = 127 + random.between(-18, 18);
            let tie = (random.next() as u32 & 0x7f) << 16 | 0x8000 | random.below(3) as u32;
            (random.below(2) as u32) << 31 | (field as u32) << 23 | tie & 0x7f_ffff
        }
        2 => {
            (random.below(2) as u32) << 31
                | [0, 1, 0x7f80_0000, 0x7fc0_0000, 0x0080_0000, 0x7f7f_ffff]
                    [random.below(6) as usize]
        }
        3 => F32.code(random, 0),
        _ => {
            let field = 127 + random.between(-26, 20);
            let code = F32.code(random, field);
            // Few bits, so that ties of narrow formats occur.
            let keep = random.between(10, 23);
            code & !((1 << keep) - 1) | code & 1
        }
    }
}

pub fn any_word(random: &mut Random) -> u32 {
    random.next() as u32
}

fn lane_cases(cases: &mut Vec<Case>) {
    // Two f32 to a packed word.
    for (to, modifiers) in [
        (
            "f16x2",
            &[
                "rn",
                "rz",
                "rn.relu",
                "rz.relu",
                "rn.satfinite",
                "rz.satfinite",
                "rn.relu.satfinite",
            ][..],
        ),
        (
            "bf16x2",
            &[
                "rn",
                "rz",
                "rn.relu",
                "rz.relu",
                "rn.satfinite",
                "rz.satfinite",
                "rn.relu.satfinite",
            ][..],
        ),
    ] {
        for modifiers in modifiers {
            let instruction = format!("cvt.{modifiers}.{to}.f32");
            cases.push(lane_case(
                &instruction,
                "%r10, %f0, %f1",
                "mov.b32 %f0, %a0; mov.b32 %f1, %a1;",
                "",
                2,
                any_f32,
            ));
        }
    }
    for to in ["e4m3x2", "e5m2x2"] {
        for relu in ["", ".relu"] {
            let instruction = format!("cvt.rn.satfinite{relu}.{to}.f32");
            cases.push(lane_case(
                &instruction,
                "%h0, %f0, %f1",
                "mov.b32 %f0, %a0; mov.b32 %f1, %a1;",
                "cvt.u32.u16 %r10, %h0;",
                2,
                any_f32,
            ));
            let instruction = format!("cvt.rn.satfinite{relu}.{to}.f16x2");
            cases.push(lane_case(
                &instruction,
                "%h0, %a0",
                "",
                "cvt.u32.u16 %r10, %h0;",
                1,
                any_word,
            ));
            let instruction = format!("cvt.rn{relu}.f16x2.{to}");
            cases.push(lane_case(
                &instruction,
                "%r10, %h0",
                "cvt.u16.u32 %h0, %a0;",
                "",
                1,
                any_word,
            ));
        }
    }
    for modifiers in [
        "rna",
        "rn",
        "rz",
        "rn.relu",
        "rz.relu",
        "rna.satfinite",
        "rn.satfinite",
        "rz.satfinite",
    ] {
        // Satfinite forms exist from sm_100 on, except for `.rna`.
        if modifiers.ends_with("satfinite") && modifiers != "rna.satfinite" {
            continue;
        }
        let instruction = format!("cvt.{modifiers}.tf32.f32");
        cases.push(lane_case(
            &instruction,
            "%r10, %f0",
            "mov.b32 %f0, %a0;",
            "",
            1,
            any_f32,
        ));
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
            let instruction = format!("cvt.{modifiers}.{to}.f32");
            cases.push(lane_case(
                &instruction,
                "%h0, %f0",
                "mov.b32 %f0, %a0;",
                "cvt.u32.u16 %r10, %h0;",
                1,
                any_f32,
            ));
        }
    }
    for (from, instruction) in [
        ("h0", "cvt.f32.f16"),
        ("h0", "cvt.f32.bf16"),
        ("f0", "cvt.rni.f32.f32"),
        ("f0", "cvt.rni.ftz.f32.f32"),
        ("f0", "cvt.sat.f32.f32"),
    ] {
        cases.push(lane_case(
            instruction,
            &format!("%f1, %{from}"),
            "mov.b32 %f0, %a0; cvt.u16.u32 %h0, %a0;",
            "mov.b32 %r10, %f1;",
            1,
            any_f32,
        ));
    }
    for instruction in [
        "cvt.rni.s32.f32",
        "cvt.rzi.s32.f32",
        "cvt.rmi.u32.f32",
        "cvt.rpi.s32.f32",
        "cvt.rzi.s8.f32",
        "cvt.rni.u16.f32",
    ] {
        cases.push(lane_case(
            instruction,
            "%r10, %f0",
            "mov.b32 %f0, %a0;",
            "",
            1,
            any_f32,
        ));
    }
    // Packed arithmetic.
    for ty in ["f16x2", "bf16x2"] {
        for (instruction, sources) in [
            ("fma.rn", 3),
            ("fma.rn.relu", 3),
            ("add.rn", 2),
            ("sub.rn", 2),
            ("mul.rn", 2),
            ("min", 2),
            ("max", 2),
            ("min.NaN", 2),
            ("max.NaN", 2),
            ("max.xorsign.abs", 2),
            ("min.NaN.xorsign.abs", 2),
            ("neg", 1),
            ("abs", 1),
        ] {
            let operands: Vec<String> = (0..sources).map(|i| format!("%a{i}")).collect();
            let operands = format!("%r10, {}", operands.join(", "));
            cases.push(lane_case(
                &format!("{instruction}.{ty}"),
                &operands,
                "",
                "",
                sources,
                any_word,
            ));
        }
    }
    for instruction in [
        "fma.rn.sat.f16x2",
        "fma.rn.ftz.f16x2",
        "fma.rn.ftz.relu.f16x2",
    ] {
        cases.push(lane_case(
            instruction,
            "%r10, %a0, %a1, %a2",
            "",
            "",
            3,
            any_word,
        ));
    }
    for instruction in ["add.ftz.f16x2", "mul.sat.f16x2"] {
        cases.push(lane_case(
            instruction,
            "%r10, %a0, %a1",
            "",
            "",
            2,
            any_word,
        ));
    }
    // f32.
    for (instruction, sources) in [
        ("min.f32", 2),
        ("max.NaN.f32", 2),
        ("max.ftz.f32", 2),
        ("max.xorsign.abs.f32", 2),
        ("fma.rn.f32", 3),
        ("fma.rz.f32", 3),
        ("fma.rm.ftz.sat.f32", 3),
        ("add.rn.ftz.f32", 2),
        ("mul.rp.f32", 2),
    ] {
        let operands: Vec<String> = (0..sources).map(|i| format!("%f{i}")).collect();
        let operands = format!("%f5, {}", operands.join(", "));
        cases.push(lane_case(
            instruction,
            &operands,
            "mov.b32 %f0, %a0; mov.b32 %f1, %a1; mov.b32 %f2, %a2;",
            "mov.b32 %r10, %f5;",
            3,
            any_f32,
        ));
    }
}

fn matrix_load_cases(cases: &mut Vec<Case>) {
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
            writeln!(body, "    bar.sync 0;\n    ldmatrix.sync.aligned.m8n8.x4{transpose}.shared.b16 {}, [%r4];", vector("%b", 4)).unwrap();
        } else if name.starts_with("st") {
            writeln!(body, "    stmatrix.sync.aligned.m8n8.x4{transpose}.shared.b16 [%r4], {};\n    bar.sync 0;", vector("%a", 4)).unwrap();
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
}

/// What the emulator has to compute to the bit.
pub fn exact() -> Vec<Case> {
    let mut cases = Vec::new();
    warpgroup_cases(&mut cases);
    mma_cases(&mut cases);
    matrix_load_cases(&mut cases);
    lane_cases(&mut cases);
    cases
}
