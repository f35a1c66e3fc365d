//! Names: registers, variables and labels, by block.
//!
//! Inline assembly reuses names in blocks of its own, so an inner name hides the outer one.

use std::collections::HashMap;

use super::super::ir::Reg;

/// Index of a label; its instruction is known once the body is decoded.
pub(super) type Label = u32;

/// A register and its declared width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register {
    pub slot: Reg,
    pub bits: u32,
}

/// A variable's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub space: VariableSpace,
    /// In its space.
    pub address: u64,
    /// Bytes of one element, for `name[i]`.
    pub element: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariableSpace {
    Global,
    Const,
    Shared,
    Local,
    /// A kernel's parameter.
    KernelParam,
    /// An argument or result of an inlined call; it lives in local memory.
    CallParam,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    Register(Register),
    Variable(Variable),
}

/// `%r<17>`: the registers `%r0` to `%r16` that are not in use yet.
struct Family {
    count: u32,
    bits: u32,
}

#[derive(Default)]
struct Scope<'a> {
    symbols: HashMap<String, Symbol>,
    families: HashMap<&'a str, Family>,
    labels: HashMap<&'a str, Label>,
    branch_targets: HashMap<&'a str, &'a [String]>,
    /// The body of a function: names of its callers are invisible.
    opaque: bool,
}

pub(super) struct Scopes<'a> {
    scopes: Vec<Scope<'a>>,
    /// Of the register in each slot.
    names: Vec<Box<str>>,
}

impl<'a> Scopes<'a> {
    pub fn new() -> Self {
        Scopes {
            scopes: Vec::new(),
            names: Vec::new(),
        }
    }

    pub fn slots(&self) -> usize {
        self.names.len()
    }

    pub fn into_names(self) -> Vec<Box<str>> {
        self.names
    }

    pub fn new_slot(&mut self) -> Reg {
        self.named_slot("")
    }

    fn named_slot(&mut self, name: &str) -> Reg {
        let slot = self.names.len() as Reg;
        self.names.push(name.into());
        slot
    }

    /// A register of 128 bits takes two slots, the low half's first.
    fn new_register(&mut self, name: &str, bits: u32) -> Register {
        let slot = self.named_slot(name);
        if bits == 128 {
            self.named_slot(name);
        }
        Register { slot, bits }
    }

    pub fn enter(&mut self, opaque: bool) {
        self.scopes.push(Scope {
            opaque,
            ..Scope::default()
        });
    }

    pub fn leave(&mut self) {
        self.scopes.pop();
    }

    fn innermost(&mut self) -> Option<&mut Scope<'a>> {
        self.scopes.last_mut()
    }

    pub fn declare(&mut self, name: &str, symbol: Symbol) {
        if let Some(scope) = self.innermost() {
            scope.symbols.insert(name.to_owned(), symbol);
        }
    }

    pub fn declare_registers(&mut self, name: &'a str, count: Option<u32>, bits: u32) {
        match count {
            Some(count) => {
                if let Some(scope) = self.innermost() {
                    scope.families.insert(name, Family { count, bits });
                }
            }
            None => {
                let register = self.new_register(name, bits);
                self.declare(name, Symbol::Register(register));
            }
        }
    }

    /// True where the block has a label of this name already.
    pub fn declare_label(&mut self, name: &'a str, label: Label) -> bool {
        self.innermost()
            .is_some_and(|scope| scope.labels.insert(name, label).is_some())
    }

    pub fn declare_branch_targets(&mut self, name: &'a str, labels: &'a [String]) {
        if let Some(scope) = self.innermost() {
            scope.branch_targets.insert(name, labels);
        }
    }

    /// The visible scopes, innermost first.
    fn visible(&self) -> impl Iterator<Item = usize> + use<'a> {
        let first = self
            .scopes
            .iter()
            .rposition(|scope| scope.opaque)
            .unwrap_or(0);
        (first..self.scopes.len()).rev()
    }

    pub fn label(&self, name: &str) -> Option<Label> {
        self.visible()
            .find_map(|index| self.scopes[index].labels.get(name).copied())
    }

    pub fn branch_targets(&self, name: &str) -> Option<&'a [String]> {
        self.visible()
            .find_map(|index| self.scopes[index].branch_targets.get(name).copied())
    }

    /// A register of a family gets its slot when it is first used.
    pub fn symbol(&mut self, name: &str) -> Option<Symbol> {
        for index in self.visible() {
            if let Some(symbol) = self.scopes[index].symbols.get(name) {
                return Some(*symbol);
            }
            let Some(bits) = self.scopes[index].family_bits(name) else {
                continue;
            };
            let symbol = Symbol::Register(self.new_register(name, bits));
            self.scopes[index].symbols.insert(name.to_owned(), symbol);
            return Some(symbol);
        }
        None
    }
}

impl Scope<'_> {
    fn family_bits(&self, name: &str) -> Option<u32> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        // A family's own name may end in a digit (`.reg .b32 r1<4>;`): try every split.
        (prefix.len()..name.len()).find_map(|split| {
            let (prefix, digits) = name.split_at(split);
            let family = self.families.get(prefix)?;
            let canonical = digits == "0" || !digits.starts_with('0');
            let number: u32 = digits.parse().ok()?;
            (canonical && number < family.count).then_some(family.bits)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(scopes: &mut Scopes, name: &str) -> Option<Reg> {
        match scopes.symbol(name)? {
            Symbol::Register(register) => Some(register.slot),
            Symbol::Variable(_) => None,
        }
    }

    #[test]
    fn families_hand_out_slots_on_first_use() {
        let mut scopes = Scopes::new();
        scopes.enter(true);
        scopes.declare_registers("%r", Some(3), 32);
        assert_eq!(slot(&mut scopes, "%r2"), Some(0));
        assert_eq!(slot(&mut scopes, "%r0"), Some(1));
        assert_eq!(slot(&mut scopes, "%r2"), Some(0));
        assert_eq!(slot(&mut scopes, "%r3"), None);
        assert_eq!(slot(&mut scopes, "%r01"), None);
        assert_eq!(scopes.slots(), 2);
    }

    #[test]
    fn inner_names_hide_outer_ones_and_callers_are_invisible() {
        let mut scopes = Scopes::new();
        scopes.enter(true);
        scopes.declare_registers("p", None, 1);
        scopes.declare_registers("q", None, 1);
        scopes.enter(false);
        scopes.declare_registers("p", None, 1);
        assert_eq!(slot(&mut scopes, "p"), Some(2));
        assert_eq!(slot(&mut scopes, "q"), Some(1));
        scopes.leave();
        assert_eq!(slot(&mut scopes, "p"), Some(0));
        scopes.enter(true);
        assert_eq!(slot(&mut scopes, "p"), None);
    }
}
