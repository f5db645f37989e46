//! What a path was meant to be: spellings that clients' base addresses give to the paths of [`super::router`], and, for
//! what is none of them, the path that comes nearest.
//!
//! An address may end in `/v1`, in nothing, or in what a provider's own ends in; a client appends what it always does.
//! What is left when all of that is taken away still has to be a path of the router's, to the last letter.

use std::borrow::Cow;

use tollgate_core::protocol::Protocol;

/// A path in the router's own spelling.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain {
    /// The path.
    pub(super) path: String,
    /// The protocol that the path's beginning names, for what other paths leave to the headers.
    pub(super) family: Option<Protocol>,
}

/// What may stand before a path, in any order.
const BEGINNINGS: [&str; 8] = ["v1", "v1beta", "v1alpha", "api", "openai", "anthropic", "gemini", "google"];
/// As many of them are taken away.
const BEGINNINGS_MAX: usize = 4;

/// What clients ask for, without the version.
const DOORS: [&str; 19] = [
    "chat/completions",
    "completions",
    "responses",
    "responses/input_tokens",
    "embeddings",
    "messages",
    "messages/count_tokens",
    "images/generations",
    "images/edits",
    "audio/speech",
    "audio/transcriptions",
    "audio/translations",
    "moderations",
    "rerank",
    "models",
    "interactions",
    "models/{model}:generateContent",
    "models/{model}:streamGenerateContent",
    "models/{model}:embedContent",
];

/// What other servers and older clients call the same.
const ALIASES: [(&str, &str); 9] = [
    ("chat", "chat/completions"),
    ("generate", "chat/completions"),
    ("complete", "messages"),
    ("tags", "models"),
    ("embed", "embeddings"),
    ("engines", "models"),
    ("edits", "chat/completions"),
    ("converse", "messages"),
    ("v2/rerank", "rerank"),
];

/// The same path as the router spells it; `None` where that changes nothing, or makes none of it.
pub(super) fn plain(path: &str) -> Option<Plain> {
    let segments = segments(path)?;
    let (begun, rest) = parted(&segments);
    let (mut beta, mut family) = (false, None);
    for name in begun {
        match &**name {
            "v1beta" | "v1alpha" => (beta, family) = (true, Some(Protocol::Gemini)),
            "openai" => (beta, family) = (false, Some(Protocol::OpenaiChat)),
            "anthropic" => (beta, family) = (false, Some(Protocol::AnthropicMessages)),
            "gemini" | "google" => family = Some(Protocol::Gemini),
            _ => {}
        }
    }
    let rest = of_vertex(rest).unwrap_or(rest);
    let first = rest.first()?;
    let own = matches!((begun, rest), ([.., last, one], [only]) if last == "gemini" && one == "v1" && only == "chat");
    let version = match &**first {
        "chat" if own => "/gemini/v1",
        "models" | "interactions" | "files" if beta => "/v1beta",
        _ => "/v1",
    };
    if let [upload, version, files] = rest
        && upload == "upload"
        && files == "files"
        && matches!(&**version, "v1" | "v1beta" | "v1alpha")
    {
        return Some(Plain { path: "/upload/v1beta/files".to_owned(), family });
    }
    let path = rest.iter().fold(version.to_owned(), |path, segment| path + "/" + segment);
    Some(Plain { path, family })
}

/// The parts of a path between its slashes; what needs no escape is without. `None` where a part leads elsewhere.
fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let parts = path.split('/').filter(|part| !part.is_empty()).map(unescaped);
    let parts: Vec<_> = parts.collect();
    let leads_elsewhere = parts.iter().any(|part| matches!(&**part, "." | ".."));
    (!leads_elsewhere).then_some(parts)
}

/// A part without the escapes that it does not need (RFC 3986, section 6.2.2.2), the colon's among them: the others
/// stay, so that nothing is read twice.
fn unescaped(part: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', part.as_bytes()).is_none() {
        return Cow::Borrowed(part);
    }
    let (mut plain, mut rest) = (String::with_capacity(part.len()), part);
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let byte = escape.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.map(char::from) {
            Some(sign) if sign.is_ascii_alphanumeric() || "-._~:".contains(sign) => {
                plain.push(sign);
                rest = &escape[3..];
            }
            _ => {
                plain.push('%');
                rest = &escape[1..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// What stands before a path, and the path.
fn parted<'s, 'p>(segments: &'s [Cow<'p, str>]) -> (&'s [Cow<'p, str>], &'s [Cow<'p, str>]) {
    let begun = segments.iter().take(BEGINNINGS_MAX);
    let begun = begun.take_while(|segment| BEGINNINGS.contains(&&***segment)).count();
    segments.split_at(begun)
}

/// The part of a path of Vertex AI that is Gemini's: `projects/{}/locations/{}/publishers/google/models/…`.
fn of_vertex<'s, 'p>(rest: &'s [Cow<'p, str>]) -> Option<&'s [Cow<'p, str>]> {
    let at = match rest {
        [projects, _, locations, _, ..] if projects == "projects" && locations == "locations" => 4,
        _ => 0,
    };
    match rest.get(at..)? {
        [publishers, google, models @ ..] if publishers == "publishers" && google == "google" => Some(models),
        _ => None,
    }
}

