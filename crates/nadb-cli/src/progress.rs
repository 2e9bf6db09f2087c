//! Progress bars on standard error, on a terminal only.

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use nadb::{CompactionProgress, CopyPhase, CopyProgress, OpenPhase, OpenProgress};

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

/// An opening that takes less time shows no bar.
const OPENING_QUIET: Duration = Duration::from_millis(500);

/// How far opening the store has come.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    begun: Instant,
    bar: Arc<OnceLock<ProgressBar>>,
}

impl Opening {
    pub(crate) fn begin() -> Opening {
        Opening { begun: Instant::now(), bar: Arc::default() }
    }

    /// What shows it.
    pub(crate) fn observer(&self) -> impl Fn(OpenProgress) + Send + Sync + 'static {
        let (opening, is_visible) = (self.clone(), Progress::is_visible());
        move |progress| {
            if is_visible && opening.begun.elapsed() >= OPENING_QUIET {
                opening.show(progress);
            }
        }
    }

    fn show(&self, progress: OpenProgress) {
        let bar = self.bar.get_or_init(|| {
            let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent}% {msg}");
            let bar = ProgressBar::new(progress.total);
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        bar.set_message(match progress.phase {
            OpenPhase::Footers => "opening: checking footers",
            OpenPhase::Checkpoint => "opening: loading the checkpoint",
            OpenPhase::Merging => "opening: merging footers",
            OpenPhase::Replaying => "opening: replaying the log",
            _ => "opening",
        });
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

/// How far a compaction has come.
#[derive(Debug, Clone)]
pub(crate) struct Compacting {
    bar: ProgressBar,
}

impl Compacting {
    pub(crate) fn begin() -> Compacting {
        if !Progress::is_visible() {
            return Compacting { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {percent}% compacting, {msg}");
        Compacting { bar: style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style)) }
    }

    pub(crate) fn show(&self, progress: CompactionProgress) {
        self.bar.set_length(progress.total_bytes);
        self.bar.set_position(progress.done_bytes);
        self.bar.set_message(present::size(progress.total_bytes));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

/// How far a copy has come.
#[derive(Debug, Clone)]
pub(crate) struct Copying {
    bar: ProgressBar,
}

impl Copying {
    pub(crate) fn begin() -> Copying {
        if !Progress::is_visible() {
            return Copying { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} records {msg}");
        let bar = style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style));
        bar.enable_steady_tick(Duration::from_millis(100));
        Copying { bar }
    }

    pub(crate) fn show(&self, progress: &CopyProgress) {
        if self.bar.is_hidden() {
            return;
        }
        let doing = match progress.phase {
            CopyPhase::Comparing => "compared",
            _ => "copied",
        };
        self.bar.set_length(progress.total.max(progress.records));
        self.bar.set_position(progress.records);
        self.bar.set_message(format!("{doing}, {}", present::size(progress.bytes)));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
