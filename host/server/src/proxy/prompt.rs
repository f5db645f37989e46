//! How long a prompt is, by its text: by what of a body a model reads, and not by what a protocol wraps around that.

use tollgate_core::json::{Kind, Value};

use super::members::Member;
use super::meter::BYTES_PER_TOKEN;

/// The shortest string that is looked at for being no text.
const BLOB_BYTES_MIN: usize = 1024;
/// Tokens that a picture or the like has, beside one for so many bytes of it.
const BLOB_TOKENS: u64 = 1024;
const BLOB_BYTES_PER_TOKEN: u64 = 512;
/// Bytes of a string by which text is told from base64.
const LOOKED_AT: usize = 64;

/// What of a request a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prompt {
    /// Bytes of text: of what is said as it is meant, of tools as they are written.
    text_bytes: u64,
    /// Pictures and the like.
    blobs: u64,
    blob_bytes: u64,
    /// Whether more is named than is sent.
    hides: bool,
    /// Tokens that a provider puts around it.
    around: u8,
}

/// Tokens that a provider puts around any prompt.
const AROUND: u8 = 4;

/// What a member of a body is to a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What is said: its strings are text.
    Said,
    /// Tools, which a model reads as they are written.
    Written,
    /// Nothing.
    None,
}

impl Part {
    /// Of the member of that name. What nobody knows may be text to some provider.
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"tools" | b"functions" => Self::Written,
            b"model"
            | b"user"
            | b"metadata"
            | b"client_metadata"
            | b"safety_identifier"
            | b"prompt_cache_key"
            | b"previous_response_id"
            | b"previous_interaction_id"
            | b"conversation"
            | b"service_tier"
            | b"serviceTier"
            | b"speed"
            | b"stop"
            | b"stop_sequences"
            | b"include"
            | b"reasoning"
            | b"reasoning_effort"
            | b"tool_choice"
            | b"modalities"
            | b"generationConfig"
            | b"generation_config"
            | b"safetySettings"
            | b"safety_settings" => Self::None,
            _ => Self::Said,
        }
    }
}

impl Prompt {
    /// None.
    pub(super) const EMPTY: Self = Self { text_bytes: 0, blobs: 0, blob_bytes: 0, hides: false, around: 0 };

    /// A string that is said.
    pub(super) const fn say(&mut self, bytes: usize) {
        self.text_bytes += bytes as u64;
    }

    /// Looks at a member below those of the body, once its value has been counted as text: what is a picture or a
    /// signature is none.
    pub(super) fn look_at(&mut self, body: &[u8], name: &[u8], value: Value) {
        let length = value.end - value.start;
        if length < BLOB_BYTES_MIN || value.kind != Kind::String {
            return;
        }
        let counts = match name {
            b"data" | b"image_url" | b"url" | b"file_data" | b"b64_json" => true,
            b"signature" | b"encrypted_content" | b"thoughtSignature" | b"thought_signature" => false,
            _ => return,
        };
        if is_blob(&body[value.start + 1..value.end - 1]) {
            let bytes = (length - 2) as u64;
            self.text_bytes = self.text_bytes.saturating_sub(bytes);
            if counts {
                self.blobs += 1;
                self.blob_bytes += bytes;
            }
        }
    }

    /// The same with the tools of a body, which may hide more than it sends, and may be one that a provider puts more
    /// around.
    pub(super) fn with(mut self, members: &[Member], hides: bool, is_around: bool) -> Self {
        let written = members.iter().filter(|member| Part::of(&member.name) == Part::Written);
        self.text_bytes += written.map(|member| (member.value.end - member.value.start) as u64).sum::<u64>();
        Self { hides, around: if is_around { AROUND } else { 0 }, ..self }
    }

    /// What is left of it where so many bytes are left of a body.
    pub(super) fn left(self, bytes: usize, of: usize) -> Self {
        let of = of.max(1) as u64;
        Self { text_bytes: self.text_bytes.saturating_mul(bytes as u64) / of, ..self }
    }

    /// Its text in tokens, at four bytes each.
    pub(crate) const fn text_tokens(&self) -> u64 {
        self.text_bytes.div_ceil(BYTES_PER_TOKEN)
    }

