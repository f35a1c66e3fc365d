//! The register pool of a CTA, with which `setmaxnreg` trades (PTX ISA §9.7.19.5).
//!
//! How many registers a thread starts with is not in the PTX text: ptxas decides, and drops every
//! `setmaxnreg` where it cannot tell. What it makes of the launch bounds was tried with ptxas 13.0
//! and 13.5 ([`at_launch`]). All registers belong to warps at first; the pool holds what they give
//! back, and a warp that exits gives nothing back (*inference*: CUTLASS and DeepGEMM ask for
//! exactly the sum of what their warpgroups start with).

use std::collections::VecDeque;
use std::ops::Range;

use thiserror::Error;

use super::Mode;
use super::cluster::{At, Cluster};
use super::order::Epoch;
use super::report::{SourceLine, Step};
use super::warp::Wait;
use crate::isa::ir::{Kernel, Op};

/// Threads of a warp.
const WARP_THREADS: u32 = 32;

/// Warps of a warpgroup.
const WARPGROUP: usize = 4;

/// The parts of a multiprocessor, each of which runs every fourth warp with registers of its own
/// (CUDA C++ Programming Guide, "Hardware Multithreading").
const PARTITIONS: u32 = 4;

/// Registers that each thread of a lone warp in a partition could have: 64 Ki on the
/// multiprocessor.
const PARTITION_REGISTERS: u32 = 65_536 / PARTITIONS / WARP_THREADS;

/// Registers of a thread come in eights, whatever the kernel asks for.
const UNIT: u32 = 8;

/// Least and most registers that a kernel with `setmaxnreg` starts with.
const FEWEST: u32 = 24;
const MOST: u32 = 255;

/// A rule of `setmaxnreg` that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterMisuse {
    #[error(
        "the kernel's launch bounds do not tell how many registers it starts with, so that ptxas ignores \
         `setmaxnreg`; add `.maxnreg`, or `.minnctapersm` to `.maxntid` or `.reqntid`"
    )]
    Ignored,
    #[error(
        "`setmaxnreg.inc` to {wanted} registers of a warp that has {current}: it must not have more"
    )]
    IncreaseBelow { wanted: u32, current: u32 },
    #[error(
        "`setmaxnreg.dec` to {wanted} registers of a warp that has {current}: it must not have fewer"
    )]
    DecreaseAbove { wanted: u32, current: u32 },
    #[error(
        "`setmaxnreg.inc` to {wanted} registers can never go on: the CTA was launched with {at_launch} for each of {} \
         threads, {}, and would need {}",
        .warps * WARP_THREADS,
        .at_launch * .warps * WARP_THREADS,
        .needed * WARP_THREADS
    )]
    NeverEnough {
        wanted: u32,
        at_launch: u32,
        warps: u32,
        /// By all warps, of each thread: the warpgroup's share, and the least that the others can
        /// have.
        needed: u32,
    },
    #[error(
        "all warps of a warpgroup must execute the same `setmaxnreg`; warp {warp} executed another one\n  {other}"
    )]
    Different { warp: u32, other: SourceLine },
    #[error(
        "all warps of a warpgroup must execute the same `setmaxnreg`; warp {warp} exited without this one\n  {missed}"
    )]
    Missed { warp: u32, missed: SourceLine },
    #[error(
        "no barrier orders this `setmaxnreg` behind the one that warp {warp} of the warpgroup executed before it"
    )]
    Unsynchronised { warp: u32 },
}

/// Registers per thread with which the kernel starts, where it has `setmaxnreg` and ptxas heeds it.
///
/// ```text
/// bound    = least of .maxnreg and, with .minnctapersm m and .maxntid or .reqntid,
///            512 / (m · warps / 4), rounded down to a multiple of 8;  24 to 255
/// at start = least of the bound and the largest setmaxnreg.inc, if there is one
/// ```
///
/// Of each thread, a multiple of 8 is allocated.
pub fn at_launch(kernel: &Kernel) -> Option<u32> {
    let changes = || {
        kernel.code.iter().filter_map(|inst| match inst.op {
            Op::SetMaxRegisters {
                registers,
                increase,
            } => Some((registers, increase)),
            _ => None,
        })
    };
    changes().next()?;
    let directives = &kernel.directives;
    let threads: Option<u32> = (directives.reqntid.or(directives.maxntid)).map(|block| {
        block
            .iter()
            .fold(1u32, |all, &extent| all.saturating_mul(extent))
    });
    let by_residency = threads.zip(directives.minnctapersm).map(|(threads, ctas)| {
        let warps = threads.div_ceil(WARP_THREADS).div_ceil(PARTITIONS).max(1);
        PARTITION_REGISTERS / warps.saturating_mul(ctas.max(1)) / UNIT * UNIT
    });
    let bounds = [directives.maxnreg, by_residency];
    let bound = bounds.into_iter().flatten().min()?.clamp(FEWEST, MOST);
    let increases = changes().filter(|(_, increase)| *increase);
    let largest = increases.map(|(registers, _)| registers).max();
    Some(bound.min(largest.unwrap_or(bound)).next_multiple_of(UNIT))
}

