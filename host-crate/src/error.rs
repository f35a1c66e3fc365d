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
    /// Three matrices do not make a dual GEMM.
    #[error(transparent)]
    Operands(#[from] OperandsError),
}

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
