//! Livelocks: every group that can run polls, nothing is in flight, and nobody is left who could change what they poll.
//!
//! A cluster is watched from time to time. While it is, every instruction that others could notice ends the watch; where
//! all lanes that can run have polled for a while without one, they will go on for ever. Only a time-out of their own
//! could end it, and that long a wait is taken for one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::cluster::{At, Cluster};
use super::report::StallReason;
use super::warp::{State, Wait, Warp, lanes};
use crate::isa::ir::{AtomicOp, Inst, LANES, MbarrierOp, MbarrierPhase, Op, Src};

/// Instructions of a cluster between two watches.
const WATCH_EVERY: u64 = 1 << 19;

/// How often each lane polls during a watch.
const POLLS: u32 = 4096;

/// Watches in a row that have to find nothing but polling.
const WATCHES: u32 = 2;

/// The host threads that run a launch's clusters, and those of them whose cluster does nothing but poll.
#[derive(Debug, Default)]
pub struct Spinning {
    running: AtomicU64,
    spinning: AtomicU64,
    /// Counts clusters that went on: what they wrote may end another's polling.
    changes: AtomicU64,
}

impl Spinning {
    /// Of a launch on so many host threads.
    pub fn new(threads: usize) -> Self {
        Self {
            running: AtomicU64::new(threads as u64),
            ..Self::default()
        }
    }

