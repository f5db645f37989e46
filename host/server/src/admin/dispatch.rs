//! The way of a management call: its row is found, its caller known and let in, its body read, its handler run, its
//! change noted.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use tollgate_core::id::RequestId;

use super::Admin;
use super::answer::{Answer, bytes};
use super::ask::{Actor, Caller};
use super::audience::Audience;
use super::error::Problem;
use super::idempotency::{Once, Turn};
use super::route::{Access, Route};
use super::routes::{ROOT, ROUTES};
use super::version;
use crate::clock::now;
use crate::manage::login::Visitor;
use crate::manage::{Act, Edited};

/// Time to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Answers one call. What is not open is not even said to exist before it is known who asks.
///
/// # Errors
/// Whatever keeps it from having a result.
pub(super) async fn call(
    admin: &Arc<Admin>,
    audience: Audience,
    from: IpAddr,
    request_id: RequestId,
    parts: Parts,
    body: &mut Incoming,
) -> Result<Answer, Problem> {
    let path = parts.uri.path().strip_prefix(ROOT).ok_or_else(Problem::not_found)?;
    let found = find(audience, &parts.method, path);
    let actor = match &found {
        Ok((route, _)) if route.access == Access::Anyone => Actor::Nobody,
        _ => actor(admin, audience, &parts.headers).await?,
    };
    let (route, params) = found?;
    let_in(route.access, &actor)?;
    let body = match (route.shape.body)(&mut schemars::SchemaGenerator::default()) {
        Some(_) => read(body, route.body_bytes_max).await?,
        None => Bytes::new(),
    };
    let edited = version::edited(route, &params);
    let expected = match &edited {
        Some(edited) if route.action.is_some() => version::expected(edited, &parts.headers)?,
        _ => None,
    };
    let act = Act::expecting(actor.name(), Some(request_id), Some(from), expected);
    let management = admin.logins.management().acting(Arc::clone(&act));
    let target = parts.uri.path_and_query().map_or(path, |target| target.as_str());
    let once = match route.creates {
        true => Once::named(&management, admin.boot, &parts.headers, &parts.method, target, &body)?,
        false => None,
    };
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let headers = parts.headers;
    let caller = Caller { admin: Arc::clone(admin), audience, management, actor, from, query, headers };
    // In a task of its own: a caller who leaves must not stop a change halfway.
    let made = async move {
        let Some(once) = once else { return shown(route, caller, (params, body), edited, &act).await };
        match once.begin().await? {
            Turn::Made(answer) => Ok(answer),
            Turn::Make(once) => once.end(made(route, caller, params, body, &act).await).await,
        }
    };
    tokio::spawn(made).await.unwrap_or_else(|_| Err(Problem::internal()))
}

/// Runs the handler, and says which version its answer shows. That is looked for before the answer is made: what comes
/// between is seen as a change.
async fn shown(
    route: &Route,
    caller: Caller,
    (params, body): (Vec<String>, Bytes),
    edited: Option<Edited>,
    act: &Act,
) -> Result<Answer, Problem> {
    let version = match &edited {
        Some(edited) if route.action.is_none() => caller.management.version(edited).await?,
        _ => 0,
    };
    let mut answer = made(route, caller, params, body, act).await?;
    if edited.is_some() && answer.status() == StatusCode::OK {
        version::tell(&mut answer, version.max(act.version()));
    }
    Ok(answer)
}

/// Runs the handler, and notes a change that the store has not noted with it.
async fn made(
    route: &Route,
    caller: Caller,
    params: Vec<String>,
    body: Bytes,
    act: &Act,
) -> Result<Answer, Problem> {
    let management = caller.management.clone();
    let target = params.first().cloned();
    let answer = route.run(caller, params, body).await?;
    let Some(action) = route.action.filter(|_| !act.is_noted()) else { return Ok(answer) };
    let (answer, made) = if route.creates { made_id(answer).await? } else { (answer, None) };
    management.note(action, made.or(target).unwrap_or_default(), Value::Null).await?;
    Ok(answer)
}

/// The `id` in an answer, and the answer.
async fn made_id(answer: Answer) -> Result<(Answer, Option<String>), Problem> {
    #[derive(serde::Deserialize)]
    struct Made {
        id: String,
    }
    let (parts, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    let id = serde_json::from_slice(&body).ok().map(|made: Made| made.id);
    let whole = bytes(parts.status, "application/json", body);
    Ok((Answer::from_parts(parts, whole.into_body()), id))
}

/// The row of a path and method, with what the path says for its parameters.
fn find(audience: Audience, method: &Method, path: &str) -> Result<(&'static Route, Vec<String>), Problem> {
    let mut others = BTreeSet::new();
    // Of an admin's rows there is nothing where users are.
    let there = |route: &&Route| audience == Audience::Operators || route.access != Access::Admin;
    for route in ROUTES.iter().filter(there) {
        match route.matches(path) {
            Some(params) if route.method == *method => return Ok((route, params)),
            Some(_) => others.insert(route.method.as_str()),
            None => continue,
        };
    }
    if others.is_empty() {
        return Err(Problem::not_found());
    }
    Err(Problem::method_not_allowed(&Vec::from_iter(others).join(", ")))
}

/// Who asks: the admin secret or an access token says it.
async fn actor(admin: &Admin, audience: Audience, headers: &HeaderMap) -> Result<Actor, Problem> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        given.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(Problem::unauthorized)?.trim();
    let secret: bool = Sha256::digest(token.as_bytes()).as_slice().ct_eq(&admin.secret).into();
    if secret && audience == Audience::Operators {
        return Ok(Actor::Operator);
    }
    let visitor = admin.logins.visitor(token, now()).await?;
    let visitor = visitor.ok_or_else(Problem::unauthorized)?;
    Ok(Actor::Visitor(Visitor { user: audience.sees(&visitor.user), ..visitor }))
}

/// Whether a row lets someone in. Whose a thing is, its handler asks.
fn let_in(access: Access, actor: &Actor) -> Result<(), Problem> {
    match access {
        Access::Anyone | Access::Owner => Ok(()),
        Access::Me => actor.visitor().map(drop),
        Access::Admin if actor.is_admin() => Ok(()),
        Access::Admin => Err(Problem::forbidden()),
    }
}

/// Collects a body of bounded size and slowness.
async fn read(body: &mut Incoming, bytes_max: usize) -> Result<Bytes, Problem> {
    match timeout(BODY_PATIENCE, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) => Err(Problem::too_large()),
        Err(_) => Err(Problem::bad_request("The body did not arrive in time.")),
    }
}
