//! Asynchronous operations: what each of them does, what tells that it is complete, and what it has to wait for.

use std::slice;

use super::chunks::Chunk;
use super::footprint::{Footprint, Memory, SharedAddress};
use super::order::Ticket;
use super::remote::{AsyncStore, SharedCopy};
use super::small_copy::SmallCopies;
use super::snapshot::Snapshot;
use super::store::{StoreRead, StoreWrite};
use super::warpgroup;
use crate::observe::Issued;
use crate::tensor::{Mma, TensorCopy};
use crate::tma::TensorMap;

/// The thread and line that issued an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub cta: u32,
    pub warp: u32,
    pub lane: u32,
    pub line: u32,
}

impl Issuer {
    pub fn same_warp(&self, other: &Issuer) -> bool {
        (self.cta, self.warp) == (other.cta, other.warp)
    }

    pub fn same_thread(&self, other: &Issuer) -> bool {
        (self.cta, self.warp, self.lane) == (other.cta, other.warp, other.lane)
    }
}

/// What an operation does when it completes.
#[derive(Clone, Debug)]
pub enum Work {
    TmaLoad {
        map: Box<TensorMap>,
        coordinates: Vec<i32>,
        destination: SharedAddress,
        barrier: SharedAddress,
    },
    /// Global to shared.
    BulkLoad {
        source: u64,
        destination: SharedAddress,
        bytes: u32,
        barrier: SharedAddress,
    },
    /// `cp.async` of one warp instruction.
    SmallCopies(Box<SmallCopies>),
    /// `cp.async.mbarrier.arrive`
    CopiesArrive {
        barrier: SharedAddress,
    },
    /// `clusterlaunchcontrol.try_cancel`: the response goes to this offset in the CTA of each barrier.
    TryCancel {
        response: u32,
        barriers: Vec<SharedAddress>,
    },
    /// The two steps of a store or reduction from shared to global memory.
    StoreRead(StoreRead),
    StoreWrite(StoreWrite),
    /// Part of a load.
    Chunk(Chunk),
    SharedCopy(SharedCopy),
    AsyncStore(AsyncStore),
    /// By each CTA of the group, within its own memories.
    TensorCopy {
        copy: TensorCopy,
        cta_group: u8,
    },
    Mma(Box<Mma>),
    Commit {
        barriers: Vec<SharedAddress>,
    },
    /// One warp's part of a `wgmma.mma_async`.
    WarpgroupMma(warpgroup::Operands),
    /// `tcgen05.ld` and `.st` take effect at issue, but are in flight until their warp's `tcgen05.wait`.
    TensorLoad,
    TensorStore,
}

