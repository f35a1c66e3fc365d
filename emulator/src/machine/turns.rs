//! Who runs next in a cluster, by the schedule's [`Turns`].

use super::cluster::Cta;
use super::random::SplitMix64;
use super::schedule::{QUANTUM, Turns, Victim};
use super::warp::{State, Warp};

/// A group of a warp that may run, and for how many instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    pub cta: usize,
    pub warp: usize,
    pub group: usize,
    pub quantum: u32,
}

/// Instructions that one warp executes at most, and that a victim is held up for at most, while others could run: they
/// may be polling for what it does.
const FAIRNESS: u64 = 4096;

/// The state of a cluster's schedule.
#[derive(Debug)]
pub struct TurnTaking {
    turns: Turns,
    random: SplitMix64,
    /// Warps of a CTA.
    warps: usize,
    /// The warp that is looked at first, counted through all CTAs.
    cursor: usize,
    /// Higher ones run first.
    priorities: Vec<i64>,
    lowest: i64,
    /// Steps at which the running warp becomes the lowest, the last one first.
    change_points: Vec<u64>,
    /// The warp that runs without a break, and the step at which it began.
    running: Option<(usize, u64)>,
    /// The step at which a victim ran last, or had no reason to.
    victim_ran: u64,
    /// What each turn was, as far as the order of execution goes.
    fingerprint: u64,
}

impl TurnTaking {
    pub fn new() -> Self {
        Self {
            turns: Turns::default(),
            random: SplitMix64::new(0, 0),
            warps: 0,
            cursor: 0,
            priorities: Vec::new(),
            lowest: 0,
            change_points: Vec::new(),
            running: None,
            victim_ran: 0,
            fingerprint: 0,
        }
    }

    /// Starts a cluster of `ctas` CTAs with `warps` warps each; `stream` tells the clusters of a launch apart.
    pub fn reset(&mut self, turns: Turns, stream: u64, ctas: usize, warps: usize) {
        let seed = match turns {
            Turns::Random { seed } | Turns::Pct { seed, .. } => seed,
            _ => 0,
        };
        self.turns = turns;
        self.random = SplitMix64::new(seed, stream);
        self.warps = warps;
        self.cursor = 0;
        self.lowest = 0;
        self.running = None;
        self.victim_ran = 0;
        self.fingerprint = stream;
        self.priorities.clear();
        self.change_points.clear();
        if let Turns::Pct { depth, steps, .. } = turns {
            let random = &mut self.random;
            self.priorities
                .extend((0..ctas * warps).map(|_| (random.next() >> 1) as i64));
            self.change_points
                .extend((1..depth).map(|_| random.next() % steps.max(1)));
            self.change_points.sort_unstable_by(|a, b| b.cmp(a));
        }
    }

    /// The next turn, at step `step`; `None` where no group can run.
    pub fn next(&mut self, ctas: &mut [Cta], step: u64) -> Option<Turn> {
        let (unit, quantum) = match self.turns {
            // A turn of no instructions would never end.
            Turns::RoundRobin { quantum } => (self.in_order(ctas, |_| true)?, quantum.max(1)),
            Turns::Random { .. } => {
                let unit = self.any(ctas)?;
                // From single steps, which interleave most finely, to whole turns.
                (unit, 1 << self.random.below(7))
            }
            Turns::Pct { .. } => (self.highest(ctas, step)?, 1),
            Turns::Starve { victim } => self.spare(ctas, victim, step)?,
            Turns::Greedy => (self.same(ctas, step)?, QUANTUM),
        };
        if self.running.is_none_or(|(running, _)| running != unit) {
            self.running = Some((unit, step));
        }
        let (cta, warp) = (unit / self.warps, unit % self.warps);
        let group = next_group(&mut ctas[cta].warps[warp], &mut self.random, self.turns);
        Some(Turn {
            cta,
            warp,
            group,
            quantum,
        })
    }

    /// The turn's group gave the rest of it away: it polls.
    pub fn yielded(&mut self) {
        let Some((unit, _)) = self.running.take() else {
            return;
        };
        self.cursor = unit + 1;
        if !self.priorities.is_empty() {
            self.lower(unit);
        }
    }

