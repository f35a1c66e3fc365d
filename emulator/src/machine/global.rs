//! Global memory: a table of allocations. A device address is a host address, so that managed and
//! pinned memory work unchanged; every access is checked against the table first.

use std::alloc::Layout;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use thiserror::Error;

use super::dependency::{Access, AccessLog, Accessor};

/// Alignment of every allocation, as `cuMemAlloc` gives at least 256 bytes and allocators build on
/// more.
pub const ALLOCATION_ALIGNMENT: u64 = 512;

/// Inaccessible bytes on both sides of an allocation, so that neighbours never touch.
const GUARD_BYTES: u64 = 4096;

/// What fresh memory holds: not zero, so that a kernel that relies on zeroed memory gives wrong
/// results here too.
pub const POISON: u8 = 0xCB;

/// An access that the allocation table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GlobalFault {
    #[error("{bytes} bytes at {address:#x} are outside of every allocation; {}", describe(.nearest, *.address))]
    OutOfBounds {
        address: u64,
        bytes: u64,
        /// The allocation that contains or is closest to the address.
        nearest: Option<Extent>,
    },
    #[error("address {address:#x} is not a multiple of the access size, {bytes} bytes")]
    Misaligned { address: u64, bytes: u64 },
}

/// A refused request to the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AllocationError {
    #[error("an allocation of zero bytes was asked for; ask for at least one")]
    ZeroBytes,
    #[error(
        "{requested} bytes were asked for, {available} of {total} bytes are free on the device"
    )]
    OutOfDeviceMemory {
        requested: u64,
        available: u64,
        total: u64,
    },
    #[error("the host could not provide {requested} bytes for an emulated allocation")]
    OutOfHostMemory { requested: u64 },
    #[error("{address:#x} is not the start of a live allocation; {}", describe(.nearest, *.address))]
    NotAnAllocation {
        address: u64,
        nearest: Option<Extent>,
    },
}

/// Address range of one allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub base: u64,
    pub bytes: u64,
}

impl Extent {
    pub fn end(&self) -> u64 {
        self.base + self.bytes
    }

    fn contains(&self, address: u64, bytes: u64) -> bool {
        address >= self.base
            && address
                .checked_add(bytes)
                .is_some_and(|end| end <= self.end())
    }
}

fn describe(nearest: &Option<Extent>, address: u64) -> String {
    let Some(extent) = nearest else {
        return "the device has no allocation".to_owned();
    };
    let Extent { base, bytes } = *extent;
    if address < base {
        format!(
            "the nearest allocation, {bytes} bytes at {base:#x}, starts {} bytes after it",
            base - address
        )
    } else if address >= extent.end() {
        format!(
            "the nearest allocation, {bytes} bytes at {base:#x}, ends {} bytes before it",
            address - extent.end()
        )
    } else {
        format!(
            "the allocation of {bytes} bytes at {base:#x} has {} bytes from there on",
            extent.end() - address
        )
    }
}

/// Host memory behind one allocation, guards included. Dropped when the table and every running
/// launch let go of it.
#[derive(Debug)]
struct Block {
    extent: Extent,
    host: *mut u8,
    layout: Layout,
}

// SAFETY: `host` is owned by the block and only freed in `drop`; all accesses to the bytes go
// through relaxed atomics.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(bytes: u64) -> Option<Self> {
        let layout = bytes
            .checked_add(2 * GUARD_BYTES)
            .and_then(|total| usize::try_from(total).ok())
            .and_then(|total| Layout::from_size_align(total, ALLOCATION_ALIGNMENT as usize).ok())?;
        // SAFETY: the layout has a non-zero size, at least the two guards.
        let host = unsafe { std::alloc::alloc(layout) };
        if host.is_null() {
            return None;
        }
        // SAFETY: `host` points to `layout.size()` fresh bytes that nothing else refers to yet.
        unsafe { host.write_bytes(POISON, layout.size()) };
        let base = host.expose_provenance() as u64 + GUARD_BYTES;
        Some(Self {
            extent: Extent { base, bytes },
            host,
            layout,
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout.
        unsafe { std::alloc::dealloc(self.host, self.layout) };
    }
}

/// Allocation table of a device. All methods may be called from any thread.
#[derive(Debug)]
pub struct GlobalMemory {
    blocks: RwLock<BTreeMap<u64, Arc<Block>>>,
    capacity: u64,
}

