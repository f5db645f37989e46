//! The order in which a request tries who may serve it: one target after the other, each with its credentials, then the
//! next priority, then the models that stand in.

use tollgate_core::health::Among;
use tollgate_core::id::CredentialId;
use tollgate_core::retry::{Budget, Next};

use super::error::ProxyError;
use super::request::Request;
use super::select::{self, Unavailable};
use super::select::{AttemptQuery, Lease};
use crate::routing::plan::{Destination, Target, Tier};
use crate::state::credentials::Credentials;
use crate::state::directory::Directory;

/// How far a request has come.
pub(crate) struct Attempts<'d, 'a> {
    destination: &'d Destination<'a>,
    tier: usize,
    turn: u64,
    targets: Vec<TargetState>,
    /// The target of the last attempt.
    last: usize,
    /// Attempts at the model at hand, and the most that there may be.
    made: u32,
    attempts_max: u32,
    /// Attempts at any model.
    any: bool,
    /// Whether nobody was left, so that who rests after faults is asked too.
    among: Among,
    /// Why those could not serve who were asked.
    unavailable: Unavailable,
}

/// What came of one target of the tier at hand.
#[derive(Default, Clone)]
struct TargetState {
    /// Nobody is left who could serve it.
    exhausted: bool,
    /// The provider is at fault, whatever the credential: others first.
    ailing: bool,
    tried: Vec<CredentialId>,
}

/// What the next attempt is made with.
pub(crate) struct Chosen<'d, 'a> {
    /// Which model, as it is paid and recorded.
    pub(crate) tier: &'d Tier<'a>,
    /// Where.
    pub(crate) target: &'d Target<'a>,
    /// By which credential.
    pub(crate) lease: Lease,
}

impl<'d, 'a> Attempts<'d, 'a> {
    /// At the beginning, with so many attempts for each model.
    pub(crate) fn new(destination: &'d Destination<'a>, attempts_max: u32) -> Self {
        let mut attempts = Self {
            destination,
            tier: 0,
            turn: 0,
            targets: Vec::new(),
            last: 0,
            made: 0,
            attempts_max,
            any: false,
            among: Among::Others,
            unavailable: Unavailable::default(),
        };
        attempts.enter(0);
        attempts
    }

    fn enter(&mut self, tier: usize) {
        self.tier = tier;
        self.targets.clear();
        if let Some(tier) = self.destination.tiers.get(tier) {
            self.turn = tier.turn();
            self.targets.resize(tier.targets.len(), TargetState::default());
        }
    }

    /// Takes the credential of the next attempt: of one that rests after faults where nobody else is left for the
    /// first.
    ///
    /// # Errors
    /// 503 when nobody is left or in service, 429 when one is only at its limit, and what the policy's binding says
    /// when the policy fails.
    pub(crate) async fn next(
        &mut self,
        credentials: &Credentials,
        directory: &Directory,
        request: &Request,
        query: &AttemptQuery<'_>,
    ) -> Result<Chosen<'d, 'a>, ProxyError> {
        loop {
            let query = AttemptQuery { among: self.among, ..*query };
            let chosen = self.choose(credentials, directory, request, &query).await;
            let again = !self.any && self.among == Among::Others && self.unavailable.rests();
            match chosen {
                Err(error) if !again || matches!(error, ProxyError::Policy(_)) => return Err(error),
                Err(_) => {
                    (self.among, self.unavailable) = (Among::Nobody, Unavailable::default());
                    self.enter(0);
                }
                chosen => return chosen,
            }
        }
    }

    async fn choose(
        &mut self,
        credentials: &Credentials,
        directory: &Directory,
        request: &Request,
        query: &AttemptQuery<'_>,
    ) -> Result<Chosen<'d, 'a>, ProxyError> {
        while let Some(tier) = self.destination.tiers.get(self.tier) {
            if let Some(at) = self.open(tier)
                && let (Some(target), Some(state)) = (tier.targets.get(at), self.targets.get_mut(at))
            {
                match select::next(credentials, target, directory, request, &state.tried, query).await {
                    Ok(lease) => {
                        state.tried.push(lease.credential().id);
                        self.last = at;
                        self.made += 1;
                        self.any = true;
                        return Ok(Chosen { tier, target, lease });
                    }
                    Err(error @ ProxyError::Policy(_)) => return Err(error),
                    Err(error) => {
                        state.exhausted = true;
                        self.unavailable.note(&error);
                    }
                }
                continue;
            }
            self.advance();
        }
        Err(self.unavailable.error())
    }

    /// Goes on to the next tier.
    fn advance(&mut self) {
        let order = |attempts: &Self| attempts.destination.tiers.get(attempts.tier).map(|tier| tier.order);
        let before = order(self);
        self.enter(self.tier + 1);
        if order(self) != before {
            self.made = 0;
        }
    }

    /// The target whose turn it is: of those where the provider has not failed, or else of all that are left.
    fn open(&self, tier: &Tier<'_>) -> Option<usize> {
        let left = |at: usize| self.targets.get(at).is_some_and(|target| !target.exhausted);
        let well = |at: usize| left(at) && self.targets.get(at).is_some_and(|target| !target.ailing);
        tier.next(self.turn, well).or_else(|| tier.next(self.turn, left))
    }

    /// What may still be spent on the model at hand.
    pub(crate) const fn budget(&self) -> Budget {
        Budget { attempts_left: self.attempts_max.saturating_sub(self.made) }
    }

    /// The last attempt failed, and this was decided about the next one.
    pub(crate) fn follow(&mut self, next: Next) {
        let last = self.targets.get_mut(self.last);
        match (next, last) {
            (Next::SameCredential, Some(last)) => drop(last.tried.pop()),
            (Next::OtherProvider, Some(last)) => last.ailing = true,
            (Next::OtherModel, _) => {
                while self.made > 0 && self.tier < self.destination.tiers.len() {
                    self.advance();
                }
            }
            _ => {}
        }
    }
}
