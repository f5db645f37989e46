//! What a handler is asked: who calls, and the typed parts of the call. A part that a route does not have is
//! [`Nothing`].

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tollgate_core::id::{ApiKeyId, BatchId, CredentialId, RequestId, TransferId, UserId};
use tollgate_core::role::Role;

use super::Admin;
use super::audience::Audience;
use super::error::Problem;
use super::schema::schema;
use crate::manage::login::{User, Visitor};
use crate::manage::{self, LogReader, ManageError, Management, Window};

/// No parameters, no query, no body, or no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nothing;

/// One call: `P` are the parameters of its path, `Q` its query, `B` its body.
pub(super) struct Ask<P = Nothing, Q = Nothing, B = Nothing> {
    pub(super) caller: Caller,
    pub(super) path: P,
    pub(super) query: Q,
    pub(super) body: B,
}

/// Who calls, and what of the gateway a handler works with.
pub(super) struct Caller {
    pub(super) admin: Arc<Admin>,
    /// Whom the listener is for.
    pub(super) audience: Audience,
    /// What is changed through it is put down to the caller.
    pub(super) management: Management,
    pub(super) actor: Actor,
    /// Where the call came from.
    pub(super) from: IpAddr,
    /// The query as it came.
    pub(super) query: String,
    /// The headers of the call.
    pub(super) headers: HeaderMap,
}

/// Who calls the management API.
#[derive(Debug, Clone)]
pub(super) enum Actor {
    /// Someone who has not said.
    Nobody,
    /// Someone with the admin secret.
    Operator,
    /// Someone who has logged in.
    Visitor(Visitor),
}

impl Actor {
    /// Whether everyone's things are this caller's to see and change.
    pub(super) fn is_admin(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Operator => true,
            Self::Visitor(visitor) => visitor.user.role == Role::Admin,
        }
    }

    /// Whether a user's things are this caller's to see and change.
    pub(super) fn may_see(&self, owner: UserId) -> bool {
        self.is_admin() || self.user().is_some_and(|user| user.id == owner)
    }

    /// Whose things this caller's lists are of: `None` is everyone's, which an admin sees.
    ///
    /// # Errors
    /// For somebody who has not said who they are: 401.
    pub(super) fn scope(&self) -> Result<Option<UserId>, Problem> {
        if self.is_admin() {
            return Ok(None);
        }
        self.user().map(|user| Some(user.id)).ok_or_else(Problem::unauthorized)
    }

    /// A thing, where it is there and its owner's things are this caller's to see. What is somebody else's is answered
    /// in the same words as what is not there.
    ///
    /// # Errors
    /// 404, and 500 where it could not be looked for.
    pub(super) fn own<T>(
        &self,
        found: Result<T, ManageError>,
        owner: impl FnOnce(&T) -> UserId,
    ) -> Result<T, Problem> {
        match found {
            Ok(thing) if self.may_see(owner(&thing)) => Ok(thing),
            Ok(_) | Err(ManageError::NotFound { .. }) => Err(Problem::not_found()),
            Err(error) => Err(error.into()),
        }
    }

    /// Who reads the request log.
    ///
    /// # Errors
    /// For somebody who has not said who they are: 401.
    pub(super) fn reader(&self) -> Result<LogReader, Problem> {
        Ok(self.scope()?.map_or(LogReader::Operator, LogReader::User))
    }

    /// The name in the audit log.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Nobody => "nobody".to_owned(),
            Self::Operator => "operator".to_owned(),
            Self::Visitor(visitor) => visitor.user.id.to_string(),
        }
    }

    /// The user who has logged in.
    pub(super) fn user(&self) -> Option<&User> {
        match self {
            Self::Visitor(visitor) => Some(&visitor.user),
            Self::Nobody | Self::Operator => None,
        }
    }

    /// The login. Routes for [`Access::Me`](super::route::Access) have one.
    ///
    /// # Errors
    /// Without one: 403.
    pub(super) fn visitor(&self) -> Result<&Visitor, Problem> {
        match self {
            Self::Visitor(visitor) => Ok(visitor),
            Self::Nobody | Self::Operator => Err(Problem::no_user()),
        }
    }
}