/// Whether a multiprocessor has the registers for a CTA of so many threads.
pub fn fits(at_launch: u32, threads: u32) -> bool {
    let warps = threads.div_ceil(WARP_THREADS).div_ceil(PARTITIONS);
    at_launch * warps <= PARTITION_REGISTERS
}

/// Registers of the warps of a CTA, counted for one thread of each.
#[derive(Debug, Default)]
pub struct RegisterPool {
    at_launch: u32,
    free: u32,
    /// Empty where `setmaxnreg` is ignored.
    warps: Vec<WarpRegisters>,
    /// By warpgroup.
    sequences: Vec<Sequence>,
}

#[derive(Clone, Debug)]
struct WarpRegisters {
    current: u32,
    /// `setmaxnreg` that it has executed.
    executed: u32,
    /// When it executed the last two, by the parity of their number.
    moments: [Option<Epoch>; 2],
    has_exited: bool,
}

/// The `setmaxnreg` that some warps of a warpgroup have executed and others have not.
#[derive(Clone, Debug, Default)]
struct Sequence {
    /// Those that all of them have executed.
    complete: u32,
    pending: VecDeque<Change>,
}

/// A `setmaxnreg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub registers: u32,
    pub increase: bool,
    pub line: u32,
}

impl Sequence {
    fn get(&self, number: u32) -> Option<&Change> {
        self.pending
            .get(number.checked_sub(self.complete)? as usize)
    }
}

impl RegisterPool {
    /// Of a fresh CTA; `at_launch` as [`at_launch`] says.
    pub fn reset(&mut self, at_launch: Option<u32>, warps: u32) {
        self.at_launch = at_launch.unwrap_or_default();
        self.free = 0;
        self.warps.clear();
        self.sequences.clear();
        if let Some(current) = at_launch {
            let fresh = WarpRegisters {
                current,
                executed: 0,
                moments: [None; 2],
                has_exited: false,
            };
            self.warps.resize(warps as usize, fresh);
            let groups = warps.div_ceil(WARPGROUP as u32) as usize;
            self.sequences.resize(groups, Sequence::default());
        }
    }

    /// What the warp has, and what is free.
    pub fn of(&self, warp: usize) -> (u32, u32) {
        (self.warps[warp].current, self.free)
    }

    /// Changes the registers of a warp; `false` where the pool has too few at the moment.
    fn trade(&mut self, warp: usize, change: Change) -> Result<bool, RegisterMisuse> {
        let wanted = change.registers;
        let current = self.warps[warp].current;
        match change.increase {
            true if wanted < current => {
                return Err(RegisterMisuse::IncreaseBelow { wanted, current });
            }
            false if wanted > current => {
                return Err(RegisterMisuse::DecreaseAbove { wanted, current });
            }
            true if wanted - current > self.free => {
                self.check_total(warp, wanted)?;
                return Ok(false);
            }
            _ => {}
        }
        self.free = self.free + current - wanted;
        self.warps[warp].current = wanted;
        Ok(true)
    }

    /// Whether the pool can ever hold what the warpgroup of this warp asks for.
    fn check_total(&self, warp: usize, wanted: u32) -> Result<(), RegisterMisuse> {
        let warps = self.warps.len() as u32;
        let group = self.members(warp).len() as u32;
        let needed = wanted * group + FEWEST * (warps - group);
        match needed <= self.at_launch * warps {
            true => Ok(()),
            false => Err(RegisterMisuse::NeverEnough {
                wanted,
                at_launch: self.at_launch,
                warps,
                needed,
            }),
        }
    }

    /// The warps of the CTA that are in the warpgroup of this one.
    fn members(&self, warp: usize) -> Range<usize> {
        let first = warp / WARPGROUP * WARPGROUP;
        first..self.warps.len().min(first + WARPGROUP)
    }

