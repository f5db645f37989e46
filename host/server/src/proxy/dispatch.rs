//! Tries who may serve until one answers, or nobody is left, or the failure is the request's own. Nothing of an answer
//! has reached the client before that, so that any of it may be tried elsewhere.

use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::response::Parts;
use tokio::time::Instant;
use tollgate_core::failure::FailureClass;
use tollgate_core::health::{Among, Penalty};
use tollgate_core::id::UserId;
use tollgate_core::outcome::Outcome;
use tollgate_core::retry::{self, Decision, Next, Phase};
use tollgate_core::secret::Secret;

use super::adapt::{self, Outbound, ResponsePath};
use super::answer;
use super::attempts::{Attempts, Chosen};
use super::dialect;
use super::error::{ProxyError, Rejected};
use super::exchange::Translation;
use super::forward::{self, Failed, Reply};
use super::lane::Lane;
use super::read::Inbound;
use super::record;
use super::relay::Outgoing;
use super::select::{AttemptQuery, Lease};
use super::states::{Admitted, Attempting, Tried};
use super::ticket::Ticket;
use super::window::Window;
use crate::config::Limits;
use crate::routing::plan::{Destination, Target, Tier};
use crate::state::concurrency::Full;
use crate::state::directory::Directory;
use crate::state::tokens::TokenError;
use crate::state::trace::{self, detail};
use crate::upstream::authorize::{AuthorizeError, authorize};

/// An admitted request, and who may serve it.
pub(super) struct Dispatch<'a> {
    pub(super) lane: &'a Rc<Lane>,
    pub(super) directory: &'a Directory,
    pub(super) inbound: &'a Inbound,
    pub(super) destination: &'a Destination<'a>,
}

/// One attempt that was made.
struct Attempt {
    lease: Lease,
    token: Token,
    begun: Instant,
}

/// What an attempt met that failed.
struct Missed {
    error: ProxyError,
    class: FailureClass,
    /// The provider's own words, where they are for the client, and what translates them.
    answer: Option<((Parts, Bytes), Option<Translation>)>,
}

impl From<ProxyError> for Missed {
    fn from(error: ProxyError) -> Self {
        Self { error, class: FailureClass::Unknown, answer: None }
    }
}

impl Missed {
    /// What the client is told where an `earlier` attempt met something, too.
    fn after(self, earlier: Option<Self>) -> Self {
        match earlier {
            Some(earlier) if self.error.yields_to(&earlier.error) => earlier,
            _ => self,
        }
    }
}

/// The access token that stands for a credential, where its platform wants one.
type Token = Result<Option<Arc<Secret>>, TokenError>;

