//! What is told of CTAs that cannot go on.

use std::fmt;

use super::{Lanes, List, SourceLine};

/// The state of CTAs that cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StallReport {
    /// Warp instructions executed until then.
    pub steps: u64,
    pub stall: Stall,
    pub groups: Vec<StalledGroup>,
    /// In issue order.
    pub in_flight: Vec<InFlight>,
}

/// How it is known that CTAs cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// No warp can run.
    Deadlock,
    /// All warps that can run poll what nobody is going to change.
    Livelock,
    /// All CTAs that the device keeps resident wait, and what they wait for is not done by them.
    NotResident {
        /// CTAs that the device keeps resident.
        resident: u64,
        /// CTAs of the grid that could not start.
        not_started: u64,
    },
    /// Warps have run for longer than the launch allows.
    StepLimit,
}

/// Lanes of one warp that run, or wait, together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StalledGroup {
    pub cta: [u32; 3],
    pub warp: u32,
    pub lanes: u32,
    pub source: SourceLine,
    pub reason: StallReason,
}

/// What a group of lanes waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StallReason {
    /// It runs: a loop that never ends, or polling.
    Running,
    /// It polls in a loop what it would otherwise wait for.
    Polling(Box<StallReason>),
    /// It loads from this address in a loop.
    PollingMemory {
        address: u64,
    },
    Mbarrier {
        address: u32,
        wanted_parity: u32,
        /// State of the barrier: completed phases, pending and expected arrivals, bytes
        /// outstanding.
        phase: u64,
        pending: u32,
        expected: u32,
        tx: i64,
    },
    Barrier {
        id: u32,
        arrived: u32,
        expected: u32,
    },
    /// `griddepcontrol.wait`
    Grid,
    /// The other members of a warp collective.
    Collective {
        members: u32,
    },
    /// The rest of the warp, at an `.aligned` instruction.
    Warp {
        missing: u32,
    },
    /// The lanes that took the other side of a branch.
    Reconvergence {
        missing: u32,
    },
    TensorMemory {
        columns: u32,
        free: u32,
    },
    BulkGroup {
        allowed: u32,
    },
    CopyGroup {
        allowed: u32,
    },
    WarpgroupMma {
        allowed: u32,
    },
    InvalidatedMbarrier {
        address: u32,
    },
    ClusterBarrier,
    /// More registers in the CTA's pool; all are counted for one thread.
    Registers {
        wanted: u32,
        current: u32,
        free: u32,
    },
    /// The other CTA of the pair, for a `tcgen05.alloc` or `.dealloc` of `.cta_group::2`.
    Pair,
}

/// An operation that was issued and did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    pub operation: &'static str,
    pub cta: [u32; 3],
    pub warp: u32,
    pub source: SourceLine,
}

impl fmt::Display for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, warp {}, {}", self.operation, self.warp, self.source)
    }
}

impl fmt::Display for StallReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => write!(f, "runs"),
            Self::Polling(reason) => write!(f, "polls: {reason}"),
            Self::PollingMemory { address } => write!(f, "polls memory at {address:#x}"),
            Self::Mbarrier {
                address,
                wanted_parity,
                phase,
                pending,
                expected,
                tx,
            } => write!(
                f,
                "waits for parity {wanted_parity} of mbarrier {address:#x}: phase {phase}, {pending} of {expected} \
                 arrivals pending, tx-count {tx}"
            ),
            Self::Barrier {
                id,
                arrived,
                expected,
            } => write!(
                f,
                "waits at barrier {id}: {arrived} of {expected} threads arrived"
            ),
            Self::Collective { members } => {
                write!(
                    f,
                    "waits for the members {members:#010x} of a warp collective"
                )
            }
            Self::Warp { missing } => write!(f, "waits for {} of its warp", Lanes(*missing)),
            Self::Reconvergence { missing } => {
                write!(f, "waits to reconverge with {}", Lanes(*missing))
            }
            Self::TensorMemory { columns, free } => write!(
                f,
                "waits for {columns} columns of tensor memory; {free} are free"
            ),
            Self::BulkGroup { allowed } => {
                write!(
                    f,
                    "waits until at most {allowed} of its bulk groups are pending"
                )
            }
            Self::CopyGroup { allowed } => write!(
                f,
                "waits until at most {allowed} of its groups of cp.async are pending"
            ),
            Self::WarpgroupMma { allowed } => {
                write!(
                    f,
                    "waits until at most {allowed} of its wgmma groups are pending"
                )
            }
            Self::ClusterBarrier => write!(f, "waits for all threads of the cluster"),
            Self::Registers {
                wanted,
                current,
                free,
            } => write!(
                f,
                "waits for {wanted} registers per thread, and has {current}; the CTA's pool has {free} left for a warp"
            ),
            Self::Grid => write!(f, "waits for the end of the grid before"),
            Self::Pair => write!(f, "waits for the other CTA of its pair to do the same"),
            Self::InvalidatedMbarrier { address } => write!(
                f,
                "waits for mbarrier {address:#x}, which was invalidated meanwhile"
            ),
        }
    }
}

impl fmt::Display for StallReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps;
        match self.stall {
            Stall::Deadlock => write!(
                f,
                "deadlock after {steps} warp instructions: no warp can run and nothing is in flight \
                 that could wake one"
            ),
            Stall::Livelock => write!(
                f,
                "livelock after {steps} warp instructions: all warps that can run poll what nobody \
                 is left to change"
            ),
            Stall::NotResident {
                resident,
                not_started,
            } => write!(
                f,
                "deadlock: all of the {resident} CTAs that the device keeps resident wait, and {not_started} CTAs of \
                 the grid have not started; the first waits after {steps} warp instructions"
            ),
            Stall::StepLimit => write!(
                f,
                "hang: the step limit was reached after {steps} warp instructions"
            ),
        }?;
        let mut cta = None;
        for group in &self.groups {
            if cta != Some(group.cta) {
                cta = Some(group.cta);
                let [x, y, z] = group.cta;
                write!(f, "\n  CTA ({x}, {y}, {z})")?;
            }
            write!(
                f,
                "\n    warp {} ({}) {}\n      {}",
                group.warp,
                Lanes(group.lanes),
                group.reason,
                group.source
            )?;
        }
        if self.in_flight.is_empty() {
            return write!(f, "\n  no asynchronous operation is in flight");
        }
        write!(f, "\n  in flight:{}", List(&self.in_flight))
    }
}
