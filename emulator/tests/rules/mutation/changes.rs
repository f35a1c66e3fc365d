//! Random changes of a text, line by line.

use proptest::prelude::*;
use proptest::sample::{Index, select};

#[derive(Clone, Debug)]
pub enum Change {
    Delete(Index),
    Duplicate(Index, Index),
    Swap(Index, Index),
    /// Replaces a run of digits, wherever it stands: sizes, offsets, register and label numbers, modifiers.
    Number(Index, Index, u64),
    Increment(Index, Index, i64),
}

pub fn changes() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let boundaries = [0, 4, 5, 7, 8, 16, 20, 24, 31, 32, 40, 63];
    let number = (select(boundaries.to_vec()), -1i64..=1)
        .prop_map(|(bit, delta): (u32, i64)| (1u64 << bit).wrapping_add_signed(delta));
    prop_oneof![
        at().prop_map(Change::Delete),
        (at(), at()).prop_map(|(a, b)| Change::Duplicate(a, b)),
        (at(), at()).prop_map(|(a, b)| Change::Swap(a, b)),
        (at(), at(), prop_oneof![number, Just(u64::MAX), 0u64..600])
            .prop_map(|(a, b, n)| Change::Number(a, b, n)),
        (at(), at(), select(vec![-1, 1])).prop_map(|(a, b, n)| Change::Increment(a, b, n)),
    ]
}

impl Change {
    pub fn apply(&self, lines: &mut Vec<String>) {
        let count = lines.len();
        match self {
            Change::Delete(at) => {
                lines.remove(at.index(count));
            }
            Change::Duplicate(from, to) => {
                let line = lines[from.index(count)].clone();
                lines.insert(to.index(count), line);
            }
            Change::Swap(a, b) => lines.swap(a.index(count), b.index(count)),
            Change::Number(at, which, number) => {
                replace_number(&mut lines[at.index(count)], which, |_| number.to_string());
            }
            Change::Increment(at, which, delta) => {
                replace_number(&mut lines[at.index(count)], which, |digits| {
                    digits.parse().map_or(digits.to_owned(), |number: u64| {
                        number.wrapping_add_signed(*delta).to_string()
                    })
                });
            }
        }
    }
}

fn replace_number(line: &mut String, which: &Index, replacement: impl Fn(&str) -> String) {
    let bytes = line.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&at| is_digit(at) && (at == 0 || !is_digit(at - 1)))
        .collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[which.index(starts.len())];
    let end = (start..).find(|at| !is_digit(*at)).unwrap_or(start);
    let digits = replacement(&line[start..end]);
    line.replace_range(start..end, &digits);
}