impl Work {
    pub fn name(&self) -> &'static str {
        match self {
            Self::TmaLoad { .. } => "TMA load",
            Self::BulkLoad { .. } => "bulk load",
            Self::SmallCopies(_) => "cp.async",
            Self::CopiesArrive { .. } => "cp.async.mbarrier.arrive",
            Self::TryCancel { .. } => "clusterlaunchcontrol.try_cancel",
            Self::StoreRead(store) => store.name,
            Self::StoreWrite(store) => store.name,
            Self::Chunk(chunk) => chunk.name,
            Self::SharedCopy(_) => "bulk copy between shared memories",
            Self::AsyncStore(store) if store.reduction.is_some() => "red.async",
            Self::AsyncStore(_) => "st.async",
            Self::TensorCopy { .. } => "tcgen05.cp",
            Self::Mma(_) => "tcgen05.mma",
            Self::Commit { .. } => "tcgen05.commit",
            Self::WarpgroupMma(_) => "wgmma.mma_async",
            Self::TensorLoad => "tcgen05.ld",
            Self::TensorStore => "tcgen05.st",
        }
    }

    /// The mbarriers that its completion signals.
    pub fn barriers(&self) -> &[SharedAddress] {
        match self {
            Self::TmaLoad { barrier, .. }
            | Self::BulkLoad { barrier, .. }
            | Self::CopiesArrive { barrier } => slice::from_ref(barrier),
            Self::Chunk(chunk) => slice::from_ref(&chunk.barrier),
            Self::SharedCopy(copy) => slice::from_ref(&copy.barrier),
            Self::AsyncStore(store) => slice::from_ref(&store.barrier),
            Self::Commit { barriers } | Self::TryCancel { barriers, .. } => barriers,
            _ => &[],
        }
    }

    /// What tells that it is complete.
    pub fn completion(&self) -> Completion {
        match self {
            Self::TmaLoad { .. }
            | Self::BulkLoad { .. }
            | Self::Chunk(_)
            | Self::SharedCopy(_)
            | Self::AsyncStore(_)
            | Self::TryCancel { .. } => Completion::Phase,
            Self::SmallCopies(_) => Completion::CopyGroup,
            Self::CopiesArrive { .. } => Completion::CopiesArrive,
            Self::StoreRead(_) | Self::StoreWrite(_) => Completion::BulkGroup,
            Self::TensorCopy { .. } | Self::Mma(_) => Completion::Pipe,
            Self::Commit { .. } => Completion::Commit,
            Self::WarpgroupMma(_) => Completion::WarpgroupGroup,
            Self::TensorLoad => Completion::TensorWait { loads: true },
            Self::TensorStore => Completion::TensorWait { loads: false },
        }
    }

    /// What has to complete before it can.
    pub fn queue(&self) -> Queue {
        match self {
            Self::TmaLoad { .. }
            | Self::BulkLoad { .. }
            | Self::Chunk(_)
            | Self::SharedCopy(_)
            | Self::AsyncStore(_)
            | Self::StoreRead(_)
            | Self::SmallCopies(_)
            | Self::CopiesArrive { .. }
            | Self::TryCancel { .. } => Queue::Unordered,
            Self::StoreWrite(_) => Queue::Writes,
            Self::TensorCopy { .. } | Self::Mma(_) | Self::Commit { .. } => Queue::TensorPipe,
            Self::WarpgroupMma(_) => Queue::Warpgroup,
            Self::TensorLoad | Self::TensorStore => Queue::Warp,
        }
    }
}

/// What tells that an operation is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// The phase of the barrier that counts its bytes: that in the CTA where they land, if it has several.
    Phase,
    /// A `tcgen05.commit` of the same thread.
    Pipe,
    /// It is a `tcgen05.commit`, and arrives at its barriers.
    Commit,
    /// `wgmma.wait_group` of the same warp.
    WarpgroupGroup,
    /// `tcgen05.wait::ld` or `::st` of the same warp.
    TensorWait { loads: bool },
    /// `cp.async.bulk.wait_group` of the same thread.
    BulkGroup,
    /// `cp.async.wait_group` of the same thread.
    CopyGroup,
    /// It is a `cp.async.mbarrier.arrive`, and arrives at its barrier.
    CopiesArrive,
}

/// In which order operations complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Completes in any order.
    Unordered,
    /// Completes in any order, each once its source has been read.
    Writes,
    /// Completes in issue order within its CTA.
    TensorPipe,
    /// Completes in issue order within its warp.
    Warpgroup,
    /// Completes when its warp waits.
    Warp,
}

/// An operation in flight.
#[derive(Clone, Debug)]
pub struct Operation {
    pub issuer: Issuer,
    /// For those who observe.
    pub issued: Issued,
    pub work: Work,
    pub footprint: Footprint,
    /// What the checker of the order of accesses wants to know when it completes.
    pub ticket: Ticket,
    /// Operands that were read at issue; others are read at completion.
    pub snapshot: Option<Box<Snapshot>>,
}

impl Operation {
    /// Whether it needs the CTA with this rank: its memories, its barriers, or the thread that issued it.
    pub fn involves(&self, cta: u32) -> bool {
        let mut regions = self.footprint.accesses().map(|(region, _)| region);
        let mut barriers = self.work.barriers().iter();
        // What remains of a store when its source was read, and loads and stores of tensor memory, need nobody.
        !matches!(self.work.queue(), Queue::Warp | Queue::Writes)
            && (self.issuer.cta == cta
                || regions.any(|region| region.memory() != Memory::Global && region.cta() == cta)
                || barriers.any(|barrier| barrier.cta == cta))
    }
}
