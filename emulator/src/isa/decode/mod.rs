//! The syntax tree to decoded kernels.
//!
//! A [`Decoder`] turns one kernel into instructions; one submodule per family of instructions knows that family's
//! modifiers and operands. A kernel's decoding goes on after an error, so that a module's errors are reported together.

mod arithmetic;
mod barriers;
mod bitwise;
mod comparison;
mod control;
mod conversion;
mod copies;
mod elementary;
mod functions;
mod launch_control;
mod matrix;
mod mbarrier;
mod memory;
mod modifiers;
mod module;
mod moves;
mod multiply_add;
mod operands;
mod remote;
mod scope;
mod special;
mod tcgen05;
mod tensormap;
mod warp;
mod wide;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use self::modifiers::Modifiers;
use self::scope::{Label, Scopes, Variable};
use super::ir::{Guard, Inst, Kernel, Op, Reg};
use super::load::{DecodeError, LoadEnvironment, LoadError, Module, VariableImage};
use super::matrix::MatrixOp;
use crate::ptx::ast::{self, Function};

/// What one instruction's decoding gives; the error is a message for [`DecodeError::message`].
type Decoded<T> = Result<T, String>;

/// Instructions that a kernel may have after inlining: a bound on what a small malicious text can expand to.
const MAX_INSTRUCTIONS: usize = 1 << 22;

/// Loads a module: parses and decodes `text`, and places its variables with `allocate`, which returns the device
/// address of a copy of the image.
///
/// # Errors
///
/// [`LoadError::Syntax`] where the text is not PTX; [`LoadError::Unsupported`] with *everything* that the emulator
/// cannot execute; [`LoadError::Allocation`] where `allocate` refuses.
pub fn load(
    text: &str,
    environment: &LoadEnvironment,
    allocate: &mut dyn FnMut(&VariableImage) -> Result<u64, String>,
) -> Result<Module, LoadError> {
    let tree = crate::ptx::parse(text)?;
    load_tree(&tree, text, environment, allocate)
}

/// [`load`] after parsing; `text` is only quoted.
pub fn load_tree(
    tree: &ast::Module,
    text: &str,
    environment: &LoadEnvironment,
    allocate: &mut dyn FnMut(&VariableImage) -> Result<u64, String>,
) -> Result<Module, LoadError> {
    let text: Arc<[String]> = text.lines().map(str::to_owned).collect();
    let mut errors = Vec::new();
    let placed = module::place_variables(tree, &text, allocate, &mut errors)?;
    let functions: HashMap<&str, &Function> = tree
        .functions
        .iter()
        .filter(|function| function.body.is_some())
        .map(|function| (function.name.as_str(), function))
        .collect();
    let mut kernels = HashMap::new();
    for function in &tree.functions {
        let Some(body) = function.body.as_ref().filter(|_| function.is_entry) else {
            continue;
        };
        let decoder = Decoder {
            environment,
            text: &text,
            tree,
            functions: &functions,
            module_variables: &placed.variables,
            shared: HashMap::new(),
            static_shared: HashMap::new(),
            shared_rank: None,
            scopes: Scopes::new(),
            code: Vec::new(),
            named_registers: Vec::new(),
            register_accesses: Vec::new(),
            labels: Vec::new(),
            guard: None,
            line: function.line,
            carry: None,
            local_bytes: 0,
            calls: Vec::new(),
            errors: &mut errors,
        };
        let kernel = decoder.kernel(function, body);
        kernels.insert(function.name.clone(), Arc::new(kernel));
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.line);
        errors.dedup();
        return Err(LoadError::Unsupported(errors));
    }
    Ok(Module {
        version: tree.version,
        target: tree.target.clone(),
        kernels,
        globals: placed.globals,
        text,
    })
}

/// Decodes one kernel.
struct Decoder<'a> {
    environment: &'a LoadEnvironment,
    text: &'a Arc<[String]>,
    tree: &'a ast::Module,
    /// Functions with a body, by name.
    functions: &'a HashMap<&'a str, &'a Function>,
    /// `.global` and `.const` variables of module scope.
    module_variables: &'a HashMap<&'a str, Variable>,
    /// `.shared` variables of module scope that this kernel uses.
    shared: HashMap<&'a str, Variable>,
    /// `.shared` variables declared in bodies, by the place of their declaration.
    static_shared: HashMap<*const ast::Variable, Variable>,
    /// Holds the CTA's own rank in the bits of a shared address that carry it.
    shared_rank: Option<Reg>,
    scopes: Scopes<'a>,
    code: Vec<Inst>,
    /// Registers that the text of the instruction that is being decoded names, so far.
    named_registers: Vec<Reg>,
    /// Those of each instruction of `code`, in modules that can have `wgmma`.
    register_accesses: Vec<Box<[Reg]>>,
    /// Instruction index of each label.
    labels: Vec<Option<u32>>,
    /// Of the instruction that is being decoded.
    guard: Option<Guard>,
    line: u32,
    /// The condition-code register.
    carry: Option<Reg>,
    local_bytes: u32,
    /// The functions that are being inlined, outermost first, with the label behind each.
    calls: Vec<(&'a str, Label)>,
    errors: &'a mut Vec<DecodeError>,
}

