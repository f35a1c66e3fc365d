//! Seeing what a launch does: a trace of who ran, who waited for what and which copies and MMAs were in flight, and a
//! profile by PTX line.
//!
//! Time is emulated: one unit for each instruction that a warp executes and for each asynchronous operation that
//! completes. It orders events as the schedule did, and measures nothing that a device would.

mod access;
pub mod picture;
mod profile;
mod recorder;
mod trace;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use profile::{LineProfile, Profile, WarpProfile};
pub(crate) use recorder::{Issued, Recorder};
pub use trace::{Event, Trace, TraceWriter, Track};

/// What to observe of launches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observe {
    /// CTAs of the grid, from the first one on, whose events are recorded.
    pub traced_ctas: u64,
    /// Whether lines are counted, of all CTAs.
    pub profile: bool,
}

/// Collects what launches do whose [`LaunchOptions`](crate::machine::LaunchOptions) name it, also of those that fail.
#[derive(Debug, Default)]
pub struct Observer {
    observe: Observe,
    launches: AtomicU64,
    trace: Mutex<Trace>,
    profile: Mutex<Profile>,
}

impl Observer {
    pub fn new(observe: Observe) -> Self {
        Self {
            observe,
            ..Self::default()
        }
    }

    pub fn observe(&self) -> Observe {
        self.observe
    }

    pub(crate) fn number_launch(&self) -> u64 {
        self.launches.fetch_add(1, Ordering::Relaxed)
    }

    /// What has been recorded since the last call.
    pub fn take_trace(&self) -> Trace {
        std::mem::take(&mut *lock(&self.trace))
    }

    /// What has been counted since the last call.
    pub fn take_profile(&self) -> Profile {
        std::mem::take(&mut *lock(&self.profile))
    }

    pub(crate) fn add(&self, trace: Trace, profile: &Profile) {
        lock(&self.trace).events.extend(trace.events);
        lock(&self.profile).add(profile);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
