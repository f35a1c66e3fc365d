//! `cp.async.bulk.tensor` from global to shared memory: which bytes go where.

use std::ops::Range;

use thiserror::Error;

use super::swizzle::Swizzle;
use super::tensor_map::{DataType, MAX_RANK, OutOfBoundsFill, TensorMap};

/// Alignment of a tile in shared memory. A smaller one silently corrupts on hardware.
pub const TILE_ALIGNMENT: u32 = 128;

/// Bytes of a row from whose multiples a tile starts. At others an H100 ends the kernel.
const COORDINATE_UNIT: i64 = 16;

/// Elements of one copy unit of the 4-bit types.
const SUB_BYTE_UNIT: i32 = 16;

/// What the first coordinate of the types with gaps is a multiple of (PTX ISA §9.7.9.27.1.1).
const GAPPED_COORDINATE: i32 = 128;

/// What a NaN fill repeats, whatever the type.
const NAN_FILL: [u8; 2] = [0xF7, 0x7F];

/// What NaN becomes in TF32.
const TF32_NAN: u32 = 0x7FFF_E000;

/// What a load leaves in a gap: undefined, so what no element has by chance.
const GAP: u8 = 0xFF;

/// The largest inner box extent: 256 elements of 8 bytes.
const MAX_ROW_BYTES: usize = 2048;

/// Bytes that no swizzle but [`Swizzle::B128Atom32Flip8`] splits.
pub const CHUNK: usize = 16;

/// Read access to global memory.
pub trait GlobalRead {
    /// Fills `out` from `address`, or says why the range cannot be read.
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), GlobalReadError>;
}

/// A global read that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot read {bytes} bytes of global memory at {address:#x}: {reason}")]
pub struct GlobalReadError {
    pub address: u64,
    pub bytes: usize,
    pub reason: String,
}

/// Why a tensor copy cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TmaFault {
    #[error("the tensor map has rank {rank}, the instruction {found} coordinates")]
    Coordinates { rank: usize, found: usize },
    #[error("the tile at {offset:#x} in shared memory must be aligned to 128 bytes")]
    Alignment { offset: u32 },
    #[error("the tile needs shared memory {start:#x}..{end:#x}; the CTA has {available:#x} bytes")]
    SharedBounds {
        start: u64,
        end: u64,
        available: usize,
    },
    #[error(
        "coordinate {coordinate} in dimension 0 of a tensor of {data_type:?}: a tile starts at a multiple of 16 bytes"
    )]
    UnalignedCoordinate {
        data_type: DataType,
        coordinate: i32,
    },
    #[error(
        "coordinate {coordinate} in dimension {dimension}: the tile of a store or reduction does not start below 0"
    )]
    StoreBelowZero { dimension: usize, coordinate: i32 },
    #[error("stores of {data_type:?} are not emulated: only loads of this type are documented")]
    GappedType { data_type: DataType },
    #[error(
        "coordinate {coordinate} in dimension 0 of a packed 4-bit tensor: copies that do not start at a multiple of 16 \
         elements are not emulated"
    )]
    SubByteCoordinate { coordinate: i32 },
    #[error(
        "coordinate {coordinate} in dimension 0 of a tensor of {data_type:?}: it must be a multiple \
         of {GAPPED_COORDINATE}"
    )]
    GappedCoordinate {
        data_type: DataType,
        coordinate: i32,
    },
    #[error(transparent)]
    Global(#[from] GlobalReadError),
}

impl TmaFault {
    /// Whether an H100 takes the instruction for an illegal one.
    pub fn is_illegal_instruction(&self) -> bool {
        matches!(
            self,
            Self::UnalignedCoordinate { .. } | Self::StoreBelowZero { .. }
        )
    }
}

/// The shared memory from the start of the tile at `at` to its end.
pub fn extent(map: &TensorMap, at: u32) -> Range<u32> {
    at..at.saturating_add(map.extent_bytes())
}

