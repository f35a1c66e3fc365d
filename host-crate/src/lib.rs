//! Host API.

#[cfg(feature = "launch")]
pub use cust;

#[cfg(feature = "launch")]
pub mod driver;
