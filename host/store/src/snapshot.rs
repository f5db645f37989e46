//! Everything that a server decides from, at one moment.

use std::collections::HashMap;

use tollgate_core::id::UserId;
use tollgate_core::price::{PriceRate, PriceSchedule};

use crate::catalogue::api_key::ApiKey;
use crate::catalogue::credential::Credential;
use crate::catalogue::model_route::ModelRoute;
use crate::catalogue::user::User;
use crate::ledger::account::Balance;

/// What the database held at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// The last change of the [`Feed`](crate::Feed) that it contains.
    pub change: u64,
    /// The last transfer that the balances contain; [`Feed::transfers_since`](crate::Feed::transfers_since) tells of
    /// later grants.
    pub seq: i64,
    /// All users.
    pub users: Vec<User>,
    /// All API keys, revoked and expired ones too.
    pub api_keys: Vec<ApiKey>,
    /// All credentials, disabled ones too, still sealed.
    pub credentials: Vec<Credential>,
    /// Model routes that were made while the gateway ran.
    pub routes: Vec<ModelRoute>,
    /// The price table in force at the time asked for, and those to come.
    pub prices: PriceSchedule,
    /// What users pay of the prices, for those who do not pay them in full.
    pub price_rates: HashMap<UserId, PriceRate>,
    /// One balance per user. A server that already runs keeps its own and applies grants.
    pub balances: Vec<Balance>,
}
