//! `cp.async.bulk.tensor`: where each byte of a tile comes from and goes to.

use ptx_emulator::tma::{
    DataType, Interleave, L2Promotion, OutOfBoundsFill, Swizzle, TensorMap, TiledDescription,
};

use super::program::*;

/// Offset in `smem` of the memory that programs clear and dump.
pub const AREA: u32 = 1024;

/// A tensor in the input buffer, and the box that a load takes from it.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub data_type: DataType,
    pub bits: u64,
    /// In elements; the first dimension is innermost.
    pub dims: Vec<u64>,
    /// Bytes from one index to the next in dimensions 1 and up.
    pub strides: Vec<u64>,
    pub boxes: Vec<u32>,
    pub steps: Vec<u32>,
    pub swizzle: Swizzle,
    pub fill: OutOfBoundsFill,
}

impl Tensor {
    /// A dense tensor whose rows are padded to 16 bytes.
    pub fn new(data_type: DataType, bits: u64, dims: &[u64], boxes: &[u32]) -> Tensor {
        let mut strides = Vec::new();
        let mut pitch = (dims[0] * bits / 8).next_multiple_of(16);
        for extent in &dims[1..] {
            strides.push(pitch);
            pitch *= extent;
        }
        Tensor {
            data_type,
            bits,
            dims: dims.to_vec(),
            strides,
            boxes: boxes.to_vec(),
            steps: vec![1; dims.len()],
            swizzle: Swizzle::None,
            fill: OutOfBoundsFill::Zero,
        }
    }

    pub fn swizzle(mut self, swizzle: Swizzle) -> Tensor {
        self.swizzle = swizzle;
        self
    }

    pub fn encode(&self, address: u64) -> TensorMap {
        TensorMap::encode_tiled(&TiledDescription {
            data_type: self.data_type,
            global_address: address,
            global_dims: &self.dims,
            global_strides: &self.strides,
            box_dims: &self.boxes,
            element_strides: &self.steps,
            interleave: Interleave::None,
            swizzle: self.swizzle,
            l2_promotion: L2Promotion::None,
            out_of_bounds: self.fill,
        })
        .unwrap()
    }

    pub fn bytes(&self) -> usize {
        let outermost = self.strides.last().copied();
        let extent = *self.dims.last().unwrap();
        let whole = match outermost {
            Some(stride) => stride * extent,
            None => (extent * self.bits / 8).next_multiple_of(16),
        };
        whole as usize
    }

    fn row_bytes(&self) -> u64 {
        u64::from(self.boxes[0]) * self.bits / 8
    }

    /// Extent of the tile in dimension `d` from 1 on.
    fn extent(&self, d: usize) -> u64 {
        u64::from(self.boxes[d].div_ceil(self.steps[d]))
    }

    pub fn tile_bytes(&self) -> u32 {
        let rows: u64 = (1..self.dims.len()).map(|d| self.extent(d)).product();
        (rows * self.row_bytes()) as u32
    }

    /// Bytes of shared memory from the tile's start to its end.
    pub fn extent_bytes(&self) -> u32 {
        self.tile_bytes() / self.row_bytes() as u32 * self.row_pitch()
    }

    /// Rows lie a swizzle's span apart, however narrow the box is.
    fn row_pitch(&self) -> u32 {
        let span = SWIZZLES
            .iter()
            .find(|(swizzle, _)| *swizzle == self.swizzle);
        span.map_or(self.row_bytes() as u32, |(_, span)| *span)
    }

    /// Where byte `byte` of the rows goes in shared memory, for a tile that starts at `at`.
    pub fn place(&self, byte: u32, at: u32) -> u32 {
        let row_bytes = self.row_bytes() as u32;
        let row = byte / row_bytes * self.row_pitch();
        swizzled(self.swizzle, at + row + byte % row_bytes)
    }

    /// Offset in the input of byte `byte` of the dense tile; `None` outside of the tensor.
    pub fn source(&self, coordinates: &[i32], byte: u32) -> Option<usize> {
        let mut rest = u64::from(byte) / self.row_bytes();
        let inner = i64::from(coordinates[0]) * self.bits as i64 / 8
            + (u64::from(byte) % self.row_bytes()) as i64;
        let row_length = (self.dims[0] * self.bits / 8) as i64;
        let mut inside = (0..row_length).contains(&inner);
        let mut offset = inner;
        for (d, &first) in coordinates.iter().enumerate().skip(1) {
            let index = rest % self.extent(d);
            rest /= self.extent(d);
            let x = i64::from(first) + (index * u64::from(self.steps[d])) as i64;
            inside &= (0..self.dims[d] as i64).contains(&x);
            offset += x * self.strides[d - 1] as i64;
        }
        inside.then_some(offset as usize)
    }
}

