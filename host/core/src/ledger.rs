//! What an account may spend: the arithmetic of hold, settle and void.
//!
//! Pure state: the server keeps one [`Account`] per user in memory and asks it before each dispatch; the store writes
//! what was decided. A hold reserves, a settlement takes at most the hold and then what the balance still allows, and
//! the rest becomes bad debt, so that no charge is dropped and no balance falls below its floor (invariant I3).

use crate::points::Micropoints;

/// A user's account: credits minus debits, and what open holds keep back. All amounts are micro-points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    posted: Micropoints,
    pending: Micropoints,
    floor: Micropoints,
    /// What open calls may cost beyond their holds.
    unsecured: Micropoints,
    /// Charges that could not be paid since the account was taken in.
    lost: Micropoints,
}

/// For each point that is available, so many may stay unsecured.
const UNSECURED_PER_POINT: i128 = 10;

/// What is asked of an account before a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// What is to be kept back.
    pub amount: Micropoints,
    /// What must be left beside it.
    pub leave: Micropoints,
    /// What the call may cost beyond `amount` by a bill that nobody can foretell: a prompt that no cache has after all.
    pub unsecured: Micropoints,
    /// The most that all open calls of the account, and what it could not pay before, may come to in that way. It is
    /// less for an account that has little: ten times what is available.
    pub unsecured_max: Micropoints,
}

impl Claim {
    /// Of so much, and nothing else.
    #[must_use]
    pub const fn of(amount: Micropoints) -> Self {
        let none = Micropoints::ZERO;
        Self { amount, leave: none, unsecured: none, unsecured_max: none }
    }
}

/// What is kept back for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// All of it.
    pub amount: Micropoints,
    /// What the call may cost beyond that.
    pub unsecured: Micropoints,
}

/// The account cannot cover a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request needs {needed} points and {available} are available")]
pub struct Insufficient {
    /// What was asked for.
    pub needed: Micropoints,
    /// What could have been held.
    pub available: Micropoints,
}

/// A credit would pass 64 bits; the account is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the balance would exceed what 64 bits hold")]
pub struct BalanceOverflow;

/// Where a charge came from. The three parts add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settlement {
    /// Taken from the hold.
    pub posted: Micropoints,
    /// Taken from the balance beyond the hold, never past the floor.
    pub overrun: Micropoints,
    /// What the account could not pay.
    pub bad_debt: Micropoints,
}

impl Settlement {
    /// The whole charge. Parts of damaged books that sum past 64 bits stick at their end, as they do in [`Self::paid`].
    #[must_use]
    pub fn charge(&self) -> Micropoints {
        Micropoints::new(self.paid().get().saturating_add(self.bad_debt.get()))
    }

    /// The same charge where the books know of a hold of `booked` alone: what was kept back later is an overrun to
    /// them.
    #[must_use]
    pub fn within(self, booked: Micropoints) -> Self {
        let posted = self.posted.min(booked);
        let beyond = Micropoints::new(self.posted.get() - posted.get());
        Self { posted, overrun: self.overrun.checked_add(beyond).unwrap_or(self.overrun), ..self }
    }

    /// What left the account.
    #[must_use]
    pub fn paid(&self) -> Micropoints {
        Micropoints::new(self.posted.get().saturating_add(self.overrun.get()))
    }
}

impl Account {
    /// An account without open holds. `floor` is the least balance that holds may leave: 0, or a negative overdraft.
    #[must_use]
    pub const fn new(posted: Micropoints, floor: Micropoints) -> Self {
        Self {
            posted,
            floor,
            pending: Micropoints::ZERO,
            unsecured: Micropoints::ZERO,
            lost: Micropoints::ZERO,
        }
    }

    /// Credits minus debits, open holds not counted.
    #[must_use]
    pub const fn posted(&self) -> Micropoints {
        self.posted
    }

    /// The sum of the open holds.
    #[must_use]
    pub const fn pending(&self) -> Micropoints {
        self.pending
    }

    /// The least balance that holds may leave.
    #[must_use]
    pub const fn floor(&self) -> Micropoints {
        self.floor
    }

    /// Sets the least balance that holds may leave. Open holds stay, whatever the floor is. A floor above what they
    /// leave refuses new holds until the balance is above it again.
    pub const fn set_floor(&mut self, floor: Micropoints) {
        self.floor = floor;
    }

    /// What a new hold may take: the balance above the floor that no hold keeps back, 0 when there is none.
    #[must_use]
    pub fn available(&self) -> Micropoints {
        let room =
            i128::from(self.posted.get()) - i128::from(self.pending.get()) - i128::from(self.floor.get());
        Micropoints::new(i64::try_from(room.max(0)).unwrap_or(i64::MAX))
    }

