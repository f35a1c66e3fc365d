//! The Hopper kernels' part of the contract.
//!
//! Hopper's tensor core has no 4-bit kind. Every product of an e2m1 element and its ue4m3 scale factor
//! is an f16 number, so the kernels dequantise to f16 and multiply with `wgmma`: the products are
//! exact, and only the order of the sum differs.
//!
//! Weights are dequantised in registers and are the M side of `wgmma`; tokens, rows of A, are the N
//! side, so that few tokens waste nothing. There are two designs:
//!
//! - **decode**, for tiles of up to 128 tokens: warps of the same CTA dequantise A, and a cluster may
//!   share the K of a tile;
//! - **prefill**, for tiles of 128 and 256 tokens, bound by arithmetic: a first grid writes A as f16
//!   into a workspace, and the two CTAs of a cluster each fetch half of a tile's tokens for both.

use core::mem::{align_of, offset_of, size_of};

use super::{
    KernelEntry, Launch, MMA_K, Output, PARAM_ALIGNMENT, SCALE_TILE_BYTES, SWIZZLE_ATOM_BYTES,
    TensorMap,
};

/// Elements of K in one stage of weights: 128 bytes, a row of a 128-byte swizzle atom.
pub const STAGE_K: u32 = 256;
/// Elements of K in one slot of activations: 128 bytes of f16, a row of a 128-byte swizzle atom.
pub const SLOT_K: u32 = 64;
/// Stages that the loop over K multiplies before it repeats: once around both rings, so that places in
/// them are constants.
pub const STAGES_PER_ROUND: u32 = 4;
/// Slots that hold the activations of one stage.
pub const SLOTS_PER_STAGE: u32 = STAGE_K / SLOT_K;
/// Elements of K that one `wgmma` of f16 consumes.
pub const WGMMA_K: u32 = 16;
/// Bytes of one row of a stage's weights or of a slot's activations.
pub const ROW_BYTES: u32 = 128;

/// Columns of C in a CTA's tile.
pub const TILE_N: u32 = 64;
/// Warps whose sums make up a tile. Each has 8 columns of C, the rows of B1 and of B2 for them.
pub const COLUMN_WARPS: u32 = 8;
/// Columns of C that one warp computes.
pub const COLUMNS_PER_WARP: u32 = TILE_N / COLUMN_WARPS;

/// Bytes of one matrix's weights in a stage.
pub const WEIGHT_BYTES: u32 = TILE_N * ROW_BYTES;
/// Bytes of one operand's scale factors in a stage: four 128×4 tiles.
pub const SCALE_BYTES: u32 = SCALE_TILE_BYTES * (STAGE_K / MMA_K);

/// The most CTAs that share the K of one tile, as a cluster.
pub const MAX_SPLIT_K: u32 = 4;
/// CTAs of a cluster of the prefill design: neighbours along N, with the same tokens.
pub const PREFILL_CLUSTER: u32 = 2;

/// Elements are dequantised to 2^-7 of their value (`dequantize.rs` says why), and so products are this
/// much too small. The epilogue makes up for it, exactly.
pub const PRODUCT_SCALE: f32 = 1.0 / 16_384.0;

/// Where a tile's activations come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// Dequantised by the CTA itself.
    Decode,
    /// Dequantised by a grid before.
    Prefill,
}

/// The tile of C that one CTA computes: [`TILE_N`] columns and this many tokens, the N of `wgmma`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileShape {
    pub design: Design,
    pub tokens: u32,
}

impl TileShape {
    /// A tile of the decode design: 8, 16, 32, 64 or 128 tokens.
    pub const fn decode(tokens: u32) -> Self {
        Self {
            design: Design::Decode,
            tokens,
        }
    }

    /// A tile of the prefill design: 128 or 256 tokens.
    pub const fn prefill(tokens: u32) -> Self {
        Self {
            design: Design::Prefill,
            tokens,
        }
    }

