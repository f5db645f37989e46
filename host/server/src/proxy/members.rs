//! The top-level members of a body, and what must be told of them beyond doubt.
//!
//! Readers of JSON differ: of two members with one name some take the first and some the last, and some take `MODEL`,
//! `maxTokens` or `max_token\u017f` for the name that they look for. What the road decides by it must read as every
//! provider does, so those few members stand in a body once, in their own spelling. All others are the client's affair.

use std::ops::Deref;

use tollgate_core::json::{self, Nested, Value};

use super::error::ProxyError;

/// A top-level member of a body.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: Name,
    /// Its value.
    pub(crate) value: Value,
}

/// Names up to this length need no room of their own: nearly all.
const SHORT: usize = 30;

/// The name of a member.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    /// So many bytes of these.
    Short(u8, [u8; SHORT]),
    /// One that is longer.
    Long(Box<[u8]>),
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(room), Ok(length)) => {
                room.copy_from_slice(name);
                Self::Short(length, bytes)
            }
            _ => Self::Long(name.into()),
        }
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(name) => name,
        }
    }
}

/// A name that something is decided by: as [`fold`] leaves it, and the spellings that its protocols have for it.
type Decisive = (&'static [u8], &'static [&'static str]);

/// Those at the top of a body, of all protocols together.
const TOP: [Decisive; 32] = [
    (b"model", &["model"]),
    (b"stream", &["stream"]),
    (b"messages", &["messages"]),
    (b"input", &["input"]),
    (b"contents", &["contents"]),
    (b"maxtokens", &["max_tokens"]),
    (b"maxcompletiontokens", &["max_completion_tokens"]),
    (b"maxoutputtokens", &["max_output_tokens"]),
    (b"n", &["n"]),
    (b"generationconfig", &["generationConfig", "generation_config"]),
    (b"streamoptions", &["stream_options"]),
    (b"background", &["background"]),
    (b"agent", &["agent"]),
    (b"servicetier", &["service_tier", "serviceTier"]),
    (b"speed", &["speed"]),
    (b"system", &["system"]),
    (b"systeminstruction", &["systemInstruction", "system_instruction"]),
    (b"instructions", &["instructions"]),
    (b"tools", &["tools"]),
    (b"previousresponseid", &["previous_response_id"]),
    (b"previousinteractionid", &["previous_interaction_id"]),
    (b"cachedcontent", &["cachedContent", "cached_content"]),
    (b"prompt", &["prompt"]),
    (b"conversation", &["conversation"]),
    (b"requests", &["requests"]),
    (b"bestof", &["best_of"]),
    (b"thinking", &["thinking"]),
    (b"maxtoolcalls", &["max_tool_calls"]),
    (b"websearchoptions", &["web_search_options"]),
    (b"searchparameters", &["search_parameters"]),
    (b"plugins", &["plugins"]),
    (b"inferencegeo", &["inference_geo"]),
];

/// Those of `generationConfig`.
pub(super) const GENERATION: [Decisive; 2] = [
    (b"maxoutputtokens", &["maxOutputTokens", "max_output_tokens"]),
    (b"candidatecount", &["candidateCount", "candidate_count"]),
];

/// That of `stream_options`.
pub(super) const STREAMED: [Decisive; 1] = [(b"includeusage", &["include_usage"])];

/// Longest name of those above, without underscores.
const FOLDED_BYTES_MAX: usize = 24;

/// The members of a body, in order; `nested` is told of those below them.
///
/// # Errors
/// 400 where the body is no JSON object, and where one that is decided by stands there twice or in another spelling.
pub(super) fn members_of(body: &[u8], nested: &mut impl Nested) -> Result<Vec<Member>, ProxyError> {
    let mut members = Vec::with_capacity(16);
    let mut once = Once::new(&TOP);
    json::members_with(body, nested, |name, value| {
        once.see(name);
        members.push(Member { name: name.into(), value });
    })
    .map_err(|error| ProxyError::bad_request(format!("The body is not a JSON object: {error}."), None))?;
    once.found()?;
    Ok(members)
}

/// Calls `visit` for the members of an object within a body that was read already.
///
/// # Errors
/// 400 where one of `names` stands there twice or in another spelling.
pub(super) fn members_within(
    body: &[u8],
    object: Value,
    names: &'static [Decisive],
    mut visit: impl FnMut(&[u8], Value),
) -> Result<(), ProxyError> {
    let mut once = Once::new(names);
    // The whole body has been validated, so its parts cannot fail.
    let _valid = json::members_of(body, object, |name, value| {
        once.see(name);
        visit(name, value);
    });
    once.found()
}

/// The last member of that name.
pub(super) fn last(members: &[Member], name: &str) -> Option<Value> {
    members.iter().rev().find(|member| *member.name == *name.as_bytes()).map(|member| member.value)
}

/// What has been seen of an object's names, as they pass.
struct Once {
    names: &'static [Decisive],
    /// One bit for each of them.
    seen: u32,
    fault: Option<(&'static str, &'static str)>,
}

impl Once {
    const fn new(names: &'static [Decisive]) -> Self {
        Self { names, seen: 0, fault: None }
    }

    fn see(&mut self, name: &[u8]) {
        let mut space = [0; FOLDED_BYTES_MAX];
        let Some(folded) = fold(name, &mut space) else { return };
        let Some(at) = self.names.iter().position(|(known, _)| *known == folded) else { return };
        let (_, spellings) = self.names[at];
        let bit = 1 << at;
        if !spellings.iter().any(|spelling| spelling.as_bytes() == name) {
            self.fault = Some((spellings[0], "is spelled in another way"));
        } else if self.seen & bit != 0 {
            self.fault = Some((spellings[0], "stands there more than once"));
        }
        self.seen |= bit;
    }

    fn found(&self) -> Result<(), ProxyError> {
        let Some((name, what)) = self.fault else { return Ok(()) };
        let words = format!("`{name}` {what}: not every reader would take the body for the same.");
        Err(ProxyError::bad_request(words, Some(name)))
    }
}

/// A name as the most lenient reader compares it: without regard to case, by all that Unicode folds to a letter of
/// ASCII, and without underscores. `None` for one that is too long to be any that counts.
fn fold<'s>(name: &[u8], space: &'s mut [u8; FOLDED_BYTES_MAX]) -> Option<&'s [u8]> {
    let (mut rest, mut length) = (name, 0);
    while let Some((&first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            // U+017F and U+212A: a long s, and the sign for kelvin.
            (0xC5, [0xBF, after @ ..]) => (b's', after),
            (0xE2, [0x84, 0xAA, after @ ..]) => (b'k', after),
            _ => (first.to_ascii_lowercase(), after),
        };
        rest = after;
        if byte != b'_' {
            *space.get_mut(length)? = byte;
            length += 1;
        }
    }
    space.get(..length)
}

