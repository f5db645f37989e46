//! Logins of browsers: the access token is for the page's memory, the refresh token is a cookie that no script reads.
//!
//! The cookie names no path. A browser then sends it to what lies beside the route that set it, which is these routes
//! and nothing else, and that holds below any path of a proxy too.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::secret::Secret;

use super::accounts::{Login, Me, NAME_BYTES_MAX, user};
use super::answer::Answer;
use super::ask::{Ask, Caller, Nothing};
use super::error::Problem;
use super::reply::Reply;
use crate::clock::now;
use crate::manage::login::{LoginError, SESSION_MS, Tokens};

/// The cookie. One name for all ports of a host: they are listeners of one gateway.
const COOKIE: &str = "tollgate_session";

/// What a log-in link holds. There is no `Debug`: it would show it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"token": "tgr_…"}))]
pub(super) struct Link {
    /// What follows `link=` in the link.
    token: String,
}

/// An access token. There is no `Debug`: it would show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(super) struct Opened {
    /// Says who one is, as `Authorization: Bearer`.
    access_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// Seconds for which the access token is good.
    expires_in: u64,
    /// Whose it is.
    user: Me,
}

/// An answer, and what becomes of the browser's cookie.
pub(super) struct WithCookie<T> {
    answer: T,
    cookie: Option<HeaderValue>,
}

impl<T: Reply> Reply for WithCookie<T> {
    fn answer(self) -> Result<Answer, Problem> {
        let mut answer = self.answer.answer()?;
        if let Some(cookie) = self.cookie {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(answer)
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<(&'static str, Schema)> {
        T::schema(generator)
    }
}

/// `POST /management/v1/session/login`
pub(super) async fn log_in(ask: Ask<Nothing, Nothing, Login>) -> Result<WithCookie<Opened>, Problem> {
    own_page(&ask.caller.headers)?;
    let Login { name, password } = ask.body;
    let password = Secret::new(password);
    if name.len() > NAME_BYTES_MAX {
        return Err(LoginError::Wrong.into());
    }
    let caller = ask.caller;
    let (tokens, refresh) = caller.admin.logins.log_in(&name, password, caller.from, now()).await?;
    opened(&tokens, Some(&refresh), &caller)
}

/// `POST /management/v1/session/link`
pub(super) async fn follow(ask: Ask<Nothing, Nothing, Link>) -> Result<WithCookie<Opened>, Problem> {
    own_page(&ask.caller.headers)?;
    let token = Secret::new(ask.body.token);
    let (tokens, refresh) = ask.caller.admin.logins.follow_link(&token, now()).await?;
    opened(&tokens, Some(&refresh), &ask.caller)
}

/// `POST /management/v1/session/refresh`
pub(super) async fn refresh(ask: Ask) -> Result<WithCookie<Opened>, Problem> {
    own_page(&ask.caller.headers)?;
    let token = cookie(&ask.caller.headers).ok_or(LoginError::BadToken)?;
    let (tokens, refresh) = ask.caller.admin.logins.refresh_shared(&token, now()).await?;
    opened(&tokens, refresh.as_ref(), &ask.caller)
}

/// `POST /management/v1/session/logout`
pub(super) async fn log_out(ask: Ask) -> Result<WithCookie<Nothing>, Problem> {
    own_page(&ask.caller.headers)?;
    if let Some(token) = cookie(&ask.caller.headers) {
        ask.caller.admin.logins.end(&token, now()).await?;
    }
    let gone = set_cookie("", 0, &ask.caller.headers)?;
    Ok(WithCookie { answer: Nothing, cookie: Some(gone) })
}

/// Refuses what a page of another site has sent, where the browser says so.
fn own_page(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Problem::foreign_page()),
    }
}

fn opened(tokens: &Tokens, refresh: Option<&Secret>, caller: &Caller) -> Result<WithCookie<Opened>, Problem> {
    let set = |token: &Secret| set_cookie(token.expose(), SESSION_MS / 1000, &caller.headers);
    let cookie = refresh.map(set).transpose()?;
    let answer = Opened {
        access_token: tokens.access.expose().to_owned(),
        token_type: "Bearer",
        expires_in: tokens.access_ms / 1000,
        user: user(&caller.audience.sees(&tokens.user)),
    };
    Ok(WithCookie { answer, cookie })
}

/// The refresh token that a browser has.
fn cookie(headers: &HeaderMap) -> Option<Secret> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| Secret::new(value.to_owned()))
}

/// What sets it. A browser says in `Origin` whether its page came over TLS: then the cookie goes no other way.
fn set_cookie(token: &str, seconds: u64, headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    let secure = if origin.is_some_and(|origin| origin.starts_with(b"https:")) { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut value =
        HeaderValue::from_maybe_shared(Bytes::from(text)).map_err(|error| Problem::failed(&error))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use http::header::{self, HeaderMap, HeaderValue};

    use super::{cookie, own_page, set_cookie};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_cookie_is_found_among_others_by_its_whole_name() {
        let check = |value: &'static str, expected: Option<&str>| {
            let found = cookie(&headers(&[("cookie", value)]));
            assert_eq!(found.as_ref().map(|found| found.expose()), expected, "{value}");
        };
        check("tollgate_session=tgr_a.b", Some("tgr_a.b"));
        check("a=1; tollgate_session=x=y; b=2", Some("x=y"));
        check("xtollgate_session=1; tollgate_session2=2", None);
        check("tollgate_session", None);
    }

    #[test]
    fn no_script_reads_the_cookie_and_no_other_site_sends_it() {
        let check = |origin: &[(&'static str, &'static str)], expected: &str| {
            let set = set_cookie("t", 60, &headers(origin)).unwrap();
            assert_eq!(set.to_str().unwrap(), expected);
            assert!(set.is_sensitive());
        };
        check(&[], "tollgate_session=t; HttpOnly; SameSite=Strict; Max-Age=60");
        check(&[("origin", "http://h")], "tollgate_session=t; HttpOnly; SameSite=Strict; Max-Age=60");
        check(
            &[("origin", "https://h")],
            "tollgate_session=t; HttpOnly; SameSite=Strict; Max-Age=60; Secure",
        );
    }

    #[test]
    fn what_another_sites_page_sends_is_refused() {
        let check = |site: &'static str, allowed: bool| {
            assert_eq!(own_page(&headers(&[("sec-fetch-site", site)])).is_ok(), allowed, "{site}");
        };
        check("same-origin", true);
        check("none", true);
        check("same-site", false);
        check("cross-site", false);
        assert!(own_page(&headers(&[(header::HOST.as_str(), "h")])).is_ok(), "no browser");
    }
}
