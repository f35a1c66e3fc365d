//! The shared memory of one CTA, with the mbarriers that live in it.

use std::ops::Range;

use super::mbarrier::{MBARRIER_BYTES, Mbarrier};
use super::report::{FailureKind, MbarrierMisuse, Step};

/// What shared memory holds when a CTA starts: NaN in every float format, so that stale data of another CTA can't make
/// a wrong kernel right.
const POISON: u8 = 0xFF;

/// What the bytes of a live mbarrier hold.
const MBARRIER_PATTERN: [u8; MBARRIER_BYTES as usize] = [0xB5; MBARRIER_BYTES as usize];

/// Offsets count from the start of the CTA's window; the first `reserved` bytes belong to the driver.
#[derive(Debug, Default)]
pub struct SharedMemory {
    bytes: Vec<u8>,
    reserved: u32,
    /// By ascending offset.
    mbarriers: Vec<(u32, Mbarrier)>,
}

impl SharedMemory {
    /// Makes it the memory of a fresh CTA: `total` bytes, of which the first `reserved` can't be used.
    pub fn reset(&mut self, reserved: u32, total: u32) {
        self.bytes.clear();
        self.bytes.resize(total as usize, POISON);
        self.reserved = reserved;
        self.mbarriers.clear();
    }

    /// The whole window; index = offset.
    pub fn window(&self) -> &[u8] {
        &self.bytes
    }

    pub fn window_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Checks bounds and alignment.
    pub fn check(&self, offset: u32, bytes: u32, alignment: u32) -> Step<()> {
        let end = u64::from(offset) + u64::from(bytes);
        if offset < self.reserved || end > self.bytes.len() as u64 {
            return Err(FailureKind::OutOfBounds {
                space: "shared",
                address: offset.into(),
                bytes: bytes.into(),
                valid: self.reserved.into()..self.bytes.len() as u64,
            });
        }
        if !offset.is_multiple_of(alignment) {
            return Err(FailureKind::Misaligned {
                space: "shared",
                address: offset.into(),
                alignment: alignment.into(),
            });
        }
        Ok(())
    }

    /// Checks an access other than by mbarrier instructions: bounds, alignment, and that no live mbarrier is there.
    pub fn check_ordinary(&self, offset: u32, bytes: u32, alignment: u32) -> Step<()> {
        self.check(offset, bytes, alignment)?;
        match self.mbarrier_in(offset..offset + bytes) {
            None => Ok(()),
            Some(barrier) => Err(misuse(
                barrier,
                MbarrierMisuse::OrdinaryAccess {
                    address: offset,
                    bytes,
                },
            )),
        }
    }

    /// Loads an element of up to 8 bytes, zero-extended. The range has been checked.
    pub fn load(&self, offset: u32, bytes: u32) -> u64 {
        let mut value = [0; 8];
        let range = offset as usize..(offset + bytes) as usize;
        value[..bytes as usize].copy_from_slice(&self.bytes[range]);
        u64::from_le_bytes(value)
    }

    /// Stores the low bytes of `value`. The range has been checked.
    pub fn store(&mut self, offset: u32, bytes: u32, value: u64) {
        let range = offset as usize..(offset + bytes) as usize;
        self.bytes[range].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
    }

    /// A live mbarrier that overlaps the range.
    fn mbarrier_in(&self, range: Range<u32>) -> Option<u32> {
        let (first, last) = (self.mbarriers.first()?.0, self.mbarriers.last()?.0);
        if range.end <= first || range.start >= last + MBARRIER_BYTES {
            return None;
        }
        let after = self
            .mbarriers
            .partition_point(|(offset, _)| offset + MBARRIER_BYTES <= range.start);
        let (offset, _) = *self.mbarriers.get(after)?;
        (offset < range.end).then_some(offset)
    }

    /// The live mbarriers that overlap the range.
    pub fn mbarriers_in(&self, range: Range<u32>) -> impl Iterator<Item = (u32, &Mbarrier)> {
        let all = self
            .mbarriers
            .iter()
            .map(|(offset, barrier)| (*offset, barrier));
        all.filter(move |(offset, _)| *offset < range.end && range.start < offset + MBARRIER_BYTES)
    }

