//! What an H200 computed for the programs in [`cases`], the emulator computes to the bit: `wgmma` and `mma.sync` of every
//! type, shape and layout, `ldmatrix` and its kin, conversions and packed arithmetic. `examples/witness.rs` records.

mod cases;
mod emulate;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

const RECORDED: &str = include_str!("h200.txt");

fn recorded() -> BTreeMap<&'static str, u64> {
    let lines = RECORDED.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, hash) = line.split_once('\t').expect("name, tab, hash");
            let hash = u64::from_str_radix(hash, 16).expect("hexadecimal");
            (name, hash)
        })
        .collect()
}

#[test]
fn every_case_is_recorded() {
    let cases = cases::exact();
    let recorded = recorded();
    assert_eq!(cases.len(), recorded.len());
    for case in cases {
        assert!(recorded.contains_key(case.name.as_str()), "{}", case.name);
    }
}

#[test]
fn the_emulator_computes_what_the_gpu_computed() {
    let (cases, recorded) = (cases::exact(), recorded());
    let next = AtomicUsize::new(0);
    let check = || {
        let mut failures = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            match emulate::run(case) {
                Err(error) => failures.push(format!("{}: {error}", case.name)),
                Ok(words) => {
                    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
                    if recorded.get(case.name.as_str()) != Some(&cases::hash(bytes)) {
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
