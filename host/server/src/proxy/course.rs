//! The order in which a request tries who may serve it: one target after the other, each with its credentials, then the next
//! priority, then the models that stand in.

use tollgate_core::failure::FailureClass;
use tollgate_core::id::CredentialId;

use super::error::ProxyError;
use super::select::{self, Lack, Lease, Wanted};
use crate::routing::plan::{Destination, Leg, Stage};
use crate::state::directory::{Caller, Directory};

/// How far a request has come.
pub(crate) struct Course<'d, 'a> {
    destination: &'d Destination<'a>,
    stage: usize,
    turn: u64,
    legs: Vec<Standing>,
    /// The leg of the last attempt.
    last: usize,
    /// Attempts at the model at hand, and the most that there may be.
    attempts: u32,
    attempts_max: u32,
    /// Why those could not serve who were asked.
    lack: Lack,
}

/// What came of one leg of the stage at hand.
#[derive(Default, Clone)]
struct Standing {
    /// Nobody is left who could serve it.
    exhausted: bool,
    /// The provider is at fault, whatever the credential: others first.
    ailing: bool,
    tried: Vec<CredentialId>,
}

/// What the next attempt is made with.
pub(crate) struct Step<'d, 'a> {
    /// Which model, as it is paid and recorded.
    pub(crate) stage: &'d Stage<'a>,
    /// Where.
    pub(crate) leg: &'d Leg<'a>,
    /// By which credential.
    pub(crate) lease: Lease,
}

impl<'d, 'a> Course<'d, 'a> {
    /// At the beginning, with so many attempts for each model.
    pub(crate) fn new(destination: &'d Destination<'a>, attempts_max: u32) -> Self {
        let mut course = Self {
            destination,
            stage: 0,
            turn: 0,
            legs: Vec::new(),
            last: 0,
            attempts: 0,
            attempts_max,
            lack: Lack::default(),
        };
        course.enter(0);
        course
    }

    fn enter(&mut self, stage: usize) {
        self.stage = stage;
        self.legs.clear();
        if let Some(stage) = self.destination.stages.get(stage) {
            self.turn = stage.turn();
            self.legs.resize(stage.legs.len(), Standing::default());
        }
    }

    /// Takes the credential of the next attempt.
    ///
    /// # Errors
    /// 503 when nobody is left or in service, 429 when one is only at its limit, and what the policy's binding says when the policy fails.
    pub(crate) fn next(
        &mut self,
        directory: &Directory,
        caller: &Caller,
        wanted: &Wanted,
    ) -> Result<Step<'d, 'a>, ProxyError> {
        while let Some(stage) = self.destination.stages.get(self.stage) {
            if self.attempts < self.attempts_max
                && let Some(at) = self.open(stage)
                && let (Some(leg), Some(standing)) = (stage.legs.get(at), self.legs.get_mut(at))
            {
                match select::next(leg, directory, caller, &standing.tried, wanted) {
                    Ok(lease) => {
                        standing.tried.push(lease.credential().id);
                        self.last = at;
                        self.attempts += 1;
                        return Ok(Step { stage, leg, lease });
                    }
                    Err(error @ ProxyError::Policy(_)) => return Err(error),
                    Err(error) => {
                        standing.exhausted = true;
                        self.lack.note(&error);
                    }
                }
                continue;
            }
            self.enter(self.stage + 1);
            if self.destination.stages.get(self.stage).is_some_and(|next| next.order != stage.order) {
                self.attempts = 0;
            }
        }
        Err(self.lack.error())
    }

    /// The leg whose turn it is: of those where the provider has not failed, or else of all that are left.
    fn open(&self, stage: &Stage<'_>) -> Option<usize> {
        let left = |at: usize| self.legs.get(at).is_some_and(|leg| !leg.exhausted);
        let well = |at: usize| left(at) && self.legs.get(at).is_some_and(|leg| !leg.ailing);
        stage.next(self.turn, well).or_else(|| stage.next(self.turn, left))
    }

    /// The credential of the last attempt may be tried again.
    pub(crate) fn again(&mut self) {
        if let Some(leg) = self.legs.get_mut(self.last) {
            leg.tried.pop();
        }
    }

    /// The last attempt failed so.
    pub(crate) fn failed(&mut self, class: FailureClass) {
        if let Some(leg) = self.legs.get_mut(self.last) {
            leg.ailing |= matches!(class, FailureClass::Overloaded | FailureClass::Transient);
        }
    }
}
