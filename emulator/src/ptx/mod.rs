//! The front end: PTX text to a syntax tree. It knows the grammar, not the meaning of any instruction.

pub mod ast;
