//! Which shapes to time.

use std::path::{Path, PathBuf};

use crate::plan::{PlanError, Shape};
use crate::suite::Suite;

/// N and K of [`decode`] and [`prefill`]: the gate and up projections that the contest times most.
const LAYER: [usize; 2] = [4096, 7168];

/// Why there are no shapes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShapesError {
    /// The file can't be read.
    #[error(
        "{}: {error}; --shapes takes contest, decode, prefill or a file of lines M N K [L]",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A line is no shape.
    #[error(
        "line {line}: found {found:?}; needed is M N K or M N K L, four positive whole numbers at most"
    )]
    Line {
        /// Counted from 1.
        line: usize,
        /// Its text.
        found: String,
    },
    /// No kernel can run a line's shape.
    #[error("line {line}: {error}")]
    Shape {
        /// Counted from 1.
        line: usize,
        /// Why not.
        error: PlanError,
    },
    /// No line holds a shape.
    #[error("no line holds a shape; needed is at least one line M N K or M N K L")]
    Empty,
    /// A shape listed here can't run.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// The shapes of a set's name, or of the file of that name.
///
/// # Errors
/// [`ShapesError`], with the number of a file's line.
pub fn named(name: &str) -> Result<Vec<Shape>, ShapesError> {
    match name {
        "contest" => Ok(Suite::Contest.shapes()?),
        "decode" => decode(),
        "prefill" => prefill(),
        path => {
            let path = Path::new(path);
            let text = std::fs::read_to_string(path).map_err(|error| ShapesError::Read {
                path: path.to_owned(),
                error,
            })?;
            parse(&text)
        }
    }
}

/// A few tokens through a large layer: bound by the weights' bytes.
///
/// # Errors
/// None for the shapes listed here; they are checked like any other.
pub fn decode() -> Result<Vec<Shape>, ShapesError> {
    layer(&[1, 2, 4, 8, 16, 32, 64, 128])
}

/// Many tokens through the same layer: bound by arithmetic.
///
/// # Errors
/// As [`decode`].
pub fn prefill() -> Result<Vec<Shape>, ShapesError> {
    layer(&[256, 512, 1024, 2048, 4096, 8192])
}

fn layer(tokens: &[usize]) -> Result<Vec<Shape>, ShapesError> {
    let [n, k] = LAYER;
    let shapes = tokens.iter().map(|&m| Shape::new(m, n, k, 1));
    Ok(shapes.collect::<Result<_, _>>()?)
}

/// Lines `M N K [L]`, separated by spaces, tabs or commas. Empty lines, comments from `#` on and a
/// heading `M,N,K` in the first line do not count.
///
/// # Errors
/// [`ShapesError::Line`], [`ShapesError::Shape`], [`ShapesError::Empty`].
pub fn parse(text: &str) -> Result<Vec<Shape>, ShapesError> {
    let mut shapes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default();
        let fields: Vec<&str> = content
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|field| !field.is_empty())
            .collect();
        let is_heading =
            shapes.is_empty() && fields.first().is_some_and(|f| f.eq_ignore_ascii_case("m"));
        if fields.is_empty() || is_heading {
            continue;
        }
        let line_number = index + 1;
        let extents: Result<Vec<usize>, _> = fields.iter().map(|field| field.parse()).collect();
        let shape = match extents.as_deref() {
            Ok(&[m, n, k]) => Shape::new(m, n, k, 1),
            Ok(&[m, n, k, batch]) => Shape::new(m, n, k, batch),
            _ => {
                return Err(ShapesError::Line {
                    line: line_number,
                    found: line.to_owned(),
                });
            }
        };
        shapes.push(shape.map_err(|error| ShapesError::Shape {
            line: line_number,
            error,
        })?);
    }
    if shapes.is_empty() {
        return Err(ShapesError::Empty);
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dimensions(shapes: &[Shape]) -> Vec<[usize; 4]> {
        let of = |shape: &Shape| [shape.m(), shape.n(), shape.k(), shape.batch()];
        shapes.iter().map(of).collect()
    }

    #[test]
    fn files_may_be_spaced_or_csv() {
        let shapes = parse("# tokens first\n16 4096 7168\n\n1\t512 256 3 # a batch\n").unwrap();
        assert_eq!(dimensions(&shapes), [[16, 4096, 7168, 1], [1, 512, 256, 3]]);
        let shapes = parse("m,n,k,l\n16, 4096, 7168, 1\r\n8,64,64\n").unwrap();
        assert_eq!(dimensions(&shapes), [[16, 4096, 7168, 1], [8, 64, 64, 1]]);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(
            error("1 64 64\n\n1 64\n"),
            "line 3: found \"1 64\"; needed is M N K or M N K L, four positive whole numbers at most"
        );
        assert!(error("1 64 64 1 1").starts_with("line 1: found"));
        assert!(error("1 -64 64").starts_with("line 1: found"));
        assert_eq!(
            error("1 64 64\n1 64 100"),
            "line 2: K is 100; it must be a multiple of 64: one MMA takes K = 64"
        );
        assert!(error("# nothing\n").starts_with("no line holds a shape"));
        // A heading further down is a mistake.
        assert!(error("1 64 64\nm n k\n").starts_with("line 2: found"));
    }

    #[test]
    fn sets_have_names() {
        assert_eq!(named("contest").unwrap().len(), 13);
        assert_eq!(
            dimensions(&named("decode").unwrap())[7],
            [128, 4096, 7168, 1]
        );
        assert_eq!(
            dimensions(&named("prefill").unwrap())[5],
            [8192, 4096, 7168, 1]
        );
        let error = named("no/such/file").unwrap_err().to_string();
        assert!(error.contains("no/such/file") && error.contains("contest, decode, prefill"));
    }
}
