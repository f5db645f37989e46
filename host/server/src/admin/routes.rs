//! The management API, all of it: one row for each route. To learn the API, read this table; dispatch, the OpenAPI
//! document (`/management/v1/openapi.json`, `tollgate openapi`), the audit log and the tests of roles and owners read
//! it too.
//!
//! How to add a route:
//!
//! 1. Write the handler in the file of its resource, `admin/<resource>.rs`:
//!    `async fn show(ask: Ask<ApiKeyId>) -> Result<Key, Problem>`. The types say what it takes: `Ask<P, Q, B>` has the
//!    parameters of the path (an id, a `String`, or a pair), the query and the body, each
//!    [`Nothing`](super::ask::Nothing) where there is none. Query, body and answer are plain structs with `Deserialize`
//!    or `Serialize` and `JsonSchema`; what takes input has `#[serde(deny_unknown_fields)]`. Doc comments become
//!    descriptions. A body has one `#[schemars(example = …)]`, which the tests send.
//! 2. Let it check what the row cannot know. The row keeps out everyone without the role. The handler asks whether a
//!    thing is the caller's: `ask.caller.actor.own(found, owner)` answers what is somebody else's as if it were not
//!    there. A list takes a [`window`](super::ask::window) and answers a [`Page`](super::ask::Page).
//! 3. Change things through `ask.caller.management`, which knows who changes them. The function of the store that makes
//!    the change notes it in its own transaction, `self.note(&mut tx, Note { .. }, now)`, which covers the command line
//!    too; where it does not, a row with the action's name and the id is written after the change.
//! 4. Add the row. `.creates("key.create")` is for a `POST` that makes something: it answers 201 and takes an
//!    `Idempotency-Key`. `.changes("key.change")` is for every other row that changes something. Both name the action
//!    for the audit log.
//!
//! `tests/it/api_roles.rs` then calls the new route as everyone whom the document lets in and everyone whom it keeps
//! out. It must be told who that is (`ACCESS`: a second opinion, so that a slip in this table is seen), and how to make
//! such a thing when the path has a parameter of a new name.

pub(crate) mod openapi;

use std::sync::LazyLock;

use http::Method;

use super::route::{Access, Route, route};
use super::{
    about, accounts, audit, bodies, configuration, credentials, dry_run, key_preview, keys, lending, models,
    platforms, plugin_events, plugin_versions, plugins, points, prices, receipts, requests, sessions, tail,
    usage, users, watch,
};

/// What all paths begin with.
pub(super) const ROOT: &str = "/management/v1";

