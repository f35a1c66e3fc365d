//! Which kernel a dual GEMM gets, and whether it can have one.
//!
//! Eligibility comes first: [`DualGemm::plan`] refuses, with a typed error, what no kernel can run.
//! Preference comes second: among the kernels that can, it takes the one that a cost model expects
//! to be fastest. Nothing here needs a driver.

use nvfp4_dual_gemm_kernel::contract::hopper::{Design, TileShape};
use nvfp4_dual_gemm_kernel::contract::{
    K_MULTIPLE, KernelEntry, N_MULTIPLE, Output, TILE_K, TILE_M, TILE_ROW_BYTES, hopper,
};

use crate::kernels::{Architecture, BLACKWELL, COMPUTE_CAPABILITIES};
use crate::matrix::{MatrixError, MatrixShape};
use crate::reference::wgmma::KOrder;

/// Why a dual GEMM can't run. Nothing was launched, no memory of the caller was written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A dimension is zero.
    #[error("{dimension} is 0; M, N, K and L must each be at least 1")]
    Zero {
        /// `M`, `N`, `K` or `L`.
        dimension: &'static str,
    },
    /// A dimension is not a multiple of what the kernel needs.
    #[error("{dimension} is {value}; it must be a multiple of {multiple}: {reason}")]
    Multiple {
        /// `N` or `K`.
        dimension: &'static str,
        /// The value given.
        value: usize,
        /// What it must be a multiple of.
        multiple: u32,
        /// Why.
        reason: &'static str,
    },
    /// A dimension is beyond what a launch or a tensor map can count.
    #[error("{dimension} is {value}; the largest possible is {limit}")]
    DimensionTooLarge {
        /// `M`, `N`, `K` or `L`.
        dimension: &'static str,
        /// The value given.
        value: usize,
        /// The largest possible.
        limit: usize,
    },
    /// The byte count of a matrix overflows.
    #[error("{matrix} is too large: {error}")]
    MatrixTooLarge {
        /// `A`, `B1 and B2` or `the output`.
        matrix: &'static str,
        /// What overflows.
        error: MatrixError,
    },
    /// One matrix of a batch has more bytes than a tensor map's stride can count.
    #[error(
        "one matrix of {matrix} has {stride} bytes; a tensor map's stride must be below 2^40. Split it \
         along its rows"
    )]
    BatchStrideTooLarge {
        /// `A` or `B1 and B2`.
        matrix: &'static str,
        /// Its bytes.
        stride: usize,
    },
    /// No kernel for this GPU.
    #[error(
        "compute capability {}.{} has no kernel; needed is {}. Run on an H100, H200, B200 or B300, or on the emulated \
         B200 (NVFP4_DEVICE=emulator)", found.0, found.1, list(needed)
    )]
    UnsupportedDevice {
        /// That of the device, as (major, minor).
        found: (u32, u32),
        /// Those that have a kernel.
        needed: &'static [(u32, u32)],
    },
    /// No kernel writes this output.
    #[error("no kernel writes {output:?}")]
    NoKernel {
        /// The output asked for.
        output: Output,
    },
    /// No kernel with the N tile that was asked for.
    #[error("no kernel has an N tile of {found}; there are 64 and 128")]
    UnknownTile {
        /// The N tile asked for.
        found: u32,
    },
    /// An N tile was asked for on a GPU whose kernels all have the same.
    #[error(
        "kernels for {architecture} have one N tile and choose their M tile by M: leave the tile out"
    )]
    TileNotChosen {
        /// The GPU's architecture.
        architecture: &'static str,
    },
    /// K can't be shared as asked.
    #[error(
        "K of {k} can't be shared by {found} CTAs; it must be 1, 2 or 4, and at most {limit} here: each needs a \
         stage of 256, and tiles of 128 tokens are shared by 2 at most"
    )]
    SplitK {
        /// K.
        k: usize,
        /// CTAs asked for.
        found: u32,
        /// The most for this K.
        limit: u32,
    },
}

fn list(capabilities: &[(u32, u32)]) -> String {
    let texts = capabilities
        .iter()
        .map(|(major, minor)| format!("{major}.{minor}"));
    texts.collect::<Vec<_>>().join(" or ")
}

/// The dimensions of `C[L, M, N] = silu(alpha1·A·B1ᵀ) ⊙ (alpha2·A·B2ᵀ)` with A `[L, M, K]` and B1,
/// B2 `[L, N, K]`: checked, so that a kernel can run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    a: MatrixShape,
    b: MatrixShape,
}