    /// Tokens that a warp dequantises at a time, a row of a slot to a lane.
    pub const fn tokens_per_warp(self) -> u32 {
        32 / self.slots_per_piece()
    }

    /// Groups of tokens that different warps dequantise.
    pub const fn token_groups(self) -> u32 {
        self.tokens / self.tokens_per_warp()
    }

    /// Pieces of slots for the activations of one stage.
    pub const fn pieces_per_stage(self) -> u32 {
        SLOTS_PER_STAGE / self.slots_per_piece()
    }

    /// Pieces of slots that are dequantised at a time, by different warps.
    ///
    /// A warp always fills the same places of the rings, and so is never more than one phase from their
    /// barriers.
    const fn pieces_unpacked_at_once(self) -> u32 {
        let pieces = self.depths().slots;
        let at_most = self.max_dequantize_warps() / self.token_groups();
        if pieces < at_most { pieces } else { at_most }
    }

    /// Pieces of a stage that one warp dequantises, one after the other.
    pub const fn turns_per_stage(self) -> u32 {
        self.pieces_per_stage()
            .div_ceil(self.pieces_unpacked_at_once())
    }

    /// Warps that dequantise the activations of one stage.
    pub const fn warps_per_stage(self) -> u32 {
        self.token_groups() * self.pieces_per_stage() / self.turns_per_stage()
    }

    /// Stages of activations that are dequantised at a time, by different warps.
    pub const fn stages_unpacked_at_once(self) -> u32 {
        self.dequantize_warps() / self.warps_per_stage()
    }

    /// Warps that dequantise activations.
    pub const fn dequantize_warps(self) -> u32 {
        self.pieces_unpacked_at_once() * self.token_groups()
    }

    /// The most CTAs that share the K of one tile, as a cluster.
    pub const fn max_split_k(self) -> u32 {
        match self.design {
            Design::Decode if self.tokens <= 64 => MAX_SPLIT_K,
            // There is no shared memory for the sums of more.
            Design::Decode => 2,
            Design::Prefill => 1,
        }
    }

    /// CTAs that an SM has room for. Where it is two, one grid's weights come while the grid before finishes.
    pub const fn ctas_per_sm(self) -> u32 {
        match self.design {
            Design::Decode if self.tokens <= 16 => 2,
            _ => 1,
        }
    }

    /// Stages of weights that a CTA of the decode design has still to ask for when it lets the next grid in.
    ///
    /// Measured: the copies of that grid are to come behind the last of this one's, and no later (ARCHITECTURE.md).
    pub const fn stages_behind_dependents(self) -> u32 {
        match self.ctas_per_sm() {
            2 => 2,
            _ => 0,
        }
    }

    /// Threads of a CTA, whole warpgroups. After the warps that multiply come, in the decode design, those
    /// that dequantise; last two that copy.
    pub const fn threads(self) -> u32 {
        (32 * (self.first_copy_warp() + 2)).next_multiple_of(128)
    }

    /// Warps that could dequantise activations.
    const fn max_dequantize_warps(self) -> u32 {
        match self.design {
            // One warpgroup with those that copy.
            Design::Decode if self.ctas_per_sm() == 2 => 2,
            Design::Decode => 8,
            Design::Prefill => 0,
        }
    }

    /// Whether warps that dequantise and warps that copy are of one warpgroup.
    pub const fn copies_beside_dequantizing(self) -> bool {
        !self.first_copy_warp().is_multiple_of(4)
    }

    /// The first of the warps that copy.
    pub const fn first_copy_warp(self) -> u32 {
        COLUMN_WARPS + self.max_dequantize_warps()
    }

    /// Registers of a thread that multiplies.
    pub const fn consumer_registers(self) -> u32 {
        match self.design {
            Design::Decode if self.ctas_per_sm() == 2 => 96,
            Design::Decode => 152,
            Design::Prefill => 240,
        }
    }

    /// Registers of a thread that dequantises.
    pub const fn dequantize_registers(self) -> u32 {
        if self.copies_beside_dequantizing() {
            self.copy_registers()
        } else {
            64
        }
    }

