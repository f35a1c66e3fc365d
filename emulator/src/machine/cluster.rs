//! The state of a cluster of CTAs that run together: their memories, warps and operations in flight, and what happens
//! between them.

use std::ops::Range;
use std::sync::atomic::AtomicBool;

use super::async_engine::{
    Access, Engine, Footprint, Issuer, Operation, Region, SharedAddress, Work,
};
use super::barrier::{NamedBarriers, Reduction};
use super::cluster_barrier;
use super::cluster_fault::ClusterFault;
use super::dependency::{Accessor, Dependency};
use super::global::GlobalView;
use super::launch_control::{self, PendingClusters, RESPONSE_BYTES};
use super::livelock::{Spinning, Watch};
use super::mbarrier::{MBARRIER_BYTES, Mbarrier, Progress};
use super::order::{Order, Ticket};
use super::pair;
use super::random::SplitMix64;
use super::report::{FailureKind, LaunchReport, MbarrierMisuse, Step};
use super::schedule::Schedule;
use super::shared::{SharedMemory, misuse};
use super::tensor_maps::ChangedMaps;
use super::tensor_unit::fault;
use super::turns::TurnTaking;
use super::warp::{State, Wait, Warp, lanes};
use super::{DeviceProperties, Launch};
use crate::isa::ir::{Kernel, MbarrierOp, Op, Semantics, Space};
use crate::isa::windows;
use crate::observe::Recorder;
use crate::tensor::TensorMemory;
use crate::tma;

/// Rank in the cluster and offset of a 32-bit shared address.
const SHARED_OFFSET_MASK: u32 = (1 << windows::SHARED_OFFSET_BITS) - 1;

/// What all CTAs of a launch share.
#[derive(Debug)]
pub struct Context<'l> {
    pub launch: &'l Launch,
    pub kernel: &'l Kernel,
    pub properties: &'l DeviceProperties,
    /// Bytes of a CTA's shared window, the reserved ones included.
    pub shared_bytes: u32,
    /// Set when a CTA failed: all others stop.
    pub stop: AtomicBool,
    /// Clusters that have not started.
    pub pending: PendingClusters,
    pub spinning: Spinning,
    /// Of the launch, among those observed.
    pub number: u64,
}

impl Context<'_> {
    fn recorder(&self) -> Option<Recorder> {
        let observer = self.launch.options.observer.as_ref()?;
        Some(Recorder::new(observer, self.number, self.kernel))
    }
}

/// One CTA.
#[derive(Debug, Default)]
pub struct Cta {
    pub id: [u32; 3],
    pub warps: Vec<Warp>,
    pub shared: SharedMemory,
    pub barriers: NamedBarriers,
    pub tensor: TensorMemory,
    /// Whether the CTA allocated tensor memory, so that the next one needs a fresh one.
    pub tensor_in_use: bool,
    /// It knows that no cluster was left to cancel.
    pub saw_last_cluster: bool,
    pub pair: pair::PairState,
    /// It has executed `griddepcontrol.launch_dependents`.
    pub launched_dependents: bool,
}

impl Cta {
    /// Whether all its threads have.
    pub fn has_exited(&self) -> bool {
        self.warps.iter().all(|warp| warp.live == 0)
    }
}

/// CTAs that are scheduled together. A launch without clusters has one CTA in each.
#[derive(Debug)]
pub struct Cluster<'l> {
    pub context: &'l Context<'l>,
    pub ctas: Vec<Cta>,
    pub engine: Engine,
    /// Checks the order of accesses, unless the launch is a fast one.
    pub order: Option<Box<Order<'l>>>,
    pub global: GlobalView,
    pub changed_maps: ChangedMaps,
    /// Warp instructions executed since the cluster started.
    pub steps: u64,
    pub turns: TurnTaking,
    /// Decides which `try_wait`s give up early, where the schedule has that.
    pub spurious: Option<SplitMix64>,
    pub watch: Watch,
    pub dependency: Dependency,
    /// Takes notes, if somebody asked for them.
    pub recorder: Option<Box<Recorder>>,
    pub report: LaunchReport,
    /// `.cta_group` of the tcgen05 instructions that were executed so far.
    pub cta_group: Option<u8>,
}