/// Grid dimensions y and z have 16 bits (CUDA C++ programming guide, compute capabilities).
const MAX_GRID_YZ: usize = 65_535;
/// TMA coordinates are signed 32-bit numbers (PTX ISA §9.7.9.27, `tensorCoords`): a tile further
/// out would wrap to a negative coordinate and be filled with zeros. Both leave room for the last
/// tile.
const MAX_ROWS: usize = i32::MAX as usize - TILE_M as usize;
const MAX_COLUMNS: usize = i32::MAX as usize - TILE_K as usize;
/// The batch stride of a tensor map must be below this many bytes (`cuTensorMapEncodeTiled`).
const MAX_STRIDE_BYTES: usize = 1 << 40;

impl Shape {
    /// Checks the dimensions of `batch` dual GEMMs of `m` × `n` × `k`.
    ///
    /// # Errors
    /// [`PlanError::Zero`], [`PlanError::Multiple`] (K of 64, N of 8),
    /// [`PlanError::DimensionTooLarge`], [`PlanError::MatrixTooLarge`] or
    /// [`PlanError::BatchStrideTooLarge`].
    pub fn new(m: usize, n: usize, k: usize, batch: usize) -> Result<Self, PlanError> {
        check_dimensions(m, n, k, batch)?;
        check_output(m, n, batch)?;
        Ok(Self {
            a: operand("A", m, k, batch)?,
            b: operand("B1 and B2", n, k, batch)?,
        })
    }

    /// Rows of A and of C.
    pub fn m(&self) -> usize {
        self.a.rows()
    }

    /// Rows of B1 and B2, columns of C.
    pub fn n(&self) -> usize {
        self.b.rows()
    }

    /// Columns of A, B1 and B2.
    pub fn k(&self) -> usize {
        self.a.columns()
    }

    /// Number of dual GEMMs, L.
    pub fn batch(&self) -> usize {
        self.a.batch()
    }

    /// A, `[L, M, K]`.
    pub fn a(&self) -> MatrixShape {
        self.a
    }

    /// B1 or B2, `[L, N, K]`.
    pub fn b(&self) -> MatrixShape {
        self.b
    }

    /// Elements of the output, L·M·N.
    pub fn output_elements(&self) -> usize {
        self.batch() * self.m() * self.n()
    }

    /// Multiply-accumulate operations of both products.
    pub fn multiply_accumulates(&self) -> u64 {
        2 * self.output_elements() as u64 * self.k() as u64
    }
}

fn check_dimensions(m: usize, n: usize, k: usize, batch: usize) -> Result<(), PlanError> {
    for (dimension, value) in [("M", m), ("N", n), ("K", k), ("L", batch)] {
        if value == 0 {
            return Err(PlanError::Zero { dimension });
        }
    }
    let rows_of_c = "rows of C are stored 16 bytes at a time";
    for (dimension, value, multiple, reason) in [
        ("K", k, K_MULTIPLE, "one MMA takes K = 64"),
        ("N", n, N_MULTIPLE, rows_of_c),
    ] {
        if !value.is_multiple_of(multiple as usize) {
            return Err(PlanError::Multiple {
                dimension,
                value,
                multiple,
                reason,
            });
        }
    }
    // The smallest N tile has 64 columns: what fits its grid fits that of the others.
    for (dimension, value, limit) in [
        ("M", m, MAX_ROWS),
        ("N", n, MAX_GRID_YZ * 64),
        ("K", k, MAX_COLUMNS),
        ("L", batch, MAX_GRID_YZ),
    ] {
        if value > limit {
            return Err(PlanError::DimensionTooLarge {
                dimension,
                value,
                limit,
            });
        }
    }
    Ok(())
}

/// An operand that a tensor map can describe.
fn operand(
    matrix: &'static str,
    rows: usize,
    columns: usize,
    batch: usize,
) -> Result<MatrixShape, PlanError> {
    let shape = MatrixShape::new(rows, columns, batch)
        .map_err(|error| PlanError::MatrixTooLarge { matrix, error })?;
    let stride = shape.packed_size() / batch;
    if stride >= MAX_STRIDE_BYTES {
        return Err(PlanError::BatchStrideTooLarge { matrix, stride });
    }
    Ok(shape)
}

/// The output has at most 4 bytes an element, in each of two buffers.
fn check_output(rows: usize, columns: usize, batch: usize) -> Result<(), PlanError> {
    let elements = rows.checked_mul(columns).and_then(|c| c.checked_mul(batch));
    if elements.is_none_or(|count| count > isize::MAX as usize / 4) {
        let error = MatrixError::TooLarge {
            rows,
            columns,
            batch,
        };
        return Err(PlanError::MatrixTooLarge {
            matrix: "the output",
            error,
        });
    }
    Ok(())
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.m(), self.n(), self.k())?;
        if self.batch() > 1 {
            write!(f, " x {}", self.batch())?;
        }
        Ok(())
    }
}

/// What planning needs to know of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// As (major, minor).
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors; each runs one CTA at a time, or two of Hopper's smallest tiles.
    pub multiprocessors: u32,
}

