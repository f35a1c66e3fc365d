//! As `mutants`, for the kernels for Hopper: one of each design, on the smallest problem that needs all of its
//! synchronisation. One whose CTAs share K, one that goes from tile to tile; on request each design's largest too
//! (`cargo test -p nvfp4-dual-gemm-tests --test hopper_mutants -- --ignored`).
//!
//! `cargo xtask mutate --architecture hopper` changes everything of every kernel, on every kind of problem.

use nvfp4_dual_gemm::kernels::{HOPPER, Output};
use nvfp4_dual_gemm_kernel::contract::hopper::{Design, TILE_N};
use nvfp4_dual_gemm_tests::mutation::{Operator, problems, synchronisation};

fn every_mutant_is_noticed(design: Design, tokens: u32, own: &[Operator]) {
    let entry = HOPPER
        .find(Some(design), tokens, TILE_N, Output::F16)
        .unwrap();
    let plans = problems::least_on_hopper(entry);
    synchronisation::assert_noticed(&HOPPER, &entry.launch, plans, own);
}

#[test]
fn decode_with_shared_k() {
    every_mutant_is_noticed(Design::Decode, 8, &synchronisation::HOPPER_DECODE);
}

/// Of this design tiles of 128 tokens have slots that are given back one by one, and warps that fill two of them in turn.
#[test]
#[ignore = "takes minutes"]
fn decode_of_many_tokens() {
    every_mutant_is_noticed(Design::Decode, 128, &synchronisation::HOPPER_DECODE);
}

#[test]
fn prefill_with_two_tiles() {
    every_mutant_is_noticed(Design::Prefill, 128, &synchronisation::HOPPER_PREFILL);
}

/// Tiles of 256 tokens have slots that are given back one by one.
#[test]
#[ignore = "takes minutes"]
fn prefill_of_many_tokens() {
    every_mutant_is_noticed(Design::Prefill, 256, &synchronisation::HOPPER_PREFILL);
}
