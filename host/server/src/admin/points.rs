//! Points over HTTP: what management puts on accounts, what users redeem, and their statements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::id::{BatchId, RequestId, UserId};
use tollgate_core::points::Micropoints;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;

use super::ask::{Ask, Nothing, Page, window};
use super::error::Problem;
use crate::manage::{CodeBatch, CodeOrder, Granted, StatementLine};

/// Points to give.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"points": "12.5", "reason": "welcome"}))]
pub(super) struct Gift {
    /// How many, as a decimal number with at most six places.
    points: String,
    /// Why, for the user's statement.
    reason: String,
}

/// A payment to book.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"points": "5000", "reference": "invoice-17"}))]
pub(super) struct Payment {
    /// How many points it is for.
    points: String,
    /// The payment's own number: the same payment is booked once.
    reference: String,
    /// Why, for the user's statement.
    #[serde(default)]
    reason: Option<String>,
}

/// What to give back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"reason": "the answer was cut"}))]
pub(super) struct Return {
    /// How many points; all that are left without it.
    points: Option<String>,
    /// Why, for the user's statement.
    reason: String,
    /// What makes it happen once: a second refund of the request under the same key is the first one.
    key: Option<String>,
}

/// A code to redeem. There is no `Debug`: it is worth points.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"code": "tgc_0123456789abcdefghijklmnopqr"}))]
pub(super) struct Token {
    /// The code.
    code: String,
}

/// Points that are on an account.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Booked {
    /// The movement in the ledger.
    transfer: String,
    /// How many points.
    points: String,
    /// Whether this had been booked before, and nothing was done now.
    repeated: bool,
}

/// Codes to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"label": "spring", "points": "10", "count": 2}))]
pub(super) struct NewCodes {
    /// What they are for; stands in the statements of those who redeem them.
    label: String,
    /// What each is worth.
    points: String,
    /// How many: 1 to 10,000.
    count: usize,
    /// How many users may redeem each, 1 without it; a user redeems a code once.
    #[serde(default = "once")]
    uses_max: u32,
    /// Until when.
    expires_at_ms: Option<u64>,
}

const fn once() -> u32 {
    1
}

/// Codes that have just been made. There is no `Debug`: they are worth points.
#[derive(Serialize, JsonSchema)]
pub(super) struct FreshCodes {
    /// The batch.
    id: String,
    /// The codes themselves: all there will ever be of them.
    codes: Vec<String>,
}

/// A batch of codes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Batch {
    id: String,
    label: String,
    /// What each code is worth.
    points: String,
    /// How many codes it has.
    codes: u64,
    /// How many users may redeem each.
    uses_max: u32,
    /// How often they were redeemed.
    redeemed: u64,
    /// Whether they are taken.
    enabled: bool,
    expires_at_ms: Option<u64>,
    created_at_ms: u64,
}

/// What is to change of a batch.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"enabled": false}))]
pub(super) struct BatchPatch {
    /// Whether its codes are taken.
    enabled: bool,
}

/// Which batches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// Whose movements.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
    /// Another user's id, for an admin; one's own without it.
    user: Option<String>,
}

/// A movement on an account.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Movement {
    /// Its id.
    id: String,
    /// Its place in the ledger.
    seq: i64,
    /// `charge`, `grant`, `top-up`, `code`, `refund`, `reward` or `other`.
    kind: &'static str,
    /// Points: below 0 where they were taken.
    points: String,
    /// The request that was charged or refunded.
    request: Option<String>,
    /// Why management booked it.
    reason: Option<String>,
    at_ms: u64,
}

/// `POST /management/v1/users/{user}/grants`
pub(super) async fn grant(ask: Ask<UserId, Nothing, Gift>) -> Result<Booked, Problem> {
    let (caller, gift) = (&ask.caller, ask.body);
    let points = points(&gift.points)?;
    let booked = caller.management.grant(ask.path, points, &gift.reason).await?;
    Ok(shown(&booked))
}

/// `POST /management/v1/users/{user}/top-ups`
pub(super) async fn top_up(ask: Ask<UserId, Nothing, Payment>) -> Result<Booked, Problem> {
    let (caller, payment) = (&ask.caller, ask.body);
    let amount = points(&payment.points)?;
    let reason = payment.reason.as_deref().unwrap_or("top-up");
    let booked = caller.management.top_up(ask.path, amount, &payment.reference, reason).await?;
    Ok(shown(&booked))
}

