//! The gateway: listeners, the data path, the command line.
