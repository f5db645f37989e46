//! The allocator: buffers come and go with each request, so it is on the road. glibc's took a tenth of a worker's time.
//!
//! It is built without huge pages, which made an idle process a third larger and a busy one no faster.

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many milliseconds freed memory is kept for the next allocation: `mi_option_purge_delay` of mimalloc 3, which its
/// crate does not name.
const PURGE_DELAY: mi_option_t = 15;

/// While it lives, freed memory goes back to the system at once. A start frees more than serving ever uses again:
/// components are read and compiled there.
pub(crate) struct Frugal {
    usual_delay: std::ffi::c_long,
}

impl Frugal {
    #[expect(unsafe_code, reason = "the allocator's own functions have no safe face")]
    pub(crate) fn begin() -> Self {
        // SAFETY: options may be read and set at any time, by any thread.
        let usual_delay = unsafe { mi_option_get(PURGE_DELAY) };
        // SAFETY: as above.
        unsafe { mi_option_set(PURGE_DELAY, 0) };
        Self { usual_delay }
    }
}

impl Drop for Frugal {
    #[expect(unsafe_code, reason = "the allocator's own functions have no safe face")]
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { mi_option_set(PURGE_DELAY, self.usual_delay) };
    }
}
