//! The NVFP4 gated dual GEMM for NVIDIA Blackwell: `C = silu(alpha1·A·B1ᵀ) ⊙ (alpha2·A·B2ᵀ)`.
//!
//! For `nvptx64` this crate is the device program; for any other target it is a small library: the
//! [`contract`] that the host plans a launch with, and the [`silu`] arithmetic, which is tested
//! there.
//!
//! | entry | N tile | writes |
//! |---|---|---|
//! | `nvfp4_dual_gemm_n64_f16` | 64 | C, f16 |
//! | `nvfp4_dual_gemm_n128_f16` | 128 | C, f16 |
//! | `nvfp4_dual_gemm_n64_accumulators` | 64 | both products, f32, before alphas |
//! | `nvfp4_dual_gemm_n128_accumulators` | 128 | both products, f32, before alphas |
//!
//! | `nvfp4_dual_gemm_hopper_activations` | | A in f16, for the next two |
//! | `nvfp4_dual_gemm_hopper_prefill_m{128,256}_f16` | 64 | C, f16; M tile of 128 and 256 |
//! | `nvfp4_dual_gemm_hopper_decode_m{8,16,32,64,128}_f16` | 64 | C, f16; M tile of 8 to 128 |
//! | `nvfp4_dual_gemm_hopper_{decode_m8,prefill_m256}_accumulators` | 64 | both products, f32, before alphas |
//!
//! Read `blackwell::kernel` first: it is the table of contents of the kernel. Hopper's are
//! `hopper::decode` and `hopper::prefill`.

#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]
#![cfg_attr(target_arch = "nvptx64", allow(named_asm_labels))]

pub mod contract;
pub mod silu;

#[cfg(target_arch = "nvptx64")]
#[macro_use]
#[allow(dead_code, unused_macros, reason = "each PTX uses its part")]
mod ptx;
#[cfg(all(target_arch = "nvptx64", not(feature = "conformance")))]
mod scales;

// One crate, one PTX for each architecture: `-Ctarget-cpu` says which. The conformance kernels are a
// PTX of their own.
#[cfg(all(target_arch = "nvptx64", not(target_feature = "sm_90a")))]
mod blackwell;
#[cfg(all(
    target_arch = "nvptx64",
    target_feature = "sm_90a",
    not(feature = "conformance")
))]
mod hopper;
#[cfg(all(target_arch = "nvptx64", not(target_feature = "sm_90a")))]
mod pipeline;

#[cfg(target_arch = "nvptx64")]
macro_rules! entry {
    ($name:ident, $params:ty, $body:expr) => {
        /// # Safety
        /// Launched as its [`crate::contract::KernelEntry`] says, with a parameter block whose
        /// tensor maps and device pointers are valid for the shape it states.
        #[cfg_attr(feature = "rust-cuda", cuda_std::kernel)]
        #[cfg_attr(not(feature = "rust-cuda"), unsafe(no_mangle))]
        pub unsafe extern "ptx-kernel" fn $name(params: $params) {
            let block = param_block_address!($name);
            // SAFETY: the caller's contract; `block` is the address of `params` itself.
            #[allow(
                unused_unsafe,
                reason = "conformance kernels are closures without a contract"
            )]
            unsafe {
                $body(&params, block)
            }
        }
    };
}

// After the macro that defines an entry.
#[cfg(all(target_arch = "nvptx64", feature = "conformance"))]
mod conformance;

#[cfg(all(target_arch = "nvptx64", not(target_feature = "sm_90a")))]
mod blackwell_entries {
    use crate::blackwell::epilogue::{Accumulators, GatedF16};
    use crate::blackwell::kernel::dual_gemm;
    use crate::contract::DualGemmParams;

    entry!(
        nvfp4_dual_gemm_n64_f16,
        DualGemmParams,
        dual_gemm::<64, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_n128_f16,
        DualGemmParams,
        dual_gemm::<128, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_n64_accumulators,
        DualGemmParams,
        dual_gemm::<64, Accumulators>
    );
    entry!(
        nvfp4_dual_gemm_n128_accumulators,
        DualGemmParams,
        dual_gemm::<128, Accumulators>
    );
}

#[cfg(all(
    target_arch = "nvptx64",
    target_feature = "sm_90a",
    not(feature = "conformance")
))]
mod hopper_entries {
    use crate::contract::hopper::{ActivationParams, HopperParams};
    use crate::hopper::config::{
        DecodeM8, DecodeM16, DecodeM32, DecodeM64, DecodeM128, PrefillM128, PrefillM256,
    };
    use crate::hopper::epilogue::{Accumulators, GatedF16};
    use crate::hopper::{activations, decode, prefill};

    entry!(
        nvfp4_dual_gemm_hopper_activations,
        ActivationParams,
        |params, _| activations::run(params)
    );
    entry!(
        nvfp4_dual_gemm_hopper_decode_m8_f16,
        HopperParams,
        decode::dual_gemm::<DecodeM8, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_decode_m16_f16,
        HopperParams,
        decode::dual_gemm::<DecodeM16, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_decode_m32_f16,
        HopperParams,
        decode::dual_gemm::<DecodeM32, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_decode_m64_f16,
        HopperParams,
        decode::dual_gemm::<DecodeM64, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_decode_m128_f16,
        HopperParams,
        decode::dual_gemm::<DecodeM128, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_prefill_m128_f16,
        HopperParams,
        prefill::dual_gemm::<PrefillM128, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_prefill_m256_f16,
        HopperParams,
        prefill::dual_gemm::<PrefillM256, GatedF16>
    );
    entry!(
        nvfp4_dual_gemm_hopper_decode_m8_accumulators,
        HopperParams,
        decode::dual_gemm::<DecodeM8, Accumulators>
    );
    entry!(
        nvfp4_dual_gemm_hopper_prefill_m256_accumulators,
        HopperParams,
        prefill::dual_gemm::<PrefillM256, Accumulators>
    );
}

#[cfg(all(target_arch = "nvptx64", not(feature = "rust-cuda")))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    ptx::trap()
}
