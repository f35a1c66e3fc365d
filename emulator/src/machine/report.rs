//! What a launch returns: counters of a run that went well, or why and where it did not.

mod json;
mod place;
mod stall;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use thiserror::Error;

use super::cluster_fault::{ClusterFault, ClusterMisfit};
use super::dependency::DependentRace;
use super::global::GlobalFault;
use super::order::{Finding, Warning};
use super::registers::RegisterMisuse;
use super::schedule::Schedule;
use crate::isa::ir::Kernel;
use crate::tma::TmaFault;

pub use place::{Copied, Place, Role};
pub use stall::{InFlight, Stall, StallReason, StallReport, StalledGroup};

/// Counters of a finished launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaunchReport {
    pub ctas: u64,
    pub warp_instructions: u64,
    /// `tcgen05.mma` instructions.
    pub mmas: u64,
    /// Bytes that TMA and bulk copies moved.
    pub tma_bytes: u64,
    /// A fingerprint of the order of execution: launches that executed the same instructions of
    /// each cluster in the same order have the same one.
    pub order: u64,
    /// What strict mode would have refused.
    pub warnings: Vec<Warning>,
    pub elapsed: Duration,
}

impl LaunchReport {
    pub(super) fn add(&mut self, other: &LaunchReport) {
        self.ctas += other.ctas;
        self.warp_instructions += other.warp_instructions;
        self.mmas += other.mmas;
        self.tma_bytes += other.tma_bytes;
        self.order = self.order.wrapping_add(other.order);
        for warning in &other.warnings {
            if !self.warnings.iter().any(|known| known.is_like(warning)) {
                self.warnings.push(warning.clone());
            }
        }
    }
}

/// A line of the PTX text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// From 1.
    pub line: u32,
    /// Without surrounding white space; empty where the text is not known.
    pub text: String,
}

impl SourceLine {
    pub(crate) fn of(kernel: &Kernel, line: u32) -> Self {
        let text = (line as usize)
            .checked_sub(1)
            .and_then(|index| kernel.text.get(index))
            .map(|text| text.trim().to_owned())
            .unwrap_or_default();
        Self { line, text }
    }
}

impl fmt::Display for SourceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// Who executed the failing instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub cta: [u32; 3],
    pub warp: u32,
    /// The lanes that executed it.
    pub lanes: u32,
    pub source: SourceLine,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.cta;
        let (warp, lanes) = (self.warp, Lanes(self.lanes));
        write!(
            f,
            "CTA ({x}, {y}, {z}), warp {warp}, {lanes}\n    {}",
            self.source
        )
    }
}

/// Why a launch did not start, or stopped.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct LaunchFailure {
    pub kernel: String,
    /// `None` where no single instruction is to blame.
    pub site: Option<Box<Site>>,
    pub kind: FailureKind,
    /// What lives where it went wrong, as far as that is known.
    pub places: Vec<Place>,
    /// The schedule under which it failed, unless that is the default one.
    pub schedule: Option<Box<Schedule>>,
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel `{}`: {}", self.kernel, self.kind)?;
        if let Some(site) = &self.site {
            write!(f, "\n  at {site}")?;
        }
        for place in &self.places {
            write!(f, "\n  there: {place}")?;
        }
        if let FailureKind::AsyncRace(race) = &self.kind {
            write!(
                f,
                "\n  in flight: {}, issued by warp {}\n    {}",
                race.operation, race.issued_by_warp, race.issued_at
            )?;
        }
        match &self.schedule {
            Some(schedule) => write!(f, "\n  replay with {}", schedule.replay()),
            None => Ok(()),
        }
    }
}

/// What the CUDA driver would make of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// The launch's own arguments are wrong: `CUDA_ERROR_INVALID_VALUE`.
    InvalidValue,
    /// A cluster that the device, the grid or the kernel does not admit: `CUDA_ERROR_INVALID_CLUSTER_SIZE`.
    InvalidCluster,
    /// More shared memory or registers than the device has, more threads than the kernel's `.maxntid`: `CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES`.
    OutOfResources,
    /// More CTAs in a cooperative launch than are resident together: `CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE`.
    CooperativeLaunchTooLarge,
    /// `CUDA_ERROR_ILLEGAL_ADDRESS`
    IllegalAddress,
    /// `CUDA_ERROR_MISALIGNED_ADDRESS`
    MisalignedAddress,
    /// A hang or deadlock: `CUDA_ERROR_LAUNCH_TIMEOUT`.
    Timeout,
    /// `CUDA_ERROR_ILLEGAL_INSTRUCTION`
    IllegalInstruction,
    /// Legal on a device, but not in this emulator: `CUDA_ERROR_NOT_SUPPORTED`.
    NotSupported,
    /// Every other rule of the machine: `CUDA_ERROR_LAUNCH_FAILED`.
    LaunchFailed,
}