/// Where an instruction executes.
#[derive(Clone, Copy, Debug)]
pub struct At {
    pub cta: usize,
    pub warp: usize,
    /// Index into the warp's groups.
    pub group: usize,
    pub line: u32,
}

impl At {
    pub fn issuer(&self, lane: usize) -> Issuer {
        Issuer {
            cta: self.cta as u32,
            warp: self.warp as u32,
            lane: lane as u32,
            line: self.line,
        }
    }
}

/// A failure of an operation that had been issued earlier.
#[derive(Debug)]
pub struct LateFailure {
    pub issuer: Issuer,
    pub kind: FailureKind,
}

impl<'l> Cluster<'l> {
    pub fn new(context: &'l Context<'l>, global: GlobalView) -> Self {
        let [x, y, z] = context.launch.cluster;
        Self {
            context,
            ctas: (0..x * y * z).map(|_| Cta::default()).collect(),
            engine: Engine::new(),
            order: Order::new(context.kernel, context.launch.options.mode),
            global,
            changed_maps: ChangedMaps::default(),
            steps: 0,
            turns: TurnTaking::new(),
            spurious: None,
            watch: Watch::default(),
            dependency: Dependency::default(),
            recorder: context.recorder().map(Box::new),
            report: LaunchReport::default(),
            cta_group: None,
        }
    }

    /// Makes it the cluster with this index in the grid, about to start.
    pub fn reset(&mut self, index: u64) {
        let Launch {
            block,
            cluster,
            options,
            ..
        } = self.context.launch;
        let kernel = self.context.kernel;
        let threads: u32 = block.iter().product();
        let first = self.context.launch.first_cta(index);
        for (rank, cta) in self.ctas.iter_mut().enumerate() {
            let rank = rank as u32;
            let within = [
                rank % cluster[0],
                rank / cluster[0] % cluster[1],
                rank / cluster[0] / cluster[1],
            ];
            cta.id = [0, 1, 2].map(|d| first[d] + within[d]);
            cta.saw_last_cluster = false;
            cta.launched_dependents = false;
            cta.shared.reset(
                self.context.properties.reserved_shared_bytes,
                self.context.shared_bytes,
            );
            cta.barriers.reset(threads);
            cta.pair = pair::PairState::default();
            if cta.tensor_in_use {
                cta.tensor = TensorMemory::new();
                cta.tensor_in_use = false;
            }
            let warps = threads.div_ceil(32);
            cta.warps.resize_with(warps as usize, Warp::default);
            for (index, warp) in cta.warps.iter_mut().enumerate() {
                let lanes = (threads - 32 * index as u32).min(32);
                let populated = u32::MAX >> (32 - lanes);
                warp.reset(kernel.registers, kernel.local_bytes, populated);
            }
        }
        let Schedule {
            turns,
            asynchrony,
            spurious,
        } = options.schedule;
        self.changed_maps.clear();
        self.engine.reset(options.mode, asynchrony, index);
        let warps = threads.div_ceil(32) as usize;
        if let Some(order) = &mut self.order {
            let ids = self.ctas.iter().map(|cta| cta.id).collect();
            order.reset(ids, warps, self.context.shared_bytes);
        }
        self.turns.reset(turns, index, self.ctas.len(), warps);
        self.spurious = spurious.map(|seed| SplitMix64::new(seed, index));
        self.watch.reset();
        if let Some(recorder) = &mut self.recorder {
            recorder.start(index * self.ctas.len() as u64, &self.ctas);
        }
        self.steps = 0;
        self.cta_group = None;
    }

