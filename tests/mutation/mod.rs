//! Mutation testing of the proof itself: each synchronising or addressing detail of a kernel is
//! changed alone, and something must notice — a rule of the emulator, or a wrong result.

mod judge;
mod operators;
mod text;

pub use judge::{Judge, Verdict};
pub use operators::{Mutation, Operator, mutations};
pub use text::{body, statements};

/// The mutations of one entry of a PTX text; `None` where it has no such entry.
pub fn of_entry(ptx: &str, entry: &str) -> Option<Vec<Mutation>> {
    let lines: Vec<_> = ptx.lines().collect();
    let body = body(&lines, entry)?;
    Some(mutations(&statements(&lines, body)))
}