impl LaunchFailure {
    /// Whether the launch was refused before its first instruction: nothing ran, nothing is broken.
    pub fn is_refusal(&self) -> bool {
        use FailureKind::*;
        match self.kind {
            InvalidDimension { .. }
            | TooManyThreads { .. }
            | MaxntidExceeded { .. }
            | BlockMismatch { .. }
            | InvalidCluster { .. }
            | SharedMemoryLimit { .. }
            | RegisterLimit { .. }
            | NotCoResident { .. }
            | ParameterBytes { .. } => true,
            // Of a form of launch, not of an instruction.
            Unsupported { .. } => self.site.is_none(),
            _ => false,
        }
    }

    /// Notes the schedule under which it failed.
    pub(super) fn under(self, schedule: Schedule) -> Self {
        Self {
            schedule: (schedule != Schedule::default()).then(|| Box::new(schedule)),
            ..self
        }
    }

    /// What the CUDA driver would make of it.
    pub fn class(&self) -> FailureClass {
        use FailureKind::*;
        match &self.kind {
            InvalidDimension { .. }
            | TooManyThreads { .. }
            | BlockMismatch { .. }
            | ParameterBytes { .. } => FailureClass::InvalidValue,
            InvalidCluster { .. } => FailureClass::InvalidCluster,
            SharedMemoryLimit { .. } | MaxntidExceeded { .. } | RegisterLimit { .. } => {
                FailureClass::OutOfResources
            }
            NotCoResident { .. } => FailureClass::CooperativeLaunchTooLarge,
            Global(GlobalFault::OutOfBounds { .. }) | OutOfBounds { .. } => {
                FailureClass::IllegalAddress
            }
            Global(GlobalFault::Misaligned { .. }) | Misaligned { .. } => {
                FailureClass::MisalignedAddress
            }
            Deadlock(_) | Livelock(_) | Hang(_) | Registers(RegisterMisuse::NeverEnough { .. }) => {
                FailureClass::Timeout
            }
            Unsupported { .. } => FailureClass::NotSupported,
            DivergentAligned { .. }
            | NotAMember { .. }
            | IllegalOperand { .. }
            | IllegalTma { .. }
            | Cluster(ClusterFault::RemoteAddress { .. }) => FailureClass::IllegalInstruction,
            _ => FailureClass::LaunchFailed,
        }
    }
}

