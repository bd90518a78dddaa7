//! `key chain NAME`: keys with the times in which they are sent and accepted, so that all routers of a group change over
//! without losing each other.
//!
//! Lifetimes are wall-clock times in UTC, whole seconds. All routers of a group need the same time (NTP): let a key be
//! accepted for longer than it is sent, on both sides, by more than their clocks may differ.

use super::Secret;
use std::collections::BTreeMap;
use std::fmt;

/// Keys in a chain: a message is tried against each that is accepted, so that a forged one costs a bounded time.
pub const MAX_KEYS: usize = 8;

/// The keys by number.
pub type KeyChain = BTreeMap<u32, ChainKey>;

/// `key N`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainKey {
    /// `key-string KEY`; a key without one is never used
    pub string: Option<Secret>,
    /// `accept-lifetime`
    pub accept: Lifetime,
    /// `send-lifetime`
    pub send: Lifetime,
}

/// From when until when, in seconds of the wall clock since 1970 (UTC). The default is always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// The first second
    pub from: u64,
    /// The second after the last one; none: infinite
    pub until: Option<u64>,
}

impl Lifetime {
    /// Returns whether `wall` (seconds since 1970) lies in it.
    #[must_use]
    pub fn covers(&self, wall: u64) -> bool {
        self.from <= wall && self.until.is_none_or(|until| wall < until)
    }

    /// Returns whether it is the default.
    #[must_use]
    pub fn is_always(&self) -> bool {
        *self == Lifetime::default()
    }

    /// Reads `START {infinite|duration SECONDS|END}`; START and END are `HH:MM:SS Jan 1 2026` or `HH:MM:SS 1 Jan 2026`.
    ///
    /// # Errors
    /// What is wrong, and the form wanted.
    pub fn parse(text: &str) -> Result<Lifetime, String> {
        const FORM: &str =
            "write START {infinite|duration SECONDS|END}, each time as 23:59:59 Jan 31 2026 (UTC)";
        let words: Vec<&str> = text.split_whitespace().collect();
        let (start, end) =
            words.split_at_checked(4).ok_or_else(|| format!("the start is not complete: {FORM}"))?;
        let from = time(start).ok_or_else(|| format!("\"{}\" is not a time: {FORM}", start.join(" ")))?;
        let until = match end {
            ["infinite"] => None,
            ["duration", seconds] => match seconds.parse::<u32>() {
                Ok(seconds @ 1..) => Some(from + u64::from(seconds)),
                _ => return Err(format!("\"{seconds}\" is no duration: it is 1 to {} seconds", u32::MAX)),
            },
            [] => return Err(format!("the end is missing: {FORM}")),
            end => Some(time(end).ok_or_else(|| format!("\"{}\" is not an end: {FORM}", end.join(" ")))?),
        };
        if until.is_some_and(|until| until <= from) {
            return Err("it ends before it begins: write the earlier time first".to_owned());
        }
        Ok(Lifetime { from, until })
    }
}

/// As [`Lifetime::parse`] reads it.
impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.from)?;
        match self.until {
            None => f.write_str(" infinite"),
            Some(until) => {
                f.write_str(" ")?;
                write_time(f, until)
            }
        }
    }
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: u64 = 86_400;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(year: u64, month: usize) -> u64 {
    match month {
        1 => 28 + u64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of January of `year`.
fn days_to(year: u64) -> u64 {
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400;
    (year - 1970) * 365 + leaps - 477 // leap years until 1969
}

fn time(words: &[&str]) -> Option<u64> {
    let [clock, one, two, year] = words else { return None };
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok().filter(|_| part.len() <= 2));
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    let (month, day) = if one.starts_with(|c: char| c.is_ascii_digit()) { (two, one) } else { (one, two) };
    let month = MONTHS.iter().position(|name| {
        month.len() >= 3 && month.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(name))
    })?;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let exists = parts.next().is_none()
        && hour < 24
        && minute < 60
        && second < 60
        && (1993..=2099).contains(&year)
        && (1..=days_of(year, month)).contains(&day);
    let days = || days_to(year) + (0..month).map(|month| days_of(year, month)).sum::<u64>() + day - 1;
    exists.then(|| days() * DAY + hour * 3600 + minute * 60 + second)
}

fn write_time(f: &mut fmt::Formatter<'_>, wall: u64) -> fmt::Result {
    let (mut days, second) = (wall / DAY, wall % DAY);
    let mut year = 1970 + days / 366;
    while days_to(year + 1) <= days {
        year += 1;
    }
    days -= days_to(year);
    let mut month = 0;
    while days >= days_of(year, month) {
        days -= days_of(year, month);
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    write!(f, "{hour:02}:{minute:02}:{:02} {} {} {year}", second % 60, MONTHS[month], days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_orders_and_written_in_one() {
        for (text, wall) in [
            ("00:00:00 Jan 1 1993", 725_846_400),
            ("23:59:59 Feb 29 2024", 1_709_251_199),
            ("00:00:00 1 March 2024", 1_709_251_200),
            ("12:30:05 Nov 25 2026", 1_795_609_805),
            ("23:59:59 Dec 31 2099", 4_102_444_799),
        ] {
            let lifetime = Lifetime::parse(&format!("{text} infinite")).unwrap();
            assert_eq!((lifetime.from, lifetime.until), (wall, None), "{text}");
            assert_eq!(Lifetime::parse(&lifetime.to_string()), Ok(lifetime), "{lifetime}");
        }
        let day = Lifetime::parse("00:00:00 Jan 1 2026 duration 86400").unwrap();
        assert_eq!(day.to_string(), "00:00:00 Jan 1 2026 00:00:00 Jan 2 2026");
        assert!(day.covers(day.from) && day.covers(day.from + 86_399) && !day.covers(day.from + 86_400));
    }

    #[test]
    fn what_is_no_lifetime_says_what_one_looks_like() {
        for text in [
            "",
            "00:00:00 Jan 1 2026",
            "00:00:00 Feb 29 2026 infinite",
            "24:00:00 Jan 1 2026 infinite",
            "00:00 Jan 1 2026 infinite",
            "00:00:00 Jan 1 1970 infinite",
            "00:00:00 Jän 1 2026 infinite",
            "00:00:00 Jan 1 2026 forever",
            "00:00:00 Jan 1 2026 duration 0",
            "00:00:00 Jan 2 2026 00:00:00 Jan 1 2026",
        ] {
            assert!(Lifetime::parse(text).is_err(), "{text}");
        }
        let error = Lifetime::parse("00:00:00 Jan 1 2026").unwrap_err();
        assert!(
            error.contains("the end is missing") && error.contains("23:59:59 Jan 31 2026 (UTC)"),
            "{error}"
        );
    }
}
