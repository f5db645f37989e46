//! Step 3: what may pass. The rules are searched natively in the request's text, escapes decoded first; the component decides
//! about what was found. Of text that is refused only a hash is kept.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tollgate_core::text::{self, Extract, Scope};
use tollgate_runtime::{Action, Direction, Filter, Found, OnError, Trigger, Verdict};

use super::error::ProxyError;
use super::read::Inbound;
use crate::body::Splice;
use crate::road::Road;

/// Most text that a component is shown, around what was found.
const SHOWN_BYTES_MAX: usize = 256 * 1024;

/// SHA-256 of what a rule covered: all that is stored of refused text.
pub(crate) type TextHash = [u8; 32];

/// A request that the filter refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What the caller is told.
    pub(crate) error: ProxyError,
    /// Hash of the text that decided; `None` when the policy itself failed.
    pub(crate) hash: Option<TextHash>,
}

/// Screens a request. Masking adds splices to it.
///
/// # Errors
/// [`Refusal`] when the policy blocks, or when it fails and its binding does not say `open`.
pub(crate) fn screen(road: &Road, inbound: &mut Inbound) -> Result<(), Refusal> {
    let Some((filter, matcher)) = road.filter() else { return Ok(()) };
    if matcher.is_empty() && filter.plan().trigger == Trigger::OnMatch {
        return Ok(());
    }
    // The body was validated when it was read, so its text can be found.
    let Ok(extract) = text::extract(&inbound.body, Scope::Request) else { return Ok(()) };
    let found = matcher.find(&extract.text);
    match decide(filter, Direction::Request, &extract.text, &found) {
        Decision::Pass => Ok(()),
        Decision::Mask(ranges) => {
            inbound.splices.extend(masks(&inbound.body, &extract, &ranges));
            Ok(())
        }
        Decision::Block(hash) => Err(Refusal { error: ProxyError::Filtered, hash: Some(hash) }),
        Decision::Failed => Err(Refusal { error: ProxyError::Policy("content filter"), hash: None }),
    }
}

/// Splices that cover the masked characters.
pub(crate) fn masks(body: &[u8], extract: &Extract, ranges: &[Range<usize>]) -> impl Iterator<Item = Splice> {
    text::mask(body, extract, ranges).into_iter().map(|(range, with)| Splice { range, with: Bytes::from(with) })
}

/// What becomes of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes on.
    Pass,
    /// It goes on with these bytes of the text covered.
    Mask(Vec<Range<usize>>),
    /// It does not; this is the hash of what decided.
    Block(TextHash),
    /// The policy failed, and its binding says that nothing passes then.
    Failed,
}

/// Asks the component about a text, where its plan says so.
pub(crate) fn decide(filter: &Filter, direction: Direction, text: &str, found: &[Found]) -> Decision {
    if found.is_empty() && filter.plan().trigger == Trigger::OnMatch {
        return Decision::Pass;
    }
    let (shown, shift) = excerpt(text, found);
    let shifted: Vec<Found> = found
        .iter()
        .filter(|found| found.end as usize - shift <= shown.len())
        .map(|found| Found { rule: found.rule, start: found.start - shift as u32, end: found.end - shift as u32 })
        .collect();
    match filter.inspect(direction, shown, &shifted) {
        Ok(verdict) => weigh(&verdict, text, found),
        Err(error) => match error.on_error {
            OnError::Open => Decision::Pass,
            OnError::Closed => Decision::Failed,
            // The gateway's own rule: whatever a rule names does not pass.
            OnError::Fallback => found.first().map_or(Decision::Pass, |found| Decision::Block(hash(text, found))),
        },
    }
}

fn weigh(verdict: &Verdict, text: &str, found: &[Found]) -> Decision {
    match verdict.action {
        Action::Allow => Decision::Pass,
        Action::Block => {
            let deciding = found.iter().find(|found| found.rule == verdict.rule);
            Decision::Block(deciding.map_or_else(|| Sha256::digest(text).into(), |found| hash(text, found)))
        }
        Action::Mask => {
            let covered = verdict.mask.iter().filter_map(|&index| found.get(index as usize));
            Decision::Mask(covered.map(|found| found.start as usize..found.end as usize).collect())
        }
    }
}

fn hash(text: &str, found: &Found) -> TextHash {
    Sha256::digest(text.get(found.start as usize..found.end as usize).unwrap_or("")).into()
}

/// The part of a long text around the first match, on character boundaries, and where it begins.
fn excerpt<'a>(text: &'a str, found: &[Found]) -> (&'a str, usize) {
    if text.len() <= SHOWN_BYTES_MAX {
        return (text, 0);
    }
    let first = found.first().map_or(0, |found| found.start as usize);
    let start = text.floor_char_boundary(first.saturating_sub(SHOWN_BYTES_MAX / 4));
    let end = text.floor_char_boundary(start + SHOWN_BYTES_MAX);
    (&text[start..end], start)
}
