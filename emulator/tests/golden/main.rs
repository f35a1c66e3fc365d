//! What an H100 computed for the programs in [`cases`], the emulator computes to the bit: `wgmma` and `mma.sync` of every
//! type, shape and layout, `ldmatrix` and its kin, conversions and packed arithmetic, collectives, sums in memory.
//! Approximated functions it computes within the bounds of the PTX ISA. `examples/witness.rs` records.

mod cases;
mod emulate;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cases::Case;
use cases::approximations::{self, Approximation};

const RECORDED: &str = include_str!("h100.txt");

/// The record's lines of a kind: the case, and what the device computed.
fn recorded(kind: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (found, rest) = line.split_once('\t').expect("kind, tab, case");
            let case = rest.split_once('\t').expect("case, tab, result");
            (found == kind).then_some(case)
        })
        .collect()
}

fn check_names<'c>(cases: impl Iterator<Item = &'c Case>, kind: &str) {
    let names: Vec<&str> = cases.map(|case| case.name.as_str()).collect();
    let recorded = recorded(kind);
    assert_eq!(names.len(), recorded.len());
    for name in names {
        assert!(recorded.contains_key(name), "{name}");
    }
}

#[test]
fn every_case_is_recorded() {
    check_names(cases::exact().iter(), "exact");
    let approximations = approximations::cases(1);
    check_names(approximations.iter().map(|one| &one.case), "approximate");
    assert_eq!(recorded("failed").len(), 0);
}

#[test]
fn the_emulator_computes_what_the_gpu_computed() {
    let (cases, recorded) = (cases::exact(), recorded("exact"));
    let next = AtomicUsize::new(0);
    let check = || {
        let mut failures = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match emulate::run(case) {
                Err(error) => failures.push(format!("{}: {error}", case.name)),
                Ok(words) => {
                    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
                    let hash = format!("{:016x}", cases::hash(bytes));
                    if recorded.get(case.name.as_str()) != Some(&hash.as_str()) {
                        failures.push(format!("{}: other words than the GPU's", case.name));
                    }
                }
            }
        }
        failures
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(check));
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn approximations_differ_within_the_bounds_of_the_isa() {
    let recorded = recorded("approximate");
    let mut failures = Vec::new();
    for approximation in &approximations::cases(1) {
        let name = approximation.case.name.as_str();
        let device: Vec<u32> = recorded[name]
            .split(' ')
            .map(|word| u32::from_str_radix(word, 16).expect("hexadecimal"))
            .collect();
        let found = emulate::run(&approximation.case).unwrap();
        assert_eq!(found.len(), device.len(), "{name}");
        failures.extend(differences(approximation, &device, &found));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn differences(approximation: &Approximation, device: &[u32], found: &[u32]) -> Vec<String> {
    let both = device.iter().zip(found).enumerate();
    both.filter(|(index, (device, found))| !approximation.allows(*index, **device, **found))
        .map(|(index, (device, found))| {
            let name = &approximation.case.name;
            format!("{name}, word {index}: GPU {device:08x}, emulator {found:08x}")
        })
        .collect()
}
