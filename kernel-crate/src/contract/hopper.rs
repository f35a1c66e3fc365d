//! The Hopper kernels' part of the contract.
//!
//! Hopper's tensor core has no 4-bit kind. Every product of an e2m1 element and its ue4m3 scale factor
//! is an f16 number, so the kernel dequantises to f16 and multiplies with `wgmma`: the products are
//! exact, and only the order of the sum differs.
//!
//! Two entries make one dual GEMM. The first writes A as f16 into a workspace; the second multiplies.
//! Weights are dequantised in registers and are the M side of `wgmma`; tokens, rows of A, are the N
//! side, so that few tokens waste nothing.

use core::mem::{align_of, offset_of, size_of};

use super::{
    KernelEntry, Launch, Output, PARAM_ALIGNMENT, SHARED_BYTES_LIMIT, SWIZZLE_ATOM_BYTES, TensorMap,
};

/// Elements of K in one stage.
pub const STAGE_K: u32 = 128;
/// Elements of K that one `wgmma` of f16 consumes.
pub const WGMMA_K: u32 = 16;
/// Elements of K of an activation in one row of a 128-byte swizzle atom.
pub const ATOM_K: u32 = 64;

/// Rows of each weight matrix, columns of C, in a CTA's tile: the M of `wgmma`.
pub const TILE_N: u32 = 64;

/// The tile of C that one CTA computes, and who computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape {
    /// Rows of A and of C: the N of `wgmma`.
    pub tokens: u32,
    /// Warpgroups that share each stage's K, for each weight matrix: 1 or 2.
    pub k_shares: u32,
}

impl TileShape {
    /// Threads that multiply.
    pub const fn consumer_threads(self) -> u32 {
        2 * 128 * self.k_shares
    }

    /// Threads of a CTA: one warp of the last warpgroup loads.
    pub const fn threads(self) -> u32 {
        self.consumer_threads() + 128
    }
}

/// Registers of a thread that multiplies, with one and with two shares of K.
pub const CONSUMER_REGISTERS: [u32; 2] = [240, 112];
/// Registers of a thread that loads, or idles.
pub const PRODUCER_REGISTERS: u32 = 24;

/// The most CTAs that share the K of one tile, as a cluster.
pub const MAX_SPLIT_K: u32 = 4;

/// Bytes of one row of weights in a stage.
pub const WEIGHT_ROW_BYTES: u32 = STAGE_K / 2;
/// Bytes of one weight matrix's scale factors in a stage: two 128×4 tiles.
pub const WEIGHT_SCALE_BYTES: u32 = super::SCALE_TILE_BYTES * (STAGE_K / super::MMA_K);

/// Elements are dequantised to 2^-7 of their value (`dequantize.rs` says why), and so products are this
/// much too small. The epilogue makes up for it, exactly.
pub const PRODUCT_SCALE: f32 = 1.0 / 16_384.0;

/// Threads that arrive per phase on each barrier.
pub mod arrivals {
    /// `full`: the load thread's `arrive.expect_tx`; the copies add their bytes.
    pub const FULL: u32 = 1;
    /// `empty`: one thread of each warp that multiplies.
    pub const fn empty(shape: super::TileShape) -> u32 {
        shape.consumer_threads() / 32
    }
}

/// Byte offsets in a CTA's dynamic shared memory, with T tokens to a tile.
///
/// ```text
/// stage 0 │ A, K 0–63: T×128 B │ A, K 64–127 │ B1 64×64 B │ B2 64×64 B │ SFB1 1 KiB │ SFB2 1 KiB │
/// stage 1 │ …
/// full[stages] │ empty[stages]
/// ```
///
/// After the last stage the same memory holds the partial sums that a cluster adds up, and then the
/// tile of C on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPlan {
    pub stages: u32,
    pub stage_bytes: u32,
    /// Offsets within a stage.
    pub activations: u32,
    pub b1: u32,
    pub b2: u32,
    pub scale_b1: u32,
    pub scale_b2: u32,
    /// Offsets within the whole.
    pub full: u32,
    pub empty: u32,
    pub partial_sums: u32,
    pub output: u32,
    pub total_bytes: u32,
}