impl<'a> Decoder<'a> {
    fn emit(&mut self, op: Op) {
        if self.can_have_wgmma() {
            let registers = match &op {
                Op::Matrix(MatrixOp::WarpgroupMma(_)) => Box::default(),
                _ => self.named_registers.as_slice().into(),
            };
            self.register_accesses.push(registers);
        }
        self.code.push(Inst {
            guard: self.guard,
            op,
            line: self.line,
        });
    }

    fn error(&mut self, line: u32, message: String) {
        self.errors.push(decode_error(self.text, line, message));
    }

    /// A label that is not in the text.
    fn new_label(&mut self) -> Label {
        self.labels.push(None);
        self.labels.len() as Label - 1
    }

    fn bind(&mut self, label: Label) {
        self.labels[label as usize] = Some(self.code.len() as u32);
    }

    fn instruction(&mut self, instruction: &'a ast::Instruction) {
        self.line = instruction.line;
        self.named_registers.clear();
        if let Err(message) = self.try_instruction(instruction) {
            self.error(instruction.line, message);
        }
        self.guard = None;
    }

    fn try_instruction(&mut self, instruction: &'a ast::Instruction) -> Decoded<()> {
        if let Some(guard) = &instruction.guard {
            self.guard = Some(self.guard(guard)?);
        }
        let mut modifiers = Modifiers::new(&instruction.modifiers);
        let m = &mut modifiers;
        let operands = instruction.operands.as_slice();
        match instruction.opcode.as_str() {
            "bra" | "brx" | "exit" | "ret" | "trap" | "call" | "pmevent" | "nanosleep"
            | "setmaxnreg" | "griddepcontrol" => {
                self.control(&instruction.opcode, m, operands)?;
            }
            "mov" | "cvta" | "isspacep" | "mapa" | "getctarank" | "createpolicy" => {
                self.moves(&instruction.opcode, m, operands)?;
            }
            "ld" | "ldu" | "st" | "atom" | "red" | "fence" | "membar" | "prefetch"
            | "prefetchu" | "applypriority" | "discard" => {
                self.memory(&instruction.opcode, m, operands)?;
            }
            "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => {
                self.collective(&instruction.opcode, m, operands)?;
            }
            "bar" | "barrier" => self.barrier(&instruction.opcode, m, operands)?,
            "mbarrier" => self.mbarrier(m, operands)?,
            "cp" => self.copy(m, operands)?,
            "clusterlaunchcontrol" => self.launch_control(m, operands)?,
            "tensormap" => self.tensor_map(m, operands)?,
            "tcgen05" => self.tcgen05(m, operands)?,
            "ldmatrix" | "stmatrix" | "movmatrix" | "mma" | "wgmma" => {
                self.matrix(&instruction.opcode, m, operands)?;
            }
            "cvt" => self.conversion(m, operands)?,
            opcode => self.arithmetic(opcode, m, operands)?,
        }
        modifiers.finish()
    }

    /// Makes the kernel of what was decoded.
    fn finish(
        mut self,
        function: &Function,
        params: Vec<super::ir::Param>,
        param_bytes: u32,
        layout: functions::SharedLayout,
    ) -> Kernel {
        let targets: Vec<u32> = self.labels.iter().map(|at| at.unwrap_or(0)).collect();
        for inst in &mut self.code {
            match &mut inst.op {
                Op::Branch { target, .. } => *target = targets[*target as usize],
                Op::BranchIndexed { targets: list, .. } => {
                    for target in list {
                        *target = targets[*target as usize];
                    }
                }
                _ => {}
            }
        }
        let has_wgmma = self
            .code
            .iter()
            .any(|inst| matches!(inst.op, Op::Matrix(MatrixOp::WarpgroupMma(_))));
        Kernel {
            register_accesses: has_wgmma.then_some(self.register_accesses),
            name: function.name.clone(),
            reconvergence: super::control_flow::reconvergence(&self.code),
            code: self.code,
            registers: self.scopes.slots(),
            register_names: self.scopes.into_names(),
            register_uses: OnceLock::new(),
            params,
            param_bytes,
            static_shared_bytes: layout.static_bytes,
            dynamic_shared_offset: layout.dynamic_offset,
            shared_variables: layout.variables,
            local_bytes: self.local_bytes,
            directives: function.directives.clone(),
            text: Arc::clone(self.text),
        }
    }
}

fn decode_error(text: &[String], line: u32, message: String) -> DecodeError {
    let quoted = (line as usize)
        .checked_sub(1)
        .and_then(|index| text.get(index));
    DecodeError {
        line,
        text: quoted.map_or("", |line| line.trim()).to_owned(),
        message,
    }
}