impl GlobalMemory {
    /// Memory of `capacity` bytes, none of it allocated.
    pub fn new(capacity: u64) -> Self {
        Self {
            blocks: RwLock::default(),
            capacity,
        }
    }

    /// Allocates `bytes` bytes filled with [`POISON`], aligned to [`ALLOCATION_ALIGNMENT`]. The
    /// address is also a valid host address until [`free`](Self::free).
    pub fn allocate(&self, bytes: u64) -> Result<u64, AllocationError> {
        if bytes == 0 {
            return Err(AllocationError::ZeroBytes);
        }
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let used: u64 = blocks.values().map(|block| block.extent.bytes).sum();
        let available = self.capacity.saturating_sub(used);
        if bytes > available {
            return Err(AllocationError::OutOfDeviceMemory {
                requested: bytes,
                available,
                total: self.capacity,
            });
        }
        let block =
            Block::new(bytes).ok_or(AllocationError::OutOfHostMemory { requested: bytes })?;
        let base = block.extent.base;
        blocks.insert(base, Arc::new(block));
        Ok(base)
    }

    /// Frees the allocation that starts at `address`.
    pub fn free(&self, address: u64) -> Result<(), AllocationError> {
        let mut blocks = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        match blocks.remove(&address) {
            Some(_) => Ok(()),
            None => Err(AllocationError::NotAnAllocation {
                address,
                nearest: nearest(blocks.values().map(|block| block.extent), address),
            }),
        }
    }

    /// The allocation that contains `address`.
    pub fn lookup(&self, address: u64) -> Option<Extent> {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let (_, block) = blocks.range(..=address).next_back()?;
        Some(block.extent).filter(|extent| extent.contains(address, 1))
    }

    /// Bytes allocated now.
    pub fn used_bytes(&self) -> u64 {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        blocks.values().map(|block| block.extent.bytes).sum()
    }

    /// Bytes that the device has in all.
    pub fn total_bytes(&self) -> u64 {
        self.capacity
    }

    /// The allocations as they are now. They stay readable and writable through the view even when
    /// freed meanwhile, so that a launch never touches released host memory.
    pub fn view(&self) -> GlobalView {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        GlobalView {
            blocks: blocks.values().cloned().collect(),
            last: Cell::new(0),
            log: None,
        }
    }

    /// Copies device memory to `into`.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), GlobalFault> {
        self.view().read(address, into)
    }

    /// Copies `from` to device memory.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), GlobalFault> {
        self.view().write(address, from)
    }

    /// Copies `bytes` bytes inside device memory; the ranges may overlap.
    pub fn copy(&self, destination: u64, source: u64, bytes: u64) -> Result<(), GlobalFault> {
        let view = self.view();
        view.check(destination, bytes)?;
        let mut staging = vec![0; length(bytes)];
        view.read(source, &mut staging)?;
        view.write(destination, &staging)
    }

    /// Writes `pattern` (1, 2 or 4 bytes of a memset) `count` times.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), GlobalFault> {
        let bytes = count.saturating_mul(pattern.len() as u64);
        let view = self.view();
        view.check(address, bytes)?;
        let part = pattern.repeat(length(count.min(FILL_ELEMENTS)));
        let mut done = 0;
        while done < bytes {
            let step = (bytes - done).min(part.len() as u64);
            view.write(address + done, &part[..length(step)])?;
            done += step;
        }
        Ok(())
    }
}

/// Elements that a fill writes at a time.
const FILL_ELEMENTS: u64 = 1 << 16;

/// A length that was checked against an allocation, and so fits the address space.
fn length(bytes: u64) -> usize {
    bytes as usize
}

fn nearest(extents: impl Iterator<Item = Extent>, address: u64) -> Option<Extent> {
    extents.min_by_key(|extent| {
        if address < extent.base {
            extent.base - address
        } else {
            address.saturating_sub(extent.end() - 1)
        }
    })
}

/// The allocations at one point in time, for one host thread.
///
/// Every access is one of whole aligned 64-bit words, by relaxed atomics: Rust defines races between
/// atomics of one size alone. Kernels that race get wrong results, in a sound emulator.
#[derive(Debug)]
pub struct GlobalView {
    /// By ascending address.
    blocks: Vec<Arc<Block>>,
    /// Index of the block of the last access: accesses cluster.
    last: Cell<usize>,
    /// Takes note of every access, if somebody asked for it.
    log: Option<Box<AccessLog>>,
}