/// The table.
pub(super) static ROUTES: LazyLock<Vec<Route>> =
    LazyLock::new(|| callers().into_iter().chain(records()).collect());

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// Who calls, and with what: logins, users, API keys, provider keys.
#[rustfmt::skip]
fn callers() -> Vec<Route> {
    use Access::{Admin, Anyone, Me, Owner};
    vec![
        // The API itself.
        route(GET,    Anyone, "/openapi.json",   openapi::show,     "This document."),

        route(GET,    Anyone, "/about",          about::show,       "What this gateway is: its version, where provider keys are kept, where clients call."),

        route(GET,    Owner,  "/events",         watch::watch,      "Tells of what changes by itself, as events: `credential`, `credential_gone`, and for admins `component`, `generation` and `configuration`."),

        // Logins.
        route(POST,   Anyone, "/login",          accounts::log_in,  "Takes a name and a password for a pair of tokens."),
        route(POST,   Anyone, "/refresh",        accounts::refresh, "Takes a refresh token, which is good once, for the next pair."),
        route(POST,   Anyone, "/session/login",  sessions::log_in,  "Takes a name and a password for an access token. The refresh token becomes a cookie that scripts cannot read."),
        route(POST,   Anyone, "/session/link",   sessions::follow,  "Takes what a log-in link holds, which is good once, in place of a name and a password."),
        route(POST,   Anyone, "/session/refresh", sessions::refresh, "Takes the cookie for the next access token. The cookie before is good for some seconds more, for another tab."),
        route(POST,   Anyone, "/session/logout", sessions::log_out, "Ends the cookie's login, and takes the cookie away."),
        route(POST,   Me,     "/logout",         accounts::log_out, "Ends the login: neither of its tokens is good any more."),
        route(GET,    Me,     "/me",             accounts::me,      "Who one is."),
        route(POST,   Me,     "/me/password",    accounts::change_password, "Sets one's own password, by the one before it. One's other logins end.").changes("user.password"),

        route(PUT,    Me,     "/me/own-only",    accounts::set_own_only, "Says whether one's own provider keys alone may serve one's calls.").changes("user.change"),

        // Users.
        route(GET,    Admin,  "/users",          users::list,       "Lists users with their balances, oldest first."),
        route(POST,   Admin,  "/users",          users::create,     "Makes a user with an account.").creates("user.create"),
        route(GET,    Owner,  "/users/{user}",   users::show,       "Shows a user with their balance."),
        route(PATCH,  Admin,  "/users/{user}",   users::change,     "Changes what is given of a user; the rest stays. The last admin stays one.").changes("user.change"),
        route(GET,    Owner,  "/users/{user}/keys", users::keys,    "Lists a user's API keys."),

        // API keys.
        route(GET,    Owner,  "/keys",           keys::list,        "Lists API keys with what was used of them, oldest first."),
        route(POST,   Owner,  "/keys",           keys::create,      "Makes an API key. The answer shows it, this once.").creates("key.create"),
        route(GET,    Owner,  "/keys/dry-run",   key_preview::show, "Tells what a key may do, or one of other limits would: models, who would serve them, and why not."),
        route(GET,    Owner,  "/keys/{key}",     keys::show,        "Shows an API key."),
        route(PATCH,  Owner,  "/keys/{key}",     keys::change,      "Changes what is given of an API key; the rest stays.").changes("key.change"),
        route(DELETE, Owner,  "/keys/{key}",     keys::revoke,      "Refuses an API key from now on. What was used with it stays known.").changes("key.revoke"),
        route(PUT,    Admin,  "/keys/{key}/keep-bodies", bodies::keep, "Says whether the bodies of a key's calls are kept from now on, redacted and sealed.").changes("key.keep-bodies"),

        // Provider keys.
        route(GET,    Owner,  "/credentials",    credentials::list, "Lists provider keys with how they are now, oldest first."),
        route(POST,   Owner,  "/credentials",    credentials::add,  "Adds a provider key, once the provider has been asked about it.").creates("credential.add"),
        route(GET,    Owner,  "/credentials/{credential}", credentials::show,   "Shows a provider key, but for the key itself."),
        route(PATCH,  Owner,  "/credentials/{credential}", credentials::change, "Changes what is given of a provider key; the rest stays.").changes("credential.change"),
        route(DELETE, Owner,  "/credentials/{credential}", credentials::remove, "Forgets a provider key.").changes("credential.remove"),
        route(POST,   Owner,  "/credentials/{credential}/check", credentials::check, "Asks the provider whether a key is good.").changes("credential.check"),

        route(GET,    Owner,  "/platforms",      platforms::list,   "Lists where provider keys may be valid, and what a key for each place consists of."),

        // Lending.
        route(GET,    Owner,  "/lending",        lending::show,     "What lending a provider key means, and whether it can be done here."),
        route(GET,    Owner,  "/pool",           lending::show,     "The name of `/lending` in version 0.1.").replaced_by("/lending"),
        route(POST,   Owner,  "/credentials/{credential}/share", lending::share, "Lends one's own provider key to other users, by an agreement that is recorded, or changes how often they may use it.").changes("credential.share"),
        route(DELETE, Owner,  "/credentials/{credential}/share", lending::unshare, "Takes a provider key back: no request that comes later uses it, but its owner's.").changes("credential.unshare"),
        route(GET,    Owner,  "/credentials/{credential}/uses", lending::uses, "Lists what others used a provider key for and what that earned, newest first."),
    ]
}

