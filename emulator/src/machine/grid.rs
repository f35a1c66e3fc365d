//! Launches: checks against the device's limits, then clusters of CTAs spread over host threads.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::cluster::{Cluster, Context};
use super::cluster_fault::ClusterMisfit;
use super::global::GlobalView;
use super::launch_control::PendingClusters;
use super::livelock::Spinning;
use super::report::{FailureKind, Step, failure};
use super::{Device, Launch, LaunchFailure, LaunchReport, registers};

/// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
const GRID_LIMIT: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const BLOCK_LIMIT: [u32; 3] = [1024, 1024, 64];
const THREAD_LIMIT: u64 = 1024;

/// CTAs of a cluster. More than 8 are not portable: the driver asks for the caller's consent.
pub const LARGEST_CLUSTER: u32 = 16;

impl Device {
    /// Runs a kernel to completion. The first CTA that fails stops all others.
    pub fn launch(&self, launch: &Launch) -> Result<LaunchReport, LaunchFailure> {
        self.run(launch)
            .map_err(|failure| failure.under(launch.options.schedule))
    }

    fn run(&self, launch: &Launch) -> Result<LaunchReport, LaunchFailure> {
        let start = Instant::now();
        let kernel = &launch.kernel;
        let threads = thread_count(launch.options.threads, launch.clusters());
        let context = self.context(launch, threads)?;
        let outcome = Mutex::new((LaunchReport::default(), None));
        let view = self.memory.view();
        let worker = |view: GlobalView| {
            let mut cluster = Cluster::new(&context, view);
            let mut failed = None;
            while !context.stop.load(Ordering::Relaxed) {
                let Some(index) = context.pending.take() else {
                    break;
                };
                cluster.reset(index);
                let ended = cluster.run();
                if let Some(recorder) = &mut cluster.recorder {
                    recorder.end(kernel);
                }
                if let Err(error) = ended {
                    context.stop.store(true, Ordering::Relaxed);
                    failed = Some((index, error));
                }
            }
            context.spinning.end();
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.0.add(&cluster.report);
            if let Some((index, error)) = failed
                && error.kind != FailureKind::Stopped
                && outcome.1.as_ref().is_none_or(|(first, _)| index < *first)
            {
                outcome.1 = Some((index, error));
            }
        };
        if threads == 1 {
            worker(view);
        } else {
            std::thread::scope(|scope| {
                let worker = &worker;
                for _ in 0..threads {
                    let view = view.clone();
                    scope.spawn(move || worker(view));
                }
            });
        }
        let (mut report, failed) = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.elapsed = start.elapsed();
        match failed {
            Some((_, error)) => Err(error),
            None => Ok(report),
        }
    }

