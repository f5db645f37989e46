//! How an adapter translates by `tollgate-protocols`: which pairs it offers, and one call per exchange.
//!
//! An adapter says what its provider speaks ([`from_all_to`], [`completed_by`], [`counted_by`] and [`embedded_by`] for
//! its plan) and what the model can do ([`translate`]); the library does everything else.

mod offers;
mod whole;

pub use offers::{completed_by, counted_by, embedded_by, from_all_to};

use tollgate_plugin::adapter::{Answer, Exchange, Reply, Translated};
use tollgate_plugin::types::Operation;
use tollgate_protocols::target::{Abilities, Context, Target};
use tollgate_protocols::translate::{Failure, Pair, Stream};

/// What an adapter knows of a model.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// What it can do.
    pub abilities: Abilities,
    /// Tokens that an answer may have where the client sets no limit and the protocol wants one.
    pub output_tokens_max: u64,
}

/// Translates the request of an exchange, as [`Adapter::translate`](tollgate_plugin::adapter::Adapter::translate) is
/// asked to.
///
/// # Errors
/// A 400 in the client's protocol that names the field which cannot be expressed in the upstream's.
pub fn translate(exchange: &Exchange, body: &[u8], model: Model) -> Result<Translated, Reply> {
    let pair = Pair { client: exchange.client, upstream: exchange.upstream };
    let target = Target {
        model: &exchange.model,
        abilities: model.abilities,
        max_output_tokens: model.output_tokens_max.min(exchange.output_limit),
        output_limit: exchange.output_limit,
        streaming: exchange.streaming,
        json_array: exchange.json_array,
        completion: exchange.operation == Operation::Complete,
        request_id: &exchange.request_id,
        now_s: exchange.now_s,
        strict: exchange.strict,
    };
    let request_id = exchange.request_id.clone();
    let translated = match exchange.operation {
        Operation::CountTokens => whole::count(pair, request_id, body, &target),
        Operation::Embed | Operation::EmbedBatch => whole::embed(pair, request_id, body, &target),
        _ => pair.request(body, &target).map(|translated| {
            let answer = Returning { pair, context: translated.context, request_id, stream: None };
            Translated { body: translated.body, left_out: translated.left_out, answer: Box::new(answer) }
        }),
    };
    translated.map_err(|refused| reply(pair.refuse(&refused, &exchange.request_id)))
}

fn reply(failure: Failure) -> Reply {
    Reply { status: failure.status, body: failure.body }
}

/// Translates the answer.
struct Returning {
    pair: Pair,
    context: Context,
    request_id: String,
    /// Begun by the first piece.
    stream: Option<Stream>,
}

impl Returning {
    fn stream(&mut self) -> &mut Stream {
        let Self { pair, context, stream, .. } = self;
        stream.get_or_insert_with(|| pair.stream(context))
    }
}

impl Answer for Returning {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        self.pair.response(body, &self.context).map_err(|refused| refused.to_string())
    }

    fn failure(&mut self, status: u16, body: &[u8]) -> Reply {
        reply(self.pair.error(status, body, &self.request_id))
    }

    fn part(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.stream().feed(bytes)
    }

    fn end(&mut self) -> Vec<u8> {
        self.stream().finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Model, Operation, translate};
    use tollgate_plugin::adapter::Exchange;
    use tollgate_plugin::types::Protocol;
    use tollgate_protocols::target::Target;

    fn begin(body: &str) -> Result<tollgate_plugin::adapter::Translated, tollgate_plugin::adapter::Reply> {
        let exchange = Exchange {
            client: Protocol::OpenaiChat,
            upstream: Protocol::AnthropicMessages,
            operation: Operation::Generate,
            model: "claude".to_owned(),
            request_id: "r1".to_owned(),
            now_s: 7,
            streaming: false,
            json_array: false,
            output_limit: u64::MAX,
            strict: false,
        };
        let model = Model { abilities: Target::new("claude").abilities, output_tokens_max: 77 };
        translate(&exchange, body.as_bytes(), model)
    }

    #[test]
    fn an_exchange_goes_there_and_back() {
        let mut translated = begin(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).unwrap();
        let body = String::from_utf8(translated.body).unwrap();
        assert!(body.contains(r#""model":"claude""#) && body.contains(r#""max_tokens":77"#), "{body}");
        let answer = translated.answer.whole(
            br#"{"id":"a","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}"#,
        );
        let answer = String::from_utf8(answer.unwrap()).unwrap();
        assert!(answer.contains(r#""content":"hello""#), "{answer}");
        assert!(translated.answer.whole(b"no answer").is_err());
    }

    #[test]
    fn what_cannot_be_said_is_refused_in_the_clients_protocol() {
        let Err(reply) =
            begin(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"logprobs":true}"#)
        else {
            panic!("it was translated")
        };
        let body = String::from_utf8(reply.body).unwrap();
        assert!(reply.status == 400 && body.contains("logprobs"), "{body}");
    }

    #[test]
    fn a_stream_that_stops_early_ends_with_an_error() {
        let mut answer =
            begin(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#).unwrap().answer;
        assert!(answer.part(b"event: mess").is_empty());
        let end = String::from_utf8(answer.end()).unwrap();
        assert!(end.contains("\"error\""), "{end}");
    }
}
