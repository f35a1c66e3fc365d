//! The part of the mutations that the tests run: those of synchronisation, of which there are few.

use rayon::prelude::*;

use super::{Judge, Operator, Survivors, of_entry};
use crate::ptx_of;
use nvfp4_dual_gemm::kernels::{Architecture, Launch};

/// What every kernel that multiplies has: one mutation for each place that synchronises.
const COMMON: [Operator; 16] = [
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
    Operator::CopyDeleted,
    Operator::MmaDeleted,
];

/// What those for Blackwell have besides.
pub const BLACKWELL: [Operator; 1] = [Operator::TensorMemoryDeleted];

/// What those for Hopper have besides.
pub const HOPPER: [Operator; 5] = [
    Operator::WaitChanged,
    Operator::RankChanged,
    Operator::RegistersChanged,
    Operator::GridDependencyDeleted,
    Operator::OrderWeakened,
];

/// Panics unless each mutation of these kinds, and of those that every kernel has, is noticed or listed as equivalent,
/// and there is one of each.
pub fn assert_noticed(architecture: &'static Architecture, entry: &Launch, own: &[Operator]) {
    let text = ptx_of(architecture);
    let lines: Vec<&str> = text.lines().collect();
    let wanted = [&COMMON, own].concat();
    let mut mutations = of_entry(&text, entry.name).expect("the PTX has the entry");
    mutations.retain(|mutation| wanted.contains(&mutation.operator));
    for operator in wanted {
        let mut operators = mutations.iter().map(|mutation| mutation.operator);
        assert!(
            operators.any(|found| found == operator),
            "no place for: {operator}"
        );
    }
    let judge = Judge::new(&text, architecture, entry.name).expect("the kernel runs unchanged");
    let survived: Vec<_> = mutations
        .par_iter()
        .filter(|mutation| !judge.judge(&mutation.apply(&lines)).is_killed())
        .collect();
    let survivors = Survivors::new(survived);
    assert!(
        survivors.unexplained.is_empty(),
        "{}: nothing notices {:#?}",
        entry.name,
        survivors.unexplained
    );
}
