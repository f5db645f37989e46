//! What may be spent: holds before anything is sent, settlements after.
//!
//! A [`Hold`] is one request's. It is granted on the balance that decides (this node's own, or one that several nodes
//! have in common) and is durable before [`Accounts::hold`] returns; from the grant on it has an owner, so an
//! interrupted wait voids it. A hold that is dropped without a settlement is void.
//!
//! A hold may [grow](Hold::grow) while its request is served. That is decided by the balance alone and written nowhere:
//! the journal knows the first hold, and what a crash leaves of a request is released as a whole. In the books a charge
//! beyond the first hold is an overrun.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tollgate_core::id::{RequestId, UserId};
use tollgate_core::ledger::{Account, BalanceOverflow, Claim, Held, Settlement};
use tollgate_core::points::Micropoints;
use tollgate_core::time::Timestamp;
use tollgate_store::{Entry, WriteError};

use super::deciders::{Deciding, HoldRefused, SharedAccounts};
use super::durable::DurableWaiters;

/// A balance of this node, used by several workers.
#[derive(Debug)]
pub(crate) struct SharedAccount(Mutex<Account>);

impl SharedAccount {
    /// Wraps an account.
    pub(crate) fn new(account: Account) -> Arc<Self> {
        Arc::new(Self(Mutex::new(account)))
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        // Account methods assert before they write, so a panic leaves the account as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new hold may take.
    pub(crate) fn available(&self) -> Micropoints {
        self.lock().available()
    }

    /// Sets the least balance that holds may leave.
    pub(crate) fn set_floor(&self, floor: Micropoints) {
        self.lock().set_floor(floor);
    }

    /// Adds what management put on the account; see [`Account::credit`].
    ///
    /// # Errors
    /// [`BalanceOverflow`]; nothing changes then.
    pub(crate) fn credit(&self, amount: Micropoints) -> Result<(), BalanceOverflow> {
        self.lock().credit(amount)
    }
}

/// Grants holds, and pays earnings.
#[derive(Default)]
pub(crate) struct Accounts {
    shared: Option<Arc<dyn SharedAccounts>>,
}

/// What to reserve, and for which request.
pub(crate) struct Order {
    /// The request, whose id is also the hold's.
    pub(crate) request: RequestId,
    /// Who pays.
    pub(crate) user: UserId,
    /// The user's account on this node.
    pub(crate) account: Arc<SharedAccount>,
    /// What is to be kept back.
    pub(crate) claim: Claim,
    /// The model that is charged.
    pub(crate) model: Arc<str>,
    /// When the request came.
    pub(crate) at: Timestamp,
}

/// Why a request must not be sent, and what it was for.
pub(crate) enum NotHeld<S, T> {
    /// No hold was granted.
    Refused(S, HoldRefused),
    /// The hold is not durable, so that a crash would forget it. It may be durable nevertheless, so its owner has to
    /// void it.
    Unwritten(T, WriteError),
}

impl Accounts {
    /// Asks `shared` where there is one, and this node's balances otherwise.
    pub(crate) const fn new(shared: Option<Arc<dyn SharedAccounts>>) -> Self {
        Self { shared }
    }

    /// Whether a settlement never waits for anyone.
    pub(crate) const fn are_local(&self) -> bool {
        self.shared.is_none()
    }