    /// Registers of a thread that copies.
    pub const fn copy_registers(self) -> u32 {
        match self.design {
            Design::Decode => 48,
            Design::Prefill => 24,
        }
    }

    /// Slots that are filled and given back together: those of a stage, where they are small. In the prefill design two,
    /// for half as many waits and arrivals on the other CTA's barriers (H200, M = 256: 3 % less time); slots of 256 tokens
    /// are large, and pieces of two would leave a ring of two.
    pub const fn slots_per_piece(self) -> u32 {
        match self.design {
            Design::Decode if self.tokens <= 64 => SLOTS_PER_STAGE,
            Design::Prefill if self.tokens <= 128 => 2,
            _ => 1,
        }
    }

    /// Pieces of the rings.
    const fn depths(self) -> Depths {
        let (packed, slots) = match (self.design, self.tokens) {
            (Design::Decode, 8) => (4, 4),
            (Design::Decode, 16) => (2, 2),
            (Design::Decode, 32 | 64) => (4, 2),
            (Design::Decode, _) => (2, 4),
            (Design::Prefill, _) => (0, 4),
        };
        Depths { packed, slots }
    }
}

/// Stages of weights of every tile.
const STAGES: u32 = 4;

/// Bytes of shared memory of an SM, and what it keeps back for each of its CTAs (CUDA C++ programming guide,
/// "Compute capability 9.0").
const SM_SHARED_BYTES: u32 = 228 * 1024;
const RESERVED_SHARED_BYTES: u32 = 1024;

/// Stages of packed activations, and pieces of dequantised ones.
struct Depths {
    packed: u32,
    slots: u32,
}

/// Threads that arrive per phase on each barrier.
pub mod arrivals {
    use super::{COLUMN_WARPS, Design, PREFILL_CLUSTER, TileShape};

    /// `full` of a stage: the load thread's `arrive.expect_tx`; the copies add their bytes.
    pub const STAGE_FULL: u32 = 1;

    /// `empty` of a stage: one thread of each warp that multiplies.
    pub const STAGE_EMPTY: u32 = COLUMN_WARPS;

    /// `full` of a stage of packed activations: the load thread's `arrive.expect_tx`.
    pub const PACKED_FULL: u32 = 1;

    /// `empty` of a stage of packed activations: one thread of each warp that dequantises it.
    pub const fn packed_empty(shape: TileShape) -> u32 {
        shape.warps_per_stage()
    }

    /// `full` of a piece of slots: one thread of each warp that writes it; or the load thread's
    /// `arrive.expect_tx`.
    pub const fn slot_full(shape: TileShape) -> u32 {
        match shape.design {
            Design::Decode => shape.token_groups(),
            Design::Prefill => 1,
        }
    }

    /// `empty` of a piece of slots: one thread of each warp that multiplies it, in every CTA that its
    /// activations were copied to.
    pub const fn slot_empty(shape: TileShape) -> u32 {
        match shape.design {
            Design::Decode => COLUMN_WARPS,
            Design::Prefill => COLUMN_WARPS * PREFILL_CLUSTER,
        }
    }

    /// `sums`: one `arrive.expect_tx`; the sums of the other CTAs add their bytes.
    pub const SUMS: u32 = 1;
}

/// A ring of equal pieces of shared memory, by byte offsets, each with a barrier that tells when it is
/// full and one that tells when it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingPlan {
    pub count: u32,
    /// Bytes of a piece.
    pub bytes: u32,
    pub first: u32,
    pub full: u32,
    pub empty: u32,
}

impl RingPlan {
    /// `count` pieces from `first` on, with the barriers from `full` on.
    const fn new(count: u32, bytes: u32, first: u32, full: u32) -> Self {
        Self {
            count,
            bytes,
            first,
            full,
            empty: full + 8 * count,
        }
    }

    /// Behind the barriers.
    const fn end(self) -> u32 {
        self.empty + 8 * self.count
    }
}

