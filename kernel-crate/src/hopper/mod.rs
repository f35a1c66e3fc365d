//! The kernels for Hopper, one role per file. Start with [`decode`] and [`prefill`].

pub mod activations;
pub mod config;
pub mod decode;
mod dequantize;
pub mod epilogue;
mod load;
mod multicast;
mod multiply;
mod packed;
pub mod prefill;
mod reduce;
mod ring;
mod tile;
mod unpack;
