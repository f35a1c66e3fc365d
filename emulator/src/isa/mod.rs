//! The decoded instruction set: what the machine executes.
//!
//! `decode` turns the syntax tree into [`ir`]: registers become slots, labels instruction indices, modifiers typed
//! fields. Whatever it does not know is collected and reported for the whole module at once, with line numbers.

pub mod alu;
mod control_flow;
mod decode;
pub mod ir;
mod load;
pub mod matrix;
pub mod registers;
pub mod windows;

pub use decode::{load, load_tree};
pub use load::{DecodeError, LoadEnvironment, LoadError, Module, VariableImage};
