//! Takes notes while a cluster runs.

use std::sync::Arc;

use super::access::{global_sectors, shared_passes};
use super::profile::{LineProfile, Profile, WarpProfile};
use super::trace::{Event, Trace, Track};
use super::{Observe, Observer};
use crate::isa::ir::{Inst, Kernel, Op, Space};
use crate::isa::windows::generic_window;
use crate::machine::atomics;
use crate::machine::cluster::Cta;
use crate::machine::operation::{Operation, Work};
use crate::machine::report::SourceLine;
use crate::machine::turns::Turn;
use crate::machine::warp::{State, Wait, Warp, lanes};

/// Where and when an operation was put in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Issued {
    time: u64,
    track: u32,
}

/// What a warp does between two looks at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Ready,
    /// None of its groups can run.
    Waits(Wait),
    Exited,
}

#[derive(Clone, Debug, Default)]
struct WarpState {
    status: Status,
    /// What a wait is for.
    waits_for: String,
    since: u64,
    /// The event of its last turn, while nothing has come between.
    stretch: Option<usize>,
}

/// The notes on one cluster after another.
#[derive(Debug)]
pub struct Recorder {
    observer: Arc<Observer>,
    observe: Observe,
    launch: u64,
    kernel: Arc<str>,
    is_traced: bool,
    time: u64,
    ids: Vec<[u32; 3]>,
    /// Of each CTA.
    warps: Vec<Vec<WarpState>>,
    /// Of each CTA, which tracks of copies are taken.
    copies: Vec<Vec<bool>>,
    pipe_end: Vec<u64>,
    trace: Trace,
    /// By instruction.
    lines: Vec<LineProfile>,
    profile: Profile,
}

impl Recorder {
    pub fn new(observer: &Arc<Observer>, launch: u64, kernel: &Kernel) -> Self {
        Self {
            observe: observer.observe(),
            observer: Arc::clone(observer),
            launch,
            kernel: kernel.name.as_str().into(),
            is_traced: false,
            time: 0,
            ids: Vec::new(),
            warps: Vec::new(),
            copies: Vec::new(),
            pipe_end: Vec::new(),
            trace: Trace::default(),
            lines: vec![LineProfile::default(); kernel.code.len()],
            profile: Profile::default(),
        }
    }

    /// A cluster starts; `first` of the grid's CTAs come before it.
    pub fn start(&mut self, first: u64, ctas: &[Cta]) {
        self.is_traced = first < self.observe.traced_ctas;
        self.time = 0;
        self.ids = ctas.iter().map(|cta| cta.id).collect();
        let warps = |cta: &Cta| vec![WarpState::default(); cta.warps.len()];
        self.warps = ctas.iter().map(warps).collect();
        self.copies = vec![Vec::new(); ctas.len()];
        self.pipe_end = vec![0; ctas.len()];
    }

    /// An instruction is about to be executed.
    pub fn instruction(&mut self, warp: &Warp, pc: u32, inst: &Inst, active: u32) {
        if !self.observe.profile {
            return;
        }
        let counts = &mut self.lines[pc as usize];
        counts.executed += 1;
        counts.lanes += u64::from(active.count_ones());
        let (space, ty, elements, address) = match &inst.op {
            Op::Load {
                space,
                ty,
                dsts,
                address,
                ..
            } => (*space, *ty, dsts.len(), address),
            Op::Store {
                space,
                ty,
                srcs,
                address,
                ..
            } => (*space, *ty, srcs.len(), address),
            _ => return,
        };
        let Ok(bytes) = atomics::element_bytes(ty) else {
            return;
        };
        let bytes = u64::from(bytes) * elements as u64;
        let addresses: Vec<_> = lanes(active)
            .map(|lane| (lane, warp.address(address, lane)))
            .collect();
        let Some((_, first)) = addresses.first() else {
            return;
        };
        let space = match (space, generic_window(*first)) {
            (Space::Generic, None) => Space::Global,
            (Space::Generic, Some((window, _))) => window,
            (space, _) => space,
        };
        match space {
            Space::SharedCta | Space::SharedCluster => {
                counts.shared(shared_passes(&addresses, bytes));
            }
            Space::Global => counts.global(global_sectors(&addresses, bytes)),
            _ => {}
        }
    }