    /// Reserves what a request may cost, and waits until that is durable. In between `own` turns `subject` into an
    /// owner of the hold: from then on an interrupted wait drops the owner, and the hold with it.
    ///
    /// # Errors
    /// See [`NotHeld`].
    pub(crate) async fn hold<S, T>(
        &self,
        order: Order,
        durable: &DurableWaiters,
        subject: S,
        own: impl FnOnce(S, Hold) -> T,
    ) -> Result<T, NotHeld<S, T>> {
        let Order { request, user, account, claim, model, at } = order;
        let Claim { amount, unsecured, .. } = claim;
        let granted = match &self.shared {
            None => account.lock().claim(&claim).map_err(HoldRefused::Insufficient),
            Some(shared) => shared.hold(user, request, claim).await,
        };
        if let Err(refused) = granted {
            return Err(NotHeld::Refused(subject, refused));
        }
        let books =
            self.shared.as_ref().map_or(Books::Local(account), |shared| Books::Shared(Arc::clone(shared)));
        let held = Cell::new(Held { amount, unsecured });
        let owner = own(subject, Hold { request, user, booked: amount, held, books, open: Cell::new(true) });
        match durable.commit(Entry::Hold { request, user, amount, model, at }).await {
            Ok(()) => Ok(owner),
            Err(error) => Err(NotHeld::Unwritten(owner, error)),
        }
    }

    /// Puts on an account what its user earned.
    ///
    /// # Errors
    /// [`BalanceOverflow`]; nothing changes then.
    pub(crate) fn credit(
        &self,
        user: UserId,
        account: &SharedAccount,
        amount: Micropoints,
    ) -> Result<(), BalanceOverflow> {
        match &self.shared {
            None => account.credit(amount),
            Some(shared) => {
                shared.credit(user, amount);
                Ok(())
            }
        }
    }
}

/// Whose balance decides about a hold.
enum Books {
    Local(Arc<SharedAccount>),
    Shared(Arc<dyn SharedAccounts>),
}

/// What is reserved for one request.
pub(crate) struct Hold {
    request: RequestId,
    user: UserId,
    /// What the books know of: the first hold.
    booked: Micropoints,
    /// All of it.
    held: Cell<Held>,
    books: Books,
    /// Whether nothing has resolved it.
    open: Cell<bool>,
}

/// Whether a hold has grown.
pub(crate) enum Growth {
    /// This node's own balance has said.
    Decided(Result<(), HoldRefused>),
    /// Those who keep the balance were asked. Dropped, it has asked for nothing.
    Asked(Deciding<'static, Result<(), HoldRefused>>),
}

impl Hold {
    /// How much is kept back.
    pub(crate) fn amount(&self) -> Micropoints {
        self.held.get().amount
    }

    /// How much the books know to be kept back.
    pub(crate) const fn booked(&self) -> Micropoints {
        self.booked
    }

    /// Asks for more. Where it is granted, [`Hold::grown`] has to be told.
    pub(crate) fn grow(&self, more: Micropoints) -> Growth {
        match &self.books {
            Books::Local(account) => {
                Growth::Decided(account.lock().claim(&Claim::of(more)).map_err(HoldRefused::Insufficient))
            }
            Books::Shared(shared) => {
                let (shared, user, request) = (Arc::clone(shared), self.user, self.request);
                Growth::Asked(Box::pin(async move { shared.grow(user, request, more).await }))
            }
        }
    }

    /// More was granted.
    pub(crate) fn grown(&self, more: Micropoints) {
        let Held { amount, unsecured } = self.held.get();
        // Both were granted by one balance, which 64 bits hold.
        let amount = amount.checked_add(more).unwrap_or(amount);
        self.held.set(Held { amount, unsecured });
    }

    /// Charges the account, and gives the rest of the hold back. Call it once: a resolved hold pays nothing.
    pub(crate) async fn settle(&self, charge: Micropoints) -> Settlement {
        if !self.open.replace(false) {
            return Settlement::default();
        }
        let held = self.held.get();
        let settlement = match &self.books {
            Books::Local(account) => account.lock().settle_held(held, charge),
            Books::Shared(shared) => shared.settle(self.user, self.request, held, charge).await,
        };
        settlement.within(self.booked)
    }

