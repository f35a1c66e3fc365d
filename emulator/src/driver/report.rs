//! Reports for people: why a module was refused, why a launch failed.

use std::cell::{Cell, RefCell};

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    static CAPTURED: Cell<bool> = const { Cell::new(false) };
}

/// The report of the calling thread's last refused module or failed launch, once.
pub fn take_last_report() -> Option<String> {
    LAST.take()
}

/// Keeps the calling thread's reports from stderr, for [`take_last_report`] alone.
pub fn capture_reports(capture: bool) {
    CAPTURED.set(capture);
}

/// Files a report; `quiet` where it also goes to the caller in another way.
pub(super) fn file(report: String, quiet: bool) {
    if !quiet && !CAPTURED.get() {
        eprintln!("ptx-emulator: {report}");
    }
    LAST.set(Some(report));
}
