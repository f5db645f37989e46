//! What requests left behind: records, bodies, and what was used.

pub(crate) mod body;
pub(crate) mod ended;
pub(crate) mod filter;
pub(crate) mod usage;

use std::fmt::Debug;

use self::body::KeptBodies;
use self::filter::{Expiry, RequestPages, Requests};
use self::usage::UsageCounters;

/// What requests left behind.
pub trait RequestLog:
    Requests + RequestPages + UsageCounters + KeptBodies + Expiry + Debug + Send + Sync
{
}
