//! Operations that were issued and have not completed: TMA and bulk copies, the tensor pipe, tensor-memory loads and
//! stores that nobody has waited for yet.
//!
//! An operation takes effect when the engine hands it back, never when it is issued. What it will read and write is
//! known at once, so two accesses that nothing orders are found when the second is issued, whatever the schedule.

use std::ops::Range;
use std::slice;

use super::chunks::{self, Chunk};
use super::order::Ticket;
use super::random::SplitMix64;
use super::remote::{AsyncStore, SharedCopy};
use super::report::{AsyncRace, SourceLine};
use super::small_copy::SmallCopies;
use super::store::{StoreRead, StoreWrite};
use super::{Asynchrony, Mode};
use crate::isa::ir::Kernel;
use crate::observe::Issued;
use crate::tensor::memory::COLUMNS;
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
    fn same_warp(&self, other: &Issuer) -> bool {
        (self.cta, self.warp) == (other.cta, other.warp)
    }

    fn same_thread(&self, other: &Issuer) -> bool {
        (self.cta, self.warp, self.lane) == (other.cta, other.warp, other.lane)
    }
}

/// A byte of shared memory: CTA of the cluster and offset in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedAddress {
    pub cta: u32,
    pub offset: u32,
}

/// A memory in which operations can conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Shared,
    Tensor,
    Global,
}

/// Bytes of shared or global memory, or a rectangle of tensor memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    memory: Memory,
    cta: u32,
    /// Bytes, or columns.
    start: u64,
    end: u64,
    /// One bit per half (16 lanes) of a warp's partition of tensor memory.
    partitions: u8,
}

/// All 128 lanes of tensor memory.
pub const ALL_PARTITIONS: u8 = 0xFF;

impl Region {
    pub fn shared(cta: u32, bytes: Range<u32>) -> Self {
        Self {
            memory: Memory::Shared,
            cta,
            start: bytes.start.into(),
            end: bytes.end.into(),
            partitions: ALL_PARTITIONS,
        }
    }

    pub fn global(bytes: Range<u64>) -> Self {
        Self {
            memory: Memory::Global,
            cta: 0,
            start: bytes.start,
            end: bytes.end,
            partitions: ALL_PARTITIONS,
        }
    }

    pub fn tensor(cta: u32, columns: Range<u32>, partitions: u8) -> Self {
        Self {
            memory: Memory::Tensor,
            cta,
            start: columns.start.into(),
            end: columns.end.into(),
            partitions,
        }
    }

    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// The CTA whose memory it is.
    pub fn cta(&self) -> u32 {
        self.cta
    }

    /// Bytes, or columns.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Its cells in the memory's [`Shadow`](super::order): bytes of shared memory, or columns of each half of a
    /// partition.
    pub fn cells(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Self {
            memory,
            start,
            end,
            partitions,
            ..
        } = *self;
        (0..8).filter_map(move |half: usize| match memory {
            Memory::Shared => (half == 0).then_some(start as usize..end as usize),
            Memory::Global => None,
            Memory::Tensor => (partitions >> half & 1 != 0).then(|| {
                let column = |column: u64| half * COLUMNS + COLUMNS.min(column as usize);
                column(start)..column(end)
            }),
        })
    }

    fn overlap(&self, other: &Region) -> Option<Range<u64>> {
        let apart = self.memory != other.memory
            || self.cta != other.cta
            || self.partitions & other.partitions == 0;
        let range = self.start.max(other.start)..self.end.min(other.end);
        (!apart && !range.is_empty()).then_some(range)
    }
}

/// What an access does to its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// An atomic update of each element, which other such updates may meet.
    Atomic,
}

impl Access {
    fn conflicts(self, other: Access) -> bool {
        self != other || self == Self::Write
    }

    fn verb(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Atomic => "updates",
        }
    }
}

impl Footprint {
    /// The bytes of shared memory that are read or written.
    pub fn shared_bytes(&self) -> impl Iterator<Item = Range<u64>> + Clone {
        let regions = self.writes.iter().chain(&self.updates).chain(&self.reads);
        let shared = regions.filter(|region| region.memory == Memory::Shared);
        shared.map(|region| region.start..region.end)
    }
}

/// What an operation reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub reads: Vec<Region>,
    pub writes: Vec<Region>,
    /// Updated atomically.
    pub updates: Vec<Region>,
}

