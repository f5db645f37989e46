//! What runs beside the road on the control thread: it follows the database and the configuration file, monitors
//! credentials, removes old records, and renews the node's lease.

pub(crate) mod bodies;
pub(crate) mod config_apart;
pub(crate) mod config_watch;
pub(crate) mod credential_monitor;
pub(crate) mod directory_build;
pub(crate) mod directory_sync;
pub(crate) mod follower;
pub(crate) mod lease;
pub(crate) mod permissions;
pub(crate) mod retention;
pub(crate) mod tokens;
