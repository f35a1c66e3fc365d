//! Every synchronising instruction of the kernels is needed, and the emulator knows it: each one is
//! taken out of the PTX alone, and the launch must fail, or the result be wrong, under at least one
//! schedule.
//!
//! Prints what caught each deletion (`cargo test -p nvfp4-dual-gemm-tests --test deletions --
//! --nocapture`).

use std::fmt;
use std::ops::Range;

use nvfp4_dual_gemm::check::CheckError;
use nvfp4_dual_gemm::kernels::{self, KernelEntry, Output};
use nvfp4_dual_gemm::plan::{DualGemm, Gpu, Shape};
use nvfp4_dual_gemm::{InputKind, Inputs};
use nvfp4_dual_gemm_tests::{TestDevice, compute, ptx};
use ptx_emulator::driver::set_launch_options;
use ptx_emulator::machine::{Asynchrony, LaunchOptions};

/// A mutated kernel that spins is given up after this many warp instructions, some twenty times
/// what the whole needs.
const STEP_LIMIT: u64 = 1 << 20;

/// Tried in this order until one catches the deletion.
const SCHEDULES: [Asynchrony; 4] = [
    Asynchrony::Late,
    Asynchrony::Early,
    Asynchrony::Random { seed: 0 },
    Asynchrony::Random { seed: 1 },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Wait,
    Arrive,
    ExpectTx,
    ArriveExpectTx,
    Commit,
    Init,
    Barrier,
    TensorMemory,
    Copy,
}

impl Category {
    const ALL: [Self; 9] = [
        Self::Wait,
        Self::Arrive,
        Self::ExpectTx,
        Self::ArriveExpectTx,
        Self::Commit,
        Self::Init,
        Self::Barrier,
        Self::TensorMemory,
        Self::Copy,
    ];
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Wait => "wait",
            Self::Arrive => "arrive, not expect_tx",
            Self::ExpectTx => "expect_tx, not arrive",
            Self::ArriveExpectTx => "arrive.expect_tx",
            Self::Commit => "commit",
            Self::Init => "init",
            Self::Barrier => "barrier",
            Self::TensorMemory => "tensor memory",
            Self::Copy => "copy",
        })
    }
}

/// Another text for some lines of the PTX; empty to delete them.
struct Mutation {
    category: Category,
    lines: Range<usize>,
    replacement: String,
}

impl Mutation {
    fn apply(&self, ptx: &[&str]) -> String {
        let mut text = String::new();
        for (index, line) in ptx.iter().enumerate() {
            // The lines stay, so that reports show the numbers of the original.
            text += match index {
                index if index == self.lines.start => &self.replacement,
                index if self.lines.contains(&index) => "",
                _ => line,
            };
            text.push('\n');
        }
        text
    }
}

/// The lines of an entry's body.
fn body(ptx: &[&str], entry: &str) -> Range<usize> {
    let head = format!(".visible .entry {entry}(");
    let head = ptx.iter().position(|line| *line == head).unwrap();
    let start = head + ptx[head..].iter().position(|line| *line == "{").unwrap();
    let mut depth = 0;
    let length = ptx[start..].iter().position(|line| {
        depth += line.matches('{').count();
        depth -= line.matches('}').count();
        depth == 0
    });
    start..start + length.unwrap()
}

fn mutations(ptx: &[&str], body: Range<usize>) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for line in body {
        let text = ptx[line].trim();
        let mut add = |category, lines, replacement| {
            mutations.push(Mutation {
                category,
                lines,
                replacement,
            });
        };
        let mut delete = |category| add(category, line..line + 1, String::new());
        if text.starts_with("mbarrier.try_wait") {
            let branch = ptx[line + 1].trim();
            assert!(
                branch.starts_with("@!") && branch.contains(" bra "),
                "{branch}"
            );
            add(Category::Wait, line..line + 2, String::new());
        } else if let Some(operands) = text.strip_prefix(ARRIVE_EXPECT_TX) {
            delete(Category::ArriveExpectTx);
            let (barrier, _) = operands.split_once(',').unwrap();
            let arrive = format!("mbarrier.arrive.shared::cta.b64 _, {barrier};");
            add(Category::ExpectTx, line..line + 1, arrive);
            let expect = format!("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 {operands}");
            add(Category::Arrive, line..line + 1, expect);
        } else if text.starts_with("tcgen05.commit") {
            delete(Category::Commit);
        } else if text.starts_with("mbarrier.init") {
            delete(Category::Init);
        } else if text.starts_with("mbarrier.") {
            panic!("line {}: no mutation for {text}", line + 1);
        } else if text.starts_with("barrier.cta.") {
            delete(Category::Barrier);
        } else if ["tcgen05.alloc", "tcgen05.dealloc", "tcgen05.wait"]
            .iter()
            .any(|opcode| text.starts_with(opcode))
        {
            delete(Category::TensorMemory);
        } else if text.starts_with("cp.async.bulk.") || text.starts_with("tcgen05.cp") {
            delete(Category::Copy);
        }
    }
    mutations
}

