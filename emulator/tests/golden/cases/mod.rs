//! Programs whose results were recorded on a GPU (`examples/witness.rs`) and are checked by `tests/golden`.
//!
//! Each case is a PTX module with one kernel `kernel(out, input)`, its inputs and its launch. Every CTA has its own part
//! of the input and of the output, and computes from random numbers of one distribution.

mod addresses;
pub mod approximations;
mod collectives;
pub mod lanes;
mod matrix_loads;
mod mma;
mod numbers;
mod sums;
mod warpgroup;

use numbers::Type;

/// One program.
pub struct Case {
    pub name: String,
    pub ptx: String,
    pub ctas: u32,
    pub threads: u32,
    pub input: Vec<u8>,
    pub output_words: usize,
}

/// What the emulator has to compute to the bit.
pub fn exact() -> Vec<Case> {
    [
        warpgroup::cases(),
        warpgroup::descriptors(),
        mma::cases(),
        matrix_loads::cases(),
        lanes::cases(),
        collectives::cases(),
        addresses::cases(),
        sums::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// FNV-1a, 64 bits.
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Appends elements.
fn push(out: &mut Vec<u8>, ty: Type, count: usize, mut element: impl FnMut() -> u32) {
    for _ in 0..count {
        out.extend(&element().to_le_bytes()[..ty.bits as usize / 8]);
    }
}

/// `{prefix0, prefix1, …}`
fn vector(prefix: &str, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|i| format!("{prefix}{i}")).collect();
    format!("{{{}}}", names.join(", "))
}

/// A kernel around `body`, which finds this CTA's output at `%rd0`, its input at `%rd1` and the thread in `%r0`.
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