/// Where a byte of the dense tile goes: chunks of 16 bytes move within their line of 128 (tables of PTX ISA §5.5.7).
pub fn swizzled(swizzle: Swizzle, address: u32) -> u32 {
    let (line, chunk, byte) = (address / 128, address / 16 % 8, address % 16);
    let (chunk, byte) = match swizzle {
        Swizzle::None => (chunk, byte),
        Swizzle::B32 => (chunk ^ (line % 2), byte),
        Swizzle::B64 => (chunk ^ (line % 4), byte),
        Swizzle::B128 => (chunk ^ (line % 8), byte),
        Swizzle::B128Atom32 => (chunk ^ (2 * (line % 4)), byte),
        Swizzle::B128Atom32Flip8 => (chunk ^ (2 * (line % 4)), (byte + 8 * (line % 2)) % 16),
        Swizzle::B128Atom64 => (chunk ^ (4 * (line % 2)), byte),
    };
    line * 128 + chunk * 16 + byte
}

pub fn instruction(coordinates: &[i32], destination: &str, barrier: &str) -> String {
    let list: Vec<String> = coordinates.iter().map(i32::to_string).collect();
    format!(
        "cp.async.bulk.tensor.{}d.shared::cluster.global.mbarrier::complete_tx::bytes [{destination}], [%rd2, {{{}}}], \
         [{barrier}];",
        coordinates.len(),
        list.join(", ")
    )
}

/// Loads one tile to `smem + destination`, waits for `expected` bytes, and dumps `area` bytes from [`AREA`] on.
pub fn program(
    tensor: &Tensor,
    input: &[u8],
    coordinates: &[i32],
    destination: u32,
    expected: u32,
    area: u32,
) -> Program {
    let load = instruction(coordinates, "%r10", "%r1");
    let body = format!(
        r"
    {BARRIERS}
    {}
    add.u32 %r10, %r1, {destination};
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], {expected};
    @%p31 {load}
    {}
    {}
",
        clear_shared(AREA, area),
        wait(0, 0),
        dump_shared(AREA, area)
    );
    Program::with_input(&body, input).map(|address| tensor.encode(address))
}

/// Loads one tile and compares every byte of the memory around it.
pub fn check(tensor: &Tensor, coordinates: &[i32], destination: u32) {
    let input = noise(tensor.bytes());
    let tile = tensor.tile_bytes();
    let area = (destination - AREA + tensor.extent_bytes() + 128).next_multiple_of(128);
    let out = program(tensor, &input, coordinates, destination, tile, area).run_bytes();
    let mut expected = vec![0xEE; area as usize];
    for byte in 0..tile {
        let at = tensor.place(byte, destination) - AREA;
        expected[at as usize] = match tensor.source(coordinates, byte) {
            Some(from) => input[from],
            None => 0,
        };
    }
    assert!(out[..area as usize] == expected, "{tensor:?}");
}

/// Every swizzle, with its span in bytes.
pub const SWIZZLES: [(Swizzle, u32); 6] = [
    (Swizzle::B32, 32),
    (Swizzle::B64, 64),
    (Swizzle::B128, 128),
    (Swizzle::B128Atom32, 128),
    (Swizzle::B128Atom32Flip8, 128),
    (Swizzle::B128Atom64, 128),
];

/// 40 rows of bytes.
fn swizzled_tile(swizzle: Swizzle, width: u32) -> Tensor {
    Tensor::new(DataType::Uint8, 8, &[256, 64], &[width, 40]).swizzle(swizzle)
}

#[test]
fn dense_tiles_are_not_permuted() {
    check(&swizzled_tile(Swizzle::None, 48), &[16, 3], AREA + 128);
}

#[test]
fn swizzle_32b_swaps_chunks_of_every_other_line() {
    check(&swizzled_tile(Swizzle::B32, 32), &[16, 3], AREA);
}

