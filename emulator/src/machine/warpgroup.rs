//! What a warp remembers of its `wgmma` instructions: which are in flight, who uses which register, and whether all
//! warps of the warpgroup execute the same.

use std::collections::VecDeque;

use super::report::{FailureKind, Step};
use crate::isa::ir::{Kernel, Op, Reg};
use crate::isa::matrix::{MatrixOp, WarpgroupA, WarpgroupMma};

/// Warps of a warpgroup.
pub const WARPS: usize = 4;

/// The operands that all warps of a warpgroup have to give alike (PTX ISA §9.7.15.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands {
    pub pc: u32,
    pub a_descriptor: Option<u64>,
    pub b_descriptor: u64,
    pub accumulate: bool,
}

/// One `wgmma.mma_async` that no `wgmma.wait_group` has covered.
#[derive(Clone, Copy, Debug)]
struct Pending {
    pc: u32,
    /// Once committed.
    group: Option<u32>,
    complete: bool,
}

/// How an instruction in flight uses a register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Use {
    #[default]
    None,
    A,
    D,
}

#[derive(Clone, Copy, Debug, Default)]
struct RegisterState {
    in_flight: Use,
    /// `wgmma.fence`s that were before the last access by another instruction, and that access's shape if it was a
    /// `wgmma` that accumulated here.
    fences_before_access: u64,
    accumulator_of: Option<u32>,
}

/// State of one warp.
#[derive(Debug, Default)]
pub struct WarpgroupState {
    registers: Vec<RegisterState>,
    pending: Vec<Pending>,
    committed_groups: u32,
    fences: u64,
    issued: u64,
    /// In the warpgroup's first warp: the instructions that not all four have executed, and the number of those before.
    log: VecDeque<Operands>,
    log_start: u64,
}

fn instruction(kernel: &Kernel, pc: u32) -> Option<&WarpgroupMma> {
    match &kernel.code.get(pc as usize)?.op {
        Op::Matrix(MatrixOp::WarpgroupMma(mma)) => Some(mma),
        _ => None,
    }
}

fn a_registers(mma: &WarpgroupMma) -> &[Reg] {
    match &mma.a {
        WarpgroupA::Registers(registers) => registers,
        WarpgroupA::Descriptor { .. } => &[],
    }
}

impl WarpgroupState {
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Warps without `wgmma` keep no notes on their registers.
    fn make_room(&mut self, kernel: &Kernel) {
        if self.registers.is_empty() {
            self.registers
                .resize(kernel.registers, RegisterState::default());
        }
    }

    /// An instruction other than `wgmma` reads or writes these registers.
    pub fn access(&mut self, kernel: &Kernel, registers: &[Reg]) -> Step<()> {
        self.make_room(kernel);
        for register in registers {
            let state = &mut self.registers[*register as usize];
            if state.in_flight != Use::None {
                let role = match state.in_flight {
                    Use::D => "the accumulator",
                    _ => "A",
                };
                return Err(FailureKind::tensor(format!(
                    "a register that holds {role} of a wgmma.mma_async in flight is accessed; wgmma.wait_group has to \
                     come first"
                )));
            }
            state.fences_before_access = self.fences + 1;
            state.accumulator_of = None;
        }
        Ok(())
    }

    pub fn fence(&mut self) {
        self.fences += 1;
    }

