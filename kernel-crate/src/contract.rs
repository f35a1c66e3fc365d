//! What device and host must agree on: tile shapes, memory plans, barrier counts, the parameter
//! block, the entries.
//!
//! Everything here is plain arithmetic, so that the host plans a launch from the very numbers the
//! kernel was built with, and `const` assertions check them once for both.

pub mod conformance;
pub mod hopper;

use core::mem::{align_of, offset_of, size_of};

/// Rows of A, and of C, that one CTA computes: the M of `tcgen05.mma` with `cta_group::1`.
pub const TILE_M: u32 = 128;
/// Elements of K in one pipeline stage: 128 bytes of e2m1, one row of a 128-byte swizzle atom.
pub const TILE_K: u32 = 256;
/// Elements of K that one `tcgen05.mma` of kind `mxf4nvf4` consumes.
pub const MMA_K: u32 = 64;
/// MMAs per product in a full stage.
pub const MMAS_PER_STAGE: u32 = TILE_K / MMA_K;
/// Elements of K that share one scale factor.
pub const SCALE_BLOCK: u32 = 16;

/// N must be a multiple of this, so that rows of C stay 16-byte aligned.
pub const N_MULTIPLE: u32 = 8;
/// K must be a multiple of this: the K of one MMA.
pub const K_MULTIPLE: u32 = MMA_K;

/// Rows in a scale-factor tile.
pub const SCALE_TILE_ROWS: u32 = 128;
/// Bytes in a scale-factor tile: 128 rows × the 4 scale factors of one MMA's K.
pub const SCALE_TILE_BYTES: u32 = SCALE_TILE_ROWS * (MMA_K / SCALE_BLOCK);
/// Bytes of scale factors that one operand needs per stage.
pub const SCALE_STAGE_BYTES: u32 = SCALE_TILE_BYTES * MMAS_PER_STAGE;
/// Bytes of e2m1 in one row of a stage's operand tile.
pub const TILE_ROW_BYTES: u32 = TILE_K / 2;

/// Warps of a CTA by role: 0–3 epilogue (each owns the 32 TMEM lanes of its rank), 4 load, 5 MMA.
pub const EPILOGUE_WARPS: u32 = 4;
pub const LOAD_WARP: u32 = 4;
pub const MMA_WARP: u32 = 5;
pub const WARPS: u32 = 6;
pub const THREADS: u32 = 32 * WARPS;

/// Most shared memory that a CTA can have on sm_100 and sm_103, in bytes
/// (CUDA C++ programming guide, "Technical specifications per compute capability").
pub const SHARED_BYTES_LIMIT: u32 = 227 * 1024;
/// A 128-byte swizzle pattern repeats every 1024 bytes; tiles start on that boundary (PTX ISA
/// §9.7.16.4).
pub const SWIZZLE_ATOM_BYTES: u32 = 1024;
/// Columns of tensor memory per SM. A CTA takes all: its shared memory leaves no room for a second
/// CTA anyway.
pub const TMEM_COLUMNS: u32 = 512;

/// Threads that arrive per phase on each barrier.
pub mod arrivals {
    /// `full`: the load thread's `arrive.expect_tx`; the copies add their bytes.
    pub const FULL: u32 = 1;
    /// `empty`: one `tcgen05.commit` of the MMA thread.
    pub const EMPTY: u32 = 1;
    /// `accumulators`: the last `tcgen05.commit`.
    pub const ACCUMULATORS: u32 = 1;
}

/// Byte offsets in a CTA's dynamic shared memory.
///
/// ```text
/// stage 0 │ A 128×128 B │ B1 N×128 B │ B2 N×128 B │ SFA 2 KiB │ SFB1 2 KiB │ SFB2 2 KiB │
/// stage 1 │ …
/// full[stages] │ empty[stages] │ accumulators │ TMEM address
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPlan {
    pub stages: u32,
    pub stage_bytes: u32,
    /// Offsets within a stage.
    pub a: u32,
    pub b1: u32,
    pub b2: u32,
    pub scale_a: u32,
    pub scale_b1: u32,
    pub scale_b2: u32,
    /// Offsets within the whole.
    pub full: u32,
    pub empty: u32,
    pub accumulators: u32,
    pub tmem_address: u32,
    pub total_bytes: u32,
}

