//! What this gateway is, for whoever reaches the operators' listener: a page shows it before anyone has logged in.
//! Nothing here is a secret, and nothing is about anyone.

use schemars::JsonSchema;
use serde::Serialize;
use tollgate_core::protocol::Protocol;

use super::ask::Ask;
use super::error::Problem;
use crate::clock::now;

/// What this gateway is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct About {
    /// The version that runs.
    version: &'static str,
    /// Where provider keys are kept: `database`, or `memory`, where each change of them is gone with the process.
    storage: &'static str,
    /// What a point is called here.
    point_name: String,
    /// Digits behind the point of an amount of points.
    point_decimals: u8,
    /// What prices are in.
    price_unit: &'static str,
    /// Where clients call.
    clients: Clients,
    /// The wire formats that clients may speak.
    protocols: Vec<&'static str>,
    /// What is switched on here.
    features: Features,
    /// API keys that work, per user.
    keys_per_user_max: u32,
    /// The gateway's clock.
    now_ms: u64,
}

/// Where clients call.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Clients {
    /// The address to show, without a path: what the configuration says, or the listener's own. Null where the listener
    /// takes calls for every address of the machine: then it is the host by which this answer was asked for, with the
    /// port below.
    pub(crate) url: Option<String>,
    /// The listener's port.
    pub(crate) port: u16,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
}

/// What is switched on.
#[derive(Debug, Serialize, JsonSchema)]
struct Features {
    /// Users may lend their own provider keys to others.
    lending: bool,
    /// Providers are simulated, and the data is for trying things out.
    demo: bool,
    /// Changed components are taken up by themselves.
    plugins_watch: bool,
}

/// `GET /management/v1/about`
pub(super) async fn show(ask: Ask) -> Result<About, Problem> {
    let (admin, settings) = (&ask.caller.admin, &ask.caller.admin.shared.settings);
    Ok(About {
        version: env!("CARGO_PKG_VERSION"),
        storage: if ask.caller.management.memory().is_some() { "memory" } else { "database" },
        point_name: settings.server.point_name.clone(),
        point_decimals: 6,
        price_unit: "points for a million tokens, and for one of whatever else is counted",
        clients: admin.house.clients.clone(),
        protocols: Protocol::ALL.map(Protocol::name).into(),
        features: Features {
            lending: settings.lends(),
            demo: admin.house.demo,
            plugins_watch: settings.plugins.watch,
        },
        keys_per_user_max: settings.limits.api_keys_per_user,
        now_ms: now().millis(),
    })
}