/// Byte offsets in a CTA's dynamic shared memory, with T tokens to a tile.
///
/// ```text
/// stage 0 │ B1 64×128 B │ B2 64×128 B │ SFB1 2 KiB │ SFB2 2 KiB │
/// stage 1 │ …
/// slot 0  │ A as f16, T×128 B │
/// slot 1  │ …
/// decode: A as in memory, stage 0 │ T×128 B │ SFA 2 KiB │
///                         stage 1 │ …
/// decode: partial sums of other CTAs
/// full[], empty[] of stages, of slots, of packed activations │ decode: sums
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPlan {
    pub stages: RingPlan,
    pub slots: RingPlan,
    pub packed: RingPlan,
    /// Offsets within a stage.
    pub b1: u32,
    pub b2: u32,
    pub scale_b1: u32,
    pub scale_b2: u32,
    /// Offset within a stage of packed activations.
    pub scale_a: u32,
    /// Offsets within the whole.
    pub partial_sums: u32,
    pub sums: u32,
    pub total_bytes: u32,
}

impl SharedPlan {
    pub const fn new(shape: TileShape) -> Self {
        let b2 = WEIGHT_BYTES;
        let scale_b1 = b2 + WEIGHT_BYTES;
        let scale_b2 = scale_b1 + SCALE_BYTES;
        let stage_bytes = scale_b2 + SCALE_BYTES;
        let slot_bytes = shape.tokens * ROW_BYTES;
        let piece_bytes = shape.slots_per_piece() * slot_bytes;
        let packed_bytes = slot_bytes + SCALE_BYTES;
        let depths = shape.depths();
        let first_slot = STAGES * stage_bytes;
        let first_packed = first_slot + depths.slots * piece_bytes;
        let partial_sums = first_packed + depths.packed * packed_bytes;
        let stages_full = match shape.design {
            Design::Decode => partial_sums + partial_sum_bytes(shape.tokens, shape.max_split_k()),
            Design::Prefill => partial_sums,
        };
        let stages = RingPlan::new(STAGES, stage_bytes, 0, stages_full);
        let slots = RingPlan::new(depths.slots, piece_bytes, first_slot, stages.end());
        let packed = RingPlan::new(depths.packed, packed_bytes, first_packed, slots.end());
        let sums = packed.end();
        Self {
            stages,
            slots,
            packed,
            b1: 0,
            b2,
            scale_b1,
            scale_b2,
            scale_a: slot_bytes,
            partial_sums,
            sums,
            total_bytes: sums + 8,
        }
    }

    /// Bytes that arrive on a stage's `full` barrier when the stage holds `tiles` tiles of scale
    /// factors, 1 to 4. Tensor copies always credit their whole box, out-of-bounds elements included;
    /// scale factors are copied exactly.
    pub const fn stage_transaction_bytes(tiles: u32) -> u32 {
        2 * (WEIGHT_BYTES + SCALE_TILE_BYTES * tiles)
    }

    /// As [`Self::stage_transaction_bytes`], of a stage of packed activations.
    pub const fn packed_transaction_bytes(self, tiles: u32) -> u32 {
        self.scale_a + SCALE_TILE_BYTES * tiles
    }
}

/// Bytes of the partial sums that a CTA of a cluster of `split_k` gets: both products of its share of the
/// tile, from every other CTA.
pub const fn partial_sum_bytes(tokens: u32, split_k: u32) -> u32 {
    tokens * TILE_N * 2 * 4 / split_k * (split_k - 1)
}

/// Rows of the dequantised A: M, rounded up to whole tiles of `tokens`. A copy of rows that are not there takes TMA longer than one
/// of zeros (M = 300 on an H100: 109 µs, more than 400 or 512).
pub const fn activation_rows(m: u32, tokens: u32) -> u32 {
    m.next_multiple_of(tokens)
}