impl Gpu {
    /// A B200, for planning without one.
    pub const B200: Self = Self {
        compute_capability: (10, 0),
        multiprocessors: 148,
    };

    /// An H200, for planning without one.
    pub const H200: Self = Self {
        compute_capability: (9, 0),
        multiprocessors: 132,
    };

    /// The kernels that run on it.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`].
    pub fn architecture(&self) -> Result<&'static Architecture, PlanError> {
        Architecture::of(self.compute_capability).ok_or(PlanError::UnsupportedDevice {
            found: self.compute_capability,
            needed: COMPUTE_CAPABILITIES,
        })
    }
}

/// A tile to plan with, whatever is expected to be fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// The N tile of a kernel for Blackwell.
    Columns(u32),
    /// The M tile of a kernel of Hopper's decode design, and the CTAs that share the K of a tile.
    Decode {
        /// 8, 16, 32, 64 or 128.
        tokens: u32,
        /// 1 or 2; with up to 64 tokens also 4.
        split_k: u32,
    },
    /// The M tile of a kernel of Hopper's prefill design.
    Prefill {
        /// 128 or 256.
        tokens: u32,
    },
}

impl std::fmt::Display for Tile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Columns(columns) => write!(f, "N tile {columns}"),
            Self::Decode { tokens, split_k } => {
                write!(f, "decode, M tile {tokens}, K shared by {split_k}")
            }
            Self::Prefill { tokens } => write!(f, "prefill, M tile {tokens}"),
        }
    }
}

/// A dual GEMM, planned: its shape and the kernel that will run it.
#[derive(Clone, Copy, Debug)]
pub struct DualGemm {
    shape: Shape,
    architecture: &'static Architecture,
    kernel: &'static KernelEntry,
    split_k: u32,
    multiprocessors: u32,
}

impl DualGemm {
    /// Picks the kernel for `shape` on `gpu`.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`]; on Hopper [`PlanError::DimensionTooLarge`].
    pub fn plan(shape: Shape, output: Output, gpu: Gpu) -> Result<Self, PlanError> {
        let architecture = gpu.architecture()?;
        if architecture.has(Gpu::H200.compute_capability) {
            let tile = hopper_tile(shape, gpu.multiprocessors);
            return Self::plan_as(shape, output, gpu, tile);
        }
        let candidates = architecture
            .entries
            .iter()
            .filter(|entry| entry.output == output);
        let kernel = candidates
            .min_by_key(|entry| expected_cycles(shape, entry.tile_n, gpu.multiprocessors))
            .ok_or(PlanError::NoKernel { output })?;
        Ok(Self {
            shape,
            architecture,
            kernel,
            split_k: 1,
            multiprocessors: gpu.multiprocessors,
        })
    }

    /// Plans with a given tile.
    ///
    /// # Errors
    /// As [`Self::plan_with_tile`]; on Hopper [`PlanError::UnsupportedDevice`], [`PlanError::NoKernel`],
    /// [`PlanError::SplitK`], [`PlanError::DimensionTooLarge`].
    pub fn plan_as(shape: Shape, output: Output, gpu: Gpu, tile: Tile) -> Result<Self, PlanError> {
        match tile {
            Tile::Columns(columns) => Self::plan_with_tile(shape, output, gpu, columns),
            Tile::Decode { tokens, split_k } => {
                Self::plan_for_hopper(shape, output, gpu, TileShape::decode(tokens), split_k)
            }
            Tile::Prefill { tokens } => {
                Self::plan_for_hopper(shape, output, gpu, TileShape::prefill(tokens), 1)
            }
        }
    }

    /// Plans for Blackwell with a given N tile, 64 or 128, whatever is expected to be fastest.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`], [`PlanError::UnknownTile`], [`PlanError::TileNotChosen`].
    pub fn plan_with_tile(
        shape: Shape,
        output: Output,
        gpu: Gpu,
        tile_n: u32,
    ) -> Result<Self, PlanError> {
        let architecture = gpu.architecture()?;
        if !architecture.has(Gpu::B200.compute_capability) {
            return Err(PlanError::TileNotChosen {
                architecture: architecture.name,
            });
        }
        let kernel = BLACKWELL
            .find(None, TILE_M, tile_n, output)
            .ok_or(PlanError::UnknownTile { found: tile_n })?;
        Ok(Self {
            shape,
            architecture,
            kernel,
            split_k: 1,
            multiprocessors: gpu.multiprocessors,
        })
    }