    /// `line`: that of the instruction.
    pub fn init_mbarrier(&mut self, offset: u32, count: u64, line: u32) -> Step<()> {
        self.check(offset, MBARRIER_BYTES, MBARRIER_BYTES)?;
        let barrier = Mbarrier::new(count).map_err(|error| misuse(offset, error))?;
        let barrier = Mbarrier {
            initialised_at: line,
            ..barrier
        };
        match self.find(offset) {
            Ok(_) => Err(misuse(offset, MbarrierMisuse::InitialisedTwice)),
            Err(index) => {
                self.mbarriers.insert(index, (offset, barrier));
                self.bytes[offset as usize..][..MBARRIER_PATTERN.len()]
                    .copy_from_slice(&MBARRIER_PATTERN);
                Ok(())
            }
        }
    }

    pub fn invalidate_mbarrier(&mut self, offset: u32) -> Step<()> {
        self.check(offset, MBARRIER_BYTES, MBARRIER_BYTES)?;
        match self.find(offset) {
            Ok(index) => {
                self.mbarriers.remove(index);
                Ok(())
            }
            Err(_) => Err(misuse(offset, MbarrierMisuse::NotInitialised)),
        }
    }

    /// The live mbarrier at `offset`.
    pub fn mbarrier(&mut self, offset: u32) -> Step<&mut Mbarrier> {
        self.check(offset, MBARRIER_BYTES, MBARRIER_BYTES)?;
        match self.find(offset) {
            Ok(index) => Ok(&mut self.mbarriers[index].1),
            Err(_) => Err(misuse(offset, MbarrierMisuse::NotInitialised)),
        }
    }

    fn find(&self, offset: u32) -> Result<usize, usize> {
        self.mbarriers
            .binary_search_by_key(&offset, |(offset, _)| *offset)
    }
}

/// An mbarrier misuse as a failure.
pub fn misuse(address: u32, misuse: MbarrierMisuse) -> FailureKind {
    FailureKind::Mbarrier { address, misuse }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> SharedMemory {
        let mut memory = SharedMemory::default();
        memory.reset(1024, 2048);
        memory
    }

    #[test]
    fn the_reserved_bytes_and_the_end_are_out_of_bounds() {
        let memory = memory();
        assert!(memory.check(1024, 4, 4).is_ok());
        assert!(memory.check(2044, 4, 4).is_ok());
        for (offset, bytes) in [(1020, 4), (0, 4), (2048, 1), (2044, 8), (u32::MAX, 4)] {
            assert!(matches!(
                memory.check(offset, bytes, 1),
                Err(FailureKind::OutOfBounds { .. })
            ));
        }
        assert!(matches!(
            memory.check(1026, 4, 4),
            Err(FailureKind::Misaligned { alignment: 4, .. })
        ));
    }

    #[test]
    fn live_mbarriers_refuse_ordinary_accesses_and_a_second_init() {
        let mut memory = memory();
        memory.init_mbarrier(1032, 1, 1).unwrap();
        memory.init_mbarrier(1088, 1, 1).unwrap();
        assert!(memory.check_ordinary(1024, 8, 8).is_ok());
        assert!(memory.check_ordinary(1040, 16, 16).is_ok());
        assert!(memory.check_ordinary(1036, 4, 4).is_err());
        assert!(memory.check_ordinary(1040, 64, 1).is_err());
        assert!(matches!(
            memory.init_mbarrier(1032, 1, 1),
            Err(FailureKind::Mbarrier {
                misuse: MbarrierMisuse::InitialisedTwice,
                ..
            })
        ));
        memory.invalidate_mbarrier(1032).unwrap();
        assert!(memory.check_ordinary(1036, 4, 4).is_ok());
        assert!(memory.init_mbarrier(1032, 1, 1).is_ok());
    }

    #[test]
    fn mbarriers_are_aligned_and_initialised_before_use() {
        let mut memory = memory();
        assert!(matches!(
            memory.init_mbarrier(1028, 1, 1),
            Err(FailureKind::Misaligned { alignment: 8, .. })
        ));
        assert!(matches!(
            memory.mbarrier(1032),
            Err(FailureKind::Mbarrier {
                misuse: MbarrierMisuse::NotInitialised,
                ..
            })
        ));
    }

    #[test]
    fn a_fresh_cta_finds_poison() {
        let mut memory = memory();
        memory.store(1024, 4, 7);
        memory.reset(1024, 2048);
        assert_eq!(memory.load(1024, 4), 0xffff_ffff);
    }
}
