//! Moments: dates and times of RFC 3339, Unix milliseconds, and what is told from now.

use super::amount;
use super::reader::Reader;
use crate::query::Span;
use crate::{Error, Result};

const DAY_MS: u64 = 86_400_000;
const WHAT: &str = "a time such as 2026-01-31, 2026-01-31T23:59:59Z, @1700000000000 or now-2h";

/// The moments that are named here, in Unix milliseconds: all of a date's day in UTC, otherwise one.
pub(super) fn moments(reader: &mut Reader<'_>, now_ms: Option<u64>) -> Result<Span> {
    let at = reader.at();
    let moment = if reader.eat("@") {
        let digits = reader.take_while(|char| char.is_ascii_digit());
        digits.parse().map_err(|_| reader.expected_at(at, "Unix milliseconds such as @1700000000000"))?
    } else if reader.eat_word("now") {
        let no_now = || Error::invalid("\"now\" means nothing here: give a time itself, or say when now is");
        from_now(reader, now_ms.ok_or_else(|| reader.placed(at, no_now()))?)?
    } else {
        return date(reader);
    };
    Ok(Span { from: moment, to: moment })
}

/// What stands behind `now`. What would lie before 1970 is 1970.
fn from_now(reader: &mut Reader<'_>, now_ms: u64) -> Result<u64> {
    let at = reader.at();
    reader.skip_blanks();
    let is_later = reader.eat("+");
    if !is_later && !reader.eat("-") {
        reader.go_back(at);
        return Ok(now_ms);
    }
    reader.skip_blanks();
    let distance = amount::duration(reader)?;
    if !is_later {
        return Ok(now_ms.saturating_sub(distance));
    }
    let too_late = || reader.placed(at, Error::invalid("this is later than any time"));
    now_ms.checked_add(distance).ok_or_else(too_late)
}

/// A date, or a date with a time of day: RFC 3339, section 5.6.
fn date(reader: &mut Reader<'_>) -> Result<Span> {
    let at = reader.at();
    let Some(days) = calendar_date(reader) else {
        return Err(reader.expected_at(at, WHAT));
    };
    let days = days.ok_or_else(|| reader.placed(at, Error::invalid("there is no such day")))?;
    let (from, to) = if reader.eat("T") || reader.eat("t") {
        let Some(ms) = time_of_day(reader) else {
            return Err(
                reader.expected_at(at, "a time of day and its zone, as in 2026-01-31T23:59:59Z or …+02:00")
            );
        };
        let moment = days * i64::try_from(DAY_MS).unwrap_or_default() + ms;
        (u64::try_from(moment), u64::try_from(moment))
    } else {
        let from = u64::try_from(days).map(|days| days * DAY_MS);
        (from, from.map(|from| from + (DAY_MS - 1)))
    };
    match (from, to) {
        (Ok(from), Ok(to)) => Ok(Span { from, to }),
        _ => Err(reader.placed(at, Error::invalid("this lies before 1970, and no record does"))),
    }
}

/// Days since 1970; `Some(None)` for a day that the calendar does not have.
fn calendar_date(reader: &mut Reader<'_>) -> Option<Option<i64>> {
    let year = reader.digits(4)?;
    let month = reader.eat("-").then(|| reader.digits(2))??;
    let day = reader.eat("-").then(|| reader.digits(2))??;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => 0,
    };
    let exists = (1..=length).contains(&day);
    Some(exists.then(|| days_from_civil(year, month, day)).flatten())
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", for years from 0 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<i64> {
    // Years begin with March, so that the leap day is their last.
    let year = i64::try_from(year).ok()? - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (i64::try_from(month).ok()? + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::try_from(day).ok()? - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Milliseconds since midnight in UTC, of which there may be fewer than none, or more than a day has. A leap second is the first of
/// the next minute; what is finer than a millisecond is dropped.
fn time_of_day(reader: &mut Reader<'_>) -> Option<i64> {
    let hour = reader.digits(2).filter(|hour| *hour < 24)?;
    let minute = reader.eat(":").then(|| reader.digits(2))??;
    let second = reader.eat(":").then(|| reader.digits(2))??;
    if minute > 59 || second > 60 {
        return None;
    }
    let mut fraction = 0;
    if !reader.rest().starts_with("..") && reader.eat(".") {
        let digits = reader.take_while(|char| char.is_ascii_digit());
        let ms: String = digits.chars().chain("00".chars()).take(3).collect();
        fraction = ms.parse::<u64>().ok().filter(|_| !digits.is_empty())?;
    }
    let ms = ((hour * 60 + minute) * 60 + second) * 1_000 + fraction;
    Some(i64::try_from(ms).ok()? - zone(reader)?)
}

/// How many milliseconds a zone's clocks are before UTC.
fn zone(reader: &mut Reader<'_>) -> Option<i64> {
    if reader.eat("Z") || reader.eat("z") {
        return Some(0);
    }
    let is_before = reader.eat("+");
    if !is_before && !reader.eat("-") {
        return None;
    }
    let hours = reader.digits(2).filter(|hours| *hours < 24)?;
    let minutes = reader.eat(":").then(|| reader.digits(2))??;
    if minutes > 59 {
        return None;
    }
    let ms = i64::try_from((hours * 60 + minutes) * 60_000).ok()?;
    Some(if is_before { ms } else { -ms })
}
