//! The console: hand-written pages below `web/`, compressed by the build and carried as bytes. `README.md` says how a
//! page is added.
//!
//! Only the page itself is looked at again at each visit. Everything else stands below [`DIGEST`], never changes there,
//! and is kept by browsers.

#[cfg(test)]
mod tests;

/// A file of the console.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its path below the digest.
    pub path: &'static str,
    /// What it is.
    pub media_type: &'static str,
    /// Its content, compressed.
    pub gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// What the page may do: run the scripts and show the styles of this origin, talk to this origin, and nothing else.
/// Nobody may put it into a frame, and no text becomes a script.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'";

/// What a worker may do, by its own policy: run WebAssembly. It has no network.
pub const WORKER_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'";

/// The folder of files that run as workers.
const WORKERS: &str = "worker/";

impl File {
    /// The policy that its answer carries.
    #[must_use]
    pub fn policy(&self) -> &'static str {
        if self.path.starts_with(WORKERS) { WORKER_POLICY } else { PAGE_POLICY }
    }
}

/// The file at a path below the digest.
#[must_use]
pub fn find(path: &str) -> Option<&'static File> {
    FILES.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| &FILES[at])
}
