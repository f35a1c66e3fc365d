//! The kernel for sm_100 and sm_103: one role per warp, one role per file.

mod descriptor;
pub mod epilogue;
pub mod kernel;
mod load;
mod mma;
