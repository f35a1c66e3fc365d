//! Which kernel a dual GEMM gets, and whether it can have one.
//!
//! Eligibility comes first: [`DualGemm::plan`] refuses, with a typed error, what no kernel can run.
//! Preference comes second: among the kernels that can, it takes the one that a cost model expects
//! to be fastest. Nothing here needs a driver.

use nvfp4_dual_gemm_kernel::contract::{
    K_MULTIPLE, KernelEntry, N_MULTIPLE, Output, TILE_K, TILE_M, TILE_ROW_BYTES,
};

use crate::kernels::{self, COMPUTE_CAPABILITIES};
use crate::matrix::{MatrixError, MatrixShape};

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
        "compute capability {}.{} has no kernel; needed is {}. Run on a B200 or B300, or on the emulated B200 \
         (NVFP4_DEVICE=emulator)", found.0, found.1, list(needed)
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
    /// Streaming multiprocessors; each runs one CTA at a time.
    pub multiprocessors: u32,
}

impl Gpu {
    /// A B200, for planning without one.
    pub const B200: Self = Self {
        compute_capability: (10, 0),
        multiprocessors: 148,
    };

    /// Whether a kernel runs on it.
    pub fn is_supported(&self) -> bool {
        COMPUTE_CAPABILITIES.contains(&self.compute_capability)
    }

    /// Refuses a GPU that no kernel runs on.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`].
    pub fn check_supported(&self) -> Result<(), PlanError> {
        if self.is_supported() {
            return Ok(());
        }
        Err(PlanError::UnsupportedDevice {
            found: self.compute_capability,
            needed: COMPUTE_CAPABILITIES,
        })
    }
}

/// A dual GEMM, planned: its shape and the kernel that will run it.
#[derive(Clone, Copy, Debug)]
pub struct DualGemm {
    shape: Shape,
    kernel: &'static KernelEntry,
}

impl DualGemm {
    /// Picks the kernel for `shape` on `gpu`.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`].
    pub fn plan(shape: Shape, output: Output, gpu: Gpu) -> Result<Self, PlanError> {
        gpu.check_supported()?;
        let candidates = kernels::ENTRIES
            .iter()
            .filter(|entry| entry.output == output);
        let kernel = candidates
            .min_by_key(|entry| expected_cycles(shape, entry.tile_n, gpu.multiprocessors))
            .ok_or(PlanError::NoKernel { output })?;
        Ok(Self { shape, kernel })
    }

    /// Plans with a given N tile, 64 or 128, whatever is expected to be fastest.
    ///
    /// # Errors
    /// [`PlanError::UnsupportedDevice`], [`PlanError::UnknownTile`].
    pub fn plan_with_tile(
        shape: Shape,
        output: Output,
        gpu: Gpu,
        tile_n: u32,
    ) -> Result<Self, PlanError> {
        gpu.check_supported()?;
        let kernel =
            kernels::find(tile_n, output).ok_or(PlanError::UnknownTile { found: tile_n })?;
        Ok(Self { shape, kernel })
    }

    /// The dimensions.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The kernel that will run.
    pub fn kernel(&self) -> &'static KernelEntry {
        self.kernel
    }

    /// CTAs along x (tiles of M), y (tiles of N) and z (L).
    pub fn grid(&self) -> [u32; 3] {
        let tiles = |extent: usize, tile: u32| extent.div_ceil(tile as usize) as u32;
        [
            tiles(self.shape.m(), TILE_M),
            tiles(self.shape.n(), self.kernel.tile_n),
            self.shape.batch() as u32,
        ]
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
            compute_capability: (9, 0),
            multiprocessors: 132,
        };
        let shape = Shape::new(1, 8, 64, 1).unwrap();
        let error = DualGemm::plan(shape, Output::F16, gpu).unwrap_err();
        assert_eq!(
            error.to_string(),
            "compute capability 9.0 has no kernel; needed is 10.0 or 10.3. Run on a B200 or B300, or on the emulated \
             B200 (NVFP4_DEVICE=emulator)"
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
