//! For which request this thread works now, and whose that is, so that what a component says or does wrong can be told
//! by its request, and what strangers' bytes bring about by who brought them.
//!
//! Components are called from many places and know nothing of requests, so whoever works on one says so around the
//! whole of that work.

use std::cell::Cell;

use tollgate_core::id::{RequestId, UserId};

thread_local! {
    static BEHALF: Cell<Option<Behalf>> = const { Cell::new(None) };
}

/// A request, and who calls, once that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behalf {
    request: RequestId,
    caller: Option<UserId>,
}

impl Behalf {
    /// A request whose caller is not known yet.
    #[must_use]
    pub const fn of(request: RequestId) -> Self {
        Self { request, caller: None }
    }

    /// The same, of this caller.
    #[must_use]
    pub const fn by(self, caller: UserId) -> Self {
        Self { caller: Some(caller), ..self }
    }

    /// What this thread works on now.
    #[must_use]
    pub fn now() -> Option<Self> {
        BEHALF.get()
    }

    /// Does a piece of work for the request, which may find out who calls. Faults and log lines of the components that
    /// it calls bear the request's id.
    #[inline]
    pub fn work<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let _before = Before(BEHALF.replace(Some(*self)));
        let done = work();
        *self = BEHALF.get().unwrap_or(*self);
        done
    }
}

/// Says who calls, for what is left of the work on the request.
#[inline]
pub fn caller_is(caller: UserId) {
    BEHALF.set(BEHALF.get().map(|behalf| behalf.by(caller)));
}

/// The request that this thread works for now.
pub(crate) fn request() -> Option<RequestId> {
    BEHALF.get().map(|behalf| behalf.request)
}

/// Whose that is, as far as it is known.
pub(crate) fn caller() -> Option<UserId> {
    BEHALF.get().and_then(|behalf| behalf.caller)
}

/// What was worked for before; a panic does not leave it behind.
struct Before(Option<Behalf>);

impl Drop for Before {
    fn drop(&mut self) {
        BEHALF.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Behalf, RequestId, UserId, caller, caller_is, request};

    #[test]
    fn work_within_work_is_for_its_own_request() {
        let [one, other] = [[1; 16], [2; 16]].map(RequestId::from_bytes);
        Behalf::of(one).work(|| {
            assert_eq!(Behalf::of(other).work(request), Some(other));
            assert_eq!(request(), Some(one));
        });
        assert_eq!(request(), None);
    }

    #[test]
    fn who_calls_is_found_out_once_and_known_for_the_rest_of_the_work() {
        let (id, user) = (RequestId::from_bytes([1; 16]), UserId::from_bytes([7; 16]));
        let mut behalf = Behalf::of(id);
        behalf.work(|| caller_is(user));
        assert_eq!((behalf.work(caller), caller()), (Some(user), None));
        caller_is(user);
        assert_eq!(caller(), None, "nobody works for anybody");
    }
}