/// The rule that was broken.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum FailureKind {
    // ---- refused before the first instruction ------------------------------------------------------------------
    #[error("{what} is {found:?}; the device takes 1 to {limit:?} per dimension")]
    InvalidDimension {
        what: &'static str,
        found: [u32; 3],
        limit: [u32; 3],
    },
    #[error("a block of {found} threads was asked for; the device takes {limit}")]
    TooManyThreads { found: u64, limit: u64 },
    #[error("a block of {found} threads was asked for; the kernel takes {limit} (`.maxntid`)")]
    MaxntidExceeded { found: u64, limit: u64 },
    #[error("the block is {found:?}; the kernel requires {required:?} (`.reqntid`)")]
    BlockMismatch { found: [u32; 3], required: [u32; 3] },
    #[error("clusters of {found:?} CTAs: {misfit}")]
    InvalidCluster {
        found: [u32; 3],
        misfit: ClusterMisfit,
    },
    #[error(
        "shared memory of {requested} bytes per CTA ({fixed} static, {dynamic} dynamic); the device has {limit}"
    )]
    SharedMemoryLimit {
        requested: u64,
        fixed: u32,
        dynamic: u32,
        limit: u32,
    },
    #[error(
        "{threads} threads of {registers} registers, with which the kernel starts, are more than a multiprocessor has"
    )]
    RegisterLimit { registers: u32, threads: u64 },
    #[error(
        "a cooperative launch of {ctas} CTAs; the device keeps {resident} of them resident together"
    )]
    NotCoResident { ctas: u64, resident: u64 },
    #[error("the parameter buffer has {found} bytes; the kernel takes {required}")]
    ParameterBytes { found: usize, required: u32 },

    // ---- memory ------------------------------------------------------------------------------------------------
    #[error("global memory: {0}")]
    Global(#[from] GlobalFault),
    #[error(
        "{space} memory: {bytes} bytes at {address:#x} are outside of {:#x}..{:#x}",
        .valid.start,
        .valid.end
    )]
    OutOfBounds {
        space: &'static str,
        address: u64,
        bytes: u64,
        valid: Range<u64>,
    },
    #[error("{space} memory: address {address:#x} is not a multiple of {alignment} bytes")]
    Misaligned {
        space: &'static str,
        address: u64,
        alignment: u64,
    },
    #[error(
        "shared memory: address {address:#x} is outside of the CTA's memory, where rank {rank} of the \
         cluster would be; it has {ctas} CTAs"
    )]
    NoSuchCta { address: u64, rank: u32, ctas: u32 },
    #[error(transparent)]
    Cluster(#[from] ClusterFault),

    // ---- warps -------------------------------------------------------------------------------------------------
    #[error(
        "an `.aligned` instruction was executed by {} while {} of the warp went elsewhere",
        Lanes(*.found),
        Lanes(*.missing)
    )]
    DivergentAligned { found: u32, missing: u32 },
    #[error(
        "{} executed a warp collective whose member mask is {members:#010x}",
        Lanes(*.lanes)
    )]
    NotAMember { lanes: u32, members: u32 },
    #[error("{what} differs between the lanes of the warp: {first:#x} and {other:#x}")]
    NotUniform {
        what: &'static str,
        first: u64,
        other: u64,
    },
    #[error("illegal operand: {0}")]
    IllegalOperand(String),
    #[error("the kernel executed `trap`")]
    Trap,

    #[error(transparent)]
    Registers(#[from] RegisterMisuse),

    // ---- barriers ----------------------------------------------------------------------------------------------
    #[error("mbarrier {address:#x}: {misuse}")]
    Mbarrier {
        address: u32,
        misuse: MbarrierMisuse,
    },
    #[error("barrier {id}: {misuse}")]
    Barrier { id: u64, misuse: BarrierMisuse },
    #[error("barrier.cluster: {0}")]
    ClusterBarrier(ClusterBarrierMisuse),

    // ---- asynchronous units ------------------------------------------------------------------------------------
    #[error("{0}")]
    AsyncRace(Box<AsyncRace>),
    #[error("{0}")]
    Order(Box<Finding>),
    #[error("{0}")]
    Dependent(Box<DependentRace>),
    #[error("tensor memory accelerator: {0}")]
    Tma(String),
    #[error("tensor memory accelerator: {0}")]
    IllegalTma(String),
    #[error("tensor core: {0}")]
    Tensor(String),
    #[error(
        "the CTA exited while it still held {columns} columns of tensor memory; deallocate them first"
    )]
    TensorMemoryLeak { columns: u32 },
    #[error(
        "a CTA exited with asynchronous operations in flight that it issued or that use its memory; wait for them \
         first:{}",
        List(.operations)
    )]
    OutstandingAtExit { operations: Vec<String> },

    // ---- the whole -----------------------------------------------------------------------------------------------
    #[error("{0}")]
    Deadlock(Box<StallReport>),
    #[error("{0}")]
    Livelock(Box<StallReport>),
    #[error("{0}")]
    Hang(Box<StallReport>),
    #[error("the emulator does not support {what} yet")]
    Unsupported { what: String },
    #[error("the launch was stopped because another CTA failed")]
    Stopped,
}

impl FailureKind {
    /// A rule of the tensor core that was broken.
    pub(super) fn tensor(error: impl ToString) -> Self {
        Self::Tensor(error.to_string())
    }

    /// A rule of TMA and bulk copies that was broken.
    pub(super) fn tma(error: impl ToString) -> Self {
        Self::Tma(error.to_string())
    }

    /// A rule of tensor copies that was broken.
    pub(super) fn tile(fault: TmaFault) -> Self {
        match fault.is_illegal_instruction() {
            true => Self::IllegalTma(fault.to_string()),
            false => Self::Tma(fault.to_string()),
        }
    }

    pub(super) fn unsupported(what: impl ToString) -> Self {
        Self::Unsupported {
            what: what.to_string(),
        }
    }
}

