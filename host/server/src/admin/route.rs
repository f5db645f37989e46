//! What a row of the table is: everything that is to know about one route, and the handler behind it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::{Method, StatusCode};
use schemars::{Schema, SchemaGenerator};

use super::answer::Answer;
use super::ask::{Ask, Body, Caller, Path, Query};
use super::error::Problem;
use super::reply::Reply;

/// Bytes of a body, unless a row says otherwise.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the listener.
    Anyone,
    /// A user who has logged in, about themselves. The admin secret belongs to no user, so it is refused here.
    Me,
    /// A user for what is theirs, an admin for everyone's. What is somebody else's is not there: 404.
    Owner,
    /// An admin, or someone with the admin secret.
    Admin,
}

impl Access {
    /// The name in the OpenAPI document, as `x-access`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Me => "me",
            Self::Owner => "owner",
            Self::Admin => "admin",
        }
    }
}

/// One route of the management API.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) access: Access,
    /// Below `/management/v1`; a segment in braces is a parameter.
    pub(super) path: &'static str,
    /// One sentence for the document.
    pub(super) summary: &'static str,
    /// Whether a call makes something, so that it answers 201 and takes an `Idempotency-Key`.
    pub(super) creates: bool,
    /// The name in the audit log; none for a route that changes nothing.
    pub(super) action: Option<&'static str>,
    /// The path that takes the place of this one, which still works for a version.
    pub(super) replaced_by: Option<&'static str>,
    pub(super) body_bytes_max: usize,
    pub(super) shape: Shape,
    run: Run,
}

/// The types of a handler, as the document shows them.
pub(super) struct Shape {
    pub(super) params: Vec<Schema>,
    pub(super) query: fn(&mut SchemaGenerator) -> Option<Schema>,
    pub(super) body: fn(&mut SchemaGenerator) -> Option<Schema>,
    pub(super) reply: fn(&mut SchemaGenerator) -> Option<(&'static str, Schema)>,
}

type Running = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;
type Run = Box<dyn Fn(Caller, Vec<String>, Bytes) -> Running + Send + Sync>;

/// A row: what stands in it, and what follows from the types of its handler.
pub(super) fn route<P, Q, B, R, F>(
    method: Method,
    access: Access,
    path: &'static str,
    handler: impl Fn(Ask<P, Q, B>) -> F + Copy + Send + Sync + 'static,
    summary: &'static str,
) -> Route
where
    P: Path,
    Q: Query,
    B: Body,
    R: Reply,
    F: Future<Output = Result<R, Problem>> + Send + 'static,
{
    let run: Run = Box::new(move |caller, params, body| {
        Box::pin(async move {
            let path = P::read(&params).ok_or_else(Problem::not_found)?;
            let query = Q::read(&caller.query)?;
            let body = B::read(&body)?;
            handler(Ask { caller, path, query, body }).await?.answer()
        })
    });
    let shape = Shape { params: P::schemas(), query: Q::schema, body: B::schema, reply: R::schema };
    let (creates, action, body_bytes_max) = (false, None, BODY_BYTES_MAX);
    Route { method, access, path, summary, creates, action, replaced_by: None, body_bytes_max, shape, run }
}

impl Route {
    /// The route makes something: 201, and an `Idempotency-Key` makes a second call harmless. `action` is what the
    /// audit log calls it.
    pub(super) fn creates(self, action: &'static str) -> Self {
        Self { creates: true, action: Some(action), ..self }
    }

    /// The route changes something. `action` is what the audit log calls it.
    pub(super) fn changes(self, action: &'static str) -> Self {
        Self { action: Some(action), ..self }
    }

    /// The route is an old name: it works as `path` does, is deprecated in the document, and a call of it is logged.
    pub(super) fn replaced_by(self, path: &'static str) -> Self {
        Self { replaced_by: Some(path), ..self }
    }

    /// Takes longer bodies than the others.
    #[expect(dead_code, reason = "for routes that take files")]
    pub(super) fn body_bytes_max(self, bytes: usize) -> Self {
        Self { body_bytes_max: bytes, ..self }
    }

    /// What a call answers that went well.
    pub(super) fn success(&self) -> StatusCode {
        match (self.shape.reply)(&mut SchemaGenerator::default()) {
            None => StatusCode::NO_CONTENT,
            Some(_) if self.creates => StatusCode::CREATED,
            Some(_) => StatusCode::OK,
        }
    }

    /// The names of the path's parameters, in order.
    pub(super) fn params(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(param)
    }

    /// What a path says for the parameters, if it is one of this route.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<String>> {
        let mut params = Vec::new();
        let mut given = path.split('/');
        for expected in self.path.split('/') {
            match (given.next()?, param(expected)) {
                ("", Some(_)) => return None,
                (segment, Some(_)) => params.push(decoded(segment)?),
                (segment, None) if segment == expected => {}
                _ => return None,
            }
        }
        given.next().is_none().then_some(params)
    }

    /// Calls the handler.
    pub(super) async fn run(
        &self,
        caller: Caller,
        params: Vec<String>,
        body: Bytes,
    ) -> Result<Answer, Problem> {
        if let Some(path) = self.replaced_by {
            tracing::warn!(
                path = self.path,
                instead = path,
                "a call by an old path, which goes with the next version"
            );
        }
        let mut answer = (self.run)(caller, params, body).await?;
        if self.creates && answer.status() == StatusCode::OK {
            *answer.status_mut() = StatusCode::CREATED;
        }
        Ok(answer)
    }
}

/// The name of a segment that is a parameter.
fn param(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// A segment with its percent escapes decoded; none when that is no text.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Access, Route, route};
    use crate::admin::ask::{Ask, Nothing};
    use crate::admin::error::Problem;

    async fn echo(ask: Ask<(String, String)>) -> Result<Nothing, Problem> {
        drop(ask.path);
        Ok(Nothing)
    }

    fn row() -> Route {
        route(Method::GET, Access::Admin, "/a/{b}/c/{d}", echo, "Nothing.")
    }

    #[test]
    fn a_path_matches_segment_by_segment_and_gives_its_parameters() {
        let check = |path: &str, expected: Option<&[&str]>| {
            let found = row().matches(path);
            let found = found.as_ref().map(|params| params.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.as_deref(), expected, "{path}");
        };
        check("/a/1/c/2", Some(&["1", "2"]));
        check("/a/x%2Fy/c/%C3%A9", Some(&["x/y", "é"]));
        for other in
            ["/a/1/c", "/a/1/c/2/", "/a/1/c/2/e", "/a//c/2", "/a/1/c/", "/b/1/c/2", "a/1/c/2", "/a/1/c/%FF"]
        {
            check(other, None);
        }
        assert_eq!(row().params().collect::<Vec<_>>(), ["b", "d"]);
    }
}
