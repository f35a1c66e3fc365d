//! Bodies: parameters, variables, blocks, and the inlining of calls.

use std::collections::HashSet;

use super::super::alu::{BitsOp, Function as AluFunction};
use super::super::ir::{
    Address, Kernel, Op, Param, Scope, Semantics, SharedVariable, Space, SpecialRegister, Src, Type,
};
use super::super::windows;
use super::modifiers::declared_bits;
use super::module::{element_bytes, variable_bytes};
use super::operands::{bits_type, describe};
use super::scope::{Register, Symbol, Variable, VariableSpace};
use super::{Decoded, Decoder, MAX_INSTRUCTIONS};
use crate::ptx::ast::{self, Block, Function, Operand, Statement};

/// Functions inside each other; real call trees are far shallower.
const MAX_CALL_DEPTH: usize = 64;

/// Bytes of one variable of a body, or one parameter, that are still plausible.
const MAX_FRAME: u64 = 1 << 24;

/// Bytes of local memory per thread (CUDA C++ Programming Guide, "Technical Specifications per
/// Compute Capability").
const MAX_LOCAL: u64 = 512 << 10;

/// Bytes of a kernel's parameters (CUDA C++ Programming Guide, parameters of `__global__` functions).
const MAX_PARAMETERS: u64 = 32_764;

/// Where a kernel's shared memory ends, relative to the CTA's first usable byte.
pub(super) struct SharedLayout {
    pub static_bytes: u32,
    pub dynamic_offset: u32,
    pub variables: Vec<SharedVariable>,
}

fn named(variable: &ast::Variable, address: u64, bytes: Option<u64>) -> SharedVariable {
    SharedVariable {
        name: variable.name.clone(),
        offset: address as u32,
        bytes: bytes.map(|bytes| bytes as u32),
    }
}

fn align_up(value: u64, align: u64) -> u64 {
    value.next_multiple_of(align.max(1))
}

impl<'a> Decoder<'a> {
    pub fn kernel(mut self, function: &'a Function, body: &'a Block) -> Kernel {
        self.scopes.enter(true);
        let (params, param_bytes) = self.kernel_params(function);
        let layout = self.lay_out_shared(body);
        if !self.shared.is_empty() || !self.static_shared.is_empty() {
            self.load_shared_rank();
        }
        self.block(body);
        self.line = self.code.last().map_or(function.line, |last| last.line);
        self.emit(Op::Exit);
        if self.is_too_long() {
            let message = format!("needs more than {MAX_INSTRUCTIONS} instructions after inlining");
            self.error(function.line, message);
        }
        self.finish(function, params, param_bytes, layout)
    }

    /// Parameters lie in order, each at its own alignment (PTX ISA §4.2 of the CUDA ABI, "Parameter
    /// passing").
    fn kernel_params(&mut self, function: &'a Function) -> (Vec<Param>, u32) {
        let mut params = Vec::new();
        let mut end = 0u64;
        for variable in &function.params {
            let size = match self.frame_bytes(variable, variable.line) {
                Some(size) => size,
                None => continue,
            };
            let offset = align_up(end, u64::from(variable.align));
            end = offset + size;
            let element = element_bytes(variable).unwrap_or(1);
            self.scopes.declare(
                &variable.name,
                Symbol::Variable(Variable {
                    space: VariableSpace::KernelParam,
                    address: offset,
                    element,
                }),
            );
            params.push(Param {
                name: variable.name.clone(),
                offset: offset as u32,
                size: size as u32,
                align: variable.align,
            });
        }
        if end > MAX_PARAMETERS {
            let message =
                format!("the parameters have {end} bytes; a kernel has at most {MAX_PARAMETERS}");
            self.error(function.line, message);
        }
        (params, end as u32)
    }

