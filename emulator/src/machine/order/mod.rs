//! Whether accesses are ordered, by vector clocks: a happens-before checker in the manner of FastTrack (Flanagan and
//! Freund, PLDI 2009), with the proxies and asynchronous completions of the PTX memory model.
//!
//! Each warp knows how far the others have come (`clock::Knowledge`). Synchronisation hands that over: an arrival
//! adds what its warp knows to the barrier, a successful wait takes it from there. Asynchronous operations are agents of
//! their own, whose time is what can be waited for:
//!
//! ```text
//! TMA and bulk loads          phases of the mbarrier that they complete on
//! tcgen05.mma, tcgen05.cp     position in the issuing thread's sequence; a tcgen05.commit puts it into its barrier
//! tcgen05.ld, tcgen05.st      position in the warp's sequence; tcgen05.wait
//! bulk stores                 the thread's bulk group; cp.async.bulk.wait_group
//! wgmma.mma_async             position in the warp's sequence; wgmma.wait_group
//! cp.async                    position in the warp's sequence; cp.async.wait_group, cp.async.mbarrier.arrive
//! ```
//!
//! Memory remembers who accessed it last (`shadow::Shadow`). An access that conflicts with one whose moment its own
//! warp does not know is unordered, whether or not this run happened to do them in a harmless order. What is in flight
//! at that time is the asynchronous engine's (`async_engine`) to check.
//!
//! Lanes of a warp count as ordered by their program, but in strict mode (`lanes`).

mod agents;
mod barriers;
mod clock;
mod copies;
mod finding;
mod global;
mod grid_clock;
mod lanes;
mod operations;
mod pages;
mod registers;
mod shadow;
mod shared;
mod tensor;
mod words;

use std::collections::{HashMap, HashSet};

pub use barriers::Use;
pub use clock::Epoch;
pub use finding::{Finding, Party, Rule, Severity, Warning};
pub use global::{GlobalAccess, GridOrder};
pub use shadow::Effect;
pub use words::{Strength, Words};

use super::footprint::SharedAddress;
use super::operation::Issuer;
use super::report::{Place, Site, SourceLine};
use super::{Launch, Mode};
use crate::isa::ir::{Kernel, LANES};
use agents::{AgentKind, Agents, Thread};
use barriers::MbarrierClocks;
use clock::{Clock, Knowledge};
use grid_clock::{ClusterIndex, GridClock};
use lanes::LaneClocks;
use registers::Defined;
use shadow::{Proxy, Record, RecordId, Records, Shadow};

/// Warnings kept per cluster.
const MOST_WARNINGS: usize = 100;

/// What a warp knows.
#[derive(Debug, Default)]
struct WarpClocks {
    agent: clock::Agent,
    known: Knowledge,
    /// What it knew at its last fence: relaxed operations publish that (PTX ISA §8.8).
    released: Knowledge,
    /// What relaxed operations have shown it; known after its next fence.
    seen: Knowledge,
    /// What it acquired last through a global word.
    absorbed: GridClock,
    /// Of its lanes, in strict mode.
    lanes: Option<Box<LaneClocks>>,
    /// tcgen05 operations of others that `tcgen05.fence::after_thread_sync` has ordered before its own.
    tensor: Clock,
    /// Its own tcgen05 operations: loads and stores that it has waited for, and others that it has issued.
    own_tensor: Clock,
    /// `tcgen05.ld` and `.st` that it has issued.
    tensor_loads: u32,
    tensor_stores: u32,
    /// `cp.async` that it has issued.
    copies: u32,
    /// … before each group that a lane has committed.
    copy_groups: [Vec<u32>; LANES],
    /// `wgmma.mma_async` that it has issued.
    warpgroup_mmas: u32,
    /// … before each group that it has committed.
    warpgroup_groups: Vec<u32>,
}

impl WarpClocks {
    /// Starts a new moment: what it does from now on is not part of what it has published.
    fn tick(&mut self) {
        let now = self.now();
        let time = now.time + 1;
        self.known.ordinary.learn(Epoch { time, ..now });
    }

    fn now(&self) -> Epoch {
        Epoch {
            agent: self.agent,
            time: self.known.ordinary.time(self.agent),
        }
    }
}

