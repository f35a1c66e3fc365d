//! How launches run: by environment, or by the calling thread.

use std::cell::RefCell;
use std::env;
use std::sync::OnceLock;

use thiserror::Error;

use super::observe;
use super::report::Format;
use crate::machine::schedule::SCHEDULE_VARIABLE;
use crate::machine::{Asynchrony, DeviceProperties, LaunchOptions, Mode, Schedule};

const DEVICE: &str = "PTX_EMULATOR_DEVICE";
const MODE: &str = "PTX_EMULATOR_MODE";
const ASYNC: &str = "PTX_EMULATOR_ASYNC";
const THREADS: &str = "PTX_EMULATOR_THREADS";
const REPORT: &str = "PTX_EMULATOR_REPORT";
const STEP_LIMIT: &str = "PTX_EMULATOR_STEP_LIMIT";

/// An environment variable that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{variable} is \"{value}\"; it can be {valid}")]
pub struct OptionError {
    pub variable: &'static str,
    pub value: String,
    pub valid: &'static str,
}

/// The options that the environment asks for.
///
/// # Errors
/// The first variable whose value is not understood.
pub fn from_environment() -> Result<LaunchOptions, OptionError> {
    let defaults = LaunchOptions::default();
    Ok(LaunchOptions {
        mode: variable(MODE, "fast, check or strict", mode)?.unwrap_or(defaults.mode),
        schedule: schedule_from_environment()?,
        observer: observe::from_environment()?,
        threads: variable(
            THREADS,
            "a number of threads, or 0 for one per core",
            parsed,
        )?
        .unwrap_or(defaults.threads),
        step_limit: variable(STEP_LIMIT, "a number of warp instructions per CTA", parsed)?
            .unwrap_or(defaults.step_limit),
    })
}

static PREFERRED_DEVICE: OnceLock<DeviceProperties> = OnceLock::new();

/// Has this process' driver emulate `device`, unless the environment names one or a call before this has. The driver
/// looks when it is initialised.
pub fn prefer_device(device: DeviceProperties) {
    // Whoever came first has said it.
    let _ = PREFERRED_DEVICE.set(device);
}

/// The device that the environment asks for, else the preferred one, else a B200.
pub(super) fn device_from_environment() -> Result<DeviceProperties, OptionError> {
    let named = variable(DEVICE, "b200, h100 or h200", device)?;
    let preferred = || PREFERRED_DEVICE.get().cloned();
    Ok(named
        .or_else(preferred)
        .unwrap_or_else(DeviceProperties::b200))
}

/// How the environment wants reports.
pub(super) fn report_format_from_environment() -> Result<Format, OptionError> {
    let named = variable(REPORT, "text or json", |value| match value {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        _ => None,
    })?;
    Ok(named.unwrap_or_default())
}

fn device(value: &str) -> Option<DeviceProperties> {
    match value {
        "b200" => Some(DeviceProperties::b200()),
        "h100" => Some(DeviceProperties::h100()),
        "h200" => Some(DeviceProperties::h200()),
        _ => None,
    }
}

/// `PTX_EMULATOR_SCHEDULE`, whose asynchrony `PTX_EMULATOR_ASYNC` overrides.
fn schedule_from_environment() -> Result<Schedule, OptionError> {
    let valid =
        "a schedule, TURNS[/async=ASYNC][/spurious=SEED], as `machine::Schedule` lists them";
    let schedule: Schedule = variable(SCHEDULE_VARIABLE, valid, parsed)?.unwrap_or_default();
    let valid = "late, early, random:SEED or chunked:SEED";
    let asynchrony = variable::<Asynchrony>(ASYNC, valid, parsed)?;
    Ok(Schedule {
        asynchrony: asynchrony.unwrap_or(schedule.asynchrony),
        ..schedule
    })
}

fn variable<T>(
    variable: &'static str,
    valid: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, OptionError> {
    let Some(value) = env::var_os(variable) else {
        return Ok(None);
    };
    let value = value.to_string_lossy().into_owned();
    match parse(&value) {
        Some(parsed) => Ok(Some(parsed)),
        None => Err(OptionError {
            variable,
            value,
            valid,
        }),
    }
}

fn mode(value: &str) -> Option<Mode> {
    match value {
        "fast" => Some(Mode::Fast),
        "check" => Some(Mode::Check),
        "strict" => Some(Mode::Strict),
        _ => None,
    }
}

pub(super) fn parsed<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.parse().ok()
}

thread_local! {
    static OF_THREAD: RefCell<Option<LaunchOptions>> = const { RefCell::new(None) };
}

/// Makes [`Mode::Fast`] the calling thread's default, for launches whose results are checked in another way: it holds
/// unless the environment names a mode.
///
/// # Errors
/// As [`from_environment`].
pub fn prefer_fast() -> Result<(), OptionError> {
    if env::var_os(MODE).is_none() {
        set_launch_options(Some(LaunchOptions {
            mode: Mode::Fast,
            ..from_environment()?
        }));
    }
    Ok(())
}

/// Overrides the environment for launches by the calling thread; `None` goes back to it.
pub fn set_launch_options(options: Option<LaunchOptions>) {
    OF_THREAD.set(options);
}

pub(super) fn of_thread() -> Option<LaunchOptions> {
    OF_THREAD.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named() {
        let capability = |name| device(name).map(|device| device.compute_capability);
        assert_eq!(capability("b200"), Some((10, 0)));
        assert_eq!(capability("h100"), Some((9, 0)));
        assert_eq!(capability("h200"), Some((9, 0)));
        assert_eq!(capability("B200"), None);
    }

    #[test]
    fn modes_are_parsed_whole() {
        assert_eq!(mode("fast"), Some(Mode::Fast));
        assert_eq!(mode("check"), Some(Mode::Check));
        assert_eq!(mode("strict"), Some(Mode::Strict));
        for wrong in ["", "Fast", "check ", "stress"] {
            assert_eq!(mode(wrong), None, "{wrong:?}");
        }
    }
}
