//! The error of the crate as a whole.

use crate::matrix::MatrixError;
use crate::quantize::QuantizeError;
use crate::reference::OperandsError;

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes and dimensions do not make an NVFP4 matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// Values cannot be quantised.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The host has not enough memory.
    #[error("the host has no {bytes} bytes of memory left, which {what} needs")]
    OutOfMemory {
        /// What the memory is for.
        what: &'static str,
        /// Bytes asked for.
        bytes: usize,
    },
    /// Three matrices do not make a dual GEMM.
    #[error(transparent)]
    Operands(#[from] OperandsError),
}

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `length` default values, or [`Error::OutOfMemory`]: sizes that come from a user must not abort the process.
pub(crate) fn try_filled<T: Clone>(what: &'static str, length: usize, value: T) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(length)
        .map_err(|_| Error::OutOfMemory {
            what,
            bytes: length.saturating_mul(size_of::<T>()),
        })?;
    values.resize(length, value);
    Ok(values)
}
