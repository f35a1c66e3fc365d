//! Grids of which each depends on the one before.

use super::accesses::{Access, Footprint};
use super::{Dependency, DependentRace, Pause};
use crate::machine::cluster::{Cluster, Context};
use crate::machine::global::GlobalView;
use crate::machine::livelock::Quiet;
use crate::machine::report::{FailureKind, Site, SourceLine, Stall, failure};
use crate::machine::{Device, Launch, LaunchFailure, LaunchReport};

/// CTAs of a grid that are kept suspended at a time. More of them run one after the other, as on a device whose
/// multiprocessors are taken.
const RESIDENT_CTAS: u64 = 1024;

impl Device {
    /// Runs launches of which each is a programmatic dependent of the one before, and returns their reports.
    ///
    /// Each grid starts when all CTAs of the one before have executed `griddepcontrol.launch_dependents` or exited, and
    /// runs until it waits for that one, which goes on only then. One host thread runs them.
    ///
    /// # Errors
    /// The first failure; [`FailureKind::Dependent`] where the order of two grids decides what is computed.
    pub fn launch_chain(&self, launches: &[Launch]) -> Result<Vec<LaunchReport>, LaunchFailure> {
        if let [launch] = launches {
            return Ok(vec![self.launch(launch)?]);
        }
        let contexts = launches
            .iter()
            .map(|launch| self.context(launch, 1))
            .collect::<Result<Vec<_>, _>>()?;
        let mut reports = Vec::with_capacity(launches.len());
        let mut before: Option<Grid> = None;
        for (index, context) in contexts.iter().enumerate() {
            let mut grid = Grid::new(context, self.memory.view());
            grid.depends = before.is_some();
            grid.has_dependent = index + 1 < contexts.len();
            let outcome = grid.follow(before.take(), &mut reports);
            outcome.map_err(|failure| failure.under(context.launch.options.schedule))?;
            before = Some(grid);
        }
        if let Some(last) = before {
            reports.push(last.report);
        }
        Ok(reports)
    }
}

/// What the grid before did.
struct Prerequisite<'l> {
    context: &'l Context<'l>,
    footprint: Footprint,
}

/// A grid under way.
struct Grid<'l> {
    context: &'l Context<'l>,
    view: GlobalView,
    depends: bool,
    has_dependent: bool,
    /// Whether new clusters stop for dependents.
    stops: bool,
    /// The grid before, once it has ended.
    before: Option<Prerequisite<'l>>,
    /// Clusters that have started and not ended.
    resident: Vec<Cluster<'l>>,
    /// Accesses while the grid before may run, and all.
    early: Vec<Access>,
    all: Vec<Access>,
    report: LaunchReport,
}

impl<'l> Grid<'l> {
    fn new(context: &'l Context<'l>, view: GlobalView) -> Self {
        Self {
            context,
            view,
            depends: false,
            has_dependent: false,
            stops: false,
            before: None,
            resident: Vec::new(),
            early: Vec::new(),
            all: Vec::new(),
            report: LaunchReport::default(),
        }
    }

    /// Runs as far as it can before `before` ends, ends that, and goes on to where its own dependent may start.
    fn follow(
        &mut self,
        before: Option<Grid<'l>>,
        reports: &mut Vec<LaunchReport>,
    ) -> Result<(), LaunchFailure> {
        if let Some(mut before) = before {
            let early = self.drive();
            before.end()?;
            reports.push(before.report);
            let prerequisite = Prerequisite {
                context: before.context,
                footprint: Footprint::new(before.all),
            };
            // What the order decided may be why the dependent failed.
            self.check(&prerequisite)?;
            early?;
            self.before = Some(prerequisite);
            self.resident.iter_mut().for_each(Cluster::release);
        }
        if !self.has_dependent {
            return self.end();
        }
        self.stops = true;
        // Where more are to come, these have to make room for them.
        let are_last = self.context.pending.is_empty();
        for cluster in &mut self.resident {
            cluster.dependency.stops = are_last;
        }
        self.drive()?;
        let pending = &self.context.pending;
        let stopped = pending.is_empty() && self.resident.iter().all(Cluster::stops);
        // Where clusters wait for what stopped ones would do, the dependent starts later.
        match stopped {
            true => Ok(()),
            false => self.end(),
        }
    }