    /// The CTA and offset that a shared address means, by the space that the instruction names.
    pub fn shared_address(&self, at: At, space: Space, address: u64) -> Step<SharedAddress> {
        let bits = match space {
            Space::Generic => {
                let window = windows::SHARED..windows::SHARED + windows::WINDOW_BYTES;
                if !window.contains(&address) {
                    return Err(FailureKind::OutOfBounds {
                        space: "shared (by generic address)",
                        address,
                        bytes: 1,
                        valid: window,
                    });
                }
                (address - windows::SHARED) as u32
            }
            _ => address as u32,
        };
        let rank = bits >> windows::SHARED_OFFSET_BITS;
        if rank as usize != at.cta {
            self.check_remote(at, space, bits, rank)?;
        }
        Ok(SharedAddress {
            cta: rank,
            offset: bits & SHARED_OFFSET_MASK,
        })
    }

    /// Whether the instruction may access the shared memory of another CTA, which has to be there.
    #[cold]
    fn check_remote(&self, at: At, space: Space, address: u32, rank: u32) -> Step<()> {
        if rank as usize >= self.ctas.len() {
            return Err(FailureKind::NoSuchCta {
                address: address.into(),
                rank,
                ctas: self.ctas.len() as u32,
            });
        }
        if space == Space::SharedCta {
            let own = at.cta as u32;
            let address = address.into();
            return Err(ClusterFault::RemoteAddress { address, rank, own }.into());
        }
        self.check_alive(rank)
    }

    /// The memories of a CTA are gone when all its threads have exited.
    pub fn check_alive(&self, rank: u32) -> Step<()> {
        match self.ctas[rank as usize].has_exited() {
            true => Err(ClusterFault::Exited { rank }.into()),
            false => Ok(()),
        }
    }

    /// Checks a weak access of one lane to shared memory: bounds, alignment, mbarriers, operations in flight, order.
    #[inline]
    pub fn check_shared(
        &mut self,
        by: Issuer,
        address: SharedAddress,
        bytes: u32,
        alignment: u32,
        writes: bool,
    ) -> Step<()> {
        self.check_shared_access(by, address, bytes, alignment, writes, Semantics::Weak)
    }

    /// [`check_shared`](Self::check_shared) for accesses of any strength.
    #[inline]
    pub fn check_shared_access(
        &mut self,
        by: Issuer,
        address: SharedAddress,
        bytes: u32,
        alignment: u32,
        writes: bool,
        semantics: Semantics,
    ) -> Step<()> {
        let SharedAddress { cta, offset } = address;
        self.ctas[cta as usize]
            .shared
            .check_ordinary(offset, bytes, alignment)?;
        if !self.engine.operations().is_empty() {
            let region = Region::shared(cta, offset..offset + bytes);
            self.check_race(&region, writes)?;
        }
        if let Some(order) = &mut self.order {
            order.access(by, address, bytes, writes, semantics != Semantics::Weak)?;
        }
        Ok(())
    }

    /// An mbarrier must not be initialised where an operation in flight reads or writes.
    pub fn check_race_of_mbarrier(&self, address: SharedAddress) -> Step<()> {
        let SharedAddress { cta, offset } = address;
        let bytes = offset..offset.saturating_add(MBARRIER_BYTES);
        self.check_race(&Region::shared(cta, bytes), true)
    }

    pub fn check_race(&self, region: &Region, writes: bool) -> Step<()> {
        let access = match writes {
            true => Access::Write,
            false => Access::Read,
        };
        self.check_access(region, access)
    }

    fn check_access(&self, region: &Region, access: Access) -> Step<()> {
        self.engine
            .check(self.context.kernel, region, access, None)
            .map_err(FailureKind::AsyncRace)
    }

    /// Checks an ordinary access to global memory against operations of this cluster in flight.
    #[inline]
    pub fn check_global(&self, address: u64, bytes: u32, access: Access) -> Step<()> {
        if !self.engine.writes_global() {
            return Ok(());
        }
        let bytes = address..address.saturating_add(bytes.into());
        self.check_access(&Region::global(bytes), access)
    }