#[cfg(test)]
mod tests {
    use super::{GENERATION, Name, STREAMED, TOP, fold, members_of};
    use crate::proxy::error::ProxyError;

    #[test]
    fn the_names_are_written_as_they_are_compared() {
        for (folded, spellings) in TOP.iter().chain(&GENERATION).chain(&STREAMED) {
            for spelling in *spellings {
                assert_eq!(fold(spelling.as_bytes(), &mut [0; 24]), Some(*folded), "{spelling}");
            }
        }
    }

    #[test]
    fn a_name_is_itself_however_long_it_is() {
        for length in 0..=300 {
            let name: Vec<u8> = (0..=255).cycle().take(length).collect();
            assert_eq!(*Name::from(&*name), *name);
        }
    }

    #[test]
    fn what_is_decided_by_stands_once_and_in_its_own_spelling() {
        let faults = |body: &str, name: &str| match members_of(body.as_bytes(), &mut ()) {
            Err(ProxyError::BadRequest { field, .. }) => assert_eq!(field, Some(name), "{body}"),
            other => panic!("{body}: {other:?}"),
        };
        faults(r#"{"model":"cheap","MODEL":"dear"}"#, "model");
        faults(r#"{"model":"cheap","model":"dear"}"#, "model");
        faults(r#"{"model":"cheap","mod\u0065l":"dear"}"#, "model");
        faults(r#"{"model":"m","\u017ftream":true}"#, "stream");
        faults(r#"{"model":"m","max_to\u212aens":9}"#, "max_tokens");
        faults("{\"model\":\"m\",\"\u{17f}ervice_tier\":\"priority\"}", "service_tier");
        faults(r#"{"model":"m","maxTokens":9}"#, "max_tokens");
        faults(r#"{"generationConfig":{},"generation_config":{}}"#, "generationConfig");
        for fine in [
            r#"{"model":"m","seed":1,"seed":2}"#,
            r#"{"mod\u0065l":"m"}"#,
            r#"{"generation_config":{}}"#,
            r#"{"model":"m","models":[],"mode":1,"modelling_of_something_with_a_long_name":2,"_":0,"":1}"#,
        ] {
            assert!(members_of(fine.as_bytes(), &mut ()).is_ok(), "{fine}");
        }
    }
}