/// What came of it, and what it costs: logs, usage, points, prices, routes, components.
#[rustfmt::skip]
fn records() -> Vec<Route> {
    use Access::{Admin, Me, Owner};
    vec![
        // The audit log.
        route(GET,    Admin,  "/audit",          audit::list,       "Lists what was changed, by whom and by which call, newest first."),

        // Usage and the request log.
        route(GET,    Owner,  "/usage",          usage::rows,       "Tells what was used: by day, month, model or key."),
        route(GET,    Owner,  "/usage/summary",  usage::summary,    "Tells what was used today, in this month, and since the beginning."),
        route(GET,    Owner,  "/requests",       requests::list,    "Lists calls, newest first."),
        route(GET,    Owner,  "/requests/tail",  tail::tail,        "Tells of calls as they end, as events: `call` with a row of the list, `skipped` with how many were not told."),
        route(GET,    Owner,  "/requests/sums",  requests::sums,    "Adds calls up: those that a filter lets through, the newest of them where there are many."),
        route(GET,    Owner,  "/requests/latency", requests::latency, "Tells how long calls took, to the first byte and to the end: by provider, model and the like, and over time."),
        route(GET,    Owner,  "/requests/export.jsonl", requests::export_jsonl, "Exports calls, newest first, one JSON object a line."),
        route(GET,    Owner,  "/requests/export.csv", requests::export_csv, "Exports calls, newest first, as values between commas."),
        route(GET,    Owner,  "/requests/{request}", requests::show, "Shows a call with its attempts."),
        route(GET,    Admin,  "/requests/{request}/bodies", bodies::show, "Shows what was asked and answered in a call, where it is kept. Every read is in the audit log."),

        // Dry runs.
        route(POST,   Admin,  "/proxy/test",     dry_run::run,        "Sends one request through the whole road, and tells what each step decided.").changes("proxy.test"),

        // Points.
        route(GET,    Owner,  "/transfers",      points::statement, "A statement: what was taken from an account and put on it, newest first."),
        route(GET,    Owner,  "/receipts/{request}", receipts::show, "What was charged for a request, and for what of it."),
        route(POST,   Me,     "/redeem",         points::redeem,    "Puts what a code is worth on one's account, once.").creates("code.redeem"),
        route(POST,   Admin,  "/users/{user}/grants",  points::grant,  "Gives a user points.").creates("grant"),
        route(POST,   Admin,  "/users/{user}/top-ups", points::top_up, "Books what a user has paid, once for each payment.").creates("top-up"),
        route(POST,   Admin,  "/requests/{request}/refund", points::refund, "Gives back what a request cost, in part or whole, and never more than was paid.").creates("refund"),
        route(GET,    Admin,  "/codes",          points::list,      "Lists batches of codes that are worth points, oldest first."),
        route(POST,   Admin,  "/codes",          points::create,    "Makes a batch of codes. The answer shows them, this once.").creates("code.create"),
        route(PATCH,  Admin,  "/codes/{batch}",  points::change,    "Takes the codes of a batch no more, or takes them again.").changes("code.change"),

        // Prices.
        route(GET,    Admin,  "/receipts/{request}/inputs", receipts::inputs, "Every input of a charge, prices and price rate included."),
        route(GET,    Admin,  "/prices",         prices::versions,  "Lists the versions of the prices, the latest first."),
        route(POST,   Admin,  "/prices",         prices::publish,   "Publishes a price list, in force at once or from a moment on.").creates("price.publish"),
        route(PATCH,  Admin,  "/prices",         prices::set,       "Gives one model its price, or all models of a provider, beside the others in force.").changes("price.publish"),
        route(GET,    Admin,  "/prices/{version}/list", prices::list, "A version as a list that can be published."),
        route(GET,    Admin,  "/prices/{version}", prices::models,  "Lists what models cost in a version."),
        route(DELETE, Admin,  "/prices/{version}", prices::withdraw, "Takes back a version that is still to come.").changes("price.withdraw"),
        route(GET,    Admin,  "/price-rates",    prices::rates,     "Lists what each user pays of the prices. Users are never shown this."),
        route(PUT,    Admin,  "/price-rates",    prices::set_rates, "Sets what some users, or all, pay of the prices from now on.").changes("price-rate.set"),

        // Model routes.
        route(GET,    Admin,  "/models/routes",         models::list,   "Lists who serves which model: the configuration file's routes, then those made here."),
        route(POST,   Admin,  "/models/routes",         models::create, "Adds a model route. It is in force within a second.").creates("model_route.create"),
        route(GET,    Admin,  "/models/routes/{route}", models::show,   "Shows a model route."),
        route(PATCH,  Admin,  "/models/routes/{route}", models::change, "Changes what is given of a model route; the rest stays. One of the configuration file is refused.").changes("model_route.change"),
        route(DELETE, Admin,  "/models/routes/{route}", models::remove, "Forgets a model route. One of the configuration file is refused.").changes("model_route.delete"),

        // The configuration file.
        route(GET,    Admin,  "/configuration",  configuration::show, "Tells what became of the configuration file when it was last looked at."),
        route(POST,   Admin,  "/configuration/reload", configuration::reload, "Looks at the configuration file now. One that removes what is in force is taken up only where that is accepted.").changes("configuration.reload"),

        // Components.
        route(GET,    Admin,  "/plugins",        plugins::list,     "Lists the components that run, with their health."),
        route(GET,    Admin,  "/plugins/grants", plugins::grants,   "Lists the hosts that operators let components send keys to."),
        route(PUT,    Admin,  "/plugins/{component}/hosts/{host}", plugins::grant, "Lets a component send keys to a host that it names.").changes("plugin.grant"),
        route(DELETE, Admin,  "/plugins/{component}/hosts/{host}", plugins::revoke, "Takes that back: what the configuration file grants is changed there.").changes("plugin.revoke"),
        route(POST,   Admin,  "/plugins/{component}/forget", plugins::forget, "Lets go of what is kept of a component whose file is gone.").changes("plugin.forget"),
        route(GET,    Admin,  "/plugins/{component}/inspection", plugin_versions::inspect, "Says what a component that runs is, what it is shown and what it may do."),
        route(GET,    Admin,  "/plugins/{component}/versions", plugin_versions::list, "Lists the versions of a component that served, with their settings, newest first."),
        route(POST,   Admin,  "/plugins/{component}/use", plugin_versions::put, "Puts a version that served before in force again, by writing its file.").changes("plugin.use"),
        route(POST,   Admin,  "/plugins/{component}/back", plugin_versions::back, "Puts the version before the one that serves in force again, but for those that were rolled back.").changes("plugin.back"),
        route(GET,    Admin,  "/plugins/events", plugin_events::list, "Lists what happened to components, newest first."),
        route(POST,   Admin,  "/plugins/reload", plugins::reload,   "Looks at the plugins directory now. When a component is refused, what ran before still runs.").changes("plugin.reload"),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::Method;

    use super::ROUTES;

    #[test]
    fn a_row_is_there_once_and_says_what_it_must() {
        let mut seen = BTreeSet::new();
        for route in ROUTES.iter() {
            let name = format!("{} {}", route.method, route.path);
            assert!(seen.insert(name.clone()), "{name} is there twice");
            assert!(route.path.starts_with('/') && route.summary.ends_with('.'), "{name}");
            assert_eq!(
                route.params().count(),
                route.shape.params.len(),
                "{name} and its handler take other parameters"
            );
            let changes = route.method != Method::GET;
            assert!(changes || route.action.is_none(), "{name} must not change anything");
            assert!(
                !route.creates || route.method == Method::POST,
                "{name} creates by another method than POST"
            );
            // A login changes nothing that is managed.
            let named = route.action.is_some() || matches!(route.path, "/login" | "/refresh" | "/logout");
            let named = named || route.path.starts_with("/session/");
            assert!(!changes || named, "{name} has no name in the audit log");
        }
    }

    #[test]
    fn no_path_is_hidden_by_one_that_stands_before_it() {
        for route in ROUTES.iter() {
            let example: Vec<&str> =
                route.path.split('/').map(|part| part.trim_matches(['{', '}'])).collect();
            let example = example.join("/");
            let first =
                ROUTES.iter().find(|other| other.method == route.method && other.matches(&example).is_some());
            assert_eq!(first.map(|first| first.path), Some(route.path));
        }
    }
}
