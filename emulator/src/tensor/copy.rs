//! `tcgen05.cp`: shared memory to tensor memory (PTX ISA §9.7.16.9).

use std::ops::Range;

use thiserror::Error;

use super::descriptor::{CHUNK_BYTES, DescriptorError, SmemDescriptor, enclosing};
use super::memory::{TensorAddress, TensorMemory, TensorMemoryError};
use crate::isa::ir::CopyShape;
use crate::tma::Swizzle;

/// Why a copy to tensor memory cannot run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CopyError {
    #[error("tcgen05.cp: {0}")]
    Descriptor(#[from] DescriptorError),
    #[error(
        "tcgen05.cp.4x256b is not emulated: public sources disagree on which lanes it refreshes"
    )]
    Refresh,
    #[error("tcgen05.cp with the 128-byte swizzle with 32-byte atoms is not emulated")]
    SwizzleAtom32,
    #[error("tcgen05.cp to lane {lane}: the destination must start at lane 0")]
    Lane { lane: u32 },
    #[error("tcgen05.cp reads shared memory up to {end:#x}; the CTA has {available:#x} bytes")]
    SharedBounds { end: u32, available: usize },
    #[error(transparent)]
    Memory(#[from] TensorMemoryError),
}

/// A checked `tcgen05.cp`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorCopy {
    source: SmemDescriptor,
    column: u32,
    rows: u32,
    /// 16-byte pieces of a row: four columns each.
    chunks: u32,
    shape: CopyShape,
}

impl TensorCopy {
    /// Checks the operands at issue. `address` is the tensor memory address, `descriptor` the shared-memory descriptor.
    pub fn new(shape: CopyShape, address: u32, descriptor: u64) -> Result<TensorCopy, CopyError> {
        let (rows, chunks) = match shape {
            CopyShape::S128x256b => (128, 2),
            CopyShape::S128x128b => (128, 1),
            CopyShape::S64x128bWarpx2_02_13 | CopyShape::S64x128bWarpx2_01_23 => (64, 1),
            CopyShape::S32x128bWarpx4 => (32, 1),
            CopyShape::S4x256b => return Err(CopyError::Refresh),
        };
        let TensorAddress { lane, column } = TensorAddress::from_bits(address);
        if lane != 0 {
            return Err(CopyError::Lane { lane });
        }
        let source = SmemDescriptor::decode(descriptor)?;
        if source.swizzle == Swizzle::B128Atom32 {
            return Err(CopyError::SwizzleAtom32);
        }
        Ok(TensorCopy {
            source,
            column,
            rows,
            chunks,
            shape,
        })
    }

    /// The range of shared memory that holds everything the copy reads.
    pub fn shared_footprint(&self) -> Range<u32> {
        enclosing(self.chunk_addresses())
    }

    /// Where the 16-byte chunks that it reads lie.
    pub fn chunk_addresses(&self) -> impl Iterator<Item = u32> {
        self.source.chunk_addresses(self.rows, self.chunks)
    }

    /// The columns that the copy writes, in all 128 lanes.
    pub fn columns(&self) -> Range<u32> {
        self.column..self.column + self.chunks * CHUNK_BYTES / 4
    }

    /// Lanes that receive `row`.
    ///
    /// ```text
    /// 128x…            row
    /// 64x128b 02_13    row, row + 64                      rows 0–31 go to warps 0 and 2
    /// 64x128b 01_23    row, row + 32 (rows 0–31); row + 32, row + 64 (rows 32–63)
    /// 32x128b warpx4   row, row + 32, row + 64, row + 96
    /// ```
    fn lanes(&self, row: u32) -> impl Iterator<Item = u32> + use<> {
        let (first, step, count) = match self.shape {
            CopyShape::S64x128bWarpx2_02_13 => (row, 64, 2),
            CopyShape::S64x128bWarpx2_01_23 => (row % 32 + row / 32 * 64, 32, 2),
            CopyShape::S32x128bWarpx4 => (row, 32, 4),
            _ => (row, 0, 1),
        };
        (0..count).map(move |i| first + i * step)
    }

