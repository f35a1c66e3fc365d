//! NVFP4 gated dual GEMM for NVIDIA Blackwell:
//!
//! ```text
//! C = silu(alpha1 · A·B1ᵀ) ⊙ (alpha2 · A·B2ᵀ)
//! ```
//!
//! A is M × K, B1 and B2 are N × K, each a batch of L; C is M × N in f16. The operands are NVFP4:
//! e2m1 elements, one ue4m3 scale factor per 16 of them along K.
//!
//! | module            | what it holds                                                        |
//! |-------------------|----------------------------------------------------------------------|
//! | [`format`](mod@format) | the two number formats                                          |
//! | [`matrix`]        | [`Nvfp4Matrix`], owned and borrowed, and its dimensions              |
//! | [`scale_layout`]  | the 128×4 tile layout of scale factors                               |
//! | [`quantize`](mod@quantize) | from f32, f16 and bf16 to NVFP4 and back                    |
//! | [`inputs`]        | reproducible random operands                                         |
//! | [`reference`](mod@reference) | what the device has to compute, to the bit                |
//! | [`compare`]       | its results against the reference                                    |
//!
//! None of these needs a device or a driver:
//!
//! ```
//! use nvfp4_dual_gemm::reference::{Operands, chain, epilogue};
//! use nvfp4_dual_gemm::{MatrixShape, quantize_with_tensor_scale};
//!
//! // A: 2 × 64, B1 and B2: 8 × 64.
//! let activations: Vec<f32> = (0..2 * 64).map(|i| (i as f32 * 0.1).sin()).collect();
//! let gate: Vec<f32> = (0..8 * 64).map(|i| (i as f32 * 0.3).cos()).collect();
//! let up: Vec<f32> = (0..8 * 64).map(|i| (i as f32 * 0.7).sin()).collect();
//! let a = quantize_with_tensor_scale(&activations, MatrixShape::new(2, 64, 1)?)?;
//! let b1 = quantize_with_tensor_scale(&gate, MatrixShape::new(8, 64, 1)?)?;
//! let b2 = quantize_with_tensor_scale(&up, MatrixShape::new(8, 64, 1)?)?;
//!
//! let operands = Operands::new(a.matrix.view(), b1.matrix.view(), b2.matrix.view())?;
//! let accumulators = chain::accumulators(&operands, &|_rows| ());
//! let c = epilogue::outputs(
//!     &accumulators,
//!     a.tensor_scale * b1.tensor_scale,
//!     a.tensor_scale * b2.tensor_scale,
//! );
//! assert_eq!(c.len(), 2 * 8);
//! assert!(c.iter().all(|value| value.is_finite()));
//! # Ok::<(), nvfp4_dual_gemm::Error>(())
//! ```

#[cfg(feature = "launch")]
pub use cust;

#[cfg(feature = "launch")]
pub mod bench;
#[cfg(feature = "launch")]
pub mod check;
pub mod compare;
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
