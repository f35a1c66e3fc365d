//! Tensor memory: 128 lanes × 512 columns of 32 bits per CTA, and its allocator (PTX ISA §9.7.16.1, §9.7.16.7).

use std::ops::Range;

use thiserror::Error;

pub const LANES: usize = 128;
pub const COLUMNS: usize = 512;

/// Lanes of one warp's partition.
pub const PARTITION_LANES: usize = 32;

/// A lane's words are contiguous. The pitch exceeds the 512 columns so that one column's lanes do not all fall into the
/// same few sets of the host's first-level cache.
const PITCH: usize = COLUMNS + 16;

/// A tensor memory address: lane in bits 16–22, column in bits 0–8. Other bits are ignored: scale-factor addresses
/// carry a sub-word index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorAddress {
    pub lane: u32,
    pub column: u32,
}

impl TensorAddress {
    pub fn from_bits(bits: u32) -> TensorAddress {
        TensorAddress {
            lane: bits >> 16 & 0x7f,
            column: bits & 0x1ff,
        }
    }
}

/// An access outside tensor memory or outside what the CTA has allocated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TensorMemoryError {
    #[error("{what} needs tensor memory columns {}..{}; there are 512", .columns.start, .columns.end)]
    Columns {
        what: &'static str,
        columns: Range<u32>,
    },
    #[error(
        "{what} touches tensor memory columns {}..{}, which are not all allocated; allocated: {allocated:?}",
        .columns.start, .columns.end
    )]
    Unallocated {
        what: &'static str,
        columns: Range<u32>,
        allocated: Vec<Range<u32>>,
    },
}

/// A `tcgen05.alloc`, `dealloc` or `relinquish_alloc_permit` that breaks the rules.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AllocationError {
    #[error(
        "tcgen05.alloc/dealloc of {columns} columns: the count must be a power of two from 32 to 512"
    )]
    Count { columns: u32 },
    #[error("tcgen05.alloc of {columns} columns after one of {previous}: counts must not increase")]
    Increasing { columns: u32, previous: u32 },
    #[error("tcgen05.alloc after tcgen05.relinquish_alloc_permit")]
    Relinquished,
    #[error(
        "tcgen05.dealloc of {columns} columns at {address:#010x}: no such allocation; live: {live:?}"
    )]
    NotAllocated {
        address: u32,
        columns: u32,
        live: Vec<Range<u32>>,
    },
}

/// The tensor memory of one CTA.
#[derive(Clone, Debug)]
pub struct TensorMemory {
    words: Box<[u32]>,
    /// Sorted by column.
    allocations: Vec<Range<u32>>,
    last_count: Option<u32>,
    relinquished: bool,
}

impl Default for TensorMemory {
    fn default() -> TensorMemory {
        TensorMemory::new()
    }
}

impl TensorMemory {
    /// Nothing allocated, all words zero.
    pub fn new() -> TensorMemory {
        TensorMemory {
            words: vec![0; LANES * PITCH].into_boxed_slice(),
            allocations: Vec::new(),
            last_count: None,
            relinquished: false,
        }
    }

    /// Allocates `columns` columns and returns the address of the first; `None` while too few are free, when the
    /// instruction blocks. An allocation starts at a multiple of its size.
    pub fn allocate(&mut self, columns: u32) -> Result<Option<u32>, AllocationError> {
        TensorMemory::allocate_in(&mut [self], columns)
    }

    /// Allocates the same columns in each memory, as the CTAs of a pair do.
    pub fn allocate_in(
        memories: &mut [&mut TensorMemory],
        columns: u32,
    ) -> Result<Option<u32>, AllocationError> {
        check_count(columns)?;
        for memory in memories.iter() {
            memory.check_allocation(columns)?;
        }
        let base = (0..COLUMNS as u32)
            .step_by(columns as usize)
            .find(|base| memories.iter().all(|memory| memory.is_free(*base, columns)));
        if let Some(base) = base {
            for memory in memories {
                memory.last_count = Some(columns);
                memory.allocations.push(base..base + columns);
                memory.allocations.sort_by_key(|live| live.start);
            }
        }
        Ok(base)
    }

    fn check_allocation(&self, columns: u32) -> Result<(), AllocationError> {
        if self.relinquished {
            return Err(AllocationError::Relinquished);
        }
        match self.last_count {
            Some(previous) if columns > previous => {
                Err(AllocationError::Increasing { columns, previous })
            }
            _ => Ok(()),
        }
    }

    fn is_free(&self, base: u32, columns: u32) -> bool {
        self.allocations
            .iter()
            .all(|live| live.end <= base || base + columns <= live.start)
    }

    /// Frees one allocation: the address and count must be those of an earlier [`TensorMemory::allocate`].
    pub fn deallocate(&mut self, address: u32, columns: u32) -> Result<(), AllocationError> {
        check_count(columns)?;
        let found = self
            .allocations
            .iter()
            .position(|live| live.start == address && live.end - live.start == columns);
        match found {
            Some(index) => {
                self.allocations.remove(index);
                Ok(())
            }
            None => Err(AllocationError::NotAllocated {
                address,
                columns,
                live: self.allocations.clone(),
            }),
        }
    }

