//! The two number formats of NVFP4: [`e2m1`] elements and [`ue4m3`] scale factors.

pub mod e2m1;
pub mod ue4m3;

/// Elements along K that share one scale factor.
pub const BLOCK: usize = 16;