    /// Gives it back without a charge. Later calls change nothing.
    pub(crate) fn void(&self) {
        if self.open.replace(false) {
            match &self.books {
                Books::Local(account) => account.lock().void_held(self.held.get()),
                Books::Shared(shared) => shared.void(self.user, self.request, self.held.get()),
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.void();
    }
}

#[cfg(test)]
mod tests {
    use super::{Accounts, Growth, Hold, NotHeld, Order, SharedAccount};
    use crate::state::durable::DurableWaiters;
    use std::sync::Arc;
    use tollgate_core::id::{RequestId, UserId};
    use tollgate_core::ledger::{Account, Claim, Settlement};
    use tollgate_core::points::Micropoints;
    use tollgate_core::time::Timestamp;
    use tollgate_store::{Durability, Options, Store};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    struct Rig {
        account: Arc<SharedAccount>,
        model: Arc<str>,
        durable: DurableWaiters,
        store: Store,
        _folder: tempfile::TempDir,
    }

    impl Rig {
        async fn new(posted: i64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let options = Options { sync: Durability::Normal, ..Options::default() };
            let store = Store::open(&folder.path().join("t.db"), options).await.unwrap();
            let durable = DurableWaiters::new(store.ledger.writer().await.unwrap());
            let account = SharedAccount::new(Account::new(Micropoints::new(posted), Micropoints::ZERO));
            Self { account, model: "m".into(), durable, store, _folder: folder }
        }

        async fn hold(&self, amount: i64) -> Result<Hold, NotHeld<(), Hold>> {
            let order = Order {
                request: RequestId::new(NOW, [1; 10]),
                user: UserId::new(NOW, [2; 10]),
                account: Arc::clone(&self.account),
                claim: Claim::of(Micropoints::new(amount)),
                model: Arc::clone(&self.model),
                at: NOW,
            };
            Accounts::default().hold(order, &self.durable, (), |(), hold| hold).await
        }

        fn available(&self) -> i64 {
            self.account.available().get()
        }
    }

    #[tokio::test]
    async fn a_hold_is_charged_once_and_gives_the_rest_back() {
        let rig = Rig::new(100).await;
        let hold = rig.hold(60).await.ok().unwrap();
        assert!(matches!(rig.hold(41).await, Err(NotHeld::Refused((), _))));
        assert_eq!(rig.available(), 40);
        assert_eq!(hold.settle(Micropoints::new(10)).await.charge().get(), 10);
        assert_eq!(hold.settle(Micropoints::new(10)).await.charge().get(), 0);
        hold.void();
        drop(hold);
        assert_eq!(rig.available(), 90);
    }

    #[tokio::test]
    async fn a_hold_grows_as_far_as_the_balance_carries_and_goes_back_as_a_whole() {
        let rig = Rig::new(100).await;
        let points = Micropoints::new;
        let hold = rig.hold(60).await.ok().unwrap();
        assert!(matches!(hold.grow(points(30)), Growth::Decided(Ok(()))));
        hold.grown(points(30));
        assert_eq!((hold.amount(), hold.booked(), rig.available()), (points(90), points(60), 10));
        assert!(matches!(hold.grow(points(11)), Growth::Decided(Err(_))));
        let settled = hold.settle(points(85)).await;
        assert_eq!(settled, Settlement { posted: points(60), overrun: points(25), bad_debt: points(0) });
        assert_eq!(rig.available(), 15);
        let hold = rig.hold(5).await.ok().unwrap();
        hold.grow(points(10));
        hold.grown(points(10));
        drop(hold);
        assert_eq!(rig.available(), 15);
    }

    #[tokio::test]
    async fn a_hold_that_is_dropped_or_cannot_be_written_is_given_back() {
        let rig = Rig::new(100).await;
        drop(rig.hold(60).await);
        assert_eq!(rig.available(), 100);
        assert_eq!(rig.store.close().await, 0);
        let Err(NotHeld::Unwritten(hold, _)) = rig.hold(60).await else { panic!("a closed ledger wrote it") };
        assert_eq!(rig.available(), 40, "until its owner has voided it");
        drop(hold);
        assert_eq!(rig.available(), 100);
    }
}