    /// Plans for Hopper with a given tile and a cluster of `split_k` CTAs to share the K of a tile.
    ///
    /// Accumulators depend on `split_k` alone. [`Output::Accumulators`] is written by one kernel of each
    /// design, which stands in for the others.
    fn plan_for_hopper(
        shape: Shape,
        output: Output,
        gpu: Gpu,
        tile: TileShape,
        split_k: u32,
    ) -> Result<Self, PlanError> {
        let architecture = gpu.architecture()?;
        let tile_m = match output {
            Output::F16 => tile.tokens,
            Output::Accumulators => match tile.design {
                Design::Decode => 8,
                Design::Prefill => 256,
            },
        };
        let kernel = architecture
            .find(Some(tile.design), tile_m, hopper::TILE_N, output)
            .ok_or(PlanError::NoKernel { output })?;
        let tile = TileShape {
            tokens: tile_m,
            ..tile
        };
        check_hopper_grid(shape, tile)?;
        let limit = max_split_k(shape, tile);
        if !split_k.is_power_of_two() || split_k > limit {
            return Err(PlanError::SplitK {
                k: shape.k(),
                found: split_k,
                limit,
            });
        }
        Ok(Self {
            shape,
            architecture,
            kernel,
            split_k,
            multiprocessors: gpu.multiprocessors,
        })
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The kernels that the plan is for.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// The kernel that will run.
    pub fn kernel(&self) -> &'static KernelEntry {
        self.kernel
    }

    /// CTAs, a cluster, that share the K of a tile.
    pub fn split_k(&self) -> u32 {
        self.split_k
    }

    /// How the sum over K is taken apart; `None` on Blackwell, where it is not.
    pub fn k_order(&self) -> Option<KOrder> {
        self.hopper_design().map(|_| KOrder {
            split_k: self.split_k,
        })
    }

    /// Which of the designs for Hopper; `None` on Blackwell.
    pub fn hopper_design(&self) -> Option<Design> {
        self.kernel.design
    }

    /// CTAs along x, y and z. On Blackwell x counts tiles of M, y tiles of N, z is L. On Hopper: see
    /// [`hopper::KERNELS`].
    pub fn grid(&self) -> [u32; 3] {
        let tiles = |extent: usize, tile: u32| extent.div_ceil(tile as usize) as u32;
        let m = tiles(self.shape.m(), self.kernel.tile_m);
        let n = tiles(self.shape.n(), self.kernel.tile_n);
        let batch = self.shape.batch() as u32;
        match self.hopper_design() {
            None => [m, n, batch],
            Some(Design::Decode) => [self.split_k * n, m, batch],
            Some(Design::Prefill) => {
                // `check_hopper_grid` bounds the number of tiles.
                let pairs = prefill_pairs(self.shape, self.kernel.tile_m) as u32;
                let clusters = prefill_clusters(self.multiprocessors);
                [hopper::PREFILL_CLUSTER * pairs.min(clusters), 1, 1]
            }
        }
    }

    /// CTAs of a cluster along x.
    pub fn cluster(&self) -> u32 {
        match self.hopper_design() {
            None => 1,
            Some(Design::Decode) => self.split_k,
            Some(Design::Prefill) => hopper::PREFILL_CLUSTER,
        }
    }

    /// Bytes of device memory that a launch needs besides its operands and outputs: in Hopper's prefill design
    /// those of A as f16, with M up to whole tiles and K up to whole stages of 256; else none.
    pub fn workspace_bytes(&self) -> usize {
        if self.hopper_design() != Some(Design::Prefill) {
            return 0;
        }
        let columns = hopper::activation_columns(self.shape.k() as u32) as usize;
        2 * self.shape.batch() * self.workspace_rows() as usize * columns
    }

    /// Rows of A as f16, in the prefill design.
    pub(crate) fn workspace_rows(&self) -> u32 {
        hopper::activation_rows(self.shape.m() as u32, self.kernel.tile_m)
    }

    /// Bytes of each output buffer: C in f16, or each of the two accumulator buffers in f32.
    pub fn output_bytes(&self) -> usize {
        self.shape.output_elements()
            * match self.kernel.output {
                Output::F16 => 2,
                Output::Accumulators => 4,
            }
    }
}

/// Clocks that a dual GEMM should take, to compare N tiles; not a prediction of time.
///
/// From published B200 measurements: a 128×64 MMA with operands in shared memory takes 48 clocks,
/// 32 with A in the collector; a 128×128 one 64. One CTA runs per SM, so that CTAs run in waves.
/// Filling the pipeline costs some 1 500 clocks a wave, the epilogue some 1 000 per 64 columns (two
/// MUFU operations an element, 16 a clock).
fn expected_cycles(shape: Shape, tile_n: u32, multiprocessors: u32) -> u64 {
    let mma_pair = if tile_n == 64 {
        48 + 32
    } else {
        2 * (tile_n as u64 / 2)
    };
    let k_steps = shape.k().div_ceil(K_MULTIPLE as usize) as u64;
    let cta = 1_500 + k_steps * mma_pair + 1_000 * (tile_n as u64).div_ceil(64);
    let ctas =
        shape.m().div_ceil(TILE_M as usize) * shape.n().div_ceil(tile_n as usize) * shape.batch();
    (ctas as u64).div_ceil(u64::from(multiprocessors.max(1))) * cta
}