/// Bytes from token to token of an output tile on its way out. 16 more than its elements need, so that
/// eight tokens fall on different banks.
pub const OUTPUT_ROW_BYTES: u32 = 2 * TILE_N + 16;

impl SharedPlan {
    /// As many stages as fit beside their barriers.
    pub const fn new(shape: TileShape) -> Self {
        let activation_bytes = shape.tokens * STAGE_K * 2;
        let weight_bytes = TILE_N * WEIGHT_ROW_BYTES;
        let b2 = activation_bytes + weight_bytes;
        let scale_b1 = b2 + weight_bytes;
        let stage_bytes = scale_b1 + 2 * WEIGHT_SCALE_BYTES;
        let stages = SHARED_BYTES_LIMIT / (stage_bytes + 2 * 8);
        let full = stages * stage_bytes;
        let empty = full + stages * 8;
        Self {
            stages,
            stage_bytes,
            activations: 0,
            b1: activation_bytes,
            b2,
            scale_b1,
            scale_b2: scale_b1 + WEIGHT_SCALE_BYTES,
            full,
            empty,
            partial_sums: 0,
            output: shape.k_shares * 2 * TILE_N * shape.tokens * 4,
            total_bytes: empty + stages * 8,
        }
    }

    /// Bytes that arrive on a stage's `full` barrier when the stage holds `tiles` tiles of scale
    /// factors, 1 or 2.
    pub const fn transaction_bytes(&self, tiles: u32) -> u32 {
        self.scale_b1 + 2 * super::SCALE_TILE_BYTES * tiles
    }
}

/// Elements from row to row of the dequantised A: K, rounded up to whole stages.
pub const fn activation_columns(k: u32) -> u32 {
    k.div_ceil(STAGE_K) * STAGE_K
}

/// Where element `k` of a row of A goes in the workspace, within its 128 elements.
///
/// A thread of `wgmma` holds 4 of the 16 elements of a row of its A operand. Here it takes them from
/// 16 consecutive bytes of weights, so that one load and two scale factors serve eight `wgmma`s:
/// thread `q` of a quad has elements 32·q to 32·q + 31, in the order in which nibbles of a word unpack
/// to f16. The order of a sum's terms is free as long as both factors agree on it.
pub const fn activation_position(k: u32) -> u32 {
    let (quad_thread, word, nibble) = (k / 32, k % 32 / 8, k % 8);
    // Nibbles 0 and 2 of a word unpack to one register, as do 1 and 3, 4 and 6, 5 and 7.
    let (register, high) = (nibble % 2, nibble % 4 / 2);
    let step = 2 * word + nibble / 4;
    step * WGMMA_K + 8 * register + 2 * quad_thread + high
}

/// The one parameter of the entry that dequantises A.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ActivationParams {
    /// Device address of A, `[L, M, K]` packed e2m1, 16-byte aligned.
    pub elements: u64,
    /// Device address of its scale factors in 128×4 tiles.
    pub scales: u64,
    /// Device address of the workspace, `[L, M, activation_columns(K)]` f16 in the order of
    /// [`activation_position`], 16-byte aligned.
    pub workspace: u64,
    pub m: u32,
    pub k: u32,
    pub batch: u32,
    /// Fills the block up to a multiple of its alignment; 0.
    pub reserved: u32,
}

/// The one parameter of the entries that multiply.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HopperParams {
    /// The workspace as `[L, M, activation_columns(K)]` f16, box `[1, tokens, 64]`, 128-byte swizzle.
    pub activations: TensorMap,
    /// B1 and B2 as `[L, N, K / 2]` bytes, box `[1, tile_n, 64]`, not swizzled.
    pub b1: TensorMap,
    pub b2: TensorMap,
    /// Device addresses of scale factors in 128×4 tiles, 16-byte aligned.
    pub scale_b1: u64,
    pub scale_b2: u64,
    /// As in [`super::DualGemmParams`].
    pub output: u64,
    pub output2: u64,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub alpha1: f32,
    pub alpha2: f32,
    /// Fills the block up to a multiple of its alignment; 0.
    pub reserved: [u32; 3],
}