impl Clone for GlobalView {
    fn clone(&self) -> Self {
        Self {
            blocks: self.blocks.clone(),
            last: Cell::new(0),
            log: None,
        }
    }
}

impl GlobalView {
    /// From now on, accesses are noted.
    pub fn log_accesses(&mut self) {
        self.log = Some(Box::default());
    }

    /// The accesses since the last call.
    pub fn take_accesses(&self) -> Vec<Access> {
        self.log.as_ref().map_or_else(Vec::new, |log| log.take())
    }

    /// Who accesses memory from now on, for the log.
    #[inline]
    pub fn set_accessor(&self, accessor: impl FnOnce() -> Accessor) {
        if let Some(log) = &self.log {
            log.set_accessor(accessor());
        }
    }

    #[inline]
    fn note(&self, address: u64, bytes: u64, writes: bool) {
        if let Some(log) = &self.log {
            log.add(address, bytes, writes);
        }
    }

    /// The allocation that holds all of `bytes` bytes at `address`.
    fn find(&self, address: u64, bytes: u64) -> Result<&Block, GlobalFault> {
        if let Some(block) = self.blocks.get(self.last.get())
            && block.extent.contains(address, bytes)
        {
            return Ok(block);
        }
        let after = self
            .blocks
            .partition_point(|block| block.extent.base <= address);
        match after.checked_sub(1).and_then(|i| self.blocks.get(i)) {
            Some(block) if block.extent.contains(address, bytes) => {
                self.last.set(after - 1);
                Ok(block)
            }
            _ => Err(GlobalFault::OutOfBounds {
                address,
                bytes,
                nearest: nearest(self.blocks.iter().map(|block| block.extent), address),
            }),
        }
    }

    /// Whether `bytes` bytes at `address` lie in one allocation. Zero bytes always do.
    pub fn check(&self, address: u64, bytes: u64) -> Result<(), GlobalFault> {
        if bytes == 0 {
            return Ok(());
        }
        self.find(address, bytes).map(|_| ())
    }

    /// The host pointer to checked bytes, valid as long as the view.
    fn pointer(&self, address: u64, bytes: u64) -> Result<*mut u8, GlobalFault> {
        let block = self.find(address, bytes)?;
        let offset = (address - block.extent.base + GUARD_BYTES) as usize;
        // SAFETY: `find` checked that the address lies in the block, whose host memory starts
        // `GUARD_BYTES` before it.
        Ok(unsafe { block.host.add(offset) })
    }

