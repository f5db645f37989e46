//! Whole numbers that a client spells as others: `256.0` for a limit, as serializers write it that know no integers, or
//! `1e3`. Providers differ in whether they take that; here it means what it says, and goes up as a whole number.

use bytes::Bytes;
use tollgate_core::json::{self, Kind, Value};

use super::members::Member;
use crate::transport::body::{Chained, Splice};

/// Members that are whole numbers in every protocol that has them.
const WHOLE: [&[u8]; 10] = [
    b"max_tokens",
    b"max_completion_tokens",
    b"max_output_tokens",
    b"max_tool_calls",
    b"n",
    b"best_of",
    b"top_k",
    b"top_logprobs",
    b"dimensions",
    b"top_n",
];
/// Objects in which others stand, and those.
const PARENTS: [&[u8]; 3] = [b"generationConfig", b"generation_config", b"thinking"];
const WITHIN: [&[u8]; 11] = [
    b"maxOutputTokens",
    b"max_output_tokens",
    b"candidateCount",
    b"candidate_count",
    b"topK",
    b"top_k",
    b"logprobs",
    b"thinkingConfig",
    b"thinking_config",
    b"budget_tokens",
    b"thinkingBudget",
];

/// The same body with whole numbers in their plain spelling; `None` where they have it.
pub(super) fn plain(body: &Bytes, members: &[Member]) -> Option<Bytes> {
    let mut splices = Vec::new();
    for Member { name, value } in members {
        match value.kind {
            Kind::Number if WHOLE.contains(&&**name) => splices.extend(respelt(body, *value)),
            Kind::Object if PARENTS.contains(&&**name) => within(body, *value, &mut splices),
            _ => {}
        }
    }
    (!splices.is_empty()).then(|| Chained::spliced(body, &mut splices).joined())
}

fn within(body: &[u8], object: Value, splices: &mut Vec<Splice>) {
    // The whole body has been validated, so its parts cannot fail.
    let _valid = json::members_of(body, object, |name, value| match value.kind {
        Kind::Number if WITHIN.contains(&name) => splices.extend(respelt(body, value)),
        Kind::Object if WITHIN.contains(&name) => within(body, value, splices),
        _ => {}
    });
}

fn respelt(body: &[u8], value: Value) -> Option<Splice> {
    let spelt = body.get(value.range())?;
    let number = json::unsigned(body, value).filter(|_| !spelt.iter().all(u8::is_ascii_digit))?;
    Some(Splice { range: value.range(), with: Bytes::from(number.to_string()) })
}