/// What an operation carries until it completes.
#[derive(Clone, Debug, Default)]
pub enum Ticket {
    #[default]
    None,
    /// What an arrival behind other operations hands to its barrier.
    Arrival(Box<Knowledge>),
}

/// The checker of one cluster.
#[derive(Debug)]
pub struct Order<'l> {
    launch: &'l Launch,
    kernel: &'l Kernel,
    mode: Mode,
    /// What all clusters share.
    grid: &'l GridOrder,
    cluster: ClusterIndex,
    agents: Agents,
    /// Warps of all CTAs, CTA after CTA.
    warps: Vec<WarpClocks>,
    warps_per_cta: usize,
    /// Registers of all warps.
    defined: Vec<Defined>,
    cta_ids: Vec<[u32; 3]>,
    records: Records,
    /// The record of the last instruction: its lanes share it.
    last: Option<(Record, RecordId)>,
    /// Whether the store that is about to be checked writes what is there already.
    repeats: bool,
    shared: Vec<Shadow>,
    tensor: Vec<Shadow>,
    mbarriers: HashMap<SharedAddress, MbarrierClocks>,
    named: HashMap<(usize, u32), Knowledge>,
    cluster_arrived: Knowledge,
    cluster_complete: Knowledge,
    /// What release operations on words of shared memory have published.
    words: HashMap<SharedAddress, Knowledge>,
    warnings: Vec<Warning>,
    /// How many of them have places.
    placed: usize,
    /// Rule, line and other line of the warnings that were given.
    warned: HashSet<(Rule, u32, u32)>,
}

/// An error, unless it was only a warning.
type Found = Result<(), Box<Finding>>;

impl<'l> Order<'l> {
    /// `None` where the mode does not want one.
    pub fn new(launch: &'l Launch, grid: &'l GridOrder) -> Option<Box<Self>> {
        let mode = launch.options.mode;
        mode.checks_order().then(|| {
            Box::new(Self {
                launch,
                kernel: &launch.kernel,
                mode,
                grid,
                cluster: 0,
                agents: Agents::default(),
                warps: Vec::new(),
                warps_per_cta: 0,
                defined: Vec::new(),
                cta_ids: Vec::new(),
                records: Records::default(),
                last: None,
                repeats: false,
                shared: Vec::new(),
                tensor: Vec::new(),
                mbarriers: HashMap::new(),
                named: HashMap::new(),
                cluster_arrived: Knowledge::default(),
                cluster_complete: Knowledge::default(),
                words: HashMap::new(),
                warnings: Vec::new(),
                placed: 0,
                warned: HashSet::new(),
            })
        })
    }

    /// Forgets everything but warnings, for CTAs of these ids about to start; `cluster` is their index in the grid.
    pub fn reset(
        &mut self,
        cluster: u64,
        cta_ids: Vec<[u32; 3]>,
        warps_per_cta: usize,
        shared_bytes: u32,
    ) {
        let ctas = cta_ids.len();
        // A grid of more has more CTAs than are ever run.
        self.cluster = cluster as ClusterIndex;
        self.cta_ids = cta_ids;
        self.warps_per_cta = warps_per_cta;
        self.agents.clear();
        self.warps.clear();
        for cta in 0..ctas as u32 {
            for warp in 0..warps_per_cta as u32 {
                let agent = self.agents.number(AgentKind::Warp { cta, warp });
                let mut clocks = WarpClocks {
                    agent,
                    lanes: self.new_lanes(),
                    ..WarpClocks::default()
                };
                clocks.tick();
                self.warps.push(clocks);
            }
        }
        self.defined.resize_with(self.warps.len(), Defined::default);
        for defined in &mut self.defined {
            defined.reset(self.kernel.registers);
        }
        self.records.clear();
        self.last = None;
        for (shadows, cells) in [
            (&mut self.shared, shared_bytes as usize),
            (&mut self.tensor, tensor::CELLS),
        ] {
            shadows.resize_with(ctas, Shadow::default);
            shadows.iter_mut().for_each(|shadow| shadow.reset(cells));
        }
        self.mbarriers.clear();
        self.named.clear();
        self.cluster_arrived = Knowledge::default();
        self.cluster_complete = Knowledge::default();
        self.words.clear();
    }

