//! Calls beside the road, which are rare: each has its own thread, because connections belong to a thread.

use std::future::Future;

use tokio::runtime::{Builder, LocalOptions};

/// Runs `work` on a thread that ends with it; `None` where the thread could not be started, or `work` panicked.
pub(crate) async fn run<F: Future>(work: impl FnOnce() -> F + Send + 'static) -> Option<F::Output>
where
    F::Output: Send + 'static,
{
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).ok()?;
        Some(runtime.block_on(async move { work().await }))
    });
    thread.await.ok().flatten()
}