    /// `tcgen05.relinquish_alloc_permit`: no allocation may follow.
    pub fn relinquish(&mut self) {
        self.relinquished = true;
    }

    /// The allocated columns, by address.
    pub fn allocations(&self) -> &[Range<u32>] {
        &self.allocations
    }

    /// Checks that `what` may touch `columns`.
    pub fn check_columns(
        &self,
        what: &'static str,
        columns: Range<u32>,
    ) -> Result<(), TensorMemoryError> {
        if columns.end > COLUMNS as u32 {
            return Err(TensorMemoryError::Columns { what, columns });
        }
        let mut covered = columns.start;
        for live in &self.allocations {
            if live.start <= covered {
                covered = covered.max(live.end);
            }
        }
        if covered < columns.end {
            return Err(TensorMemoryError::Unallocated {
                what,
                columns,
                allocated: self.allocations.clone(),
            });
        }
        Ok(())
    }

    /// Overwrites all lanes of `columns`, so that reading what was never written shows.
    ///
    /// # Panics
    /// If `columns` reaches beyond 512.
    pub fn poison(&mut self, columns: Range<u32>, pattern: u32) {
        for lane in 0..LANES {
            self.row_mut(lane)[columns.start as usize..columns.end as usize].fill(pattern);
        }
    }

    /// All columns of one lane.
    ///
    /// # Panics
    /// If `lane` is 128 or more.
    #[inline]
    pub fn row(&self, lane: usize) -> &[u32; COLUMNS] {
        let row = &self.words[lane * PITCH..][..PITCH];
        row.first_chunk().expect("the pitch is at least a row")
    }

    /// All columns of one lane.
    ///
    /// # Panics
    /// If `lane` is 128 or more.
    #[inline]
    pub fn row_mut(&mut self, lane: usize) -> &mut [u32; COLUMNS] {
        let row = &mut self.words[lane * PITCH..][..PITCH];
        row.first_chunk_mut().expect("the pitch is at least a row")
    }

    /// The words from lane 0 of `column` on, and the distance from a lane's word to the next lane's.
    ///
    /// # Panics
    /// If `column` is 512 or more.
    pub fn words_from(&mut self, column: usize) -> (&mut [u32], usize) {
        assert!(column < COLUMNS, "column {column} of {COLUMNS}");
        (&mut self.words[column..], PITCH)
    }
}

fn check_count(columns: u32) -> Result<(), AllocationError> {
    if columns.is_power_of_two() && (32..=COLUMNS as u32).contains(&columns) {
        Ok(())
    } else {
        Err(AllocationError::Count { columns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ignore_the_sub_word_bits() {
        let address = TensorAddress::from_bits(0xc07f_01ff);
        assert_eq!(
            address,
            TensorAddress {
                lane: 127,
                column: 511
            }
        );
    }

    #[test]
    fn allocation_follows_the_rules() {
        let mut memory = TensorMemory::new();
        assert_eq!(
            memory.allocate(48),
            Err(AllocationError::Count { columns: 48 })
        );
        assert_eq!(
            memory.allocate(16),
            Err(AllocationError::Count { columns: 16 })
        );
        assert_eq!(
            memory.allocate(1024),
            Err(AllocationError::Count { columns: 1024 })
        );
        assert_eq!(memory.allocate(256), Ok(Some(0)));
        assert_eq!(
            memory.allocate(512),
            Err(AllocationError::Increasing {
                columns: 512,
                previous: 256
            })
        );
        assert_eq!(memory.allocate(128), Ok(Some(256)));
        assert_eq!(memory.allocate(128), Ok(Some(384)));
        assert_eq!(memory.allocate(32), Ok(None));
        assert!(memory.check_columns("test", 0..512).is_ok());
        assert!(matches!(
            memory.check_columns("test", 500..520),
            Err(TensorMemoryError::Columns { .. })
        ));
        assert_eq!(memory.deallocate(256, 128), Ok(()));
        assert!(matches!(
            memory.check_columns("test", 255..257),
            Err(TensorMemoryError::Unallocated { .. })
        ));
        assert!(matches!(
            memory.deallocate(256, 128),
            Err(AllocationError::NotAllocated { .. })
        ));
        assert!(matches!(
            memory.deallocate(384, 64),
            Err(AllocationError::NotAllocated { .. })
        ));
        memory.relinquish();
        assert_eq!(memory.allocate(32), Err(AllocationError::Relinquished));
        assert_eq!(memory.allocations(), [0..256, 384..512]);
        memory.deallocate(0, 256).unwrap();
        memory.deallocate(384, 128).unwrap();
        assert!(memory.allocations().is_empty());
    }

    #[test]
    fn poison_stays_within_its_columns() {
        let mut memory = TensorMemory::new();
        memory.poison(32..64, 0xdead_beef);
        for lane in 0..LANES {
            for (column, &word) in memory.row(lane).iter().enumerate() {
                assert_eq!(word == 0xdead_beef, (32..64).contains(&column));
            }
        }
    }
}
