//! `nadb stats --watch`: the figures again and again. The store is opened for each look and closed after it, so that others get
//! at it in between.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use nadb::ErrorKind;

use super::figures::Figures;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::{present, table};

/// Cursor to the upper left corner, and nothing below it any more (ECMA-48).
const CLEAR: &[u8] = b"\x1b[H\x1b[J";
/// Widths of the columns where each look is one line.
const WIDTHS: [usize; 7] = [10, 10, 8, 11, 11, 11, 11];
const NAMES: [&str; 7] = ["KEYS", "RECORDS", "SEGMENTS", "LOG", "LIVE", "FOOTERS", "MEMORY"];

/// How often, and how many times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) interval: Duration,
    pub(super) times: Option<u64>,
}

impl Watch {
    /// Looks until it has looked often enough, or for ever.
    ///
    /// # Errors
    /// What opening fails with, but for a store that another process has open: that is shown, and looked at again.
    pub(super) fn run(self, context: &Context, look: impl Fn() -> Result<Figures>) -> Result<()> {
        let is_in_place = io::stdout().is_terminal() && !context.json;
        let mut left = self.times.unwrap_or(u64::MAX);
        let mut is_first = true;
        loop {
            let seen = match look() {
                Ok(figures) => Some(figures),
                Err(Failure::Store(error)) if error.kind() == ErrorKind::Locked => None,
                Err(failure) => return Err(failure),
            };
            let mut out = context.output();
            if context.json {
                let busy = || Fields::default().with("locked", true);
                out.json(&seen.map_or_else(busy, |figures| figures.json(context)))?;
            } else if is_in_place {
                out.bytes(CLEAR)?;
                out.bytes(
                    seen.map_or_else(|| LOCKED.to_owned(), |figures| figures.text(context)).as_bytes(),
                )?;
            } else {
                if is_first {
                    out.bytes(line(&NAMES.map(str::to_owned)).as_bytes())?;
                }
                out.bytes(seen.map_or_else(|| LOCKED.to_owned(), |figures| brief(&figures)).as_bytes())?;
            }
            out.finish()?;
            is_first = false;
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(());
            }
            thread::sleep(self.interval);
        }
    }
}

const LOCKED: &str = "another process has the store open\n";

/// The figures that change most, on one line.
fn brief(Figures { stats, .. }: &Figures) -> String {
    let counts = [stats.keys, stats.records, stats.segments].map(|count| count.to_string());
    let bytes = [stats.log_bytes, stats.live_bytes, stats.footer_bytes, stats.memory_bytes()];
    let mut cells = counts.into_iter().chain(bytes.map(present::size));
    line(&std::array::from_fn(|_| cells.next().unwrap_or_default()))
}

/// Right-aligned columns, of the same widths on every line.
fn line(cells: &[String; WIDTHS.len()]) -> String {
    let wide = |(cell, width): (&String, usize)| format!("{cell:>width$}");
    let cells: Vec<String> = cells.iter().zip(WIDTHS).map(wide).collect();
    table::render(&[cells], &[])
}

/// Seconds above zero, also parts of them, at most a day.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.001..=86_400.0).contains(seconds));
    let interval = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    interval.ok_or_else(|| format!("{text:?} is not a number of seconds between 0.001 and 86400"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_seconds() {
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "0", "-1", "NaN", "inf", "1s", "86401"] {
            assert!(interval(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn columns_stay_where_they_are() {
        let line_of =
            |cell: &str| line(&std::array::from_fn(|_| cell.to_owned())).find(cell.chars().last().unwrap());
        assert!(line(&NAMES.map(str::to_owned)).ends_with("MEMORY\n"));
        assert_eq!(line_of("1").map(|at| at + 1), line_of("12").map(|at| at + 1));
    }
}