    fn frame_bytes(&mut self, variable: &ast::Variable, line: u32) -> Option<u64> {
        let bytes = variable_bytes(variable).and_then(|bytes| {
            if bytes > MAX_FRAME || u64::from(variable.align) > MAX_FRAME {
                return Err(format!(
                    "`{}` has {bytes} bytes, more than {MAX_FRAME}",
                    variable.name
                ));
            }
            Ok(bytes)
        });
        match bytes {
            Ok(bytes) => Some(bytes),
            Err(message) => {
                self.error(line, message);
                None
            }
        }
    }

    /// Static variables from the CTA's first usable byte on: those of module scope that the kernel
    /// names, then those of its bodies, in the text's order. Dynamic shared memory (`.extern
    /// .shared name[]`) follows.
    fn lay_out_shared(&mut self, body: &'a Block) -> SharedLayout {
        let mut used = Used::default();
        used.collect(body, self.functions);
        let base = u64::from(self.environment.shared_base);
        let mut end = base;
        let mut dynamic = Vec::new();
        let mut variables = Vec::new();
        let module_scope = self
            .tree
            .variables
            .iter()
            .filter(|v| v.space == ast::Space::Shared && used.names.contains(v.name.as_str()))
            .map(|v| (v, true));
        let declared: Vec<(&'a ast::Variable, bool)> = module_scope
            .chain(used.shared.into_iter().map(|v| (v, false)))
            .collect();
        for (variable, of_module) in declared {
            if variable.is_extern {
                dynamic.push((variable, of_module));
                continue;
            }
            let Some(bytes) = self.frame_bytes(variable, variable.line) else {
                continue;
            };
            let address = align_up(end, u64::from(variable.align));
            end = address + bytes;
            self.place_shared(variable, of_module, address);
            variables.push(named(variable, address, Some(bytes)));
        }
        let static_bytes = end - base;
        let align = dynamic
            .iter()
            .map(|(variable, _)| u64::from(variable.align))
            .max()
            .unwrap_or(1);
        let start = align_up(end, align);
        for (variable, of_module) in dynamic {
            self.place_shared(variable, of_module, start);
            variables.push(named(variable, start, None));
        }
        if start - base > 1 << windows::SHARED_OFFSET_BITS {
            self.error(
                self.line,
                format!("{static_bytes} bytes of shared memory are too many"),
            );
        }
        SharedLayout {
            static_bytes: static_bytes as u32,
            dynamic_offset: (start - base) as u32,
            variables,
        }
    }

    fn place_shared(&mut self, variable: &'a ast::Variable, of_module: bool, address: u64) {
        let element = element_bytes(variable).unwrap_or(1);
        let placed = Variable {
            space: VariableSpace::Shared,
            address,
            element,
        };
        if of_module {
            self.shared.insert(&variable.name, placed);
        } else {
            self.static_shared.insert(variable, placed);
        }
    }

    fn load_shared_rank(&mut self) {
        let slot = self.scopes.new_slot();
        self.emit(Op::Special {
            dst: Some(slot),
            register: SpecialRegister::ClusterCtarank,
        });
        let shift = Src::Imm(u64::from(windows::SHARED_OFFSET_BITS));
        let function = AluFunction::Bits(BitsOp::ShiftLeft { bits: 32 });
        self.emit_alu(function, Some(slot), &[Src::Reg(slot), shift]);
        self.shared_rank = Some(slot);
    }

    pub fn block(&mut self, block: &'a Block) {
        for statement in &block.statements {
            match statement {
                Statement::Label { name, line } => {
                    let label = self.new_label();
                    if self.scopes.declare_label(name, label) {
                        self.error(*line, format!("label `{name}` is defined twice"));
                    }
                }
                Statement::BranchTargets { name, labels, .. } => {
                    self.scopes.declare_branch_targets(name, labels);
                }
                _ => {}
            }
        }
        for statement in &block.statements {
            if self.is_too_long() {
                return;
            }
            self.statement(statement);
        }
    }

    /// An inlined call adds labels even where it adds no instruction.
    fn is_too_long(&self) -> bool {
        self.code.len().max(self.labels.len()) > MAX_INSTRUCTIONS
    }

    fn statement(&mut self, statement: &'a Statement) {
        match statement {
            Statement::Register {
                ty,
                vector,
                name,
                count,
                line,
            } => match declared_bits(ty).filter(|_| *vector == 1) {
                Some(bits) => self.scopes.declare_registers(name, *count, bits),
                None => self.error(
                    *line,
                    format!("registers of type `.v{vector} .{ty}` are not supported"),
                ),
            },
            Statement::Variable(variable) => self.body_variable(variable),
            Statement::Label { name, .. } => {
                if let Some(label) = self.scopes.label(name) {
                    self.bind(label);
                }
            }
            Statement::BranchTargets { .. } | Statement::CallPrototype { .. } => {}
            Statement::Instruction(instruction) => self.instruction(instruction),
            Statement::Block(block) => {
                self.scopes.enter(false);
                self.block(block);
                self.scopes.leave();
            }
        }
    }

    fn body_variable(&mut self, variable: &'a ast::Variable) {
        match variable.space {
            ast::Space::Shared => {
                let placed = self
                    .static_shared
                    .get(&std::ptr::from_ref(variable))
                    .copied();
                if let Some(placed) = placed {
                    self.scopes
                        .declare(&variable.name, Symbol::Variable(placed));
                }
            }
            ast::Space::Local => self.local_variable(variable, VariableSpace::Local),
            // Arguments and results of a call.
            ast::Space::Param => self.local_variable(variable, VariableSpace::CallParam),
            ast::Space::Reg => match declared_bits(&variable.ty) {
                Some(bits) => self.scopes.declare_registers(&variable.name, None, bits),
                None => self.error(
                    variable.line,
                    format!("type `.{}` is not supported", variable.ty),
                ),
            },
            space @ (ast::Space::Global | ast::Space::Const) => {
                let message =
                    format!("a variable in {space:?} memory inside a body is not supported");
                self.error(variable.line, message);
            }
        }
    }

    fn local_variable(&mut self, variable: &ast::Variable, space: VariableSpace) {
        let Some(bytes) = self.frame_bytes(variable, variable.line) else {
            return;
        };
        let address = match self.place_local(variable, bytes) {
            Ok(address) => address,
            Err(message) => return self.error(variable.line, message),
        };
        let element = element_bytes(variable).unwrap_or(1);
        let symbol = Symbol::Variable(Variable {
            space,
            address,
            element,
        });
        self.scopes.declare(&variable.name, symbol);
    }

    /// The address of `bytes` bytes of local memory for `variable`.
    fn place_local(&mut self, variable: &ast::Variable, bytes: u64) -> Decoded<u64> {
        let address = align_up(u64::from(self.local_bytes), u64::from(variable.align));
        let end = address + bytes;
        if end > MAX_LOCAL {
            return Err(format!(
                "`{}` ends at byte {end} of local memory; a thread has {MAX_LOCAL}",
                variable.name
            ));
        }
        self.local_bytes = end as u32;
        Ok(address)
    }

    /// `call (results), function, (arguments)`: the body is decoded in place. Parameters in
    /// `.param` space live in local memory that caller and callee name differently.
    pub fn call(&mut self, operands: &'a [Operand]) -> Decoded<()> {
        let (results, rest) = match operands.split_first() {
            Some((Operand::Tuple(results), rest)) => (results.as_slice(), rest),
            _ => (&[][..], operands),
        };
        let (name, arguments) = match rest {
            [Operand::Name(name)] => (name, &[][..]),
            [Operand::Name(name), Operand::Tuple(arguments)] => (name, arguments.as_slice()),
            [Operand::Name(name), ..] => {
                return Err(format!(
                    "an indirect call (through `{name}`) is not supported"
                ));
            }
            _ => return Err("found no function to call".into()),
        };
        let line = self.line;
        let refuse = |why: &str| format!("call of `{name}` at line {line} is not supported: {why}");
        let Some(callee) = self
            .functions
            .get(name.as_str())
            .copied()
            .filter(|f| !f.is_entry)
        else {
            if name == "__assertfail" {
                // The driver's own function: reports a failed device assertion and ends the launch.
                self.emit(Op::Trap);
                return Ok(());
            }
            return Err(refuse("the function has no body in this module"));
        };
        if self.calls.iter().any(|(caller, _)| caller == name) {
            return Err(refuse("the function is recursive"));
        }
        if self.calls.len() >= MAX_CALL_DEPTH {
            return Err(refuse("calls are nested too deeply"));
        }
        let counts = (callee.return_params.len(), callee.params.len());
        if counts != (results.len(), arguments.len()) {
            return Err(refuse(&format!(
                "found {} results and {} arguments, needs {} and {}",
                results.len(),
                arguments.len(),
                counts.0,
                counts.1
            )));
        }
        self.inline(callee, results, arguments)
    }

    fn inline(
        &mut self,
        callee: &'a Function,
        results: &'a [Operand],
        arguments: &'a [Operand],
    ) -> Decoded<()> {
        // Where `ret` goes, and where the lanes go that a guard keeps out of the call.
        let (back, end) = (self.new_label(), self.new_label());
        if let Some(mut guard) = self.guard.take() {
            guard.negated = !guard.negated;
            self.guard = Some(guard);
            self.emit(Op::Branch {
                target: end,
                uniform: false,
            });
            self.guard = None;
        }
        let mut bindings = Vec::new();
        for (formal, actual) in callee.params.iter().zip(arguments) {
            let symbol = self.formal(formal, actual)?;
            match symbol {
                Symbol::Register(register) => {
                    let value = self.src(actual, bits_type(register.bits))?;
                    self.emit_alu(AluFunction::Mov, Some(register.slot), &[value]);
                }
                Symbol::Variable(variable) if !self.is_call_param(actual) => {
                    let bits = (variable.element * 8) as u32;
                    let value = self.src(actual, bits_type(bits))?;
                    self.emit(Op::Store {
                        space: Space::Local,
                        ty: memory_type(bits)?,
                        srcs: vec![value],
                        address: Address {
                            base: Src::Imm(variable.address),
                            offset: 0,
                        },
                        semantics: Semantics::Weak,
                        scope: Scope::Cta,
                    });
                }
                Symbol::Variable(_) => {}
            }
            bindings.push((formal.name.as_str(), symbol));
        }
        let mut returned = Vec::new();
        for (formal, actual) in callee.return_params.iter().zip(results) {
            let symbol = self.formal(formal, actual)?;
            bindings.push((formal.name.as_str(), symbol));
            returned.push((symbol, actual));
        }

        let line = self.line;
        self.scopes.enter(true);
        for (name, symbol) in bindings {
            self.scopes.declare(name, symbol);
        }
        self.calls.push((&callee.name, back));
        if let Some(body) = &callee.body {
            self.block(body);
        }
        self.calls.pop();
        self.scopes.leave();
        self.line = line;
        self.bind(back);
        for (symbol, actual) in returned {
            match symbol {
                Symbol::Register(register) => {
                    let dst = self.dst(actual)?;
                    self.emit_alu(AluFunction::Mov, dst, &[Src::Reg(register.slot)]);
                }
                Symbol::Variable(variable) if !self.is_call_param(actual) => {
                    let bits = (variable.element * 8) as u32;
                    let dst = self.destination(actual)?;
                    self.emit(Op::Load {
                        space: Space::Local,
                        ty: memory_type(bits)?,
                        register_bits: dst.map_or(bits, |register| register.bits),
                        dsts: vec![dst.map(|register| register.slot)],
                        address: Address {
                            base: Src::Imm(variable.address),
                            offset: 0,
                        },
                        semantics: Semantics::Weak,
                        scope: Scope::Cta,
                    });
                }
                Symbol::Variable(_) => {}
            }
        }
        self.bind(end);
        Ok(())
    }

    fn is_call_param(&mut self, operand: &Operand) -> bool {
        matches!(operand, Operand::Name(name) if matches!(
            self.scopes.symbol(name),
            Some(Symbol::Variable(Variable { space: VariableSpace::CallParam, .. }))
        ))
    }

    /// What a callee's parameter stands for: the caller's `.param` variable itself, or a place of
    /// its own.
    fn formal(&mut self, formal: &ast::Variable, actual: &Operand) -> Decoded<Symbol> {
        if formal.space == ast::Space::Reg {
            let bits = declared_bits(&formal.ty)
                .ok_or_else(|| format!("type `.{}` is not supported", formal.ty))?;
            return Ok(Symbol::Register(Register {
                slot: self.scopes.new_slot(),
                bits,
            }));
        }
        if let Operand::Name(name) = actual
            && let Some(symbol @ Symbol::Variable(variable)) = self.scopes.symbol(name)
            && variable.space == VariableSpace::CallParam
        {
            return Ok(symbol);
        }
        if !formal.dims.is_empty() {
            return Err(format!(
                "found {}, needs a `.param` variable",
                describe(actual)
            ));
        }
        let element = element_bytes(formal)?;
        let address = self.place_local(formal, element)?;
        Ok(Symbol::Variable(Variable {
            space: VariableSpace::CallParam,
            address,
            element,
        }))
    }
}

fn memory_type(bits: u32) -> Decoded<Type> {
    match bits {
        8 => Ok(Type::B8),
        16 => Ok(Type::B16),
        32 => Ok(Type::B32),
        64 => Ok(Type::B64),
        _ => Err(format!("an argument of {bits} bits is not supported")),
    }
}

/// What the bodies that a kernel can reach name and declare.
#[derive(Default)]
struct Used<'a> {
    names: HashSet<&'a str>,
    shared: Vec<&'a ast::Variable>,
    functions: HashSet<&'a str>,
}