    /// Copies memory at `address` to `into`.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), GlobalFault> {
        if into.is_empty() {
            return Ok(());
        }
        let source = self.pointer(address, into.len() as u64)?;
        self.note(address, into.len() as u64, false);
        let head = source.align_offset(WORD).min(into.len());
        let (head_bytes, rest) = into.split_at_mut(head);
        let (words, tail) = rest.as_chunks_mut::<WORD>();
        let body = head + words.len() * WORD;
        if !head_bytes.is_empty() {
            let part = Part::at(source);
            let bytes = part.load().to_le_bytes();
            head_bytes.copy_from_slice(&bytes[part.offset..part.offset + head]);
        }
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: `pointer` checked the bytes, of which these are some; the offset is aligned to 8.
            let at = unsafe { AtomicU64::from_ptr(source.add(head + WORD * i).cast()) };
            *word = u64::from_le(at.load(Ordering::Relaxed)).to_le_bytes();
        }
        if !tail.is_empty() {
            let bytes = Part::at(source.wrapping_add(body)).load().to_le_bytes();
            tail.copy_from_slice(&bytes[..tail.len()]);
        }
        Ok(())
    }

    /// Copies `from` to memory at `address`.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), GlobalFault> {
        if from.is_empty() {
            return Ok(());
        }
        let target = self.pointer(address, from.len() as u64)?;
        self.note(address, from.len() as u64, true);
        let head = target.align_offset(WORD).min(from.len());
        let (head_bytes, rest) = from.split_at(head);
        let (words, tail) = rest.as_chunks::<WORD>();
        let body = head + words.len() * WORD;
        if !head_bytes.is_empty() {
            Part::at(target).store(head, value_of(head_bytes));
        }
        for (i, word) in words.iter().enumerate() {
            // SAFETY: `pointer` checked the bytes, of which these are some; the offset is aligned to 8.
            let at = unsafe { AtomicU64::from_ptr(target.add(head + WORD * i).cast()) };
            at.store(u64::from_le_bytes(*word).to_le(), Ordering::Relaxed);
        }
        if !tail.is_empty() {
            Part::at(target.wrapping_add(body)).store(tail.len(), value_of(tail));
        }
        Ok(())
    }

    /// Loads one element of `bytes` (1, 2, 4 or 8) bytes, zero-extended.
    #[inline]
    pub fn load(&self, address: u64, bytes: u64) -> Result<u64, GlobalFault> {
        let part = Part::at(self.aligned_pointer(address, bytes)?);
        self.note(address, bytes, false);
        Ok(part.load() >> part.shift() & mask(bytes as usize))
    }

    /// Stores the low `bytes` (1, 2, 4 or 8) bytes of `value`.
    #[inline]
    pub fn store(&self, address: u64, bytes: u64, value: u64) -> Result<(), GlobalFault> {
        let part = Part::at(self.aligned_pointer(address, bytes)?);
        self.note(address, bytes, true);
        part.store(bytes as usize, value);
        Ok(())
    }

    /// Atomically replaces an element of `bytes` (1, 2, 4 or 8) bytes by `update` of it; returns the
    /// old one.
    pub fn update(
        &self,
        address: u64,
        bytes: u64,
        mut update: impl FnMut(u64) -> u64,
    ) -> Result<u64, GlobalFault> {
        let part = Part::at(self.aligned_pointer(address, bytes)?);
        self.note(address, bytes, true);
        let (mask, shift) = (mask(bytes as usize), part.shift());
        let old = part.update(Ordering::SeqCst, |word| {
            let new = update(word >> shift & mask);
            word & !(mask << shift) | (new & mask) << shift
        });
        Ok(old >> shift & mask)
    }

    /// Atomically replaces the 16 bytes at `address` by `update` of them; returns the old ones, low half first. Atomic
    /// to other such updates only: an access to a half may come between the two.
    pub fn update_pair(
        &self,
        address: u64,
        update: impl FnOnce([u64; 2]) -> [u64; 2],
    ) -> Result<[u64; 2], GlobalFault> {
        static PAIRS: Mutex<()> = Mutex::new(());
        let bytes = 16;
        if !address.is_multiple_of(bytes) {
            return Err(GlobalFault::Misaligned { address, bytes });
        }
        self.check(address, bytes)?;
        let _one_at_a_time = PAIRS.lock().unwrap_or_else(PoisonError::into_inner);
        let old = [self.load(address, 8)?, self.load(address + 8, 8)?];
        let new = update(old);
        self.store(address, 8, new[0])?;
        self.store(address + 8, 8, new[1])?;
        Ok(old)
    }

    fn aligned_pointer(&self, address: u64, bytes: u64) -> Result<*mut u8, GlobalFault> {
        debug_assert!(matches!(bytes, 1 | 2 | 4 | 8));
        if !address.is_multiple_of(bytes) {
            return Err(GlobalFault::Misaligned { address, bytes });
        }
        self.pointer(address, bytes)
    }
}

/// Bytes of what memory is accessed by.
const WORD: usize = 8;

/// The low `bytes` (1 to 8) bytes of a word.
fn mask(bytes: usize) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

fn value_of(bytes: &[u8]) -> u64 {
    let mut value = [0; WORD];
    value[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(value)
}

/// Bytes of one word of a block.
struct Part<'m> {
    word: &'m AtomicU64,
    /// Of the first byte.
    offset: usize,
}

