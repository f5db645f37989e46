//! Time as an argument: milliseconds since 1970-01-01 UTC.

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A moment, in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The moment `ms` milliseconds after this one.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 when that lies ahead.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// The day it is in, in days since the epoch (UTC).
    #[must_use]
    pub const fn day(self) -> u64 {
        self.0 / DAY_MS
    }

    /// Whether this is after the day `day`, or so long before it that the clock was set back meanwhile. A moment before
    /// midnight is none: threads ask a moment apart.
    #[must_use]
    pub const fn is_another_day(self, day: u64) -> bool {
        self.day() > day || self.plus_ms(60_000).day() < day
    }

    /// Milliseconds until the next midnight UTC: 1 to a whole day.
    #[must_use]
    pub const fn ms_to_midnight(self) -> u64 {
        DAY_MS - self.0 % DAY_MS
    }

    /// The beginning of a day that is written as `2027-01-31`; `None` for what is no day since the epoch.
    #[must_use]
    pub fn parse_date(text: &str) -> Option<Self> {
        let digits = |part: &str, count: usize| {
            let right = part.len() == count && part.bytes().all(|sign| sign.is_ascii_digit());
            right.then(|| part.parse::<u64>().ok())?
        };
        let (year, rest) = text.split_once('-')?;
        let (month, day) = rest.split_once('-')?;
        let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
        let found = day_of(year, month.checked_sub(1)? + 1, day.checked_sub(1)? + 1)?;
        // A day that the month does not have comes back as another date.
        (date(found) == (year, month, day)).then_some(Self(found * DAY_MS))
    }

    /// The moment as RFC 3339 writes it, in whole seconds: `2027-01-15T08:00:00Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (year, month, day) = date(self.day());
        let seconds = self.0 % DAY_MS / 1000;
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Days since the epoch of a date that need not be one; `None` before the epoch.
const fn day_of(year: u64, month: u64, day: u64) -> Option<u64> {
    // As below: a year begins in March.
    let year = if month > 2 { year } else { year.saturating_sub(1) };
    let month = if month > 2 { month - 3 } else { month + 9 };
    let (cycle, year_of_cycle) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    (cycle * 146_097 + day_of_cycle).checked_sub(719_468)
}

/// Year, month and day. Years are taken to begin in March, so that the day which some of them have more stands last.
const fn date(days_since_epoch: u64) -> (u64, u64, u64) {
    /// From the 1st of March of the year 0 to the epoch.
    const DAYS_TO_EPOCH: u64 = 719_468;
    /// Days of four centuries.
    const CYCLE: u64 = 146_097;
    let days = days_since_epoch.saturating_add(DAYS_TO_EPOCH);
    let (cycle, day_of_cycle) = (days / CYCLE, days % CYCLE);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let in_new_year = month >= 10;
    let year = cycle * 400 + year_of_cycle + in_new_year as u64;
    (year, if in_new_year { month - 9 } else { month + 3 }, day)
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, Timestamp};

    #[test]
    fn a_moment_is_written_in_the_calendar_of_everyone() {
        let check = |millis: u64, text: &str| assert_eq!(Timestamp::from_millis(millis).rfc3339(), text);
        check(0, "1970-01-01T00:00:00Z");
        check(951_827_696_789, "2000-02-29T12:34:56Z");
        check(1_800_000_000_999, "2027-01-15T08:00:00Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn a_date_is_read_as_it_is_written_and_no_other_is() {
        for day in (0..60_000).step_by(7).chain([11_016, 47_540, 47_541]) {
            let at = Timestamp::from_millis(day * DAY_MS);
            assert_eq!(Timestamp::parse_date(&at.rfc3339()[..10]), Some(at));
        }
        for text in [
            "2027-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "2027-1-01",
            "1969-12-31",
            "today",
            "2027-01-01T",
        ] {
            assert_eq!(Timestamp::parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight() {
        assert_eq!(Timestamp::from_millis(DAY_MS).ms_to_midnight(), DAY_MS);
        assert_eq!(Timestamp::from_millis(2 * DAY_MS - 1).ms_to_midnight(), 1);
        assert_eq!(Timestamp::from_millis(2 * DAY_MS - 1).day(), 1);
    }
}
