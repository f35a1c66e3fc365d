//! Copies and reductions of contiguous bytes.

use super::case::{Case, Launch, unwritten};
use super::noise;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for bytes in [
        16,
        32,
        48,
        112,
        128,
        144,
        1008,
        1024,
        4096,
        16384 - 16,
        65536,
    ] {
        for offset in [0, 16, 240] {
            cases.push(load(bytes, offset));
            cases.push(store(
                format!("bulk store {bytes} bytes from {offset}"),
                "bulk_store",
                bytes,
                offset,
            ));
        }
    }
    for entry in REDUCTIONS {
        for bytes in [16, 4096 - 32] {
            cases.push(store(format!("{entry} {bytes} bytes"), entry, bytes, 64));
        }
    }
    cases
}

/// Subnormal addends and sums.
pub fn subnormals() -> Vec<Case> {
    let name = "bulk_reduce_add_f32 of subnormals".to_owned();
    let mut case = store(name, "bulk_reduce_add_f32", 1024, 0);
    noise::make_small(&mut case.input);
    noise::make_small(&mut case.output);
    vec![case]
}

const REDUCTIONS: [&str; 27] = [
    "bulk_reduce_add_u32",
    "bulk_reduce_add_s32",
    "bulk_reduce_add_u64",
    "bulk_reduce_add_f16",
    "bulk_reduce_add_bf16",
    "bulk_reduce_add_f32",
    "bulk_reduce_add_f64",
    "bulk_reduce_min_u32",
    "bulk_reduce_min_s32",
    "bulk_reduce_min_u64",
    "bulk_reduce_min_s64",
    "bulk_reduce_min_f16",
    "bulk_reduce_min_bf16",
    "bulk_reduce_max_u32",
    "bulk_reduce_max_s32",
    "bulk_reduce_max_u64",
    "bulk_reduce_max_s64",
    "bulk_reduce_max_f16",
    "bulk_reduce_max_bf16",
    "bulk_reduce_inc_u32",
    "bulk_reduce_dec_u32",
    "bulk_reduce_and_b32",
    "bulk_reduce_or_b32",
    "bulk_reduce_xor_b32",
    "bulk_reduce_and_b64",
    "bulk_reduce_or_b64",
    "bulk_reduce_xor_b64",
];

fn words(bytes: u32, offset: u32) -> ([u32; 12], u32) {
    let area_bytes = (offset + bytes).next_multiple_of(128) + 128;
    let mut words = [0; 12];
    words[5] = offset;
    words[6] = bytes;
    words[7] = area_bytes;
    (words, area_bytes)
}

fn load(bytes: u32, offset: u32) -> Case {
    let name = format!("bulk load {bytes} bytes to {offset}");
    let (words, area_bytes) = words(bytes, offset);
    Case {
        launches: vec![Launch::new("bulk_load", words)],
        map: None,
        input: noise::bytes(&name, bytes as usize),
        output: unwritten(16 + area_bytes as usize),
        name,
    }
}

fn store(name: String, entry: &'static str, bytes: u32, offset: u32) -> Case {
    let (words, area_bytes) = words(bytes, offset);
    Case {
        launches: vec![Launch::new(entry, words)],
        map: None,
        input: noise::bytes(&name, area_bytes as usize),
        output: noise::bytes(&format!("{name}, before"), bytes as usize + 128),
        name,
    }
}
