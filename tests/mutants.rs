//! The kernels' synchronisation is needed, and what proves the kernels knows it: each fence, wait,
//! arrival, barrier, count, copy and MMA is taken out or changed alone, and a rule of the emulator
//! or a wrong result must show it.
//!
//! `cargo xtask mutate` does the same with every address, descriptor field and constant too.

use nvfp4_dual_gemm::kernels::{BLACKWELL, Output, TILE_M};
use nvfp4_dual_gemm_tests::mutation::{Judge, Operator, Survivors, of_entry};
use nvfp4_dual_gemm_tests::ptx;

/// Those of which there are few: one for each place that synchronises.
const SYNCHRONISING: [Operator; 17] = [
    Operator::FenceDeleted,
    Operator::WaitDeleted,
    Operator::WaitNotRepeated,
    Operator::ParityFlipped,
    Operator::OtherMbarrier,
    Operator::ArriveDeleted,
    Operator::ExpectDeleted,
    Operator::ArriveAndExpectDeleted,
    Operator::BytesChanged,
    Operator::CommitDeleted,
    Operator::InitDeleted,
    Operator::CountChanged,
    Operator::BarrierDeleted,
    Operator::BarrierChanged,
    Operator::TensorMemoryDeleted,
    Operator::CopyDeleted,
    Operator::MmaDeleted,
];

fn every_mutant_is_noticed(tile_n: u32) {
    let entry = BLACKWELL.find(TILE_M, tile_n, Output::F16).unwrap();
    let text = ptx();
    let lines: Vec<&str> = text.lines().collect();
    let mut mutations = of_entry(&text, entry.launch.name).unwrap();
    mutations.retain(|mutation| SYNCHRONISING.contains(&mutation.operator));
    for operator in SYNCHRONISING {
        let mut operators = mutations.iter().map(|mutation| mutation.operator);
        assert!(
            operators.any(|found| found == operator),
            "no place for: {operator}"
        );
    }
    let judge = Judge::new(&text, entry).unwrap();
    let survived = mutations.iter().filter(|mutation| {
        let verdict = judge.judge(&mutation.apply(&lines));
        println!(
            "{:>4} {}: {verdict:?}",
            mutation.line() + 1,
            mutation.operator
        );
        !verdict.is_killed()
    });
    let survivors = Survivors::new(survived);
    assert!(
        survivors.unexplained.is_empty(),
        "{}: nothing notices {:#?}",
        entry.launch.name,
        survivors.unexplained
    );
}

#[test]
fn n64() {
    every_mutant_is_noticed(64);
}

#[test]
fn n128() {
    every_mutant_is_noticed(128);
}