    /// Notes that the lanes of `mask` executed `steps` instructions from `pc` on.
    pub fn note(&mut self, turn: &Turn, mask: u32, pc: u32, steps: u64) {
        let unit = (turn.cta * self.warps + turn.warp) as u64;
        for word in [
            (unit << 32) | u64::from(mask),
            (steps << 32) | u64::from(pc),
        ] {
            // FNV-1a, by words.
            self.fingerprint = (self.fingerprint ^ word).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    /// Two runs with the same one executed the same instructions in the same order, as good as certainly.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The next warp from the cursor on that can run and that `which` takes.
    fn in_order(&mut self, ctas: &[Cta], which: impl Fn(usize) -> bool) -> Option<usize> {
        let count = ctas.len() * self.warps;
        let unit = (self.cursor..count)
            .chain(0..self.cursor.min(count))
            .find(|unit| which(*unit) && self.can_run(ctas, *unit))?;
        self.cursor = unit + 1;
        Some(unit)
    }

    fn can_run(&self, ctas: &[Cta], unit: usize) -> bool {
        let warp = &ctas[unit / self.warps].warps[unit % self.warps];
        warp.groups.iter().any(is_ready)
    }

    fn any(&mut self, ctas: &[Cta]) -> Option<usize> {
        let units = 0..ctas.len() * self.warps;
        let able = units.clone().filter(|unit| self.can_run(ctas, *unit));
        let chosen = match able.count() {
            0 => return None,
            able => self.random.below(able),
        };
        units.filter(|unit| self.can_run(ctas, *unit)).nth(chosen)
    }

    fn highest(&mut self, ctas: &[Cta], step: u64) -> Option<usize> {
        if self.has_run_for_long(step) {
            self.yielded();
        }
        let highest = |turns: &Self| {
            (0..ctas.len() * turns.warps)
                .filter(|unit| turns.can_run(ctas, *unit))
                .max_by_key(|unit| turns.priorities[*unit])
        };
        let mut unit = highest(self)?;
        while self.change_points.last().is_some_and(|at| *at <= step) {
            self.change_points.pop();
            self.lower(unit);
            unit = highest(self)?;
        }
        Some(unit)
    }

    fn lower(&mut self, unit: usize) {
        self.lowest -= 1;
        self.priorities[unit] = self.lowest;
    }

    fn has_run_for_long(&self, step: u64) -> bool {
        self.running
            .is_some_and(|(_, began)| step - began >= FAIRNESS)
    }

    /// Anybody but the victim, if that can be; and how long they may run. The victim takes single steps, since the first
    /// may let others run.
    fn spare(&mut self, ctas: &[Cta], victim: Victim, step: u64) -> Option<(usize, u32)> {
        let (warps, count) = (self.warps, ctas.len());
        let is_victim = move |unit: usize| match victim {
            Victim::Warp(warp) => unit % warps == warp as usize % warps,
            // The only CTA would be everybody.
            Victim::Cta(cta) => count > 1 && unit / warps == cta as usize % count,
        };
        let waits = (0..count * warps).any(|unit| is_victim(unit) && self.can_run(ctas, unit));
        if !waits {
            self.victim_ran = step;
        }
        if step - self.victim_ran < FAIRNESS
            && let Some(unit) = self.in_order(ctas, |unit| !is_victim(unit))
        {
            return Some((unit, QUANTUM));
        }
        match self.in_order(ctas, is_victim) {
            // One turn, then again nothing for long.
            Some(unit) if step - self.victim_ran >= FAIRNESS => {
                self.victim_ran = step;
                Some((unit, QUANTUM))
            }
            Some(unit) => {
                self.victim_ran = step;
                Some((unit, 1))
            }
            None => self.in_order(ctas, |_| true).map(|unit| (unit, QUANTUM)),
        }
    }

    fn same(&mut self, ctas: &mut [Cta], step: u64) -> Option<usize> {
        match self.running {
            Some((unit, _)) if self.can_run(ctas, unit) && !self.has_run_for_long(step) => {
                Some(unit)
            }
            _ => {
                self.running = None;
                let unit = self.in_order(ctas, |_| true)?;
                // Another group of the warp may be what the last one polled for.
                ctas[unit / self.warps].warps[unit % self.warps].turn += 1;
                Some(unit)
            }
        }
    }
}

fn is_ready(group: &super::warp::Group) -> bool {
    group.state == State::Ready
}

/// The warp's groups take turns, in a random order where the schedule is random.
fn next_group(warp: &mut Warp, random: &mut SplitMix64, turns: Turns) -> usize {
    let count = warp.groups.len();
    if matches!(turns, Turns::Random { .. }) && count > 1 {
        warp.turn = random.below(count);
    }
    let group = (0..count)
        .map(|i| (warp.turn + i) % count)
        .find(|i| is_ready(&warp.groups[*i]))
        .unwrap_or_default();
    // Under greedy turns a group goes on until it blocks or polls: it keeps its place.
    if !matches!(turns, Turns::Greedy) {
        warp.turn = group + 1;
    }
    group
}
