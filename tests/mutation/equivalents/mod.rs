//! Mutations that change nothing that a program can observe, with the proof. Each entry says how often it applies, so
//! that it can't hide a survivor of another origin.

mod blackwell;
mod hopper;

use super::change::{Mutation, Operator};
use super::text::registers;

/// A family of mutations that no test can tell from the original.
#[derive(Clone, Copy, Debug)]
pub struct Equivalent {
    pub operator: Operator,
    /// How the mutation's detail begins.
    pub detail: &'static str,
    /// The changed statement; `%r`, `%rd` and `%p` stand for any register.
    pub statement: &'static str,
    /// How many mutations of one entry it covers at most.
    pub at_most: usize,
    /// Why nothing can notice.
    pub proof: &'static str,
}

/// What covers a mutation of the kernel called `entry`, if anything does.
pub fn find(entry: &str, mutation: &Mutation) -> Option<&'static Equivalent> {
    let original = without_numbers(&mutation.original());
    let own = hopper::lists(entry).unwrap_or(&[blackwell::ALL]);
    let lists = [COMMON].into_iter().chain(own.iter().copied());
    lists.flatten().find(|equivalent| {
        equivalent.operator == mutation.operator
            && mutation.detail.starts_with(equivalent.detail)
            && original.starts_with(equivalent.statement)
    })
}

/// `%r12` becomes `%r`.
fn without_numbers(text: &str) -> String {
    let mut result = text.to_owned();
    let mut found: Vec<_> = registers(text).collect();
    // The longest first: %r1 is in %r12.
    found.sort_by_key(|register| std::cmp::Reverse(register.len()));
    for register in found {
        result = result.replace(
            register,
            register.trim_end_matches(|c: char| c.is_ascii_digit()),
        );
    }
    result
}

/// Of every kernel.
const COMMON: &[Equivalent] = &[
    Equivalent {
        operator: Operator::GridDependencyDeleted,
        detail: "",
        statement: "griddepcontrol.launch_dependents",
        at_most: 1,
        proof: "a grid that does not let its dependents start lets them when it ends, and they may start as \
                late as that in any case (PTX ISA §9.7.13.13)",
    },
    Equivalent {
        operator: Operator::BarrierDeleted,
        detail: "before bar",
        statement: "bar.warp.sync",
        at_most: 4,
        proof: "it makes a warp converge behind a branch, before an `.aligned` barrier, which asks that all \
                threads of the warp execute it, as they do (PTX ISA §9.7.13.1)",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "0 to 1",
        statement: "setp.eq.b32 %p, %r, 0;",
        at_most: 1,
        proof: "whether K is 0: K is a multiple of 64 and never 1",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "34359737856 to 17179868672",
        statement: "and.b64 %rd, %rd, 34359737856;",
        at_most: 1,
        proof: "bytes of scale factors per 128 rows, 8 K: the bit needs a K of 2^31, and K is below",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "33554431 to 16777215",
        statement: "and.b32 %r, %r, 33554431;",
        at_most: 2,
        proof: "the tile of M or N: the bit needs an extent of 2^31, and they are below",
    },
    Equivalent {
        operator: Operator::ConstantChanged,
        detail: "4294967295 to 2147483647",
        statement: "and.b64 %rd, %rd, 4294967295;",
        at_most: 1,
        proof: "M out of a pair of 32-bit numbers: the bit needs an M of 2^31, and M is below",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_lose_their_numbers() {
        assert_eq!(
            without_numbers("add.s64 %rd12, %rd1, %r1, 12;"),
            "add.s64 %rd, %rd, %r, 12;"
        );
    }
}