impl SharedPlan {
    /// As many stages as fit beside their barriers.
    pub const fn new(tile_n: u32) -> Self {
        let a_bytes = TILE_M * TILE_ROW_BYTES;
        let b_bytes = tile_n * TILE_ROW_BYTES;
        let scale_a = a_bytes + 2 * b_bytes;
        let stage_bytes = scale_a + 3 * SCALE_STAGE_BYTES;
        let per_stage = stage_bytes + 2 * 8;
        let fixed = 8 + 8;
        let stages = (SHARED_BYTES_LIMIT - fixed) / per_stage;
        let full = stages * stage_bytes;
        let empty = full + stages * 8;
        let accumulators = empty + stages * 8;
        let tmem_address = accumulators + 8;
        Self {
            stages,
            stage_bytes,
            a: 0,
            b1: a_bytes,
            b2: a_bytes + b_bytes,
            scale_a,
            scale_b1: scale_a + SCALE_STAGE_BYTES,
            scale_b2: scale_a + 2 * SCALE_STAGE_BYTES,
            full,
            empty,
            accumulators,
            tmem_address,
            total_bytes: tmem_address + 8,
        }
    }

    /// Bytes that arrive on a stage's `full` barrier when the stage holds `mmas` MMAs' worth of K.
    /// Tensor copies always credit their whole box, out-of-bounds elements included; scale factors
    /// are copied exactly.
    pub const fn transaction_bytes(&self, mmas: u32) -> u32 {
        self.scale_a + 3 * SCALE_TILE_BYTES * mmas
    }
}

/// Columns of tensor memory.
///
/// ```text
/// │ A·B1: N │ A·B2: N │ stage 0: SFA 16, SFB1 16, SFB2 16 │ stage 1: … │
/// ```
///
/// Each stage has scale-factor columns of its own. A slot is written again only after the stage's
/// `empty` barrier has told that the MMAs which read it are complete, so no ordering between
/// `tcgen05.mma` and a later `tcgen05.cp` is relied on, which the PTX ISA does not promise
/// (§9.7.16.6.2 lists the pipelined pairs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmemPlan {
    pub accumulator1: u32,
    pub accumulator2: u32,
    pub scales: u32,
    pub scale_columns_per_stage: u32,
    pub columns_used: u32,
}

/// Columns that the 128 × 4 scale factors of one MMA occupy (one 32-bit column per 32 rows).
pub const SCALE_COLUMNS: u32 = SCALE_TILE_ROWS / 32;
/// Columns of one operand's scale factors in a stage.
pub const SCALE_STAGE_COLUMNS: u32 = SCALE_COLUMNS * MMAS_PER_STAGE;

impl TmemPlan {
    pub const fn new(tile_n: u32) -> Self {
        let scales = 2 * tile_n;
        let scale_columns_per_stage = 3 * SCALE_STAGE_COLUMNS;
        Self {
            accumulator1: 0,
            accumulator2: tile_n,
            scales,
            scale_columns_per_stage,
            columns_used: scales + SharedPlan::new(tile_n).stages * scale_columns_per_stage,
        }
    }
}

/// The instruction descriptor of a 128 × `tile_n` × 64 `mxf4nvf4` MMA with ue4m3 scale factors (PTX
/// ISA §9.7.16.4.2).
pub const fn instruction_descriptor(tile_n: u32) -> u32 {
    const E2M1: u32 = 1;
    const SCALE_UE4M3: u32 = 0;
    let a_type = E2M1 << 7;
    let b_type = E2M1 << 10;
    let n = (tile_n >> 3) << 17;
    let scale_type = SCALE_UE4M3 << 23;
    let m = (TILE_M >> 7) << 27;
    a_type | b_type | n | scale_type | m
}