    /// The warnings so far.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        self.placed = 0;
        std::mem::take(&mut self.warnings)
    }

    /// Warnings whose places nobody has looked at.
    pub fn new_warnings(&self) -> &[Warning] {
        &self.warnings[self.placed..]
    }

    /// Completes [`new_warnings`](Self::new_warnings).
    pub fn place_warnings(&mut self, places: Vec<Vec<Place>>) {
        for (warning, places) in self.warnings[self.placed..].iter_mut().zip(places) {
            warning.places = places;
        }
        self.placed = self.warnings.len();
    }

    fn index(&self, by: Issuer) -> usize {
        by.cta as usize * self.warps_per_cta + by.warp as usize
    }

    fn clocks(&self, by: Issuer) -> &WarpClocks {
        &self.warps[self.index(by)]
    }

    fn clocks_mut(&mut self, by: Issuer) -> &mut WarpClocks {
        let index = self.index(by);
        &mut self.warps[index]
    }

    /// The warp's present moment, over with this: who knows of it is ordered behind what the warp has done.
    pub fn moment(&mut self, by: Issuer) -> Epoch {
        let clocks = self.clocks_mut(by);
        let now = clocks.now();
        clocks.tick();
        now
    }

    /// Whether the warp is ordered behind a moment.
    pub fn knows(&self, by: Issuer, moment: Epoch) -> bool {
        self.clocks(by).known.ordinary.covers(moment)
    }

    /// An agent of the issuing thread.
    fn of_thread(&mut self, by: Issuer, kind: fn(Thread) -> AgentKind) -> clock::Agent {
        self.agents.number(kind(Thread {
            cta: by.cta,
            warp: by.warp,
            lane: by.lane,
        }))
    }

    fn record(
        &mut self,
        by: Issuer,
        epoch: Epoch,
        proxy: Proxy,
        operation: Option<&'static str>,
    ) -> Record {
        Record {
            epoch,
            proxy,
            strong: None,
            effect: Effect::Changes,
            pipe: None,
            cluster: 0,
            cta: by.cta,
            warp: by.warp,
            lanes: 0,
            moment: None,
            line: by.line,
            operation,
        }
    }

    fn intern(&mut self, record: Record) -> RecordId {
        if let Some((last, id)) = self.last
            && last == record
        {
            return id;
        }
        if self.records.is_full() {
            self.records
                .collect(self.shared.iter_mut().chain(&mut self.tensor));
        }
        let id = self.records.add(record);
        self.last = Some((record, id));
        id
    }

    fn cta_of(&self, record: &Record) -> [u32; 3] {
        match record.lanes {
            0 => self.cta_ids[record.cta as usize],
            _ => self.launch.cta(record.cluster.into(), record.cta),
        }
    }

    fn party(&self, record: &Record, wrote: bool) -> Party {
        Party {
            cta: self.cta_of(record),
            warp: record.warp,
            lanes: match record.moment {
                Some(moment) => Some(1 << moment.lane),
                None => (record.lanes != 0).then_some(record.lanes),
            },
            did: if wrote { "wrote" } else { "read" },
            operation: record.operation,
            source: SourceLine::of(self.kernel, record.line),
        }
    }

    /// Whether it is a warning that was given before.
    fn is_known(&self, rule: Rule, severity: Severity, by: Issuer, other: Option<&Record>) -> bool {
        severity == Severity::Warning
            && self.mode != Mode::Strict
            && self
                .warned
                .contains(&(rule, by.line, other.map_or(0, |other| other.line)))
    }

    /// An error, or a warning where the mode takes it so.
    fn report(&mut self, by: Issuer, finding: Finding) -> Found {
        if finding.severity == Severity::Error || self.mode == Mode::Strict {
            return Err(Box::new(finding));
        }
        let other = finding.other.as_ref().map_or(0, |other| other.source.line);
        if self.warned.insert((finding.rule, by.line, other)) && self.warnings.len() < MOST_WARNINGS
        {
            let site = Site {
                cta: self.cta_ids[by.cta as usize],
                warp: by.warp,
                lanes: 1 << by.lane,
                source: SourceLine::of(self.kernel, by.line),
            };
            let kernel = self.kernel.name.clone();
            self.warnings.push(Warning {
                kernel,
                site,
                finding,
                places: Vec::new(),
            });
        }
        Ok(())
    }
}
