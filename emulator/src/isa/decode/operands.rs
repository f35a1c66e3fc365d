//! Operands: registers, immediates, addresses.

use super::super::alu::{AluOp, BitsOp, Format, Function, IntType, IntegerOp, Rounding};
use super::super::ir::{Address, Dst, Guard, Op, Space, SpecialRegister, Src};
use super::modifiers::ValueType;
use super::scope::{Register, Symbol, Variable, VariableSpace};
use super::special::special_register;
use super::{Decoded, Decoder};
use crate::ptx::ast::{self, Operand};

/// `Src::Imm(0)` fills the sources that a function does not have.
pub(super) const NONE: Src = Src::Imm(0);

pub(super) fn operand_count(operands: &[Operand], least: usize, most: usize) -> Decoded<()> {
    let found = operands.len();
    if (least..=most).contains(&found) {
        Ok(())
    } else if least == most {
        Err(format!("found {found} operands, needs {least}"))
    } else {
        Err(format!("found {found} operands, needs {least} to {most}"))
    }
}

/// Exactly `N` operands.
pub(super) fn exactly<const N: usize>(operands: &[Operand]) -> Decoded<&[Operand; N]> {
    operands
        .try_into()
        .map_err(|_| format!("found {} operands, needs {N}", operands.len()))
}

fn check_bits(name: &str, register: Register, needed: u32) -> Decoded<()> {
    let describe = |bits| match bits {
        1 => "a predicate".to_owned(),
        bits => format!("a register of {bits} bits"),
    };
    if register.bits == needed {
        return Ok(());
    }
    let (found, needed) = (describe(register.bits), describe(needed));
    Err(format!("`{name}` is {found}, needs {needed}"))
}

pub(super) fn truncate(value: i128, bits: u32) -> u64 {
    if bits >= 64 {
        value as u64
    } else {
        value as u64 & ((1 << bits) - 1)
    }
}

/// An untyped operand of `bits` bits.
pub(super) const fn bits_type(bits: u32) -> ValueType {
    let ty = match bits {
        8 => IntType::U8,
        16 => IntType::U16,
        32 => IntType::U32,
        _ => IntType::U64,
    };
    ValueType::Int { ty, untyped: true }
}

pub(super) const B16: ValueType = bits_type(16);
pub(super) const B32: ValueType = bits_type(32);
pub(super) const B64: ValueType = bits_type(64);

impl<'a> Decoder<'a> {
    pub fn guard(&mut self, guard: &ast::Guard) -> Decoded<Guard> {
        let register = self.register(&guard.register)?;
        check_bits(&guard.register, register, 1)?;
        Ok(Guard {
            predicate: register.slot,
            negated: guard.negated,
        })
    }

    pub fn register(&mut self, name: &str) -> Decoded<Register> {
        match self.scopes.symbol(name) {
            Some(Symbol::Register(register)) if register.bits <= 64 => {
                self.named_registers.push(register.slot);
                Ok(register)
            }
            Some(Symbol::Register(_)) => Err(format!("128-bit register `{name}` is not supported")),
            Some(Symbol::Variable(_)) => Err(format!("`{name}` is a variable, needs a register")),
            None => Err(format!("register `{name}` is not declared")),
        }
    }

    /// A destination register; `None` is the sink `_`.
    pub fn destination(&mut self, operand: &Operand) -> Decoded<Option<Register>> {
        match operand {
            Operand::Name(name) if name == "_" => Ok(None),
            Operand::Name(name) => self.register(name).map(Some),
            other => Err(format!(
                "found {}, needs a destination register",
                describe(other)
            )),
        }
    }

    pub fn dst(&mut self, operand: &Operand) -> Decoded<Dst> {
        Ok(self.destination(operand)?.map(|register| register.slot))
    }

    /// A register among the operands must be as wide as the instruction's type. Loads, stores and
    /// conversions alone take wider ones (PTX ISA §9.4.1).
    pub fn check_width(&mut self, operand: &Operand, bits: u32) -> Decoded<()> {
        let (Operand::Name(name) | Operand::NotName(name)) = operand else {
            return Ok(());
        };
        match self.scopes.symbol(name) {
            Some(Symbol::Register(register)) => check_bits(name, register, bits),
            _ => Ok(()),
        }
    }

    /// Loads, stores and conversions take registers wider than the type (PTX ISA §9.4.1).
    pub fn check_least_width(&mut self, operand: &Operand, bits: u32) -> Decoded<()> {
        let Operand::Name(name) = operand else {
            return Ok(());
        };
        match self.scopes.symbol(name) {
            Some(Symbol::Register(register)) if register.bits < bits => {
                check_bits(name, register, bits)
            }
            _ => Ok(()),
        }
    }

