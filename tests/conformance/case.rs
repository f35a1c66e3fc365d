//! What a case is.

use nvfp4_dual_gemm::driver::api::{TensorMapDataType, TensorMapOptions, TensorMapSwizzle};

/// A program on given inputs, and the output to look at.
pub struct Case {
    /// What is exercised; unique, and what the inputs come from.
    pub name: String,
    /// In order; none where the tensor map alone is of interest, and its status is the output.
    pub launches: Vec<Launch>,
    pub map: Option<Map>,
    pub input: Vec<u8>,
    /// What the output holds before the first launch.
    pub output: Vec<u8>,
}

/// One launch of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Launch {
    pub entry: &'static str,
    pub grid: [u32; 3],
    pub cluster: [u32; 3],
    /// [`nvfp4_dual_gemm_kernel::contract::conformance::ConformanceParams::words`].
    pub words: [u32; 12],
    /// Whether it may start while the launch before it still runs.
    pub dependent: bool,
}

impl Launch {
    /// One CTA.
    pub fn new(entry: &'static str, words: [u32; 12]) -> Self {
        Self::clusters(entry, [1; 3], [1; 3], words)
    }

    pub fn clusters(
        entry: &'static str,
        grid: [u32; 3],
        cluster: [u32; 3],
        words: [u32; 12],
    ) -> Self {
        Self {
            entry,
            grid,
            cluster,
            words,
            dependent: false,
        }
    }
}

/// Which buffer a tensor lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Input,
    Output,
}

/// A tensor map over a buffer of the case.
#[derive(Clone, Debug)]
pub struct Map {
    pub over: Over,
    /// Where in the buffer element 0 is, in bytes.
    pub offset: u64,
    pub data_type: TensorMapDataType,
    pub dims: Vec<u64>,
    pub strides: Vec<u64>,
    pub box_dims: Vec<u32>,
    pub swizzle: TensorMapSwizzle,
    pub options: TensorMapOptions,
}

impl Map {
    /// A dense tensor; its rows are padded to a multiple of 16 bytes, as strides have to be.
    pub fn dense(data_type: TensorMapDataType, dims: &[u64], box_dims: &[u32]) -> Self {
        let mut stride = (dims[0] * element_bytes(data_type)).next_multiple_of(16);
        let mut strides = Vec::new();
        for dim in &dims[1..] {
            strides.push(stride);
            stride *= dim;
        }
        Self {
            over: Over::Input,
            offset: 0,
            data_type,
            dims: dims.to_vec(),
            strides,
            box_dims: box_dims.to_vec(),
            swizzle: TensorMapSwizzle::None,
            options: TensorMapOptions::default(),
        }
    }

    pub fn swizzled(self, swizzle: TensorMapSwizzle) -> Self {
        Self { swizzle, ..self }
    }

    pub fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }

    /// Bytes of the tensor in global memory, up to the end of its last row's stride.
    pub fn tensor_bytes(&self) -> usize {
        let row = (self.dims[0] * element_bytes(self.data_type)).next_multiple_of(16);
        let last = self.strides.last().zip(self.dims.last());
        last.map_or(row, |(stride, dim)| stride * dim) as usize
    }

    /// Bytes of a row of the box.
    pub fn row_bytes(&self) -> u32 {
        self.box_dims[0] * element_bytes(self.data_type) as u32
    }

    /// Elements of the box in each dimension that are copied.
    fn copied(&self, dimension: usize) -> u32 {
        let stride = match (dimension, self.options.element_strides) {
            (0, _) | (_, None) => 1,
            (_, Some(strides)) => strides[dimension],
        };
        self.box_dims[dimension].div_ceil(stride)
    }

    pub fn rows(&self) -> u32 {
        (1..self.box_dims.len())
            .map(|dimension| self.copied(dimension))
            .product()
    }

    /// Bytes of the elements of the box.
    pub fn box_bytes(&self) -> u32 {
        self.rows() * self.row_bytes()
    }

    /// Bytes of shared memory that take part: the box with its rows as far apart as the swizzle's span,
    /// and what lies around.
    pub fn area_bytes(&self, offset: u32) -> u32 {
        let pitch = self.row_bytes().max(span(self.swizzle));
        (offset + self.rows() * pitch).next_multiple_of(1024) + 1024
    }
}

pub fn element_bytes(data_type: TensorMapDataType) -> u64 {
    use TensorMapDataType::*;
    match data_type {
        Uint8 => 1,
        Uint16 | Float16 | Bfloat16 => 2,
        Uint32 | Int32 | Float32 | Float32Ftz | Tfloat32 | Tfloat32Ftz => 4,
        Uint64 | Int64 | Float64 => 8,
        U4x16Align8 | U4x16Align16 | U6x16Align16 => {
            panic!("{data_type:?} has no whole bytes an element")
        }
    }
}

/// Elements in 16 bytes. The innermost coordinate of a tile is a multiple: at others an H100 ends the kernel with an
/// illegal instruction.
pub fn chunk(data_type: TensorMapDataType) -> i32 {
    16 / element_bytes(data_type) as i32
}

/// Bytes within which a swizzle moves chunks.
pub fn span(swizzle: TensorMapSwizzle) -> u32 {
    match swizzle {
        TensorMapSwizzle::None => 16,
        TensorMapSwizzle::B32 => 32,
        TensorMapSwizzle::B64 => 64,
        _ => 128,
    }
}

/// What output holds that no kernel wrote.
pub fn unwritten(bytes: usize) -> Vec<u8> {
    vec![0xEE; bytes]
}
