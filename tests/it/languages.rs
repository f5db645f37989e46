//! Components in other languages than Rust: built from the examples with their languages' own tools, then called by a
//! gateway with default limits.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;
use tollgate_core::points::Micropoints;
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::install::{Outcome, both, node, output, python};
use tollgate_tests::upstream::Script;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Making a component starts the language's whole runtime once.
const BUILD_TIME_MAX: Duration = Duration::from_secs(300);
const CALLS: usize = 20;
const ANSWER: &str = r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

fn example(language: &str) -> PathBuf {
    Path::new(REPOSITORY).join("plugins/examples").join(language)
}

/// What the build command leaves at `made`.
async fn build(command: &mut Command, made: &Path) -> Result<Vec<u8>, Outcome> {
    match output(command, BUILD_TIME_MAX).await {
        Ok(run) if run.status.success() => {
            std::fs::read(made).map_err(|error| Outcome::Failed(format!("no component: {error}")))
        }
        Ok(run) => Err(Outcome::Failed(both(&run))),
        Err(error) => Err(Outcome::Failed(format!("{command:?}: {error}"))),
    }
}

async fn javascript() -> Result<Vec<u8>, Outcome> {
    let example = example("javascript");
    let folder = node("componentize-js", &example.join("package.json")).await?;
    for file in ["least-busy.js", "build.mjs"] {
        std::fs::copy(example.join(file), folder.join(file)).expect("a source of the example");
    }
    let made = folder.join("least-busy.wasm");
    let mut command = Command::new("node");
    command.arg("build.mjs").arg(Path::new(REPOSITORY).join("wit")).arg(&made).current_dir(&folder);
    build(&mut command, &made).await
}

async fn python_source() -> Result<Vec<u8>, Outcome> {
    let example = example("python");
    let interpreter = python("componentize-py", &example.join("requirements.txt")).await?;
    let made = interpreter.with_file_name("least_busy.wasm");
    let mut command = Command::new(interpreter.with_file_name("componentize-py"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg("-d").arg(Path::new(REPOSITORY).join("wit")).args(["-w", "key-selector", "componentize"]);
    command.arg("-p").arg(&example).arg("least_busy").arg("-o").arg(&made);
    build(&mut command, &made).await
}

/// A gateway that asks the component serves every call by its choice, and the component never fails.
async fn check(component: Result<Vec<u8>, Outcome>) {
    let component = match component {
        Ok(bytes) => bytes,
        Err(outcome) => return outcome.expect_passed(),
    };
    let rig = Rig::with(|setup| {
        setup.users = vec![("alice", Micropoints::from_points(1_000))];
        setup.plugins = vec![("least-busy", component)];
        setup.config.policies.key_selection.component = "least-busy".to_owned();
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for _ in 0..CALLS {
        let call = Request::post("/v1/chat/completions", &json!({"model": "gpt-4o", "messages": []}));
        assert_eq!(rig.call(call.bearer(rig.key("alice"))).await.status, 200);
    }
    let plugin = rig.plugin("key-selection").await;
    assert_eq!(plugin["calls"], CALLS, "{plugin}");
    assert_eq!(plugin["faults"], json!({}), "{plugin}");
    rig.stop().await;
}

#[tokio::test]
async fn a_selector_in_javascript_is_asked_like_any_other() {
    check(javascript().await).await;
}

#[tokio::test]
async fn a_selector_in_python_is_asked_like_any_other() {
    check(python_source().await).await;
}
