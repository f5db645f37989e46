//! What is said: turns and their parts.

use std::borrow::Cow;

use super::Refused;
use crate::json::{Node, Number, Raw, Text, Writer, without_halves};
use tollgate_plugin::types::Protocol;

/// The role of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The application's instructions. OpenAI also calls it `developer`.
    System,
    /// The person, and the tools that answer calls.
    User,
    /// The model.
    Assistant,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) role: Role,
    pub(crate) parts: Vec<Part<'a>>,
}

impl<'a> Turn<'a> {
    /// Whether tools answer in it.
    pub(crate) fn has_outcomes(&self) -> bool {
        self.role == Role::User && self.parts.iter().any(Part::is_outcome)
    }

    /// The ids of its calls, with their places.
    pub(crate) fn calls_at(&self) -> impl Iterator<Item = (Cow<'a, str>, Box<str>)> {
        self.parts.iter().filter_map(|part| match &part.body {
            Body::Call(call) => Some((call.id.clone(), part.path.clone())),
            _ => None,
        })
    }

    /// # Errors
    /// A tool answers none of these calls.
    pub(crate) fn check_outcomes(&self, calls: &[(Cow<'a, str>, Box<str>)]) -> Result<(), Refused> {
        let stray = self.parts.iter().find(|part| match &part.body {
            Body::Outcome(outcome) => !calls.iter().any(|call| call.0 == outcome.id),
            _ => false,
        });
        stray.map_or(Ok(()), |part| Err(part.refuse("answers no call of the turn before it")))
    }

    /// Whether a tool answers this call in it.
    pub(crate) fn answers(&self, call: &str) -> bool {
        self.parts.iter().any(|part| matches!(&part.body, Body::Outcome(outcome) if outcome.id == call))
    }

    /// What it asks tools to do.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call<'a>> {
        self.parts.iter().filter_map(|part| match &part.body {
            Body::Call(call) => Some(call),
            _ => None,
        })
    }
}

/// One piece of a message.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) body: Body<'a>,
    /// Whether what ends here should be cached.
    pub(crate) cache: Option<CacheMark>,
    /// Where it stood in the client's request; empty in an answer.
    pub(crate) path: Box<str>,
}

impl<'a> From<Body<'a>> for Part<'a> {
    fn from(body: Body<'a>) -> Self {
        Self { body, cache: None, path: Box::default() }
    }
}

impl<'a> Part<'a> {
    /// Appends `next` if it continues this part; returns it otherwise.
    pub(crate) fn join(&mut self, next: Self) -> Option<Self> {
        match (&mut self.body, &next.body) {
            (Body::Text { text, citations: sources }, Body::Text { text: more, citations })
                if self.cache.is_none() =>
            {
                text.append(more);
                sources.extend(citations.iter().cloned());
                self.cache = next.cache;
                None
            }
            (Body::Thinking { text, signature: proof @ None }, Body::Thinking { text: more, signature }) => {
                text.append(more);
                proof.clone_from(signature);
                None
            }
            _ => Some(next),
        }
    }
}

impl Part<'_> {
    /// Whether it is empty text.
    pub(crate) fn is_empty_text(&self) -> bool {
        matches!(&self.body, Body::Text { text, .. } if text.is_empty())
    }

    /// Whether it is what a tool answered.
    pub(crate) const fn is_outcome(&self) -> bool {
        matches!(self.body, Body::Outcome(_))
    }

    /// An error that names the part.
    pub(crate) fn refuse(&self, why: impl Into<Cow<'static, str>>) -> Refused {
        Refused::new(self.path.to_string(), why)
    }
}

/// How long a cache should keep what ends at a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheMark {
    /// Minutes.
    Short,
    /// An hour or more.
    Long,
}