    /// The tokens of what is no text, by its size, and of what is put around all of it.
    pub(crate) const fn other_tokens(&self) -> u64 {
        let blobs =
            self.blobs.saturating_mul(BLOB_TOKENS).saturating_add(self.blob_bytes / BLOB_BYTES_PER_TOKEN);
        blobs.saturating_add(self.around as u64)
    }

    /// Whether it is all text, and all of it is there: such a prompt says how many tokens a text has.
    pub(crate) const fn is_all_text(&self) -> bool {
        !self.hides && self.blobs == 0
    }
}

/// Whether a long string is no text: an address that holds its data, or a run of base64.
fn is_blob(string: &[u8]) -> bool {
    let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    string.starts_with(b"data:") || string[..string.len().min(LOOKED_AT)].iter().all(base64)
}

#[cfg(test)]
mod tests {
    use super::Prompt;
    use crate::proxy::read::peek;
    use crate::proxy::router::{Route, route};
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    fn prompt(path: &str, body: &str) -> Prompt {
        let Route::Call(call) = route(&Method::POST, path) else { panic!("{path}") };
        peek(call, HeaderMap::new(), String::new(), Bytes::copy_from_slice(body.as_bytes())).unwrap().prompt
    }

    fn check(path: &str, body: &str, text_bytes: u64) {
        let found = prompt(path, body);
        assert_eq!((found.text_bytes, found.blobs), (text_bytes, 0), "{path} {body}");
    }

    #[test]
    fn what_is_said_is_counted_and_no_wrapping() {
        let chat = "/v1/chat/completions";
        check(chat, r#"{"model":"a-long-name","messages":[],"user":"somebody","stop":["x"]}"#, 0);
        check(chat, r#"{"model":"m","messages":[{"role":"user","content":"1234"}]}"#, 4 + 4);
        check(chat, r#"{"model":"m","messages":[{"content":[{"type":"text","text":"1234"}]}]}"#, 4 + 4);
        check("/v1/responses", r#"{"model":"m","input":"12345678","instructions":"123"}"#, 11);
        check("/v1/messages", r#"{"model":"m","max_tokens":9,"system":"12","messages":[]}"#, 2);
        let gemini = "/v1beta/models/m:generateContent";
        check(gemini, r#"{"contents":[{"parts":[{"text":"123"}]}],"system_instruction":{"parts":[]}}"#, 3);
        check("/v1/embeddings", r#"{"model":"m","input":["12","34"]}"#, 4);
    }

    #[test]
    fn an_escape_is_what_it_stands_for() {
        let said = |text: &str| format!(r#"{{"model":"m","input":"{text}"}}"#);
        check("/v1/responses", &said(r#"\n\u0041\""#), 3);
        check("/v1/responses", &said(r"\u00e4\u4e2d"), 2 + 3);
        check("/v1/responses", &said(r"\ud83d\ude00"), 4);
        check("/v1/responses", &said("ä中😀"), 2 + 3 + 4);
    }

    #[test]
    fn tools_are_text_as_they_are_written() {
        let tools = r#"[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;
        let body = format!(r#"{{"model":"m","messages":[],"tools":{tools}}}"#);
        check("/v1/chat/completions", &body, tools.len() as u64);
    }

    #[test]
    fn a_picture_is_no_text_and_a_text_is_no_picture() {
        let base64 = "iVBORw0KGgo".repeat(100);
        let of = |body: String| prompt("/v1/messages", &body);
        let picture = format!(
            r#"{{"model":"m","messages":[{{"content":[{{"source":{{"data":"{base64}"}}}}],"role":"user"}}]}}"#
        );
        let found = of(picture.clone());
        assert_eq!((found.text_bytes, found.blobs, found.is_all_text()), (4, 1, false));
        assert_eq!(found.other_tokens(), 1024 + 1100 / 512 + 4);
        let words = "lorem ipsum ".repeat(100);
        let text = picture.replace(&base64, &words);
        assert_eq!((of(text).text_bytes, of(picture.replace("data", "text")).text_bytes), (1204, 1104));
        let address =
            picture.replace(&base64, &format!("data:image/png;base64,{base64}")).replace("data\"", "url\"");
        assert_eq!(of(address).blobs, 1);
    }
}
