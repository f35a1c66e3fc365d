//! Operations that were issued and have not completed: TMA and bulk copies, the tensor pipe, tensor-memory loads and
//! stores that nobody has waited for yet.
//!
//! An operation takes effect when the engine hands it back, never when it is issued. What it will read and write is
//! known at once, so two accesses that nothing orders are found when the second is issued, whatever the schedule.

use std::ops::Range;

use super::chunks;
use super::footprint::{Access, Memory, Region};
use super::operation::{Issuer, Operation, Queue, Work};
use super::random::SplitMix64;
use super::report::{AsyncRace, SourceLine};
use super::store::{StoreRead, StoreWrite};
use super::{Asynchrony, Mode};
use crate::isa::ir::Kernel;

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
                    space: match region.memory() {
                        Memory::Shared => "bytes of shared memory",
                        Memory::Tensor => "columns of tensor memory",
                        Memory::Global => "bytes of global memory",
                    },
                    overlap,
                    memory_of: region.cta(),
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
                other.work.queue() == Queue::Warpgroup && other.issuer.same_warp(&operation.issuer)
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

    /// Whether the tensor core is to read the operands of the next operation when that is issued.
    pub fn reads_at_issue(&mut self) -> bool {
        match self.policy {
            Asynchrony::Late | Asynchrony::SlowMemory { .. } => false,
            Asynchrony::Early => true,
            Asynchrony::Random { .. } | Asynchrony::Chunked { .. } => self.random.one_in(2),
        }
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
            Asynchrony::SlowMemory { warp } => self.memory_last(warp),
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
        let eligible = |queue| self.eligible(queue);
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

    /// The tensor core's first, then copies, the oldest first and those of `warp` last.
    fn memory_last(&self, warp: u32) -> Option<usize> {
        let by_warp = |index: &usize| self.operations[*index].issuer.warp == warp;
        let oldest = |queue| self.eligible(queue).next();
        oldest(Queue::Warpgroup)
            .or_else(|| oldest(Queue::TensorPipe))
            .or_else(|| self.eligible(Queue::Unordered).find(|i| !by_warp(i)))
            .or_else(|| oldest(Queue::Unordered))
            .or_else(|| oldest(Queue::Writes))
    }

    /// Indices of the operations of a queue that may complete now.
    fn eligible(&self, queue: Queue) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.operations.len())
            .filter(move |i| self.operations[*i].work.queue() == queue && self.may_complete(*i))
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
            Asynchrony::Late | Asynchrony::SlowMemory { .. } => None,
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