    /// `d` or `d|p` of 32 bits and a predicate.
    pub fn word_dst_pair(&mut self, operand: &Operand) -> Decoded<(Dst, Dst)> {
        match operand {
            Operand::Pair(first, second) => {
                self.check_width(first, 32)?;
                self.check_width(second, 1)?;
            }
            single => self.check_width(single, 32)?,
        }
        self.dst_pair(operand)
    }

    /// A source of exactly 32 bits.
    pub fn word(&mut self, operand: &Operand) -> Decoded<Src> {
        self.check_width(operand, 32)?;
        self.src(operand, B32)
    }

    /// `d` or `d|p`.
    pub fn dst_pair(&mut self, operand: &Operand) -> Decoded<(Dst, Dst)> {
        match operand {
            Operand::Pair(first, second) => Ok((self.dst(first)?, self.dst(second)?)),
            single => Ok((self.dst(single)?, None)),
        }
    }

    /// The elements of `{a, b, …}`, or the operand alone.
    pub fn elements<'o>(&self, operand: &'o Operand) -> &'o [Operand] {
        match operand {
            Operand::Vector(elements) => elements,
            single => std::slice::from_ref(single),
        }
    }

    pub fn dsts(&mut self, operand: &Operand) -> Decoded<Vec<Dst>> {
        self.elements(operand)
            .iter()
            .map(|element| self.dst(element))
            .collect()
    }

    pub fn srcs(&mut self, operand: &Operand, ty: ValueType) -> Decoded<Vec<Src>> {
        self.elements(operand)
            .iter()
            .map(|element| self.src(element, ty))
            .collect()
    }

    pub fn src(&mut self, operand: &Operand, ty: ValueType) -> Decoded<Src> {
        match operand {
            Operand::Name(name) => self.named_src(name),
            Operand::NameOffset { name, offset } => {
                let variable = self.variable(name)?;
                Ok(self.variable_address(variable, *offset))
            }
            Operand::Element { name, index } => {
                let variable = self.variable(name)?;
                let offset = (variable.element as i64).wrapping_mul(*index);
                Ok(self.variable_address(variable, offset))
            }
            Operand::Int(_) | Operand::F32(_) | Operand::F64(_) => {
                immediate(operand, ty).map(Src::Imm)
            }
            other => Err(format!(
                "found {}, needs a register or a constant",
                describe(other)
            )),
        }
    }

    fn named_src(&mut self, name: &str) -> Decoded<Src> {
        match self.scopes.symbol(name) {
            Some(Symbol::Register(_)) => return Ok(Src::Reg(self.register(name)?.slot)),
            Some(Symbol::Variable(variable)) => return Ok(self.variable_address(variable, 0)),
            None => {}
        }
        if let Some(register) = special_register(name) {
            return Ok(self.special_src(register));
        }
        if let Some(value) = self.special_constant(name) {
            return Ok(Src::Imm(value));
        }
        let variable = self.variable(name)?;
        Ok(self.variable_address(variable, 0))
    }

    /// The address as a program sees it: a CTA's own shared addresses carry its rank in the
    /// cluster.
    fn variable_address(&mut self, variable: Variable, offset: i64) -> Src {
        let address = Src::Imm(variable.address.wrapping_add_signed(offset));
        match (variable.space, self.shared_rank) {
            (VariableSpace::Shared, Some(rank)) => {
                let slot = self.scopes.new_slot();
                let function = Function::Integer {
                    op: IntegerOp::Add,
                    ty: IntType::U32,
                };
                self.emit_alu(function, Some(slot), &[Src::Reg(rank), address]);
                Src::Reg(slot)
            }
            _ => address,
        }
    }

    fn special_src(&mut self, register: SpecialRegister) -> Src {
        let slot = self.scopes.new_slot();
        self.emit(Op::Special {
            dst: Some(slot),
            register,
        });
        Src::Reg(slot)
    }

    pub fn variable(&mut self, name: &str) -> Decoded<Variable> {
        match self.scopes.symbol(name) {
            Some(Symbol::Variable(variable)) => return Ok(variable),
            Some(Symbol::Register(_)) => {
                return Err(format!("`{name}` is a register, needs a variable"));
            }
            None => {}
        }
        if let Some(variable) = self.module_variables.get(name) {
            return Ok(*variable);
        }
        if let Some(variable) = self.shared.get(name) {
            return Ok(*variable);
        }
        if name.starts_with('%') {
            return Err(format!("register `{name}` is not declared"));
        }
        Err(format!("`{name}` is not defined in this module"))
    }

    /// A predicate operand: register, negated register or constant.
    pub fn predicate(&mut self, operand: &Operand) -> Decoded<(Src, bool)> {
        self.check_width(operand, 1)?;
        match operand {
            Operand::NotName(name) => Ok((Src::Reg(self.register(name)?.slot), true)),
            other => Ok((self.src(other, ValueType::Predicate)?, false)),
        }
    }

    pub fn address(&mut self, operand: &Operand) -> Decoded<Address> {
        Ok(self.located(operand)?.0)
    }

    /// An address, and the space of the variable that it names.
    pub fn located(&mut self, operand: &Operand) -> Decoded<(Address, Option<Variable>)> {
        match operand {
            Operand::Address {
                base,
                offset,
                coordinates: None,
            } => {
                let Some(name) = base else {
                    return Ok((
                        Address {
                            base: Src::Imm(0),
                            offset: *offset,
                        },
                        None,
                    ));
                };
                if let Some(Symbol::Register(_)) = self.scopes.symbol(name) {
                    let base = Src::Reg(self.register(name)?.slot);
                    return Ok((
                        Address {
                            base,
                            offset: *offset,
                        },
                        None,
                    ));
                }
                let variable = self.variable(name)?;
                let address = Address {
                    base: self.variable_address(variable, 0),
                    offset: *offset,
                };
                Ok((address, Some(variable)))
            }
            other => Err(format!("found {}, needs an address `[…]`", describe(other))),
        }
    }

    /// An address whose variable, if it names one, must fit the instruction's space.
    pub fn address_in(&mut self, operand: &Operand, space: Space) -> Decoded<(Address, Space)> {
        let (address, variable) = self.located(operand)?;
        let Some(variable) = variable else {
            return Ok((address, space));
        };
        let own = match variable.space {
            VariableSpace::Global => Space::Global,
            VariableSpace::Const => Space::Const,
            VariableSpace::Shared => Space::SharedCta,
            VariableSpace::Local | VariableSpace::CallParam => Space::Local,
            VariableSpace::KernelParam => Space::Param,
        };
        match (space, variable.space) {
            // A variable named without a space is accessed in its own.
            (Space::Generic, _) => Ok((address, own)),
            (Space::Param, VariableSpace::CallParam) => Ok((address, Space::Local)),
            (Space::SharedCluster, VariableSpace::Shared) => Ok((address, Space::SharedCluster)),
            _ if own == space && variable.space != VariableSpace::CallParam => Ok((address, space)),
            _ => Err(format!(
                "the variable is in {own:?} memory, the instruction in {space:?}"
            )),
        }
    }

    /// The value of `[base + offset]` as an operand of its own.
    pub fn address_value(&mut self, operand: &Operand) -> Decoded<Src> {
        let bits = match operand {
            Operand::Address {
                base: Some(name), ..
            } => match self.scopes.symbol(name) {
                Some(Symbol::Register(register)) => register.bits,
                _ => 64,
            },
            _ => 64,
        };
        let Address { base, offset } = self.address(operand)?;
        Ok(match base {
            _ if offset == 0 => base,
            Src::Imm(value) => Src::Imm(value.wrapping_add_signed(offset)),
            Src::Reg(_) => {
                let slot = self.scopes.new_slot();
                let ty = if bits == 64 {
                    IntType::U64
                } else {
                    IntType::U32
                };
                let offset = Src::Imm(truncate(i128::from(offset), bits));
                let function = Function::Integer {
                    op: IntegerOp::Add,
                    ty,
                };
                self.emit_alu(function, Some(slot), &[base, offset]);
                Src::Reg(slot)
            }
        })
    }

    /// The map and the coordinates of `[map, {c0, c1, …}]`.
    pub fn tensor(&mut self, operand: &Operand, dimensions: u32) -> Decoded<(Address, Vec<Src>)> {
        let Operand::Address {
            base,
            offset,
            coordinates: Some(coordinates),
        } = operand
        else {
            return Err(format!(
                "found {}, needs `[map, {{coordinates}}]`",
                describe(operand)
            ));
        };
        let map = Operand::Address {
            base: base.clone(),
            offset: *offset,
            coordinates: None,
        };
        let (mut map_address, variable) = self.located(&map)?;
        // Maps are addressed generically; a variable's address is one in its own space.
        if let Some(variable) = variable {
            let generic = self.generic_address(variable)?;
            map_address.base = Src::Imm(generic);
        }
        if coordinates.len() != dimensions as usize {
            return Err(format!(
                "found {} coordinates, needs {dimensions}",
                coordinates.len()
            ));
        }
        let coordinates = coordinates
            .iter()
            .map(|c| self.src(c, B32))
            .collect::<Decoded<Vec<Src>>>()?;
        Ok((map_address, coordinates))
    }

    fn generic_address(&self, variable: Variable) -> Decoded<u64> {
        use super::super::windows;
        Ok(match variable.space {
            VariableSpace::Global | VariableSpace::Const => variable.address,
            VariableSpace::KernelParam => windows::PARAM + variable.address,
            VariableSpace::Local | VariableSpace::CallParam => windows::LOCAL + variable.address,
            VariableSpace::Shared => return Err("a tensor map cannot be in shared memory".into()),
        })
    }

    pub fn emit_alu(&mut self, function: Function, dst: Dst, sources: &[Src]) {
        self.emit_alu_pair(function, dst, None, sources);
    }

    pub fn emit_alu_pair(&mut self, function: Function, dst: Dst, dst2: Dst, sources: &[Src]) {
        let mut srcs = [NONE; 4];
        for (src, source) in srcs.iter_mut().zip(sources) {
            *src = *source;
        }
        self.emit(Op::Alu(AluOp {
            function,
            dst,
            dst2,
            srcs,
        }));
    }

    /// A fresh register with `source`'s value where `predicate` holds differently from `negated`,
    /// as 0 or 1.
    pub fn plain_predicate(&mut self, predicate: Src, negated: bool) -> Src {
        if !negated {
            return predicate;
        }
        let slot = self.scopes.new_slot();
        self.emit_alu(
            Function::Bits(BitsOp::Not { bits: 1 }),
            Some(slot),
            &[predicate],
        );
        Src::Reg(slot)
    }
}