impl Footprint {
    fn accesses(&self) -> impl Iterator<Item = (&Region, Access)> {
        let with = |access| move |region| (region, access);
        let writes = self.writes.iter().map(with(Access::Write));
        let updates = self.updates.iter().map(with(Access::Atomic));
        let reads = self.reads.iter().map(with(Access::Read));
        writes.chain(updates).chain(reads)
    }

    fn writes_global(&self) -> bool {
        let mut written = self.writes.iter().chain(&self.updates);
        written.any(|region| region.memory == Memory::Global)
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
    WarpgroupMma(super::warpgroup::Operands),
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

    fn queue(&self) -> Queue {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
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
}

impl Operation {
    /// Whether it needs the CTA with this rank: its memories, its barriers, or the thread that issued it.
    pub fn involves(&self, cta: u32) -> bool {
        let mut regions = self.footprint.accesses().map(|(region, _)| region);
        let mut barriers = self.work.barriers().iter();
        // What remains of a store when its source was read, and loads and stores of tensor memory, need nobody.
        !matches!(self.work.queue(), Queue::Warp | Queue::Writes)
            && (self.issuer.cta == cta
                || regions.any(|region| region.memory != Memory::Global && region.cta == cta)
                || barriers.any(|barrier| barrier.cta == cta))
    }
}

/// The operations in flight of one cluster, in issue order.
#[derive(Debug)]
pub struct Engine {
    operations: Vec<Operation>,
    checks_order: bool,
    policy: Asynchrony,
    random: SplitMix64,
    tickets: u64,
    /// Operations in flight that write global memory.
    global_writes: usize,
}

impl Engine {
    pub fn new() -> Self {
        Self {
            operations: Vec::new(),
            checks_order: true,
            policy: Asynchrony::Late,
            random: SplitMix64::new(0, 0),
            tickets: 0,
            global_writes: 0,
        }
    }

    /// Forgets everything. `stream` tells clusters of one launch apart, so that each has random delays of its own.
    pub fn reset(&mut self, mode: Mode, policy: Asynchrony, stream: u64) {
        self.operations.clear();
        self.checks_order = mode.checks_order();
        self.global_writes = 0;
        self.policy = policy;
        if let Asynchrony::Random { seed } | Asynchrony::Chunked { seed } = policy {
            self.random = SplitMix64::new(seed, stream);
        }
    }

    /// Whether copies land piece by piece.
    pub fn is_chunked(&self) -> bool {
        matches!(self.policy, Asynchrony::Chunked { .. })
    }

    /// The parts in which so many bytes land.
    pub fn cut(&mut self, bytes: u32) -> Vec<Range<u32>> {
        chunks::cut(&mut self.random, bytes)
    }

    /// Puts a part of an operation in flight that was in flight as a whole: it was checked then.
    pub fn put(&mut self, part: Operation) {
        self.global_writes += usize::from(part.footprint.writes_global());
        self.operations.push(part);
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Puts an operation in flight, unless it conflicts with one that is.
    pub fn issue(
        &mut self,
        kernel: &Kernel,
        operation: Operation,
    ) -> Result<&mut Operation, Box<AsyncRace>> {
        let pipe = (operation.work.queue() == Queue::TensorPipe).then_some(operation.issuer.cta);
        for (region, access) in operation.footprint.accesses() {
            self.check(kernel, region, access, pipe)?;
        }
        self.global_writes += usize::from(operation.footprint.writes_global());
        let index = self.operations.len();
        self.operations.push(operation);
        Ok(&mut self.operations[index])
    }

    /// Checks an access against everything in flight. `pipe`: the access is made by the tensor pipe of that CTA, which
    /// executes `tcgen05.cp`, `.mma` and `.commit` in order (PTX ISA §9.7.16.6.2), so they can't conflict.
    pub fn check(
        &self,
        kernel: &Kernel,
        region: &Region,
        access: Access,
        pipe: Option<u32>,
    ) -> Result<(), Box<AsyncRace>> {
        if !self.checks_order {
            return Ok(());
        }
        for operation in &self.operations {
            if pipe == Some(operation.issuer.cta) && operation.work.queue() == Queue::TensorPipe {
                continue;
            }
            let conflict = operation.footprint.accesses().find_map(|(other, theirs)| {
                let overlap = region.overlap(other)?;
                access.conflicts(theirs).then_some((overlap, theirs))
            });
            if let Some((overlap, theirs)) = conflict {
                return Err(Box::new(AsyncRace {
                    space: match region.memory {
                        Memory::Shared => "bytes of shared memory",
                        Memory::Tensor => "columns of tensor memory",
                        Memory::Global => "bytes of global memory",
                    },
                    overlap,
                    now: access.verb(),
                    in_flight: theirs.verb(),
                    operation: operation.work.name(),
                    issued_by_warp: operation.issuer.warp,
                    issued_at: SourceLine::of(kernel, operation.issuer.line),
                }));
            }
        }
        Ok(())
    }

    /// The operations that may complete now: every unordered one, the head of each CTA's tensor pipe, and commits of
    /// threads that have nothing before them in the pipe: a commit tracks its own thread's operations only (PTX ISA
    /// §9.7.16.12.1).
    fn may_complete(&self, index: usize) -> bool {
        let operation = &self.operations[index];
        let before = || {
            self.operations[..index].iter().filter(|other| {
                other.issuer.cta == operation.issuer.cta && other.work.queue() == Queue::TensorPipe
            })
        };
        match (operation.work.queue(), &operation.work) {
            // Earlier copies of its thread come first.
            (_, Work::CopiesArrive { .. }) => !self.operations[..index].iter().any(|other| {
                matches!(&other.work, Work::SmallCopies(copies)
                    if copies.includes(&other.issuer, &operation.issuer))
            }),
            (Queue::Unordered, _) => true,
            (_, Work::StoreWrite(store)) => store.data.is_some(),
            (Queue::Writes, _) => false,
            (Queue::Warp, _) => false,
            (Queue::Warpgroup, _) => !self.operations[..index].iter().any(|other| {
                other.work.queue() == Queue::Warpgroup
                    && (other.issuer.cta, other.issuer.warp)
                        == (operation.issuer.cta, operation.issuer.warp)
            }),
            (Queue::TensorPipe, Work::Commit { .. }) => {
                !before().any(|other| other.issuer.same_thread(&operation.issuer))
            }
            (Queue::TensorPipe, _) => before().next().is_none(),
        }
    }

    /// Whether anything in flight completes without a warp that waits for it.
    pub fn may_go_on(&self) -> bool {
        (0..self.operations.len()).any(|index| self.may_complete(index))
    }

    /// The operation to complete when nothing else can go on, or when something has to: the one that is likeliest to
    /// show a missing wait.
    pub fn take_forced(&mut self) -> Option<Operation> {
        let index = match self.policy {
            Asynchrony::Early => (0..self.operations.len()).find(|i| self.may_complete(*i)),
            Asynchrony::Random { .. } | Asynchrony::Chunked { .. } => {
                let eligible = (0..self.operations.len())
                    .filter(|i| self.may_complete(*i))
                    .count();
                let chosen = self.random.next().checked_rem(eligible as u64)?;
                (0..self.operations.len())
                    .filter(|i| self.may_complete(*i))
                    .nth(chosen as usize)
            }
            Asynchrony::Late => self.latest(),
        }?;
        Some(self.remove(index))
    }

    fn remove(&mut self, index: usize) -> Operation {
        let operation = self.operations.remove(index);
        self.global_writes -= usize::from(operation.footprint.writes_global());
        operation
    }

    /// Whether races and missing fences are errors.
    pub fn checks_order(&self) -> bool {
        self.checks_order
    }

    /// Whether anything in flight writes global memory.
    pub fn writes_global(&self) -> bool {
        self.checks_order && self.global_writes != 0
    }

    /// Commits that overtake their pipe come first, as early releases; then copies, the youngest first, as they are
    /// unordered; then the tensor pipe, so that its operands stay in use for as long as possible. What stores write
    /// comes last: they are complete for `wait_group.read` before.
    fn latest(&self) -> Option<usize> {
        let eligible = |queue: Queue| {
            (0..self.operations.len())
                .filter(move |i| self.operations[*i].work.queue() == queue && self.may_complete(*i))
        };
        let overtaking = eligible(Queue::TensorPipe).next_back().filter(|last| {
            self.operations[..*last].iter().any(|other| {
                other.work.queue() == Queue::TensorPipe
                    && other.issuer.cta == self.operations[*last].issuer.cta
            })
        });
        overtaking
            .or_else(|| {
                eligible(Queue::Unordered)
                    .next_back()
                    .map(|i| self.oldest_of_groups(i))
            })
            .or_else(|| eligible(Queue::Warpgroup).next())
            .or_else(|| eligible(Queue::TensorPipe).next())
            .or_else(|| eligible(Queue::Writes).next())
    }

    /// A thread waits for all but its last groups, so those stay in flight for longest if the oldest operation goes
    /// first.
    fn oldest_of_groups(&self, index: usize) -> usize {
        let last = &self.operations[index];
        let is_older = |i: &usize| {
            let other = &self.operations[*i];
            let is_alike = match (&last.work, &other.work) {
                (Work::StoreRead(_), Work::StoreRead(_) | Work::StoreWrite(_)) => {
                    other.issuer.same_thread(&last.issuer)
                }
                (Work::SmallCopies(_), Work::SmallCopies(_)) => {
                    other.issuer.same_warp(&last.issuer)
                }
                _ => false,
            };
            is_alike && self.may_complete(*i)
        };
        (0..index).find(is_older).unwrap_or(index)
    }

    /// An operation that completes by itself after a warp's turn, if the policy wants one to.
    pub fn take_spontaneous(&mut self) -> Option<Operation> {
        match self.policy {
            Asynchrony::Late => None,
            Asynchrony::Early => self.take_forced(),
            Asynchrony::Random { .. } | Asynchrony::Chunked { .. } => {
                let now = !self.operations.is_empty() && self.random.one_in(4);
                now.then(|| self.take_forced()).flatten()
            }
        }
    }

    /// `tcgen05.wait` of a warp: its loads, or its stores, are complete.
    pub fn retire_warp(&mut self, cta: u32, warp: u32, loads: bool) {
        self.operations.retain(|operation| {
            let waited = match operation.work {
                Work::TensorLoad => loads,
                Work::TensorStore => !loads,
                _ => false,
            };
            !(waited && (operation.issuer.cta, operation.issuer.warp) == (cta, warp))
        });
    }

    /// Takes tensor-memory loads and stores out of flight whose warps are gone.
    pub fn retire_exited(&mut self) {
        self.operations
            .retain(|operation| operation.work.queue() != Queue::Warp);
    }

    /// A number for the two steps of one store.
    pub fn new_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Hands what the first step of a store read to its second.
    pub fn deposit(&mut self, ticket: u64, read: Vec<u8>) {
        for operation in &mut self.operations {
            if let Work::StoreWrite(StoreWrite {
                ticket: other,
                data: data @ None,
                ..
            }) = &mut operation.work
                && *other == ticket
            {
                *data = Some(read);
                return;
            }
        }
    }

    /// The next write of a store that nothing but its own latency holds up.
    pub fn take_write(&mut self) -> Option<Operation> {
        let ready = |operation: &Operation| {
            matches!(
                operation.work,
                Work::StoreWrite(StoreWrite { data: Some(_), .. })
            )
        };
        let index = self.operations.iter().position(ready)?;
        Some(self.remove(index))
    }

    /// `cp.async.commit_group` of one thread.
    pub fn commit_copy_group(&mut self, thread: Issuer, number: u32) {
        for operation in &mut self.operations {
            if let Work::SmallCopies(copies) = &mut operation.work
                && copies.includes(&operation.issuer, &thread)
            {
                copies.commit(thread.lane, number);
            }
        }
    }

    /// Whether all the thread's groups of `cp.async` below `number` are complete.
    pub fn copy_groups_complete(&self, thread: Issuer, number: u32) -> bool {
        !self
            .operations
            .iter()
            .any(|operation| match &operation.work {
                Work::SmallCopies(copies) => {
                    copies.includes(&operation.issuer, &thread)
                        && copies.in_group_below(thread.lane, number)
                }
                _ => false,
            })
    }

    /// `cp.async.bulk.commit_group` of one thread.
    pub fn commit_bulk_group(&mut self, thread: Issuer, number: u32) {
        for operation in &mut self.operations {
            let group = match &mut operation.work {
                Work::StoreRead(StoreRead { group, .. })
                | Work::StoreWrite(StoreWrite { group, .. }) => group,
                _ => continue,
            };
            if group.is_none() && operation.issuer.same_thread(&thread) {
                *group = Some(number);
            }
        }
    }

    /// Whether all the thread's bulk groups below `number` are complete; with `read`, whether their sources were read
    /// (PTX ISA §9.7.9.27.2.2).
    pub fn bulk_groups_complete(&self, thread: Issuer, number: u32, read: bool) -> bool {
        !self.operations.iter().any(|operation| {
            let group = match &operation.work {
                Work::StoreRead(store) => store.group,
                Work::StoreWrite(store) if !read => store.group,
                _ => None,
            };
            group.is_some_and(|group| group < number) && operation.issuer.same_thread(&thread)
        })
    }
}