    /// A turn of `steps` instructions is over, which began at instruction `pc`.
    pub fn turn(&mut self, turn: &Turn, kernel: &Kernel, pc: u32, steps: u64) {
        let start = self.time;
        self.time += steps;
        if self.observe.profile {
            self.warp_profile(turn.warp).executed += steps;
        }
        if !self.is_traced || steps == 0 {
            return;
        }
        let stretch = self.warps[turn.cta][turn.warp].stretch;
        if let Some(stretch) = stretch
            && self.trace.events[stretch].end == start
        {
            self.trace.events[stretch].end = self.time;
            return;
        }
        let event = self.event(turn.cta, Track::Warp(turn.warp as u32), "run", "run", start);
        let line = kernel.code.get(pc as usize).map_or(0, |inst| inst.line);
        self.trace.events.push(Event { line, ..event });
        self.warps[turn.cta][turn.warp].stretch = Some(self.trace.events.len() - 1);
    }

    fn warp_profile(&mut self, warp: usize) -> &mut WarpProfile {
        let key = (self.kernel.to_string(), warp as u32);
        self.profile.warps.entry(key).or_default()
    }

    fn event(
        &self,
        cta: usize,
        track: Track,
        category: &'static str,
        name: &str,
        start: u64,
    ) -> Event {
        Event {
            launch: self.launch,
            kernel: Arc::clone(&self.kernel),
            cta: self.ids[cta],
            track,
            category,
            name: name.to_owned(),
            start,
            end: self.time,
            line: 0,
            bytes: 0,
            shared: None,
        }
    }

    /// Looks at who waits now, and for what.
    pub fn look(&mut self, ctas: &mut [Cta]) {
        for (cta_index, cta) in ctas.iter_mut().enumerate() {
            for warp in 0..cta.warps.len() {
                let status = status(&cta.warps[warp]);
                if status != self.warps[cta_index][warp].status {
                    self.change(cta_index, warp, status);
                    self.warps[cta_index][warp].waits_for = match status {
                        Status::Waits(wait) => what(cta, wait),
                        _ => String::new(),
                    };
                }
            }
        }
    }

    fn change(&mut self, cta: usize, warp: usize, status: Status) {
        let now = self.time;
        let state = &mut self.warps[cta][warp];
        let before = std::mem::replace(&mut state.status, status);
        let since = std::mem::replace(&mut state.since, now);
        match before {
            Status::Ready if self.observe.profile => self.warp_profile(warp).ready += now - since,
            Status::Waits(wait) => {
                let what = std::mem::take(&mut self.warps[cta][warp].waits_for);
                if self.observe.profile {
                    let waited = &mut self.warp_profile(warp).waited;
                    *waited.entry(kind(wait)).or_default() += now - since;
                }
                if self.is_traced {
                    let event = self.event(cta, Track::Warp(warp as u32), "wait", &what, since);
                    let shared = match wait {
                        Wait::Mbarrier { offset, .. } => Some(offset),
                        _ => None,
                    };
                    self.trace.events.push(Event { shared, ..event });
                }
            }
            _ => {}
        }
    }

    /// An operation is put in flight.
    pub fn issued(&mut self, cta: usize, work: &Work) -> Issued {
        let tracks = &mut self.copies[cta];
        let track = match track(work) {
            Some(Track::Copies(_)) => match tracks.iter().position(|taken| !taken) {
                Some(free) => free,
                None => {
                    tracks.push(false);
                    tracks.len() - 1
                }
            },
            _ => 0,
        };
        if let Some(taken) = tracks.get_mut(track) {
            *taken = true;
        }
        Issued {
            time: self.time,
            track: track as u32,
        }
    }

