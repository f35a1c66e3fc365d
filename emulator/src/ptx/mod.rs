//! The front end: PTX text to a syntax tree. It knows the grammar, not the meaning of any
//! instruction.

pub mod ast;
mod error;
mod lexer;
mod parser;

pub use error::{ParseError, ParseErrors, Problem};
pub use parser::{MAX_NESTING, parse};
