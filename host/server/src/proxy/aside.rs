//! Work that takes long, on a thread of its own: a large body that is translated would hold up every other stream of
//! its worker for as long.
//!
//! Such threads are few at a time and leave the processor to workers. One is made for each piece of work: what that
//! costs is nothing beside the work.

use std::sync::OnceLock;

use tokio::sync::{Semaphore, oneshot};
use tollgate_core::id::RequestId;
use tollgate_runtime::{Behalf, Runtime};

use super::error::ProxyError;

/// Bodies from this length on are worked on aside.
pub(super) const LARGE_BYTES: usize = 128 * 1024;
/// How much the threads stand behind others.
const NICE: i32 = 10;

/// Does `work` for a request on another thread, when its turn has come.
///
/// # Errors
/// [`ProxyError::Internal`] when it panicked, [`ProxyError::Busy`] when there is no thread for it.
pub(super) async fn aside<R: Send + 'static>(
    request: RequestId,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ProxyError> {
    // Whoever works on a request is known here, and not on the other thread.
    let mut behalf = Behalf::now().unwrap_or(Behalf::of(request));
    let turn = turns().acquire().await.map_err(|_| ProxyError::Internal)?;
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("tollgate-aside".to_owned()).spawn(move || {
        // Where the system does not allow it, the thread competes with the others.
        let _nice = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
        Runtime::prepare_thread();
        let result = behalf.work(work);
        drop(turn);
        // Who waited may have left.
        let _gone = done.send(result);
    });
    thread.map_err(|_| ProxyError::Busy)?;
    result.await.map_err(|_| ProxyError::Internal)
}

/// Half of the processors work aside at most.
fn turns() -> &'static Semaphore {
    static TURNS: OnceLock<Semaphore> = OnceLock::new();
    TURNS.get_or_init(|| {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Semaphore::new((processors / 2).max(1))
    })
}
