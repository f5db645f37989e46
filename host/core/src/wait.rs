//! How long a provider asks to wait, in the forms in which headers say it.
//!
//! Pure: the caller passes the time, for those that name a moment.

use crate::time::Timestamp;

/// A number of seconds above this is a moment, counted from 1970.
const MOMENT_SECONDS: u64 = 1_000_000_000;

/// How long a provider asks to wait, as far as it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetryAfter(u64);

impl RetryAfter {
    /// The longest wait that a provider is believed: a day.
    pub const MAX: Self = Self(24 * 60 * 60 * 1000);

    /// What the provider says, but at most [`RetryAfter::MAX`].
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        if ms < Self::MAX.0 { Self(ms) } else { Self::MAX }
    }

    /// Milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }
}

/// Milliseconds that a header's value asks to wait: seconds (`30`, `0.5`), a duration (`6m0s`, `120ms`), a moment as
/// RFC 3339 or HTTP writes it, or in seconds since 1970. `None` for anything else; a moment that is over is 0.
#[must_use]
pub fn wait_ms(text: &str, now: Timestamp) -> Option<u64> {
    let text = text.trim();
    if let Some(ms) = decimal_ms(text) {
        let moment = ms / 1000 >= MOMENT_SECONDS;
        return Some(if moment { Timestamp::from_millis(ms).since_ms(now) } else { ms });
    }
    duration(text).or_else(|| Some(rfc3339(text).or_else(|| http_date(text))?.since_ms(now)))
}

/// Milliseconds of a decimal number of seconds, cut after three places.
fn decimal_ms(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(places) {
        return None;
    }
    let ms = places.bytes().chain(*b"000").take(3).fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(ms)
}

/// A duration as Go writes it: numbers with units, from the largest on.
fn duration(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let end = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let (number, tail) = rest.split_at(end);
        let length = tail.find(|sign: char| sign.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(length);
        let thousandths = decimal_ms(number)?;
        let ms = match unit {
            "ms" => thousandths.div_ceil(1000),
            "s" => thousandths,
            "m" => thousandths.checked_mul(60)?,
            "h" => thousandths.checked_mul(3600)?,
            _ => return None,
        };
        total = total.checked_add(ms)?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// `2027-01-15T08:00:00Z`, with or without parts of a second, in UTC or beside it.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (time, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
    let zone = rest.trim_start_matches(|sign: char| sign == '.' || sign.is_ascii_digit());
    let at = moment(year, month, day, time)?;
    let shift = |zone: &str| {
        let (hours, minutes) = zone.split_once(':')?;
        Some((hours.parse::<u64>().ok()? * 60 + minutes.parse::<u64>().ok()?) * 60_000)
    };
    match zone.split_at_checked(1)? {
        ("Z" | "z", "") => Some(at),
        ("+", zone) => Some(Timestamp::from_millis(at.millis().checked_sub(shift(zone)?)?)),
        ("-", zone) => Some(at.plus_ms(shift(zone)?)),
        _ => None,
    }
}

/// `Fri, 15 Jan 2027 08:00:00 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month = MONTHS.iter().zip(1..).find(|(month, _)| **month == name)?.1;
    let year = words.next()?.parse().ok()?;
    let at = moment(year, month, day, words.next()?)?;
    (words.next() == Some("GMT")).then_some(at)
}

/// The moment of a date and a time `08:00:00` in UTC.
fn moment(year: u64, month: u64, day: u64, time: &str) -> Option<Timestamp> {
    let mut parts = time.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp::from_millis(seconds * 1000))
}

/// Days since 1970-01-01. Years are taken to begin in March, so that the day which some of them have more stands last.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::{RetryAfter, wait_ms};
    use crate::time::Timestamp;
    use proptest::prelude::*;

    /// 2027-01-15T08:00:00Z
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn each_form_in_which_providers_say_it_is_understood() {
        for (text, expected) in [
            ("30", 30_000),
            (" 0.5 ", 500),
            ("0", 0),
            ("6m0s", 360_000),
            ("8.64s", 8640),
            ("120ms", 120),
            ("1h1m1s", 3_661_000),
            ("2027-01-15T08:00:31Z", 31_000),
            ("2027-01-15T09:00:31.25+01:00", 31_000),
            ("2027-01-15T07:30:31-00:30", 31_000),
            ("2026-01-15T08:00:31Z", 0),
            ("Fri, 15 Jan 2027 08:01:00 GMT", 60_000),
            ("1800000031", 31_000),
        ] {
            assert_eq!(wait_ms(text, NOW), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_provider_is_believed_for_a_day() {
        assert_eq!(RetryAfter::from_ms(9_000).ms(), 9_000);
        assert_eq!(RetryAfter::from_ms(u64::MAX), RetryAfter::MAX);
        assert_eq!(RetryAfter::MAX.ms(), wait_ms("24h", NOW).unwrap());
    }

    #[test]
    fn anything_else_says_nothing() {
        for text in [
            "",
            "soon",
            "-1",
            "1.",
            ".5",
            "5x",
            "5 s",
            "1e3",
            "99999999999999999999",
            "2027-13-15T08:00:00Z",
            "2027-01-15T08:00:00",
            "2027-01-15",
            "Fri, 15 Foo 2027 08:01:00 GMT",
            "Fri, 15 Jan 2027 08:01:00 CET",
            "9223372036854775807h",
            "é7-01-15T08:00:00Z",
        ] {
            assert_eq!(wait_ms(text, NOW), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_this_gateway_writes_it_reads(seconds in 0..100_000_000_u64) {
            let later = NOW.plus_ms(seconds * 1000);
            prop_assert_eq!(wait_ms(&later.rfc3339(), NOW), Some(seconds * 1000));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            let _read = wait_ms(&text, NOW);
        }
    }
}
