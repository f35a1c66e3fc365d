//! What accesses touch: bytes of shared and global memory, and parts of tensor memory.

use std::ops::Range;

use super::store::Reduction;
use crate::tensor::ChunkSet;
use crate::tensor::memory::COLUMNS;

/// A byte of shared memory: CTA of the cluster and offset in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedAddress {
    pub cta: u32,
    pub offset: u32,
}

/// A memory in which operations can conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    Shared,
    Tensor,
    Global,
}

/// Bytes of shared or global memory, or a rectangle of tensor memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    memory: Memory,
    cta: u32,
    /// Bytes, or columns.
    start: u64,
    end: u64,
    /// One bit per half (16 lanes) of a warp's partition of tensor memory.
    partitions: u8,
    /// Those of the bytes that count, where there are gaps between them.
    chunks: Option<ChunkSet>,
}

/// All 128 lanes of tensor memory.
pub const ALL_PARTITIONS: u8 = 0xFF;

impl Region {
    pub fn shared(cta: u32, bytes: Range<u32>) -> Self {
        Self {
            memory: Memory::Shared,
            cta,
            start: bytes.start.into(),
            end: bytes.end.into(),
            partitions: ALL_PARTITIONS,
            chunks: None,
        }
    }

    pub fn global(bytes: Range<u64>) -> Self {
        Self {
            memory: Memory::Global,
            cta: 0,
            start: bytes.start,
            end: bytes.end,
            partitions: ALL_PARTITIONS,
            chunks: None,
        }
    }

    pub fn tensor(cta: u32, columns: Range<u32>, partitions: u8) -> Self {
        Self {
            memory: Memory::Tensor,
            cta,
            start: columns.start.into(),
            end: columns.end.into(),
            partitions,
            chunks: None,
        }
    }

    /// Bytes of shared memory, of which `chunks` count, and no others.
    pub fn scattered(cta: u32, bytes: Range<u32>, chunks: ChunkSet) -> Self {
        let is_dense = chunks.bytes() == bytes.end - bytes.start;
        Self {
            chunks: (!is_dense).then_some(chunks),
            ..Self::shared(cta, bytes)
        }
    }

    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// The CTA whose memory it is.
    pub fn cta(&self) -> u32 {
        self.cta
    }

    /// Bytes, or columns.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Its cells in the memory's [`Shadow`](super::order): bytes of shared memory, or columns of each half of a
    /// partition.
    pub fn cells(&self) -> impl Iterator<Item = Range<usize>> {
        let scattered = self.chunks.iter().flat_map(ChunkSet::runs);
        let whole = (0..8).filter_map(|half: usize| match self.memory {
            Memory::Shared => {
                let is_whole = half == 0 && self.chunks.is_none();
                is_whole.then_some(self.start as usize..self.end as usize)
            }
            Memory::Global => None,
            Memory::Tensor => (self.partitions >> half & 1 != 0).then(|| {
                let column = |column: u64| half * COLUMNS + COLUMNS.min(column as usize);
                column(self.start)..column(self.end)
            }),
        });
        scattered
            .map(|run| run.start as usize..run.end as usize)
            .chain(whole)
    }

    /// The first bytes, or columns, that both have.
    pub fn overlap(&self, other: &Region) -> Option<Range<u64>> {
        let apart = self.memory != other.memory
            || self.cta != other.cta
            || self.partitions & other.partitions == 0;
        let range = self.start.max(other.start)..self.end.min(other.end);
        if apart || range.is_empty() {
            return None;
        }
        let bytes = || range.start as u32..range.end as u32;
        let common = match (&self.chunks, &other.chunks) {
            (None, None) => return Some(range),
            (Some(chunks), None) | (None, Some(chunks)) => chunks.first_in(bytes()),
            (Some(chunks), Some(others)) => chunks.first_common(others),
        }?;
        Some(common.start.into()..common.end.into())
    }
}

/// What an access does to its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// An atomic update of each element, which other such updates may meet.
    Atomic,
}

impl Access {
    /// Whether two accesses of these kinds to one place have to be ordered.
    pub fn conflicts(self, other: Access) -> bool {
        self != other || self == Self::Write
    }

    /// What an instruction does by it, for reports.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Atomic => "updates",
        }
    }
}

/// What an operation reads and writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub reads: Vec<Region>,
    pub writes: Vec<Region>,
    /// Updated atomically.
    pub updates: Vec<Region>,
}

impl Footprint {
    pub fn of_reads(reads: Vec<Region>) -> Self {
        Self {
            reads,
            ..Self::default()
        }
    }

    pub fn of_writes(writes: Vec<Region>) -> Self {
        Self {
            writes,
            ..Self::default()
        }
    }

    /// Of what overwrites the regions, or with a reduction, updates them element by element.
    pub fn of_destination(regions: Vec<Region>, reduction: Option<Reduction>) -> Self {
        match reduction {
            None => Self::of_writes(regions),
            Some(_) => Self {
                updates: regions,
                ..Self::default()
            },
        }
    }

    /// The bytes of shared memory that are read or written.
    pub fn shared_bytes(&self) -> impl Iterator<Item = Range<u64>> + Clone {
        let regions = self.writes.iter().chain(&self.updates).chain(&self.reads);
        let shared = regions.filter(|region| region.memory == Memory::Shared);
        shared.map(|region| region.start..region.end)
    }

    /// Each region, and what is done to it.
    pub fn accesses(&self) -> impl Iterator<Item = (&Region, Access)> {
        let with = |access| move |region| (region, access);
        let writes = self.writes.iter().map(with(Access::Write));
        let updates = self.updates.iter().map(with(Access::Atomic));
        let reads = self.reads.iter().map(with(Access::Read));
        writes.chain(updates).chain(reads)
    }

    pub fn writes_global(&self) -> bool {
        let mut written = self.writes.iter().chain(&self.updates);
        written.any(|region| region.memory == Memory::Global)
    }
}
