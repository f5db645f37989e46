//! What may pass. The rules are searched natively in the request's text, escapes decoded first; the component decides
//! about what was found. Of text that is refused only a hash is kept.

use std::ops::Range;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tollgate_core::decisions::{Screened, Verdict as Word};
use tollgate_core::secret::Secret;
use tollgate_core::text::{self, Extract, Scope};
use tollgate_runtime::{Action, Direction, Found, OnError, Trigger, Verdict};

use super::error::ProxyError;
use super::read::Inbound;
use crate::routing::snapshot::Screen;
use crate::transport::body::Splice;

/// Most text that a component is shown, around what was found.
const SHOWN_BYTES_MAX: usize = 256 * 1024;

/// All that is stored of refused text: a hash of what a rule covered, and which rule that was. The hash has a key of
/// this installation's own: what people filter (numbers of phones and cards) is guessed from a plain one in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextHash {
    /// HMAC-SHA-256 of what was covered, or of the whole text where no rule decided.
    pub(crate) digest: [u8; 32],
    /// The rule that decided, where one did.
    pub(crate) rule: Option<u32>,
}

impl TextHash {
    fn new(key: &Secret, text: &str, rule: Option<u32>) -> Self {
        let keyed = <Hmac<Sha256> as Mac>::new_from_slice(key.expose().as_bytes());
        let keyed = keyed.unwrap_or_else(|_| unreachable!("HMAC takes keys of every length"));
        Self { digest: keyed.chain_update(text).finalize().into_bytes().into(), rule }
    }

    fn of(key: &Secret, text: &str, found: &Found) -> Self {
        let covered = text.get(found.start as usize..found.end as usize).unwrap_or("");
        Self::new(key, covered, Some(found.rule))
    }
}

/// A request that the filter refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What the caller is told.
    pub(crate) error: ProxyError,
    /// Hash of the text that decided; `None` when the policy itself failed.
    pub(crate) hash: Option<TextHash>,
    /// What the filter said.
    pub(crate) screened: Screened,
}

/// Screens a request, and says what the filter said. Masking adds splices to it.
///
/// # Errors
/// [`Refusal`] when the policy blocks, or when it fails and its binding does not say `open`.
pub(crate) fn screen(screen: Option<&Screen>, inbound: &mut Inbound) -> Result<Screened, Refusal> {
    let Some(screen) = screen else { return Ok(Screened::default()) };
    let Screen { filter, matcher, .. } = screen;
    let clean = Screened { verdict: Word::Clean, ..Screened::default() };
    if matcher.is_empty() && filter.plan().trigger == Trigger::OnMatch {
        return Ok(clean);
    }
    if inbound.is_realtime() {
        let words =
            "A content filter is in force here, and cannot be asked what is said in a Realtime session.";
        let (error, screened) = (ProxyError::bad_request(words, None), Screened::default());
        return Err(Refusal { error, hash: None, screened });
    }
    // The body was validated when it was read, so its text can be found.
    let words = inbound.form.as_ref().map(|form| form.words(&inbound.body));
    let body = words.as_ref().unwrap_or(&inbound.body);
    let Ok(extract) = text::extract(body, Scope::Request) else { return Ok(clean) };
    let found = screen.find(&extract.text, &extract.joins);
    let matches = u32::try_from(found.len()).unwrap_or(u32::MAX);
    let said = |verdict, rule| Screened { verdict, rule, matches };
    match decide(screen, Direction::Request, &extract.text, &found) {
        Decision::Pass if found.is_empty() && filter.plan().trigger == Trigger::OnMatch => Ok(clean),
        Decision::Pass => Ok(said(Word::Allowed, None)),
        // Words of a form are not covered: they do not pass.
        Decision::Mask(_, rule) if inbound.form.is_some() => {
            let hash = Some(TextHash::new(&screen.text_key, &extract.text, rule));
            Err(Refusal { error: ProxyError::Filtered, hash, screened: said(Word::Blocked, rule) })
        }
        Decision::Mask(ranges, rule) => {
            inbound.splices.extend(masks(&inbound.body, &extract, &ranges));
            Ok(said(Word::Masked, rule))
        }
        Decision::Block(hash, rule) => {
            let screened = said(Word::Blocked, rule);
            Err(Refusal { error: ProxyError::Filtered, hash: Some(hash), screened })
        }
        Decision::Failed => {
            let (error, screened) = (ProxyError::Policy("content filter"), said(Word::Failed, None));
            Err(Refusal { error, hash: None, screened })
        }
    }
}

/// Splices that cover the masked characters.
pub(crate) fn masks(body: &[u8], extract: &Extract, ranges: &[Range<usize>]) -> impl Iterator<Item = Splice> {
    text::mask(body, extract, ranges)
        .into_iter()
        .map(|(range, with)| Splice { range, with: Bytes::from(with) })
}

/// What becomes of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes on.
    Pass,
    /// It goes on with these bytes of the text covered, by this rule.
    Mask(Vec<Range<usize>>, Option<u32>),
    /// It does not; this is the hash of what decided, and the rule.
    Block(TextHash, Option<u32>),
    /// The policy failed, and its binding says that nothing passes then.
    Failed,
}

