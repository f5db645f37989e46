//! Two who edit the same thing: each answer says which version it shows, as `ETag`, and a change that names one in
//! `If-Match` is made only where it is still that one. The version is the row of the last change in the audit log, so
//! that use and state, which change by themselves, are no part of it.

use http::header::{self, HeaderMap, HeaderValue};

use super::answer::Answer;
use super::error::Problem;
use super::route::Route;
use super::routes::ROUTES;
use crate::manage::{Edited, Expected};

/// What a row shows or changes, where a row beside it is a `PATCH`.
pub(super) fn edited(route: &Route, params: &[String]) -> Option<Edited> {
    let patch = ROUTES.iter().find(|row| row.method == http::Method::PATCH && row.path == route.path)?;
    let action = patch.action?;
    let actions = action.split_inclusive('.').next()?;
    Some(Edited { target: params.first().cloned(), actions })
}

/// The versions that a call allows, where it says any; `*` is any.
///
/// # Errors
/// 400 for what is no list of tags, and 412 where none of them is a version.
pub(super) fn expected(of: &Edited, headers: &HeaderMap) -> Result<Option<Expected>, Problem> {
    let mut versions = Vec::new();
    let mut said = headers.get_all(header::IF_MATCH).iter().peekable();
    if said.peek().is_none() {
        return Ok(None);
    }
    for value in said {
        let text = value.to_str().map_err(|_| not_tags())?;
        if text.trim() == "*" {
            return Ok(None);
        }
        for tag in text.split(',').map(str::trim) {
            // A weak tag never matches here.
            let Some(tag) = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) else {
                if tag.starts_with("W/\"") {
                    continue;
                }
                return Err(not_tags());
            };
            versions.extend(tag.parse::<u64>());
        }
    }
    Ok(Some(Expected { of: of.clone(), versions }))
}

fn not_tags() -> Problem {
    Problem::bad_request("`If-Match` holds the `ETag` of an answer, in quotes.")
}

/// Says which version an answer shows.
pub(super) fn tell(answer: &mut Answer, version: u64) {
    if let Ok(tag) = HeaderValue::try_from(format!("\"{version}\"")) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
}

#[cfg(test)]
mod tests {
    use http::header::{self, HeaderMap};

    use super::expected;
    use crate::manage::Edited;

    #[test]
    fn tags_are_read_as_they_may_be_written() {
        let of = Edited { target: None, actions: "key." };
        let check = |said: &[&'static str], versions: Option<Option<&[u64]>>| {
            let mut headers = HeaderMap::new();
            for said in said {
                headers.append(header::IF_MATCH, said.parse().unwrap());
            }
            let read = expected(&of, &headers).ok().map(|read| read.map(|read| read.versions));
            assert_eq!(read.as_ref().map(|read| read.as_deref()), versions, "{said:?}");
        };
        check(&[], Some(None));
        check(&["*"], Some(None));
        check(&["\"7\""], Some(Some(&[7])));
        check(&["\"7\", \"9\""], Some(Some(&[7, 9])));
        check(&["\"7\"", "\"9\""], Some(Some(&[7, 9])));
        check(&["W/\"7\""], Some(Some(&[])));
        check(&["\"somebody else's\""], Some(Some(&[])));
        check(&["7"], None);
        check(&["\"7"], None);
    }
}
