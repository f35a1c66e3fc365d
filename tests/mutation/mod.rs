//! Mutation testing of the proof itself: each synchronising or addressing detail of a kernel is
//! changed alone, and something must notice — a rule of the emulator, or a wrong result.

mod change;
mod cluster;
mod earlier;
mod equivalents;
mod judge;
mod operators;
pub mod problems;
pub mod synchronisation;
mod tcgen05;
mod text;
mod wgmma;

pub use change::{Mutation, Operator};
pub use equivalents::Equivalent;
pub use judge::{Judge, SCHEDULES, Verdict};
pub use operators::mutations;
pub use text::{body, statements};

/// The mutations of one entry of a PTX text; `None` where it has no such entry.
pub fn of_entry(ptx: &str, entry: &str) -> Option<Vec<Mutation>> {
    let lines: Vec<_> = ptx.lines().collect();
    let body = body(&lines, entry)?;
    Some(mutations(&statements(&lines, body)))
}

/// What survived, sorted into what is proved to be no change and the rest.
pub struct Survivors<'m> {
    pub equivalent: Vec<(&'m Mutation, &'static Equivalent)>,
    pub unexplained: Vec<&'m Mutation>,
}

impl<'m> Survivors<'m> {
    /// `mutations` are those of the kernel called `entry` that survived.
    pub fn new(entry: &str, mutations: impl IntoIterator<Item = &'m Mutation>) -> Self {
        let mut survivors = Self {
            equivalent: Vec::new(),
            unexplained: Vec::new(),
        };
        for mutation in mutations {
            match equivalents::find(entry, mutation) {
                Some(equivalent) if survivors.covered(equivalent) < equivalent.at_most => {
                    survivors.equivalent.push((mutation, equivalent));
                }
                _ => survivors.unexplained.push(mutation),
            }
        }
        survivors
    }

    fn covered(&self, equivalent: &'static Equivalent) -> usize {
        let covered = self.equivalent.iter();
        covered
            .filter(|(_, other)| std::ptr::eq(*other, equivalent))
            .count()
    }
}