/// The decode design counts tiles of M along y of its grid; the prefill design counts tiles, and the
/// grid before it threads, in 32 bits.
fn check_hopper_grid(
    shape: Shape,
    TileShape { design, tokens }: TileShape,
) -> Result<(), PlanError> {
    let limit = match design {
        Design::Decode => MAX_GRID_YZ * tokens as usize,
        Design::Prefill => {
            let columns = hopper::activation_columns(shape.k() as u32);
            let threads_per_row = (columns / hopper::ACTIVATION_ELEMENTS) as usize;
            let tiles = shape
                .n()
                .div_ceil(hopper::TILE_N as usize)
                .next_multiple_of(2);
            let rows_of_tiles = i32::MAX as usize / (tiles * shape.batch());
            let tokens = tokens as usize;
            rows_of_tiles.min(i32::MAX as usize / threads_per_row / tokens) * tokens
        }
    };
    if shape.m() > limit {
        return Err(PlanError::DimensionTooLarge {
            dimension: "M",
            value: shape.m(),
            limit,
        });
    }
    Ok(())
}

/// The most CTAs that can share the K of a tile: each needs a stage.
fn max_split_k(shape: Shape, tile: TileShape) -> u32 {
    let stages = shape.k().div_ceil(hopper::STAGE_K as usize);
    let limit = stages.min(tile.max_split_k() as usize) as u32;
    1 << limit.ilog2()
}

/// The tile that should be fastest on Hopper, as measured on an H100 and an H200.
///
/// Up to 64 tokens, and beyond where there are at least two multiprocessors for each tile of 128: the decode design, with
/// the tile and the share of K that take least time. Else the prefill design (H200, N = 4096, K = 7168: 45 µs instead of 55
/// for M = 129, 46 instead of 53 for M = 256), if its grids can count what there is.
fn hopper_tile(shape: Shape, multiprocessors: u32) -> Tile {
    let large_tiles = decode_tiles(shape, TileShape::decode(128));
    if shape.m() > 64 && 2 * large_tiles > multiprocessors as usize {
        let tokens = prefill_tokens(shape, multiprocessors);
        if check_hopper_grid(shape, TileShape::prefill(tokens)).is_ok() {
            return Tile::Prefill { tokens };
        }
    }
    let candidates = DECODE_COSTS
        .iter()
        .filter(|cost| check_hopper_grid(shape, TileShape::decode(cost.tokens)).is_ok())
        .flat_map(|cost| [4, 2, 1].map(|split_k| (cost, split_k)));
    let fastest = candidates
        .filter_map(|(cost, split_k)| {
            let time = decode_time(shape, cost, split_k, multiprocessors)?;
            let tokens = cost.tokens;
            Some((time, Tile::Decode { tokens, split_k }))
        })
        .min_by_key(|&(time, _)| time);
    // Where no grid can count the tiles, the largest says so.
    let largest = Tile::Decode {
        tokens: 128,
        split_k: 1,
    };
    fastest.map_or(largest, |(_, tile)| tile)
}

/// Tiles of the decode design.
fn decode_tiles(shape: Shape, tile: TileShape) -> usize {
    let columns = shape.n().div_ceil(hopper::TILE_N as usize) * shape.batch();
    shape.m().div_ceil(tile.tokens as usize) * columns
}

/// What a tile of the decode design takes in a row, in ns: measured on an H200.
struct DecodeCost {
    tokens: u32,
    /// Of a stage (N = 4096).
    stage: usize,
    /// What a round of CTAs takes besides, until its first products and after its last, as far as no other round hides it
    /// (N = 14336).
    besides: usize,
}

const fn decode_cost(tokens: u32, stage: usize, besides: usize) -> DecodeCost {
    DecodeCost {
        tokens,
        stage,
        besides,
    }
}

/// Of every tile.
const DECODE_COSTS: [DecodeCost; 5] = [
    decode_cost(8, 580, 600),
    decode_cost(16, 670, 600),
    decode_cost(32, 800, 3000),
    decode_cost(64, 1140, 2500),
    decode_cost(128, 1660, 3500),
];