impl Part<'_> {
    /// The word around a pointer into a block that lives as long as the result is used.
    #[inline]
    fn at<'m>(pointer: *mut u8) -> Part<'m> {
        let offset = pointer.addr() % WORD;
        let word = pointer.wrapping_sub(offset).cast();
        Part {
            // SAFETY: `pointer` was checked to lie in a block's extent. Blocks start at multiples of 8 and have guards
            // on both sides, so that the whole word is theirs. All accesses to it are atomic.
            word: unsafe { AtomicU64::from_ptr(word) },
            offset,
        }
    }

    fn shift(&self) -> usize {
        8 * self.offset
    }

    #[inline]
    fn load(&self) -> u64 {
        u64::from_le(self.word.load(Ordering::Relaxed))
    }

    /// Stores the low `bytes` bytes of `value`, which fit the word; the others stay.
    #[inline]
    fn store(&self, bytes: usize, value: u64) {
        if bytes == WORD {
            self.word.store(value.to_le(), Ordering::Relaxed);
            return;
        }
        let (mask, shift) = (mask(bytes), self.shift());
        self.update(Ordering::Relaxed, |word| {
            word & !(mask << shift) | (value & mask) << shift
        });
    }

    fn update(&self, order: Ordering, mut update: impl FnMut(u64) -> u64) -> u64 {
        let old = self.word.fetch_update(order, Ordering::Relaxed, |word| {
            Some(update(u64::from_le(word)).to_le())
        });
        // `fetch_update` fails only when the closure declines, which it never does.
        u64::from_le(old.unwrap_or_else(|current| current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_memory_is_poisoned_and_aligned() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(100).unwrap();
        assert_eq!(address % ALLOCATION_ALIGNMENT, 0);
        let mut bytes = [0; 100];
        memory.read(address, &mut bytes).unwrap();
        assert_eq!(bytes, [POISON; 100]);
    }

    #[test]
    fn unaligned_copies_round_trip() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(64).unwrap();
        for offset in 0..9 {
            for length in 0..40 {
                let data: Vec<u8> = (0..length).map(|i| (i * 7 + offset) as u8).collect();
                memory.write(address + offset, &data).unwrap();
                let mut back = vec![0; data.len()];
                memory.read(address + offset, &mut back).unwrap();
                assert_eq!(back, data);
            }
        }
    }

    #[test]
    fn accesses_past_the_end_name_the_allocation() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(64).unwrap();
        let fault = memory.view().load(address + 64, 4).unwrap_err();
        assert_eq!(
            fault,
            GlobalFault::OutOfBounds {
                address: address + 64,
                bytes: 4,
                nearest: Some(Extent {
                    base: address,
                    bytes: 64
                }),
            }
        );
        assert!(fault.to_string().contains("ends 0 bytes before it"));
        assert!(memory.write(address + 60, &[0; 5]).is_err());
        assert!(memory.view().load(address - 4, 4).is_err());
        assert!(memory.view().check(u64::MAX - 1, 8).is_err());
    }

    #[test]
    fn misaligned_elements_are_refused() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(64).unwrap();
        assert!(matches!(
            memory.view().load(address + 2, 4),
            Err(GlobalFault::Misaligned { bytes: 4, .. })
        ));
    }

    #[test]
    fn freed_memory_is_gone_but_a_running_view_keeps_it() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(64).unwrap();
        let view = memory.view();
        memory.free(address).unwrap();
        assert!(view.store(address, 4, 1).is_ok());
        assert!(memory.read(address, &mut [0; 4]).is_err());
        assert!(matches!(
            memory.free(address),
            Err(AllocationError::NotAnAllocation { .. })
        ));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn capacity_is_enforced() {
        let memory = GlobalMemory::new(1000);
        assert_eq!(memory.allocate(0), Err(AllocationError::ZeroBytes));
        memory.allocate(600).unwrap();
        assert_eq!(
            memory.allocate(600),
            Err(AllocationError::OutOfDeviceMemory {
                requested: 600,
                available: 400,
                total: 1000
            })
        );
    }

    #[test]
    fn fill_and_overlapping_copy() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(16).unwrap();
        memory.fill(address, &[1, 2], 8).unwrap();
        memory.copy(address + 1, address, 8).unwrap();
        let mut bytes = [0; 16];
        memory.read(address, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 1, 2, 1, 2, 1, 2, 1, 2, 2, 1, 2, 1, 2, 1, 2]);
        assert!(memory.fill(address, &[0; 4], 5).is_err());
    }

    #[test]
    fn updates_are_atomic_between_threads() {
        let memory = GlobalMemory::new(1 << 20);
        let address = memory.allocate(8).unwrap();
        memory.fill(address, &[0], 8).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let view = memory.view();
                    for _ in 0..1000 {
                        view.update(address, 4, |old| old + 1).unwrap();
                    }
                });
            }
        });
        assert_eq!(memory.view().load(address, 8).unwrap(), 4000);
    }
}