    /// Checks a launch, and gathers what its CTAs share on so many host threads.
    pub(super) fn context<'l>(
        &'l self,
        launch: &'l Launch,
        threads: usize,
    ) -> Result<Context<'l>, LaunchFailure> {
        let kernel = &launch.kernel;
        let shared_bytes = self
            .check(launch)
            .map_err(|kind| failure(kernel, None, kind))?;
        Ok(Context {
            launch,
            kernel,
            properties: &self.properties,
            shared_bytes,
            registers: registers::at_launch(kernel),
            stop: AtomicBool::new(false),
            pending: PendingClusters::new(launch.clusters()),
            spinning: Spinning::new(threads),
            number: launch
                .options
                .observer
                .as_ref()
                .map_or(0, |o| o.number_launch()),
        })
    }

    /// Checks everything that a driver checks before it starts a grid, without starting it.
    ///
    /// # Errors
    /// A failure that [is a refusal](LaunchFailure::is_refusal).
    pub fn check_launch(&self, launch: &Launch) -> Result<(), LaunchFailure> {
        let checked = self.check(launch);
        checked
            .map(drop)
            .map_err(|kind| failure(&launch.kernel, None, kind))
    }

    /// Checks everything that a driver checks before it starts a grid; returns the bytes of a CTA's shared window.
    fn check(&self, launch: &Launch) -> Step<u32> {
        let Launch {
            kernel,
            grid,
            block,
            ..
        } = launch;
        check_dimension("the grid", *grid, GRID_LIMIT)?;
        check_dimension("the block", *block, BLOCK_LIMIT)?;
        let threads = block.iter().map(|extent| u64::from(*extent)).product();
        let directives = &kernel.directives;
        if threads > THREAD_LIMIT {
            return Err(FailureKind::TooManyThreads {
                found: threads,
                limit: THREAD_LIMIT,
                reason: "the device's limit",
            });
        }
        if let Some(required) = directives.reqntid
            && required != *block
        {
            return Err(FailureKind::BlockMismatch {
                found: *block,
                required,
            });
        }
        if let Some(most) = directives.maxntid {
            let limit = most.iter().map(|extent| u64::from(*extent)).product();
            if threads > limit {
                return Err(FailureKind::TooManyThreads {
                    found: threads,
                    limit,
                    reason: "the kernel's `.maxntid`",
                });
            }
        }
        if let Some(registers) = registers::at_launch(kernel)
            && !registers::fits(registers, threads as u32)
        {
            return Err(FailureKind::RegisterLimit { registers, threads });
        }
        check_cluster(launch)?;
        if launch.params.len() != kernel.param_bytes as usize {
            return Err(FailureKind::ParameterBytes {
                found: launch.params.len(),
                required: kernel.param_bytes,
            });
        }
        self.shared_bytes(launch)
    }

    fn shared_bytes(&self, launch: &Launch) -> Step<u32> {
        let fixed = launch.kernel.static_shared_bytes;
        let dynamic = launch.dynamic_shared_bytes;
        let dynamic_end = match dynamic {
            0 => 0,
            _ => u64::from(launch.kernel.dynamic_shared_offset) + u64::from(dynamic),
        };
        let requested = dynamic_end.max(fixed.into());
        let limit = self.properties.shared_bytes_per_block_optin;
        if requested > u64::from(limit) {
            return Err(FailureKind::SharedMemoryLimit {
                requested,
                fixed,
                dynamic,
                limit,
            });
        }
        Ok(self.properties.reserved_shared_bytes + requested as u32)
    }
}

/// The clusters have to be whole, of a size that the device has, and those that the kernel wants.
fn check_cluster(launch: &Launch) -> Step<()> {
    let &Launch { grid, cluster, .. } = launch;
    let directives = &launch.kernel.directives;
    let ctas = cluster.iter().map(|extent| u64::from(*extent)).product();
    let misfit = if !(1..=u64::from(LARGEST_CLUSTER)).contains(&ctas) {
        ClusterMisfit::Size {
            ctas,
            limit: LARGEST_CLUSTER,
        }
    } else if (0..3).any(|d| !grid[d].is_multiple_of(cluster[d])) {
        ClusterMisfit::Grid { grid }
    } else if let Some(required) = directives.reqnctapercluster
        && required != cluster
    {
        ClusterMisfit::Required { required }
    } else if let Some(limit) = directives.maxclusterrank
        && ctas > limit.into()
    {
        ClusterMisfit::Rank { limit }
    } else {
        return Ok(());
    };
    Err(FailureKind::InvalidCluster {
        found: cluster,
        misfit,
    })
}

fn check_dimension(what: &'static str, found: [u32; 3], limit: [u32; 3]) -> Step<()> {
    let fits = (0..3).all(|d| (1..=limit[d]).contains(&found[d]));
    match fits {
        true => Ok(()),
        false => Err(FailureKind::InvalidDimension { what, found, limit }),
    }
}

fn thread_count(requested: usize, clusters: u64) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let wanted = match requested {
        0 => available(),
        threads => threads,
    };
    usize::try_from(clusters).map_or(wanted, |clusters| wanted.min(clusters.max(1)))
}
