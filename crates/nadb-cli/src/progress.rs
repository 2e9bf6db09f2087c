//! A progress bar on standard error, on a terminal only.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;
use crate::present;

/// Shows how many files and bytes are done; nothing where standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Whether anybody would see it.
    pub(crate) fn is_visible() -> bool {
        io::stderr().is_terminal()
    }

    /// A bar of `total` files, where that is known.
    pub(crate) fn new(total: Option<u64>) -> Progress {
        if !Self::is_visible() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{elapsed_precise} [{bar:30}] {pos}/{len} files, {msg}"),
            None => (ProgressBar::new_spinner(), "{elapsed_precise} {spinner} {pos} files, {msg}"),
        };
        // The templates are constant and right; a bar in the default style would do, too.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar }
    }

    /// One more file is done, `bytes` in all.
    pub(crate) fn step(&self, bytes: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_message(present::size(bytes));
        }
        self.bar.inc(1);
    }

    /// A sentence on standard error, above the bar.
    pub(crate) fn complain(&self, sentence: &str) {
        self.bar.suspend(|| output::complain(sentence));
    }
}

impl Drop for Progress {
    /// Takes the bar away, also when a command fails in the middle.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
