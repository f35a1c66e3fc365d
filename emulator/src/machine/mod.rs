//! The machine: memories, warps, the scheduler and the asynchronous engines of one device.

mod async_engine;
pub(crate) mod atomics;
mod barrier;
mod chunks;
pub(crate) mod cluster;
mod cluster_barrier;
pub mod cluster_fault;
mod completion;
mod dependency;
mod exec;
mod explore;
mod footprint;
pub mod global;
mod grid;
mod header;
mod launch_control;
mod livelock;
mod load;
mod mbarrier;
pub(crate) mod operation;
pub mod order;
mod pair;
mod places;
mod random;
pub mod registers;
mod remote;
pub mod report;
mod residency;
mod residents;
pub mod schedule;
mod scheduler;
mod shared;
mod small_copy;
mod snapshot;
mod stall;
mod store;
mod tensor_maps;
mod tensor_unit;
#[cfg(test)]
mod tests;
pub(crate) mod turns;
mod wake;
pub(crate) mod warp;
mod warpgroup;

use std::sync::Arc;

use crate::isa::ir::Kernel;
use crate::observe::Observer;

pub use dependency::{DependentRace, launches_dependents};
pub use explore::{Exploration, FailingSchedule, explore};
pub use load::ModuleError;
pub use report::{FailureClass, FailureKind, LaunchFailure, LaunchReport};
pub use residency::Multiprocessor;
pub use schedule::{Asynchrony, Schedule, Turns, Victim};

/// One emulated GPU: its properties and its global memory. Shared between threads; launches run to completion.
#[derive(Debug)]
pub struct Device {
    pub properties: DeviceProperties,
    pub memory: global::GlobalMemory,
}

impl Device {
    /// A device with empty memory.
    pub fn new(properties: DeviceProperties) -> Self {
        let memory = global::GlobalMemory::new(properties.total_memory_bytes);
        Self { properties, memory }
    }
}

/// What the device reports of itself and enforces at launch.
#[derive(Clone, Debug)]
pub struct DeviceProperties {
    pub name: String,
    pub compute_capability: (u32, u32),
    pub multiprocessors: u32,
    pub multiprocessor: Multiprocessor,
    /// Largest dynamic plus static shared memory of a CTA that opted in, in bytes.
    pub shared_bytes_per_block_optin: u32,
    /// Shared memory that the driver reserves at the start of every CTA's window, in bytes.
    pub reserved_shared_bytes: u32,
    pub total_memory_bytes: u64,
}

impl DeviceProperties {
    /// NVIDIA B200: compute capability 10.0, 148 multiprocessors, 227 KiB of shared memory per CTA.
    pub fn b200() -> Self {
        Self {
            name: "NVIDIA B200 (emulated)".to_owned(),
            compute_capability: (10, 0),
            multiprocessors: 148,
            multiprocessor: Multiprocessor::HOPPER_AND_BLACKWELL,
            shared_bytes_per_block_optin: 227 * 1024,
            reserved_shared_bytes: 1024,
            total_memory_bytes: 180 << 30,
        }
    }

    /// NVIDIA H100 (SXM): compute capability 9.0, 132 multiprocessors, 227 KiB of shared memory per CTA.
    pub fn h100() -> Self {
        Self {
            name: "NVIDIA H100 (emulated)".to_owned(),
            compute_capability: (9, 0),
            multiprocessors: 132,
            total_memory_bytes: 80 << 30,
            ..Self::b200()
        }
    }

    /// NVIDIA H200: an H100 with more memory.
    pub fn h200() -> Self {
        Self {
            name: "NVIDIA H200 (emulated)".to_owned(),
            total_memory_bytes: 141 << 30,
            ..Self::h100()
        }
    }
}

/// One kernel launch.
#[derive(Clone, Debug)]
pub struct Launch {
    pub kernel: Arc<Kernel>,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub dynamic_shared_bytes: u32,
    /// All CTAs have to be resident together (`cuLaunchCooperativeKernel`), or nothing starts.
    pub cooperative: bool,
    /// The parameter buffer, laid out as [`Kernel::params`] says.
    pub params: Vec<u8>,
    pub options: LaunchOptions,
}

impl Launch {
    /// Clusters of the grid.
    fn clusters(&self) -> u64 {
        let product = |extents: [u32; 3]| extents.iter().map(|&e| u64::from(e)).product::<u64>();
        product(self.grid) / self.ctas_per_cluster()
    }

    fn ctas_per_cluster(&self) -> u64 {
        let product: u64 = self
            .cluster
            .iter()
            .map(|&extent| u64::from(extent))
            .product();
        product.max(1)
    }

    /// The CTA of this rank in a cluster, by the cluster's index in the grid.
    fn cta(&self, index: u64, rank: u32) -> [u32; 3] {
        let [x, y, _] = self.cluster;
        let within = [rank % x, rank / x % y, rank / x / y];
        let first = self.first_cta(index);
        [0, 1, 2].map(|d| first[d] + within[d])
    }

    /// The first CTA of a cluster, by the cluster's index in the grid.
    fn first_cta(&self, index: u64) -> [u32; 3] {
        let Self { grid, cluster, .. } = self;
        let clusters = [0, 1, 2].map(|d| u64::from(grid[d] / cluster[d].max(1)).max(1));
        let position = [
            index % clusters[0],
            index / clusters[0] % clusters[1],
            index / clusters[0] / clusters[1],
        ];
        [0, 1, 2].map(|d| position[d] as u32 * cluster[d])
    }
}

/// How a launch is scheduled.
#[derive(Clone, Debug)]
pub struct LaunchOptions {
    pub mode: Mode,
    pub schedule: Schedule,
    /// Takes notes of what the launch does.
    pub observer: Option<Arc<Observer>>,
    /// Host threads that run CTAs; 0 takes one per core.
    pub threads: usize,
    /// Warp instructions per CTA after which the launch is given up as hung.
    pub step_limit: u64,
}

impl Default for LaunchOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            schedule: Schedule::default(),
            observer: None,
            threads: 0,
            step_limit: 1 << 32,
        }
    }
}

/// How suspicious a launch is. Accesses out of bounds, misaligned ones, broken descriptors and misused barriers are
/// errors in every mode: there is no result to go on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Results only: whether accesses are ordered is not checked.
    Fast,
    /// Everything that can make a result wrong on a device is an error; what production kernels rely on is not.
    #[default]
    Check,
    /// The letter of the PTX ISA.
    Strict,
}

impl Mode {
    /// Whether the order of accesses is checked.
    pub fn checks_order(self) -> bool {
        self >= Self::Check
    }
}