/// The content of a part.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    Text {
        text: Text<'a>,
        citations: Vec<Citation<'a>>,
    },
    Image {
        source: Source<'a>,
        detail: Option<Text<'a>>,
    },
    /// A document to read.
    File {
        source: Source<'a>,
        name: Option<Text<'a>>,
    },
    Audio {
        /// `audio/wav` and the like.
        media: Cow<'a, str>,
        /// Base64.
        data: Text<'a>,
    },
    Call(Call<'a>),
    Outcome(Outcome<'a>),
    /// What the model thought; the text may be empty beside a signature.
    Thinking {
        text: Text<'a>,
        signature: Option<Signature<'a>>,
    },
    /// The model's own words for not answering.
    Refusal(Text<'a>),
}

impl<'a> Body<'a> {
    /// Text without citations.
    pub(crate) const fn text(text: Text<'a>) -> Self {
        Self::Text { text, citations: Vec::new() }
    }
}

/// Where the bytes of an image or a document are.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Url(Text<'a>),
    Base64 {
        media: Cow<'a, str>,
        data: Text<'a>,
    },
    /// The name of something uploaded before to the provider whose protocol is `origin`.
    Id {
        origin: Protocol,
        id: Text<'a>,
    },
    /// The document is plain text.
    Plain(Text<'a>),
}

impl<'a> Source<'a> {
    /// Of an address that may be a `data:` URL.
    pub(crate) fn of_url(url: Text<'a>) -> Self {
        let is_data = |head: &[u8; 5]| head.eq_ignore_ascii_case(b"data:");
        if !url.as_escaped().as_bytes().first_chunk().is_some_and(is_data) {
            return Self::Url(url);
        }
        // Megabytes of base64 are not copied, unless their slashes are escaped.
        let url = if url.as_escaped().contains('\\') { Text::plain(&url.decode()) } else { url };
        let Some((head, _)) = url.as_escaped().split_once(',') else { return Self::Url(url) };
        let Some(media) = head[5..].strip_suffix(";base64") else { return Self::Url(url) };
        let media = media.split(';').next().unwrap_or_default().to_owned();
        let start = head.len() + 1;
        Self::Base64 { media: media.into(), data: url.after(start) }
    }
}

/// A tool that the model wants called.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) arguments: Arguments<'a>,
    /// What Gemini wants back with the call.
    pub(crate) signature: Option<Signature<'a>>,
}

/// The arguments of a call, an object, as two protocols spell them.
#[derive(Debug, Clone)]
pub(crate) enum Arguments<'a> {
    /// The object itself.
    Object(Raw<'a>),
    /// A string that holds its text.
    Encoded(Text<'a>),
}

impl Arguments<'_> {
    /// As a string, of which nothing is made where it is empty: a piece of them may be.
    pub(crate) fn given(&self) -> Text<'_> {
        match self {
            Self::Object(object) => Text::plain(object.0),
            Self::Encoded(text) => text.borrowed(),
        }
    }

    /// As a string that holds the object's text.
    pub(crate) fn encoded(&self) -> Text<'_> {
        match self {
            Self::Object(object) => Text::plain(object.0),
            Self::Encoded(text) if text.decode().trim().is_empty() => Text::escaped("{}"),
            Self::Encoded(text) => text.borrowed(),
        }
    }

    /// The object's text; `None` when the string holds something else.
    pub(crate) fn object(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Object(object) => Some(Cow::Borrowed(object.0)),
            Self::Encoded(text) => {
                let text = text.decode();
                if text.trim().is_empty() {
                    return Some(Cow::Borrowed("{}"));
                }
                let text = match without_halves(&text).0 {
                    Cow::Borrowed(_) => text,
                    Cow::Owned(whole) => Cow::Owned(whole),
                };
                let is_object = Node::document(text.as_bytes()).is_ok_and(|document| document.is_object());
                is_object.then_some(text)
            }
        }
    }

    /// As [`Arguments::object`]; text of a model that is not an object becomes an object that holds it as
    /// `invalid_arguments`.
    pub(crate) fn object_or_wrapped(&self) -> Cow<'_, str> {
        self.object().unwrap_or_else(|| {
            let mut writer = Writer::default();
            writer.object(|w| w.field("invalid_arguments", self.encoded()));
            Cow::Owned(writer.take())
        })
    }
}

/// What a tool answered.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// Of the call.
    pub(crate) id: Cow<'a, str>,
    /// Text, images and documents.
    pub(crate) parts: Vec<Part<'a>>,
    /// Whether the tool failed.
    pub(crate) failed: bool,
}

/// Proves to a provider that thoughts which come back are its own.
///
/// It means nothing to another provider. Where it has to travel through a client of another protocol, it is sealed with
/// the name of its origin, so that only its origin ever sees it again.
#[derive(Debug, Clone)]
pub(crate) struct Signature<'a> {
    /// The protocol that it came through.
    pub(crate) origin: Protocol,
    pub(crate) value: Text<'a>,
    /// Whether it stands for thoughts that the client may not read.
    pub(crate) redacted: bool,
}