/// PTX ISA §4.5: integer constants are truncated to the instruction's type, floating constants
/// converted to it.
fn immediate(operand: &Operand, ty: ValueType) -> Decoded<u64> {
    let bits = ty.bits();
    let convert = |from: Format, code: u64, to: Format| {
        to.encode(from.decode(code), Rounding::NearestEven, false)
    };
    match (operand, ty) {
        (Operand::Int(value), ValueType::Predicate) => Ok(u64::from(*value != 0)),
        (Operand::Int(value), ValueType::Int { .. } | ValueType::PackedInt { .. }) => {
            Ok(truncate(*value, bits))
        }
        // Half-precision constants are written as bit strings, and so are packed ones.
        (Operand::Int(value), ValueType::Float { format, packed })
            if packed || matches!(format, Format::F16 | Format::Bf16) =>
        {
            Ok(truncate(*value, bits))
        }
        (
            Operand::F32(code),
            ValueType::Float {
                format,
                packed: false,
            },
        ) => match format {
            Format::F32 => Ok(u64::from(*code)),
            _ => Ok(convert(Format::F32, u64::from(*code), format)),
        },
        (
            Operand::F64(code),
            ValueType::Float {
                format,
                packed: false,
            },
        ) => match format {
            Format::F64 => Ok(*code),
            _ => Ok(convert(Format::F64, *code, format)),
        },
        (Operand::F32(code), ValueType::Int { untyped: true, .. }) if bits == 32 => {
            Ok(u64::from(*code))
        }
        (Operand::F64(code), ValueType::Int { untyped: true, .. }) if bits == 64 => Ok(*code),
        _ => Err(format!(
            "found {}, which does not fit the instruction's type",
            describe(operand)
        )),
    }
}

