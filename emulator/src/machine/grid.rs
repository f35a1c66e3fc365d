//! Launches: checks against the device's limits, then CTAs spread over host threads.

use super::report::{FailureKind, failure};
use super::{Device, Launch, LaunchFailure, LaunchReport};

impl Device {
    /// Runs a kernel to completion. The first CTA that fails stops all others.
    pub fn launch(&self, launch: &Launch) -> Result<LaunchReport, LaunchFailure> {
        let what = "launches".to_owned();
        Err(failure(
            &launch.kernel,
            None,
            FailureKind::Unsupported { what },
        ))
    }
}