/// Where the 16-byte chunks of the tile's rows lie in shared memory.
pub fn chunks(map: &TensorMap, at: u32) -> impl Iterator<Item = u32> {
    let (rows, pitch) = (map.tile_bytes() / map.row_bytes(), map.row_pitch());
    let (row_bytes, swizzle) = (map.row_bytes(), map.swizzle());
    (0..rows).flat_map(move |row| {
        let row = at + row * pitch;
        let chunks = (row..row + row_bytes).step_by(CHUNK);
        chunks.map(move |chunk| swizzle.apply(chunk) & !(CHUNK as u32 - 1))
    })
}

/// Copies the box at `coordinates` (innermost first) to shared memory and returns the bytes that the load credits to its
/// barrier: the whole tile, elements outside the tensor included, but no gaps.
///
/// `destination` is an offset in the CTA's shared window, `shared` that window from offset 0. Element `i` of dimension
/// `d` comes from coordinate `coordinates[d] + i * element_stride[d]`; outside the tensor the map's fill value is
/// written. The tile's rows, dimension 1 fastest, follow each other, at the swizzle's span where there is one, and are
/// swizzled by absolute address (PTX ISA §5.5). Nothing is written unless the parameters are sound; a failing global
/// read leaves earlier rows in place.
pub fn load_tile(
    map: &TensorMap,
    coordinates: &[i32],
    destination: u32,
    global: &dyn GlobalRead,
    shared: &mut [u8],
) -> Result<u32, TmaFault> {
    check(map, coordinates, destination, shared.len())?;
    let (mut packed, mut spread) = ([0; MAX_ROW_BYTES], [GAP; MAX_ROW_BYTES]);
    let packed = &mut packed[..map.packed_row_bytes() as usize];
    let columns = in_bounds_bytes(map, coordinates[0]);
    for (index, address) in rows(map, coordinates).enumerate() {
        fetch_row(map, address, columns.clone(), global, packed)?;
        let at = destination + index as u32 * map.row_pitch();
        let row = match map.data_type().is_gapped() {
            true => spread_row(packed, &mut spread[..map.row_bytes() as usize]),
            false => &*packed,
        };
        place_row(map.swizzle(), at, row, shared);
    }
    Ok(map.credited_bytes())
}

/// Puts 16 elements at the start of each 16 bytes of `row`.
fn spread_row<'a>(packed: &[u8], row: &'a mut [u8]) -> &'a [u8] {
    let unit = packed.len() * CHUNK / row.len();
    for (chunk, elements) in row.chunks_exact_mut(CHUNK).zip(packed.chunks_exact(unit)) {
        chunk[..unit].copy_from_slice(elements);
    }
    row
}

/// What every tensor copy has to satisfy, whichever way it goes. `at` is the tile's offset in shared memory.
pub(super) fn check(
    map: &TensorMap,
    coordinates: &[i32],
    at: u32,
    available: usize,
) -> Result<(), TmaFault> {
    if coordinates.len() != map.rank() {
        return Err(TmaFault::Coordinates {
            rank: map.rank(),
            found: coordinates.len(),
        });
    }
    if !at.is_multiple_of(TILE_ALIGNMENT) {
        return Err(TmaFault::Alignment { offset: at });
    }
    let start = u64::from(at);
    let end = start + u64::from(map.extent_bytes());
    if end > available as u64 {
        return Err(TmaFault::SharedBounds {
            start,
            end,
            available,
        });
    }
    match map.data_type() {
        data_type if data_type.is_gapped() && coordinates[0] % GAPPED_COORDINATE != 0 => {
            Err(TmaFault::GappedCoordinate {
                data_type,
                coordinate: coordinates[0],
            })
        }
        DataType::U4x16Align8 if coordinates[0] % SUB_BYTE_UNIT != 0 => {
            Err(TmaFault::SubByteCoordinate {
                coordinate: coordinates[0],
            })
        }
        data_type if !is_aligned(data_type, coordinates[0]) => Err(TmaFault::UnalignedCoordinate {
            data_type,
            coordinate: coordinates[0],
        }),
        _ => Ok(()),
    }
}

