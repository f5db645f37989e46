//! Lending over HTTP: users lend their own credentials, take them back, and see what others used them for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_core::id::CredentialId;
use tollgate_core::lending::Terms;
use tollgate_core::limits::LIMIT_MAX;
use tollgate_core::protocol::Owner;

use super::ask::{Ask, Nothing, Page, window};
use super::credentials::{Credential, find, shown};
use super::error::Problem;
use crate::manage::{CONSENT_TEXT, CONSENT_VERSION};

/// What lending a credential means.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Lending {
    /// Whether the operator has switched lending on.
    enabled: bool,
    /// Version of the text, which whoever lends a credential names.
    consent: &'static str,
    /// What a lender agrees to.
    text: &'static str,
}

/// An agreement to lend a credential.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"consent": "1", "requests_per_day": 200}))]
pub(super) struct Share {
    /// Version of the text of `/lending` that is agreed to.
    consent: String,
    /// How often others may use the credential from midnight to midnight UTC.
    requests_per_day: u64,
}

/// Which uses.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Entries of a page: 1 to 100, which is the default.
    limit: Option<usize>,
}

/// One use of a lent credential by somebody else. Nothing in it says who.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Use {
    /// Tells uses apart.
    id: String,
    /// When.
    at_ms: u64,
    /// The model that was asked for.
    model: String,
    /// How the request ended; null where the use failed and another credential served, and while it is under way.
    outcome: Option<&'static str>,
    /// Prompt tokens.
    prompt_tokens: u64,
    /// Output tokens.
    output_tokens: u64,
    /// Points that the owner earned.
    earned: String,
}

/// `GET /management/v1/lending`, and `…/pool` until the next version.
pub(super) async fn show(ask: Ask) -> Result<Lending, Problem> {
    let enabled = ask.caller.management.lends();
    Ok(Lending { enabled, consent: CONSENT_VERSION, text: CONSENT_TEXT })
}

/// `POST /management/v1/credentials/{credential}/share`: nobody agrees for somebody else, so an admin cannot.
pub(super) async fn share(ask: Ask<CredentialId, Nothing, Share>) -> Result<Credential, Problem> {
    let caller = &ask.caller;
    let row = find(caller, ask.path).await?;
    let own = row.owner == Owner::User && row.user_id == caller.actor.user().map(|user| user.id);
    if !own {
        return Err(Problem::refused("A credential is lent by the user who owns it, and by nobody else."));
    }
    if !caller.management.lends() {
        return Err(Problem::refused("The operator has not switched lending on."));
    }
    let Share { consent, requests_per_day } = ask.body;
    if !(1..=LIMIT_MAX).contains(&requests_per_day) {
        return Err(Problem::bad_request(format!(
            "`requests_per_day` is a number between 1 and {LIMIT_MAX}."
        )));
    }
    let loan = caller.management.share_credential(row.id, requests_per_day, &consent).await?;
    let shared = &caller.admin.shared;
    if let Some(live) = shared.directory.load().live.get(&row.id) {
        // A smaller cap holds from now on. One that is lent for the first time serves once the directory has been read
        // anew.
        live.agree(Some(Terms { number: loan.number, requests_per_day }));
    }
    Ok(shown(shared, &find(caller, row.id).await?))
}

/// `DELETE /management/v1/credentials/{credential}/share`: the next request that is sent does not use it any more.
pub(super) async fn unshare(ask: Ask<CredentialId>) -> Result<Nothing, Problem> {
    let id = find(&ask.caller, ask.path).await?.id;
    if let Some(number) = ask.caller.management.unshare_credential(id).await?
        && let Some(live) = ask.caller.admin.shared.directory.load().live.get(&id)
    {
        live.withdraw(number);
    }
    Ok(Nothing)
}

/// `GET /management/v1/credentials/{credential}/uses`
pub(super) async fn uses(ask: Ask<CredentialId, Which>) -> Result<Page<Use>, Problem> {
    let id = find(&ask.caller, ask.path).await?.id;
    let window = window(ask.query.cursor.as_deref(), ask.query.limit)?;
    let page = ask.caller.management.credential_uses(id, window).await?;
    Ok(Page::shown(page, |used| Use {
        id: used.number.to_string(),
        at_ms: used.at.millis(),
        model: used.model,
        outcome: used.outcome.map(|outcome| outcome.name()),
        prompt_tokens: used.prompt_tokens,
        output_tokens: used.output_tokens,
        earned: used.earned.to_string(),
    }))
}
