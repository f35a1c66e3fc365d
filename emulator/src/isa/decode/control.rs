//! Control flow (PTX ISA §9.7.12) and what acts on the whole warp or grid.

use super::super::ir::Op;
use super::modifiers::Modifiers;
use super::operands::{B32, constant_u32, describe, exactly, operand_count};
use super::scope::Label;
use super::{Decoded, Decoder};
use crate::ptx::ast::Operand;

impl<'a> Decoder<'a> {
    pub fn control(
        &mut self,
        opcode: &str,
        m: &mut Modifiers,
        operands: &'a [Operand],
    ) -> Decoded<()> {
        match opcode {
            "bra" => {
                let uniform = m.flag("uni");
                let [target] = exactly(operands)?;
                let target = self.target(target)?;
                self.emit(Op::Branch { target, uniform });
            }
            "brx" => {
                m.require("idx")?;
                m.flag("uni");
                let [index, list] = exactly(operands)?;
                let index = self.src(index, B32)?;
                let targets = self.target_list(list)?;
                self.emit(Op::BranchIndexed { index, targets });
            }
            "exit" => {
                operand_count(operands, 0, 0)?;
                self.emit(Op::Exit);
            }
            "ret" => {
                m.flag("uni");
                operand_count(operands, 0, 0)?;
                match self.calls.last() {
                    Some((_, end)) => {
                        let target = *end;
                        self.emit(Op::Branch {
                            target,
                            uniform: false,
                        });
                    }
                    None => self.emit(Op::Exit),
                }
            }
            "trap" => {
                operand_count(operands, 0, 0)?;
                self.emit(Op::Trap);
            }
            "call" => {
                m.flag("uni");
                self.call(operands)?;
            }
            // Counts for a profiler; no effect on the program.
            "pmevent" => {
                m.flag("mask");
                operand_count(operands, 1, 1)?;
                self.emit(Op::Nop);
            }
            "nanosleep" => {
                m.require("u32")?;
                let [duration] = exactly(operands)?;
                let duration = self.src(duration, B32)?;
                self.emit(Op::Nanosleep { duration });
            }
            "setmaxnreg" => {
                let increase = m.require_one_of(&[("inc", true), ("dec", false)])?;
                m.require("sync")?;
                m.require("aligned")?;
                m.require("u32")?;
                let [count] = exactly(operands)?;
                let registers = constant_u32(count)?;
                if !(24..=256).contains(&registers) || !registers.is_multiple_of(8) {
                    return Err(format!(
                        "found {registers} registers, needs 24 to 256 in steps of 8"
                    ));
                }
                self.emit(Op::SetMaxRegisters {
                    registers,
                    increase,
                });
            }
            _ => {
                let wait = m.require_one_of(&[("wait", true), ("launch_dependents", false)])?;
                operand_count(operands, 0, 0)?;
                self.emit(Op::GridDependency { wait });
            }
        }
        Ok(())
    }

    /// Labels become instruction indices when the whole body is decoded.
    fn target(&self, operand: &Operand) -> Decoded<Label> {
        match operand {
            Operand::Name(name) => self
                .scopes
                .label(name)
                .ok_or_else(|| format!("label `{name}` is not in scope")),
            other => Err(format!("found {}, needs a label", describe(other))),
        }
    }

    fn target_list(&self, operand: &Operand) -> Decoded<Vec<Label>> {
        let Operand::Name(name) = operand else {
            return Err(format!(
                "found {}, needs the name of a `.branchtargets` list",
                describe(operand)
            ));
        };
        let labels = self
            .scopes
            .branch_targets(name)
            .ok_or_else(|| format!("`.branchtargets` list `{name}` is not in scope"))?;
        labels
            .iter()
            .map(|label| {
                self.scopes
                    .label(label)
                    .ok_or_else(|| format!("label `{label}` is not in scope"))
            })
            .collect()
    }
}
