//! What a content filter's rules find in a text: as it stands and, where its configuration says so, as a person reads
//! it.

use tollgate_core::fold::fold;
use tollgate_runtime::Found;

use super::matcher::{FOUND_MAX, Matcher};

/// All matches in order, at most 256, by their places in `text`. `joins` are places in it of what parts texts that are
/// read as one.
pub(super) fn find(matcher: &Matcher, text: &str, joins: &[usize], folds: bool) -> Vec<Found> {
    let mut found = matcher.find(text);
    if folds && let Some(folded) = fold(text, joins) {
        let read = matcher.find(folded.text());
        found.extend(read.into_iter().filter_map(|read| {
            let place = folded.original(&(read.start as usize..read.end as usize))?;
            let (start, end) = (u32::try_from(place.start).ok()?, u32::try_from(place.end).ok()?);
            Some(Found { start, end, ..read })
        }));
        found.sort_by_key(|found| (found.start, found.end, found.rule));
        found.dedup();
        found.truncate(FOUND_MAX);
    }
    found
}
