//! Clusters that do nothing but poll: every group that can run looks again and again at what others may change.
//!
//! A cluster is watched from time to time. While it is, every instruction that others could notice ends the watch; where
//! all lanes that can run have polled for a while without one, the cluster pauses: others have to run. Where none of
//! them does anything but poll either, they will go on for ever. Only a time-out of their own could end it, and that
//! long a wait is taken for one.

use std::sync::atomic::{AtomicU64, Ordering};

use super::atomics;
use super::cluster::{At, Cluster};
use super::dependency::Pause;
use super::report::StallReason;
use super::warp::{State, Wait, Warp, lanes};
use crate::isa::ir::{Inst, LANES, MbarrierOp, MbarrierPhase, Op, Src};

/// Instructions of a cluster between two watches: the fewest, and the most, which those reach that don't poll.
const WATCH_EVERY: [u64; 2] = [1 << 11, 1 << 16];

/// How often each lane polls until its cluster pauses; looking at the same again counts more than looking around, which
/// may be work.
const POLLS: u32 = 1 << 16;
const POLLS_OF_A_LOOK: u32 = 1 << 8;

/// Instructions after which a cluster pauses, whatever it does: it may poll in a way that is not known for that.
const TURN: u64 = 1 << 22;

/// Rounds of all clusters, and instructions, without anything but polling after which nothing else will come.
const QUIET_ROUNDS: u32 = 32;
const QUIET_STEPS: u64 = 1 << 19;

/// The host threads that run a launch's clusters, and those of them whose clusters do nothing but poll.
#[derive(Debug, Default)]
pub struct Spinning {
    running: AtomicU64,
    spinning: AtomicU64,
    /// Counts threads that went on: what they wrote may end another's polling.
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

/// For how long the clusters of a host thread have done nothing but poll.
#[derive(Debug, Default)]
pub struct Quiet {
    /// Clusters that polled in this round.
    clusters: usize,
    /// Since nobody else on any thread did anything but poll.
    rounds: u32,
    steps: u64,
    /// [`Spinning::changes`] in the last round.
    changes: u64,
    /// Whether the thread is among the spinning ones.
    spins: bool,
}

impl Quiet {
    /// One of `resident` clusters, which take turns, did nothing but poll for so many steps. Tells whether nobody will
    /// ever do anything else.
    pub fn polled(&mut self, spinning: &Spinning, resident: usize, steps: u64) -> bool {
        self.clusters += 1;
        self.steps += steps;
        if self.clusters < resident {
            return false;
        }
        self.clusters = 0;
        if !self.spins {
            self.spins = true;
            spinning.spinning.fetch_add(1, Ordering::SeqCst);
        }
        let changes = spinning.changes.load(Ordering::SeqCst);
        let all_spin =
            spinning.spinning.load(Ordering::SeqCst) == spinning.running.load(Ordering::SeqCst);
        match all_spin && changes == self.changes {
            true => self.rounds += 1,
            false => (self.rounds, self.steps) = (0, 0),
        }
        self.changes = changes;
        self.rounds >= QUIET_ROUNDS && self.steps >= QUIET_STEPS
    }

    /// Something else happened.
    pub fn end(&mut self, spinning: &Spinning) {
        if self.spins {
            spinning.changes.fetch_add(1, Ordering::SeqCst);
            spinning.spinning.fetch_sub(1, Ordering::SeqCst);
        }
        *self = Self::default();
    }
}

/// What is known of a cluster's polling.
#[derive(Debug, Default)]
pub struct Watch {
    is_active: bool,
    /// The step at which the next watch begins, while there is none, and how long after the last one.
    next: u64,
    interval: u64,
    /// The step at which the cluster pauses in any case.
    turn_end: u64,
    /// Of each lane of each warp, CTA after CTA.
    polls: Vec<[u32; LANES]>,
    /// What each warp polled last.
    polled: Vec<Option<StallReason>>,
    /// Whether the cluster did anything but poll since it was suspended last.
    changed: bool,
    /// Instructions at which lanes do not wait for the others of their warp any more.
    unmerged: Vec<u32>,
}

impl Watch {
    pub fn reset(&mut self) {
        self.is_active = false;
        self.interval = WATCH_EVERY[0];
        self.next = self.interval;
        self.turn_end = TURN;
        self.changed = true;
        self.unmerged.clear();
    }

    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Whether lanes that diverged are to meet again at this instruction.
    pub fn merges_at(&self, pc: u32) -> bool {
        !self.unmerged.contains(&pc)
    }

