//! The state of a cluster of CTAs that run together: their memories, warps and operations in flight, and what happens
//! between them.

use std::sync::atomic::AtomicBool;

use super::async_engine::Engine;
use super::barrier::NamedBarriers;
use super::cluster_fault::ClusterFault;
use super::dependency::Dependency;
use super::footprint::{Access, Footprint, Region, SharedAddress};
use super::global::GlobalView;
use super::launch_control::PendingClusters;
use super::livelock::{Spinning, Watch};
use super::mbarrier::MBARRIER_BYTES;
use super::operation::{Issuer, Operation, Work};
use super::order::{GridOrder, Order, Ticket};
use super::pair;
use super::places::{ColumnOwner, Copies};
use super::random::SplitMix64;
use super::registers::RegisterPool;
use super::report::{FailureKind, LaunchReport, Step};
use super::schedule::Schedule;
use super::shared::SharedMemory;
use super::tensor_maps::ChangedMaps;
use super::turns::TurnTaking;
use super::warp::Warp;
use super::{DeviceProperties, Launch};
use crate::isa::ir::{Kernel, LANES, Semantics, Space};
use crate::isa::windows;
use crate::observe::Recorder;
use crate::tensor::TensorMemory;

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
    /// Registers per thread at the start, where `setmaxnreg` changes them.
    pub registers: Option<u32>,
    /// Set when a CTA failed: all others stop.
    pub stop: AtomicBool,
    /// Clusters that have not started.
    pub pending: PendingClusters,
    /// Clusters that the device keeps resident.
    pub resident: u64,
    /// Host threads that run them.
    pub threads: usize,
    pub spinning: Spinning,
    /// What is known of the order of accesses to global memory.
    pub order: GridOrder,
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
    /// Of its tensor memory.
    pub column_owners: Vec<ColumnOwner>,
    pub registers: RegisterPool,
    /// It has executed `griddepcontrol.launch_dependents`.
    pub launched_dependents: bool,
}

impl Cta {
    /// Whether all its threads have exited.
    pub fn has_exited(&self) -> bool {
        self.warps.iter().all(|warp| warp.live == 0)
    }

    /// Columns of tensor memory that are allocated.
    pub fn allocated_columns(&self) -> u32 {
        let allocations = self.tensor.allocations().iter();
        allocations.map(|columns| columns.len() as u32).sum()
    }
}

/// CTAs that are scheduled together. A launch without clusters has one CTA in each.
#[derive(Debug)]
pub struct Cluster<'l> {
    pub context: &'l Context<'l>,
    /// Its number in the grid.
    pub index: u64,
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
    /// For reports.
    pub copies: Copies,
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

impl<'l> Cluster<'l> {
    pub fn new(context: &'l Context<'l>, global: GlobalView) -> Self {
        let [x, y, z] = context.launch.cluster;
        Self {
            context,
            index: 0,
            ctas: (0..x * y * z).map(|_| Cta::default()).collect(),
            engine: Engine::new(),
            order: Order::new(context.launch, &context.order),
            global,
            changed_maps: ChangedMaps::default(),
            steps: 0,
            turns: TurnTaking::new(),
            spurious: None,
            watch: Watch::default(),
            dependency: Dependency::default(),
            recorder: context.recorder().map(Box::new),
            report: LaunchReport::default(),
            copies: Copies::default(),
            cta_group: None,
        }
    }

    /// Makes it the cluster with this index in the grid, about to start.
    pub fn reset(&mut self, index: u64) {
        self.index = index;
        let Launch { block, options, .. } = self.context.launch;
        let kernel = self.context.kernel;
        let threads: u32 = block.iter().product();
        let warps = threads.div_ceil(LANES as u32) as usize;
        for (rank, cta) in self.ctas.iter_mut().enumerate() {
            cta.id = self.context.launch.cta(index, rank as u32);
            cta.saw_last_cluster = false;
            cta.launched_dependents = false;
            cta.shared.reset(
                self.context.properties.reserved_shared_bytes,
                self.context.shared_bytes,
            );
            cta.barriers.reset(threads);
            cta.pair = pair::PairState::default();
            cta.column_owners.clear();
            if cta.tensor_in_use {
                cta.tensor = TensorMemory::new();
                cta.tensor_in_use = false;
            }
            cta.registers.reset(self.context.registers, warps as u32);
            cta.warps.resize_with(warps, Warp::default);
            for (index, warp) in cta.warps.iter_mut().enumerate() {
                let before = (LANES * index) as u32;
                let populated = u32::MAX >> (LANES as u32).saturating_sub(threads - before);
                warp.reset(kernel.registers, kernel.local_bytes, populated);
            }
        }
        let Schedule {
            turns,
            asynchrony,
            spurious,
            starts: _,
        } = options.schedule;
        self.changed_maps.clear();
        self.copies.clear();
        self.engine.reset(options.mode, asynchrony, index);
        if let Some(order) = &mut self.order {
            let ids = self.ctas.iter().map(|cta| cta.id).collect();
            order.reset(index, ids, warps, self.context.shared_bytes);
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
        let issuer = at.issuer(lane);
        let operation = Operation {
            issuer,
            snapshot: self.read_at_issue(issuer, &work, &footprint),
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
        order.issue(operation, group, &self.global)?;
        Ok(())
    }
}