/// An opaque 128-byte TMA descriptor (`CUtensorMap`), made by `cuTensorMapEncodeTiled`.
///
/// It must lie on a 64-byte boundary. Rust's type is only 8-byte aligned because a by-value kernel
/// parameter of larger alignment is not compiled by rustc; [`PARAM_ALIGNMENT`] restores the
/// alignment in the PTX.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap(pub [u64; 16]);

/// Alignment of the parameter block in the parameter space, in bytes.
pub const PARAM_ALIGNMENT: u32 = 64;

/// The one parameter of every entry, passed by value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DualGemmParams {
    /// A as `[L, M, K]` e2m1, box `[1, TILE_M, TILE_K]`, 128-byte swizzle.
    pub a: TensorMap,
    /// B1 and B2 as `[L, N, K]` e2m1, box `[1, tile N, TILE_K]`, 128-byte swizzle.
    pub b1: TensorMap,
    pub b2: TensorMap,
    /// Device addresses of scale factors in 128×4 tiles, `[L, ceil(rows / 128), K / 64, 512]`
    /// bytes, 16-byte aligned.
    pub scale_a: u64,
    pub scale_b1: u64,
    pub scale_b2: u64,
    /// Device address of the output `[L, M, N]`, 16-byte aligned: C for [`Output::F16`], the f32
    /// accumulators of A·B1 for [`Output::Accumulators`].
    pub output: u64,
    /// Device address of the f32 accumulators of A·B2 for [`Output::Accumulators`]; else 0.
    pub output2: u64,
    /// Rows of A and of C.
    pub m: u32,
    /// Rows of B1 and B2, columns of C; a multiple of [`N_MULTIPLE`].
    pub n: u32,
    /// Columns of A, B1 and B2; a multiple of [`K_MULTIPLE`].
    pub k: u32,
    /// Multiplies A·B1ᵀ; not used for [`Output::Accumulators`].
    pub alpha1: f32,
    /// Multiplies A·B2ᵀ; not used for [`Output::Accumulators`].
    pub alpha2: f32,
    /// Fills the block up to a multiple of its alignment; 0.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<TensorMap>() == 128, "a CUtensorMap is 128 bytes");
    assert!(
        align_of::<DualGemmParams>() == 8,
        "rustc does not compile by-value kernel parameters aligned above 16 bytes"
    );
    assert!(
        offset_of!(DualGemmParams, a) % PARAM_ALIGNMENT as usize == 0
            && offset_of!(DualGemmParams, b1) % PARAM_ALIGNMENT as usize == 0
            && offset_of!(DualGemmParams, b2) % PARAM_ALIGNMENT as usize == 0,
        "a tensor map needs 64-byte alignment"
    );
    assert!(
        size_of::<DualGemmParams>() == 448,
        "the parameter block has no hidden padding"
    );
};

/// What an entry writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// `silu(alpha1·A·B1ᵀ) ⊙ (alpha2·A·B2ᵀ)` in f16.
    F16,
    /// Both products as the tensor core left them, f32, before alphas: for checking the arithmetic
    /// of a device.
    Accumulators,
}

/// How to launch an entry.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    /// The entry's name in the PTX. Part of the interface: ptxas schedules by it too, it changes
    /// only on purpose.
    pub name: &'static str,
    /// Block dimension x; y and z are 1.
    pub threads_per_cta: u32,
    /// CTAs that must fit one SM, which bounds the registers of a thread.
    pub min_ctas_per_sm: u32,
    /// CTAs of a cluster along x, y and z, where the entry has a fixed number.
    pub cluster: [u32; 3],
    /// Alignment of the parameter block, in bytes.
    pub param_alignment: u32,
    /// Dynamic shared memory of a CTA, in bytes. More than a function gets unasked: see
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
    pub dynamic_shared_bytes: u32,
}

