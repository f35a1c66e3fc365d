//! The part of the mutations that the tests run: those of synchronisation, of which there are few.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Judge, Mutation, Operator, SCHEDULES, Survivors, of_entry};
use crate::ptx_of;
use nvfp4_dual_gemm::kernels::{Architecture, Launch};
use nvfp4_dual_gemm::plan::DualGemm;

/// What every kernel that multiplies has: one mutation for each place that synchronises.
const COMMON: [Operator; 15] = [
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
    Operator::CopyDeleted,
    Operator::MmaDeleted,
];

/// What those for Blackwell have besides.
pub const BLACKWELL: [Operator; 2] = [Operator::BarrierChanged, Operator::TensorMemoryDeleted];

/// What those for Hopper have besides, by design.
pub const HOPPER_DECODE: [Operator; 4] = [
    Operator::WaitChanged,
    Operator::RankChanged,
    Operator::RegistersChanged,
    Operator::GridDependencyDeleted,
];
pub const HOPPER_PREFILL: [Operator; 5] = [
    Operator::WaitChanged,
    Operator::RankChanged,
    Operator::MulticastChanged,
    Operator::RegistersChanged,
    Operator::GridDependencyDeleted,
];

/// Panics unless each mutation of these kinds, and of those that every kernel has, is noticed on one of the plans or listed
/// as equivalent, and there is one of each. Of copies of a loop's body the first and the last stand for all.
pub fn assert_noticed(
    architecture: &'static Architecture,
    entry: &Launch,
    plans: Vec<DualGemm>,
    own: &[Operator],
) {
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
    let mutations = first_and_last_copies(mutations, &lines);
    let judge =
        Judge::new(&text, architecture, plans, SCHEDULES).expect("the kernel runs unchanged");
    let survived: Vec<_> = mutations
        .par_iter()
        .filter(|mutation| !judge.judge(&mutation.apply(&lines)).is_killed())
        .collect();
    let survivors = Survivors::new(entry.name, survived);
    let unexplained: Vec<_> = survivors
        .unexplained
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        unexplained.is_empty(),
        "{}: nothing notices\n{}\n(what `strict` has against the unchanged kernel: {:?})",
        entry.name,
        unexplained.join("\n"),
        judge.reported_strictly(),
    );
}

/// Lines before and after one that tell its copies, in an unrolled loop, from other places.
const NEIGHBOURS: usize = 6;

/// Of the same mutation of copies of the same code, which differ in numbers alone, the first and the last.
fn first_and_last_copies(mutations: Vec<Mutation>, lines: &[&str]) -> Vec<Mutation> {
    let place = |mutation: &Mutation| {
        let line = mutation.line();
        let around = line.saturating_sub(NEIGHBOURS)..(line + NEIGHBOURS + 1).min(lines.len());
        let mut code = lines[around].join("\n");
        code.retain(|c| !c.is_ascii_digit());
        (mutation.operator, mutation.detail.clone(), code)
    };
    let mut copies: BTreeMap<_, Vec<Mutation>> = BTreeMap::new();
    for mutation in mutations {
        copies.entry(place(&mutation)).or_default().push(mutation);
    }
    copies
        .into_values()
        .flat_map(|copies| {
            let last = copies.len() - 1;
            let ends = move |(index, mutation)| (index == 0 || index == last).then_some(mutation);
            copies.into_iter().enumerate().filter_map(ends)
        })
        .collect()
}
