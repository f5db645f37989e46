//! What the gateway offers: a log line. Not for pricing policies, whose world imports nothing.

pub use crate::bindings::provider_adapter::tollgate::plugin::host::Level;

/// Writes one line to the gateway's log; natively, in tests, to standard error.
///
/// At most 2 KiB of `message` are kept, and at most 20 lines a second of one component. [`log!`](crate::log) formats.
pub fn log(level: Level, message: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::provider_adapter::tollgate::plugin::host::log(level, message);
    #[cfg(not(target_arch = "wasm32"))]
    #[expect(clippy::print_stderr, reason = "a native test has no gateway whose log could take it")]
    {
        eprintln!("{level:?} {message}");
    }
}

/// Formats a line and writes it to the gateway's log: `log!(Warn, "{count} of {limit} used")`.
///
/// The first word is a case of [`Level`]: `Error`, `Warn`, `Info`, `Debug` or `Trace`.
#[macro_export]
macro_rules! log {
    ($level:ident, $($message:tt)+) => {
        $crate::host::log($crate::host::Level::$level, &::std::format!($($message)+))
    };
}
