//! What others may do with a credential that its owner lends: how many requests a day, until when, and what its owner
//! earns by them.
//!
//! Pure: the caller passes the time. The server keeps one [`Lending`] per credential, under a lock, for as long as it
//! knows the credential, so that no use is forgotten when a loan ends and another begins on the same day.

use crate::points::Micropoints;
use crate::time::Timestamp;

/// Parts of a charge that make a whole.
const PPM: i128 = 1_000_000;

/// The terms under which a credential is lent now, and how often it was used today.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lending {
    terms: Option<Terms>,
    /// The newest loan that was withdrawn.
    withdrawn: u64,
    day: u64,
    used: u64,
}

/// What an owner agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Number of the loan: later ones have larger numbers, and none is 0.
    pub number: u64,
    /// Uses from midnight to midnight UTC.
    pub requests_per_day: u64,
}

/// Why a credential serves nobody but its owner now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotLent {
    /// It is not lent, or not any more.
    Withdrawn,
    /// It was used as often as its owner allows, until this many milliseconds have passed.
    Spent(u64),
}

impl Lending {
    /// A credential that is not lent, with its uses since midnight UTC, as the database has them at a start.
    #[must_use]
    pub const fn new(used: u64, now: Timestamp) -> Self {
        Self { terms: None, withdrawn: 0, day: now.day(), used }
    }

    /// Takes up the terms that the database states. They may have been read before a loan ended, or before a newer one
    /// began: terms older than those known here change nothing.
    pub fn agree(&mut self, terms: Option<Terms>) {
        let known = self.terms.map_or(0, |terms| terms.number);
        match terms {
            Some(terms) if terms.number <= self.withdrawn || terms.number < known => {}
            terms => self.terms = terms,
        }
    }

    /// Ends a loan, and all before it, now.
    pub fn withdraw(&mut self, number: u64) {
        self.withdrawn = self.withdrawn.max(number);
        self.terms = self.terms.filter(|terms| terms.number > number);
    }

    /// Whether it is lent at all.
    #[must_use]
    pub const fn is_lent(&self) -> bool {
        self.terms.is_some()
    }

    /// Uses since midnight UTC.
    #[must_use]
    pub const fn used(&self, now: Timestamp) -> u64 {
        if now.is_another_day(self.day) { 0 } else { self.used }
    }

    /// Whether there is a use left.
    ///
    /// # Errors
    /// Why not.
    pub const fn check(&self, now: Timestamp) -> Result<(), NotLent> {
        match self.terms {
            None => Err(NotLent::Withdrawn),
            Some(terms) if self.used(now) >= terms.requests_per_day => {
                Err(NotLent::Spent(now.ms_to_midnight()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Counts a use.
    ///
    /// # Errors
    /// As for [`Self::check`]: it is not counted then.
    pub fn take(&mut self, now: Timestamp) -> Result<(), NotLent> {
        self.check(now)?;
        let used = self.used(now) + 1;
        if now.is_another_day(self.day) {
            self.day = now.day();
        }
        self.used = used;
        Ok(())
    }

    /// The use that was counted at `taken` did not happen.
    pub fn give_back(&mut self, taken: Timestamp) {
        if taken.day() == self.day {
            self.used = self.used.saturating_sub(1);
        }
    }
}

/// What the lender earns by a call: this part, in millionths, of what it costs at the published prices, rounded down
/// and never more than all of it.
#[must_use]
pub fn earned(cost: Micropoints, lender_ppm: u32) -> Micropoints {
    let part = i128::from(cost.get().max(0)) * i128::from(lender_ppm).min(PPM) / PPM;
    Micropoints::new(i64::try_from(part).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Lending, NotLent, Terms, earned};
    use crate::points::Micropoints;
    use crate::time::{DAY_MS, Timestamp};

    const NOON: Timestamp = Timestamp::from_millis(20_000 * DAY_MS + DAY_MS / 2);

    fn terms(number: u64, requests_per_day: u64) -> Option<Terms> {
        Some(Terms { number, requests_per_day })
    }

    #[test]
    fn a_credential_serves_others_as_often_as_its_owner_allows_and_again_tomorrow() {
        let mut lending = Lending::new(1, NOON);
        assert_eq!(lending.take(NOON), Err(NotLent::Withdrawn));
        lending.agree(terms(1, 3));
        assert_eq!((lending.take(NOON), lending.take(NOON)), (Ok(()), Ok(())));
        assert_eq!(lending.take(NOON), Err(NotLent::Spent(DAY_MS / 2)));
        lending.give_back(NOON);
        assert_eq!(lending.take(NOON), Ok(()));
        let tomorrow = NOON.plus_ms(DAY_MS / 2);
        assert_eq!((lending.used(NOON), lending.used(tomorrow)), (3, 0));
        assert_eq!(lending.take(tomorrow), Ok(()));
        // What was taken yesterday is not given back today.
        lending.give_back(NOON);
        assert_eq!(lending.used(tomorrow), 1);
    }

    #[test]
    fn a_loan_that_begins_anew_has_no_more_uses_today() {
        let mut lending = Lending::new(0, NOON);
        lending.agree(terms(1, 1));
        lending.take(NOON).unwrap();
        lending.withdraw(1);
        lending.agree(terms(2, 1));
        assert_eq!(lending.take(NOON), Err(NotLent::Spent(DAY_MS / 2)));
    }

    #[test]
    fn what_was_read_before_a_withdrawal_does_not_undo_it() {
        let mut lending = Lending::new(0, NOON);
        lending.agree(terms(4, 9));
        lending.withdraw(4);
        lending.agree(terms(4, 9));
        assert!(!lending.is_lent());
        lending.agree(terms(5, 2));
        lending.agree(terms(4, 9));
        lending.withdraw(4);
        assert_eq!(lending.terms, terms(5, 2));
    }

    #[test]
    fn a_lender_earns_a_part_rounded_down_and_never_more_than_the_charge() {
        let check = |charge, ppm, expected| {
            assert_eq!(earned(Micropoints::new(charge), ppm).get(), expected, "{charge} {ppm}");
        };
        check(75_000, 500_000, 37_500);
        check(3, 500_000, 1);
        check(3, 0, 0);
        check(i64::MAX, 1_000_000, i64::MAX);
        check(7, u32::MAX, 7);
        check(-7, 500_000, 0);
    }
}