/// The parameters of a path.
pub(super) trait Path: Sized + Send + 'static {
    /// Reads them; `None` when there cannot be such a thing, which is answered as if it were not there.
    fn read(params: &[String]) -> Option<Self>;
    /// What they look like, in order.
    fn schemas() -> Vec<Schema>;
}

/// One parameter of a path.
pub(super) trait Param: FromStr + Send + 'static {
    /// What it looks like.
    fn schema() -> Schema;
}

impl Path for Nothing {
    fn read(params: &[String]) -> Option<Self> {
        params.is_empty().then_some(Self)
    }

    fn schemas() -> Vec<Schema> {
        Vec::new()
    }
}

impl<T: Param> Path for T {
    fn read(params: &[String]) -> Option<Self> {
        let [one] = params else { return None };
        one.parse().ok()
    }

    fn schemas() -> Vec<Schema> {
        vec![T::schema()]
    }
}

impl<T: Param, U: Param> Path for (T, U) {
    fn read(params: &[String]) -> Option<Self> {
        let [one, other] = params else { return None };
        Some((one.parse().ok()?, other.parse().ok()?))
    }

    fn schemas() -> Vec<Schema> {
        vec![T::schema(), U::schema()]
    }
}

macro_rules! ids {
    ($($id:ty),*) => {$(
        impl Param for $id {
            fn schema() -> Schema {
                json_schema!({"type": "string", "format": "uuid"})
            }
        }
    )*};
}

ids!(ApiKeyId, BatchId, CredentialId, RequestId, TransferId, UserId);

impl Param for String {
    fn schema() -> Schema {
        json_schema!({"type": "string"})
    }
}

impl Param for u64 {
    fn schema() -> Schema {
        json_schema!({"type": "integer", "minimum": 0})
    }
}

/// What follows the question mark. Lists take `cursor` and `limit`.
pub(super) trait Query: Sized + Send + 'static {
    /// Reads it.
    ///
    /// # Errors
    /// 400 for a member that is not known or not readable.
    fn read(query: &str) -> Result<Self, Problem>;
    /// Its members, as those of an object.
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

impl Query for Nothing {
    fn read(_: &str) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Query for T {
    fn read(query: &str) -> Result<Self, Problem> {
        serde_html_form::from_str(query)
            .map_err(|error| Problem::bad_request(format!("The query is not what this path takes: {error}.")))
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(generator.root_schema_for::<T>())
    }
}

/// A body in JSON.
pub(super) trait Body: Sized + Send + 'static {
    /// Reads it. What is wrong with it is said without quoting it: it may hold a password.
    ///
    /// # Errors
    /// 400.
    fn read(body: &[u8]) -> Result<Self, Problem>;
    /// What it looks like; none where no body is read.
    fn schema(generator: &mut SchemaGenerator) -> Option<Schema>;
}

impl Body for Nothing {
    fn read(_: &[u8]) -> Result<Self, Problem> {
        Ok(Self)
    }

    fn schema(_: &mut SchemaGenerator) -> Option<Schema> {
        None
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Body for T {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::bad_request(format!(
                "The body is not what this path takes (line {line}, column {column})."
            ))
        })
    }

    fn schema(generator: &mut SchemaGenerator) -> Option<Schema> {
        Some(schema::<T>(generator))
    }
}

/// Entries of a page, unless the caller asks for fewer.
pub(super) const PAGE: usize = 100;

/// The page of a list that a caller asks for: `cursor` is the `next_cursor` of the page before.
///
/// # Errors
/// 400 for a cursor that is none, and for no entries or too many.
pub(super) fn window<I: FromStr>(cursor: Option<&str>, limit: Option<usize>) -> Result<Window<I>, Problem> {
    let after = cursor.map(str::parse).transpose();
    let after = after.map_err(|_| Problem::bad_request("The cursor is not one."))?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is a number between 1 and {PAGE}.")));
    }
    Ok(Window { after, limit })
}

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct Page<T> {
    /// The entries.
    pub(super) data: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    pub(super) next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page as it is shown.
    pub(super) fn shown<U, I: ToString>(page: manage::Page<U, I>, shown: impl FnMut(U) -> T) -> Self {
        let next_cursor = page.next.map(|next| next.to_string());
        Self { data: page.rows.into_iter().map(shown).collect(), next_cursor }
    }
}
