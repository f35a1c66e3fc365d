//! What can be wrong with a module's text.

use std::fmt;

/// One place in the text that is not PTX.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: u32,
    /// In bytes, counted from 1.
    pub column: u32,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text leaves the grammar. `found` quotes it, shortened where it is long.
    #[error("found {found}, expected {expected}")]
    Syntax { found: String, expected: String },
    /// A well-formed value that its place in the grammar cannot take.
    #[error("found {found}, expected {expected}")]
    Value { found: String, expected: String },
    /// Blocks, initialiser lists or expressions inside each other. Nothing after this place was
    /// read.
    #[error("found more than {limit} levels of nesting, expected fewer: flatten the text")]
    Nesting { limit: u32 },
    /// Nothing was read.
    #[error("found {found} bytes of text, expected at most {limit}: split the module")]
    TextLength { found: usize, limit: usize },
}

/// Every error of a module, in the order of the text; never empty. Displays one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors(Vec<ParseError>);

impl ParseErrors {
    pub(super) fn new(errors: Vec<ParseError>) -> Self {
        debug_assert!(!errors.is_empty());
        Self(errors)
    }

    pub fn as_slice(&self) -> &[ParseError] {
        &self.0
    }
}

impl std::error::Error for ParseErrors {}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}
