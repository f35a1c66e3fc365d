//! Access to global memory by one host thread.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Block, Extent, GUARD_BYTES, GlobalFault, nearest};
use crate::machine::dependency::{Access, AccessLog, Accessor};
use crate::tma;

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
        Self::new(self.blocks.clone())
    }
}

impl GlobalView {
    /// Of blocks by ascending address.
    pub(super) fn new(blocks: Vec<Arc<Block>>) -> Self {
        Self {
            blocks,
            last: Cell::new(0),
            log: None,
        }
    }

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

    /// The allocation that contains `address`.
    pub fn extent(&self, address: u64) -> Option<Extent> {
        self.find(address, 1).ok().map(|block| block.extent)
    }

    /// Whether the element of `bytes` (1, 2, 4 or 8) bytes at `address` is the low part of `value`. Nobody's access.
    pub fn holds(&self, address: u64, bytes: u64, value: u64) -> bool {
        self.aligned_pointer(address, bytes).is_ok_and(|pointer| {
            let part = Part::at(pointer);
            (part.load() >> part.shift() ^ value) & mask(bytes as usize) == 0
        })
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

impl tma::GlobalRead for GlobalView {
    fn read(&self, address: u64, out: &mut [u8]) -> Result<(), tma::GlobalReadError> {
        GlobalView::read(self, address, out).map_err(|fault| tma::GlobalReadError {
            address,
            bytes: out.len(),
            reason: fault.to_string(),
        })
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