/// Elements from row to row of the dequantised A: K, rounded up to whole stages.
pub const fn activation_columns(k: u32) -> u32 {
    k.div_ceil(STAGE_K) * STAGE_K
}

/// Where element `k` of a stage's 256 activations goes, in the four slots one after the other.
///
/// A thread of `wgmma` holds 4 of the 16 elements of a row of its A operand. Here it takes them from
/// 32 consecutive bytes of weights, so that two loads and one word of scale factors serve sixteen
/// `wgmma`s: thread `q` of a quad has elements 64·q to 64·q + 63, a scale-factor block to a slot, in
/// the order in which nibbles of a word unpack to f16. The order of a sum's terms is free as long as
/// both factors agree on it.
pub const fn activation_position(k: u32) -> u32 {
    let (quad_thread, word, nibble) = (k / 64, k % 64 / 8, k % 8);
    // Nibbles 0 and 4 of a word unpack to one register, as do 1 and 5, 2 and 6, 3 and 7.
    let (register, high) = (nibble % 2, nibble / 4);
    let step = 2 * word + nibble / 2 % 2;
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
    /// Device address of the workspace, `[L, rows, activation_columns(K)]` f16 in the order of
    /// [`activation_position`], 16-byte aligned.
    pub workspace: u64,
    pub m: u32,
    pub k: u32,
    pub batch: u32,
    /// Of the workspace: M, rounded up to whole tiles. Those beyond M get zeros.
    pub rows: u32,
}

/// The one parameter of the entries that multiply.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct HopperParams {
    /// A, with a 128-byte swizzle. Decode: as `[L, M, K / 2]` bytes, box `[1, tokens, 128]`. Prefill: the
    /// workspace as `[L, rows, activation_columns(K)]` f16, box `[1, tokens / 2, 64]`.
    pub activations: TensorMap,
    /// B1 and B2 as `[L, N, K / 2]` bytes, box `[1, tile_n, 128]`, 128-byte swizzle.
    pub b1: TensorMap,
    pub b2: TensorMap,
    /// Device addresses of scale factors in 128×4 tiles, 16-byte aligned. The decode design alone reads
    /// those of A.
    pub scale_a: u64,
    pub scale_b1: u64,
    pub scale_b2: u64,
    /// As in [`super::DualGemmParams`].
    pub output: u64,
    pub output2: u64,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    /// Number of dual GEMMs, L.
    pub batch: u32,
    pub alpha1: f32,
    pub alpha2: f32,
    /// Fills the block up to a multiple of its alignment; 0.
    pub reserved: [u32; 16],
}

const _: () = {
    assert!(align_of::<HopperParams>() == 8);
    assert!(
        offset_of!(HopperParams, b1) % 64 == 0 && offset_of!(HopperParams, b2) % 64 == 0,
        "a tensor map needs 64-byte alignment"
    );
    assert!(
        size_of::<HopperParams>() == 512,
        "the parameter block has no hidden padding"
    );
    assert!(size_of::<ActivationParams>() == 40);
};

/// Threads of a CTA of [`ACTIVATIONS`]; each dequantises 64 elements.
pub const ACTIVATION_THREADS: u32 = 256;
/// Elements that a thread of [`ACTIVATIONS`] dequantises.
pub const ACTIVATION_ELEMENTS: u32 = 64;

