//! What an answer repeats of its request.

use crate::json::{Node, Raw, Writer};

/// The members, with what OpenAI says where the request does not.
const ECHOED: [(&str, &str); 12] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("temperature", "1.0"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "1.0"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

/// The members of a `response` that are the client's own words, beginning with a comma.
pub(crate) fn echo(document: &Node<'_, '_>) -> String {
    let body = document.object();
    let mut writer = Writer::default();
    writer.object(|w| {
        for (name, default) in ECHOED {
            let given = body.as_ref().ok().and_then(|body| body.take(name)).map(|node| node.raw());
            w.field(name, given.unwrap_or(Raw(default)));
        }
        w.null("previous_response_id");
        w.field("store", false);
    });
    let mut members = writer.take();
    members.pop();
    members.replacen('{', ",", 1)
}