impl<'a> Used<'a> {
    fn collect(
        &mut self,
        block: &'a Block,
        functions: &std::collections::HashMap<&'a str, &'a Function>,
    ) {
        // An explicit stack: call chains can be longer than the host's stack.
        let mut pending = vec![block];
        while let Some(block) = pending.pop() {
            let mut inner = Vec::new();
            for statement in &block.statements {
                match statement {
                    Statement::Variable(variable) if variable.space == ast::Space::Shared => {
                        self.shared.push(variable);
                    }
                    Statement::Block(block) => inner.push(block),
                    Statement::Instruction(instruction) => {
                        for operand in &instruction.operands {
                            self.operand(operand);
                        }
                        if instruction.opcode == "call" {
                            inner.extend(self.callees(&instruction.operands, functions));
                        }
                    }
                    _ => {}
                }
            }
            pending.extend(inner.into_iter().rev());
        }
        self.shared.sort_by_key(|variable| variable.line);
    }

    fn callees(
        &mut self,
        operands: &'a [Operand],
        functions: &std::collections::HashMap<&'a str, &'a Function>,
    ) -> Vec<&'a Block> {
        let names = operands.iter().filter_map(|operand| match operand {
            Operand::Name(name) => Some(name.as_str()),
            _ => None,
        });
        names
            .filter(|name| self.functions.insert(name))
            .filter_map(|name| functions.get(name)?.body.as_ref())
            .collect()
    }

    fn operand(&mut self, operand: &'a Operand) {
        match operand {
            Operand::Name(name)
            | Operand::NameOffset { name, .. }
            | Operand::Element { name, .. } => {
                self.names.insert(name);
            }
            Operand::Address {
                base, coordinates, ..
            } => {
                if let Some(name) = base {
                    self.names.insert(name);
                }
                coordinates
                    .iter()
                    .flatten()
                    .for_each(|operand| self.operand(operand));
            }
            Operand::Vector(elements) | Operand::Tuple(elements) => {
                elements.iter().for_each(|operand| self.operand(operand));
            }
            Operand::Pair(first, second) => {
                self.operand(first);
                self.operand(second);
            }
            Operand::NotName(_) | Operand::Int(_) | Operand::F32(_) | Operand::F64(_) => {}
        }
    }
}
