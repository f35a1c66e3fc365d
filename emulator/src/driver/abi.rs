//! What the C functions have in common: how they return, and how pointers and handles come in.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::Status;

/// A pointer through which a function returns a value: null, or valid for writes as the caller
/// promises.
pub(super) type Out<'a, T> = Option<&'a mut MaybeUninit<T>>;

/// Returns a value through `out`.
pub(super) fn put<T>(out: Out<T>, value: T) -> Result<(), Status> {
    out.ok_or(Status::INVALID_VALUE)?.write(value);
    Ok(())
}

/// An object of the driver as the caller holds it. It has the size of a pointer but points to
/// nothing; every use looks it up.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Handle(*mut c_void);

// SAFETY: never dereferenced.
unsafe impl Send for Handle {}

impl Handle {
    pub(super) const NULL: Self = Self::from_address(0);

    pub(super) const fn from_address(address: usize) -> Self {
        Self(std::ptr::without_provenance_mut(address))
    }

    pub(super) fn address(self) -> usize {
        self.0.addr()
    }

    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }
}

/// Runs the body of a C function. A panic would be a bug of the emulator; it must not cross into C.
pub(super) fn answer(body: impl FnOnce() -> Result<(), Status>) -> Status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::SUCCESS,
        Ok(Err(status)) => status,
        Err(_) => Status::UNKNOWN,
    }
}

/// A C string as text.
///
/// # Safety
/// `pointer` is null or points to a string that ends in NUL and outlives the result.
pub(super) unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a str, Status> {
    if pointer.is_null() {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: not null; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Status::INVALID_VALUE)
}

/// A C array as a slice.
///
/// # Safety
/// `pointer` is null or points to `count` elements that outlive the result and are not written
/// meanwhile. A `count` that no array has is refused.
pub(super) unsafe fn elements<'a, T>(pointer: *const T, count: usize) -> Result<&'a [T], Status> {
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Status::INVALID_VALUE);
    }
    // No object is larger than that, whatever a caller says.
    let fits = |bytes| isize::try_from(bytes).is_ok();
    if !count.checked_mul(size_of::<T>()).is_some_and(fits) {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: not null, aligned, of a size that objects have; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}
