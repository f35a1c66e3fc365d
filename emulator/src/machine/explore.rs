//! Running one program under many schedules.

use std::fmt;

use thiserror::Error;

use super::schedule::Schedule;

/// What came of running a program under several schedules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exploration<E> {
    /// Schedules that were run, the failing one included.
    pub tried: u64,
    /// The first that failed; none after it was run.
    pub failure: Option<FailingSchedule<E>>,
}

/// A schedule under which a program failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct FailingSchedule<E> {
    /// Its number in the exploration.
    pub index: u64,
    pub schedule: Schedule,
    /// What the program returned.
    pub error: E,
}

impl<E: fmt::Display> fmt::Display for FailingSchedule<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            schedule,
            error,
        } = self;
        let (error, replay) = (error.to_string(), schedule.replay());
        write!(f, "schedule {index} fails: {error}")?;
        // A launch's failure says so itself.
        match error.contains(&replay) {
            true => Ok(()),
            false => write!(f, "\n  replay with {replay}"),
        }
    }
}

impl<E> Exploration<E> {
    /// # Errors
    /// The failing schedule, if there is one.
    pub fn into_result(self) -> Result<u64, FailingSchedule<E>> {
        match self.failure {
            None => Ok(self.tried),
            Some(failure) => Err(failure),
        }
    }
}

/// Calls `run` with each of the `count` first schedules of a portfolio ([`Schedule::nth`]) until one fails.
///
/// `run` sets the program up afresh, launches it with the schedule ([`LaunchOptions::schedule`]) and judges what comes
/// out; nothing of one call may be left for the next.
///
/// [`LaunchOptions::schedule`]: super::LaunchOptions::schedule
///
/// ```
/// use ptx_emulator::machine::{Turns, explore};
///
/// let exploration = explore(100, 7, |schedule| match schedule.turns {
///     Turns::Starve { .. } => Err("too late"),
///     _ => Ok(()),
/// });
/// let failure = exploration.into_result().unwrap_err();
/// assert!(failure.to_string().contains("replay with PTX_EMULATOR_SCHEDULE=starve:"));
/// ```
pub fn explore<E>(
    count: u64,
    seed: u64,
    mut run: impl FnMut(&Schedule) -> Result<(), E>,
) -> Exploration<E> {
    for index in 0..count {
        let schedule = Schedule::nth(seed, index);
        if let Err(error) = run(&schedule) {
            let failure = FailingSchedule {
                index,
                schedule,
                error,
            };
            return Exploration {
                tried: index + 1,
                failure: Some(failure),
            };
        }
    }
    Exploration {
        tried: count,
        failure: None,
    }
}
