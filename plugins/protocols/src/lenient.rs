//! Reads what is readable of a provider's counts: a member that is no count takes no other with it, and no number is an
//! error. What cannot be is not decided here: a count that no 64 bits hold is the largest, and the gateway bounds it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Objects and arrays within each other that are read again.
const DEPTH_MAX: u32 = 8;

/// A value, or what is left of it where a member stands twice (the last one counts) or a number passes all bounds.
#[must_use]
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    serde_json::from_slice(json).ok().or_else(|| {
        let raw: &RawValue = serde_json::from_slice(json).ok()?;
        serde_json::from_str(&repaired(raw.get(), DEPTH_MAX)).ok()
    })
}

fn repaired(json: &str, depth: u32) -> String {
    let Some(deeper) = depth.checked_sub(1) else { return "null".to_owned() };
    let again = |raw: &RawValue| repaired(raw.get(), deeper);
    match json.bytes().next() {
        Some(b'{') => {
            let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap_or_default();
            let members: Vec<String> = members
                .iter()
                .map(|(name, raw)| format!("{}:{}", serde_json::Value::String(name.clone()), again(raw)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Some(b'[') => {
            let elements: Vec<Box<RawValue>> = serde_json::from_str(json).unwrap_or_default();
            format!("[{}]", elements.iter().map(|raw| again(raw)).collect::<Vec<_>>().join(","))
        }
        Some(b'0'..=b'9') if serde_json::from_str::<f64>(json).is_err() => u64::MAX.to_string(),
        Some(b'-') if serde_json::from_str::<f64>(json).is_err() => "-1".to_owned(),
        _ => json.to_owned(),
    }
}

/// Reads a count: a number that is not negative, rounded up, or one in quotes. Anything else is none.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Count)
}

/// Reads a member of a shape; one of another shape is as if it were not there.
pub(crate) fn member<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <Option<&RawValue> as serde::Deserialize>::deserialize(deserializer)?;
    Ok(raw.and_then(|raw| read(raw.get().as_bytes())))
}

/// Reads a name or a sentence: a string, or what a number is written as. Anything else is none.
pub(crate) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = <Option<&RawValue> as serde::Deserialize>::deserialize(deserializer)?;
    let raw = raw.map_or("", RawValue::get);
    Ok(match raw.bytes().next() {
        Some(b'"') => serde_json::from_str(raw).unwrap_or_default(),
        Some(b'0'..=b'9') => raw.to_owned(),
        _ => String::new(),
    })
}

struct Count;

impl<'de> Visitor<'de> for Count {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
        Ok(Some(count))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(count).ok())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast sticks at the ends")]
    fn visit_f64<E>(self, count: f64) -> Result<Self::Value, E> {
        Ok((count >= 0.0).then(|| count.ceil() as u64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        // Not a string again, nor anything but a number.
        let number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
        Ok(if number { read::<Stated>(text.as_bytes()).and_then(|stated| stated.0) } else { None })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A count by itself.
#[derive(serde::Deserialize)]
struct Stated(#[serde(deserialize_with = "count")] Option<u64>);

#[cfg(test)]
mod tests {
    use super::{Stated, read};

    #[test]
    fn a_count_is_what_can_be_read_of_it() {
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("7.0", Some(7)),
            ("7e0", Some(7)),
            ("0.5", Some(1)),
            ("1e300", Some(u64::MAX)),
            ("1e999", Some(u64::MAX)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("\"7\"", Some(7)),
            ("\"1e999\"", Some(u64::MAX)),
            ("-1", None),
            ("-1e999", None),
            ("-0.5", None),
            ("\"\"", None),
            ("\"-1\"", None),
            ("\"NaN\"", None),
            ("\"\\\"7\\\"\"", None),
            ("null", None),
            ("true", None),
            ("[7,[8]]", None),
            ("{\"a\":{\"b\":7}}", None),
        ] {
            assert_eq!(read::<Stated>(text.as_bytes()).and_then(|stated| stated.0), expected, "{text}");
        }
        assert!(read::<Stated>(b"NaN").is_none());
        assert!(read::<Stated>(b"").is_none());
        assert!(read::<Vec<u64>>(format!("{}1{}", "[".repeat(5000), "]".repeat(5000)).as_bytes()).is_none());
    }
}
