//! Programmatic dependent launch (PTX ISA §9.7.13.13, `griddepcontrol`): a grid that starts before the one that it
//! depends on has ended.
//!
//! Grids overlap as badly as the rules allow: the first grid stops where its dependents may start, the dependent runs
//! as far as it comes without the first one's end, and only then does the first one go on. What the dependent accesses
//! until then is not ordered with anything that the first grid does.

mod accesses;
mod chain;

use std::fmt;
use std::ops::Range;

use super::cluster::{At, Cluster};
use super::exec::Flow;
use super::report::SourceLine;
use super::warp::{State, Wait};
use crate::isa::ir::{Kernel, Op};

pub use accesses::{Access, AccessLog, Accessor};

/// How a cluster's grid overlaps with those before and after it. By default it does not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dependency {
    /// The grid before may still run: `griddepcontrol.wait` waits.
    pub is_early: bool,
    /// The cluster is to stop where the grid after may start.
    pub stops: bool,
}

/// Why a cluster does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    Exited,
    /// It stopped for a dependent, or waits for the grid that it depends on.
    Dependency,
    /// It does nothing but poll.
    Polling,
    /// It has run for long.
    Turn,
}

impl Cluster<'_> {
    /// Whether the cluster is to stop now: each of its CTAs has launched its dependents, or exited.
    pub fn stops(&self) -> bool {
        self.dependency.stops && self.has_launched_dependents()
    }

    fn has_launched_dependents(&self) -> bool {
        let mut ctas = self.ctas.iter();
        ctas.all(|cta| cta.launched_dependents || cta.has_exited())
    }

    /// Whether a warp waits for the grid before.
    pub fn waits_for_grid(&self) -> bool {
        let mut warps = self.ctas.iter().flat_map(|cta| &cta.warps);
        warps.any(|warp| {
            let mut groups = warp.groups.iter();
            groups.any(|group| group.state == State::Blocked(Wait::Grid))
        })
    }

    /// The grid before has ended.
    fn release(&mut self) {
        self.dependency.is_early = false;
        for warp in self.ctas.iter_mut().flat_map(|cta| &mut cta.warps) {
            warp.retry(|wait| *wait == Wait::Grid);
        }
    }
}

/// Executes `griddepcontrol`. One thread launches the dependents for its CTA; each thread waits for itself.
pub fn execute(cluster: &mut Cluster, at: At, wait: bool) -> Flow {
    let Dependency { is_early, stops } = cluster.dependency;
    match wait {
        true if is_early => Flow::Block(Wait::Grid),
        true => Flow::Next,
        false => {
            cluster.ctas[at.cta].launched_dependents = true;
            match stops {
                true => Flow::Yield,
                false => Flow::Next,
            }
        }
    }
}

/// Whether a grid of this kernel may let dependents start before it ends.
pub fn launches_dependents(kernel: &Kernel) -> bool {
    let launches = |op: &Op| matches!(op, Op::GridDependency { wait: false });
    kernel.code.iter().any(|inst| launches(&inst.op))
}

/// A dependent grid accessed what the grid before accesses, and nothing made it wait for that grid (E14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependentRace {
    /// "reads" or "writes"
    pub now: &'static str,
    /// The bytes of global memory that both access.
    pub overlap: Range<u64>,
    /// What the grid before does to them: "reads" or "writes".
    pub before: &'static str,
    /// The kernel of the grid before.
    pub kernel: String,
    pub cta: [u32; 3],
    pub warp: u32,
    pub source: SourceLine,
}

impl fmt::Display for DependentRace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.cta;
        write!(
            f,
            "E14: this instruction {} global memory {:#x}..{:#x}, which warp {} of CTA ({x}, {y}, {z}) of kernel `{}` \
             {}; no griddepcontrol.wait before\n  the other: {}",
            self.now,
            self.overlap.start,
            self.overlap.end,
            self.warp,
            self.kernel,
            self.before,
            self.source
        )
    }
}