/// Rules of PTX ISA §9.7.13.15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MbarrierMisuse {
    #[error("used before `mbarrier.init`")]
    NotInitialised,
    #[error("initialised again while live; `mbarrier.inval` it first")]
    InitialisedTwice,
    #[error("ordinary access of {bytes} bytes at {address:#x} to a live barrier")]
    OrdinaryAccess { address: u32, bytes: u32 },
    #[error("a count of {count}; 1 to 1048575 are possible")]
    Count { count: u64 },
    #[error("{arrivals} arrivals where only {pending} are pending in this phase")]
    ArrivalUnderflow { arrivals: u32, pending: u32 },
    #[error("tx-count of {tx}; it may go from -1048575 to 1048575")]
    TransactionCount { tx: i64 },
    #[error("the phase would complete, but the instruction says `.noComplete`")]
    CompletedDespiteNoComplete,
    #[error("the barrier of another CTA can be arrived at, not waited for")]
    RemoteWait,
    #[error(
        "a token of phase {phase} in phase {current}; only the last completed phase can be tested"
    )]
    StaleToken { phase: u64, current: u64 },
}

/// Rules of PTX ISA §9.7.13.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BarrierMisuse {
    #[error("there are barriers 0 to 15")]
    NoSuchBarrier,
    #[error(
        "a thread count of {threads}; it must be a positive multiple of 32 and at most the CTA's {limit}"
    )]
    ThreadCount { threads: u64, limit: u32 },
    #[error("{found} threads expected here, {expected} by those that arrived before")]
    DifferentCounts { found: u32, expected: u32 },
    #[error("{} of warp {warp} arrive twice in one generation", Lanes(*.lanes))]
    ArrivedTwice { warp: u32, lanes: u32 },
    #[error("{arrived} threads arrived where {expected} were expected")]
    TooManyArrivals { arrived: u32, expected: u32 },
    #[error("`barrier.red` meets another kind of barrier instruction")]
    MixedReduction,
}

/// Rules of PTX ISA §9.7.13.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ClusterBarrierMisuse {
    #[error("a thread arrives again before it has waited")]
    ArrivedTwice,
    #[error("a thread waits that has not arrived")]
    NotArrived,
}

/// Two accesses that nothing orders, at least one of them asynchronous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsyncRace {
    pub space: &'static str,
    /// The bytes of shared or global memory, or the columns of tensor memory, that both touch.
    pub overlap: Range<u64>,
    /// Rank of the CTA whose memory it is.
    pub memory_of: u32,
    /// "reads" or "writes"
    pub now: &'static str,
    pub in_flight: &'static str,
    /// Name of the operation in flight.
    pub operation: &'static str,
    pub issued_by_warp: u32,
    pub issued_at: SourceLine,
}

impl fmt::Display for AsyncRace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this instruction {} {} {:#x}..{:#x}, which a {} in flight still {}; wait for its completion first",
            self.now,
            self.space,
            self.overlap.start,
            self.overlap.end,
            self.operation,
            self.in_flight,
        )
    }
}

/// A lane mask in words: "lane 3", "lanes 0-15, 31", "all lanes".
pub(super) struct Lanes(pub u32);

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mask = self.0;
        match mask {
            0 => return write!(f, "no lanes"),
            u32::MAX => return write!(f, "all lanes"),
            _ if mask.is_power_of_two() => return write!(f, "lane {}", mask.trailing_zeros()),
            _ => write!(f, "lanes ")?,
        }
        let mut lane = 0;
        let mut separator = "";
        while lane < 32 {
            let run = (mask >> lane).trailing_ones();
            if run == 0 {
                lane += 1;
                continue;
            }
            match run {
                1 => write!(f, "{separator}{lane}")?,
                _ => write!(f, "{separator}{lane}-{}", lane + run - 1)?,
            }
            separator = ", ";
            lane += run;
        }
        Ok(())
    }
}

/// One item a line, as many as a reader can take in.
struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        for item in self.0.iter().take(SHOWN) {
            write!(f, "\n    {item}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n    and {more} more"),
        }
    }
}

/// A failure without its kernel's name and site, as the executing code raises it.
pub(super) type Step<T> = Result<T, FailureKind>;

/// Names and text of a kernel, to complete a failure.
pub(super) fn failure(
    kernel: &Kernel,
    site: Option<Box<Site>>,
    kind: FailureKind,
) -> LaunchFailure {
    LaunchFailure {
        kernel: kernel.name.clone(),
        site,
        kind,
        places: Vec::new(),
        schedule: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lane_masks_in_words() {
        assert_eq!(Lanes(0).to_string(), "no lanes");
        assert_eq!(Lanes(u32::MAX).to_string(), "all lanes");
        assert_eq!(Lanes(1 << 31).to_string(), "lane 31");
        assert_eq!(Lanes(0x8000_ffff).to_string(), "lanes 0-15, 31");
        assert_eq!(Lanes(0b1101).to_string(), "lanes 0, 2-3");
    }
}
