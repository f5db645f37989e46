//! The providers' official Python SDKs, pointed at a gateway with its simulated provider, as the README shows it.

use tollgate_core::secret::Secret;
use tollgate_server::app::{Gateway, Options};
use tollgate_server::config::{Config, LogFilter};
use tollgate_tests::sdk;

/// Starts a demonstration, and ends it when `visit` has ended: base URL (no path) and API key are its own.
pub(crate) async fn at_a_demonstration<F: Future>(visit: impl FnOnce(String, String) -> F) -> F::Output {
    demonstration(|_| {}, visit).await
}

/// The same with a configuration that was changed.
pub(crate) async fn demonstration<F: Future>(
    change: impl FnOnce(&mut Config),
    visit: impl FnOnce(String, String) -> F,
) -> F::Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = Config::default();
    config.server.data_dir = dir.path().to_owned();
    config.server.listen = "127.0.0.1:0".parse().expect("an address");
    config.server.admin_listen = config.server.listen;
    config.log.level = LogFilter("error".to_owned());
    change(&mut config);
    let start = || Gateway::start(Options { config, demo: true, ..Options::default() });
    let gateway =
        tokio::task::spawn_blocking(start).await.expect("no panic").expect("the demonstration starts");
    let key = gateway.first_start.demo_key.as_ref().map(Secret::expose).expect("a first start makes a key");
    let seen = visit(gateway.url(), key.to_owned()).await;
    tokio::task::spawn_blocking(|| gateway.stop()).await.expect("no panic").expect("the gateway stops well");
    seen
}

/// Runs a script against a demonstration.
async fn check(script: &str) {
    at_a_demonstration(async |url, key| sdk::run(script, &url, &key).await).await.expect_passed();
}

#[tokio::test]
async fn the_openai_sdk_works_against_the_demonstration() {
    check("openai_chat.py").await;
}

#[tokio::test]
async fn the_anthropic_sdk_works_against_the_demonstration() {
    check("anthropic_messages.py").await;
}

#[tokio::test]
async fn the_google_genai_sdk_works_against_the_demonstration() {
    check("google_genai.py").await;
}

#[tokio::test]
async fn every_sdk_works_with_the_models_of_the_other_providers() {
    check("across_protocols.py").await;
}
