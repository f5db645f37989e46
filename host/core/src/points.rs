//! Points: what users pay in. Always whole micro-points; no float touches money.

use std::fmt;

/// Micro-points in a point.
pub const MICROPOINTS_PER_POINT: i64 = 1_000_000;

/// The most that one call is charged, whatever a component says: a thousand million points. Nobody means more, and nine
/// thousand of them still fit into 64 bits.
pub const CHARGE_MAX: Micropoints = Micropoints(1_000_000_000_000_000);
/// The most that one movement of the books may move: ten thousand million points. A row with more is damage.
pub const MOVEMENT_MAX: Micropoints = Micropoints(10_000_000_000_000_000);

/// An amount or a balance in micro-points (1 point = 1,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Micropoints(i64);

impl Micropoints {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `value` micro-points.
    #[must_use]
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// `points` whole points, saturating.
    #[must_use]
    pub const fn from_points(points: i64) -> Self {
        Self(points.saturating_mul(MICROPOINTS_PER_POINT))
    }

    /// The number of micro-points.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Sum, or `None` past 64 bits.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Difference, or `None` past 64 bits.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Parses a decimal number of points with at most six places (`12`, `-0.25`).
    #[must_use]
    pub fn parse_points(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 6 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        let value = whole.checked_mul(MICROPOINTS_PER_POINT)?.checked_add(fraction)?;
        Some(Self(if negative { -value } else { value }))
    }
}

/// Points with as many places as needed: `12.5`.
impl fmt::Display for Micropoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{}", format!("{fraction:06}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::Micropoints;

    #[test]
    fn points_print_as_they_parse() {
        for text in ["0", "12", "12.5", "0.000001", "-0.25", "9000000000.123456"] {
            assert_eq!(Micropoints::parse_points(text).unwrap().to_string(), text);
        }
        for text in ["", "-", ".5", "1.0000001", "1e3", "+1", "99999999999999999999"] {
            assert_eq!(Micropoints::parse_points(text), None, "{text}");
        }
    }
}