/// One kernel entry that computes tiles of the output.
///
/// Grid on Blackwell: `[ceil(M / tile_m), ceil(N / tile_n), L]`; M runs fastest so that CTAs which
/// share a tile of B1 and B2 are neighbours and meet in L2.
#[derive(Clone, Copy, Debug)]
pub struct KernelEntry {
    /// How to launch it.
    pub launch: Launch,
    /// Which of the designs for Hopper; `None` on Blackwell.
    pub design: Option<hopper::Design>,
    /// Rows and columns of C that one CTA computes.
    pub tile_m: u32,
    pub tile_n: u32,
    /// What it writes, and how many output buffers it takes.
    pub output: Output,
}

impl KernelEntry {
    /// The tile, in the terms of the kernels for Hopper; `None` on Blackwell.
    pub const fn hopper_shape(&self) -> Option<hopper::TileShape> {
        match self.design {
            Some(design) => Some(hopper::TileShape {
                design,
                tokens: self.tile_m,
            }),
            None => None,
        }
    }
}

const fn entry(name: &'static str, tile_n: u32, output: Output) -> KernelEntry {
    let shared = SharedPlan::new(tile_n);
    assert!(
        shared.stages >= 3,
        "a ring of fewer than three stages cannot hide the latency of a copy"
    );
    assert!(
        shared.total_bytes <= SHARED_BYTES_LIMIT,
        "shared memory exceeds the limit"
    );
    assert!(
        shared.stage_bytes.is_multiple_of(SWIZZLE_ATOM_BYTES)
            && shared.b1.is_multiple_of(SWIZZLE_ATOM_BYTES)
            && shared.b2.is_multiple_of(SWIZZLE_ATOM_BYTES),
        "swizzled tiles must start on a 1024-byte boundary"
    );
    assert!(
        TmemPlan::new(tile_n).columns_used <= TMEM_COLUMNS,
        "tensor memory exceeds its columns"
    );
    assert!(
        tile_n.is_multiple_of(32) && SCALE_TILE_ROWS.is_multiple_of(tile_n),
        "an N tile must start on a column of scale factors and stay inside one scale-factor tile"
    );
    KernelEntry {
        launch: Launch {
            name,
            threads_per_cta: THREADS,
            min_ctas_per_sm: 1,
            cluster: [1, 1, 1],
            param_alignment: PARAM_ALIGNMENT,
            dynamic_shared_bytes: shared.total_bytes,
        },
        design: None,
        tile_m: TILE_M,
        tile_n,
        output,
    }
}

/// Every entry of the PTX for Blackwell.
pub const KERNELS: &[KernelEntry] = &[
    entry("nvfp4_dual_gemm_n64_f16", 64, Output::F16),
    entry("nvfp4_dual_gemm_n128_f16", 128, Output::F16),
    entry("nvfp4_dual_gemm_n64_accumulators", 64, Output::Accumulators),
    entry(
        "nvfp4_dual_gemm_n128_accumulators",
        128,
        Output::Accumulators,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_fill_shared_memory() {
        assert_eq!(SharedPlan::new(64).stages, 5);
        assert_eq!(SharedPlan::new(128).stages, 4);
        for tile_n in [64, 128] {
            let plan = SharedPlan::new(tile_n);
            assert!(plan.total_bytes <= SHARED_BYTES_LIMIT);
            assert!(
                plan.total_bytes + plan.stage_bytes > SHARED_BYTES_LIMIT,
                "one more stage would fit"
            );
        }
    }

    /// Values published for CUTLASS' descriptors of the same shapes.
    #[test]
    fn instruction_descriptors() {
        assert_eq!(instruction_descriptor(128), 0x0820_0480);
        assert_eq!(instruction_descriptor(192), 0x0830_0480);
        assert_eq!(instruction_descriptor(256), 0x0840_0480);
    }

    #[test]
    fn transactions_cover_a_stage() {
        for tile_n in [64, 128] {
            let plan = SharedPlan::new(tile_n);
            assert_eq!(plan.transaction_bytes(MMAS_PER_STAGE), plan.stage_bytes);
            assert_eq!(
                plan.transaction_bytes(1),
                plan.stage_bytes - 3 * 3 * SCALE_TILE_BYTES
            );
        }
    }
}
