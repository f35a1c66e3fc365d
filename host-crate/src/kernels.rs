//! The shipped PTX and its entries, for launching through this crate or without it.
//!
//! Whoever embeds the PTX for Blackwell needs its [`Architecture::ptx`], one of its entries and a
//! [`DualGemmParams`]:
//!
//! 1. load the PTX (`cuModuleLoadData`) and take the function [`Launch::name`];
//! 2. allow it [`Launch::dynamic_shared_bytes`]
//!    (`cuFuncSetAttribute`, `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`), and where
//!    [`Launch::min_ctas_per_sm`] is more than 1 all of what L1 and shared memory share
//!    (`CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT`, 100);
//! 3. encode three tensor maps as [`crate::plan::operand_map`] says;
//! 4. launch [`crate::plan::DualGemm::grid`] × [`Launch::threads_per_cta`] threads with the
//!    parameter block as the one, by-value argument.
//!
//! On Hopper the prefill design is two entries, the decode design one: [`hopper`] says what each takes.

pub use nvfp4_dual_gemm_kernel::contract::{
    DualGemmParams, K_MULTIPLE, KernelEntry, Launch, N_MULTIPLE, Output, TILE_K, TILE_M, TensorMap,
    hopper,
};

use nvfp4_dual_gemm_kernel::contract::KERNELS;

/// The kernels for one family of GPUs.
#[derive(Debug)]
pub struct Architecture {
    /// Its name.
    pub name: &'static str,
    /// One text for all its GPUs.
    pub ptx: &'static str,
    /// The environment variable that can name a file with another build, for the tool and the tests.
    pub ptx_variable: &'static str,
    /// The PTX ISA version of [`Self::ptx`], as (major, minor).
    pub ptx_version: (u32, u32),
    /// The CUDA version, as (major, minor), from which on drivers accept it.
    pub cuda_version: (u32, u32),
    /// Compute capabilities, as (major, minor), that it runs on.
    pub compute_capabilities: &'static [(u32, u32)],
    /// The entries that compute tiles of the output.
    pub entries: &'static [KernelEntry],
}

/// B200 (compute capability 10.0) and B300 (10.3): PTX for the `sm_100f` family.
pub static BLACKWELL: Architecture = Architecture {
    name: "Blackwell",
    ptx: include_str!("../ptx/nvfp4_dual_gemm.sm_100f.ptx"),
    ptx_variable: "NVFP4_PTX",
    ptx_version: (8, 8),
    cuda_version: (12, 9),
    compute_capabilities: &[(10, 0), (10, 3)],
    entries: KERNELS,
};

/// H100 and H200 (compute capability 9.0): PTX for `sm_90a`.
pub static HOPPER: Architecture = Architecture {
    name: "Hopper",
    ptx: include_str!("../ptx/nvfp4_dual_gemm.sm_90a.ptx"),
    ptx_variable: "NVFP4_HOPPER_PTX",
    ptx_version: (8, 6),
    cuda_version: (12, 7),
    compute_capabilities: &[(9, 0)],
    entries: hopper::KERNELS,
};

/// Every architecture that has kernels, the fastest first.
pub static ARCHITECTURES: [&Architecture; 2] = [&BLACKWELL, &HOPPER];

/// Compute capabilities, as (major, minor), that have kernels.
pub const COMPUTE_CAPABILITIES: &[(u32, u32)] = &[(9, 0), (10, 0), (10, 3)];

impl Architecture {
    /// The architecture of this compute capability, if it has kernels.
    pub fn of(compute_capability: (u32, u32)) -> Option<&'static Self> {
        ARCHITECTURES
            .into_iter()
            .find(|architecture| architecture.has(compute_capability))
    }

    /// Whether it runs on this compute capability.
    pub fn has(&self, compute_capability: (u32, u32)) -> bool {
        self.compute_capabilities.contains(&compute_capability)
    }

    /// Every entry of [`Self::ptx`]: those that compute tiles, and what they need to have run before.
    pub fn launches(&self) -> impl Iterator<Item = Launch> {
        let before = self.has((9, 0)).then_some(hopper::ACTIVATIONS);
        let tiles = self.entries.iter().map(|entry| entry.launch);
        before.into_iter().chain(tiles)
    }

    /// The entry with this design, tile and output, if there is one.
    pub fn find(
        &self,
        design: Option<hopper::Design>,
        tile_m: u32,
        tile_n: u32,
        output: Output,
    ) -> Option<&'static KernelEntry> {
        let sought = (design, tile_m, tile_n, output);
        self.entries
            .iter()
            .find(|entry| (entry.design, entry.tile_m, entry.tile_n, entry.output) == sought)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_has_every_entry_and_the_stated_version() {
        for (architecture, target) in [(&BLACKWELL, "sm_100f"), (&HOPPER, "sm_90a")] {
            let (major, minor) = architecture.ptx_version;
            let ptx = architecture.ptx;
            assert!(ptx.contains(&format!("\n.version {major}.{minor}\n")));
            assert!(ptx.contains(&format!("\n.target {target}\n")));
            for launch in architecture.launches() {
                assert!(
                    ptx.contains(&format!(".entry {}(", launch.name)),
                    "{}",
                    launch.name
                );
            }
        }
    }

    #[test]
    fn capabilities_are_those_of_the_architectures() {
        let mut all: Vec<_> = ARCHITECTURES
            .into_iter()
            .flat_map(|architecture| architecture.compute_capabilities)
            .copied()
            .collect();
        all.sort_unstable();
        assert_eq!(all, COMPUTE_CAPABILITIES);
        assert!(Architecture::of((8, 0)).is_none());
    }
}
