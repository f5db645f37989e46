//! What runs beside the road on the control thread: the database and the configuration file followed, credentials
//! looked after, old records removed, and the node's lease kept.

pub(crate) mod bodies;
pub(crate) mod config_watch;
pub(crate) mod credential_monitor;
pub(crate) mod directory_build;
pub(crate) mod directory_sync;
pub(crate) mod follower;
pub(crate) mod lease;
pub(crate) mod retention;
pub(crate) mod tokens;