/// What a call of the decode design takes, in ns, less what it takes with any tile. `None` for what is not measured, and
/// where there are not enough stages to share.
///
/// CTAs run in rounds of one to a multiprocessor, where a second place is the next round's.
fn decode_time(
    shape: Shape,
    cost: &DecodeCost,
    split_k: u32,
    multiprocessors: u32,
) -> Option<usize> {
    let tile = TileShape::decode(cost.tokens);
    if split_k > max_split_k(shape, tile) {
        return None;
    }
    let stages = shape.k().div_ceil(hopper::STAGE_K as usize);
    let round = cost.stage * stages.div_ceil(split_k as usize);
    // Not every part of a GPU has a multiple of four multiprocessors. Of 132 an H200 does not find 32 clusters of four
    // one each: the last ones run later, or, where there is room for two CTAs, beside others (stages take 1.8 times as
    // long, N = 2048).
    let ctas = split_k as usize * decode_tiles(shape, tile);
    let multiprocessors = multiprocessors.max(1) as usize;
    let crowded = split_k == 4 && 8 * ctas > 7 * multiprocessors;
    let round = match (crowded, tile.ctas_per_sm()) {
        (false, _) => round,
        (true, 1) => return None,
        (true, _) => round * 9 / 5,
    };
    let rounds = ctas.div_ceil(multiprocessors);
    Some(rounds.saturating_mul(round + cost.besides) - cost.besides)
}

/// The prefill tile whose tiles take the multiprocessors less time: one of 128 tokens takes some 0.6 of one of 256
/// (H200: 46 and 81 µs, K = 7168).
fn prefill_tokens(shape: Shape, multiprocessors: u32) -> u32 {
    let clusters = prefill_clusters(multiprocessors) as usize;
    let waves = |tokens| prefill_pairs(shape, tokens).div_ceil(clusters);
    if 6 * waves(128) < 10 * waves(256) {
        128
    } else {
        256
    }
}

/// Pairs of neighbouring tiles, each of which a cluster of the prefill design takes at a time.
fn prefill_pairs(shape: Shape, tokens: u32) -> usize {
    let columns = (hopper::TILE_N * hopper::PREFILL_CLUSTER) as usize;
    shape.m().div_ceil(tokens as usize) * shape.n().div_ceil(columns) * shape.batch()
}

/// Clusters of the prefill design that find multiprocessors, one CTA to each.
fn prefill_clusters(multiprocessors: u32) -> u32 {
    (multiprocessors / hopper::PREFILL_CLUSTER).max(1)
}

/// How a matrix is described to TMA, in the terms of `cuTensorMapEncodeTiled`: 4-bit elements
/// packed two to a byte (`CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN8B`), 128-byte swizzle, zeros outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandMap {
    /// Elements along K, rows, batch.
    pub dimensions: [u64; 3],
    /// Bytes from row to row and from matrix to matrix.
    pub strides: [u64; 2],
    /// Elements of one copy.
    pub box_dimensions: [u32; 3],
}