#[test]
fn swizzle_64b_permutes_four_chunks_by_line() {
    check(&swizzled_tile(Swizzle::B64, 64), &[16, 3], AREA);
}

#[test]
fn swizzle_128b_permutes_eight_chunks_by_line() {
    check(&swizzled_tile(Swizzle::B128, 128), &[16, 3], AREA);
}

#[test]
fn swizzle_128b_with_32_byte_atoms_moves_pairs_of_chunks() {
    check(&swizzled_tile(Swizzle::B128Atom32, 128), &[16, 3], AREA);
}

#[test]
fn swizzle_128b_with_32_byte_atoms_and_flip_swaps_halves_of_chunks() {
    let tensor = swizzled_tile(Swizzle::B128Atom32Flip8, 128);
    check(&tensor, &[16, 3], AREA);
}

#[test]
fn swizzle_128b_with_64_byte_atoms_swaps_halves_of_lines() {
    check(&swizzled_tile(Swizzle::B128Atom64, 128), &[16, 3], AREA);
}

/// A tile that does not begin on the pattern's period starts in the middle of the pattern.
#[test]
fn swizzles_act_on_absolute_addresses() {
    for (swizzle, span) in SWIZZLES {
        for line in [1, 3, 6] {
            let tensor = swizzled_tile(swizzle, span);
            check(&tensor, &[0, 0], AREA + 128 * line);
        }
    }
}

/// What lies between the rows stays as it was, and is not credited.
#[test]
fn rows_of_narrow_boxes_lie_a_swizzle_span_apart() {
    for (swizzle, span) in SWIZZLES {
        for width in (16..span).step_by(16) {
            for line in [0, 3] {
                let tensor = swizzled_tile(swizzle, width);
                check(&tensor, &[16, 30], AREA + 128 * line);
            }
        }
    }
    let tensor = Tensor::new(DataType::Uint32, 32, &[16, 5, 4], &[8, 3, 2]);
    check(&tensor.swizzle(Swizzle::B64), &[4, 1, 3], AREA);
}

#[test]
fn tensors_have_one_to_five_dimensions() {
    let dims = [48, 5, 4, 3, 3];
    let boxes = [32, 3, 2, 2, 2];
    let coordinates = [16, 1, 2, 0, 1];
    for rank in 1..=5 {
        let tensor = Tensor::new(DataType::Uint8, 8, &dims[..rank], &boxes[..rank]);
        check(&tensor, &coordinates[..rank], AREA);
    }
}

#[test]
fn strides_need_not_be_dense() {
    let mut tensor = Tensor::new(DataType::Uint16, 16, &[24, 5, 4], &[16, 3, 2]);
    tensor.strides = vec![96, 1024];
    check(&tensor, &[8, 1, 1], AREA);
}

/// Overlapping rows: a stride smaller than the row.
#[test]
fn strides_may_overlap() {
    let mut tensor = Tensor::new(DataType::Uint8, 8, &[64, 9], &[32, 8]);
    tensor.strides = vec![16];
    let bytes = 16 * 8 + 64;
    let input = noise(bytes);
    let out = program(&tensor, &input, &[0, 0], AREA, 256, 256).run_bytes();
    for byte in 0..256 {
        assert_eq!(out[byte], input[byte / 32 * 16 + byte % 32]);
    }
}

#[test]
fn coordinates_count_elements_of_the_type() {
    for (data_type, bits) in [
        (DataType::Uint8, 8),
        (DataType::Float16, 16),
        (DataType::Bfloat16, 16),
        (DataType::Int32, 32),
        (DataType::Float32, 32),
        (DataType::Float64, 64),
        (DataType::Uint64, 64),
    ] {
        let tensor = Tensor::new(data_type, bits, &[64, 6], &[32, 4]);
        check(&tensor, &[16, 1], AREA);
    }
}

