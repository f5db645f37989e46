//! What follows from an attempt that failed, decided in one place: whether the request is tried again, where, and what
//! becomes of the credential.
//!
//! ARCHITECTURE.md tells it as a table, which a test holds against [`decide`]. Nothing waits between two attempts: what
//! a failure costs in time is the rest of its credential ([`Penalty`]), and the wait that the client is told of.

use crate::failure::FailureClass;
use crate::health::Penalty;
use crate::wait::RetryAfter;

/// How far an attempt had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No part of an answer had come except a refusal.
    Unanswered,
    /// The provider refused an access token that can be replaced.
    StaleToken,
    /// No byte came in time. The provider may be working on the request, and a second one would be paid for too.
    Silent,
}

/// What a request may still spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Attempts that may still be made at the model at hand.
    pub attempts_left: u32,
}

/// Where the next attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// With the same credential once more.
    SameCredential,
    /// With another credential.
    OtherCredential,
    /// At another provider, and with another credential of this one where there is none.
    OtherProvider,
    /// At a model that stands in for this one.
    OtherModel,
    /// Nowhere: the client is told of the failure.
    Nowhere,
}

impl Next {
    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SameCredential => "same credential",
            Self::OtherCredential => "another credential",
            Self::OtherProvider => "another provider first",
            Self::OtherModel => "a model that stands in",
            Self::Nowhere => "none",
        }
    }
}

/// What follows from a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Where the next attempt is made.
    pub next: Next,
    /// What becomes of the credential.
    pub penalty: Penalty,
}

/// Decides what follows from an attempt that failed in `phase` for a reason of this class. `told` is how long the
/// provider asked to wait.
#[must_use]
pub const fn decide(class: FailureClass, told: Option<RetryAfter>, phase: Phase, budget: Budget) -> Decision {
    let next = match (phase, class) {
        (Phase::Silent, _) => Next::Nowhere,
        (Phase::Unanswered, class) if class.blames_request() => Next::Nowhere,
        _ if budget.attempts_left == 0 => Next::OtherModel,
        (Phase::StaleToken, _) => Next::SameCredential,
        (Phase::Unanswered, FailureClass::Overloaded | FailureClass::Transient) => Next::OtherProvider,
        (Phase::Unanswered, _) => Next::OtherCredential,
    };
    let penalty = match phase {
        Phase::StaleToken => Penalty::None,
        Phase::Unanswered | Phase::Silent => Penalty::of(class, told),
    };
    Decision { next, penalty }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Next, Phase, decide};
    use crate::failure::FailureClass;
    use crate::health::{Penalty, Rest};
    use crate::wait::RetryAfter;

    #[test]
    fn a_request_that_is_at_fault_is_tried_nowhere_whatever_is_left() {
        for class in FailureClass::ALL.into_iter().filter(|class| class.blames_request()) {
            for attempts_left in [0, 5] {
                let decision = decide(class, None, Phase::Unanswered, Budget { attempts_left });
                assert_eq!((decision.next, decision.penalty), (Next::Nowhere, Penalty::None), "{class:?}");
            }
        }
    }

    #[test]
    fn what_is_left_bounds_the_attempts_at_one_model() {
        for class in FailureClass::ALL.into_iter().filter(|class| !class.blames_request()) {
            let next = |attempts_left, phase| decide(class, None, phase, Budget { attempts_left }).next;
            assert_eq!(next(0, Phase::Unanswered), Next::OtherModel, "{class:?}");
            assert_eq!(next(0, Phase::StaleToken), Next::OtherModel, "{class:?}");
            assert_eq!(next(1, Phase::StaleToken), Next::SameCredential, "{class:?}");
            assert_ne!(next(1, Phase::Unanswered), Next::OtherModel, "{class:?}");
        }
    }

    #[test]
    fn a_wait_that_the_provider_names_is_kept_where_it_is_for_the_credential() {
        let told = Some(RetryAfter::from_ms(9_000));
        let penalty = |class| decide(class, told, Phase::Unanswered, Budget { attempts_left: 1 }).penalty;
        assert_eq!(penalty(FailureClass::RateLimited), Penalty::Rest { why: Rest::RateLimited, told });
        assert_eq!(penalty(FailureClass::Overloaded), Penalty::Rest { why: Rest::Faults, told });
        assert_eq!(penalty(FailureClass::Transient), Penalty::Strike);
    }
}