/// The tensor map of an operand of which one copy takes `tile_rows` rows: [`TILE_M`] for A, the
/// kernel's N tile for B1 and B2.
pub fn operand_map(matrix: MatrixShape, tile_rows: u32) -> OperandMap {
    let row_bytes = matrix.row_bytes() as u64;
    OperandMap {
        dimensions: [
            matrix.columns() as u64,
            matrix.rows() as u64,
            matrix.batch() as u64,
        ],
        strides: [row_bytes, row_bytes * matrix.rows() as u64],
        box_dimensions: [2 * TILE_ROW_BYTES, tile_rows, 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_kernel_runs() {
        let zero = |dimension| Err(PlanError::Zero { dimension });
        assert_eq!(Shape::new(0, 8, 64, 1), zero("M"));
        assert_eq!(Shape::new(1, 0, 64, 1), zero("N"));
        assert_eq!(Shape::new(1, 8, 0, 1), zero("K"));
        assert_eq!(Shape::new(1, 8, 64, 0), zero("L"));
        let text = |shape: Result<Shape, PlanError>| shape.unwrap_err().to_string();
        assert_eq!(
            text(Shape::new(1, 8, 96, 1)),
            "K is 96; it must be a multiple of 64: one MMA takes K = 64"
        );
        assert_eq!(
            text(Shape::new(1, 12, 64, 1)),
            "N is 12; it must be a multiple of 8: rows of C are stored 16 bytes at a time"
        );
        assert_eq!(
            text(Shape::new(1, 8, 64, 65_536)),
            "L is 65536; the largest possible is 65535"
        );
        assert_eq!(
            text(Shape::new(1 << 31, 8, 64, 1)),
            "M is 2147483648; the largest possible is 2147483519"
        );
        assert!(Shape::new(1, 8, 64, 1).is_ok());
    }

    #[test]
    fn refuses_sizes_that_overflow() {
        for (m, n, k, l) in [
            (usize::MAX, 8, 64, 1),
            (1, usize::MAX - 7, 64, 1),
            (1, 8, usize::MAX - 63, 1),
            (1 << 31, 8, 1 << 30, 1),
            (1 << 31, 1 << 21, 64, 65_535),
        ] {
            assert!(
                matches!(
                    Shape::new(m, n, k, l),
                    Err(PlanError::DimensionTooLarge { .. } | PlanError::MatrixTooLarge { .. })
                ),
                "{m} x {n} x {k} x {l}"
            );
        }
    }

    #[test]
    fn refuses_matrices_beyond_a_tensor_maps_stride() {
        let (rows, k) = (1 << 21, 1 << 20);
        let too_large = |matrix| {
            Err(PlanError::BatchStrideTooLarge {
                matrix,
                stride: 1 << 40,
            })
        };
        assert_eq!(Shape::new(rows, 8, k, 1), too_large("A"));
        assert_eq!(Shape::new(1, rows, k, 1), too_large("B1 and B2"));
        assert!(Shape::new(rows - 1, 8, k, 1).is_ok());
    }

    #[test]
    fn takes_the_tile_that_fills_the_gpu() {
        let tile = |m, n, k| {
            let shape = Shape::new(m, n, k, 1).unwrap();
            DualGemm::plan(shape, Output::F16, Gpu::B200)
                .unwrap()
                .kernel()
                .tile_n
        };
        assert_eq!(tile(256, 4096, 7168), 64, "128 CTAs of N = 64 fit one wave");
        assert_eq!(
            tile(512, 4096, 7168),
            128,
            "256 CTAs of N = 64 would need a second wave"
        );
        assert_eq!(tile(4096, 4096, 7168), 128);
    }

    #[test]
    fn names_the_compute_capability_needed() {
        let gpu = Gpu {
            compute_capability: (8, 0),
            multiprocessors: 108,
        };
        let shape = Shape::new(1, 8, 64, 1).unwrap();
        let error = DualGemm::plan(shape, Output::F16, gpu).unwrap_err();
        assert_eq!(
            error.to_string(),
            "compute capability 8.0 has no kernel; needed is 9.0 or 10.0 or 10.3. Run on an H100, H200, B200 or B300, \
             or on the emulated B200 (NVFP4_DEVICE=emulator)"
        );
    }

    /// The M tile, the CTAs that share K, and the grid.
    fn plan_on_h200(m: usize, n: usize, k: usize) -> (u32, u32, [u32; 3]) {
        let shape = Shape::new(m, n, k, 1).unwrap();
        let plan = DualGemm::plan(shape, Output::F16, Gpu::H200).unwrap();
        (plan.kernel().tile_m, plan.split_k(), plan.grid())
    }

    #[test]
    fn hopper_takes_the_fewest_rounds_where_tiles_are_many() {
        let plan = plan_on_h200;
        let three = "3 half rounds, not 2";
        assert_eq!(plan(1, 11008, 4096), (8, 2, [344, 1, 1]), "{three}");
        assert_eq!(plan(32, 11008, 4096), (32, 2, [344, 1, 1]), "{three}");
        let as_many = "2 rounds, or 4 half ones";
        assert_eq!(plan(1, 14336, 4096), (8, 1, [224, 1, 1]), "{as_many}");
        let seven = "7 half rounds, not 4";
        assert_eq!(plan(16, 28672, 8192), (16, 2, [896, 1, 1]), "{seven}");
        assert_eq!(plan(64, 25600, 5120), (64, 2, [800, 1, 1]), "{seven}");
        let besides = "not 5 half rounds, each of which takes something besides";
        assert_eq!(plan(32, 18944, 3584), (32, 1, [296, 1, 1]), "{besides}");
        let clusters = "not several rounds of clusters of four";
        assert_eq!(plan(64, 4288, 7168), (64, 1, [67, 1, 1]), "{clusters}");
    }

    #[test]
    fn hopper_plans_for_the_largest_shapes_and_smallest_gpus() {
        let largest = Shape::new(4_194_240, 4_194_240, 524_288, 65_535).unwrap();
        let few_tokens = Shape::new(1, 28672, 8192, 65_535).unwrap();
        for multiprocessors in [0, 1, 2, 132] {
            let gpu = Gpu {
                multiprocessors,
                ..Gpu::H200
            };
            let plan = |shape| DualGemm::plan(shape, Output::F16, gpu).unwrap();
            assert_eq!(plan(largest).kernel().tile_m, 128);
            assert_eq!(plan(few_tokens).kernel().tile_m, 8);
        }
    }

    #[test]
    fn hopper_shares_k_where_tiles_are_few() {
        let plan = plan_on_h200;
        assert_eq!(plan(128, 1024, 7168), (32, 2, [32, 4, 1]));
        assert_eq!(plan(128, 2048, 7168), (64, 2, [64, 2, 1]));
        assert_eq!(plan(64, 1024, 7168), (64, 4, [64, 1, 1]));
        assert_eq!(plan(64, 2048, 7168), (32, 2, [64, 2, 1]));
        assert_eq!(plan(32, 2048, 7168), (16, 2, [64, 2, 1]));
        assert_eq!(plan(32, 1024, 7168), (32, 4, [64, 1, 1]));
        assert_eq!(plan(16, 1024, 7168), (16, 4, [64, 1, 1]));
        assert_eq!(plan(16, 2048, 7168), (8, 2, [64, 2, 1]));
        assert_eq!(plan(64, 16384, 7168), (64, 1, [256, 1, 1]));
        assert_eq!(plan(1, 4096, 7168), (8, 2, [128, 1, 1]));
        assert_eq!(plan(40, 4096, 7168), (64, 2, [128, 1, 1]));
        assert_eq!(plan(100, 4096, 7168), (128, 2, [128, 1, 1]));
        assert_eq!(plan(100, 8192, 7168), (128, 1, [128, 1, 1]));
        assert_eq!(plan(100, 16384, 7168), (128, 1, [132, 1, 1]));
        assert_eq!(plan(300, 4096, 7168), (256, 1, [128, 1, 1]));
        assert_eq!(plan(300, 16384, 7168), (128, 1, [132, 1, 1]));
        assert_eq!(plan(1, 1024, 7168), (8, 4, [64, 1, 1]));
        assert_eq!(plan(1, 2048, 7168), (8, 4, [128, 1, 1]));
        assert_eq!(plan(40, 64, 256), (8, 1, [1, 5, 1]), "one stage of K");
        assert_eq!(plan(256, 4096, 7168), (128, 1, [128, 1, 1]));
        assert_eq!(plan(256, 1024, 7168), (64, 2, [32, 4, 1]));
        assert_eq!(plan(129, 4096, 7168), (128, 1, [128, 1, 1]));
        assert_eq!(plan(512, 4096, 7168), (256, 1, [128, 1, 1]));
        assert_eq!(plan(4096, 4096, 7168), (256, 1, [132, 1, 1]), "persistent");
    }

    #[test]
    fn hopper_takes_decode_where_prefill_cannot_count() {
        // Of 2^23 threads for a row there can be fewer than 2^8 rows.
        let shape = Shape::new(300, 2048, 1 << 29, 1).unwrap();
        let plan = DualGemm::plan(shape, Output::F16, Gpu::H200).unwrap();
        assert_eq!(plan.hopper_design(), Some(Design::Decode));
        let prefill =
            DualGemm::plan_as(shape, Output::F16, Gpu::H200, Tile::Prefill { tokens: 256 });
        assert!(matches!(
            prefill,
            Err(PlanError::DimensionTooLarge { dimension: "M", .. })
        ));
    }

    #[test]
    fn hopper_needs_a_workspace_where_m_is_large() {
        let bytes = |tile| {
            let shape = Shape::new(3, 64, 192, 2).unwrap();
            let plan = DualGemm::plan_as(shape, Output::F16, Gpu::H200, tile);
            plan.unwrap().workspace_bytes()
        };
        let tokens = 128;
        assert_eq!(bytes(Tile::Decode { tokens, split_k: 1 }), 0);
        assert_eq!(
            bytes(Tile::Prefill { tokens }),
            2 * 2 * tokens as usize * 256
        );
    }

    #[test]
    fn hopper_refuses_tiles_and_splits_that_it_has_not() {
        let shape = Shape::new(3, 64, 320, 1).unwrap();
        let plan = |tokens, split_k| {
            let tile = Tile::Decode { tokens, split_k };
            DualGemm::plan_as(shape, Output::F16, Gpu::H200, tile).map(|_| ())
        };
        let output = Output::F16;
        assert_eq!(plan(12, 1), Err(PlanError::NoKernel { output }));
        let split = |found, limit| {
            Err(PlanError::SplitK {
                k: 320,
                found,
                limit,
            })
        };
        assert_eq!(plan(8, 4), split(4, 2));
        assert_eq!(plan(8, 0), split(0, 2));
        assert_eq!(plan(8, 2), Ok(()));
        assert_eq!(plan(128, 4), split(4, 2));
        assert_eq!(plan(256, 1), Err(PlanError::NoKernel { output }));
        let tile = DualGemm::plan_with_tile(shape, output, Gpu::H200, 64).map(|_| ());
        assert_eq!(
            tile,
            Err(PlanError::TileNotChosen {
                architecture: "Hopper"
            })
        );
    }

    #[test]
    fn grids_cover_ragged_edges() {
        let shape = Shape::new(129, 136, 64, 3).unwrap();
        let plan = DualGemm::plan_with_tile(shape, Output::F16, Gpu::B200, 64).unwrap();
        assert_eq!(plan.grid(), [2, 3, 3]);
        assert_eq!(plan.output_bytes(), 3 * 129 * 136 * 2);
    }
}
