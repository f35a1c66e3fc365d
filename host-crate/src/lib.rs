//! NVFP4 gated dual GEMM for NVIDIA Blackwell:
//!
//! ```text
//! C = silu(alpha1 · A·B1ᵀ) ⊙ (alpha2 · A·B2ᵀ)
//! ```

#[cfg(feature = "launch")]
pub use cust;

#[cfg(feature = "launch")]
pub mod driver;
pub mod error;
pub mod format;
pub mod inputs;
pub mod kernels;
#[cfg(feature = "launch")]
pub mod launch;
pub mod matrix;
pub mod plan;
pub mod quantize;
pub mod reference;
pub mod scale_layout;
pub mod suite;

pub use error::{Error, Result};
pub use inputs::{InputKind, Inputs};
pub use matrix::{MatrixError, MatrixShape, Nvfp4Matrix, Nvfp4MatrixView};
pub use quantize::{Quantized, dequantize, quantize, quantize_with_tensor_scale};
pub use scale_layout::ScaleLayout;
