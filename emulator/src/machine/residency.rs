//! How many CTAs of a launch a device keeps resident: started, not ended, and each sure of its turn.

use super::{DeviceProperties, Launch, registers};
use crate::isa::ir::{Kernel, LANES};

/// What one multiprocessor has for its CTAs (CUDA C++ Programming Guide, "Technical Specifications per Compute
/// Capability"; the same for compute capabilities 9.0 and 10.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    pub threads: u32,
    pub ctas: u32,
    pub shared_bytes: u32,
    pub registers: u32,
}

impl Multiprocessor {
    pub const HOPPER_AND_BLACKWELL: Self = Self {
        threads: 2048,
        ctas: 32,
        shared_bytes: 228 * 1024,
        registers: 64 * 1024,
    };
}

/// Parts of a multiprocessor, each with its share of the registers, over which a CTA's warps are spread.
const PARTITIONS: u32 = 4;

/// Registers are given to warps in units of so many (`cuda_occupancy.h`).
const REGISTER_UNIT: u32 = 256;

/// Shared memory is given to CTAs in units of so many bytes (`cuda_occupancy.h`).
const SHARED_UNIT: u64 = 128;

impl DeviceProperties {
    /// CTAs of `threads` threads and `dynamic_shared_bytes` that one multiprocessor keeps resident; 0 where not even one
    /// fits. Registers count where the PTX tells how many there are (`.maxnreg`, or `setmaxnreg`): of other kernels only
    /// the device's compiler knows.
    pub fn ctas_per_multiprocessor(
        &self,
        kernel: &Kernel,
        threads: u32,
        dynamic_shared_bytes: u64,
    ) -> u32 {
        let has = &self.multiprocessor;
        let warps = threads.div_ceil(LANES as u32);
        if warps == 0 {
            return 0;
        }
        let by_threads = has.threads / LANES as u32 / warps;
        let shared = (u64::from(self.reserved_shared_bytes)
            + u64::from(kernel.static_shared_bytes))
        .saturating_add(dynamic_shared_bytes)
        .max(1);
        let shared = shared.checked_next_multiple_of(SHARED_UNIT);
        let by_shared = shared.map_or(0, |shared| u64::from(has.shared_bytes) / shared);
        let registers = registers::at_launch(kernel).or(kernel.directives.maxnreg);
        let by_registers = match registers {
            None | Some(0) => u32::MAX,
            Some(registers) => {
                let per_warp = registers
                    .saturating_mul(LANES as u32)
                    .max(1)
                    .div_ceil(REGISTER_UNIT)
                    .saturating_mul(REGISTER_UNIT);
                has.registers / PARTITIONS / per_warp * PARTITIONS / warps
            }
        };
        has.ctas
            .min(by_threads)
            .min(by_registers)
            .min(u32::try_from(by_shared).unwrap_or(u32::MAX))
    }

    /// CTAs of the launch that the device keeps resident, as whole clusters. That the multiprocessors of a large cluster
    /// have to be neighbours may make it fewer on a device.
    pub fn resident_ctas(&self, launch: &Launch) -> u64 {
        let threads = launch.block.iter().product();
        let dynamic = launch.dynamic_shared_bytes.into();
        let per_multiprocessor = self.ctas_per_multiprocessor(&launch.kernel, threads, dynamic);
        let ctas = u64::from(self.multiprocessors) * u64::from(per_multiprocessor);
        let cluster = launch.ctas_per_cluster();
        ctas / cluster * cluster
    }
}