impl Dispatch<'_> {
    /// Serves the request.
    ///
    /// # Errors
    /// What the last attempt met, or why there was none. The ticket has ended then.
    pub(super) async fn run(
        &self,
        admitted: Ticket<Box<Admitted>>,
    ) -> Result<Response<Outgoing>, ProxyError> {
        let mut ticket = admitted.attempt();
        let conversations = &self.lane.shared.conversations;
        let conversation = self.conversation(ticket.request().caller.user);
        let deadline = ticket.request().started + self.limits().request_timeout_ms.duration();
        let mut attempts = Attempts::new(self.destination, self.limits().attempts_max.0);
        let mut query = AttemptQuery {
            model: &self.inbound.model,
            among: Among::Others,
            known: match conversation {
                Some(known) => conversations.recall(known, self.lane.now()).await,
                None => None,
            },
            tokens: ticket.request().input_estimate,
            request_ms: self.limits().request_timeout_ms.get(),
            now: self.lane.now(),
        };
        let mut missed: Option<Missed> = None;
        loop {
            query.now = self.lane.now();
            let Chosen { tier, target, lease } =
                match self.next(&mut attempts, &query, &mut ticket, deadline).await {
                    Ok(step) => step,
                    Err(error @ (ProxyError::Policy(_) | ProxyError::Unavailable)) => {
                        return Err(give_up(ticket, error));
                    }
                    // What the attempts met says more than that no other is left.
                    Err(error) => return self.tell(missed.unwrap_or(error.into()), ticket),
                };
            let token = token(self.lane, &lease).await;
            let begun = Instant::now();
            let sent = ticket.carry(lease, begun);
            let made = self.attempt((tier, target), &token, &ticket, sent, (begun, deadline)).await;
            let Some(lease) = ticket.land() else { return Err(give_up(ticket, ProxyError::Internal)) };
            let mut attempt = Attempt { lease, token, begun };
            let (sent, response_path) = match made {
                Ok(made) => made,
                Err(error) => return Err(unmade(ticket, error)),
            };
            ticket.leave_out(response_path.left_out.clone());
            match sent {
                Ok(reply) => {
                    attempt.succeed(&mut ticket, &reply);
                    if let Some(conversation) = conversation {
                        conversations.note(conversation, attempt.lease.credential().id, self.lane.now());
                    }
                    let Attempt { lease, .. } = attempt;
                    let bounds = (self.limits(), &self.lane.shared.memory);
                    return answer::begin(bounds, self.inbound, response_path, reply, lease, ticket).await;
                }
                Err(failed) => match self.failed(&mut attempts, attempt, failed, response_path, ticket) {
                    ControlFlow::Break(told) => return told,
                    ControlFlow::Continue((still, error)) => {
                        (ticket, missed) = (still, Some(error.after(missed)));
                    }
                },
            }
        }
    }

    fn limits(&self) -> &Limits {
        &self.lane.shared.settings.limits
    }

    /// What the request's conversation is called, if there is one.
    fn conversation(&self, user: UserId) -> Option<u64> {
        let Inbound { headers, body, .. } = self.inbound;
        let conversations = &self.lane.shared.conversations;
        conversations.name(user, headers, body, |name| self.inbound.member(name))
    }

    /// Who is asked next, with a permit for its provider; everything that must be written down before the call is
    /// written then.
    ///
    /// # Errors
    /// As [`Attempts::next`]; 503 where no permit came free in time, and where the use of a lent credential cannot be
    /// written.
    async fn next<'d>(
        &'d self,
        attempts: &mut Attempts<'d, 'd>,
        query: &AttemptQuery<'_>,
        attempting: &mut Attempting,
        deadline: Instant,
    ) -> Result<Chosen<'d, 'd>, ProxyError> {
        let shared = &self.lane.shared;
        let request = attempting.request();
        let mut chosen = attempts.next(&shared.credentials, self.directory, request, query).await?;
        let until = || deadline.min(Instant::now() + self.limits().concurrency_timeout_ms.duration());
        let permit = shared.gates.enter_provider(&chosen.lease.upstream.name, until).await;
        chosen.lease.permit = permit.map_err(|Full| ProxyError::Busy)?;
        let model = chosen.target.model.as_deref().unwrap_or(&self.inbound.model);
        let place = chosen.lease.credential().place.as_ref();
        chosen.lease.regional = place.is_some_and(|place| place.is_regional(model));
        attempting.begin(self.directory, chosen.tier, chosen.target);
        if !record::borrow(&self.lane.shared, attempting, &mut chosen.lease) {
            return Err(ProxyError::Unavailable);
        }
        Ok(chosen)
    }

    /// Makes the upstream request and sends it.
    ///
    /// # Errors
    /// When the request cannot be made at all: no other credential would change that.
    async fn attempt(
        &self,
        (tier, target): (&Tier<'_>, &Target<'_>),
        token: &Token,
        attempting: &Attempting,
        sent: Arc<AtomicBool>,
        (begun, deadline): (Instant, Instant),
    ) -> Result<(Result<Reply, Failed>, ResponsePath), ProxyError> {
        let (request, lease) = (attempting.request(), attempting.carried().ok_or(ProxyError::Internal)?);
        if let Some(missing) = lease.upstream.missing() {
            return Ok((Err(forward::not_permitted(&missing)), ResponsePath::default()));
        }
        let bearer = match token {
            Ok(bearer) => bearer.as_deref(),
            Err(error) => return Ok((Err(forward::tokenless(*error)), ResponsePath::default())),
        };
        let now = self.lane.now();
        let memory = &self.lane.shared.memory;
        let Outbound { mut envelope, sending: _sending, response_path } =
            adapt::request(memory, self.inbound, target, lease, request, now).await?;
        envelope.body.tell(sent);
        trace::note(request.trace(), "adapt", || {
            detail!({
                "provider": &*lease.upstream.name, "model": &*tier.model, "upstream_model": envelope.model,
                "protocol": lease.upstream_call.protocol.name(), "translated": response_path.exchange.is_some(),
                "left_out": response_path.left_out.as_ref().and_then(|names| names.to_str().ok()),
            })
        });
        // What is changed on its way has to be plain.
        let screened =
            answer::has_words(self.inbound) && attempting.request().screen().is_some_and(Window::wanted);
        let listed = self.inbound.kept.as_ref().is_some_and(|kept| kept.is_list());
        let opens =
            screened || listed || response_path.exchange.is_some() || response_path.withhold.is_some();
        let secret = bearer.unwrap_or(&lease.credential().secret);
        let request = authorize(envelope, secret, now).map_err(|error| unfit(&error))?;
        let session = self.inbound.session.filter(|_| response_path.exchange.is_none());
        let request = request.within(session);
        // A translation may have taken its time, which is none of the provider's.
        let begun = if response_path.exchange.is_some() { Instant::now() } else { begun };
        Ok((
            forward::send(&self.lane.transports, request, lease, self.limits(), (opens, begun, deadline))
                .await,
            response_path,
        ))
    }

    /// What follows of a failed attempt: the next one, with what the client is told if there is none, or an answer at
    /// once where no other credential would change it.
    fn failed(
        &self,
        attempts: &mut Attempts<'_, '_>,
        attempt: Attempt,
        failed: Failed,
        response_path: ResponsePath,
        mut ticket: Ticket<Attempting>,
    ) -> ControlFlow<Result<Response<Outgoing>, ProxyError>, (Ticket<Attempting>, Missed)> {
        let Attempt { lease, token, begun } = attempt;
        let Failed { class, retry_after, mut phase, .. } = failed;
        // Where only the token was refused, the credential has another chance with the next one.
        if class == FailureClass::InvalidCredential && self.is_stale(&lease, &token) {
            phase = Phase::StaleToken;
        }
        let Decision { next, penalty } = match failed.error {
            // The gateway itself had no room: nobody else is to blame, and there is none for another either.
            ProxyError::Busy => Decision { next: Next::Nowhere, penalty: Penalty::None },
            _ => retry::decide(class, retry_after, phase, attempts.budget()),
        };
        attempts.follow(next);
        lease.fail(penalty, self.lane.now());
        note_attempt(&mut ticket, &lease, failed.status, Some(class), begun.elapsed());
        self.note_failure(&mut ticket, lease, failed.detail);
        let answer = failed.answer.map(|answer| (answer, response_path.exchange));
        let missed = Missed { error: failed.error, class, answer };
        match next {
            Next::Nowhere => ControlFlow::Break(self.tell(missed, ticket)),
            _ => ControlFlow::Continue((ticket, missed)),
        }
    }

    /// Tells the client what an attempt met after which there is no other: in the provider's own words where it has
    /// some that are for the client.
    fn tell(&self, missed: Missed, ticket: Ticket<Attempting>) -> Result<Response<Outgoing>, ProxyError> {
        let Missed { error, class, answer } = missed;
        let class = if class == FailureClass::Permission { FailureClass::NotFound } else { class };
        match answer {
            Some(((head, body), None)) if dialect::is_told_in(self.inbound.protocol, &body) => {
                Ok(refusal_of_upstream(&head, body, ticket))
            }
            Some(((head, body), None)) => {
                let rejected = Rejected::new(class, head.status.as_u16(), &body);
                Err(give_up(ticket, ProxyError::Rejected(rejected)))
            }
            Some(((head, body), Some(exchange))) => {
                Err(give_up(ticket, in_other_words(exchange, &head, &body)))
            }
            None => Err(give_up(ticket, error)),
        }
    }

    /// Whether a refused token can be replaced. Each is given up once, by the first whom it failed.
    fn is_stale(&self, lease: &Lease, token: &Token) -> bool {
        let Ok(Some(token)) = token else { return false };
        self.lane.shared.tokens.refused(lease.credential(), token)
    }

    fn note_failure(&self, attempting: &mut Attempting, lease: Lease, detail: String) {
        let credential = lease.credential();
        self.lane.shared.metrics.attempt_failed();
        tracing::warn!(
            request = %attempting.request().id, attempt = attempting.attempts(), provider = credential.provider,
            credential = %credential.id, detail, "attempt failed"
        );
        attempting.failed(lease, detail);
    }
}

