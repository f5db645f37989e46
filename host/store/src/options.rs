//! How a store is opened.

/// When a commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once the disk has it: survives a loss of power.
    #[default]
    Full,
    /// Once the kernel has it: survives a crash of the process; a loss of power may take the last commits.
    Normal,
}

/// How to open a store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// When a commit counts as durable.
    pub sync: Durability,
    /// Whether to go on with what is left where something of the data is missing.
    pub accept_loss: bool,
}
