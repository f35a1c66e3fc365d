//! Barriers: scripts of steps, phases of many threads, arrivals from other CTAs.

use nvfp4_dual_gemm_kernel::contract::conformance::{THREADS, step};

use super::case::{Case, Launch, unwritten};
use super::noise::Choices;

pub fn cases() -> Vec<Case> {
    let mut cases = written();
    cases.extend((0..150).map(random));
    for phases in [1, 2, 3, 8] {
        for bytes in [0, 16, 0xFFFF0] {
            for early in [0, 1] {
                let name = format!(
                    "mbarrier of 128 threads, {phases} phases, {bytes} bytes, early {early}"
                );
                cases.push(Case {
                    launches: vec![Launch::new(
                        "mbarrier_of_many",
                        first([phases, bytes, early]),
                    )],
                    map: None,
                    input: Vec::new(),
                    output: unwritten(4 * THREADS as usize),
                    name,
                });
            }
        }
    }
    for size in [1, 2, 4, 8] {
        for owner in [0, size - 1] {
            for kind in 0..4 {
                let name = format!("mbarrier of rank {owner} of {size}, arrivals of kind {kind}");
                let cluster = [size, 1, 1];
                let words = first([owner, kind, 0]);
                let launch = Launch::clusters("mbarrier_remote", cluster, cluster, words);
                if cases.iter().any(|case| case.name == name) {
                    continue;
                }
                cases.push(Case {
                    launches: vec![launch],
                    map: None,
                    input: Vec::new(),
                    output: unwritten(8),
                    name,
                });
            }
        }
    }
    cases
}

