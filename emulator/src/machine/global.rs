//! Global memory: a table of allocations. A device address is a host address, so that managed and
//! pinned memory work unchanged; every access is checked against the table first.

mod view;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

pub use view::GlobalView;

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
        GlobalView::new(blocks.values().cloned().collect())
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
