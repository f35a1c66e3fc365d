//! Traces and profiles of a whole process, into the files that the environment names.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::options::{OptionError, parsed};
use super::report;
use crate::observe::{Observe, Observer, Profile, TraceWriter};

const TRACE: &str = "PTX_EMULATOR_TRACE";
const TRACED_CTAS: &str = "PTX_EMULATOR_TRACE_CTAS";
const PROFILE: &str = "PTX_EMULATOR_PROFILE";

/// CTAs of each launch that are traced unless the environment says otherwise: a trace of thousands is no use.
const FEW_CTAS: u64 = 4;

struct Files {
    observer: Arc<Observer>,
    trace: Option<Mutex<TraceWriter<BufWriter<File>>>>,
    /// Everything so far, and where it goes.
    profile: Option<(Mutex<Profile>, PathBuf)>,
}

static FILES: OnceLock<Option<Files>> = OnceLock::new();

/// The process's observer, if the environment asks for a trace or a profile.
pub(super) fn from_environment() -> Result<Option<Arc<Observer>>, OptionError> {
    if FILES.get().is_none() {
        let files = open()?;
        // Another thread may have been faster; both made the same.
        let _ = FILES.set(files);
    }
    let files = FILES.get().and_then(Option::as_ref);
    Ok(files.map(|files| Arc::clone(&files.observer)))
}

fn open() -> Result<Option<Files>, OptionError> {
    let path = |variable| env::var_os(variable).map(PathBuf::from);
    let (trace, profile) = (path(TRACE), path(PROFILE));
    if trace.is_none() && profile.is_none() {
        return Ok(None);
    }
    let ctas = match env::var(TRACED_CTAS) {
        Err(_) => FEW_CTAS,
        Ok(value) => parsed(&value).ok_or(OptionError {
            variable: TRACED_CTAS,
            value,
            valid: "a number of CTAs",
        })?,
    };
    let writer = |path: &Path| TraceWriter::new(BufWriter::new(File::create(path)?));
    let failed = |variable, path: &Path| OptionError {
        variable,
        value: path.display().to_string(),
        valid: "a file that can be written",
    };
    let writer = match &trace {
        None => None,
        Some(path) => Some(writer(path).map_err(|_| failed(TRACE, path))?),
    };
    if let Some(path) = &profile {
        File::create(path).map_err(|_| failed(PROFILE, path))?;
    }
    let observe = Observe {
        traced_ctas: if trace.is_some() { ctas } else { 0 },
        profile: profile.is_some(),
    };
    Ok(Some(Files {
        observer: Arc::new(Observer::new(observe)),
        trace: writer.map(Mutex::new),
        profile: profile.map(|path| (Mutex::default(), path)),
    }))
}

/// Adds what was observed since the last launch to the files. The trace is one JSON array without its end, which Perfetto
/// and Chrome accept; the profile is written anew, as JSON where its name ends so.
pub(super) fn write() {
    let Some(files) = FILES.get().and_then(Option::as_ref) else {
        return;
    };
    if let Err(error) = files.write() {
        report::file(
            format!("the trace or profile can't be written: {error}"),
            false,
        );
    }
}

impl Files {
    fn write(&self) -> io::Result<()> {
        if let Some(trace) = &self.trace {
            let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
            trace.write(&self.observer.take_trace())?;
        }
        if let Some((profile, path)) = &self.profile {
            let mut profile = profile.lock().unwrap_or_else(PoisonError::into_inner);
            profile.add(&self.observer.take_profile());
            let is_json = path
                .extension()
                .is_some_and(|extension| extension == "json");
            match is_json {
                true => fs::write(path, profile.to_json())?,
                false => fs::write(path, profile.to_string())?,
            }
        }
        Ok(())
    }
}
