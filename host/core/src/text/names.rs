//! What member names say about the strings below them, in the wire formats that Tollgate speaks (read 2026-11).
//!
//! Put a name on a list only when no provider that knows it reads prose there: a name that is missing costs a scan, and
//! a name too many hides text from the filter.

use crate::json::Kind;

/// Names of objects and arrays whose members the providers' schemas define, so that nothing below is the user's own.
///
/// `input` and `output` are lists of items in OpenAI Responses; as objects they are tool arguments and results.
pub(super) fn is_schema(name: &str, kind: Kind) -> bool {
    match name {
        "input" | "output" => kind == Kind::Array,
        _ => matches!(
            name,
            "cache_control"
                | "content"
                | "contents"
                | "extra_content"
                | "file"
                | "fileData"
                | "file_data"
                | "function"
                | "functionCall"
                | "functionResponse"
                | "function_call"
                | "function_response"
                | "generateContentRequest"
                | "google"
                | "image_url"
                | "inlineData"
                | "inline_data"
                | "input_audio"
                | "messages"
                | "metadata"
                | "parts"
                | "reasoning"
                | "requests"
                | "source"
                | "summary"
                | "system"
                | "systemInstruction"
                | "system_instruction"
                | "thinking"
                | "tool_calls"
                | "tools"
        ),
    }
}

/// Names of strings that hold media or signatures.
pub(super) fn is_bytes(name: &str) -> bool {
    matches!(
        name,
        "data"
            | "encrypted_content"
            | "file_data"
            | "image_url"
            | "signature"
            | "thoughtSignature"
            | "thought_signature"
            | "url"
    )
}

/// Names of strings that hold identifiers and fixed words.
pub(super) fn is_identifier(name: &str) -> bool {
    matches!(
        name,
        "call_id"
            | "fileUri"
            | "file_id"
            | "file_uri"
            | "format"
            | "id"
            | "media_type"
            | "mimeType"
            | "mime_type"
            | "model"
            | "previous_response_id"
            | "prompt_cache_key"
            | "role"
            | "safety_identifier"
            | "service_tier"
            | "tool_call_id"
            | "tool_use_id"
            | "type"
            | "user"
            | "user_id"
    )
}

/// Names of the strings of a streamed answer that people, or tools, read.
pub(super) fn is_answer(name: &str) -> bool {
    matches!(
        name,
        "arguments"
            | "content"
            | "delta"
            | "output_text"
            | "partial_json"
            | "reasoning_content"
            | "refusal"
            | "text"
            | "thinking"
    )
}

/// Names of tool arguments that are JSON, not a string of it.
pub(super) fn is_arguments(name: &str) -> bool {
    matches!(name, "args" | "input")
}
