//! Typed buffers in device memory.

use std::marker::PhantomData;

use thiserror::Error;

use crate::machine::global::{AllocationError, GlobalMemory};

/// A number that device memory can hold, little-endian. 16-bit floating-point numbers travel as the
/// `u16` of their bits.
pub trait Element: Copy + sealed::Sealed {
    /// Its size in bytes.
    const BYTES: usize;
    /// Its name, for messages.
    const NAME: &'static str;
    #[doc(hidden)]
    fn put(self, into: &mut [u8]);
    #[doc(hidden)]
    fn take(from: &[u8]) -> Self;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ident)*) => {$(
        impl sealed::Sealed for $ty {}

        impl Element for $ty {
            const BYTES: usize = size_of::<$ty>();
            const NAME: &'static str = stringify!($ty);

            fn put(self, into: &mut [u8]) {
                into.copy_from_slice(&self.to_le_bytes());
            }

            fn take(from: &[u8]) -> Self {
                let mut bytes = [0; size_of::<$ty>()];
                bytes.copy_from_slice(from);
                Self::from_le_bytes(bytes)
            }
        }
    )*};
}

elements!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);

/// `len` elements in the memory of an [`Emulator`](super::Emulator), freed when dropped.
#[derive(Debug)]
pub struct Buffer<'e, T: Element> {
    memory: &'e GlobalMemory,
    address: u64,
    len: usize,
    element: PhantomData<T>,
}

/// A copy that does not fit its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{count} elements from element {start} on do not fit a buffer of {len}")]
pub struct BufferError {
    pub start: usize,
    pub count: usize,
    pub len: usize,
}

impl<'e, T: Element> Buffer<'e, T> {
    pub(super) fn new(memory: &'e GlobalMemory, len: usize) -> Result<Self, AllocationError> {
        let bytes = (len as u64).saturating_mul(T::BYTES as u64);
        Ok(Self {
            memory,
            address: memory.allocate(bytes)?,
            len,
            element: PhantomData,
        })
    }

    /// Its device address, a multiple of 512.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Elements; never zero.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its elements.
    pub fn read(&self) -> Vec<T> {
        let mut bytes = vec![0; self.len * T::BYTES];
        // The buffer holds the allocation, of so many bytes.
        let _ = self.memory.read(self.address, &mut bytes);
        bytes.chunks_exact(T::BYTES).map(T::take).collect()
    }

    /// Overwrites elements from element `start` on.
    ///
    /// # Errors
    /// [`BufferError`] if they do not fit; nothing is written then.
    pub fn write(&self, start: usize, elements: &[T]) -> Result<(), BufferError> {
        let end = start.checked_add(elements.len());
        if end.is_none_or(|end| end > self.len) {
            return Err(BufferError {
                start,
                count: elements.len(),
                len: self.len,
            });
        }
        self.put(start, elements);
        Ok(())
    }

    /// Writes all elements; there are as many.
    pub(super) fn fill_from(&self, elements: &[T]) {
        debug_assert_eq!(elements.len(), self.len);
        self.put(0, elements);
    }

    fn put(&self, start: usize, elements: &[T]) {
        let mut bytes = vec![0; elements.len() * T::BYTES];
        for (element, bytes) in elements.iter().zip(bytes.chunks_exact_mut(T::BYTES)) {
            element.put(bytes);
        }
        let address = self.address + (start * T::BYTES) as u64;
        // The buffer holds the allocation; the callers checked the range.
        let _ = self.memory.write(address, &bytes);
    }
}

impl<T: Element> Drop for Buffer<'_, T> {
    fn drop(&mut self) {
        // Allocated in `new`, and freed only here.
        let _ = self.memory.free(self.address);
    }
}
