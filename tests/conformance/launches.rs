//! Dependent launches, and registers that move between warpgroups.

use nvfp4_dual_gemm_kernel::contract::conformance::THREADS;

use super::case::{Case, Launch, unwritten};

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ctas in [1, 64] {
        for (trigger, when) in ["never", "before its stores", "after its stores"]
            .iter()
            .enumerate()
        {
            for nanoseconds in [0, 200_000] {
                for dependent in [false, true] {
                    cases.push(dependency(
                        ctas,
                        trigger as u32,
                        when,
                        nanoseconds,
                        dependent,
                    ));
                }
            }
        }
    }
    for entry in ["registers_24_240", "registers_40_232", "registers_56_224"] {
        for ctas in [1, 300] {
            cases.push(Case {
                name: format!("{entry}, {ctas} CTAs"),
                launches: vec![Launch::clusters(entry, [ctas, 1, 1], [1; 3], [0; 12])],
                map: None,
                input: Vec::new(),
                output: unwritten(4 * 384),
            });
        }
    }
    cases
}

fn dependency(ctas: u32, trigger: u32, when: &str, nanoseconds: u32, dependent: bool) -> Case {
    let mut words = [0; 12];
    words[0] = trigger;
    words[1] = nanoseconds;
    let first = Launch::clusters("dependent_primary", [ctas, 1, 1], [1; 3], words);
    let second = Launch {
        entry: "dependent_secondary",
        dependent,
        ..first
    };
    let kind = if dependent { "dependent" } else { "plain" };
    Case {
        name: format!("{kind} launch, {ctas} CTAs that trigger {when} and sleep {nanoseconds} ns"),
        launches: vec![first, second],
        map: None,
        input: Vec::new(),
        output: unwritten((8 * THREADS * ctas) as usize),
    }
}