    /// Puts an operation in flight.
    pub fn issue(&mut self, at: At, lane: usize, work: Work, footprint: Footprint) -> Step<()> {
        let recorder = self.recorder.as_mut();
        let issued = recorder.map(|recorder| recorder.issued(at.cta, &work));
        let operation = Operation {
            issuer: at.issuer(lane),
            issued: issued.unwrap_or_default(),
            work,
            footprint,
            ticket: Ticket::None,
        };
        let operation = self
            .engine
            .issue(self.context.kernel, operation)
            .map_err(FailureKind::AsyncRace)?;
        let Some(order) = &mut self.order else {
            return Ok(());
        };
        let group = self.ctas[at.cta].warps[at.warp].bulk_groups[lane];
        order.issue(operation, group)?;
        Ok(())
    }

    /// Applies `change` to a live mbarrier and wakes its waiters if that completed a phase.
    pub fn mbarrier(
        &mut self,
        address: SharedAddress,
        change: impl FnOnce(&mut Mbarrier) -> Result<Progress, MbarrierMisuse>,
    ) -> Step<Progress> {
        let SharedAddress { cta, offset } = address;
        let barrier = self.ctas[cta as usize].shared.mbarrier(offset)?;
        let progress = change(barrier).map_err(|error| misuse(offset, error))?;
        if progress == Progress::PhaseComplete {
            let completed = *barrier;
            if let Some(order) = &mut self.order {
                order.phase_complete(address)?;
            }
            self.wake_mbarrier(address, &completed);
        }
        Ok(progress)
    }

    fn wake_mbarrier(&mut self, address: SharedAddress, barrier: &Mbarrier) {
        let code = &self.context.kernel.code;
        let warps = &mut self.ctas[address.cta as usize].warps;
        for (number, warp) in warps.iter_mut().enumerate() {
            for index in 0..warp.groups.len() {
                if let State::Blocked(Wait::Mbarrier {
                    offset,
                    parity,
                    lanes: waiting,
                    predicate,
                }) = warp.groups[index].state
                    && offset == address.offset
                    && barrier.parity_complete(parity)
                {
                    for lane in lanes(waiting) {
                        warp.set(predicate, lane, 1);
                    }
                    if let Some(order) = &mut self.order {
                        let inst = &code[warp.groups[index].pc as usize];
                        let by = Issuer {
                            cta: address.cta,
                            warp: number as u32,
                            lane: waiting.trailing_zeros(),
                            line: inst.line,
                        };
                        let relaxed = matches!(
                            inst.op,
                            Op::Mbarrier(MbarrierOp::Wait { relaxed: true, .. })
                        );
                        order.mbarrier_wait(by, address, relaxed);
                    }
                    warp.release(index);
                }
            }
        }
    }

    /// Releases the threads that wait for a named barrier; `last` is the warp that came last, if it waits too.
    pub fn complete_barrier(
        &mut self,
        cta: usize,
        id: u32,
        reduction: Reduction,
        last: Option<usize>,
    ) {
        let kernel = self.context.kernel;
        if let Some(order) = &mut self.order {
            let waits = |warp: &Warp| {
                let mut groups = warp.groups.iter();
                groups.any(|group| group.state == State::Blocked(Wait::Barrier { id }))
            };
            let warps = self.ctas[cta].warps.iter().enumerate();
            let waiting = warps.filter(|(_, warp)| waits(warp));
            order.named_complete(cta, id, waiting.map(|(number, _)| number).chain(last));
        }
        for warp in &mut self.ctas[cta].warps {
            for index in 0..warp.groups.len() {
                let group = warp.groups[index];
                let State::Blocked(Wait::Barrier { id: waited } | Wait::BarrierWarp { id: waited }) =
                    group.state
                else {
                    continue;
                };
                if waited == id {
                    write_reduction(kernel, warp, group.pc, group.mask, reduction);
                    warp.release(index);
                }
            }
        }
    }

    /// Releases the parts of a warp that waited for its other threads at `barrier.arrive`.
    pub fn release_barrier_warp(&mut self, cta: usize, warp: usize, id: u32) {
        let warp = &mut self.ctas[cta].warps[warp];
        for index in 0..warp.groups.len() {
            if warp.groups[index].state == State::Blocked(Wait::BarrierWarp { id }) {
                warp.release(index);
            }
        }
    }