    /// Reserves `amount` before dispatch.
    ///
    /// # Errors
    /// [`Insufficient`] when the balance, open holds counted, would pass the floor; nothing changes then.
    ///
    /// # Panics
    /// When `amount` is negative.
    pub fn hold(&mut self, amount: Micropoints) -> Result<(), Insufficient> {
        assert!(amount >= Micropoints::ZERO, "a hold of {amount} points");
        let available = self.available();
        let refused = Insufficient { needed: amount, available };
        if amount > available {
            return Err(refused);
        }
        self.pending = self.pending.checked_add(amount).ok_or(refused)?;
        Ok(())
    }

    /// Reserves what a claim asks for.
    ///
    /// # Errors
    /// [`Insufficient`] where the account does not carry it, with what must be left, or where too much would be
    /// unsecured; nothing changes then.
    ///
    /// # Panics
    /// When an amount is negative.
    pub fn claim(&mut self, claim: &Claim) -> Result<(), Insufficient> {
        let available = self.available();
        let refused = Insufficient { needed: claim.amount, available };
        let needed = claim.amount.checked_add(claim.leave).ok_or(refused)?;
        if needed > available || claim.unsecured > self.securable(claim.unsecured_max) {
            return Err(refused);
        }
        self.hold(claim.amount)?;
        self.unsecured = self.unsecured.checked_add(claim.unsecured).ok_or(refused)?;
        Ok(())
    }

    /// What another call may cost beyond its hold, where `most` is what the account may be let have.
    fn securable(&self, most: Micropoints) -> Micropoints {
        let most = i128::from(most.get()).min(i128::from(self.available().get()) * UNSECURED_PER_POINT);
        let left = most - i128::from(self.unsecured.get()) - i128::from(self.lost.get());
        Micropoints::new(i64::try_from(left.max(0)).unwrap_or(i64::MAX))
    }

    /// A call has ended that could have cost so much beyond its hold.
    fn secure(&mut self, unsecured: Micropoints) {
        self.unsecured = less(self.unsecured, unsecured.min(self.unsecured));
    }

    /// As [`Account::settle`], for what a claim was granted.
    ///
    /// # Panics
    /// As [`Account::settle`].
    pub fn settle_held(&mut self, held: Held, charge: Micropoints) -> Settlement {
        self.secure(held.unsecured);
        self.settle(held.amount, charge)
    }

    /// As [`Account::void`], for what a claim was granted.
    ///
    /// # Panics
    /// As [`Account::void`].
    pub fn void_held(&mut self, held: Held) {
        self.secure(held.unsecured);
        self.void(held.amount);
    }

    /// Charges `charge` against a hold of `held` and gives the rest of the hold back.
    ///
    /// # Panics
    /// When `charge` is negative or `held` is more than all open holds: the caller settled a hold that it never took.
    pub fn settle(&mut self, held: Micropoints, charge: Micropoints) -> Settlement {
        assert!(charge >= Micropoints::ZERO, "a charge of {charge} points");
        self.void(held);
        // Both are at least zero and the smaller of two amounts bounds each difference: nothing here overflows.
        let posted = charge.min(held);
        self.posted = less(self.posted, posted);
        let rest = less(charge, posted);
        let overrun = rest.min(self.available());
        self.posted = less(self.posted, overrun);
        let bad_debt = less(rest, overrun);
        self.lost = self.lost.checked_add(bad_debt).unwrap_or(Micropoints::new(i64::MAX));
        Settlement { posted, overrun, bad_debt }
    }

    /// Releases a hold of `held` without a charge.
    ///
    /// # Panics
    /// When `held` is negative or more than all open holds: the caller released a hold that it never took.
    pub fn void(&mut self, held: Micropoints) {
        assert!(held >= Micropoints::ZERO && held <= self.pending, "{held} of {} points held", self.pending);
        self.pending = less(self.pending, held);
    }

    /// Adds `amount`, which a grant or a correction put on the account; a negative amount takes from it.
    ///
    /// # Errors
    /// [`BalanceOverflow`] past 64 bits; nothing changes then.
    pub fn credit(&mut self, amount: Micropoints) -> Result<(), BalanceOverflow> {
        self.posted = self.posted.checked_add(amount).ok_or(BalanceOverflow)?;
        Ok(())
    }
}

