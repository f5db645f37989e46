//! An operator who upgrades from version 0.1.0 loses no name: its routes, commands, metrics and configuration keys work
//! until the next version, those that were renamed with a line in the log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tollgate_server::config::Config;
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

/// An answer with usage of a call whose first attempt failed.
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
/// The routes of version 0.1.0, below `/management/v1`.
const ROUTES: &str = "\
GET /openapi.json
POST /login
POST /refresh
POST /logout
GET /me
POST /me/password
GET /users
POST /users
GET /users/{user}
PATCH /users/{user}
GET /users/{user}/keys
GET /keys
POST /keys
GET /keys/{key}
PATCH /keys/{key}
DELETE /keys/{key}
PUT /keys/{key}/keep-bodies
GET /credentials
POST /credentials
GET /credentials/{credential}
PATCH /credentials/{credential}
DELETE /credentials/{credential}
POST /credentials/{credential}/check
GET /pool
POST /credentials/{credential}/share
DELETE /credentials/{credential}/share
GET /credentials/{credential}/uses
GET /audit
GET /usage
GET /usage/summary
GET /requests
GET /requests/export.jsonl
GET /requests/export.csv
GET /requests/{request}
GET /requests/{request}/bodies
POST /proxy/test
GET /transfers
GET /receipts/{request}
POST /redeem
POST /users/{user}/grants
POST /users/{user}/top-ups
POST /requests/{request}/refund
GET /codes
POST /codes
PATCH /codes/{batch}
GET /receipts/{request}/inputs
GET /prices
POST /prices
GET /prices/{version}
DELETE /prices/{version}
GET /price-rates
PUT /price-rates
GET /models/routes
POST /models/routes
GET /models/routes/{route}
PATCH /models/routes/{route}
DELETE /models/routes/{route}
GET /plugins
POST /plugins/reload
";
/// Its commands.
const COMMANDS: [&str; 14] = [
    "serve",
    "user add,password,role,list,disable,enable",
    "key create,update,list,keep-bodies,revoke",
    "credential add,list,disable,enable,check,share,unshare,reseal,remove",
    "plugin check,list,reload",
    "price list,history,publish,withdraw,import,replay,rate",
    "price rate set,list",
    "receipt show,verify",
    "code create,list,disable,enable,redeem",
    "ledger grant,top-up,refund,statement,balance,requests,receipt,verify",
    "audit",
    "usage summary,show,verify",
    "requests list,show,bodies,export,prune",
    "openapi",
];
/// Its metrics, without the prefix `tollgate_`; `log_lines_lost`, which only log files have, is in `logs.rs`.
const METRICS: [&str; 12] = [
    "requests",
    "outcomes",
    "tokens",
    "charged_micropoints",
    "attempts_failed",
    "request_duration_seconds",
    "time_to_first_byte_seconds",
    "plugin_calls",
    "plugin_faults",
    "plugin_bytes",
    "credentials",
    "bodies_lost",
];

/// Runs a command that must succeed.
fn ran(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test")).args(args).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The routes of the document, each with its operation.
fn served() -> Vec<(String, Value)> {
    let document: Value = serde_json::from_str(&ran(&["openapi"])).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let each = paths.into_iter().flat_map(|(path, methods)| {
        let path = path.strip_prefix("/management/v1").expect("the root").to_owned();
        let methods = methods.as_object().expect("methods").clone();
        methods
            .into_iter()
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    });
    each.collect()
}

#[test]
fn every_route_of_the_first_version_is_answered() {
    let served: BTreeSet<String> = served().into_iter().map(|(route, _)| route).collect();
    let missing: Vec<&str> = ROUTES.lines().filter(|route| !served.contains(*route)).collect();
    assert_eq!((missing, ROUTES.lines().count()), (Vec::new(), 59));
}

#[test]
fn an_old_route_is_deprecated_in_the_document_and_no_other_is() {
    let served = served();
    let old = served.iter().filter(|(_, operation)| operation["deprecated"] == true);
    assert_eq!(old.map(|(route, _)| route.as_str()).collect::<Vec<_>>(), ["GET /pool"]);
}

#[tokio::test]
async fn an_old_route_answers_what_its_new_name_does() {
    let rig = Rig::with(|setup| setup.config.lending.enabled = true).await;
    let [old, new] = ["pool", "lending"].map(|name| format!("/management/v1/{name}"));
    let (old, new) = (rig.admin("GET", &old).await, rig.admin("GET", &new).await);
    assert_eq!((old.status, new.status), (200, 200));
    assert_eq!(old.json(), new.json());
    assert_eq!(new.json()["enabled"], true);
    rig.stop().await;
}

#[test]
fn every_command_of_the_first_version_is_there() {
    for line in COMMANDS {
        let (group, names) = line.rsplit_once(' ').unwrap_or(("", line));
        for name in names.split(',') {
            let command: Vec<&str> =
                group.split(' ').chain([name, "--help"]).filter(|it| !it.is_empty()).collect();
            assert!(ran(&command).contains("Usage:"), "{command:?}");
        }
    }
}

#[tokio::test]
async fn every_metric_of_the_first_version_is_exported() {
    // A call whose first attempt the provider fails, and whose second one the key selector.
    let trap = tollgate_components::find_guest("trap").expect("a guest").bytes.to_vec();
    let rig = Rig::with(|setup| {
        setup.credentials = vec![("openai", None, "first", 100), ("openai", None, "second", 100)];
        setup.plugins = vec![("key-selection", trap)];
    })
    .await;
    rig.upstream.enqueue(Script::json(500, "{}"));
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    let call = Request::new("POST", "/v1/chat/completions").body(r#"{"model":"gpt-4o"}"#);
    assert_eq!(rig.call(call).await.status, 200);
    rig.record().await;
    let text = client::call(rig.admin_addr(), &Request::get("/metrics")).await.text();
    for metric in METRICS {
        assert!(text.contains(&format!("# TYPE tollgate_{metric} ")), "{metric}");
    }
    rig.stop().await;
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

#[test]
fn every_configuration_key_of_the_first_version_is_read() {
    let config = Config::read(&fixture("tollgate-0.1.0.toml")).expect("the example of 0.1.0, with all keys");
    assert_eq!(config.old_names(), ["[pool] is called [lending] now"]);
    assert!(config.lends());
}
