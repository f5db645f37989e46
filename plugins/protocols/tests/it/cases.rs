//! The cases in `testdata/`: `<kind>/<protocol that it comes in>/<feature>.txt`.
//!
//! A case is a text: what it shows, then sections that begin with `== ` and a protocol. The first section is what comes
//! in, in the folder's protocol; the others are what comes out for each of the rest. `TOLLGATE_BLESS=1` writes them.

use std::fs;
use std::path::{Path, PathBuf};

use tollgate_plugin::types::Protocol;
use tollgate_protocols::target::{Context, Target};
use tollgate_protocols::translate::Pair;

/// The protocols and their names, in the order of the sections.
pub(crate) const PROTOCOLS: [(Protocol, &str); 4] = [
    (Protocol::OpenaiChat, "openai-chat"),
    (Protocol::OpenaiResponses, "openai-responses"),
    (Protocol::AnthropicMessages, "anthropic-messages"),
    (Protocol::Gemini, "gemini"),
];

/// The kinds of things that are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From a client.
    Request,
    /// From an upstream, whole.
    Response,
    /// From an upstream, as events.
    Stream,
    /// From an upstream, with its status on the first line.
    Error,
    /// From a client that wants embeddings.
    Embedding,
    /// Embeddings from an upstream, with the client's request on the first line.
    Embedded,
    /// From a client that wants to know how many tokens its request has.
    Count,
    /// Such a number from an upstream.
    Counted,
}

/// What precedes the names of what is left out, on a line behind a request.
pub(crate) const LEFT_OUT: &str = "left out: ";

impl Kind {
    /// All of them, in the order of their folders.
    pub(crate) const ALL: [(Self, &str); 8] = [
        (Self::Request, "request"),
        (Self::Response, "response"),
        (Self::Stream, "stream"),
        (Self::Error, "error"),
        (Self::Embedding, "embedding"),
        (Self::Embedded, "embedded"),
        (Self::Count, "count"),
        (Self::Counted, "counted"),
    ];

    /// Whether a protocol has this kind at all.
    pub(crate) fn is_of(self, protocol: Protocol) -> bool {
        match self {
            Self::Embedding | Self::Embedded => {
                matches!(protocol, Protocol::OpenaiChat | Protocol::Gemini)
            }
            Self::Count | Self::Counted => protocol != Protocol::OpenaiChat,
            _ => true,
        }
    }
}

/// One file.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    /// What comes in is of this protocol.
    pub(crate) protocol: Protocol,
    /// The file's name without its ending.
    pub(crate) feature: String,
    pub(crate) path: PathBuf,
    text: String,
}

