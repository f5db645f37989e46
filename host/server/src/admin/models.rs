//! Model routes over HTTP: who serves which model. Those of the configuration file are shown, and changed there.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::id::RouteId;

use super::Admin;
use super::ask::{Ask, Nothing, Page, Param, window};
use super::error::Problem;
use crate::config::Model;
use crate::manage::{self, ManageError, Management, RouteRow, Window};

/// Which routes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhichRoutes {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// Who serves a model.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"name": "fast", "aliases": ["quick"], "targets": [
    {"provider": "openai", "model": "gpt-4o-mini", "weight": 300},
    {"provider": "google", "model": "gemini-2.5-flash", "priority": 1},
]}))]
pub(super) struct NewRoute {
    /// What clients call the model; each `*` stands for any characters.
    name: String,
    /// What they may call it as well.
    #[serde(default)]
    aliases: Vec<String>,
    /// Who serves it, one at least.
    targets: Vec<RouteTarget>,
    /// Models that are tried when every target has failed before the first byte of an answer.
    #[serde(default)]
    fallbacks: Vec<String>,
}

/// What is to change of a route: what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"fallbacks": ["gpt-4o"]}))]
pub(super) struct RoutePatch {
    /// What clients call the model.
    name: Option<String>,
    /// What they may call it as well, as a whole.
    aliases: Option<Vec<String>>,
    /// Who serves it, as a whole.
    targets: Option<Vec<RouteTarget>>,
    /// Models that stand in, as a whole.
    fallbacks: Option<Vec<String>>,
}

/// One who serves a model.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteTarget {
    /// Name of a configured provider.
    provider: String,
    /// What that calls the model; the client's name without it. A `*` is what the star of the client's name stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Where the provider is for this model, in place of its own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    /// Platform credentials, by id or label, that serve this target and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<String>,
    /// Share of the requests among targets of one priority: 1 to 1000.
    #[serde(default = "usual_weight")]
    weight: u32,
    /// Lower ones are tried first.
    #[serde(default)]
    priority: u32,
}

const fn usual_weight() -> u32 {
    100
}

/// A route as it is in force.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Route {
    /// Its id; `file-` and a number for one of the configuration file, which counts before all others.
    id: String,
    /// `file` or `database`.
    source: &'static str,
    /// What clients call the model.
    name: String,
    /// What they may call it as well.
    aliases: Vec<String>,
    /// Who serves it.
    targets: Vec<RouteTarget>,
    /// Models that stand in.
    fallbacks: Vec<String>,
    /// When it was made; null for one of the file.
    created_at_ms: Option<u64>,
    /// When it was last changed; null for one of the file.
    updated_at_ms: Option<u64>,
}

/// Which route: in the order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RoutePlace {
    File(usize),
    Stored(RouteId),
}

impl FromStr for RoutePlace {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let file = text.strip_prefix("file-").and_then(|number| number.parse().ok()).map(Self::File);
        file.or_else(|| text.parse().ok().map(Self::Stored)).ok_or_else(Problem::not_found)
    }
}

impl fmt::Display for RoutePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(number) => write!(f, "file-{number}"),
            Self::Stored(id) => id.fmt(f),
        }
    }
}

impl Param for RoutePlace {
    fn schema() -> Schema {
        json_schema!({"type": "string", "description": "An id of the list."})
    }
}

/// `GET /management/v1/models/routes`
pub(super) async fn list(ask: Ask<Nothing, WhichRoutes>) -> Result<Page<Route>, Problem> {
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let page = in_force(&ask.caller.admin, &ask.caller.management, window).await?;
    Ok(Page::shown(page, |route| route))
}

/// `GET /management/v1/models/routes/{route}`
pub(super) async fn show(ask: Ask<RoutePlace>) -> Result<Route, Problem> {
    find(&ask.caller.admin, &ask.caller.management, ask.path).await
}

/// `POST /management/v1/models/routes`
pub(super) async fn create(ask: Ask<Nothing, Nothing, NewRoute>) -> Result<Route, Problem> {
    let model = checked(&ask.caller.admin, &ask.body)?;
    let id = ask.caller.management.add_route(&model).await?;
    find(&ask.caller.admin, &ask.caller.management, RoutePlace::Stored(id)).await
}

/// `PATCH /management/v1/models/routes/{route}`
pub(super) async fn change(ask: Ask<RoutePlace, Nothing, RoutePatch>) -> Result<Route, Problem> {
    let (admin, management) = (&ask.caller.admin, &ask.caller.management);
    let id = stored(ask.path)?;
    let now = find(admin, management, ask.path).await?;
    let RoutePatch { name, aliases, targets, fallbacks } = ask.body;
    let changed = NewRoute {
        name: name.unwrap_or(now.name),
        aliases: aliases.unwrap_or(now.aliases),
        targets: targets.unwrap_or(now.targets),
        fallbacks: fallbacks.unwrap_or(now.fallbacks),
    };
    let model = checked(admin, &changed)?;
    management.change_route(id, &model).await?;
    find(admin, management, ask.path).await
}

