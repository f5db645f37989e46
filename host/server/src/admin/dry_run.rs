//! A dry run: one request of an admin on the whole way of a call, with what each step decided.
//!
//! It is a real call, from the clients' listener to the provider and back, and it is paid: by the user
//! [`trace::ACCOUNT`](crate::state::trace::ACCOUNT), who is nobody, cannot call otherwise, and gets points from the
//! gateway as they are needed. So the ledger, the request log and the counters hold dry runs like any call, and nobody
//! is charged for one.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tollgate_core::id::{ApiKeyId, CredentialId};
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::Protocol;

use super::Admin;
use super::ask::{Ask, Nothing};
use super::error::Problem;
use crate::auth::keys;
use crate::manage::Management;
use crate::state::directory::Caller;
use crate::state::trace::{Step, TOKEN};

/// Longest dry run.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the request may take to settle after the answer's end.
const SETTLING: Duration = Duration::from_secs(5);
/// How long memory may take to learn of the account.
const LEARNING: Duration = Duration::from_secs(5);
/// Most of an answer that is shown, and most that is read.
const SHOWN_BYTES: usize = 16 * 1024;
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Bytes under way between the two ends of a dry run's connection.
const PIPE_BYTES: usize = 64 * 1024;
/// Below this the account gets points, and so many.
const POINTS_MIN: Micropoints = Micropoints::from_points(10_000);
const POINTS_MORE: Micropoints = Micropoints::from_points(100_000);

/// What to try.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(example = json!({"model": "gpt-4o-mini", "prompt": "Reply with one word."}))]
pub(super) struct DryRunOrder {
    /// The model, as a client names it.
    model: String,
    /// The wire format of the client: `openai-chat` without it.
    protocol: Option<String>,
    /// The only credential that may be asked, by its id. It must be one that could serve the call.
    credential: Option<String>,
    /// An API key in whose place the call is made, by its id: its limits apply, and its user's own credentials.
    key: Option<String>,
    /// What to ask the model.
    prompt: Option<String>,
    /// Whether the answer shall stream.
    #[serde(default)]
    stream: bool,
    /// The whole body, in place of one that is made of the prompt.
    body: Option<Value>,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DryRunReport {
    /// The call's id in the request log.
    request: Option<String>,
    /// The status that a client would have seen.
    status: u16,
    /// Until the answer had ended.
    took_ms: u64,
    /// The beginning of the answer.
    answer: String,
    /// What the steps of the request decided, in their order. A step that is not there was not reached.
    steps: Vec<DryRunStep>,
}

/// What a step decided.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct DryRunStep {
    /// Which step.
    step: &'static str,
    /// When it had decided, in microseconds since the dry run began.
    at_us: u64,
    /// Since the step before.
    took_us: u64,
    /// What it decided.
    detail: Value,
}

/// `POST /management/v1/proxy/test`
pub(super) async fn run(ask: Ask<Nothing, Nothing, DryRunOrder>) -> Result<DryRunReport, Problem> {
    let (admin, management, order) = (&ask.caller.admin, &ask.caller.management, ask.body);
    let protocol = match &order.protocol {
        None => Protocol::OpenaiChat,
        Some(name) => Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.name() == name)
            .ok_or_else(|| Problem::bad_request("The protocol is not known."))?,
    };
    let credential: Option<CredentialId> = read(order.credential.as_deref(), "credential")?;
    let stand_in: Option<ApiKeyId> = read(order.key.as_deref(), "key")?;
    let caller = caller(admin, management, stand_in, credential).await?;
    let token = keys::admin_secret().map_err(|_| Problem::internal())?.expose().to_owned();
    let request = request(&order, protocol, &token)?;
    let (notes, over) = admin.shared.dry_runs.announce(token.clone(), caller);
    let began = Instant::now();
    let told = timeout(PATIENCE, send(&admin.clients, request)).await;
    admin.shared.dry_runs.forget(&token);
    let (request, status, answer) = match told {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            return Err(Problem::refused(format!("The gateway did not answer itself: {error}.")));
        }
        Err(_) => return Err(Problem::refused("The dry run took too long.")),
    };
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Late or never, what is known by then is told.
    let _settled = timeout(SETTLING, over).await;
    Ok(DryRunReport { request, status, took_ms, answer, steps: steps(&notes.steps()) })
}

