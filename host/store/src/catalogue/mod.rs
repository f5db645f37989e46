//! What operators and users make and change: users, keys, credentials, prices, routes.

pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod credential;
pub(crate) mod lending;
pub(crate) mod model_route;
pub(crate) mod price;
pub(crate) mod sealing;
pub(crate) mod setting;
pub(crate) mod user;

use std::fmt::Debug;
use std::sync::Arc;

use self::api_key::ApiKeys;
use self::audit::{Act, AuditLog};
use self::credential::Credentials;
use self::lending::Lending;
use self::model_route::ModelRoutes;
use self::price::{PriceRates, Prices};
use self::sealing::Sealing;
use self::setting::Settings;
use self::user::Users;

/// What operators and users make and change. Each change is one transaction with its row of the audit log and its row
/// of the [`Feed`](crate::Feed).
pub trait Catalogue:
    Users
    + ApiKeys
    + Credentials
    + Lending
    + Prices
    + PriceRates
    + ModelRoutes
    + Settings
    + Sealing
    + AuditLog
    + Debug
    + Send
    + Sync
{
    /// The same catalogue on someone's behalf: the audit log names them for every change. A catalogue without an actor
    /// (a server's own, a test's) notes nothing.
    fn acting(&self, act: Arc<Act>) -> Arc<dyn Catalogue>;
}