    /// A `wgmma.mma_async` at `pc` is issued: its registers must be free and fenced (PTX ISA §9.7.15.7.1).
    pub fn issue(&mut self, kernel: &Kernel, pc: u32, mma: &WarpgroupMma) -> Step<()> {
        self.make_room(kernel);
        if self.fences == 0 {
            return Err(FailureKind::tensor(
                "the first wgmma.mma_async has no wgmma.fence before it",
            ));
        }
        let shape = mma.n << 8 | mma.k;
        for register in &mma.d {
            let state = &self.registers[*register as usize];
            let chained = state.accumulator_of == Some(shape);
            if state.in_flight == Use::A || state.in_flight == Use::D && !chained {
                return Err(FailureKind::tensor(
                    "the accumulator of wgmma.mma_async is in use by one in flight, as A or with another shape",
                ));
            }
            if state.fences_before_access > self.fences && !chained {
                return Err(unfenced("the accumulator"));
            }
        }
        for register in a_registers(mma) {
            let state = &self.registers[*register as usize];
            if state.in_flight == Use::D {
                return Err(FailureKind::tensor(
                    "A of wgmma.mma_async is the accumulator of one in flight",
                ));
            }
            if state.fences_before_access > self.fences {
                return Err(unfenced("A"));
            }
        }
        for register in a_registers(mma) {
            self.registers[*register as usize].in_flight = Use::A;
        }
        for register in &mma.d {
            let state = &mut self.registers[*register as usize];
            state.in_flight = Use::D;
            state.fences_before_access = self.fences + 1;
            state.accumulator_of = Some(shape);
        }
        self.pending.push(Pending {
            pc,
            group: None,
            complete: false,
        });
        self.issued += 1;
        Ok(())
    }

    /// The oldest instruction in flight has taken effect.
    pub fn complete(&mut self) {
        if let Some(oldest) = self.pending.iter_mut().find(|pending| !pending.complete) {
            oldest.complete = true;
        }
    }

    pub fn commit(&mut self) {
        for pending in &mut self.pending {
            pending.group.get_or_insert(self.committed_groups);
        }
        self.committed_groups += 1;
    }

    /// `wgmma.wait_group`: whether all groups but the last `allowed` are complete. If so, their registers are free.
    pub fn wait(&mut self, kernel: &Kernel, allowed: u32) -> bool {
        let first_allowed = self.committed_groups.saturating_sub(allowed);
        let is_covered =
            |pending: &Pending| pending.group.is_some_and(|group| group < first_allowed);
        if self
            .pending
            .iter()
            .any(|pending| is_covered(pending) && !pending.complete)
        {
            return false;
        }
        let before = self.pending.len();
        self.pending.retain(|pending| !is_covered(pending));
        if self.pending.len() != before {
            self.mark_registers(kernel);
        }
        true
    }

    fn mark_registers(&mut self, kernel: &Kernel) {
        for state in &mut self.registers {
            state.in_flight = Use::None;
        }
        for pending in &self.pending {
            let Some(mma) = instruction(kernel, pending.pc) else {
                continue;
            };
            for register in a_registers(mma) {
                self.registers[*register as usize].in_flight = Use::A;
            }
            for register in &mma.d {
                self.registers[*register as usize].in_flight = Use::D;
            }
        }
    }

    /// `wgmma.mma_async`s that this warp has executed.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// In the warpgroup's first warp: compares the `number`th instruction with what the other warps executed.
    /// `finished` is what all four have executed.
    pub fn compare(&mut self, number: u64, operands: Operands, finished: u64) -> Step<()> {
        while self.log_start < finished && self.log.pop_front().is_some() {
            self.log_start += 1;
        }
        match self.log.get((number - self.log_start) as usize) {
            None => {
                self.log.push_back(operands);
                Ok(())
            }
            Some(other) if *other == operands => Ok(()),
            Some(other) => Err(FailureKind::tensor(format!(
                "the warps of a warpgroup execute different wgmma.mma_async: {} here, {} in another warp",
                describe(operands),
                describe(*other)
            ))),
        }
    }
}

fn unfenced(what: &str) -> FailureKind {
    FailureKind::tensor(format!(
        "registers of {what} of wgmma.mma_async were accessed after the last wgmma.fence; one has to come between"
    ))
}

fn describe(operands: Operands) -> String {
    let Operands {
        pc,
        a_descriptor,
        b_descriptor,
        accumulate,
    } = operands;
    let a = a_descriptor.map_or("in registers".to_owned(), |a| format!("{a:#018x}"));
    format!("instruction {pc}, A {a}, B {b_descriptor:#018x}, scale-d {accumulate}")
}