    /// An operation takes effect.
    pub fn completed(&mut self, operation: &Operation) {
        self.time += 1;
        let cta = operation.issuer.cta as usize;
        let Issued { time, track: index } = operation.issued;
        let moved = operation.footprint.shared_bytes();
        let mut start = time;
        let track = match track(&operation.work) {
            None => return,
            Some(Track::Copies(_)) => {
                self.profile.copied_bytes += moved
                    .clone()
                    .map(|range| range.end - range.start)
                    .sum::<u64>();
                if let Some(taken) = self.copies[cta].get_mut(index as usize) {
                    *taken = false;
                }
                Track::Copies(index)
            }
            Some(track) => {
                self.profile.mmas += u64::from(matches!(operation.work, Work::Mma(_)));
                start = time.max(self.pipe_end[cta]);
                self.pipe_end[cta] = self.time;
                track
            }
        };
        if self.is_traced {
            let name = match &operation.work {
                Work::Commit { barriers } => {
                    let barriers = barriers.iter().map(|to| format!(" {:#x}", to.offset));
                    format!("commit to mbarrier{}", barriers.collect::<String>())
                }
                work => work.name().to_owned(),
            };
            let event = self.event(cta, track, operation.work.name(), &name, start);
            let bytes = match track {
                Track::Copies(_) => moved.clone().map(|range| range.end - range.start).sum(),
                _ => 0,
            };
            let shared = match &operation.work {
                Work::Commit { barriers } => barriers.first().map(|barrier| barrier.offset),
                _ => moved.map(|range| range.start as u32).min(),
            };
            self.trace.events.push(Event {
                line: operation.issuer.line,
                bytes,
                shared,
                ..event
            });
        }
    }

    /// The cluster is done, or failed.
    pub fn end(&mut self, kernel: &Kernel) {
        for cta in 0..self.warps.len() {
            for warp in 0..self.warps[cta].len() {
                self.change(cta, warp, Status::Exited);
            }
        }
        for (inst, counts) in kernel.code.iter().zip(&mut self.lines) {
            let counts = std::mem::take(counts);
            if counts.executed != 0 {
                let SourceLine { line, text } = SourceLine::of(kernel, inst.line);
                let key = (self.kernel.to_string(), line);
                self.profile.add_line(key, &text, &counts);
            }
        }
        self.observer.add(
            std::mem::take(&mut self.trace),
            &std::mem::take(&mut self.profile),
        );
    }
}

/// Where an operation is drawn; tensor-memory loads and stores take effect at issue and are not.
fn track(work: &Work) -> Option<Track> {
    match work {
        Work::Mma(_) | Work::WarpgroupMma(_) | Work::TensorCopy { .. } | Work::Commit { .. } => {
            Some(Track::TensorPipe)
        }
        Work::TensorLoad | Work::TensorStore => None,
        _ => Some(Track::Copies(0)),
    }
}

fn status(warp: &Warp) -> Status {
    let mut status = Status::Exited;
    for group in &warp.groups {
        match group.state {
            State::Ready => return Status::Ready,
            State::Blocked(wait) => status = Status::Waits(wait),
        }
    }
    status
}

/// What a wait is for, without the phase.
fn kind(wait: Wait) -> String {
    match wait {
        Wait::Mbarrier { offset, .. } => format!("mbarrier {offset:#x}"),
        Wait::Barrier { id } | Wait::BarrierWarp { id } => format!("barrier {id}"),
        Wait::Collective { .. } | Wait::Aligned { .. } => "its warp".to_owned(),
        Wait::TensorMemory { .. } => "tensor memory".to_owned(),
        Wait::BulkGroup { .. } => "bulk groups".to_owned(),
        Wait::ClusterBarrier => "the cluster".to_owned(),
        Wait::Registers { .. } => "registers".to_owned(),
        Wait::Grid => "the grid before".to_owned(),
        _ => "copies".to_owned(),
    }
}

fn what(cta: &mut Cta, wait: Wait) -> String {
    match wait {
        Wait::Mbarrier { offset, .. } => match cta.shared.mbarrier(offset) {
            Ok(barrier) => format!("{} phase {}", kind(wait), barrier.phase),
            Err(_) => kind(wait),
        },
        _ => kind(wait),
    }
}