/// A literal number.
pub(super) fn constant(operand: &Operand) -> Decoded<i128> {
    match operand {
        Operand::Int(value) => Ok(*value),
        other => Err(format!(
            "found {}, needs an integer constant",
            describe(other)
        )),
    }
}

pub(super) fn constant_u32(operand: &Operand) -> Decoded<u32> {
    let value = constant(operand)?;
    u32::try_from(value).map_err(|_| format!("found {value}, needs a constant from 0 to 2³² − 1"))
}

pub(super) fn describe(operand: &Operand) -> String {
    match operand {
        Operand::Name(name) => format!("`{name}`"),
        Operand::NotName(name) => format!("`!{name}`"),
        Operand::Int(value) => format!("the integer {value}"),
        Operand::F32(bits) => format!("the constant 0f{bits:08X}"),
        Operand::F64(bits) => format!("the constant 0d{bits:016X}"),
        Operand::Address {
            coordinates: None, ..
        } => "an address".into(),
        Operand::Address { .. } => "a tensor address".into(),
        Operand::Vector(elements) => format!("a vector of {} elements", elements.len()),
        Operand::Pair(..) => "a pair `a|b`".into(),
        Operand::Tuple(_) => "a list in parentheses".into(),
        Operand::NameOffset { name, offset } => format!("`{name}{offset:+}`"),
        Operand::Element { name, index } => format!("`{name}[{index}]`"),
    }
}
