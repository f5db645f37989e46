//! Decimal numbers digit by digit, so that no float touches a price.

/// A JSON number as it is written: digits times a power of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without zeros at its end.
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// Reads a JSON number of at most 30 digits; `None` for anything else.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i16>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || all.len() > 30 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut digits: u128 = all.parse().ok()?;
        let mut exponent = i32::from(exponent) - i32::try_from(fraction.len()).ok()?;
        while digits != 0 && digits.is_multiple_of(10) {
            (digits, exponent) = (digits / 10, exponent + 1);
        }
        Some(Self { negative, digits, exponent: if digits == 0 { 0 } else { exponent } })
    }

    /// Whether it is not below zero.
    pub(super) const fn is_price(&self) -> bool {
        !self.negative
    }

    /// Whether it is nothing.
    pub(super) const fn is_zero(&self) -> bool {
        self.digits == 0
    }

    /// The number times `10^power` times `factor`, where that is whole and has 63 bits at most.
    pub(super) fn times_power_of_ten(self, power: i32, factor: u32) -> Option<i64> {
        let digits = self.digits.checked_mul(u128::from(factor))?;
        let exponent = self.exponent.checked_add(power)?;
        let ten = 10_u128.checked_pow(exponent.unsigned_abs())?;
        let whole = if exponent >= 0 {
            digits.checked_mul(ten)?
        } else if digits.is_multiple_of(ten) {
            digits / ten
        } else {
            return None;
        };
        i64::try_from(whole).ok()
    }
}

/// A number that is not below zero as a decimal, where its last `places` digits follow the point: no more of them than
/// it needs.
pub(super) fn shown(number: i64, places: usize) -> String {
    let digits = format!("{number:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, shown};

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let check = |text: &str, power: i32, expect: Option<i64>| {
            let found = Decimal::read(text).and_then(|number| number.times_power_of_ten(power, 1));
            assert_eq!(found, expect, "{text}");
        };
        check("1.5e-07", 12, Some(150_000));
        check("0.00000015", 12, Some(150_000));
        check("15E-8", 12, Some(150_000));
        check("1.0000000000000001e-07", 12, None);
        check("1e400", 0, None);
        check("0e-99", 0, Some(0));
        check("9223372036854775807", 0, Some(i64::MAX));
        check("9223372036854775808", 0, None);
        for text in ["", "-", ".", "1..2", "1e", "0x1", "\"1\"", "1e+", "null"] {
            assert_eq!(Decimal::read(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_is_shown_with_the_places_that_it_needs() {
        for (number, places, text) in
            [(0, 9, "0"), (1, 3, "0.001"), (2_500, 3, "2.5"), (2_000, 3, "2"), (7, 0, "7"), (120, 1, "12")]
        {
            assert_eq!(shown(number, places), text);
            let back = Decimal::read(text).unwrap().times_power_of_ten(i32::try_from(places).unwrap(), 1);
            assert_eq!(back, Some(number), "{text}");
        }
    }
}