/// TF32 rounds to fractions of 10 bits, to nearest even; a NaN loses its sign and its payload.
#[test]
fn tf32_is_rounded_to_nearest_even() {
    const WORDS: [(u32, u32); 12] = [
        (0x3F80_0FFF, 0x3F80_0000),
        (0x3F80_1000, 0x3F80_0000),
        (0x3F80_1001, 0x3F80_2000),
        (0xBF80_3000, 0xBF80_4000),
        (0x7F7F_EFFF, 0x7F7F_E000),
        (0x7F7F_F000, 0x7F80_0000),
        (0xFF80_0000, 0xFF80_0000),
        (0x7F80_0001, 0x7FFF_E000),
        (0xFFC0_0000, 0x7FFF_E000),
        (0x8000_1001, 0x8000_2000),
        (0x0040_0000, 0x0040_0000),
        (0x0000_1000, 0x0000_0000),
    ];
    let input: Vec<u8> = WORDS
        .iter()
        .flat_map(|(from, _)| from.to_le_bytes())
        .collect();
    for data_type in [DataType::Tfloat32, DataType::Tfloat32Ftz] {
        let tensor = Tensor::new(data_type, 32, &[12], &[12]);
        let out = program(&tensor, &input, &[0], AREA, 48, 48).run();
        assert_eq!(out[..12], WORDS.map(|(_, to)| to), "{data_type:?}");
    }
}

#[test]
fn f32_with_ftz_is_loaded_as_it_is() {
    let input: Vec<u8> = [1u32, 0x8000_0001, 0x007F_FFFF, 0xFFC0_0001]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let tensor = Tensor::new(DataType::Float32Ftz, 32, &[4], &[4]);
    let out = program(&tensor, &input, &[0], AREA, 16, 16).run_bytes();
    assert_eq!(out[..16], input);
}

/// Packed 4-bit elements are copied as they are: 256 of them fill a row of the 128-byte swizzle.
#[test]
fn packed_four_bit_elements_stay_packed() {
    let tensor = Tensor::new(DataType::U4x16Align8, 4, &[512, 24], &[256, 16]);
    check(&tensor.swizzle(Swizzle::B128), &[16, 2], AREA);
}

#[test]
fn element_strides_skip_elements() {
    let mut tensor = Tensor::new(DataType::Uint8, 8, &[48, 16, 12, 9, 8], &[32, 7, 5, 4, 3]);
    tensor.steps = vec![1, 2, 3, 4, 2];
    check(&tensor, &[0, 1, 2, 3, 0], AREA);
}

/// Bounds count coordinates of the tensor, not indices of the tile.
#[test]
fn element_strides_reach_the_border_early() {
    let mut tensor = Tensor::new(DataType::Uint8, 8, &[48, 8], &[32, 8]);
    tensor.steps = vec![1, 3];
    check(&tensor, &[0, 4], AREA);
    check(&tensor, &[0, -4], AREA);
}

#[test]
fn dimension_zero_has_no_element_stride() {
    let mut tensor = Tensor::new(DataType::Uint8, 8, &[96, 4], &[32, 4]);
    tensor.steps = vec![4, 1];
    check(&tensor, &[16, 0], AREA);
}

/// Each lane that executes the instruction issues a load of its own.
#[test]
fn every_active_lane_loads() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[128, 8], &[128, 1]);
    let input = noise(tensor.bytes());
    let body = format!(
        r"
    {BARRIERS}
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 512;
    mad.lo.u32 %r10, %r0, 128, %r1;
    add.u32 %r10, %r10, {AREA};
    add.u32 %r11, %r0, 2;
    setp.lt.u32 %p1, %r0, 4;
    @%p1 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r10], [%rd2, {{0, %r11}}], [%r1];
    {}
    {}
",
        wait(0, 0),
        dump_shared(AREA, 512)
    );
    let program = Program::with_input(&body, &input).map(|address| tensor.encode(address));
    assert_eq!(program.run_bytes()[..512], input[256..768]);
}

/// Two loads to one barrier: it completes when the bytes of both are there, whichever is first.
#[test]
fn a_barrier_collects_several_loads() {
    let tensor = Tensor::new(DataType::Uint8, 8, &[128, 8], &[128, 4]);
    let input = noise(tensor.bytes());
    let body = format!(
        r"
    {BARRIERS}
    add.u32 %r10, %r1, {AREA};
    add.u32 %r11, %r10, 512;
    @%p31 {}
    @%p31 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1], 1024;
    @%p31 {}
    {}
    {}
",
        instruction(&[0, 4], "%r11", "%r1"),
        instruction(&[0, 0], "%r10", "%r1"),
        wait(0, 0),
        dump_shared(AREA, 1024)
    );
    let program = Program::with_input(&body, &input).map(|address| tensor.encode(address));
    assert_eq!(program.run_bytes()[..1024], input[..]);
}