/// Whether rows that start at the coordinate start at a multiple of 16 bytes; no rule of types below a byte, which have
/// others.
fn is_aligned(data_type: DataType, coordinate: i32) -> bool {
    let bits = i64::from(data_type.global_bits());
    bits < 8 || i64::from(coordinate) * (bits / 8) % COORDINATE_UNIT == 0
}

/// The bytes of a row of the tile that lie inside the tensor in dimension 0.
pub(super) fn in_bounds_bytes(map: &TensorMap, coordinate: i32) -> Range<usize> {
    let bits = i64::from(map.data_type().global_bits());
    let row_bytes = i64::from(map.packed_row_bytes());
    let start = i64::from(coordinate) * bits / 8;
    let extent = map.global_dims()[0] as i64 * bits / 8;
    let first = (-start).clamp(0, row_bytes);
    let last = (extent - start).clamp(first, row_bytes);
    first as usize..last as usize
}

/// The rows (dimension 0) of the tile in the order of its dense layout: the global address of the row's first element,
/// or `None` outside the tensor. With a negative `coordinates[0]` the address lies before the row's first byte.
pub(super) fn rows<'a>(
    map: &'a TensorMap,
    coordinates: &'a [i32],
) -> impl Iterator<Item = Option<u64>> + use<'a> {
    let [_, n1, n2, n3, n4] = map.tile_dims();
    let outer = move |i: u32| [i % n1, i / n1 % n2, i / n1 / n2 % n3, i / n1 / n2 / n3];
    (0..n1 * n2 * n3 * n4).map(move |row| row_address(map, coordinates, outer(row)))
}

/// Global address of element `coordinates[0]` of the row at tile indices `outer` (dimensions 1 to 4).
fn row_address(map: &TensorMap, coordinates: &[i32], outer: [u32; MAX_RANK - 1]) -> Option<u64> {
    let bits = i64::from(map.data_type().global_bits());
    let start = i64::from(coordinates[0]) * bits / 8;
    let mut address = map.global_address().wrapping_add_signed(start);
    for d in 1..map.rank() {
        let step = i64::from(outer[d - 1]) * i64::from(map.element_strides()[d]);
        let coordinate = u64::try_from(i64::from(coordinates[d]) + step).ok()?;
        if coordinate >= map.global_dims()[d] {
            return None;
        }
        // Strides are below 2^40 and coordinates below 2^32: an address outside the space wraps and the access reports
        // it.
        address = address.wrapping_add(map.global_strides()[d - 1].wrapping_mul(coordinate));
    }
    Some(address)
}

fn fetch_row(
    map: &TensorMap,
    address: Option<u64>,
    columns: Range<usize>,
    global: &dyn GlobalRead,
    row: &mut [u8],
) -> Result<(), GlobalReadError> {
    let columns = match address {
        Some(_) => columns,
        None => 0..0,
    };
    if columns.len() < row.len() {
        fill_out_of_bounds(map, row);
    }
    if let Some(address) = address
        && !columns.is_empty()
    {
        let first = address.wrapping_add(columns.start as u64);
        let row = &mut row[columns];
        global.read(first, row)?;
        if let DataType::Tfloat32 | DataType::Tfloat32Ftz = map.data_type() {
            round_to_tf32(row);
        }
    }
    Ok(())
}

fn fill_out_of_bounds(map: &TensorMap, row: &mut [u8]) {
    match map.out_of_bounds() {
        OutOfBoundsFill::Zero => row.fill(0),
        OutOfBoundsFill::NanRequestZeroFma => row.as_chunks_mut().0.fill(NAN_FILL),
    }
}

/// Rounds f32 elements to fractions of 10 bits, to nearest even. Subnormals stay, with `ftz` too.
fn round_to_tf32(row: &mut [u8]) {
    const CUT: u32 = 1 << 13;
    for element in row.as_chunks_mut().0 {
        let word = u32::from_le_bytes(*element);
        let is_odd = word & CUT != 0;
        let rounded = match f32::from_bits(word).is_nan() {
            true => TF32_NAN,
            false => (word + (CUT / 2 - 1) + u32::from(is_odd)) & !(CUT - 1),
        };
        *element = rounded.to_le_bytes();
    }
}