const _: () = {
    assert!(align_of::<HopperParams>() == 8);
    assert!(
        offset_of!(HopperParams, b1) % 64 == 0 && offset_of!(HopperParams, b2) % 64 == 0,
        "a tensor map needs 64-byte alignment"
    );
    assert!(size_of::<HopperParams>() == 448);
    assert!(size_of::<ActivationParams>() == 40);
};

/// Threads of a CTA of [`ACTIVATIONS`]; each dequantises 8 elements.
pub const ACTIVATION_THREADS: u32 = 256;

/// The entry that dequantises A. Grid: `[ceil(M · activation_columns(K) / 8 / 256), 1, L]`.
pub const ACTIVATIONS: Launch = Launch {
    name: "nvfp4_dual_gemm_hopper_activations",
    threads_per_cta: ACTIVATION_THREADS,
    min_ctas_per_sm: 1,
    cluster: [1, 1, 1],
    param_alignment: 8,
    dynamic_shared_bytes: 0,
};

const fn entry(name: &'static str, shape: TileShape, output: Output) -> KernelEntry {
    let shared = SharedPlan::new(shape);
    assert!(
        shared.stages >= 3,
        "a ring of fewer than three stages cannot hide the latency of a copy"
    );
    assert!(
        shared.stage_bytes.is_multiple_of(SWIZZLE_ATOM_BYTES),
        "swizzled tiles must start on a 1024-byte boundary"
    );
    assert!(
        shared.output + shape.tokens * OUTPUT_ROW_BYTES <= shared.full,
        "sums and output must fit where the stages were"
    );
    let at_launch = 65_536 / shape.threads() / 8 * 8;
    let consumer = CONSUMER_REGISTERS[shape.k_shares as usize - 1];
    assert!(
        shape.consumer_threads() * consumer + 128 * PRODUCER_REGISTERS
            <= shape.threads() * at_launch,
        "the roles share the registers that the CTA has at launch"
    );
    KernelEntry {
        launch: Launch {
            name,
            threads_per_cta: shape.threads(),
            min_ctas_per_sm: 1,
            cluster: [1, 1, 1],
            param_alignment: PARAM_ALIGNMENT,
            dynamic_shared_bytes: shared.total_bytes,
        },
        tile_m: shape.tokens,
        tile_n: TILE_N,
        output,
    }
}

/// The tile with this many tokens. With few, registers are free and four warpgroups hide each other's
/// latencies; with many, sums fill the registers of two.
pub const fn tile_shape(tokens: u32) -> TileShape {
    TileShape {
        tokens,
        k_shares: if tokens <= 64 { 2 } else { 1 },
    }
}

/// Every entry that multiplies. Grid: `[S · ceil(N / tile_n), ceil(M / tile_m), L]` in clusters of S
/// CTAs along x, S ∈ {1, 2, 4}, which share the K of a tile; K has at least S stages.
pub const KERNELS: &[KernelEntry] = &[
    entry("nvfp4_dual_gemm_hopper_m8_f16", tile_shape(8), Output::F16),
    entry(
        "nvfp4_dual_gemm_hopper_m16_f16",
        tile_shape(16),
        Output::F16,
    ),
    entry(
        "nvfp4_dual_gemm_hopper_m32_f16",
        tile_shape(32),
        Output::F16,
    ),
    entry(
        "nvfp4_dual_gemm_hopper_m64_f16",
        tile_shape(64),
        Output::F16,
    ),
    entry(
        "nvfp4_dual_gemm_hopper_m128_f16",
        tile_shape(128),
        Output::F16,
    ),
    entry(
        "nvfp4_dual_gemm_hopper_m256_f16",
        tile_shape(256),
        Output::F16,
    ),
    entry(
        "nvfp4_dual_gemm_hopper_m8_accumulators",
        tile_shape(8),
        Output::Accumulators,
    ),
    entry(
        "nvfp4_dual_gemm_hopper_m256_accumulators",
        tile_shape(256),
        Output::Accumulators,
    ),
];