    /// A host thread has nothing left to run.
    pub fn end(&self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What is known of a cluster's polling.
#[derive(Debug, Default)]
pub struct Watch {
    /// The step at which the next watch begins, while there is none.
    next: u64,
    active: Option<Box<Active>>,
    /// Whether the cluster is among the spinning ones.
    spins: bool,
    /// Whether it did anything but poll since it was suspended last.
    changed: bool,
}

#[derive(Debug)]
struct Active {
    /// Of each lane of each warp, CTA after CTA.
    polls: Vec<[u32; LANES]>,
    /// What each warp polled last.
    polled: Vec<Option<StallReason>>,
    /// Watches that found nothing but polling.
    found: u32,
    /// [`Spinning::changes`] at its start.
    changes: u64,
}

impl Watch {
    pub fn reset(&mut self) {
        *self = Self {
            next: WATCH_EVERY,
            changed: true,
            ..Self::default()
        };
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }
}

impl Cluster<'_> {
    /// Begins a watch if it is time for one, and tells whether the one under way has found a livelock.
    pub fn livelocked(&mut self) -> bool {
        let warps = self.ctas.first().map_or(0, |cta| cta.warps.len());
        let spinning = &self.context.spinning;
        let Some(active) = &mut self.watch.active else {
            if self.steps >= self.watch.next {
                let units = warps * self.ctas.len();
                self.watch.active = Some(Box::new(Active {
                    polls: vec![[0; LANES]; units],
                    polled: vec![None; units],
                    found: 0,
                    changes: spinning.changes.load(Ordering::SeqCst),
                }));
            }
            return false;
        };
        let all = self.ctas.iter().flat_map(|cta| &cta.warps);
        let all_poll = all
            .zip(&active.polls)
            .all(|(warp, polls)| lanes(ready_lanes(warp)).all(|lane| polls[lane] >= POLLS));
        if !all_poll || self.engine.may_go_on() {
            return false;
        }
        if !self.watch.spins {
            self.watch.spins = true;
            spinning.spinning.fetch_add(1, Ordering::SeqCst);
        }
        let changes = spinning.changes.load(Ordering::SeqCst);
        let others_spin =
            spinning.spinning.load(Ordering::SeqCst) == spinning.running.load(Ordering::SeqCst);
        match others_spin && changes == active.changes {
            true => active.found += 1,
            false => active.found = 0,
        }
        active.changes = changes;
        active.polls.fill([0; LANES]);
        active.found >= WATCHES
    }

    /// Something happened that others may notice.
    pub fn changed(&mut self) {
        self.watch.changed = true;
        if self.watch.active.take().is_some() {
            self.watch.next = self.steps + WATCH_EVERY;
        }
        if std::mem::take(&mut self.watch.spins) {
            let spinning = &self.context.spinning;
            spinning.changes.fetch_add(1, Ordering::SeqCst);
            spinning.spinning.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// The cluster lets others run for a while; tells whether it did anything but poll since it last did so.
    pub fn suspend(&mut self) -> bool {
        if let Some(active) = &mut self.watch.active {
            active.found = 0;
        }
        if std::mem::take(&mut self.watch.spins) {
            self.context
                .spinning
                .spinning
                .fetch_sub(1, Ordering::SeqCst);
        }
        std::mem::take(&mut self.watch.changed)
    }

    /// Takes note of an instruction that was executed during a watch.
    pub fn watch_instruction(&mut self, at: At, inst: &Inst, active: u32) {
        let warp = &self.ctas[at.cta].warps[at.warp];
        let polled = match effect(&inst.op, warp, active) {
            Effect::None => return,
            Effect::Change => return self.changed(),
            Effect::Poll => self.polled(at, &inst.op, active),
        };
        let unit = at.cta * self.ctas[at.cta].warps.len() + at.warp;
        if let Some(watch) = &mut self.watch.active {
            for lane in lanes(active) {
                watch.polls[unit][lane] += 1;
            }
            watch.polled[unit] = polled;
        }
    }

    /// What a group that can run is doing, for a report.
    pub fn polling(&self, cta: usize, warp: usize) -> StallReason {
        let unit = cta * self.ctas[cta].warps.len() + warp;
        let watch = self.watch.active.as_ref();
        watch
            .and_then(|watch| watch.polled.get(unit)?.clone())
            .unwrap_or(StallReason::Running)
    }

    /// What the first lane of a polling instruction looks at.
    fn polled(&mut self, at: At, op: &Op, active: u32) -> Option<StallReason> {
        let lane = lanes(active).next()?;
        let warp = &self.ctas[at.cta].warps[at.warp];
        match op {
            Op::Mbarrier(MbarrierOp::Wait {
                barrier,
                space,
                phase: MbarrierPhase::Parity(parity) | MbarrierPhase::Token(parity),
                ..
            }) => {
                let address = warp.address(barrier, lane);
                let parity = warp.value(*parity, lane) as u32;
                let offset = self.shared_address(at, *space, address).ok()?.offset;
                let wait = Wait::Mbarrier {
                    offset,
                    parity,
                    lanes: active,
                    predicate: None,
                };
                Some(StallReason::Polling(Box::new(
                    self.reason(at.cta, at.warp, wait),
                )))
            }
            Op::Load { address, .. } | Op::Atomic { address, .. } => {
                let address = warp.address(address, lane);
                Some(StallReason::PollingMemory { address })
            }
            _ => None,
        }
    }
}

fn ready_lanes(warp: &Warp) -> u32 {
    let ready = warp
        .groups
        .iter()
        .filter(|group| group.state == State::Ready);
    ready.fold(0, |mask, group| mask | group.mask)
}

/// What an instruction means for others.
enum Effect {
    /// Nothing.
    None,
    /// It looks at what others may change.
    Poll,
    /// They may notice it.
    Change,
}

/// The effect of an instruction that has been executed.
fn effect(op: &Op, warp: &Warp, active: u32) -> Effect {
    match op {
        Op::Branch { .. }
        | Op::BranchIndexed { .. }
        | Op::Nop
        | Op::Alu(_)
        | Op::Pack { .. }
        | Op::Unpack { .. }
        | Op::Special { .. }
        | Op::Shuffle { .. }
        | Op::Vote { .. }
        | Op::Match { .. }
        | Op::Redux { .. }
        | Op::ActiveMask { .. }
        | Op::Elect { .. }
        | Op::WarpSync { .. }
        | Op::Fence { .. }
        | Op::Prefetch { .. }
        | Op::ConvertAddress { .. }
        | Op::IsSpace { .. }
        | Op::MapShared { .. }
        | Op::CreatePolicy { .. }
        | Op::Nanosleep { .. } => Effect::None,
        Op::Load { .. } | Op::Mbarrier(MbarrierOp::Wait { .. }) => Effect::Poll,
        // A lock that others hold: the comparison failed in every lane.
        Op::Atomic {
            op: AtomicOp::CompareAndSwap,
            dst: Some(found),
            a,
            ..
        } if *a != Src::Reg(*found) => {
            let failed = |lane| warp.value(Src::Reg(*found), lane) != warp.value(*a, lane);
            match lanes(active).all(failed) {
                true => Effect::Poll,
                false => Effect::Change,
            }
        }
        _ => Effect::Change,
    }
}
