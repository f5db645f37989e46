//! What a call used that nobody stated, because its client left before: what its prompt has by its text and by what the
//! last ones had, and what answers of its model usually have.

use std::time::Duration;

use tollgate_core::outcome::Outcome;
use tollgate_core::usage::{Class, Quality, Usage};

use super::request::{Hold, Request};
use super::states::{Answered, Attempting};
use crate::shared::Shared;
use crate::state::habits::Expected;

/// Output tokens that a model makes in a second, at most: no more was made by the time at which a client left.
const TOKENS_PER_SECOND: u64 = 60;

/// What a request used whose client left before its answer began: its prompt, once a provider had it, and what that may
/// have made of it by then.
pub(super) fn unawaited(shared: &Shared, attempting: &Attempting, outcome: Outcome) -> Usage {
    let request = attempting.request();
    let left = outcome == Outcome::CancelledBeforeFirstByte && request.call.operation.billed();
    let Some(worked) = attempting.worked().filter(|_| left) else { return Usage::default() };
    let likely = likely(shared, request, shared.habits.expected(attempting.model()));
    let output = likely.min(made_in(worked)).min(covered(attempting.hold()));
    // Nothing of a stream has shown: whatever was made is hidden.
    let class = if request.call.streaming { Class::Reasoning } else { Class::Output };
    Usage::of(
        Quality::Estimated,
        &[(Class::Input, prompt(shared, request, attempting.model())), (class, output)],
    )
}

/// Prompt tokens that nobody stated: four bytes of text a token, or as many as the last prompts of this caller or to
/// this model had.
pub(super) fn prompt(shared: &Shared, request: &Request, model: &str) -> u64 {
    let Request { prompt, caller, .. } = request;
    let tokens = shared.habits.prompt_tokens(caller.user, model, prompt.text_tokens());
    tokens.saturating_add(prompt.other_tokens())
}

/// Output tokens of an answer whose client left amid of it, beside those that showed.
pub(super) fn unshown(shared: &Shared, answered: &Answered, outcome: Outcome) -> u64 {
    if outcome != Outcome::CancelledAfterFirstByte {
        return 0;
    }
    let request = answered.request();
    let shown = answered.meter.estimated_output();
    let mut likely = likely(shared, request, shared.habits.expected(answered.model()));
    if !request.call.streaming {
        likely = likely.saturating_sub(shown);
    }
    if shown == 0 {
        likely = likely.min(made_in(request.started.elapsed()));
    }
    likely.min(covered(answered.hold()).saturating_sub(shown))
}

/// Output tokens that do not show where a client leaves: all that an answer has that comes whole, and what of a stream
/// is hidden. Nothing is hidden by a model that is known to answer in the open, or not known at all.
fn likely(shared: &Shared, request: &Request, expected: Option<Expected>) -> u64 {
    if !request.call.operation.generates() {
        return 0;
    }
    if request.call.streaming {
        return expected.filter(|expected| !expected.open).map_or(0, |expected| expected.hidden);
    }
    expected.map_or(shared.settings.limits.typical_output_tokens, |expected| expected.output)
}

fn made_in(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(TOKENS_PER_SECOND) / 1000
}

fn covered(hold: Option<&Hold>) -> u64 {
    hold.map_or(0, |hold| hold.cover.tokens)
}
