//! Runs policy and adapter components in sandboxes.