fn steps(steps: &[Step]) -> Vec<DryRunStep> {
    let before = std::iter::once(0).chain(steps.iter().map(|step| step.at_us));
    let step = |(step, before): (&Step, u64)| DryRunStep {
        step: step.name,
        at_us: step.at_us,
        took_us: step.at_us.saturating_sub(before),
        detail: step.detail.clone(),
    };
    steps.iter().zip(before).map(step).collect()
}

fn read<T: std::str::FromStr>(text: Option<&str>, name: &str) -> Result<Option<T>, Problem> {
    let read = text.map(str::parse).transpose();
    read.map_err(|_| Problem::bad_request(format!("`{name}` is an id.")))
}

/// Who calls: the dry runs' own account, with the limits and credentials of the key that it stands in for.
async fn caller(
    admin: &Admin,
    management: &Management,
    stand_in: Option<ApiKeyId>,
    restriction: Option<CredentialId>,
) -> Result<Arc<Caller>, Problem> {
    let (user, api_key) = management.trial_account().await?;
    let (began, mut topped_up) = (Instant::now(), false);
    while began.elapsed() < LEARNING {
        let directory = admin.shared.directory.load_full();
        if let Some(account) = directory.accounts.get(&user) {
            if account.available() >= POINTS_MIN {
                let other = stand_in.map(|key| {
                    let found = directory.callers.values().find(|caller| caller.api_key == key);
                    found.ok_or_else(Problem::not_found)
                });
                let other = other.transpose()?;
                let account = Arc::clone(account);
                return Ok(Arc::new(Caller::for_dry_run(user, api_key, account, other, restriction)));
            }
            if !topped_up {
                management.fund_trials(user, POINTS_MORE).await?;
                topped_up = true;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(Problem::internal())
}

/// What a client of this protocol would send.
fn request(order: &DryRunOrder, protocol: Protocol, token: &str) -> Result<Request<Full<Bytes>>, Problem> {
    let prompt = order.prompt.as_deref().unwrap_or("Reply with one word.");
    let (model, stream) = (order.model.as_str(), order.stream);
    let turns = json!([{"role": "user", "content": prompt}]);
    let (path, body) = match protocol {
        Protocol::OpenaiChat => {
            ("/v1/chat/completions".to_owned(), json!({"model": model, "messages": turns, "stream": stream}))
        }
        Protocol::OpenaiResponses => {
            ("/v1/responses".to_owned(), json!({"model": model, "input": prompt, "stream": stream}))
        }
        Protocol::AnthropicMessages => (
            "/v1/messages".to_owned(),
            json!({"model": model, "max_tokens": 64, "messages": turns, "stream": stream}),
        ),
        Protocol::Gemini => {
            let call = if stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
            let parts = json!([{"role": "user", "parts": [{"text": prompt}]}]);
            (format!("/v1beta/models/{model}:{call}"), json!({"contents": parts}))
        }
    };
    let body = order.body.as_ref().unwrap_or(&body).to_string();
    Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, "tollgate")
        .header(header::CONTENT_TYPE, "application/json")
        .header(TOKEN, token)
        .body(Full::from(body))
        .map_err(|_| Problem::bad_request("The model's name cannot be part of a path."))
}

/// Sends the request to this gateway's own listener, by a pipe: its id, the status and the beginning of the answer.
async fn send(
    clients: &mpsc::Sender<DuplexStream>,
    request: Request<Full<Bytes>>,
) -> Result<(Option<String>, u16, String), Box<dyn Error + Send + Sync>> {
    let (stream, theirs) = duplex(PIPE_BYTES);
    clients.send(theirs).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let id = head.headers.get(super::REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    // A stream that breaks is what the dry run is to show: what came is shown.
    let body = Limited::new(body, READ_BYTES).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    driver.abort();
    let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
    Ok((id, head.status.as_u16(), shown))
}
