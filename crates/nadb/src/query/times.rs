//! Times as queries take them: ranges of moments.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::time::{SystemTime, UNIX_EPOCH};

use nadb_core::Span;

/// A moment: a [`SystemTime`], or a number of Unix milliseconds.
///
/// Stores keep times in whole milliseconds, so what is finer is dropped, and what lies before 1970 is 1970: a record that was written
/// now is among those `created(now..)`, if `now` was read before.
pub trait Moment {
    /// Unix milliseconds.
    fn to_ms(&self) -> u64;
}

impl Moment for u64 {
    fn to_ms(&self) -> u64 {
        *self
    }
}

impl Moment for SystemTime {
    fn to_ms(&self) -> u64 {
        let since_1970 = self.duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A range of [`Moment`]s: every range expression over them, such as `start..end`, `start..`, `..=end` and `..`, and a pair of
/// [`Bound`]s.
///
/// ```
/// use std::time::{Duration, SystemTime, UNIX_EPOCH};
/// let notes = nadb::Store::memory()?.namespace("notes")?;
/// notes.set("k", "v")?;
/// let updated = notes.metadata("k")?.unwrap().updated();
/// let hour = Duration::from_secs(3600);
/// assert_eq!(notes.query().updated(updated - hour..updated + hour).count()?, 1);
/// assert_eq!(notes.query().updated(..updated).count()?, 0);
/// assert_eq!(notes.query().updated(..1_000).count()?, 0); // the first second of 1970
/// # Ok::<(), nadb::Error>(())
/// ```
pub trait TimeRange {
    /// The Unix milliseconds from the first to the last.
    fn into_span(self) -> Span;
}

fn span<M: Moment>(range: &impl RangeBounds<M>) -> Span {
    let ms = |bound: Bound<&M>| bound.map(Moment::to_ms);
    Span::of((ms(range.start_bound()), ms(range.end_bound())))
}

macro_rules! time_ranges {
    ($($range:ty),*) => {$(
        impl<M: Moment> TimeRange for $range {
            fn into_span(self) -> Span {
                span::<M>(&self)
            }
        }
    )*};
}

time_ranges!(
    Range<M>,
    RangeInclusive<M>,
    RangeFrom<M>,
    RangeTo<M>,
    RangeToInclusive<M>,
    (Bound<M>, Bound<M>)
);

impl TimeRange for RangeFull {
    fn into_span(self) -> Span {
        Span::ALL
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_whole_milliseconds_and_none_is_before_1970() {
        let at = UNIX_EPOCH + Duration::from_micros(5_999);
        assert_eq!((at..).into_span(), Span::of(5..));
        assert_eq!((..at).into_span(), Span::of(..5));
        assert_eq!((7..=9).into_span(), Span::of(7..=9));
        assert_eq!((Bound::Excluded(7), Bound::Unbounded).into_span(), Span::of(8..));
        assert_eq!((UNIX_EPOCH - Duration::from_secs(5)..).into_span(), Span::ALL);
        assert_eq!((..).into_span(), Span::ALL);
    }
}
