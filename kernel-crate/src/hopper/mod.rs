//! The kernels for Hopper, one role per file. Start with [`kernel`].

pub mod activations;
pub mod config;
mod dequantize;
pub mod epilogue;
pub mod kernel;
mod load;
mod multiply;
mod ring;