impl Case {
    /// All cases, in a fixed order.
    pub(crate) fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for (kind, folder) in Kind::ALL {
            for (protocol, name) in PROTOCOLS {
                for path in
                    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder).join(name))
                {
                    let feature = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    let text = fs::read_to_string(&path).unwrap();
                    cases.push(Self { kind, protocol, feature, path, text });
                }
            }
        }
        assert!(!cases.is_empty());
        cases
    }

    /// What it shows.
    pub(crate) fn title(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// What comes in.
    pub(crate) fn input(&self) -> &str {
        let start = self.text.find("\n== ").expect("a section") + 1;
        let body = &self.text[start..];
        let body = &body[body.find('\n').unwrap() + 1..];
        body.find("\n== ").map_or(body, |end| &body[..=end])
    }

    /// The whole text as it should be.
    pub(crate) fn expected(&self) -> String {
        let input = self.input();
        let end = input.as_ptr() as usize - self.text.as_ptr() as usize + input.len();
        let mut text = self.text[..end].to_owned();
        for (protocol, name) in self.others() {
            text.push_str(&format!("== {name}\n{}\n", self.output(protocol)));
        }
        text
    }

    /// The protocols that it can be translated into.
    pub(crate) fn others(&self) -> impl Iterator<Item = (Protocol, &'static str)> {
        let (kind, own) = (self.kind, self.protocol);
        PROTOCOLS.into_iter().filter(move |(other, _)| *other != own && kind.is_of(*other))
    }

    /// Whether the file says what comes out.
    pub(crate) fn is_current(&self) -> bool {
        self.text == self.expected()
    }

    /// What comes out for another protocol, readable.
    pub(crate) fn output(&self, other: Protocol) -> String {
        let input = self.input();
        match self.kind {
            Kind::Request | Kind::Embedding | Kind::Count => {
                self.request(other).unwrap_or_else(|refused| format!("refused: {refused}"))
            }
            Kind::Embedded => self.embedded(other).unwrap_or_else(|refused| format!("unreadable: {refused}")),
            Kind::Counted => {
                let counted = Pair { client: other, upstream: self.protocol }.counted(input.as_bytes());
                counted.map_or_else(|refused| format!("unreadable: {refused}"), readable)
            }
            Kind::Response => {
                let pair = Pair { client: other, upstream: self.protocol };
                match pair.response(input.as_bytes(), &context(other)) {
                    Ok(body) => readable(body),
                    Err(refused) => format!("unreadable: {refused}"),
                }
            }
            Kind::Stream => {
                let mut stream = Pair { client: other, upstream: self.protocol }.stream(&context(other));
                let mut out = stream.feed(input.as_bytes());
                out.extend(stream.finish());
                String::from_utf8(out).unwrap().replace('\r', "␍").trim_end().to_owned()
            }
            Kind::Error => {
                let (status, body) = input.split_once('\n').unwrap();
                let pair = Pair { client: other, upstream: self.protocol };
                let failure = pair.error(status.parse().unwrap(), body.as_bytes(), REQUEST_ID);
                let body = readable(failure.body);
                let retry = failure.retry_after_ms.map(|ms| format!(" (retry after {ms} ms)"));
                format!("{}{}\n{body}", failure.status, retry.unwrap_or_default())
            }
        }
    }

    fn request(&self, upstream: Protocol) -> Result<String, tollgate_protocols::Refused> {
        let pair = Pair { client: self.protocol, upstream };
        let (input, target) = (self.input().as_bytes(), target(upstream));
        Ok(match self.kind {
            Kind::Embedding => readable(pair.embed(input, &target)?.body),
            Kind::Count => readable(pair.count(input, &target)?),
            _ => {
                let translated = pair.request(input, &target)?;
                let body = readable(translated.body);
                match &*translated.left_out {
                    "" => body,
                    names => format!("{body}\n{LEFT_OUT}{names}"),
                }
            }
        })
    }

    fn embedded(&self, client: Protocol) -> Result<String, tollgate_protocols::Refused> {
        let pair = Pair { client, upstream: self.protocol };
        let (request, answer) = self.input().split_once('\n').unwrap();
        let asked = pair.embed(request.as_bytes(), &target(self.protocol)).unwrap().asked;
        Ok(readable(pair.embeddings(answer.as_bytes(), &asked)?))
    }
}

fn readable(body: Vec<u8>) -> String {
    indent(&String::from_utf8(body).unwrap())
}

/// The gateway's name for the request.
pub(crate) const REQUEST_ID: &str = "0198c2a4-9f3e-7cc1-8a52-0d1f6b3c4e5f";

/// A model of an upstream.
pub(crate) fn target(upstream: Protocol) -> Target<'static> {
    let model = match upstream {
        Protocol::OpenaiChat | Protocol::OpenaiResponses => "gpt-6-sol",
        Protocol::AnthropicMessages => "claude-sonnet-4-5",
        Protocol::Gemini => "gemini-3.8-flash",
    };
    let request_id = REQUEST_ID;
    Target { request_id, now_s: 1_763_712_000, ..Target::new(model) }
}

/// Of a client that wants the usage of its stream.
pub(crate) fn context(client: Protocol) -> Context {
    let body = match client {
        Protocol::OpenaiChat => r#"{"messages":[],"stream_options":{"include_usage":true}}"#,
        Protocol::OpenaiResponses => r#"{"input":"Hi"}"#,
        Protocol::AnthropicMessages => r#"{"messages":[]}"#,
        Protocol::Gemini => r#"{"contents":[]}"#,
    };
    let pair = Pair { client, upstream: Protocol::OpenaiChat };
    pair.request(body.as_bytes(), &target(Protocol::OpenaiChat)).unwrap().context
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// JSON with a member or an element on each line, in the order in which it is; short values stay on one line.
fn indent(json: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    let mut rest = json;
    while let Some(symbol) = rest.chars().next() {
        let length = match symbol {
            '"' => string_length(rest),
            '{' | '[' => closing(rest).filter(|length| *length <= 80).unwrap_or(1),
            _ => symbol.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        match token {
            "{" | "[" => {
                depth += 1;
                out.push_str(token);
                break_line(&mut out, depth);
            }
            "}" | "]" => {
                depth -= 1;
                break_line(&mut out, depth);
                out.push_str(token);
            }
            "," => {
                out.push(',');
                break_line(&mut out, depth);
            }
            ":" => out.push_str(": "),
            _ => out.push_str(token),
        }
    }
    out
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the object or array that `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while let Some(&byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => {
                at += string_length(&text[at..]);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}