    /// Runs to the end.
    fn end(&mut self) -> Result<(), LaunchFailure> {
        self.stops = false;
        for cluster in &mut self.resident {
            cluster.dependency.stops = false;
        }
        let context = self.context;
        let spinning = &context.spinning;
        let mut quiet = Quiet::default();
        loop {
            let polled = self.round()?;
            match (self.resident.first_mut(), polled) {
                (None, _) if context.pending.is_empty() => return Ok(()),
                (Some(cluster), Some(steps)) if quiet.polled(spinning, 1, steps) => {
                    return Err(cluster.stalled(Stall::Livelock));
                }
                (_, Some(_)) => {}
                (_, None) => quiet.end(spinning),
            }
        }
    }

    /// Runs until every cluster has ended, has stopped, or polls for what none of the others will do.
    fn drive(&mut self) -> Result<(), LaunchFailure> {
        while self.round()?.is_none() {}
        Ok(())
    }

    /// Gives every cluster a turn. Where they did nothing but poll, returns for how many steps.
    fn round(&mut self) -> Result<Option<u64>, LaunchFailure> {
        let mut changed = false;
        let mut steps = 0;
        for cluster in std::mem::take(&mut self.resident) {
            let before = cluster.steps;
            match self.advance(cluster, &mut changed)? {
                Some(cluster) => {
                    steps += cluster.steps - before;
                    self.resident.push(cluster);
                }
                None => changed = true,
            }
        }
        while (self.resident.len() as u64) < self.capacity()
            && let Some(index) = self.context.pending.take()
        {
            changed = true;
            let cluster = self.start(index)?;
            if let Some(cluster) = cluster {
                self.resident.push(cluster);
            }
        }
        Ok((!changed).then_some(steps))
    }

    /// Clusters that are suspended at a time.
    fn capacity(&self) -> u64 {
        let ctas: u32 = self.context.launch.cluster.iter().product();
        (RESIDENT_CTAS / u64::from(ctas)).max(1)
    }

    /// Starts a cluster and runs it as far as it comes.
    fn start(&mut self, index: u64) -> Result<Option<Cluster<'l>>, LaunchFailure> {
        let context = self.context;
        let mut view = self.view.clone();
        if context.launch.options.mode.checks_order() {
            view.log_accesses();
        }
        let mut cluster = Cluster::new(context, view);
        cluster.reset(index);
        let is_among_last = context.pending.remaining() < self.capacity();
        cluster.dependency = Dependency {
            is_early: self.depends,
            stops: self.stops && is_among_last,
        };
        let mut changed = false;
        if let Some(before) = self.before.take() {
            // Even where it happens to start late, nothing says that it does.
            let early = self.advance(cluster, &mut changed);
            self.check(&before)?;
            self.before = Some(before);
            let Some(started) = early? else {
                return Ok(None);
            };
            cluster = started;
            cluster.release();
        }
        self.advance(cluster, &mut changed)
    }

    /// Runs a cluster as far as it comes; `None` if that is its end.
    fn advance(
        &mut self,
        mut cluster: Cluster<'l>,
        changed: &mut bool,
    ) -> Result<Option<Cluster<'l>>, LaunchFailure> {
        let outcome = cluster.advance();
        let accesses = cluster.global.take_accesses();
        if cluster.dependency.is_early {
            self.early.extend(&accesses);
        }
        if self.has_dependent {
            self.all.extend(accesses);
        }
        let pause = outcome?;
        if pause == Pause::Exited {
            if let Some(recorder) = &mut cluster.recorder {
                recorder.end(self.context.kernel);
            }
            self.report.add(&cluster.report);
            return Ok(None);
        }
        *changed |= cluster.suspend() | (pause == Pause::Turn);
        Ok(Some(cluster))
    }

    /// What was accessed early must not meet what the grid before did.
    fn check(&mut self, before: &Prerequisite) -> Result<(), LaunchFailure> {
        let early = std::mem::take(&mut self.early);
        let Some((access, other)) = before.footprint.conflict(&early) else {
            return Ok(());
        };
        let race = DependentRace {
            now: access.name(),
            overlap: access.start.max(other.start)..access.end.min(other.end),
            before: other.name(),
            kernel: before.context.kernel.name.clone(),
            cta: other.by.cta,
            warp: other.by.warp,
            source: SourceLine::of(before.context.kernel, other.by.line),
        };
        let kernel = self.context.kernel;
        let site = Site {
            cta: access.by.cta,
            warp: access.by.warp,
            lanes: access.by.lanes,
            source: SourceLine::of(kernel, access.by.line),
        };
        let kind = FailureKind::Dependent(Box::new(race));
        Err(failure(kernel, Some(Box::new(site)), kind))
    }
}
