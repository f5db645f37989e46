//! Delays as providers write them.

/// A duration as Go and Protocol Buffers print it (`0.84s`, `31s`, `120ms`, `6m0s`, `1h2m3.5s`), in milliseconds
/// rounded up. `None` when `text` is not such a duration, or does not fit 64 bits.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut micros: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let micros_per_unit = match unit {
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            _ => return None,
        };
        micros = micros.checked_add(times(number, micros_per_unit)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| micros.div_ceil(1000))
}

/// `number`, a decimal, times `unit`, rounded down. Digits past the sixth place are dropped.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total = total.checked_add(place * u64::from(char::from(digit).to_digit(10)?))?;
    }
    Some(total)
}

/// The delay in OpenAI's sentence `Please try again in 1.2s.` or Azure's `Please retry after 26 seconds.`, in
/// milliseconds.
#[must_use]
pub fn find_in_sentence(message: &str) -> Option<u64> {
    if let Some((_, after)) = message.rsplit_once("try again in ") {
        let word = after.split_whitespace().next()?;
        return parse_duration_ms(word.trim_end_matches(['.', ',']));
    }
    let (_, after) = message.split_once("retry after ")?;
    let (number, unit) = after.split_once(' ')?;
    let seconds: u64 = number.parse().ok()?;
    if unit.starts_with("second") { seconds.checked_mul(1000) } else { None }
}

#[cfg(test)]
mod tests {
    use super::{find_in_sentence, parse_duration_ms};

    #[test]
    fn durations_are_read_in_every_form_that_providers_write() {
        let check = |text: &str, ms: Option<u64>| assert_eq!(parse_duration_ms(text), ms, "{text}");
        check("31s", Some(31_000));
        check("0.84s", Some(840));
        check("120ms", Some(120));
        check("6m0s", Some(360_000));
        check("1h2m3.5s", Some(3_723_500));
        check("0.0004s", Some(1));
        check("0s", Some(0));
    }

    #[test]
    fn what_is_no_duration_is_not_guessed_at() {
        for text in
            ["", "s", "12", "-1s", "1.2.3s", "1d", "1s x", "99999999999999999999s", "9999999999999h", "١s"]
        {
            assert_eq!(parse_duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_sentence_gives_up_its_delay() {
        let message = "Rate limit reached for gpt-6-sol: Limit 3, Used 3. Please try again in 20.5s. Visit …";
        assert_eq!(find_in_sentence(message), Some(20_500));
        assert_eq!(find_in_sentence("Please try again in 6m0s."), Some(360_000));
        assert_eq!(find_in_sentence("Please try again in a while"), None);
        assert_eq!(find_in_sentence("Please retry after 26 seconds. Please go here"), Some(26_000));
        assert_eq!(find_in_sentence("Please retry after 1 second."), Some(1000));
        assert_eq!(find_in_sentence("Please retry after a coffee"), None);
        assert_eq!(find_in_sentence("No."), None);
    }
}
