//! The clusters that one host thread keeps resident, of which one runs at a time.
//!
//! A cluster runs until it ends, does nothing but poll, or has run for long. Only where the running ones cannot go on
//! does another one start, so that a grid whose CTAs don't wait for each other takes the memory of one cluster per
//! thread, and one whose CTAs do takes no more than the device keeps resident. Those that have started take turns.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::cluster::{Cluster, Context};
use super::dependency::Pause;
use super::global::GlobalView;
use super::livelock::Quiet;
use super::report::{LaunchFailure, LaunchReport, Stall};

pub struct Residents<'l> {
    context: &'l Context<'l>,
    view: GlobalView,
    /// Clusters that may be resident at a time.
    capacity: usize,
    /// Started and not ended; the one that has not run for longest is the first.
    suspended: VecDeque<Cluster<'l>>,
    /// Ended: the next ones are made of them.
    pub(super) ended: Vec<Cluster<'l>>,
    quiet: Quiet,
}

/// Which cluster failed, and how.
#[derive(Debug)]
pub struct ClusterFailure {
    pub cluster: u64,
    pub failure: LaunchFailure,
}

impl ClusterFailure {
    fn boxed(cluster: u64, failure: LaunchFailure) -> Box<Self> {
        Box::new(Self { cluster, failure })
    }
}

impl<'l> Residents<'l> {
    pub fn new(context: &'l Context<'l>, view: GlobalView, capacity: usize) -> Self {
        Self {
            context,
            view,
            capacity,
            suspended: VecDeque::new(),
            ended: Vec::new(),
            quiet: Quiet::default(),
        }
    }

    /// Runs clusters until none is left, or one fails anywhere.
    pub fn run(&mut self) -> Result<(), Box<ClusterFailure>> {
        let mut last_ended = true;
        while !self.context.stop.load(Ordering::Relaxed) {
            let Some(mut cluster) = self.next(last_ended) else {
                break;
            };
            let steps = cluster.steps;
            let pause = cluster.advance();
            let steps = cluster.steps - steps;
            let pause = pause.map_err(|failure| ClusterFailure::boxed(cluster.index, failure))?;
            last_ended = pause == Pause::Exited;
            match pause {
                Pause::Exited => {
                    if let Some(recorder) = &mut cluster.recorder {
                        recorder.end(self.context.kernel);
                    }
                    self.quiet.end(&self.context.spinning);
                    self.ended.push(cluster);
                    continue;
                }
                Pause::Dependency => {
                    let failure = cluster.stalled(Stall::Deadlock);
                    return Err(ClusterFailure::boxed(cluster.index, failure));
                }
                Pause::Turn | Pause::Polling => {}
            }
            let goes_on = cluster.suspend() || pause == Pause::Turn;
            self.suspended.push_back(cluster);
            match goes_on || self.may_start() {
                true => self.quiet.end(&self.context.spinning),
                false => self.polled(steps)?,
            }
        }
        Ok(())
    }

    /// The cluster to run. What ended may be what a suspended one waits for; else a new one may be.
    fn next(&mut self, last_ended: bool) -> Option<Cluster<'l>> {
        let is_resumed = last_ended && !self.suspended.is_empty();
        if !is_resumed
            && self.may_start()
            && let Some(index) = self.context.pending.take()
        {
            let ended = self.ended.pop();
            let mut cluster =
                ended.unwrap_or_else(|| Cluster::new(self.context, self.view.clone()));
            cluster.reset(index);
            return Some(cluster);
        }
        self.suspended.pop_front()
    }

    fn may_start(&self) -> bool {
        self.suspended.len() < self.capacity && !self.context.pending.is_empty()
    }

    /// A cluster did nothing but poll for `steps`; it is an error if nobody is going to do anything else.
    fn polled(&mut self, steps: u64) -> Result<(), Box<ClusterFailure>> {
        let Context {
            spinning,
            pending,
            launch,
            resident,
            ..
        } = self.context;
        let is_over = self.quiet.polled(spinning, self.suspended.len(), steps);
        let first = self
            .suspended
            .iter_mut()
            .min_by_key(|cluster| cluster.index);
        match first {
            Some(first) if is_over => {
                let ctas = launch.ctas_per_cluster();
                let stall = match pending.remaining() * ctas {
                    0 => Stall::Livelock,
                    not_started => Stall::NotResident {
                        resident: resident * ctas,
                        not_started,
                    },
                };
                Err(ClusterFailure::boxed(first.index, first.stalled(stall)))
            }
            _ => Ok(()),
        }
    }

    /// Counters of the clusters that ended.
    pub fn report(&self) -> LaunchReport {
        let mut report = LaunchReport::default();
        for cluster in self.ended.iter().chain(&self.suspended) {
            report.add(&cluster.report);
        }
        report
    }
}
