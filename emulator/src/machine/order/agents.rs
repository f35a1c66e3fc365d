//! Who can be an agent, and the numbers of those that there are.

use std::collections::HashMap;

use super::clock::Agent;
use crate::machine::footprint::SharedAddress;

/// A thread of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    pub cta: u32,
    pub warp: u32,
    pub lane: u32,
}

/// What has a time of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentKind {
    /// Program order of a warp.
    Warp { cta: u32, warp: u32 },
    /// Completed phases of an mbarrier.
    Phases(SharedAddress),
    /// tcgen05 operations that a thread has issued: the tensor pipe executes them in order.
    PipeIssue(Thread),
    /// … and those of them that are complete.
    PipeDone(Thread),
    /// `tcgen05.ld` of a warp that are complete.
    TensorLoads { cta: u32, warp: u32 },
    /// `tcgen05.st` of a warp that are complete.
    TensorStores { cta: u32, warp: u32 },
    /// Bulk groups of a thread that have read their sources.
    BulkReads(Thread),
    /// … that have written their destinations.
    BulkWrites(Thread),
    /// `cp.async` of a warp that are complete.
    Copies { cta: u32, warp: u32 },
    /// `wgmma.mma_async` of a warp that are complete.
    WarpgroupMmas { cta: u32, warp: u32 },
}

/// Numbers agents as they turn up.
#[derive(Debug, Default)]
pub struct Agents {
    numbers: HashMap<AgentKind, Agent>,
}

impl Agents {
    pub fn clear(&mut self) {
        self.numbers.clear();
    }

    pub fn number(&mut self, kind: AgentKind) -> Agent {
        let next = self.numbers.len() as Agent;
        *self.numbers.entry(kind).or_insert(next)
    }
}