/// `DELETE /management/v1/models/routes/{route}`
pub(super) async fn remove(ask: Ask<RoutePlace>) -> Result<Nothing, Problem> {
    ask.caller.management.remove_route(stored(ask.path)?).await?;
    Ok(Nothing)
}

/// The id of a route that can be changed here.
fn stored(place: RoutePlace) -> Result<RouteId, Problem> {
    match place {
        RoutePlace::Stored(id) => Ok(id),
        RoutePlace::File(_) => {
            Err(Problem::refused("This route stands in the configuration file, and is changed there."))
        }
    }
}

/// A route that can be meant, by providers that are there, under names that no entry of the file takes first.
fn checked(admin: &Admin, route: &NewRoute) -> Result<Model, Problem> {
    let entry = serde_json::to_value(route).map_err(|error| Problem::failed(&error))?;
    let model: Model = serde_json::from_value(entry)
        .map_err(|error| Problem::bad_request(format!("The route cannot be meant: {error}.")))?;
    let upstreams = admin.shared.upstreams.load();
    if let Some(provider) = model.stranger(|name| upstreams.providers.contains_key(name)) {
        return Err(Problem::bad_request(format!("There is no provider `{provider}`.")));
    }
    if let Some((name, entry)) = model.names().find_map(|name| Some((name, upstreams.of_file(name)?))) {
        return Err(Problem::refused(format!(
            "`{name}` would never be used: the entry `{entry}` of the configuration file comes first."
        )));
    }
    Ok(model)
}

/// Routes of the configuration file after `after`.
fn of_file(admin: &Admin, after: Option<RoutePlace>) -> Vec<(RoutePlace, Route)> {
    let upstreams = admin.shared.upstreams.load();
    let places = upstreams.models.iter().zip(1..).map(|(model, at)| (RoutePlace::File(at), model));
    let rest = places.filter(|(place, _)| after.is_none_or(|after| *place > after));
    rest.map(|(place, model)| (place, shown(place, model, None))).collect()
}

/// Routes in force after `after`, those of the file first, at most `limit`.
async fn in_force(
    admin: &Admin,
    management: &Management,
    Window { after, limit }: Window<RoutePlace>,
) -> Result<manage::Page<Route, RoutePlace>, Problem> {
    let mut all = of_file(admin, after);
    let stored = after.and_then(|place| match place {
        RoutePlace::Stored(id) => Some(id),
        RoutePlace::File(_) => None,
    });
    // One more than there is room for says that the list goes on.
    let room = (limit + 1).saturating_sub(all.len());
    if room > 0 {
        let rows = management.routes(Window { after: stored, limit: room }).await?.rows;
        all.extend(rows.iter().map(|row| {
            let place = RoutePlace::Stored(row.id);
            (place, shown(place, &row.model, Some(row)))
        }));
    }
    Ok(manage::Page::new(all, limit, |(place, _)| *place).map(|(_, route)| route))
}

async fn find(admin: &Admin, management: &Management, place: RoutePlace) -> Result<Route, Problem> {
    let id = match place {
        RoutePlace::Stored(id) => id,
        RoutePlace::File(_) => {
            let found = of_file(admin, None).into_iter().find(|(known, _)| *known == place);
            return found.map(|(_, route)| route).ok_or_else(Problem::not_found);
        }
    };
    match management.route(id).await {
        Ok(row) => Ok(shown(place, &row.model, Some(&row))),
        Err(ManageError::NotFound { .. }) => Err(Problem::not_found()),
        Err(error) => Err(error.into()),
    }
}

fn shown(place: RoutePlace, model: &Model, row: Option<&RouteRow>) -> Route {
    let Model { name, aliases, targets, fallbacks } = model.clone();
    let target = |target: crate::config::Target| RouteTarget {
        provider: target.provider,
        model: target.model,
        base_url: target.base_url.map(String::from),
        credentials: target.credentials,
        weight: target.weight,
        priority: target.priority,
    };
    Route {
        id: place.to_string(),
        source: if row.is_some() { "database" } else { "file" },
        name,
        aliases,
        targets: targets.into_iter().map(target).collect(),
        fallbacks,
        created_at_ms: row.map(|row| row.created_at.millis()),
        updated_at_ms: row.map(|row| row.updated_at.millis()),
    }
}
