//! The shipped PTX and its entries, for launching through this crate or without it.
//!
//! Whoever embeds the PTX needs [`PTX`], one of [`ENTRIES`] and a [`DualGemmParams`]:
//!
//! 1. load [`PTX`] (`cuModuleLoadData`) and take the function [`KernelEntry::name`];
//! 2. allow it [`KernelEntry::dynamic_shared_bytes`]
//!    (`cuFuncSetAttribute`, `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`);
//! 3. encode three tensor maps as [`crate::plan::operand_map`] says;
//! 4. launch [`crate::plan::DualGemm::grid`] × [`KernelEntry::threads_per_cta`] threads with the
//!    parameter block as the one, by-value argument.

pub use nvfp4_dual_gemm_kernel::contract::{
    DualGemmParams, K_MULTIPLE, KERNELS as ENTRIES, KernelEntry, N_MULTIPLE, Output, TILE_K,
    TILE_M, TensorMap,
};

/// PTX for the `sm_100f` family: one text for B200 (compute capability 10.0) and B300 (10.3).
pub const PTX: &str = include_str!("../ptx/nvfp4_dual_gemm.sm_100f.ptx");

/// The PTX ISA version of [`PTX`], as (major, minor). Drivers from CUDA 12.9 on accept it.
pub const PTX_VERSION: (u32, u32) = (8, 8);

/// Compute capabilities, as (major, minor), that [`PTX`] runs on.
pub const COMPUTE_CAPABILITIES: &[(u32, u32)] = &[(10, 0), (10, 3)];

/// The entry with this N tile and output, if there is one.
pub fn find(tile_n: u32, output: Output) -> Option<&'static KernelEntry> {
    ENTRIES
        .iter()
        .find(|entry| entry.tile_n == tile_n && entry.output == output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptx_has_every_entry_and_the_stated_version() {
        let (major, minor) = PTX_VERSION;
        assert!(PTX.contains(&format!("\n.version {major}.{minor}\n")));
        assert!(PTX.contains("\n.target sm_100f\n"));
        for entry in ENTRIES {
            assert!(
                PTX.contains(&format!(".entry {}(", entry.name)),
                "{}",
                entry.name
            );
        }
    }
}
