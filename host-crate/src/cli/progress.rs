//! A progress bar on stderr, where that is a terminal.

use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use nvfp4_dual_gemm::check::Progress;

pub struct Bar {
    prefix: String,
    current: Mutex<ProgressBar>,
}

impl Bar {
    /// `prefix` says what is being run.
    pub fn new(prefix: String) -> Self {
        Self {
            prefix,
            current: Mutex::new(ProgressBar::hidden()),
        }
    }

    fn with(&self, act: impl FnOnce(&mut ProgressBar)) {
        act(&mut self
            .current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    pub fn finish(&self) {
        self.with(|bar| bar.finish_and_clear());
    }
}

impl Progress for Bar {
    fn phase(&self, name: &'static str, steps: u64) {
        self.with(|bar| {
            bar.finish_and_clear();
            *bar = ProgressBar::new(steps);
            let style = ProgressStyle::with_template("{prefix} {msg:<9} {bar:30} {elapsed}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(self.prefix.clone());
            bar.set_message(name);
            bar.enable_steady_tick(std::time::Duration::from_millis(200));
        });
    }

    fn advance(&self, steps: u64) {
        self.with(|bar| bar.inc(steps));
    }
}