const SEALS: [(Protocol, bool, &str); 4] = [
    (Protocol::Gemini, false, "tollgate:gemini:"),
    (Protocol::OpenaiResponses, false, "tollgate:openai:"),
    (Protocol::AnthropicMessages, false, "tollgate:anthropic:"),
    (Protocol::AnthropicMessages, true, "tollgate:anthropic-redacted:"),
];

impl<'a> Signature<'a> {
    /// One that its own protocol stated.
    pub(crate) const fn own(origin: Protocol, value: Text<'a>) -> Self {
        Self { origin, value, redacted: false }
    }

    /// One that a client of `protocol` gave back: its own, unless it is sealed.
    pub(crate) fn open(protocol: Protocol, value: Text<'a>) -> Self {
        for (origin, redacted, seal) in SEALS {
            if value.as_escaped().starts_with(seal) {
                return Self { origin, value: value.after(seal.len()), redacted };
            }
        }
        Self::own(protocol, value)
    }

    pub(crate) fn into_owned(self) -> Signature<'static> {
        Signature { origin: self.origin, value: self.value.into_owned(), redacted: self.redacted }
    }

    /// For a client of `protocol`: sealed, unless it is its own.
    pub(crate) fn sealed(&self, protocol: Protocol) -> Text<'_> {
        let seal = SEALS.into_iter().find(|seal| (seal.0, seal.1) == (self.origin, self.redacted));
        match seal {
            Some((_, _, seal)) if self.origin != protocol => {
                let mut sealed = Text::escaped(seal).into_owned();
                sealed.append(&self.value);
                sealed
            }
            _ => self.value.borrowed(),
        }
    }
}

/// A source that the answer names.
#[derive(Debug, Clone)]
pub(crate) struct Citation<'a> {
    pub(crate) url: Text<'a>,
    pub(crate) title: Option<Text<'a>>,
    /// Where in the text, as the provider counts.
    pub(crate) start: Option<Number<'a>>,
    pub(crate) end: Option<Number<'a>>,
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Protocol, Raw, Signature, Source, Text};

    #[test]
    fn a_data_url_is_taken_apart_however_it_is_escaped() {
        for url in ["data:image/png;base64,aGk=", r"DATA:image\/png;x=y;base64,aGk="] {
            let Source::Base64 { media, data } = Source::of_url(Text::escaped(url)) else {
                panic!("{url}");
            };
            assert_eq!((&*media, &*data.decode()), ("image/png", "aGk="));
        }
        assert!(matches!(Source::of_url(Text::plain("https://x/y,z")), Source::Url(_)));
    }

    #[test]
    fn arguments_are_an_object_or_a_string_that_holds_one() {
        assert_eq!(Arguments::Object(Raw("{\"a\": 0.10}")).encoded().decode(), "{\"a\": 0.10}");
        let encoded = |text: &'static str| Arguments::Encoded(Text::plain(text));
        assert_eq!(encoded("{\"a\":1}").object().as_deref(), Some("{\"a\":1}"));
        assert_eq!(encoded(" ").object().as_deref(), Some("{}"));
        assert_eq!(encoded("").encoded().decode(), "{}");
        assert_eq!(encoded("[1]").object(), None);
        assert_eq!(encoded("{\"a\"").object_or_wrapped(), r#"{"invalid_arguments":"{\"a\""}"#);
    }

    #[test]
    fn a_signature_comes_back_to_its_origin_only() {
        let signature = Signature::own(Protocol::Gemini, Text::plain("c2ln"));
        let sealed = signature.sealed(Protocol::AnthropicMessages).into_owned();
        assert_eq!(sealed.decode(), "tollgate:gemini:c2ln");
        let opened = Signature::open(Protocol::AnthropicMessages, sealed);
        assert_eq!((opened.origin, &*opened.value.decode()), (Protocol::Gemini, "c2ln"));
        assert_eq!(signature.sealed(Protocol::Gemini).decode(), "c2ln");
        let own = Signature::open(Protocol::AnthropicMessages, Text::plain("abc"));
        assert_eq!((own.origin, &*own.value.decode()), (Protocol::AnthropicMessages, "abc"));
    }
}