    /// Whether the other warps of the warpgroup have executed the same as this one, as far as they
    /// have come. To the letter it is one instruction; else the same change will do, which warps of
    /// different roles make.
    fn check_sequence(
        &self,
        kernel: &Kernel,
        warp: usize,
        change: Change,
        to_the_letter: bool,
    ) -> Result<(), RegisterMisuse> {
        let number = self.warps[warp].executed;
        let other_than = |wanted: &dyn Fn(&WarpRegisters) -> bool| {
            let mut others = self.members(warp).filter(|other| *other != warp);
            others.find(|other| wanted(&self.warps[*other]))
        };
        if let Some(first) = self.sequences[warp / WARPGROUP].get(number) {
            let same = match to_the_letter {
                true => *first == change,
                false => Change { line: 0, ..*first } == Change { line: 0, ..change },
            };
            if !same {
                let ahead = other_than(&|other| other.executed > number);
                return Err(RegisterMisuse::Different {
                    warp: ahead.unwrap_or(warp) as u32,
                    other: SourceLine::of(kernel, first.line),
                });
            }
        }
        match other_than(&|other| other.has_exited && other.executed <= number) {
            None => Ok(()),
            Some(exited) => Err(RegisterMisuse::Missed {
                warp: exited as u32,
                missed: SourceLine::of(kernel, change.line),
            }),
        }
    }

    /// Whether `knows` of the change before this one in each warp of the warpgroup.
    fn check_order(
        &self,
        warp: usize,
        knows: impl Fn(Epoch) -> bool,
    ) -> Result<(), RegisterMisuse> {
        let Some(before) = self.warps[warp].executed.checked_sub(1) else {
            return Ok(());
        };
        let is_behind = |other: &usize| {
            let other = &self.warps[*other];
            other.executed > before && other.moments[before as usize % 2].is_none_or(&knows)
        };
        match self.members(warp).find(|other| !is_behind(other)) {
            None => Ok(()),
            Some(other) => Err(RegisterMisuse::Unsynchronised { warp: other as u32 }),
        }
    }

    /// Takes note that a warp has executed a change.
    fn executed(&mut self, warp: usize, change: Change, now: Option<Epoch>) {
        let registers = &mut self.warps[warp];
        registers.moments[registers.executed as usize % 2] = now;
        registers.executed += 1;
        let number = registers.executed;
        let members = self.members(warp);
        let least = self.warps[members].iter().map(|other| other.executed).min();
        let sequence = &mut self.sequences[warp / WARPGROUP];
        if number - sequence.complete > sequence.pending.len() as u32 {
            sequence.pending.push_back(change);
        }
        while least.is_some_and(|least| least > sequence.complete) {
            sequence.pending.pop_front();
            sequence.complete += 1;
        }
    }

    /// The warp has exited: what others of its warpgroup have executed, it must have executed too.
    fn exited(&mut self, kernel: &Kernel, warp: usize) -> Result<(), RegisterMisuse> {
        let Some(registers) = self.warps.get_mut(warp) else {
            return Ok(());
        };
        registers.has_exited = true;
        let number = registers.executed;
        match self.sequences[warp / WARPGROUP].get(number) {
            None => Ok(()),
            Some(missed) => Err(RegisterMisuse::Missed {
                warp: warp as u32,
                missed: SourceLine::of(kernel, missed.line),
            }),
        }
    }
}

impl Cluster<'_> {
    /// `setmaxnreg`, by all threads of a warp. What to wait for, if the pool has too few registers.
    pub fn set_registers(&mut self, at: At, change: Change) -> Step<Option<Wait>> {
        let kernel = self.context.kernel;
        let to_the_letter = self.context.launch.options.mode == Mode::Strict;
        let pool = &mut self.ctas[at.cta].registers;
        if pool.warps.is_empty() {
            return match to_the_letter {
                true => Err(RegisterMisuse::Ignored.into()),
                false => Ok(None),
            };
        }
        pool.check_sequence(kernel, at.warp, change, to_the_letter)?;
        let by = at.issuer(0);
        if to_the_letter && let Some(order) = &self.order {
            pool.check_order(at.warp, |moment| order.knows(by, moment))?;
        }
        if !pool.trade(at.warp, change)? {
            return Ok(Some(Wait::Registers {
                wanted: change.registers,
            }));
        }
        let now = self.order.as_mut().map(|order| order.moment(by));
        pool.executed(at.warp, change, now);
        if !change.increase {
            for warp in &mut self.ctas[at.cta].warps {
                warp.retry(|wait| matches!(wait, Wait::Registers { .. }));
            }
        }
        Ok(None)
    }

    /// Follows from the exit of the last threads of a warp.
    pub fn warp_exited(&mut self, cta: usize, warp: usize) -> Step<()> {
        let kernel = self.context.kernel;
        Ok(self.ctas[cta].registers.exited(kernel, warp)?)
    }
}
