//! File descriptors, and who may have how many: clients, operators and providers share what the system gives, and the
//! database, the log and what else the gateway opens keep a reserve, so that none of them starves another.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::seats::Places;
use crate::config::{Config, Limits};

/// Taken for a limit where the system names none.
const UNLIMITED: usize = 1 << 20;
/// The least and the most that is kept in reserve.
const RESERVE: std::ops::RangeInclusive<usize> = 32..=512;
/// Connections of clients where the configuration names no number and the system would give more.
const CLIENTS_MAX: usize = 16_384;

/// How many connections there may be, each a descriptor.
pub(crate) struct Shares {
    /// Of clients.
    pub(crate) clients: Arc<Places>,
    /// Of operators.
    pub(crate) operators: Arc<Places>,
    /// Of users who manage what is theirs: as many as operators may have, so that neither keeps out the other.
    pub(crate) users: Arc<Places>,
    /// To providers.
    pub(crate) providers: usize,
}

/// Raises the number of descriptors that this process may have to what the system allows it, and says how many these
/// are.
pub(crate) fn raise() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the number of file descriptors could not be raised");
    }
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(UNLIMITED, |limit| usize::try_from(limit).unwrap_or(UNLIMITED))
}

impl Shares {
    /// Divides so many descriptors.
    pub(crate) fn of(descriptors: usize, config: &Config) -> Self {
        let limits = &config.limits;
        let offices = if config.server.users_listen.is_some() { 2 } else { 1 };
        let (clients, operators, providers) = divide(descriptors, limits, offices);
        if limits.connections_max > clients {
            tracing::warn!(
                connections_max = limits.connections_max,
                clients,
                descriptors,
                "the system gives fewer file descriptors than the configuration has connections"
            );
        }
        let office = || Places::new(operators);
        Self { clients: Places::new(clients), operators: office(), users: office(), providers }
    }
}

/// Clients, each of the listeners for management, providers. A call of a client needs a descriptor at either end.
fn divide(descriptors: usize, limits: &Limits, offices: usize) -> (usize, usize, usize) {
    let reserve = (descriptors / 8).clamp(*RESERVE.start(), *RESERVE.end());
    let operators = limits.admin_connections_max.get().min(descriptors / 8).max(4);
    let rest = descriptors.saturating_sub(reserve + offices * operators).max(16);
    let clients = match limits.connections_max {
        0 => (rest / 2).min(CLIENTS_MAX),
        named => named.min(rest * 3 / 4),
    };
    (clients, operators, rest - clients)
}

#[cfg(test)]
mod tests {
    use super::divide;
    use crate::config::Limits;

    #[test]
    fn nobody_gets_what_another_needs() {
        for descriptors in [64, 256, 1024, 4096, 65_536, 1 << 20] {
            for connections_max in [0, 10, 1000, 1_000_000] {
                let limits = Limits { connections_max, ..Limits::default() };
                for offices in [1, 2] {
                    let (clients, operators, providers) = divide(descriptors, &limits, offices);
                    assert!(clients > 0 && operators > 3 && providers > 3, "{descriptors} {connections_max}");
                    let kept = descriptors - (clients + offices * operators + providers).min(descriptors);
                    assert!(kept >= 32 || descriptors == 64, "{descriptors} {connections_max}: {kept}");
                    assert!(connections_max == 0 || clients <= connections_max);
                }
            }
        }
    }
}
