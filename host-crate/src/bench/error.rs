//! Why a benchmark could not be carried out.

use crate::check::CheckError;
use crate::driver::DriverError;
use crate::launch::LaunchError;
use crate::plan::PlanError;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The device is emulated.
    #[error(
        "{device} tells nothing about time: run on {}, or add --dry-run to go through every step at small \
         shapes without timing anything",
        REAL_DEVICES
    )]
    Emulated {
        /// Its name.
        device: String,
    },
    /// Nothing was asked to be timed.
    #[error("no sample was taken: --replays must be at least 1")]
    NoSamples,
    /// Something in common with an ordinary checked run.
    #[error(transparent)]
    Check(#[from] CheckError),
}

/// Devices that have kernels.
pub const REAL_DEVICES: &str = "an H100, H200, B200 or B300";

macro_rules! through_check {
    ($($error:ty),*) => {$(
        impl From<$error> for BenchError {
            fn from(error: $error) -> Self {
                Self::Check(error.into())
            }
        }
    )*};
}
through_check!(PlanError, LaunchError, DriverError, crate::Error);
