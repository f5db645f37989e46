//! Thought signatures: bytes, which clients decode from base64 and encode again.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::json::Text;
use crate::model::Signature;
use tollgate_plugin::types::Protocol;

/// Stands for the signature that a call of another model never had; Google accepts it.
pub(super) const SKIP: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

/// A signature that a client sent back.
pub(super) fn open(text: Text<'_>) -> Signature<'_> {
    let plain = text.decode();
    let unpadded: String = plain.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let bytes = URL_SAFE_NO_PAD.decode(unpadded).unwrap_or_default();
    let opened = std::str::from_utf8(&bytes).ok().map(Text::plain);
    match opened.map(|inside| Signature::open(Protocol::Gemini, inside)) {
        Some(foreign) if foreign.origin != Protocol::Gemini => foreign,
        _ => Signature::own(Protocol::Gemini, text),
    }
}

/// For a client.
pub(super) fn sealed(signature: &Signature<'_>) -> Text<'static> {
    let sealed = signature.sealed(Protocol::Gemini);
    if signature.origin == Protocol::Gemini {
        return sealed.into_owned();
    }
    Text::plain(&STANDARD.encode(sealed.decode().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::{Protocol, SKIP, Signature, Text, open, sealed};
    use base64::Engine as _;

    #[test]
    fn a_foreign_signature_survives_a_client_that_decodes_it() {
        let signature = Signature::own(Protocol::AnthropicMessages, Text::plain("c2l?nA=="));
        let sealed = sealed(&signature);
        let bytes = base64::engine::general_purpose::STANDARD.decode(&*sealed.decode()).unwrap();
        let urlsafe = base64::engine::general_purpose::URL_SAFE.encode(bytes);
        for given in [sealed, Text::plain(&urlsafe)] {
            let opened = open(given);
            assert_eq!((opened.origin, &*opened.value.decode()), (Protocol::AnthropicMessages, "c2l?nA=="));
        }
        let own = open(Text::plain("Z3NpZw=="));
        assert_eq!((own.origin, &*own.value.decode()), (Protocol::Gemini, "Z3NpZw=="));
    }

    #[test]
    fn what_passes_without_a_signature_is_spelled_in_base64() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(SKIP).unwrap();
        assert_eq!(bytes, b"skip_thought_signature_validator");
    }
}
