//! What an adapter can offer to clients of other protocols: entries of its plan.

use tollgate_plugin::adapter::Translation;
use tollgate_plugin::types::{Operation, Protocol};

const PROTOCOLS: [Protocol; 4] =
    [Protocol::OpenaiChat, Protocol::OpenaiResponses, Protocol::AnthropicMessages, Protocol::Gemini];

/// Answers, for clients of every protocol but `upstream`.
#[must_use]
pub fn from_all_to(upstream: Protocol) -> Vec<Translation> {
    let operation = Operation::Generate;
    others(upstream).map(|client| offer(client, upstream, operation, operation)).collect()
}

/// OpenAI's older completions, as conversations in `upstream`.
#[must_use]
pub fn completed_by(upstream: Protocol) -> Vec<Translation> {
    vec![offer(Protocol::OpenaiChat, upstream, Operation::Complete, Operation::Generate)]
}

/// Token counts by a provider that counts in `upstream`. Clients of Chat Completions cannot ask for one.
#[must_use]
pub fn counted_by(upstream: Protocol) -> Vec<Translation> {
    let operation = Operation::CountTokens;
    let askers = others(upstream).filter(|client| *client != Protocol::OpenaiChat);
    askers.map(|client| offer(client, upstream, operation, operation)).collect()
}

/// Embeddings by a provider that makes them in `upstream`: only OpenAI's protocol and Gemini's have any.
///
/// A request of OpenAI may hold several inputs, which is a batch at Gemini; both forms of Gemini map to one of OpenAI.
#[must_use]
pub fn embedded_by(upstream: Protocol) -> Vec<Translation> {
    use Operation::{Embed, EmbedBatch};
    use Protocol::{Gemini, OpenaiChat};
    match upstream {
        Gemini => vec![offer(OpenaiChat, upstream, Embed, EmbedBatch)],
        OpenaiChat => [Embed, EmbedBatch].map(|asked| offer(Gemini, upstream, asked, Embed)).to_vec(),
        _ => Vec::new(),
    }
}

fn others(upstream: Protocol) -> impl Iterator<Item = Protocol> {
    PROTOCOLS.into_iter().filter(move |client| *client != upstream)
}

fn offer(
    client: Protocol,
    upstream: Protocol,
    operation: Operation,
    upstream_operation: Operation,
) -> Translation {
    Translation { client, upstream, operation, upstream_operation }
}

#[cfg(test)]
mod tests {
    use super::{Operation, Protocol, Translation, counted_by, embedded_by, from_all_to};

    fn clients(offers: Vec<Translation>) -> Vec<Protocol> {
        offers.into_iter().map(|offer| offer.client).collect()
    }

    #[test]
    fn every_other_protocol_is_offered() {
        let all = [Protocol::OpenaiChat, Protocol::OpenaiResponses, Protocol::AnthropicMessages];
        assert_eq!(clients(from_all_to(Protocol::Gemini)), all);
        assert_eq!(clients(counted_by(Protocol::Gemini)), all[1..]);
    }

    #[test]
    fn a_request_that_may_hold_several_inputs_is_a_batch() {
        let asked = |upstream| {
            let offers = embedded_by(upstream).into_iter();
            offers.map(|offer| (offer.operation, offer.upstream_operation)).collect::<Vec<_>>()
        };
        assert_eq!(asked(Protocol::Gemini), [(Operation::Embed, Operation::EmbedBatch)]);
        let one = Operation::Embed;
        assert_eq!(asked(Protocol::OpenaiChat), [(one, one), (Operation::EmbedBatch, one)]);
        assert_eq!(asked(Protocol::AnthropicMessages), []);
    }
}