    /// Lets the threads that wait for the cluster go on if all have arrived.
    pub fn complete_cluster_barrier(&mut self) {
        if cluster_barrier::complete(&mut self.ctas) {
            if let Some(order) = &mut self.order {
                order.cluster_complete();
            }
            for warp in self.ctas.iter_mut().flat_map(|cta| &mut cta.warps) {
                warp.retry(|wait| *wait == Wait::ClusterBarrier);
            }
        }
    }

    /// A CTA of a larger cluster must not exit while operations in flight involve it: the others may run on for long.
    /// At the end of a cluster nothing may be in flight at all.
    fn check_exit(&self, cta: usize) -> Step<()> {
        if self.ctas.len() == 1 || !self.ctas[cta].has_exited() {
            return Ok(());
        }
        let operations = self.in_flight(|operation| operation.involves(cta as u32));
        match operations.is_empty() {
            true => Ok(()),
            false => Err(FailureKind::OutstandingAtExit {
                operations: operations.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    /// Follows from the exit of threads of a warp: barriers that waited for them.
    pub fn threads_exited(&mut self, cta: usize, warp: usize) -> Step<()> {
        self.complete_cluster_barrier();
        self.check_exit(cta)?;
        let Cta {
            barriers, warps, ..
        } = &mut self.ctas[cta];
        for (id, completed) in barriers.threads_exited(warp, warps)? {
            match completed {
                Some(reduction) => self.complete_barrier(cta, id, reduction, None),
                None => self.release_barrier_warp(cta, warp, id),
            }
        }
        Ok(())
    }

    /// Lets an operation take effect.
    pub fn complete(&mut self, operation: Operation) -> Result<(), LateFailure> {
        let operation = match self.engine.is_chunked() {
            true => self.split(operation)?,
            false => Some(operation),
        };
        let Some(operation) = operation else {
            return Ok(());
        };
        self.changed();
        if let Some(recorder) = &mut self.recorder {
            recorder.completed(&operation);
        }
        if let Some(order) = &mut self.order {
            order.complete(&operation);
        }
        let Operation { issuer, work, .. } = operation;
        self.global.set_accessor(|| Accessor {
            cta: self.ctas[issuer.cta as usize].id,
            warp: issuer.warp,
            lanes: 1 << issuer.lane,
            line: issuer.line,
        });
        self.apply(issuer, work)
            .map_err(|kind| LateFailure { issuer, kind })
    }

    fn apply(&mut self, issuer: Issuer, work: Work) -> Step<()> {
        match work {
            Work::TmaLoad {
                map,
                coordinates,
                destination,
                barrier,
            } => {
                let window = self.ctas[destination.cta as usize].shared.window_mut();
                let bytes =
                    tma::load_tile(&map, &coordinates, destination.offset, &self.global, window)
                        .map_err(|fault| FailureKind::Tma(fault.to_string()))?;
                self.report.tma_bytes += u64::from(bytes);
                self.complete_tx(barrier, bytes)
            }
            Work::BulkLoad {
                source,
                destination,
                bytes,
                barrier,
            } => {
                let window = self.ctas[destination.cta as usize].shared.window_mut();
                let range = byte_range(destination.offset, bytes);
                self.global.read(source, &mut window[range])?;
                self.report.tma_bytes += u64::from(bytes);
                self.complete_tx(barrier, bytes)
            }
            Work::SmallCopies(copies) => {
                for copy in copies.lanes.iter().flatten() {
                    let window = self.ctas[copy.destination.cta as usize].shared.window_mut();
                    let range = byte_range(copy.destination.offset, copies.bytes);
                    let (read, zero) = window[range].split_at_mut(copy.source_bytes as usize);
                    self.global.read(copy.source, read)?;
                    zero.fill(0);
                }
                self.ctas[issuer.cta as usize].warps[issuer.warp as usize]
                    .retry(|wait| matches!(wait, Wait::CopyGroup { .. }));
                Ok(())
            }
            Work::TryCancel { response, barriers } => {
                let Context {
                    pending, launch, ..
                } = self.context;
                let canceled = pending.take().map(|index| launch.first_cta(index));
                let [low, high] = launch_control::response(canceled);
                for barrier in barriers {
                    let shared = &mut self.ctas[barrier.cta as usize].shared;
                    shared.store(response, 8, low);
                    shared.store(response + 8, 8, high);
                    self.complete_tx(barrier, RESPONSE_BYTES)?;
                }
                Ok(())
            }
            Work::CopiesArrive { barrier } => {
                self.mbarrier(barrier, |barrier| barrier.arrive(1))?;
                Ok(())
            }
            Work::StoreRead(store) => {
                let window = self.ctas[store.source.cta as usize].shared.window();
                let data = store.target.read(store.source.offset, window);
                self.engine.deposit(store.ticket, data);
                self.retry_bulk_waits(issuer);
                Ok(())
            }
            Work::StoreWrite(store) => {
                store.execute(&self.global)?;
                self.report.tma_bytes += store.part().len() as u64;
                self.retry_bulk_waits(issuer);
                Ok(())
            }
            Work::Chunk(chunk) => self.land(&chunk),
            Work::SharedCopy(copy) => {
                self.report.tma_bytes += u64::from(copy.bytes);
                copy.execute(self)
            }
            Work::AsyncStore(store) => store.execute(self),
            Work::TensorCopy { copy, cta_group } => {
                for cta in pair::group(issuer.cta as usize, cta_group) {
                    let Cta { shared, tensor, .. } = &mut self.ctas[cta];
                    copy.execute(shared.window(), tensor).map_err(fault)?;
                }
                Ok(())
            }
            Work::Mma(mma) => {
                self.report.mmas += 1;
                let group = pair::group(issuer.cta as usize, mma.path().ctas() as u8);
                mma.execute(&mut pair::memories(&mut self.ctas[group]))
                    .map_err(fault)
            }
            Work::Commit { barriers } => {
                for barrier in barriers {
                    self.mbarrier(barrier, |barrier| barrier.arrive(1))?;
                }
                Ok(())
            }
            Work::WarpgroupMma(operands) => {
                let (cta, warp) = (issuer.cta as usize, issuer.warp as usize);
                super::exec::complete_warpgroup_mma(self, cta, warp, &operands)
            }
            Work::TensorLoad | Work::TensorStore => Ok(()),
        }
    }

    fn retry_bulk_waits(&mut self, issuer: Issuer) {
        self.ctas[issuer.cta as usize].warps[issuer.warp as usize]
            .retry(|wait| matches!(wait, Wait::BulkGroup { .. }));
    }

    pub fn complete_tx(&mut self, barrier: SharedAddress, bytes: u32) -> Step<()> {
        self.mbarrier(barrier, |barrier| barrier.complete_tx(bytes))?;
        Ok(())
    }
}

fn byte_range(offset: u32, bytes: u32) -> Range<usize> {
    offset as usize..(offset + bytes) as usize
}

/// Writes the result of the `barrier.red` at `pc`; other barrier instructions have none.
pub fn write_reduction(kernel: &Kernel, warp: &mut Warp, pc: u32, mask: u32, reduction: Reduction) {
    use crate::isa::ir::VoteMode;
    if let Op::Barrier {
        reduction: Some(instruction),
        ..
    } = &kernel.code[pc as usize].op
    {
        let value = match (instruction.popc, instruction.op) {
            (true, _) => u64::from(reduction.count),
            (false, VoteMode::All) => u64::from(reduction.all),
            (false, _) => u64::from(reduction.any),
        };
        for lane in lanes(mask) {
            warp.set(Some(instruction.dst), lane, value);
        }
    }
}

impl tma::GlobalRead for GlobalView {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), tma::GlobalReadError> {
        GlobalView::read(self, address, out).map_err(|fault| tma::GlobalReadError {
            address,
            bytes: out.len(),
            reason: fault.to_string(),
        })
    }
}