    /// Copies. `shared` is the CTA's shared window from offset 0.
    pub fn execute(&self, shared: &[u8], memory: &mut TensorMemory) -> Result<(), CopyError> {
        memory.check_columns("tcgen05.cp", self.columns())?;
        let end = self.shared_footprint().end;
        if end as usize > shared.len() {
            return Err(CopyError::SharedBounds {
                end,
                available: shared.len(),
            });
        }
        for row in 0..self.rows {
            for chunk in 0..self.chunks {
                let at = self.source.chunk_address(row, chunk) as usize;
                let words: [u32; 4] = std::array::from_fn(|i| {
                    let at = at + 4 * i;
                    u32::from_le_bytes([shared[at], shared[at + 1], shared[at + 2], shared[at + 3]])
                });
                let column = (self.column + chunk * 4) as usize;
                for lane in self.lanes(row) {
                    memory.row_mut(lane as usize)[column..column + 4].copy_from_slice(&words);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_SWIZZLE_SBO_128: u64 = 0x0000_4008_0000_0000;

    fn shared() -> Vec<u8> {
        (0..8192u32).map(|i| (i ^ i >> 8) as u8).collect()
    }

    fn allocated() -> TensorMemory {
        let mut memory = TensorMemory::new();
        memory.allocate(512).unwrap();
        memory
    }

    fn byte(memory: &TensorMemory, lane: usize, column: usize, byte: usize) -> u8 {
        memory.row(lane)[column].to_le_bytes()[byte]
    }

    /// The cuBLAS scale layout puts (row, k-block) at (row % 32) * 16 + row / 32 * 4 + k-block of a 512-byte tile.
    #[test]
    fn a_scale_tile_lands_in_all_partitions() {
        let (shared, mut memory) = (shared(), allocated());
        let descriptor = NO_SWIZZLE_SBO_128 | 1024 >> 4;
        let copy = TensorCopy::new(CopyShape::S32x128bWarpx4, 40, descriptor).unwrap();
        assert_eq!(copy.shared_footprint(), 1024..1536);
        assert_eq!(copy.columns(), 40..44);
        copy.execute(&shared, &mut memory).unwrap();
        for row in 0..128 {
            for k in 0..4 {
                let expected = shared[1024 + row % 32 * 16 + row / 32 * 4 + k];
                for warp in 0..4 {
                    assert_eq!(
                        byte(&memory, row % 32 + 32 * warp, 40 + row / 32, k),
                        expected
                    );
                }
            }
        }
    }

    #[test]
    fn full_height_copies_map_rows_to_lanes() {
        let (shared, mut memory) = (shared(), allocated());
        // Rows of 32 bytes: the second 16-byte chunk 2048 bytes after the first.
        let descriptor = NO_SWIZZLE_SBO_128 | (2048 >> 4) << 16;
        let copy = TensorCopy::new(CopyShape::S128x256b, 0, descriptor).unwrap();
        copy.execute(&shared, &mut memory).unwrap();
        assert_eq!(copy.shared_footprint(), 0..4096);
        for lane in 0..128 {
            for b in 0..32 {
                let expected = shared[lane * 16 + b / 16 * 2048 + b % 16];
                assert_eq!(byte(&memory, lane, b / 4, b % 4), expected);
            }
        }
        let copy = TensorCopy::new(CopyShape::S128x128b, 100, descriptor).unwrap();
        assert_eq!(copy.columns(), 100..104);
        copy.execute(&shared, &mut memory).unwrap();
        assert_eq!(byte(&memory, 77, 103, 2), shared[77 * 16 + 14]);
    }

    #[test]
    fn half_height_copies_repeat_by_warp_pairs() {
        let (shared, mut memory) = (shared(), allocated());
        let row_of_warp = |shape, memory: &mut TensorMemory| {
            let copy = TensorCopy::new(shape, 0, NO_SWIZZLE_SBO_128).unwrap();
            copy.execute(&shared, memory).unwrap();
            [0, 1, 2, 3].map(|warp| {
                let word = memory.row(32 * warp)[0].to_le_bytes();
                (0..64).find(|row| shared[row * 16..][..4] == word).unwrap()
            })
        };
        assert_eq!(
            row_of_warp(CopyShape::S64x128bWarpx2_02_13, &mut memory),
            [0, 32, 0, 32]
        );
        assert_eq!(
            row_of_warp(CopyShape::S64x128bWarpx2_01_23, &mut memory),
            [0, 0, 32, 32]
        );
    }

    #[test]
    fn unsound_copies_are_refused() {
        let shape = CopyShape::S32x128bWarpx4;
        assert_eq!(
            TensorCopy::new(CopyShape::S4x256b, 0, NO_SWIZZLE_SBO_128),
            Err(CopyError::Refresh)
        );
        assert_eq!(
            TensorCopy::new(shape, 32 << 16, NO_SWIZZLE_SBO_128),
            Err(CopyError::Lane { lane: 32 })
        );
        assert!(matches!(
            TensorCopy::new(shape, 0, 0),
            Err(CopyError::Descriptor(_))
        ));
        assert_eq!(
            TensorCopy::new(
                shape,
                0,
                NO_SWIZZLE_SBO_128 & !(0x3fff << 32) | 32 << 32 | 1 << 61
            ),
            Err(CopyError::SwizzleAtom32)
        );
        let copy = TensorCopy::new(shape, 510, NO_SWIZZLE_SBO_128).unwrap();
        assert!(matches!(
            copy.execute(&shared(), &mut allocated()),
            Err(CopyError::Memory(_))
        ));
        let copy = TensorCopy::new(shape, 0, NO_SWIZZLE_SBO_128 | 512).unwrap();
        assert!(matches!(
            copy.execute(&shared(), &mut allocated()),
            Err(CopyError::SharedBounds { .. })
        ));
    }
}
