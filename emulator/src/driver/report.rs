//! Reports: why a module was refused, why a launch failed, and what strict mode would have refused.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::OnceLock;

use crate::json::Object;
use crate::machine::LaunchFailure;
use crate::machine::order::Warning;

/// How reports are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// An object a line, for tools.
    Json,
}

static FORMAT: OnceLock<Format> = OnceLock::new();

/// Sets the process's format; the first call decides.
pub(super) fn set_format(format: Format) {
    FORMAT.get_or_init(|| format);
}

fn format() -> Format {
    FORMAT.get().copied().unwrap_or_default()
}

/// What makes two warnings the same to their reader: kernel, rule, line and the other party's line.
type WarningKey = (String, &'static str, String, u32, Option<u32>);

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static CAPTURED: Cell<bool> = const { Cell::new(false) };
    static WARNINGS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static WARNED: RefCell<HashSet<WarningKey>> = RefCell::default();
}

/// The report of the calling thread's last refused module or failed launch, once.
pub fn take_last_report() -> Option<String> {
    LAST.take()
}

/// What strict mode would have refused in the calling thread's launches since the last call. A line of a kernel is
/// reported once for each other party. Only what [`capture_reports`] keeps from stderr is here.
pub fn take_warnings() -> Vec<String> {
    WARNINGS.take()
}

/// Keeps the calling thread's reports from stderr, for [`take_last_report`] and [`take_warnings`] alone.
pub fn capture_reports(capture: bool) {
    CAPTURED.set(capture);
}

/// Files a report; `quiet` where it also goes to the caller in another way.
pub(super) fn file(report: String, quiet: bool) {
    let report = match format() {
        Format::Text => report,
        Format::Json => Object::default()
            .text("severity", "error")
            .text("message", &*report)
            .finish(),
    };
    if !quiet {
        print(&report);
    }
    LAST.set(Some(report));
}

pub(super) fn file_failure(failure: &LaunchFailure) {
    let report = match format() {
        Format::Text => failure.to_string(),
        Format::Json => failure.to_json(),
    };
    print(&report);
    LAST.set(Some(report));
}

pub(super) fn file_warning(warning: &Warning) {
    let key = (
        warning.kernel.clone(),
        warning.finding.rule.id(),
        warning.site.source.text.clone(),
        warning.site.source.line,
        warning
            .finding
            .other
            .as_ref()
            .map(|other| other.source.line),
    );
    if !WARNED.with_borrow_mut(|warned| warned.insert(key)) {
        return;
    }
    let report = match format() {
        Format::Text => warning.to_string(),
        Format::Json => warning.to_json(),
    };
    print(&report);
    if CAPTURED.get() {
        WARNINGS.with_borrow_mut(|warnings| warnings.push(report));
    }
}

fn print(report: &str) {
    if CAPTURED.get() {
        return;
    }
    match format() {
        Format::Text => eprintln!("ptx-emulator: {report}"),
        Format::Json => eprintln!("{report}"),
    }
}
