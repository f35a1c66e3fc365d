//! Registers that nothing has written. Reading one is harmless, and compilers do it; what matters is where its value
//! goes: to memory, into an address, a branch or an asynchronous operation.

use super::{Finding, Found, Order, Rule, Severity};
use crate::isa::ir::{Guard, Reg, Src};
use crate::isa::registers::{Accumulator, RegisterUse, Results, Role};
use crate::machine::operation::Issuer;
use crate::machine::warp::Slot;

/// In which lanes of one warp each register holds a value that was computed from what was written: a bit per lane.
#[derive(Debug, Default)]
pub struct Defined(Vec<u32>);

impl Defined {
    pub fn reset(&mut self, registers: usize) {
        self.0.clear();
        self.0.resize(registers, 0);
    }

    fn of(&self, source: Src) -> u32 {
        match source {
            Src::Imm(_) => u32::MAX,
            Src::Reg(register) => self.0[register as usize],
        }
    }

    /// The lanes of `active` in which the results of an instruction are defined.
    fn results(&self, uses: &RegisterUse, registers: &[Slot], active: u32) -> u32 {
        let sources = || uses.sources.iter().map(|source| self.of(*source));
        match uses.results {
            Results::Defined => u32::MAX,
            Results::FromAll => sources().fold(u32::MAX, |all, source| all & source),
            Results::FromAny => {
                let any = sources().fold(0, |any, source| any | source);
                if uses.sources.is_empty() {
                    u32::MAX
                } else {
                    any
                }
            }
            Results::FromAnyLane => {
                let any = sources().any(|source| source & active != 0);
                if any { u32::MAX } else { 0 }
            }
            Results::Select { predicate } => {
                let values = registers[predicate as usize].iter().enumerate();
                let chosen = values.fold(0u32, |chosen, (lane, value)| {
                    chosen | u32::from(*value != 0) << lane
                });
                let [a, b] = [0, 1].map(|index| self.of(uses.sources[index]));
                self.of(Src::Reg(predicate)) & (a & chosen | b & !chosen)
            }
        }
    }

    fn write(&mut self, uses: &RegisterUse, defined: u32, active: u32) {
        for register in &uses.written {
            let lanes = &mut self.0[*register as usize];
            *lanes = *lanes & !active | defined & active;
        }
    }
}

/// Whether it adds to D. All lanes agree: whoever executes it checks that.
fn adds(accumulator: &Accumulator, registers: &[Slot]) -> bool {
    let scale_d = match accumulator.scale_d {
        Src::Imm(value) => value != 0,
        Src::Reg(register) => registers[register as usize][0] != 0,
    };
    scale_d != accumulator.negated
}

impl Order<'_> {
    /// An instruction is about to be executed: `mask` are the lanes that come to it, `active` those whose guard holds.
    #[inline]
    pub fn instruction(
        &mut self,
        by: Issuer,
        uses: &RegisterUse,
        guard: Option<Guard>,
        registers: &[Slot],
        (mask, active): (u32, u32),
    ) -> Found {
        if uses.meets {
            self.lanes_meet(by, active);
        }
        let index = self.index(by);
        let defined = &self.defined[index];
        let guard = guard.map(|guard| (guard.predicate, Role::Control, mask));
        let consumed = uses
            .consumed
            .iter()
            .map(|(reg, role)| (*reg, *role, active));
        let accumulator = uses.accumulator.iter().filter(|d| adds(d, registers));
        let accumulator = accumulator.flat_map(|d| &d.registers);
        let undefined = guard
            .into_iter()
            .chain(consumed)
            .chain(accumulator.map(|register| (*register, Role::Operand, active)))
            .map(|(register, role, read)| (register, role, read & !defined.of(Src::Reg(register))))
            .find(|(_, _, lanes)| *lanes != 0);
        let results = defined.results(uses, registers, active);
        self.defined[index].write(uses, results, active);
        match undefined {
            None => Ok(()),
            Some((register, role, lanes)) => self.undefined(by, register, role, lanes),
        }
    }

    #[cold]
    fn undefined(&mut self, by: Issuer, register: Reg, role: Role, mask: u32) -> Found {
        let lane = mask.trailing_zeros();
        let by = Issuer { lane, ..by };
        let severity = match role {
            Role::Value => Severity::Warning,
            Role::Control | Role::Address | Role::Operand => Severity::Error,
        };
        let rule = Rule::Uninitialised;
        if self.is_known(rule, severity, by, None) {
            return Ok(());
        }
        let name = self.kernel.register_names.get(register as usize);
        let finding = Finding {
            rule,
            severity,
            now: role.name(),
            space: "a register",
            range: register.into()..u64::from(register) + 1,
            memory_of: None,
            allocation: None,
            register: name.map(|name| name.to_string()),
            other: None,
            missing: format!("lane {lane} has not written it, nor all that it was computed from"),
        };
        self.report(by, finding)
    }
}
