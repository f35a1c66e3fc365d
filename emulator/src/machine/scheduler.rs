//! The scheduler of one cluster: cooperative and deterministic. Groups of warps take turns as the
//! [`schedule`](super::schedule) says.

use std::sync::atomic::Ordering;

use super::cluster::{At, Cluster, Cta};
use super::completion::LateFailure;
use super::dependency::{Accessor, Pause};
use super::exec::{self, Flow};
use super::operation::Operation;
use super::report::{FailureKind, InFlight, LaunchFailure, Site, SourceLine, Stall, Step, failure};
use super::turns::Turn;
use super::warp::{Group, State, Wait, lanes};
use crate::isa::ir::{Guard, Op, Reg};

/// Instructions after which one asynchronous operation completes even if warps could go on: they
/// may be polling for it.
const PATIENCE: u64 = 4096;

/// Turns in a row that ended with a look at what is not there yet, after which one completes too: it is likely that no
/// warp can do anything else.
const LOOKS: u32 = 64;

/// Operations in flight above which the next ones complete: the units of a device have finite queues,
/// and every access is checked against all that is in flight.
const MOST_IN_FLIGHT: usize = 1024;

/// Turns between looks at whether others should run.
const WATCH_TURNS: u32 = 64;

/// Turns between looks at whether another cluster failed.
const STOP_CHECK_TURNS: u32 = 256;

/// How the turn of a group ended.
enum TurnEnd {
    /// It looked at what others may change, and it is not there yet.
    Polls,
    Other,
}

