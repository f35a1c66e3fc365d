//! `cp.async.bulk.tensor` and `cp.reduce.async.bulk.tensor` from shared to global memory: which bytes go where.

use std::ops::Range;

use super::tensor_map::TensorMap;
use super::tile::{TmaFault, check, for_each_chunk, in_bounds_bytes, rows};

/// Checks a store of the tile at offset `source` of a shared window of `available` bytes.
pub fn check_store(
    map: &TensorMap,
    coordinates: &[i32],
    source: u32,
    available: usize,
) -> Result<(), TmaFault> {
    let data_type = map.data_type();
    if data_type.is_gapped() {
        return Err(TmaFault::GappedType { data_type });
    }
    check(map, coordinates, source, available)?;
    let below = coordinates.iter().position(|coordinate| *coordinate < 0);
    match below {
        Some(dimension) => Err(TmaFault::StoreBelowZero {
            dimension,
            coordinate: coordinates[dimension],
        }),
        None => Ok(()),
    }
}

/// The rows of the tile at offset `source` without what lies between, dimension 0 fastest. The store has been checked.
pub fn read_tile(map: &TensorMap, source: u32, shared: &[u8]) -> Vec<u8> {
    let mut tile = vec![0; map.tile_bytes() as usize];
    let row_bytes = map.row_bytes() as usize;
    for (index, row) in tile.chunks_exact_mut(row_bytes).enumerate() {
        let at = source + index as u32 * map.row_pitch();
        for_each_chunk(map.swizzle(), at, row_bytes, |dense, swizzled| {
            row[dense].copy_from_slice(&shared[swizzled]);
        });
    }
    tile
}

/// What a store writes: bytes of the dense tile, and the global address that they go to. Elements outside of the
/// tensor are left out (PTX ISA §5.5.3.3). The store has been checked.
pub fn pieces<'a>(
    map: &'a TensorMap,
    coordinates: &'a [i32],
) -> impl Iterator<Item = (Range<usize>, u64)> + use<'a> {
    let row_bytes = map.row_bytes() as usize;
    let columns = in_bounds_bytes(map, coordinates[0]);
    rows(map, coordinates)
        .enumerate()
        .filter_map(move |(index, address)| {
            let address = address?.wrapping_add(columns.start as u64);
            let start = index * row_bytes;
            (!columns.is_empty()).then_some((start + columns.start..start + columns.end, address))
        })
}