/// Asks the component about a text, where its plan says so: once, or once per excerpt of a text too long to show.
pub(crate) fn decide(screen: &Screen, direction: Direction, text: &str, found: &[Found]) -> Decision {
    if found.is_empty() && screen.filter.plan().trigger == Trigger::OnMatch {
        return Decision::Pass;
    }
    let (mut covered, mut by) = (Vec::new(), None);
    for excerpt in excerpts(text, found) {
        match inspect(screen, direction, text, &excerpt) {
            Decision::Pass => {}
            Decision::Mask(ranges, rule) => {
                covered.extend(ranges);
                by = by.or(rule);
            }
            decision @ (Decision::Block(..) | Decision::Failed) => return decision,
        }
    }
    if covered.is_empty() { Decision::Pass } else { Decision::Mask(covered, by) }
}

fn inspect(screen: &Screen, direction: Direction, text: &str, excerpt: &Excerpt<'_>) -> Decision {
    let (filter, key, found) = (&screen.filter, &screen.text_key, excerpt.found);
    let verdict = match (u32::try_from(excerpt.range.start), text.get(excerpt.range.clone())) {
        (Ok(0), Some(shown)) => filter.inspect(direction, shown, found),
        (Ok(shift), Some(shown)) => {
            let moved = |found: &Found| Found {
                rule: found.rule,
                start: found.start - shift,
                end: found.end - shift,
            };
            filter.inspect(direction, shown, &found.iter().map(moved).collect::<Vec<_>>())
        }
        // Matches lie within 4 GiB and excerpts on character boundaries.
        _ => return Decision::Failed,
    };
    match verdict {
        Ok(verdict) => weigh(&verdict, key, text, found),
        Err(error) => match error.on_error {
            OnError::Open => Decision::Pass,
            OnError::Closed => Decision::Failed,
            // The gateway's own rule: whatever a rule names does not pass.
            OnError::Fallback => {
                let block = |found: &Found| Decision::Block(TextHash::of(key, text, found), Some(found.rule));
                found.first().map_or(Decision::Pass, block)
            }
        },
    }
}

fn weigh(verdict: &Verdict, key: &Secret, text: &str, found: &[Found]) -> Decision {
    match verdict.action {
        Action::Allow => Decision::Pass,
        Action::Block => {
            let deciding = found.iter().find(|found| found.rule == verdict.rule);
            // A rule that found nothing here is the component's own word, as that of a filter that is always asked.
            let whole = || TextHash::new(key, text, Some(verdict.rule));
            let hash = deciding.map_or_else(whole, |found| TextHash::of(key, text, found));
            Decision::Block(hash, Some(verdict.rule))
        }
        Action::Mask => {
            let covered = verdict.mask.iter().filter_map(|&index| found.get(index as usize));
            let covered = covered.map(|found| found.start as usize..found.end as usize).collect();
            Decision::Mask(covered, Some(verdict.rule))
        }
    }
}

/// A part of a text, and the matches in it.
struct Excerpt<'a> {
    range: Range<usize>,
    found: &'a [Found],
}

/// Cuts a text into parts that a component can be shown, so that every match lies in one of them with some text around
/// it. A text without matches is shown whole, piece by piece.
fn excerpts<'a>(text: &str, found: &'a [Found]) -> Vec<Excerpt<'a>> {
    if text.len() <= SHOWN_BYTES_MAX {
        return vec![Excerpt { range: 0..text.len(), found }];
    }
    let mut excerpts = Vec::new();
    let (mut at, mut rest) = (0, found);
    while at < text.len() && (found.is_empty() || !rest.is_empty()) {
        let (start, least) = match rest.first() {
            Some(first) => ((first.start as usize).saturating_sub(SHOWN_BYTES_MAX / 4), first.end as usize),
            None => (at, at),
        };
        let start = text.floor_char_boundary(start);
        let end = text.floor_char_boundary(start + SHOWN_BYTES_MAX).max(least);
        let (inside, after) =
            rest.split_at(rest.iter().take_while(|found| found.end as usize <= end).count());
        excerpts.push(Excerpt { range: start..end, found: inside });
        (at, rest) = (end, after);
    }
    excerpts
}

#[cfg(test)]
mod tests {
    use super::{SHOWN_BYTES_MAX, excerpts};
    use tollgate_runtime::Found;

    #[test]
    fn every_match_of_a_long_text_lies_in_one_excerpt() {
        let text = "é".repeat(SHOWN_BYTES_MAX * 2);
        let places = [0, 10, SHOWN_BYTES_MAX - 2, SHOWN_BYTES_MAX, SHOWN_BYTES_MAX * 3 + 2, text.len() - 4];
        let found: Vec<Found> = places
            .iter()
            .map(|&at| Found {
                rule: 0,
                start: u32::try_from(at).unwrap(),
                end: u32::try_from(at + 4).unwrap(),
            })
            .collect();
        let excerpts = excerpts(&text, &found);
        assert_eq!(excerpts.iter().map(|excerpt| excerpt.found.len()).sum::<usize>(), found.len());
        for excerpt in &excerpts {
            assert!(text.get(excerpt.range.clone()).is_some(), "on character boundaries");
            for found in excerpt.found {
                assert!(
                    excerpt.range.start <= found.start as usize && found.end as usize <= excerpt.range.end
                );
            }
        }
    }

    #[test]
    fn a_long_text_without_matches_is_shown_whole() {
        let text = "é".repeat(SHOWN_BYTES_MAX + 1);
        let mut at = 0;
        for excerpt in excerpts(&text, &[]) {
            assert_eq!(excerpt.range.start, at);
            at = excerpt.range.end;
        }
        assert_eq!(at, text.len());
    }
}
