//! Launches: checks against the device's limits, then clusters of CTAs spread over host threads.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::cluster::Context;
use super::cluster_fault::ClusterMisfit;
use super::global::GlobalView;
use super::launch_control::PendingClusters;
use super::livelock::Spinning;
use super::order::GridOrder;
use super::report::{FailureKind, Step, failure};
use super::residents::Residents;
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
        let context = self.context(launch, launch.options.threads)?;
        let &Context {
            threads, resident, ..
        } = &context;
        let outcome = Mutex::new((LaunchReport::default(), None));
        let view = self.memory.view();
        let worker = |thread: u64, view: GlobalView| {
            // All threads together keep as many clusters as the device does.
            let share = |thread| resident * thread / threads as u64;
            let capacity = (share(thread + 1) - share(thread)) as usize;
            let mut residents = Residents::new(&context, view, capacity);
            let ended = residents.run();
            if ended.is_err() {
                context.stop.store(true, Ordering::Relaxed);
            }
            context.spinning.end();
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.0.add(&residents.report());
            if let Err(ended) = ended
                && ended.failure.kind != FailureKind::Stopped
                && outcome
                    .1
                    .as_ref()
                    .is_none_or(|(first, _)| ended.cluster < *first)
            {
                outcome.1 = Some((ended.cluster, ended.failure));
            }
        };
        if threads == 1 {
            worker(0, view);
        } else {
            std::thread::scope(|scope| {
                let worker = &worker;
                for thread in 0..threads as u64 {
                    let view = view.clone();
                    scope.spawn(move || worker(thread, view));
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

    /// Checks a launch, and gathers what its CTAs share on that many host threads at most; 0 is one per core.
    pub(super) fn context<'l>(
        &'l self,
        launch: &'l Launch,
        threads: usize,
    ) -> Result<Context<'l>, LaunchFailure> {
        let kernel = &launch.kernel;
        let shared_bytes = self
            .check(launch)
            .map_err(|kind| failure(kernel, None, kind))?;
        let resident = self.resident_clusters(launch);
        let threads = thread_count(threads, resident);
        Ok(Context {
            launch,
            kernel,
            properties: &self.properties,
            shared_bytes,
            registers: registers::at_launch(kernel),
            stop: AtomicBool::new(false),
            pending: PendingClusters::new(launch.clusters(), launch.options.schedule.starts),
            resident,
            threads,
            spinning: Spinning::new(threads),
            order: GridOrder::default(),
            number: launch
                .options
                .observer
                .as_ref()
                .map_or(0, |o| o.number_launch()),
        })
    }

    /// Clusters of the launch that are resident at a time: at least one, at most all.
    fn resident_clusters(&self, launch: &Launch) -> u64 {
        let resident = self.properties.resident_ctas(launch) / launch.ctas_per_cluster();
        resident.min(launch.clusters()).max(1)
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
                return Err(FailureKind::MaxntidExceeded {
                    found: threads,
                    limit,
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
        let shared_bytes = self.shared_bytes(launch)?;
        let (ctas, resident) = (
            launch.clusters() * launch.ctas_per_cluster(),
            self.properties.resident_ctas(launch),
        );
        match launch.cooperative && ctas > resident {
            true => Err(FailureKind::NotCoResident { ctas, resident }),
            false => Ok(shared_bytes),
        }
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
