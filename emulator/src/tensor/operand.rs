//! Rows of A and columns of B, wherever they lie. Whatever the kind, one instruction consumes 32 bytes of each along K.

use std::ops::Range;

use super::descriptor::{CHUNK_BYTES, SmemDescriptor, enclosing};
use super::memory::TensorMemory;
use crate::isa::alu::Format;

/// Bytes of K that one instruction consumes of each row.
pub const ROW_BYTES: usize = 32;

/// Chunks of a K-major row.
const ROW_CHUNKS: u32 = ROW_BYTES as u32 / CHUNK_BYTES;

/// Columns of tensor memory that hold the 32 bytes.
pub const TENSOR_COLUMNS: u32 = ROW_BYTES as u32 / 4;

/// The bytes of one row, in the order of K.
pub type RowBytes = [u8; ROW_BYTES];

/// An operand in shared memory: the rows that one CTA holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedOperand {
    pub descriptor: SmemDescriptor,
    pub rows: u32,
    /// Bytes of an element if the operand is M- or N-major; `None` if it is K-major.
    pub transposed: Option<u32>,
}

impl SharedOperand {
    /// The smallest range of shared memory that holds all rows.
    pub fn footprint(&self) -> Range<u32> {
        enclosing(self.chunk_addresses())
    }

    /// Where the 16-byte chunks of all rows lie.
    pub fn chunk_addresses(&self) -> impl Iterator<Item = u32> {
        let (lines, chunks) = match self.transposed {
            None => (self.rows, ROW_CHUNKS),
            Some(element) => (
                ROW_BYTES as u32 / element,
                (self.rows * element).div_ceil(CHUNK_BYTES),
            ),
        };
        let address = move |line, chunk| match self.transposed {
            None => self.descriptor.chunk_address(line, chunk),
            Some(_) => self.descriptor.transposed_chunk_address(chunk, line),
        };
        (0..lines).flat_map(move |line| (0..chunks).map(move |chunk| address(line, chunk)))
    }

    /// The bytes of row `row`. `shared` reaches to the end of [`SharedOperand::footprint`].
    pub fn row(&self, row: u32, shared: &[u8]) -> RowBytes {
        let mut bytes = [0; ROW_BYTES];
        match self.transposed {
            None => {
                for (chunk, bytes) in bytes.chunks_exact_mut(CHUNK_BYTES as usize).enumerate() {
                    let at = self.descriptor.chunk_address(row, chunk as u32) as usize;
                    bytes.copy_from_slice(&shared[at..at + CHUNK_BYTES as usize]);
                }
            }
            Some(element) => {
                let (chunk, offset) = (row * element / CHUNK_BYTES, row * element % CHUNK_BYTES);
                for (k, bytes) in bytes.chunks_exact_mut(element as usize).enumerate() {
                    let at = self.descriptor.transposed_chunk_address(chunk, k as u32) + offset;
                    bytes.copy_from_slice(&shared[at as usize..(at + element) as usize]);
                }
            }
        }
        bytes
    }
}

/// The bytes of A in one lane of tensor memory, from `column` on.
pub fn tensor_row(memory: &TensorMemory, lane: u32, column: u32) -> RowBytes {
    let words = &memory.row(lane as usize)[column as usize..][..TENSOR_COLUMNS as usize];
    let mut bytes = [0; ROW_BYTES];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The codes of a row's elements.
///
/// 6- and 4-bit elements come in groups of 16, one per 16 bytes: a stream of bits, the lowest first, and then padding
/// (PTX ISA §9.7.16.10.4; the byte order is that of sf-tensor/tcgen05 `tcgen05_f8f6f4_probe.cu`, which ran on a B200).
///
/// ```text
/// 6 bits   | 12 bytes of elements | 4 of padding |
/// 4 bits   | 8 bytes of elements  | 8 of padding |
/// ```
pub fn codes(format: Format, row: &RowBytes) -> Vec<u32> {
    let bits = format.bits();
    if bits >= 8 {
        let element = row.chunks_exact(bits as usize / 8);
        return element
            .map(|bytes| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |code, &byte| code << 8 | u32::from(byte))
            })
            .collect();
    }
    let group = |bytes: &[u8]| -> u128 {
        bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u128::from(byte))
    };
    let words = row.chunks_exact(CHUNK_BYTES as usize).map(group);
    words
        .flat_map(|word| (0..16).map(move |i| (word >> (i * bits)) as u32 & ((1 << bits) - 1)))
        .collect()
}