    fn begin(&mut self, warps: usize) {
        self.is_active = true;
        self.polls.clear();
        self.polls.resize(warps, [0; LANES]);
        self.polled.clear();
        self.polled.resize(warps, None);
    }
}

impl Cluster<'_> {
    /// Begins a watch if it is time for one, and tells whether and why others have to run now.
    pub fn look(&mut self) -> Option<Pause> {
        if self.steps >= self.watch.turn_end {
            return Some(Pause::Turn);
        }
        if !self.watch.is_active {
            if self.steps >= self.watch.next {
                let warps = self.ctas.iter().map(|cta| cta.warps.len()).sum();
                self.watch.begin(warps);
            }
            return None;
        }
        if !self.does_nothing_but_poll() {
            return None;
        }
        self.watch.polls.fill([0; LANES]);
        self.watch.interval = WATCH_EVERY[0];
        // Others did not help.
        if !self.watch.changed && self.separate_lanes() {
            return None;
        }
        Some(match self.waits_for_grid() {
            true => Pause::Dependency,
            false => Pause::Polling,
        })
    }

    fn does_nothing_but_poll(&self) -> bool {
        let warps = self.ctas.iter().flat_map(|cta| &cta.warps);
        let mut can_run = false;
        for (warp, polls) in warps.zip(&self.watch.polls) {
            let ready = ready_lanes(warp);
            can_run |= ready != 0;
            if lanes(ready).any(|lane| polls[lane] < POLLS) {
                return false;
            }
        }
        can_run && !self.engine.may_go_on()
    }

    /// Something happened that others may notice.
    pub fn changed(&mut self) {
        let watch = &mut self.watch;
        watch.changed = true;
        if std::mem::take(&mut watch.is_active) {
            watch.next = self.steps + watch.interval;
            watch.interval = (2 * watch.interval).min(WATCH_EVERY[1]);
        }
    }

    /// The cluster lets others run for a while; tells whether it did anything but poll since it last did so.
    pub fn suspend(&mut self) -> bool {
        self.watch.turn_end = self.steps + TURN;
        std::mem::take(&mut self.watch.changed)
    }

    /// Lets lanes go on that wait where their warp would reconverge, if others of the warp cannot come; tells whether
    /// there were any. Meeting there is for speed only: lanes that diverged make progress of their own (CUDA C++
    /// Programming Guide, "Independent Thread Scheduling"), and one that waits may hold the lock that others spin on.
    pub fn separate_lanes(&mut self) -> bool {
        let mut any = false;
        for warp in self.ctas.iter_mut().flat_map(|cta| &mut cta.warps) {
            for pc in warp.separate() {
                any = true;
                if self.watch.merges_at(pc) {
                    self.watch.unmerged.push(pc);
                }
            }
        }
        if any {
            self.changed();
        }
        any
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
        let watch = &mut self.watch;
        let is_same = polled.is_some() && watch.polled[unit] == polled;
        let weight = if is_same { POLLS / POLLS_OF_A_LOOK } else { 1 };
        for lane in lanes(active) {
            watch.polls[unit][lane] = watch.polls[unit][lane].saturating_add(weight);
        }
        watch.polled[unit] = polled;
    }

    /// What a group that can run is doing, for a report.
    pub fn polling(&self, cta: usize, warp: usize) -> StallReason {
        let unit = cta * self.ctas[cta].warps.len() + warp;
        let watch = Some(&self.watch).filter(|watch| watch.is_active);
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
        // A lock that others hold, or a load in disguise.
        Op::Atomic {
            op,
            ty,
            dst: Some(found),
            a,
            b,
            ..
        } if [Some(*a), *b]
            .iter()
            .all(|source| *source != Some(Src::Reg(*found))) =>
        {
            let bytes = atomics::element_bytes(*ty).unwrap_or(8);
            let changes = |lane| {
                let [old, a] = [Src::Reg(*found), *a].map(|source| warp.value(source, lane));
                let b = b.map_or(0, |b| warp.value(b, lane));
                let new = atomics::combine_flushed(*op, *ty, old, a, b);
                (new ^ old) << (64 - 8 * bytes) != 0
            };
            match lanes(active).any(changes) {
                true => Effect::Change,
                false => Effect::Poll,
            }
        }
        _ => Effect::Change,
    }
}