fn first(values: [u32; 3]) -> [u32; 12] {
    let [a, b, c] = values;
    [a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn script(name: String, steps: &[(u32, u32)]) -> Case {
    let words = steps
        .iter()
        .flat_map(|(operation, operand)| [*operation, *operand]);
    Case {
        launches: vec![Launch::new(
            "mbarrier_script",
            first([steps.len() as u32, 0, 0]),
        )],
        map: None,
        input: words.flat_map(u32::to_le_bytes).collect(),
        output: unwritten(4 * steps.len()),
        name,
    }
}

/// A test of either parity.
const BOTH: [(u32, u32); 2] = [(step::TEST_WAIT_PARITY, 0), (step::TEST_WAIT_PARITY, 1)];

/// `steps`, with both parities tested after each.
fn watched(steps: &[(u32, u32)]) -> Vec<(u32, u32)> {
    steps
        .iter()
        .flat_map(|step| [*step, BOTH[0], BOTH[1]])
        .collect()
}

fn written() -> Vec<Case> {
    use step::*;
    let most = (1 << 20) - 1;
    let scripts: [(&str, &[(u32, u32)]); 12] = [
        ("a fresh barrier", &[(INIT, 1)]),
        (
            "a phase of one",
            &[(INIT, 1), (ARRIVE, 1), (ARRIVE, 1), (ARRIVE, 1)],
        ),
        (
            "a phase of three",
            &[(INIT, 3), (ARRIVE, 1), (ARRIVE, 2), (ARRIVE, 3)],
        ),
        (
            "expected, credited, arrived",
            &[(INIT, 1), (EXPECT_TX, 64), (COMPLETE_TX, 64), (ARRIVE, 1)],
        ),
        (
            "expected, arrived, credited",
            &[(INIT, 1), (EXPECT_TX, 64), (ARRIVE, 1), (COMPLETE_TX, 64)],
        ),
        (
            "credited before it is expected",
            &[
                (INIT, 1),
                (COMPLETE_TX, 64),
                (ARRIVE_EXPECT_TX, 64),
                (ARRIVE, 1),
            ],
        ),
        (
            "credited, arrived, expected",
            &[(INIT, 1), (COMPLETE_TX, 64), (ARRIVE, 1), (EXPECT_TX, 64)],
        ),
        (
            "credited in parts",
            &[
                (INIT, 1),
                (ARRIVE_EXPECT_TX, 64),
                (COMPLETE_TX, 48),
                (COMPLETE_TX, 16),
            ],
        ),
        (
            "the most bytes",
            &[
                (INIT, 1),
                (ARRIVE_EXPECT_TX, 0xFFFF),
                (EXPECT_TX, most - 0xFFFF),
                (COMPLETE_TX, most),
            ],
        ),
        (
            "the most bytes early",
            &[
                (INIT, 1),
                (COMPLETE_TX, most),
                (EXPECT_TX, most),
                (ARRIVE, 1),
            ],
        ),
        (
            "the most arrivals",
            &[(INIT, most), (ARRIVE, 0xFFFF), (ARRIVE_NO_COMPLETE, 0xFFFF)],
        ),
        (
            "dropped arrivals",
            &[
                (INIT, 4),
                (ARRIVE_DROP, 1),
                (ARRIVE, 3),
                (ARRIVE, 2),
                (ARRIVE_DROP_EXPECT_TX, 16),
                (COMPLETE_TX, 16),
                (ARRIVE, 1),
                (ARRIVE, 1),
            ],
        ),
    ];
    scripts
        .iter()
        .map(|(name, steps)| script(format!("mbarrier {name}"), &watched(steps)))
        .collect()
}

/// What a barrier would be, so that a script breaks no rule: the results are the device's to say.
struct Model {
    count: u32,
    pending: u32,
    bytes: i64,
    phase: u32,
    /// The phase that the token in each slot is of.
    tokens: [Option<u32>; 4],
}

impl Model {
    fn settle(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.pending = self.count;
            self.phase += 1;
        }
    }

    fn arrive(&mut self, count: u32, slot: u32) {
        self.tokens[slot as usize] = Some(self.phase);
        self.pending -= count;
        self.settle();
    }

    /// A slot whose token's phase is the current one or the one before.
    fn slot(&self, choices: &mut Choices) -> Option<(u32, bool)> {
        let slot = choices.below(4);
        let phase = self.tokens[slot as usize]?;
        (phase + 1 >= self.phase).then_some((slot, phase < self.phase))
    }
}

fn random(seed: u32) -> Case {
    use step::*;
    let name = format!("mbarrier random script {seed}");
    let mut choices = Choices::new(&name);
    let count = 1 + choices.below(6);
    let mut model = Model {
        count,
        pending: count,
        bytes: 0,
        phase: 0,
        tokens: [None; 4],
    };
    let mut steps = vec![(INIT, count)];
    while steps.len() < 64 {
        let slot = choices.below(4);
        let bytes = 16 * (1 + choices.below(8));
        match choices.below(9) {
            0 if model.pending > 0 => {
                let count = 1 + choices.below(model.pending);
                steps.push((ARRIVE, slot << 16 | count));
                model.arrive(count, slot);
            }
            1 if model.pending > 1 => {
                let count = 1 + choices.below(model.pending - 1);
                steps.push((ARRIVE_NO_COMPLETE, slot << 16 | count));
                model.arrive(count, slot);
            }
            2 if model.pending > 0 && model.count > 1 => {
                model.count -= 1;
                steps.push((ARRIVE_DROP, slot << 16 | 1));
                model.arrive(1, slot);
            }
            3 if model.pending > 0 => {
                steps.push((ARRIVE_EXPECT_TX, slot << 16 | bytes));
                model.bytes += i64::from(bytes);
                model.arrive(1, slot);
            }
            4 => {
                steps.push((EXPECT_TX, bytes));
                model.bytes += i64::from(bytes);
                model.settle();
            }
            5 => {
                // All that is expected, half of the time.
                let bytes = match choices.below(2) {
                    0 if model.bytes > 0 => model.bytes as u32,
                    _ => bytes,
                };
                steps.push((COMPLETE_TX, bytes));
                model.bytes -= i64::from(bytes);
                model.settle();
            }
            6 => steps.extend(BOTH),
            7 => {
                if let Some((slot, complete)) = model.slot(&mut choices) {
                    // A wait that could not end would take the device's time.
                    let wait = if complete {
                        TRY_WAIT_TOKEN
                    } else {
                        TEST_WAIT_TOKEN
                    };
                    steps.push((TEST_WAIT_TOKEN, slot << 16));
                    steps.push((wait, slot << 16));
                }
            }
            _ => steps.push((TRY_WAIT_PARITY, model.phase.wrapping_sub(1) & 1)),
        }
    }
    script(name, &steps)
}