/// The path that was probably meant.
pub(super) fn meant(path: &str) -> Option<String> {
    let segments = segments(path)?;
    let (begun, rest) = parted(&segments);
    let asked = rest.join("/").to_ascii_lowercase();
    let version = if begun.iter().any(|name| name == "v1beta") { "/v1beta/" } else { "/v1/" };
    let door = nearest(&asked)?;
    let version = if door.contains('{') {
        "/v1beta/"
    } else if door == "models" {
        version
    } else {
        "/v1/"
    };
    Some(format!("{version}{door}"))
}

fn nearest(asked: &str) -> Option<&'static str> {
    if asked.is_empty() {
        return None;
    }
    if let Some((_, door)) = ALIASES.iter().find(|(name, _)| *name == asked) {
        return Some(door);
    }
    let ends_in =
        |door: &str| asked.strip_suffix(door).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'));
    let begins = |door: &str| door.strip_prefix(asked).is_some_and(|rest| rest.starts_with('/'));
    let longest = DOORS.into_iter().filter(|door| ends_in(door)).max_by_key(|door| door.len());
    longest.or_else(|| DOORS.into_iter().find(|door| begins(door))).or_else(|| similar(asked))
}

/// The one that differs in a few letters. Of a path that names a model only what is behind it counts.
fn similar(asked: &str) -> Option<&'static str> {
    let action =
        asked.strip_prefix("models/").and_then(|name| name.rsplit_once(':')).map(|(_, action)| action);
    if let Some(action) = action {
        let named = DOORS.into_iter().filter_map(|door| Some((door, door.split_once(':')?.1)));
        return named
            .min_by_key(|(_, name)| distance(action, &name.to_ascii_lowercase()))
            .map(|(door, _)| door);
    }
    let plain = DOORS.into_iter().filter(|door| !door.contains('{'));
    let (letters, door) = plain.map(|door| (distance(asked, door), door)).min()?;
    (letters <= (asked.len() / 4).max(1)).then_some(door)
}

/// Letters that have to be put in, taken out or replaced to make one text of another. Longer ones are not compared.
fn distance(one: &str, other: &str) -> usize {
    const LONGEST: usize = 64;
    if one.len() > LONGEST {
        return one.len();
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], at + 1);
        for (next, known) in other.bytes().enumerate() {
            let replaced = corner + usize::from(letter != known);
            corner = row[next + 1];
            row[next + 1] = replaced.min(corner + 1).min(row[next] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::{meant, plain};
    use tollgate_core::protocol::Protocol;

    #[test]
    fn what_a_base_address_adds_is_taken_away() {
        let check = |path: &str, expected: &str, family: Option<Protocol>| {
            let found = plain(path).map(|plain| (plain.path, plain.family));
            assert_eq!(found, Some((expected.to_owned(), family)), "{path}");
        };
        let (openai, anthropic) = (Some(Protocol::OpenaiChat), Some(Protocol::AnthropicMessages));
        let gemini = Some(Protocol::Gemini);
        check("/chat/completions", "/v1/chat/completions", None);
        check("/v1/v1/messages/", "/v1/messages", None);
        check("//v1//chat///completions", "/v1/chat/completions", None);
        check("/v1/ch%61t%2Fcompletions", "/v1/chat%2Fcompletions", None);
        check("/v1beta/openai/chat/completions", "/v1/chat/completions", openai);
        check("/openai/v1/models", "/v1/models", openai);
        check("/anthropic/v1/models", "/v1/models", anthropic);
        check("/v1/v1beta/models/m:countTokens", "/v1beta/models/m:countTokens", gemini);
        check("/v1beta/models/m%3AcountTokens", "/v1beta/models/m:countTokens", gemini);
        check("/gemini//v1/chat", "/gemini/v1/chat", gemini);
        check("/v1alpha/models/a%2fb%253", "/v1beta/models/a%2fb%253", gemini);
        let vertex = "/v1beta/projects/p/locations/global/publishers/google/models/m:generateContent";
        check(vertex, "/v1beta/models/m:generateContent", gemini);
    }

    #[test]
    fn what_leads_elsewhere_is_no_path() {
        for path in ["/", "/v1", "/v1/../admin", "/v1/%2e%2e/x", "/v1/./chat/completions"] {
            assert_eq!(plain(path), None, "{path}");
        }
        assert_eq!(plain("/v1/v1/v1/v1/v1/messages").unwrap().path, "/v1/v1/messages");
    }

    #[test]
    fn a_path_that_does_not_exist_has_a_nearest_one_or_none() {
        let check =
            |path: &str, expected: Option<&str>| assert_eq!(meant(path).as_deref(), expected, "{path}");
        check("/v1/chat/completion", Some("/v1/chat/completions"));
        check("/v1/chat", Some("/v1/chat/completions"));
        check("/V1/Chat/Completions", Some("/v1/chat/completions"));
        check("/proxy/llm/v1/messages", Some("/v1/messages"));
        check("/v1/chat/completions/v1/responses", Some("/v1/responses"));
        check("/api/tags", Some("/v1/models"));
        check("/v1/embedding", Some("/v1/embeddings"));
        check("/v1beta/model", Some("/v1beta/models"));
        check("/v1beta/models/m:generateContents", Some("/v1beta/models/{model}:generateContent"));
        for path in ["/", "/v1", "/favicon.ico", "/v1/threads", "/v1/files", "/v1/messages/batches"] {
            check(path, None);
        }
    }
}