impl Attempt {
    fn succeed(&mut self, ticket: &mut Attempting, reply: &Reply) {
        self.lease.succeed();
        let took = reply.came.saturating_duration_since(self.begun);
        note_attempt(ticket, &self.lease, Some(reply.head.status.as_u16()), None, took);
    }
}

/// Notes how an attempt went, up to the first byte of its answer.
fn note_attempt(
    attempting: &mut Attempting,
    lease: &Lease,
    status: Option<u16>,
    failure: Option<FailureClass>,
    took: Duration,
) {
    let credential = lease.credential().id;
    trace::note(attempting.request().trace(), "forward", || {
        let failure = failure.map(FailureClass::name);
        detail!({"status": status, "failure": failure, "first_byte_ms": u64::try_from(took.as_millis()).ok()})
    });
    attempting.tried(Tried { credential, status, failure, took });
}

async fn token(lane: &Lane, lease: &Lease) -> Token {
    // Where the secret may not go for a token, no attempt is made either.
    let Some(Ok(scheme)) = lease.upstream.terms.as_ref().map(|terms| terms.scheme()) else { return Ok(None) };
    lane.shared.tokens.bearer(lease.credential(), scheme, lane.date()).await
}

/// What a secret that makes no request of an envelope means to the caller.
fn unfit(error: &AuthorizeError) -> ProxyError {
    tracing::error!(%error, "a credential cannot be sent as it is");
    match error {
        AuthorizeError::Header(_) => ProxyError::Internal,
        AuthorizeError::Part(_) => ProxyError::NoCredential,
        AuthorizeError::Missing(_) => ProxyError::NotPermitted,
    }
}

/// Ends a request that cannot be said to its provider, or whose adapter failed.
fn unmade(ticket: Ticket<Attempting>, error: ProxyError) -> ProxyError {
    let refused = matches!(error, ProxyError::Translated { .. } | ProxyError::TooMuch);
    ticket.fail(&error, if refused { Outcome::Refused } else { Outcome::UpstreamError });
    error
}

fn give_up(ticket: Ticket<Attempting>, error: ProxyError) -> ProxyError {
    ticket.fail(&error, Outcome::UpstreamError);
    error
}

/// The provider's own answer to a request that is at fault, word for word.
fn refusal_of_upstream(head: &Parts, body: Bytes, ticket: Ticket<Attempting>) -> Response<Outgoing> {
    ticket.pass_refusal(head.status);
    let mut response = Response::new(Outgoing::from(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = answer::refusal_headers(&head.headers, head.status);
    response
}

/// The provider's answer to a request that is at fault, in the client's protocol.
fn in_other_words(mut exchange: Translation, head: &Parts, body: &[u8]) -> ProxyError {
    exchange.failure(head.status.as_u16(), body).map_or(ProxyError::Internal, ProxyError::from)
}