impl Cluster<'_> {
    /// Runs the cluster until it cannot go on alone, or others should run for a while.
    pub fn advance(&mut self) -> Result<Pause, LaunchFailure> {
        let limit = self.context.launch.options.step_limit;
        let mut last_completion = self.steps;
        let (mut turns, mut looks) = (0u32, 0);
        loop {
            turns = turns.wrapping_add(1);
            if self.stops() {
                return Ok(Pause::Dependency);
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.look(&mut self.ctas);
            }
            if self.steps >= limit {
                return Err(self.stalled(Stall::StepLimit));
            }
            if turns.is_multiple_of(WATCH_TURNS)
                && let Some(pause) = self.look()
            {
                return Ok(pause);
            }
            if turns.is_multiple_of(STOP_CHECK_TURNS) && self.context.stop.load(Ordering::Relaxed) {
                return Err(failure(self.context.kernel, None, FailureKind::Stopped));
            }
            if let Some(turn) = self.turns.next(&mut self.ctas, self.steps) {
                looks = match self.take_turn(turn)? {
                    TurnEnd::Polls => looks + 1,
                    TurnEnd::Other => 0,
                };
                while let Some(operation) = self.engine.take_spontaneous() {
                    self.complete(operation).map_err(|e| self.late(e))?;
                }
                while self.engine.operations().len() > MOST_IN_FLIGHT && self.make_room()? {}
                if self.steps - last_completion >= PATIENCE || looks >= LOOKS {
                    (last_completion, looks) = (self.steps, 0);
                    self.complete_one()?;
                }
                continue;
            }
            if self.ctas.iter().all(Cta::has_exited) {
                self.finish()?;
                return Ok(Pause::Exited);
            }
            last_completion = self.steps;
            if !self.complete_one()? {
                if self.waits_for_grid() {
                    return Ok(Pause::Dependency);
                }
                if self.separate_lanes() {
                    continue;
                }
                return Err(self.stalled(Stall::Deadlock));
            }
        }
    }

    /// Lets one operation take effect; `false` where none can.
    fn complete_one(&mut self) -> Result<bool, LaunchFailure> {
        let operation = self.engine.take_forced();
        self.complete_taken(operation)
    }

    /// [`complete_one`](Self::complete_one), writes of stores first, as they hold what they write.
    fn make_room(&mut self) -> Result<bool, LaunchFailure> {
        let write = self.engine.take_write();
        Ok(self.complete_taken(write)? || self.complete_one()?)
    }

    fn complete_taken(&mut self, operation: Option<Operation>) -> Result<bool, LaunchFailure> {
        match operation {
            None => Ok(false),
            Some(operation) => {
                self.complete(operation).map_err(|e| self.late(e))?;
                Ok(true)
            }
        }
    }

    fn take_turn(&mut self, turn: Turn) -> Result<TurnEnd, LaunchFailure> {
        let Turn {
            cta, warp, group, ..
        } = turn;
        let Group { mask, pc, .. } = self.ctas[cta].warps[warp].groups[group];
        let before = self.steps;
        let end = self.run_group(turn)?;
        self.place_warnings();
        self.turns.note(&turn, mask, pc, self.steps - before);
        if let Some(recorder) = &mut self.recorder {
            recorder.turn(&turn, self.context.kernel, pc, self.steps - before);
        }
        self.check_aligned(cta, warp)?;
        Ok(end)
    }

    fn run_group(&mut self, turn: Turn) -> Result<TurnEnd, LaunchFailure> {
        let Turn {
            cta,
            warp,
            group,
            quantum,
        } = turn;
        let kernel = self.context.kernel;
        let Group {
            mut mask,
            mut pc,
            merge,
            ..
        } = self.ctas[cta].warps[warp].groups[group];
        let merge_pc = self.ctas[cta].warps[warp].merge_pc(merge);
        for _ in 0..quantum {
            if merge_pc == Some(pc) {
                let state = &mut self.ctas[cta].warps[warp];
                state.groups.remove(group);
                state.add_group(mask, pc, merge);
                return Ok(TurnEnd::Other);
            }
            let Some(inst) = kernel.code.get(pc as usize) else {
                // The text ends without `ret`, which ends the threads as well.
                self.exit(cta, warp, group, mask, mask, pc)?;
                return Ok(TurnEnd::Other);
            };
            self.steps += 1;
            let active = match inst.guard {
                None => mask,
                Some(guard) => self.guarded(cta, warp, guard, mask),
            };
            let at = At {
                cta,
                warp,
                group,
                line: inst.line,
            };
            if let Some(order) = &mut self.order {
                let uses = &kernel.register_uses()[pc as usize];
                let registers = &self.ctas[cta].warps[warp].registers;
                let by = at.issuer(0);
                order
                    .instruction(by, uses, inst.guard, registers, (mask, active))
                    .map_err(|finding| self.failed(at, mask, finding.into()))?;
            }
            if active == 0 {
                pc += 1;
                continue;
            }
            self.ctas[cta].warps[warp].groups[group].pc = pc;
            if let Some(accesses) = &kernel.register_accesses {
                self.access_registers(at, &accesses[pc as usize])
                    .map_err(|kind| self.failed(at, active, kind))?;
            }
            if let Some(recorder) = &mut self.recorder {
                recorder.instruction(&self.ctas[cta].warps[warp], pc, inst, active);
            }
            self.global.set_accessor(|| Accessor {
                cta: self.ctas[cta].id,
                warp: warp as u32,
                lanes: active,
                line: inst.line,
            });
            let flow = exec::execute(self, at, inst, active)
                .map_err(|kind| self.failed(at, active, kind))?;
            if self.watch.is_active() {
                self.watch_instruction(at, inst, active);
            }
            match flow {
                Flow::Next => pc += 1,
                Flow::Branch { target } if active == mask => pc = target,
                Flow::Branch { target } => {
                    let parts = [(active, target), (mask & !active, pc + 1)];
                    self.diverge(cta, warp, group, &parts);
                    return Ok(TurnEnd::Other);
                }
                Flow::BranchIndexed => {
                    let parts = self
                        .indexed_targets(at, &inst.op, active)
                        .map_err(|kind| self.failed(at, active, kind))?;
                    match parts[..] {
                        [(_, target)] if active == mask => pc = target,
                        _ => {
                            let mut parts = parts;
                            if active != mask {
                                parts.push((mask & !active, pc + 1));
                            }
                            self.diverge(cta, warp, group, &parts);
                            return Ok(TurnEnd::Other);
                        }
                    }
                }
                Flow::Exit => {
                    self.exit(cta, warp, group, mask, active, pc)?;
                    return Ok(TurnEnd::Other);
                }
                Flow::Block(wait) => {
                    let state = &mut self.ctas[cta].warps[warp];
                    state.groups[group] = Group {
                        mask: active,
                        pc,
                        merge,
                        state: State::Blocked(wait),
                    };
                    // Lanes whose guard is false don't take part in the wait.
                    mask &= !active;
                    if mask != 0 {
                        state.add_group(mask, pc + 1, merge);
                    }
                    return Ok(TurnEnd::Other);
                }
                Flow::Yield => {
                    self.turns.yielded();
                    self.ctas[cta].warps[warp].groups[group].pc = pc + 1;
                    return Ok(TurnEnd::Polls);
                }
                Flow::Rejoin => {
                    let state = &mut self.ctas[cta].warps[warp];
                    state.groups[group].pc = pc + 1;
                    state.join_groups(pc + 1);
                    return Ok(TurnEnd::Other);
                }
            }
        }
        self.ctas[cta].warps[warp].groups[group].pc = pc;
        Ok(TurnEnd::Other)
    }

    /// In kernels with `wgmma`, whose operations in flight own registers.
    fn access_registers(&mut self, at: At, registers: &[Reg]) -> Step<()> {
        if !self.context.launch.options.mode.checks_order() {
            return Ok(());
        }
        let warp = &mut self.ctas[at.cta].warps[at.warp];
        warp.warpgroup.access(self.context.kernel, registers)
    }

    #[inline]
    fn guarded(&self, cta: usize, warp: usize, guard: Guard, mask: u32) -> u32 {
        let predicate = &self.ctas[cta].warps[warp].registers[guard.predicate as usize];
        let holds = predicate
            .iter()
            .enumerate()
            .fold(0u32, |bits, (lane, value)| {
                bits | (u32::from(*value != 0) << lane)
            });
        mask & if guard.negated { !holds } else { holds }
    }

    /// Splits a group that branches; its parts meet again at the branch's immediate post-dominator.
    fn diverge(&mut self, cta: usize, warp: usize, group: usize, parts: &[(u32, u32)]) {
        let kernel = self.context.kernel;
        let state = &mut self.ctas[cta].warps[warp];
        let Group {
            mask, pc, merge, ..
        } = state.groups.remove(group);
        // To meet only to exit would keep the first from exiting.
        let is_exit = |at: &u32| {
            let inst = kernel.code.get(*at as usize);
            inst.is_none_or(|inst| inst.guard.is_none() && matches!(inst.op, Op::Exit))
        };
        let meeting_point = kernel.reconvergence.get(pc as usize).copied().flatten();
        let meeting_point = meeting_point.filter(|at| !is_exit(at) && self.watch.merges_at(*at));
        let merge = match meeting_point {
            Some(at) => Some(state.open_merge(mask, at, merge)),
            None => merge,
        };
        for (mask, pc) in parts {
            state.add_group(*mask, *pc, merge);
        }
    }

    /// Lanes of an indexed branch by target (PTX ISA §9.7.12.4).
    fn indexed_targets(&self, at: At, op: &Op, active: u32) -> Step<Vec<(u32, u32)>> {
        let Op::BranchIndexed { index, targets } = op else {
            return Ok(Vec::new());
        };
        let warp = &self.ctas[at.cta].warps[at.warp];
        let mut parts: Vec<(u32, u32)> = Vec::new();
        for lane in lanes(active) {
            let index = warp.value(*index, lane);
            let target = usize::try_from(index)
                .ok()
                .and_then(|index| targets.get(index))
                .ok_or_else(|| {
                    FailureKind::IllegalOperand(format!(
                        "a branch index of {index}; the list has {} targets",
                        targets.len()
                    ))
                })?;
            match parts.iter_mut().find(|(_, pc)| pc == target) {
                Some((mask, _)) => *mask |= 1 << lane,
                None => parts.push((1 << lane, *target)),
            }
        }
        Ok(parts)
    }

    fn exit(
        &mut self,
        cta: usize,
        warp: usize,
        group: usize,
        mask: u32,
        exiting: u32,
        pc: u32,
    ) -> Result<(), LaunchFailure> {
        let line = self.line(pc);
        let state = &mut self.ctas[cta].warps[warp];
        let merge = state.groups[group].merge;
        let rest = mask & !exiting;
        if rest == 0 {
            state.groups.remove(group);
        } else {
            state.groups[group].mask = rest;
            state.groups[group].pc = pc + 1;
        }
        state.exit(exiting, merge);
        self.threads_exited(cta, warp).map_err(|kind| {
            let at = At {
                cta,
                warp,
                group,
                line,
            };
            self.failed(at, exiting, kind)
        })
    }

    /// Joins the parts of a warp that wait at one `.aligned` instruction, and fails where the rest
    /// of the warp will not come: it waits at another one, or at a branch's meeting point. A part
    /// that waits for something else may still come.
    fn check_aligned(&mut self, cta: usize, warp: usize) -> Result<(), LaunchFailure> {
        let state = &mut self.ctas[cta].warps[warp];
        let is_waiting =
            |group: &Group| matches!(group.state, State::Blocked(Wait::Aligned { .. }));
        let Some(first) = state.groups.iter().position(is_waiting) else {
            return Ok(());
        };
        let Group { pc, merge, .. } = state.groups[first];
        let there = state
            .groups
            .iter()
            .filter(|group| is_waiting(group) && group.pc == pc && group.merge == merge)
            .fold(0, |mask, group| mask | group.mask);
        if there == state.live {
            for group in &mut state.groups {
                if is_waiting(group) {
                    group.state = State::Ready;
                }
            }
            state.join_groups(pc);
            return Ok(());
        }
        if !state.groups.iter().all(is_waiting) {
            return Ok(());
        }
        let missing = state.live & !there;
        let at = At {
            cta,
            warp,
            group: first,
            line: self.line(pc),
        };
        let kind = FailureKind::DivergentAligned {
            found: there,
            missing,
        };
        Err(self.failed(at, there, kind))
    }

    /// All threads have exited: nothing may be left behind.
    fn finish(&mut self) -> Result<(), LaunchFailure> {
        let kernel = self.context.kernel;
        self.engine.retire_exited();
        // A grid is complete only when its writes are; its shared memory must not be needed any more.
        while let Some(operation) = self.engine.take_write() {
            self.complete(operation).map_err(|e| self.late(e))?;
        }
        if !self.engine.operations().is_empty() {
            let operations = self
                .in_flight(|_| true)
                .iter()
                .map(InFlight::to_string)
                .collect();
            let kind = FailureKind::OutstandingAtExit { operations };
            return Err(failure(kernel, None, kind));
        }
        for cta in &self.ctas {
            let columns = cta.allocated_columns();
            if columns != 0 {
                let kind = FailureKind::TensorMemoryLeak { columns };
                return Err(self.failed_everywhere(kind));
            }
        }
        if let Some(order) = &mut self.order {
            self.report.warnings.extend(order.take_warnings());
        }
        self.report.ctas += self.ctas.len() as u64;
        self.report.warp_instructions += self.steps;
        self.report.order = self.report.order.wrapping_add(self.turns.fingerprint());
        Ok(())
    }

    /// The line of the instruction at `pc`; 0 behind the last.
    pub fn line(&self, pc: u32) -> u32 {
        let code = &self.context.kernel.code;
        code.get(pc as usize).map_or(0, |inst| inst.line)
    }

    fn failed(&self, at: At, lanes: u32, kind: FailureKind) -> LaunchFailure {
        let kernel = self.context.kernel;
        let site = Site {
            cta: self.ctas[at.cta].id,
            warp: at.warp as u32,
            lanes,
            source: SourceLine::of(kernel, at.line),
        };
        let places = self.places(&kind, Some(at.cta));
        LaunchFailure {
            places,
            ..failure(kernel, Some(Box::new(site)), kind)
        }
    }

    /// A failure that no single instruction is to blame for.
    pub fn failed_everywhere(&self, kind: FailureKind) -> LaunchFailure {
        let places = self.places(&kind, None);
        LaunchFailure {
            places,
            ..failure(self.context.kernel, None, kind)
        }
    }

    fn late(&self, failed: LateFailure) -> LaunchFailure {
        let at = At {
            cta: failed.issuer.cta as usize,
            warp: failed.issuer.warp as usize,
            group: 0,
            line: failed.issuer.line,
        };
        self.failed(at, 1 << failed.issuer.lane, failed.kind)
    }
}