/// `a - b`.
///
/// # Panics
/// On overflow, which a balance bounded by its floor cannot reach.
fn less(a: Micropoints, b: Micropoints) -> Micropoints {
    match a.checked_sub(b) {
        Some(difference) => difference,
        None => panic!("{a} - {b} points passes 64 bits"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Claim, Held, Insufficient, Settlement};
    use crate::points::Micropoints;
    use proptest::prelude::*;

    const fn points(value: i64) -> Micropoints {
        Micropoints::new(value)
    }

    #[test]
    fn a_hold_never_passes_the_floor() {
        let mut account = Account::new(points(100), points(-20));
        account.hold(points(70)).unwrap();
        let refused = account.hold(points(51)).unwrap_err();
        assert_eq!(refused, Insufficient { needed: points(51), available: points(50) });
        account.hold(points(50)).unwrap();
        assert_eq!(account.available(), Micropoints::ZERO);
    }

    #[test]
    fn a_charge_above_the_hold_takes_the_balance_and_then_becomes_bad_debt() {
        let mut account = Account::new(points(100), Micropoints::ZERO);
        account.hold(points(30)).unwrap();
        account.hold(points(50)).unwrap();
        let settled = account.settle(points(30), points(60));
        assert_eq!(settled, Settlement { posted: points(30), overrun: points(20), bad_debt: points(10) });
        assert_eq!((account.posted(), account.pending()), (points(50), points(50)));
    }

    #[test]
    fn a_charge_below_the_hold_gives_the_rest_back() {
        let mut account = Account::new(points(100), Micropoints::ZERO);
        account.hold(points(30)).unwrap();
        assert_eq!(account.settle(points(30), points(7)).charge(), points(7));
        assert_eq!(account.available(), points(93));
    }

    #[test]
    fn what_is_unsecured_is_bounded_by_what_there_is_and_by_what_was_lost() {
        let of = |amount, unsecured| Claim {
            amount: points(amount),
            unsecured: points(unsecured),
            unsecured_max: points(500),
            ..Claim::default()
        };
        let mut account = Account::new(points(100), Micropoints::ZERO);
        account.claim(&of(60, 501)).unwrap_err();
        account.claim(&of(60, 400)).unwrap();
        account.claim(&of(10, 101)).unwrap_err();
        // Ten times the 40 that are left come to 400, all of which is taken.
        account.claim(&of(10, 1)).unwrap_err();
        account.void_held(Held { amount: points(60), unsecured: points(400) });
        account.claim(&of(10, 500)).unwrap();
        let settled = account.settle_held(Held { amount: points(10), unsecured: points(500) }, points(300));
        assert_eq!(settled.bad_debt, points(200));
        account.credit(points(1_000)).unwrap();
        account.claim(&of(10, 301)).unwrap_err();
        account.claim(&of(10, 300)).unwrap();
    }

    #[test]
    fn a_claim_leaves_what_it_is_told_to() {
        let mut account = Account::new(points(100), Micropoints::ZERO);
        let claim = |amount, leave| Claim { leave: points(leave), ..Claim::of(points(amount)) };
        assert_eq!(
            account.claim(&claim(60, 41)),
            Err(Insufficient { needed: points(60), available: points(100) })
        );
        account.claim(&claim(60, 40)).unwrap();
        assert_eq!(account.pending(), points(60));
    }

    #[test]
    fn what_the_books_know_of_a_hold_is_posted_and_the_rest_is_an_overrun() {
        let settled = Settlement { posted: points(50), overrun: points(3), bad_debt: points(4) };
        let booked = settled.within(points(20));
        assert_eq!(booked, Settlement { posted: points(20), overrun: points(33), bad_debt: points(4) });
        assert_eq!((settled.within(points(60)), booked.charge()), (settled, settled.charge()));
    }

    #[test]
    fn a_floor_above_the_balance_takes_nothing_and_refuses_what_comes() {
        let mut account = Account::new(points(10), points(-50));
        account.hold(points(40)).unwrap();
        account.set_floor(points(-5));
        assert_eq!((account.available(), account.pending()), (Micropoints::ZERO, points(40)));
        account.hold(points(1)).unwrap_err();
        let settled = account.settle(points(40), points(45));
        assert_eq!(
            settled,
            Settlement { posted: points(40), overrun: Micropoints::ZERO, bad_debt: points(5) }
        );
        account.credit(points(26)).unwrap();
        account.hold(points(1)).unwrap();
    }

    #[test]
    #[should_panic(expected = "points held")]
    fn a_hold_that_was_never_taken_cannot_be_released() {
        Account::new(points(100), Micropoints::ZERO).void(points(1));
    }

    #[test]
    fn the_ends_of_64_bits_are_refused() {
        let mut account = Account::new(points(i64::MAX), points(i64::MIN));
        account.hold(points(i64::MAX)).unwrap();
        account.hold(points(1)).unwrap_err();
        account.credit(points(1)).unwrap_err();
        assert_eq!(account.posted(), points(i64::MAX));
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Credit(i64),
        Hold(i64),
        /// Settles the open hold that the number names, if there is one.
        Settle(usize, i64),
        Void(usize),
        Floor(i64),
    }

    /// Operations from a seed (splitmix64): a failing case shrinks by its length, which keeps the sequence.
    struct Ops(u64);

    impl Iterator for Ops {
        type Item = Op;

        fn next(&mut self) -> Option<Op> {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let [.., a, b, c, d] = bits.to_be_bytes();
            let which = usize::from(u16::from_be_bytes([a, b]));
            let amount = i64::from(u16::from_be_bytes([c, d])) % 150;
            Some(match bits % 10 {
                0 => Op::Credit(amount),
                1..=4 => Op::Hold(amount),
                5..=7 => Op::Settle(which, amount),
                8 => Op::Void(which),
                _ => Op::Floor(-2 * amount),
            })
        }
    }

    /// The ledger that the account must agree with, kept the slow way.
    #[derive(Default)]
    struct Oracle {
        issued: i128,
        revenue: i128,
        bad_debt: i128,
        holds: Vec<i64>,
        /// The lowest floor that the account had.
        least: Micropoints,
    }

    impl Oracle {
        fn apply(&mut self, account: &mut Account, op: Op) {
            match op {
                Op::Credit(amount) => {
                    account.credit(points(amount)).unwrap();
                    self.issued += i128::from(amount);
                }
                Op::Hold(amount) => {
                    // Where the floor was raised above the balance, nothing is left to spend; nothing is free then
                    // either.
                    let fits = self.spendable(account.floor()).max(0) >= i128::from(amount);
                    assert_eq!(account.hold(points(amount)).is_ok(), fits);
                    if fits {
                        self.holds.push(amount);
                    }
                }
                Op::Settle(..) | Op::Void(_) if self.holds.is_empty() => {}
                Op::Settle(which, charge) => {
                    let held = self.holds.swap_remove(which % self.holds.len());
                    self.settle(account, held, charge);
                }
                Op::Void(which) => {
                    let held = self.holds.swap_remove(which % self.holds.len());
                    account.void(points(held));
                }
                Op::Floor(floor) => {
                    account.set_floor(points(floor));
                    self.least = self.least.min(account.floor());
                }
            }
        }

        fn settle(&mut self, account: &mut Account, held: i64, charge: i64) {
            let settled = account.settle(points(held), points(charge));
            assert_eq!(settled.charge(), points(charge));
            assert!(settled.posted.get() <= held);
            self.revenue += i128::from(charge);
            self.bad_debt += i128::from(settled.bad_debt.get());
        }

        fn balance(&self) -> i128 {
            self.issued + self.bad_debt - self.revenue
        }

        fn held(&self) -> i128 {
            self.holds.iter().copied().map(i128::from).sum()
        }

        fn spendable(&self, floor: Micropoints) -> i128 {
            self.balance() - self.held() - i128::from(floor.get())
        }
    }

    /// Operations of all sequences together, on average: `TOLLGATE_LEDGER_OPERATIONS`, or what takes a second.
    fn cases() -> u32 {
        const DEFAULT: u32 = 1_000_000;
        let asked = std::env::var("TOLLGATE_LEDGER_OPERATIONS").ok();
        let operations = asked.map_or(DEFAULT, |text| text.parse().expect("a number of operations"));
        operations.div_ceil(LENGTH_MAX / 2)
    }

    const LENGTH_MAX: u32 = 8192;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

        #[test]
        fn no_sequence_passes_the_floor_or_loses_a_point(
            floor in -300..=0i64,
            seed in any::<u64>(),
            len in 0..=LENGTH_MAX as usize,
        ) {
            let mut account = Account::new(Micropoints::ZERO, points(floor));
            let mut oracle = Oracle { least: account.floor(), ..Oracle::default() };
            for op in Ops(seed).take(len) {
                oracle.apply(&mut account, op);
                assert_eq!(i128::from(account.posted().get()), oracle.balance());
                assert_eq!(i128::from(account.pending().get()), oracle.held());
                assert!(oracle.spendable(oracle.least) >= 0);
            }
        }
    }
}