/// `POST /management/v1/requests/{request}/refund`
pub(super) async fn refund(ask: Ask<RequestId, Nothing, Return>) -> Result<Booked, Problem> {
    let (caller, body) = (&ask.caller, ask.body);
    let amount = body.points.as_deref().map(points).transpose()?;
    let booked = caller.management.refund(ask.path, amount, &body.reason, body.key.as_deref()).await?;
    Ok(shown(&booked))
}

/// `POST /management/v1/redeem`
pub(super) async fn redeem(ask: Ask<Nothing, Nothing, Token>) -> Result<Booked, Problem> {
    let user = ask.caller.actor.visitor()?.user.id;
    Ok(shown(&ask.caller.management.redeem_code(user, &Secret::new(ask.body.code)).await?))
}

/// `GET /management/v1/transfers`
pub(super) async fn statement(ask: Ask<Nothing, Whose>) -> Result<Page<Movement>, Problem> {
    let (caller, query) = (&ask.caller, ask.query);
    let window = window(query.cursor.as_deref(), query.limit)?;
    let user = match query.user.as_deref().map(str::parse::<UserId>) {
        Some(Ok(user)) if caller.actor.may_see(user) => user,
        Some(_) => return Err(Problem::not_found()),
        None => {
            let own = caller.actor.user().map(|user| user.id);
            own.ok_or_else(|| Problem::bad_request("`user` says whose movements are asked for."))?
        }
    };
    Ok(Page::shown(caller.management.statement(user, window).await?, movement))
}

/// `GET /management/v1/codes`
pub(super) async fn list(ask: Ask<Nothing, Which>) -> Result<Page<Batch>, Problem> {
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    Ok(Page::shown(ask.caller.management.code_batches(window).await?, batch))
}

/// `POST /management/v1/codes`
pub(super) async fn create(ask: Ask<Nothing, Nothing, NewCodes>) -> Result<FreshCodes, Problem> {
    let (caller, new) = (&ask.caller, ask.body);
    let order = CodeOrder {
        label: new.label,
        count: new.count,
        points: points(&new.points)?,
        uses_max: new.uses_max,
        expires_at: new.expires_at_ms.map(Timestamp::from_millis),
    };
    let (id, codes) = caller.management.create_codes(&order).await?;
    let codes = codes.iter().map(|code| code.expose().to_owned()).collect();
    Ok(FreshCodes { id: id.to_string(), codes })
}

/// `PATCH /management/v1/codes/{batch}`
pub(super) async fn change(ask: Ask<BatchId, Nothing, BatchPatch>) -> Result<Batch, Problem> {
    let management = &ask.caller.management;
    management.set_codes_enabled(ask.path, ask.body.enabled).await?;
    Ok(batch(management.code_batch(ask.path).await?))
}

/// Reads an amount.
fn points(text: &str) -> Result<Micropoints, Problem> {
    let read = Micropoints::parse_points(text).filter(|points| *points > Micropoints::ZERO);
    let words = "points are a decimal number above 0, with at most six places";
    read.ok_or_else(|| Problem::bad_request(words))
}

fn shown(booked: &Granted) -> Booked {
    Booked {
        transfer: booked.transfer.to_string(),
        points: booked.amount.to_string(),
        repeated: booked.repeated,
    }
}

fn movement(line: StatementLine) -> Movement {
    Movement {
        id: line.transfer.to_string(),
        seq: line.seq,
        kind: line.kind,
        points: line.amount.to_string(),
        request: line.request.map(|request| request.to_string()),
        reason: line.reason,
        at_ms: line.at.millis(),
    }
}

fn batch(batch: CodeBatch) -> Batch {
    Batch {
        id: batch.id.to_string(),
        label: batch.label,
        points: batch.points.to_string(),
        codes: batch.codes,
        uses_max: batch.uses_max,
        redeemed: batch.redeemed,
        enabled: batch.disabled_at.is_none(),
        expires_at_ms: batch.expires_at.map(Timestamp::millis),
        created_at_ms: batch.created_at.millis(),
    }
}
