//! The syntax tree of a PTX module (PTX ISA §4 "Syntax" and §5 "State Spaces, Types, and
//! Variables").

/// A whole translation unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// `.version MAJOR.MINOR`
    pub version: (u32, u32),
    /// `.target` and its options, as written: `["sm_100f", "debug"]`.
    pub target: Vec<String>,
    /// `.address_size`; 64 where absent.
    pub address_size: u32,
    /// Module-scope variables, in order.
    pub variables: Vec<Variable>,
    /// Entries and device functions, in order; a `.func` without a body is a forward declaration.
    pub functions: Vec<Function>,
}

/// State spaces in which a variable can be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    Reg,
    Param,
    Const,
    Global,
    Shared,
    Local,
}

/// `.extern .shared .align 1024 .b8 NAME[N] = {..};`
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    pub space: Space,
    /// In bytes, a power of two; where no `.align` is written, the size of one element, the whole
    /// vector for `.v2` and `.v4`.
    pub align: u32,
    /// Fundamental type without the dot: `b8`, `u32`, `pred`, …
    pub ty: String,
    /// Elements per `.v2`/`.v4` vector; 1 for scalars.
    pub vector: u32,
    pub name: String,
    /// Array dimensions; empty for a scalar. `None` is the unsized `[]`, and only the first can be.
    /// The size in bytes of the whole array fits in an `i64`.
    pub dims: Vec<Option<u64>>,
    pub initializer: Option<Initializer>,
    pub is_extern: bool,
    pub line: u32,
}

/// The value after `=` in a declaration.
#[derive(Clone, Debug, PartialEq)]
pub enum Initializer {
    Int(i128),
    /// `0fXXXXXXXX`
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX`, or a decimal floating literal (stored as its f64 bits)
    F64(u64),
    /// The address of another symbol plus an offset; `generic(sym)` where `generic` is set.
    Symbol {
        name: String,
        offset: i64,
        generic: bool,
    },
    List(Vec<Initializer>),
}

/// An `.entry` or a `.func`.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub is_entry: bool,
    pub return_params: Vec<Variable>,
    pub params: Vec<Variable>,
    pub directives: Directives,
    /// `None` for a forward declaration or an extern function.
    pub body: Option<Block>,
    pub line: u32,
}

/// Launch-bound directives between an entry's signature and its body (PTX ISA §11.4, §11.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    pub reqntid: Option<[u32; 3]>,
    pub maxntid: Option<[u32; 3]>,
    pub minnctapersm: Option<u32>,
    pub maxnreg: Option<u32>,
    pub reqnctapercluster: Option<[u32; 3]>,
    pub explicitcluster: bool,
    pub maxclusterrank: Option<u32>,
    pub noreturn: bool,
}

/// `{ … }`: a scope of registers, variables and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `.reg .b32 %r<17>;` declares `%r0` … `%r16`; `count` is `None` for a plain name.
    Register {
        ty: String,
        vector: u32,
        name: String,
        count: Option<u32>,
        line: u32,
    },
    /// `.shared`, `.local`, `.param` (call arguments), … inside a body.
    Variable(Variable),
    /// `NAME:`
    Label {
        name: String,
        line: u32,
    },
    /// `NAME: .branchtargets L0, L1;`
    BranchTargets {
        name: String,
        labels: Vec<String>,
        line: u32,
    },
    /// `NAME: .callprototype …;` (kept so that indirect calls are refused by name)
    CallPrototype {
        name: String,
        line: u32,
    },
    Instruction(Instruction),
    Block(Block),
}

/// One instruction: `@!%p1 opcode.mod.mod operands;`
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    pub guard: Option<Guard>,
    /// The text before the first dot: `ld`, `mbarrier`, `tcgen05`, `cp`, `fence`, `griddepcontrol`,
    /// …
    pub opcode: String,
    /// What follows, split at the dots, `::` kept inside a modifier: `["async", "bulk", "tensor",
    /// "2d", "shared::cta", "global", "tile", "mbarrier::complete_tx::bytes"]`. Order as written.
    pub modifiers: Vec<String>,
    pub operands: Vec<Operand>,
    pub line: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub negated: bool,
    pub register: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, variable, label, function or special register (`%tid.x`, `%ctaid`), as written.
    Name(String),
    /// `!%p1` where an instruction takes a negated predicate.
    NotName(String),
    /// Decimal, hex, octal or binary literal, sign applied. Constant expressions are folded.
    Int(i128),
    /// `0fXXXXXXXX`
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX`, or a decimal floating literal (stored as its f64 bits)
    F64(u64),
    /// `[base + offset]`: base is a register or symbol; `None` for an absolute address. A
    /// tensor-map operand `[map, {c0, c1}]` keeps its coordinates in `coordinates`, anything after
    /// them (im2col offsets) follows as operands of their own.
    Address {
        base: Option<String>,
        offset: i64,
        coordinates: Option<Vec<Operand>>,
    },
    /// `{a, b, c, d}`
    Vector(Vec<Operand>),
    /// `a|b`, a destination pair (`setp`, `shfl`, `elect.sync`); `_` is a [`Operand::Name`].
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)`: argument and result lists of `call`.
    Tuple(Vec<Operand>),
    /// `name + 4` outside of brackets: an offset in bytes. (A vector component `name.x` is a
    /// [`Operand::Name`].)
    NameOffset { name: String, offset: i64 },
    /// `name[4]`: an index in elements of the variable's type (PTX ISA §6.4.2).
    Element { name: String, index: i64 },
}
