//! For which request this thread works now, so that what a component says or does wrong can be told by its request.
//!
//! Components are called from many places and know nothing of requests, so whoever works on one says so around the
//! whole of that work.

use std::cell::Cell;

use tollgate_core::id::RequestId;

thread_local! {
    static REQUEST: Cell<Option<RequestId>> = const { Cell::new(None) };
}

/// Does a piece of work for a request. Faults and log lines of the components that it calls bear the request's id.
#[inline]
pub fn on_behalf_of<R>(request: RequestId, work: impl FnOnce() -> R) -> R {
    let _before = Before(REQUEST.replace(Some(request)));
    work()
}

/// The request that this thread works for now.
pub(crate) fn request() -> Option<RequestId> {
    REQUEST.get()
}

/// What was worked for before; a panic does not leave it behind.
struct Before(Option<RequestId>);

impl Drop for Before {
    fn drop(&mut self) {
        REQUEST.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{RequestId, on_behalf_of, request};

    #[test]
    fn work_within_work_is_for_its_own_request() {
        let [one, other] = [[1; 16], [2; 16]].map(RequestId::from_bytes);
        on_behalf_of(one, || {
            assert_eq!(on_behalf_of(other, request), Some(other));
            assert_eq!(request(), Some(one));
        });
        assert_eq!(request(), None);
    }
}