fn place_row(swizzle: Swizzle, at: u32, row: &[u8], shared: &mut [u8]) {
    for_each_chunk(swizzle, at, row.len(), |dense, swizzled| {
        shared[swizzled].copy_from_slice(&row[dense]);
    });
}

/// Calls `copy` with the bytes of a row that stay together, in the row and in shared memory.
pub(super) fn for_each_chunk(
    swizzle: Swizzle,
    at: u32,
    row_bytes: usize,
    mut copy: impl FnMut(Range<usize>, Range<usize>),
) {
    let chunk = match swizzle {
        Swizzle::None => row_bytes,
        Swizzle::B128Atom32Flip8 => CHUNK / 2,
        _ => CHUNK,
    };
    for start in (0..row_bytes).step_by(chunk) {
        let to = swizzle.apply(at + start as u32) as usize;
        copy(start..start + chunk, to..to + chunk);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tensor_map::{Interleave, L2Promotion, TiledDescription};
    use super::*;

    const BASE: u64 = 0x10_0000;

    struct Memory(Vec<u8>);

    impl Memory {
        fn counting(bytes: usize) -> Memory {
            Memory((0..bytes).map(|i| (i * 7 + i / 251) as u8).collect())
        }
    }

    impl GlobalRead for Memory {
        fn read(&self, address: u64, out: &mut [u8]) -> Result<(), GlobalReadError> {
            let fault = || GlobalReadError {
                address,
                bytes: out.len(),
                reason: "outside the allocation".into(),
            };
            let start = address.checked_sub(BASE).ok_or_else(fault)? as usize;
            let source = self.0.get(start..start + out.len()).ok_or_else(fault)?;
            out.copy_from_slice(source);
            Ok(())
        }
    }

    fn fp4_map(k: u64, rows: u64, box_k: u32, box_rows: u32, swizzle: Swizzle) -> TensorMap {
        TensorMap::encode_tiled(&TiledDescription {
            data_type: DataType::U4x16Align8,
            global_address: BASE,
            global_dims: &[k, rows],
            global_strides: &[(k / 2).next_multiple_of(16)],
            box_dims: &[box_k, box_rows],
            element_strides: &[1, 1],
            interleave: Interleave::None,
            swizzle,
            l2_promotion: L2Promotion::None,
            out_of_bounds: OutOfBoundsFill::Zero,
        })
        .unwrap()
    }

    #[test]
    fn an_operand_tile_lands_where_the_descriptor_reads_it() {
        let memory = Memory::counting(512 * 256);
        let map = fp4_map(1024, 256, 256, 128, Swizzle::B128);
        let mut shared = vec![0xee; 1024 + 128 * 128];
        let bytes = load_tile(&map, &[256, 128], 1024, &memory, &mut shared).unwrap();
        assert_eq!(bytes, 128 * 128);
        for row in 0..128 {
            for byte in 0..128 {
                let at = 1024 + row * 128 + byte;
                let at = at ^ ((at >> 7) & 7) << 4;
                assert_eq!(shared[at], memory.0[(128 + row) * 512 + 128 + byte]);
            }
        }
        assert!(shared[..1024].iter().all(|&b| b == 0xee));
    }

    #[test]
    fn elements_outside_are_zero_and_still_credited() {
        let memory = Memory(vec![0x11; 4 * 48]);
        // 80 of 128 columns and 4 of 8 rows exist; 40 bytes per row.
        let map = fp4_map(80, 4, 128, 8, Swizzle::None);
        let mut shared = vec![0xee; 64 * 8];
        assert_eq!(
            load_tile(&map, &[0, -2], 0, &memory, &mut shared),
            Ok(64 * 8)
        );
        for (i, &byte) in shared.iter().enumerate() {
            let inside = (2..6).contains(&(i / 64)) && i % 64 < 40;
            assert_eq!(byte, if inside { 0x11 } else { 0 }, "byte {i}");
        }
    }

    #[test]
    fn unsound_loads_are_refused() {
        let memory = Memory::counting(512 * 256);
        let mut shared = vec![0; 128 * 128];
        let map = fp4_map(1024, 256, 256, 128, Swizzle::B128);
        let mut load = |map: &TensorMap, at: &[i32], to| {
            load_tile(map, at, to, &memory, &mut shared).unwrap_err()
        };
        assert!(matches!(
            load(&map, &[0], 0),
            TmaFault::Coordinates { rank: 2, found: 1 }
        ));
        assert!(matches!(
            load(&map, &[0, 0], 64),
            TmaFault::Alignment { offset: 64 }
        ));
        assert!(matches!(
            load(&map, &[0, 0], 128),
            TmaFault::SharedBounds { .. }
        ));
        assert!(matches!(
            load(&map, &[8, 0], 0),
            TmaFault::SubByteCoordinate { coordinate: 8 }
        ));
    }

    #[test]
    fn a_map_beyond_its_allocation_is_reported_by_address() {
        let memory = Memory::counting(512 * 100);
        let map = fp4_map(1024, 256, 256, 128, Swizzle::B128);
        let mut shared = vec![0; 128 * 128];
        let fault = load_tile(&map, &[0, 0], 0, &memory, &mut shared).unwrap_err();
        assert!(
            matches!(fault, TmaFault::Global(GlobalReadError { address, .. }) if address == BASE + 512 * 100)
        );
    }

    proptest! {
        #[test]
        fn tiles_of_any_rank_follow_the_definition(
            dims in prop::collection::vec(1u64..9, 1..=5),
            boxes in prop::collection::vec(1u32..5, 5),
            strides in prop::collection::vec(1u32..4, 5),
            origin in prop::collection::vec(-4i32..9, 5).prop_map(|mut origin| {
                // Of f32, four elements are 16 bytes.
                origin[0] *= 4;
                origin
            }),
            swizzle in 0..Swizzle::ALL.len(),
            nan in any::<bool>(),
        ) {
            let rank = dims.len();
            let swizzle = Swizzle::ALL[swizzle];
            let mut dims = dims;
            dims[0] += 20;
            let mut boxes = boxes[..rank].to_vec();
            boxes[0] = swizzle.span().unwrap_or(48) / 4;
            let mut pitch = vec![(dims[0] * 4).next_multiple_of(16)];
            for d in 1..rank {
                pitch.push(pitch[d - 1] * dims[d]);
            }
            let memory = Memory::counting(pitch[rank - 1] as usize);
            let map = TensorMap::encode_tiled(&TiledDescription {
                data_type: DataType::Float32,
                global_address: BASE,
                global_dims: &dims,
                global_strides: &pitch[..rank - 1],
                box_dims: &boxes,
                element_strides: &strides[..rank],
                interleave: Interleave::None,
                swizzle,
                l2_promotion: L2Promotion::None,
                out_of_bounds: if nan {
                    OutOfBoundsFill::NanRequestZeroFma
                } else {
                    OutOfBoundsFill::Zero
                },
            }).unwrap();
            let origin = &origin[..rank];
            let destination = 384;
            let mut shared = vec![0xee; 384 + map.tile_bytes() as usize];
            prop_assert_eq!(
                load_tile(&map, origin, destination, &memory, &mut shared),
                Ok(map.tile_bytes())
            );
            let tile = map.tile_dims();
            for element in 0..map.tile_bytes() / 4 {
                let mut rest = element;
                let mut from = Some(0u64);
                for d in 0..rank {
                    let index = rest % tile[d];
                    rest /= tile[d];
                    let step = if d == 0 { 1 } else { strides[d] as i32 };
                    let x = origin[d] + index as i32 * step;
                    let inside = x >= 0 && (x as u64) < dims[d];
                    let scale = if d == 0 { 4 } else { pitch[d - 1] };
                    from = from.filter(|_| inside).map(|f| f + x as u64 * scale);
                }
                let expected: [u8; 4] = match from {
                    Some(from) => memory.0[from as usize..][..4].try_into().unwrap(),
                    None if nan => 0x7ff7_7ff7u32.to_le_bytes(),
                    None => [0; 4],
                };
                let at = swizzle.apply(destination + element * 4) as usize;
                prop_assert_eq!(&shared[at..at + 4], &expected);
            }
        }
    }
}
