//! What the checker says: which rule, which bytes, who else, and what is missing between the two.

use std::fmt;
use std::ops::Range;

use crate::machine::global::Extent;
use crate::machine::report::{Lanes, Place, Site, SourceLine};

/// A rule about the order of accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Memory is written before it is read.
    Uninitialised,
    /// A proxy fence lies between accesses through different proxies (PTX ISA §8.6).
    ProxyFence,
    /// Conflicting accesses are ordered (PTX ISA §8.7.1).
    Race,
    /// … those to global memory too, between CTAs as well.
    GlobalRace,
    /// Accesses to tensor memory are ordered by completion and by tcgen05 fences (PTX ISA §9.7.16.6).
    TensorOrder,
    /// mbarriers are initialised before others use them, and waited for in each phase (PTX ISA §9.7.13.15).
    Mbarrier,
}

impl Rule {
    /// The id in reports.
    pub fn id(self) -> &'static str {
        match self {
            Self::Uninitialised => "E1",
            Self::ProxyFence => "E2",
            Self::Race => "E3",
            Self::GlobalRace => "E12",
            Self::TensorOrder => "E4",
            Self::Mbarrier => "E5",
        }
    }
}

/// What a broken rule comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The result can be wrong on a device.
    Error,
    /// Against the letter of the PTX ISA, yet production kernels rely on it: an error in strict mode only.
    Warning,
}

/// The other side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    pub cta: [u32; 3],
    pub warp: u32,
    /// The lanes that executed the instruction, where they are known.
    pub lanes: Option<u32>,
    /// "wrote" or "read"
    pub did: &'static str,
    /// Name of the asynchronous operation; `None` where the instruction itself accessed memory.
    pub operation: Option<&'static str>,
    pub source: SourceLine,
}

/// A broken rule. The instruction that broke it is the failure's site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub severity: Severity,
    /// "reads" or "writes", or what else the instruction does.
    pub now: &'static str,
    /// "bytes of shared memory", "bytes of global memory", "columns of tensor memory", "mbarrier"
    /// or "a register".
    pub space: &'static str,
    /// Bytes from the start of the CTA's window or of global memory, or columns.
    pub range: Range<u64>,
    /// The CTA whose memory it is, unless it is global.
    pub memory_of: Option<[u32; 3]>,
    /// The allocation, in global memory.
    pub allocation: Option<Extent>,
    /// The name of the register, if it is one.
    pub register: Option<String>,
    pub other: Option<Party>,
    /// What is missing, and where.
    pub missing: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: this instruction {}", self.rule.id(), self.now)?;
        match &self.register {
            Some(register) => write!(f, " {register}")?,
            None => write!(
                f,
                " {} {:#x}..{:#x}",
                self.space, self.range.start, self.range.end
            )?,
        }
        if let Some(Extent { base, bytes }) = self.allocation {
            let offset = self.range.start.wrapping_sub(base);
            write!(
                f,
                " (offset {offset:#x} in the allocation of {bytes} bytes at {base:#x})"
            )?;
        }
        if let Some(other) = &self.other {
            let [x, y, z] = other.cta;
            write!(f, ", which ")?;
            if let Some(operation) = other.operation {
                write!(f, "a {operation} of ")?;
            }
            if let Some(lanes) = other.lanes {
                write!(f, "{} of ", Lanes(lanes))?;
            }
            write!(
                f,
                "warp {} of CTA ({x}, {y}, {z}) {}",
                other.warp, other.did
            )?;
        }
        write!(f, "; {}", self.missing)?;
        if let Some(other) = &self.other {
            write!(f, "\n  the other: {}", other.source)?;
        }
        Ok(())
    }
}

/// A finding that did not stop the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub kernel: String,
    pub site: Site,
    pub finding: Finding,
    /// What lives there, as far as that is known.
    pub places: Vec<Place>,
}

impl Warning {
    /// Whether both are about the same lines.
    pub fn is_like(&self, other: &Warning) -> bool {
        let key = |warning: &Warning| {
            let finding = &warning.finding;
            let other = finding.other.as_ref().map(|party| party.source.line);
            (finding.rule, warning.site.source.line, other)
        };
        key(self) == key(other)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kernel `{}`: warning: {}\n  at {}",
            self.kernel, self.finding, self.site
        )?;
        for place in &self.places {
            write!(f, "\n  there: {place}")?;
        }
        Ok(())
    }
}
