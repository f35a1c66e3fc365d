//! What lives where a report says that something happened.

use std::fmt;
use std::ops::Range;

use super::SourceLine;
use crate::json::{Object, array};

/// Memory that a report is about, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// "shared", "tensor" or "global"
    pub space: &'static str,
    /// The CTA whose memory it is, unless it is global.
    pub cta: Option<[u32; 3]>,
    /// Bytes, or columns of tensor memory.
    pub range: Range<u64>,
    pub roles: Vec<Role>,
}

/// What memory is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A `.shared` variable of the kernel.
    Variable {
        name: String,
        /// Its size; `None` of dynamic shared memory.
        bytes: Option<u32>,
        /// Where the place is in it.
        offset: u32,
    },
    /// An mbarrier.
    Mbarrier {
        address: u32,
        initialised: SourceLine,
        /// Completed phases, arrivals pending and expected, and bytes outstanding.
        phase: u64,
        pending: u32,
        expected: u32,
        tx: i64,
    },
    /// The last tensor or bulk copy that went there.
    Copy(Box<Copied>),
    /// An allocation of tensor memory.
    Columns {
        columns: Range<u32>,
        warp: u32,
        allocated: SourceLine,
    },
    /// An allocation of global memory.
    Allocation {
        base: u64,
        bytes: u64,
        /// The kernel's parameters that point into it: pointers and tensor maps.
        parameters: Vec<String>,
    },
}

/// A tensor or bulk copy to shared memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of shared memory that it writes.
    pub range: Range<u32>,
    /// Where the data comes from: the parameter that the tensor map is or the pointer comes from,
    /// or an address.
    pub from: String,
    /// Coordinates and extents of the box, of tensor copies.
    pub tile: Option<(Vec<i32>, Vec<u32>)>,
    pub warp: u32,
    pub issued: SourceLine,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "{} {start:#x}..{end:#x}", self.space)?;
        if let Some([x, y, z]) = self.cta {
            write!(f, " of CTA ({x}, {y}, {z})")?;
        }
        for (index, role) in self.roles.iter().enumerate() {
            let separator = if index == 0 { ": " } else { "; " };
            write!(f, "{separator}{role}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable {
                name,
                bytes,
                offset,
            } => match bytes {
                None => write!(f, "dynamic shared memory `{name}` + {offset:#x}"),
                Some(bytes) if offset >= bytes => {
                    write!(f, "{} bytes behind the end of `{name}`", offset - bytes)
                }
                Some(_) => write!(f, "`{name}` + {offset:#x}"),
            },
            Self::Mbarrier {
                address,
                initialised,
                phase,
                pending,
                expected,
                tx,
            } => write!(
                f,
                "mbarrier at {address:#x}, initialised by {initialised}, in phase {phase} with {pending} of \
                 {expected} arrivals pending and tx-count {tx}"
            ),
            Self::Copy(copied) => copied.fmt(f),
            Self::Columns {
                columns,
                warp,
                allocated,
            } => write!(
                f,
                "columns {}..{}, allocated by warp {warp}, {allocated}",
                columns.start, columns.end
            ),
            Self::Allocation {
                base,
                bytes,
                parameters,
            } => {
                write!(f, "allocation of {bytes} bytes at {base:#x}")?;
                match &parameters[..] {
                    [] => Ok(()),
                    names => write!(f, ", parameter `{}`", names.join("`, `")),
                }
            }
        }
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "{start:#x}..{end:#x} last copied from {}", self.from)?;
        if let Some((coordinates, extents)) = &self.tile {
            write!(f, ", box {extents:?} at {coordinates:?}")?;
        }
        write!(f, ", by warp {}, {}", self.warp, self.issued)
    }
}

impl Place {
    pub(super) fn to_json(&self) -> String {
        Object::default()
            .text("space", self.space)
            .field("cta", self.cta.map(array))
            .number("start", self.range.start)
            .number("end", self.range.end)
            .field("roles", array(self.roles.iter().map(Role::to_json)))
            .finish()
    }
}

impl Role {
    fn to_json(&self) -> String {
        match self {
            Self::Variable {
                name,
                bytes,
                offset,
            } => Object::default()
                .text("role", "variable")
                .text("name", &**name)
                .field("bytes", bytes.map(|bytes| bytes.to_string()))
                .number("offset", *offset),
            Self::Mbarrier {
                address,
                initialised,
                phase,
                pending,
                expected,
                tx,
            } => of_line(Object::default().text("role", "mbarrier"), initialised)
                .number("address", *address)
                .number("phase", *phase)
                .number("pending", *pending)
                .number("expected", *expected)
                .field("tx", tx.to_string()),
            Self::Copy(copied) => {
                let object = of_line(Object::default().text("role", "copy"), &copied.issued)
                    .number("start", copied.range.start)
                    .number("end", copied.range.end)
                    .text("from", &*copied.from)
                    .number("warp", copied.warp);
                match &copied.tile {
                    None => object,
                    Some((coordinates, extents)) => object
                        .field("coordinates", array(coordinates))
                        .field("box", array(extents)),
                }
            }
            Self::Columns {
                columns,
                warp,
                allocated,
            } => of_line(Object::default().text("role", "columns"), allocated)
                .number("start", columns.start)
                .number("end", columns.end)
                .number("warp", *warp),
            Self::Allocation {
                base,
                bytes,
                parameters,
            } => Object::default()
                .text("role", "allocation")
                .number("base", *base)
                .number("bytes", *bytes)
                .field(
                    "parameters",
                    array(parameters.iter().map(|name| crate::json::quoted(name))),
                ),
        }
        .finish()
    }
}

fn of_line(object: Object, source: &SourceLine) -> Object {
    object
        .number("line", source.line)
        .text("text", &*source.text)
}
