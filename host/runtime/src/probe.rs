//! Whose fault a fault is. A component is given what strangers wrote, and what they wrote may be at fault: whatever it
//! fails over, it is asked about something small and ordinary of the same kind. Where it can do that, the fault belongs
//! to the exchange that it met, and no other call is kept from the component; where it cannot, it is broken for all. A
//! new version on trial that breaks over what several callers brought is taken back all the same (`vitals.rs`).

use std::sync::Arc;

use tollgate_core::protocol::{Operation, Protocol};

use crate::bindings::adapter_world::ProviderAdapter;
use crate::plan::exchange::Terms;
use crate::slot;
use crate::translate::{checked, translate};
use crate::unit::Unit;

/// What an exchange was at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Its request.
    Request,
    /// A whole answer.
    Answer,
    /// A failure that blames the request.
    Failure,
    /// A stream.
    Stream,
}

/// Whether an adapter does such work in an exchange of these terms, be it by a refusal.
pub(crate) fn translates(unit: &Arc<Unit<ProviderAdapter>>, terms: &Terms<'_>, work: Work) -> bool {
    let streaming = work == Work::Stream;
    let terms = Terms { operation: Operation::Generate, streaming, json_array: false, ..*terms };
    let Ok((mut instance, asked)) = translate(unit, &terms, request(terms.client).as_bytes()) else {
        return false;
    };
    let answer = answer(terms.upstream, streaming).as_bytes();
    let done = instance.enter_with(answer.len(), |world, store| {
        let adapter = world.tollgate_plugin_adapter();
        match work {
            _ if asked.is_err() => {}
            Work::Request => {}
            Work::Answer => drop(adapter.call_translate_answer(store, answer)?),
            Work::Failure => {
                let reply = adapter.call_translate_failure(store, 400, FAILURE)?;
                return Ok(checked(reply).map(drop));
            }
            Work::Stream => {
                adapter.call_translate_part(&mut *store, answer)?;
                adapter.call_translate_end(store)?;
            }
        }
        Ok(Ok(()))
    });
    done.map(|()| slot::give_back(unit, instance)).is_ok()
}

const FAILURE: &[u8] = br#"{"error":{"type":"invalid_request_error","message":"no"}}"#;

/// A request in which nothing can be wrong.
const fn request(client: Protocol) -> &'static str {
    match client {
        Protocol::OpenaiChat | Protocol::AnthropicMessages => {
            r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#
        }
        Protocol::OpenaiResponses => r#"{"model":"m","input":"hi"}"#,
        Protocol::Gemini => r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
    }
}

/// An answer with a text and a call, whole or as events.
const fn answer(upstream: Protocol, streaming: bool) -> &'static str {
    match (upstream, streaming) {
        (Protocol::OpenaiChat, false) => concat!(
            r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":"#,
            r#"{"role":"assistant","content":"hi","tool_calls":[{"id":"t","type":"function","function":"#,
            r#"{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}],"#,
            r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
        ),
        (Protocol::OpenaiChat, true) => concat!(
            "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":",
            "[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":null}]}\n\n",
            "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":",
            "[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"type\":\"function\",\"function\":",
            "{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n",
            "data: [DONE]\n\n"
        ),
        (Protocol::OpenaiResponses, false) => concat!(
            r#"{"id":"r","object":"response","created_at":1,"status":"completed","model":"m","output":["#,
            r#"{"id":"m","type":"message","status":"completed","role":"assistant","content":["#,
            r#"{"type":"output_text","text":"hi","annotations":[]}]},{"id":"f","type":"function_call","#,
            r#""call_id":"t","name":"f","arguments":"{\"a\":1}","status":"completed"}],"#,
            r#""usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}"#
        ),
        (Protocol::OpenaiResponses, true) => concat!(
            "data: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"r\",\"object\":",
            "\"response\",\"created_at\":1,\"status\":\"in_progress\",\"model\":\"m\",\"output\":[]}}\n\n",
            "data: {\"type\":\"response.output_item.added\",\"sequence_number\":1,\"output_index\":0,\"item\":",
            "{\"id\":\"m\",\"type\":\"message\",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}}\n\n",
            "data: {\"type\":\"response.output_text.delta\",\"sequence_number\":2,\"item_id\":\"m\",",
            "\"output_index\":0,\"content_index\":0,\"delta\":\"hi\"}\n\n",
            "data: {\"type\":\"response.completed\",\"sequence_number\":3,\"response\":{\"id\":\"r\",\"object\":",
            "\"response\",\"created_at\":1,\"status\":\"completed\",\"model\":\"m\",\"output\":[]}}\n\n"
        ),
        (Protocol::AnthropicMessages, false) => concat!(
            r#"{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"},"#,
            r#"{"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"stop_reason":"tool_use","#,
            r#""stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}"#
        ),
        (Protocol::AnthropicMessages, true) => concat!(
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",",
            "\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",",
            "\"name\":\"f\",\"input\":{}}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",",
            "\"partial_json\":\"{\\\"a\\\":1}\"}}\n\n",
            "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":1}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n"
        ),
        (Protocol::Gemini, false) => concat!(
            r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"hi"},{"functionCall":"#,
            r#"{"name":"f","args":{"a":1}}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"#,
            r#""candidatesTokenCount":1,"totalTokenCount":2},"modelVersion":"m","responseId":"r"}"#
        ),
        (Protocol::Gemini, true) => concat!(
            "data: {\"candidates\":[{\"index\":0,\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"hi\"},",
            "{\"functionCall\":{\"name\":\"f\",\"args\":{\"a\":1}}}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":",
            "{\"promptTokenCount\":1,\"candidatesTokenCount\":1,\"totalTokenCount\":2}}\n\n"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{answer, request};
    use tollgate_core::json;
    use tollgate_core::protocol::Protocol;
    use tollgate_core::sse::{self, Framer};

    #[test]
    fn what_a_component_is_asked_about_is_well_formed() {
        let well = |text: &[u8]| text == b"[DONE]" || json::members(text, |_, _| ()).is_ok();
        for protocol in Protocol::ALL {
            assert!(well(request(protocol).as_bytes()) && well(answer(protocol, false).as_bytes()));
            let mut events = 0;
            let read = Framer::new(1 << 20).push(answer(protocol, true).as_bytes(), |frame| {
                events += usize::from(well(&sse::data(frame.bytes()).unwrap()));
            });
            assert_eq!(read, Ok(0), "all of it is whole events");
            assert_eq!(events, answer(protocol, true).matches("\n\n").count(), "{protocol:?}");
        }
    }
}
