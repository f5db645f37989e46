//! What was used: a user's own, and anyone's for an admin. By counters, so that a year costs what a day does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tollgate_core::id::{ApiKeyId, CredentialId, UserId};
use tollgate_core::time::Timestamp;

use super::ask::{Actor, Ask, Nothing};
use super::error::Problem;
use crate::manage::{Days, Management, Slice, Units, UsageCell, UsageCells, UsageOf, Used, Window};

/// Whose usage.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    /// A user's, by name or id. One's own without it; for an admin, everyone's.
    user: Option<String>,
    /// That of one API key, by its id.
    key: Option<String>,
    /// What a credential served, by its id. For admins.
    credential: Option<String>,
}

/// Whose usage, when, and what rows are grouped by.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    /// A user's, by name or id. One's own without it; for an admin, everyone's.
    user: Option<String>,
    /// That of one API key, by its id.
    key: Option<String>,
    /// What a credential served, by its id. For admins.
    credential: Option<String>,
    /// What rows are told apart by: `day`, which is the default, `month`, `model`, `key`, `hour`, `user` or
    /// `credential`, or two of them with a comma between, such as `day,model`.
    by: Option<String>,
    /// The first day (UTC), such as `2027-01-31`.
    from: Option<String>,
    /// The last day.
    until: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Rows of a page: 1 to 1000, which is the default.
    limit: Option<usize>,
}

/// What requests used.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Amounts {
    /// Requests, refused ones too.
    requests: u64,
    /// Those that ended otherwise than with a whole answer.
    failed: u64,
    #[serde(flatten)]
    units: Units,
    /// All tokens together.
    tokens: u64,
    /// What they cost.
    points: String,
    /// When the last request arrived.
    last_ms: Option<u64>,
}

/// What was used today, in this month, and since the beginning (UTC).
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Summary {
    /// Since midnight.
    today: Amounts,
    /// Since the first of the month.
    month: Amounts,
    /// Since the beginning.
    total: Amounts,
}

/// A row, by what it has of the slices.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Row {
    /// Which: `2027-01-31`, `2027-01-31T12`, `2027-01`, a model, or the id of a user, a key or a credential. Empty for
    /// requests that had none.
    name: String,
    /// What a user, a key or a credential is called, or was when it was removed.
    title: Option<String>,
    /// When an hour or a day began.
    at_ms: Option<u64>,
    /// What it has of the second slice.
    second: Option<Second>,
    #[serde(flatten)]
    used: Amounts,
}

/// What a row has of a second slice.
#[derive(Debug, Serialize, JsonSchema)]
struct Second {
    /// As of the first one.
    name: String,
    /// What a user, a key or a credential is called.
    title: Option<String>,
    /// When an hour or a day began.
    at_ms: Option<u64>,
}

/// What was used, row by row.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Rows {
    /// Rows in the order of their names; where nothing was used there is none.
    data: Vec<Row>,
    /// The `cursor` of the next page; null on the last one.
    next_cursor: Option<String>,
}

/// Rows of a page, unless the caller asks for fewer.
const ROWS: usize = 1000;
/// What a cursor begins with: the name of a row may be empty, and a cursor may not.
const CURSOR: char = '.';

impl From<&Used> for Amounts {
    fn from(used: &Used) -> Self {
        let usage = &used.usage;
        Self {
            requests: used.requests,
            failed: used.failed,
            units: Units(*usage),
            tokens: usage.prompt_total().saturating_add(usage.output_total()),
            points: used.charge.to_string(),
            last_ms: Some(used.last_at).filter(|_| used.requests > 0).map(Timestamp::millis),
        }
    }
}

/// `GET /management/v1/usage/summary`
pub(super) async fn summary(ask: Ask<Nothing, Whose>) -> Result<Summary, Problem> {
    let Whose { user, key, credential } = ask.query;
    let management = &ask.caller.management;
    let of = whose(management, &ask.caller.actor, user, key, credential).await?;
    let summary = management.usage_summary(of).await?;
    Ok(Summary {
        today: (&summary.today).into(),
        month: (&summary.month).into(),
        total: (&summary.total).into(),
    })
}

