//! Ids that a protocol accepts.

use std::borrow::Cow;

/// `id` in letters, digits, `_` and `-`, and at most `max` of them; the same for a call and for its outcome.
///
/// What had to be changed ends in a digest of the whole, so that different ids stay different. `max` is at least 24.
pub(crate) fn fitting(id: &str, max: usize) -> Cow<'_, str> {
    let plain = |symbol: char| symbol.is_ascii_alphanumeric() || matches!(symbol, '_' | '-');
    if !id.is_empty() && id.len() <= max && id.chars().all(plain) {
        return Cow::Borrowed(id);
    }
    let mut fitting: String = id.chars().filter(|symbol| plain(*symbol)).take(max.min(64) - 17).collect();
    fitting.push('_');
    for nibble in (0..16).rev() {
        let digit = (digest(id) >> (nibble * 4)) & 15;
        fitting.extend(char::from_digit(u32::try_from(digit).unwrap_or(0), 16));
    }
    Cow::Owned(fitting)
}

/// FNV-1a.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// An id for something that the upstream left without one: `number` counts such things in one answer, and `request`
/// keeps them apart from those of other answers.
pub(crate) fn made(prefix: &str, request: &str, number: u64) -> String {
    let plain: String = request.chars().filter(char::is_ascii_alphanumeric).collect();
    // The end of a UUIDv7 is its random part.
    let unique = &plain[plain.len().saturating_sub(24)..];
    format!("{prefix}_{unique}_{number}")
}

#[cfg(test)]
mod tests {
    use super::{fitting, made};

    #[test]
    fn an_id_that_fits_is_kept_and_others_stay_apart() {
        assert_eq!(fitting("toolu_01A-b", 40), "toolu_01A-b");
        let long = "x".repeat(80);
        let [one, other] = [fitting(&long, 40), fitting(&long[1..], 40)];
        assert_eq!((one.len(), other.len()), (40, 40));
        assert_ne!(one, other);
        assert_ne!(fitting("get:0", 64), fitting("get.0", 64));
        assert!(fitting("", 24).len() <= 24);
        assert_eq!(fitting("é:😀", 64), fitting("é:😀", 64));
    }

    #[test]
    fn a_made_id_fits_everywhere() {
        let id = made("call", "0198c2a4-9f3e-7cc1-8a52-0d1f6b3c4e5f", 3);
        assert_eq!(id, "call_9f3e7cc18a520d1f6b3c4e5f_3");
        assert_eq!(fitting(&id, 40), id);
    }
}