const ARRIVE_EXPECT_TX: &str = "mbarrier.arrive.expect_tx.shared::cta.b64 _, ";

fn set_schedule(asynchrony: Asynchrony) {
    set_launch_options(Some(LaunchOptions {
        schedule: asynchrony.into(),
        threads: 1,
        step_limit: STEP_LIMIT,
        ..LaunchOptions::default()
    }));
}

/// A problem that wraps the ring of stages twice and ends in a partial K tile: one of three MMAs,
/// so that the loop over the MMAs after the first turns twice.
fn problem(entry: &KernelEntry) -> (DualGemm, Inputs) {
    let stages = nvfp4_dual_gemm_kernel::contract::SharedPlan::new(entry.tile_n).stages as usize;
    let (m, n, k) = (128, entry.tile_n as usize, 256 * (2 * stages + 1) + 192);
    let shape = Shape::new(m, n, k, 1).unwrap();
    let plan = DualGemm::plan_with_tile(shape, entry.output, Gpu::B200, entry.tile_n).unwrap();
    let inputs = Inputs::new(InputKind::Normal, m, n, k, 1, 0).unwrap();
    (plan, inputs)
}

/// What catches the mutated PTX, and under which schedule.
fn caught(
    ptx: &str,
    plan: &DualGemm,
    inputs: &Inputs,
    right: &[u16],
) -> Option<(Asynchrony, String)> {
    SCHEDULES.into_iter().find_map(|asynchrony| {
        // A failure stays in its context.
        let device = TestDevice::emulator();
        let kernels = device.load(ptx).unwrap();
        set_schedule(asynchrony);
        match compute(&kernels, plan, inputs) {
            Err(CheckError::Cuda {
                report: Some(report),
                ..
            }) => {
                let first = report.lines().next().unwrap_or_default().to_owned();
                Some((asynchrony, first))
            }
            Err(error) => panic!("failed without a report: {error}"),
            Ok(found) => {
                let wrong = found.iter().zip(right).filter(|(a, b)| a != b).count();
                (wrong > 0).then(|| (asynchrony, format!("{wrong} outputs are wrong")))
            }
        }
    })
}

fn every_deletion_is_caught(tile_n: u32) {
    let entry = kernels::find(tile_n, Output::F16).unwrap();
    let (plan, inputs) = problem(entry);
    let text = ptx();
    let lines: Vec<&str> = text.lines().collect();

    let device = TestDevice::emulator();
    let mut right = None;
    for asynchrony in SCHEDULES {
        set_schedule(asynchrony);
        let found = compute(&device.kernels(), &plan, &inputs).unwrap();
        assert_eq!(*right.get_or_insert_with(|| found.clone()), found);
    }
    let right = right.unwrap();

    let mutations = mutations(&lines, body(&lines, entry.name));
    for category in Category::ALL {
        let mut categories = mutations.iter().map(|mutation| mutation.category);
        assert!(categories.any(|found| found == category), "no {category}");
    }
    let mut survivors = Vec::new();
    for mutation in mutations {
        let ptx = mutation.apply(&lines);
        let line = mutation.lines.start;
        let what = format!(
            "{:<21}  line {:>4}: {}",
            mutation.category,
            line + 1,
            lines[line].trim()
        );
        let how = caught(&ptx, &plan, &inputs, &right);
        match &how {
            Some((asynchrony, report)) => println!("{what}\n    {asynchrony:?}: {report}"),
            None => survivors.push(what),
        }
    }
    set_launch_options(None);
    assert!(
        survivors.is_empty(),
        "{}: nothing catches that these are missing:\n{}",
        entry.name,
        survivors.join("\n")
    );
}

#[test]
fn n64() {
    every_deletion_is_caught(64);
}

#[test]
fn n128() {
    every_deletion_is_caught(128);
}