/// The entry that dequantises A. Grid: `[ceil(rows · activation_columns(K) / 64 / 256), 1, L]`.
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
        shared.stages.count >= 3,
        "a ring of fewer than three stages cannot hide the latency of a copy"
    );
    assert!(
        shape.ctas_per_sm() * (shared.total_bytes + RESERVED_SHARED_BYTES) <= SM_SHARED_BYTES,
        "shared memory exceeds what an SM has for its CTAs"
    );
    assert!(
        shared.stages.bytes.is_multiple_of(SWIZZLE_ATOM_BYTES)
            && shared.slots.first.is_multiple_of(SWIZZLE_ATOM_BYTES)
            && shared.slots.bytes.is_multiple_of(SWIZZLE_ATOM_BYTES)
            && shared.packed.first.is_multiple_of(SWIZZLE_ATOM_BYTES)
            && shared.packed.bytes.is_multiple_of(SWIZZLE_ATOM_BYTES),
        "swizzled tiles must start on a 1024-byte boundary"
    );
    assert!(
        matches!(shape.design, Design::Prefill)
            || (shared.slots.count).is_multiple_of(shape.pieces_unpacked_at_once())
                && (shared.packed.count).is_multiple_of(shape.stages_unpacked_at_once()),
        "warps that dequantise always read and fill the same places"
    );
    assert!(
        SLOTS_PER_STAGE.is_multiple_of(shape.slots_per_piece()),
        "no piece of slots is of two stages"
    );
    assert!(
        STAGES_PER_ROUND.is_multiple_of(shared.stages.count)
            && (SLOTS_PER_STAGE * STAGES_PER_ROUND)
                .is_multiple_of(shared.slots.count * shape.slots_per_piece()),
        "a round of the loop goes around the rings"
    );
    // Each of an SM's four parts has 16,384 registers and a quarter of the warps.
    let at_launch = 16_384 / (shape.ctas_per_sm() * shape.threads() / 4) / 8 * 8;
    let dequantize_warps = shape.max_dequantize_warps();
    let by_role = COLUMN_WARPS * shape.consumer_registers()
        + dequantize_warps * shape.dequantize_registers()
        + (shape.threads() / 32 - COLUMN_WARPS - dequantize_warps) * shape.copy_registers();
    assert!(
        shape.threads().is_multiple_of(128) && 32 * by_role <= shape.threads() * at_launch,
        "the roles share the registers that the CTA has at launch"
    );
    KernelEntry {
        launch: Launch {
            name,
            threads_per_cta: shape.threads(),
            min_ctas_per_sm: shape.ctas_per_sm(),
            cluster: [1, 1, 1],
            param_alignment: PARAM_ALIGNMENT,
            dynamic_shared_bytes: shared.total_bytes,
        },
        design: Some(shape.design),
        tile_m: shape.tokens,
        tile_n: TILE_N,
        output,
    }
}

const fn decode(name: &'static str, tokens: u32, output: Output) -> KernelEntry {
    entry(name, TileShape::decode(tokens), output)
}

const fn prefill(name: &'static str, tokens: u32, output: Output) -> KernelEntry {
    entry(name, TileShape::prefill(tokens), output)
}

/// Every entry that multiplies.
///
/// Grid of the decode design: `[S · ceil(N / tile_n), ceil(M / tile_m), L]` in clusters of S CTAs along
/// x, S ∈ {1, 2, 4} and at most [`TileShape::max_split_k`], which share the K of a tile; K has at least S
/// stages. Of the prefill design: `[2 · C, 1, 1]` in C clusters of 2 along x, which share all pairs of
/// tiles; C is at most their number.
pub const KERNELS: &[KernelEntry] = &[
    decode("nvfp4_dual_gemm_hopper_decode_m8_f16", 8, Output::F16),
    decode("nvfp4_dual_gemm_hopper_decode_m16_f16", 16, Output::F16),
    decode("nvfp4_dual_gemm_hopper_decode_m32_f16", 32, Output::F16),
    decode("nvfp4_dual_gemm_hopper_decode_m64_f16", 64, Output::F16),
    decode("nvfp4_dual_gemm_hopper_decode_m128_f16", 128, Output::F16),
    prefill("nvfp4_dual_gemm_hopper_prefill_m128_f16", 128, Output::F16),
    prefill("nvfp4_dual_gemm_hopper_prefill_m256_f16", 256, Output::F16),
    decode(
        "nvfp4_dual_gemm_hopper_decode_m8_accumulators",
        8,
        Output::Accumulators,
    ),
    prefill(
        "nvfp4_dual_gemm_hopper_prefill_m256_accumulators",
        256,
        Output::Accumulators,
    ),
];
