//! What operators and users make and change: users, keys, credentials, prices, routes.

pub(crate) mod api_key;
pub(crate) mod audit;
pub(crate) mod credential;
pub(crate) mod model_route;
pub(crate) mod pool;
pub(crate) mod price;
pub(crate) mod snapshot;
pub(crate) mod user;
