//! The kernels' synchronisation is needed, and what proves the kernels knows it: each fence, wait,
//! arrival, barrier, count, copy and MMA is taken out or changed alone, and a rule of the emulator
//! or a wrong result must show it.
//!
//! `cargo xtask mutate` does the same with every address, descriptor field and constant too.

use nvfp4_dual_gemm::kernels::{BLACKWELL, Output, TILE_M};
use nvfp4_dual_gemm_tests::mutation::{problems, synchronisation};

fn every_mutant_is_noticed(tile_n: u32) {
    let entry = BLACKWELL.find(None, TILE_M, tile_n, Output::F16).unwrap();
    let plans = problems::of(&BLACKWELL, entry.launch.name);
    let own = &synchronisation::BLACKWELL;
    synchronisation::assert_noticed(&BLACKWELL, &entry.launch, plans, own);
}

#[test]
fn n64() {
    every_mutant_is_noticed(64);
}

#[test]
fn n128() {
    every_mutant_is_noticed(128);
}