/// `GET /management/v1/usage`
pub(super) async fn rows(ask: Ask<Nothing, Range>) -> Result<Rows, Problem> {
    let Range { user, key, credential, by, from, until, cursor, limit } = ask.query;
    let management = &ask.caller.management;
    let of = whose(management, &ask.caller.actor, user, key, credential).await?;
    let days = Days::parse(from.as_deref(), until.as_deref()).map_err(Problem::bad_request)?;
    let by = by.as_deref().map_or(Ok(vec![Slice::Day]), Slice::parse).map_err(Problem::bad_request)?;
    let window = rows_after(cursor.as_deref(), limit)?;
    if let [by @ (Slice::Day | Slice::Month | Slice::Model | Slice::Key)] = *by {
        let page = management.usage(of, days, by, window).await?;
        let next_cursor = page.next.map(|name| format!("{CURSOR}{name}"));
        return Ok(Rows { data: page.rows.into_iter().map(simple).collect(), next_cursor });
    }
    let after = window.after.map(|after| after.parse()).transpose();
    let after = after.map_err(|_| Problem::bad_request("The cursor is not one."))?;
    let window = Window { after, limit: window.limit };
    let page = management.usage_table(of, days, &by, window, ask.caller.actor.reader()?).await?;
    let next_cursor = page.next.map(|offset| format!("{CURSOR}{offset}"));
    Ok(Rows { data: page.rows.into_iter().map(row).collect(), next_cursor })
}

fn simple((name, used): (String, Used)) -> Row {
    Row { name, title: None, at_ms: None, second: None, used: (&used).into() }
}

fn row(UsageCells { cells, used }: UsageCells) -> Row {
    let mut cells = cells.into_iter();
    let UsageCell { name, title, at } = cells.next().unwrap_or_default();
    let second = cells.next().map(|UsageCell { name, title, at }| Second {
        name,
        title,
        at_ms: at.map(Timestamp::millis),
    });
    Row { name, title, at_ms: at.map(Timestamp::millis), second, used: (&used).into() }
}

/// The rows that a caller asks for.
fn rows_after(cursor: Option<&str>, limit: Option<usize>) -> Result<Window<String>, Problem> {
    let after = match cursor.map(|cursor| cursor.strip_prefix(CURSOR)) {
        Some(None) => return Err(Problem::bad_request("The cursor is not one.")),
        Some(Some(name)) => Some(name.to_owned()),
        None => None,
    };
    let limit = limit.unwrap_or(ROWS);
    if !(1..=ROWS).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is a number between 1 and {ROWS}.")));
    }
    Ok(Window { after, limit })
}

/// Whose usage is asked for. What is somebody else's is not there.
async fn whose(
    management: &Management,
    actor: &Actor,
    user: Option<String>,
    key: Option<String>,
    credential: Option<String>,
) -> Result<UsageOf, Problem> {
    match (user, key, credential) {
        (None, None, None) => Ok(match actor.user() {
            Some(user) if !actor.is_admin() => UsageOf::User(user.id),
            _ => UsageOf::Everyone,
        }),
        (user, None, None) => Ok(UsageOf::User(named(management, actor, user.as_deref()).await?)),
        (None, Some(key), None) => {
            let key: ApiKeyId =
                key.parse().map_err(|_| Problem::bad_request("`key` is the id of an API key."))?;
            let found = actor.own(management.key(key).await, |key| key.user_id)?;
            Ok(UsageOf::Key(found.user_id, key))
        }
        (None, None, Some(credential)) => {
            let credential: CredentialId = credential
                .parse()
                .map_err(|_| Problem::bad_request("`credential` is the id of a credential."))?;
            if actor.is_admin() { Ok(UsageOf::Credential(credential)) } else { Err(Problem::not_found()) }
        }
        _ => Err(Problem::bad_request("Only one of `user`, `key` and `credential` can be given.")),
    }
}

/// A user whom the caller may ask about, by id or name; the caller without one.
pub(super) async fn named(
    management: &Management,
    actor: &Actor,
    user: Option<&str>,
) -> Result<UserId, Problem> {
    let own = actor.user();
    match user {
        None => own.map(|user| user.id).ok_or_else(Problem::no_user),
        Some(name) if own.is_some_and(|own| own.name == name) => named_own(actor),
        Some(name) if actor.is_admin() => Ok(management.find_user(name).await?),
        Some(name) => {
            let id = name.parse().ok().filter(|id| actor.may_see(*id));
            id.ok_or_else(Problem::not_found)
        }
    }
}

fn named_own(actor: &Actor) -> Result<UserId, Problem> {
    actor.user().map(|user| user.id).ok_or_else(Problem::no_user)
}
