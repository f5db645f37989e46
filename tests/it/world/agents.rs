//! Coding agents, driven as people drive them: a question, a loop through their own shell, models of other protocols, a
//! wrong key, no points. They are large, so they are installed and driven where somebody asks for them alone:
//! `TOLLGATE_CLIENTS=1 cargo test --workspace --test it -- world::agents`.

use std::fs;
use std::path::PathBuf;

use tokio::process::Command;
use tollgate_tests::install::{Outcome, node, python};

use super::clients::{Street, manifests};

/// What is said of a test that nobody asked for.
const UNASKED: &str = "coding agents are driven where TOLLGATE_CLIENTS is set";

/// How an agent is asked something: its folder of programs, who asks with which key, the model and the question.
type Ask = fn(&Agent<'_>, key: &str, model: &str, question: &str) -> Command;

/// An agent in a house of its own.
struct Agent<'a> {
    street: &'a Street,
    /// Where its programs are.
    bin: PathBuf,
}

impl Agent<'_> {
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        let home = self.street.dir.path().join(name);
        fs::create_dir_all(&home).expect("a directory");
        fs::copy(manifests().join("agents/picture.png"), home.join(PICTURE)).expect("a picture");
        command.current_dir(&home);
        command
    }
}

/// Whether somebody asks for agents.
fn asked() -> Result<(), Outcome> {
    std::env::var_os("TOLLGATE_CLIENTS").map(drop).ok_or_else(|| Outcome::Skipped(UNASKED.to_owned()))
}

/// The programs of the agents that npm has.
async fn programs() -> Result<PathBuf, Outcome> {
    asked()?;
    let folder = node("clients-agents", &manifests().join("agents/package.json")).await?;
    Ok(folder.join("node_modules/.bin"))
}

/// One scenario: who asks, which model, what, and what has to be said.
struct Scene<'a> {
    key: &'a str,
    model: &'a str,
    question: &'a str,
    said: &'a str,
    ends_well: bool,
}

/// A picture beside every agent.
const PICTURE: &str = "picture.png";
/// What each is asked.
const MORNING: (&str, &str) = ("Moin", "Good morning");
/// What one that has a shell is asked.
const WEATHER: (&str, &str) = ("Which weather? Use your shell.", "It is mild");
/// What one that takes pictures is asked.
const SEEN: (&str, &str) = ("@picture.png What is this?", "A picture");

impl<'a> Scene<'a> {
    const fn new(key: &'a str, model: &'a str, (question, said): (&'a str, &'a str)) -> Self {
        Self { key, model, question, said, ends_well: true }
    }

    async fn play(self, agent: &Agent<'_>, ask: Ask) {
        let Self { key, model, question, said, ends_well } = self;
        let (well, text) = match agent.street.run(ask(agent, key, model, question)).await {
            Outcome::Passed(text) => (true, text),
            Outcome::Failed(text) | Outcome::Skipped(text) => (false, text),
        };
        assert!(text.contains(said), "{model}, {question}: {text}");
        // Some say what was wrong and end well all the same.
        assert!(well || !ends_well, "{model}, {question}: {text}");
    }
}

async fn check(bin: Result<PathBuf, Outcome>, models: &[&str], questions: &[(&str, &str)], ask: Ask) {
    let bin = match bin {
        Ok(bin) => bin,
        Err(outcome) => return outcome.expect_passed(),
    };
    let street = Street::open().await;
    let agent = Agent { street: &street, bin };
    let own = models[0];
    for question in questions {
        Scene::new(&street.key, own, *question).play(&agent, ask).await;
    }
    for (key, said) in [("tg_wrong", "not valid"), (street.no_points.as_str(), "balance")] {
        let refused = Scene { ends_well: false, ..Scene::new(key, own, (MORNING.0, said)) };
        refused.play(&agent, ask).await;
    }
    street.leave(ask(&agent, &street.key, own, "Endlessly")).await;
    for model in &models[1..] {
        for question in questions {
            Scene::new(&street.key, model, *question).play(&agent, ask).await;
        }
    }
    street.close().await;
}

fn claude(agent: &Agent<'_>, key: &str, model: &str, question: &str) -> Command {
    let mut command = agent.command("claude");
    command.env("ANTHROPIC_BASE_URL", &agent.street.url).env("ANTHROPIC_AUTH_TOKEN", key);
    command.env("ANTHROPIC_DEFAULT_HAIKU_MODEL", model).env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    command.args(["--print", question, "--model", model, "--allowedTools", "Bash"]);
    command
}

#[tokio::test]
async fn claude_code_works_with_models_of_every_provider() {
    check(
        programs().await,
        &["claude-sonnet-4-6", "gpt-4.1", "gemini-2.5-flash"],
        &[MORNING, WEATHER, SEEN],
        claude,
    )
    .await;
}

fn codex(agent: &Agent<'_>, key: &str, model: &str, question: &str) -> Command {
    let mut command = agent.command("codex");
    let home = agent.street.dir.path().join("codex/.codex");
    fs::create_dir_all(&home).expect("a directory");
    let config = format!(
        "model = \"{model}\"\nmodel_provider = \"tollgate\"\n[model_providers.tollgate]\nname = \"Tollgate\"\n\
         base_url = \"{}/v1\"\nenv_key = \"TOLLGATE_KEY\"\nwire_api = \"responses\"\n",
        agent.street.url
    );
    fs::write(home.join("config.toml"), config).expect("a file");
    command.env("CODEX_HOME", &home).env("TOLLGATE_KEY", key);
    command.args(["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", question]);
    if question == SEEN.0 {
        command.args(["--image", PICTURE]);
    }
    command
}

#[tokio::test]
async fn codex_works_with_models_of_every_provider() {
    check(
        programs().await,
        &["gpt-5.6", "claude-sonnet-4-6", "gemini-2.5-flash"],
        &[MORNING, WEATHER, SEEN],
        codex,
    )
    .await;
}

fn gemini(agent: &Agent<'_>, key: &str, model: &str, question: &str) -> Command {
    let mut command = agent.command("gemini");
    command.env("GOOGLE_GEMINI_BASE_URL", &agent.street.url).env("GEMINI_API_KEY", key);
    command.env("GEMINI_CLI_TRUST_WORKSPACE", "true");
    let home = agent.street.dir.path().join(".gemini");
    fs::create_dir_all(&home).expect("a directory");
    let settings = r#"{"security": {"auth": {"selectedType": "gemini-api-key"}}}"#;
    fs::write(home.join("settings.json"), settings).expect("a file");
    command.args(["--prompt", question, "--model", model, "--yolo"]);
    command
}

#[tokio::test]
async fn gemini_cli_works_with_models_of_every_provider() {
    check(
        programs().await,
        &["gemini-2.5-flash", "claude-haiku-4-5", "gpt-4o"],
        &[MORNING, WEATHER, SEEN],
        gemini,
    )
    .await;
}

fn opencode(agent: &Agent<'_>, key: &str, model: &str, question: &str) -> Command {
    let mut command = agent.command("opencode");
    let config = format!(
        r#"{{"provider": {{"tollgate": {{"npm": "@ai-sdk/openai-compatible", "name": "Tollgate",
            "options": {{"baseURL": "{}/v1", "apiKey": "{{env:TOLLGATE_KEY}}"}}, "models": {{"{model}":
                {{"attachment": true, "modalities": {{"input": ["text", "image"], "output": ["text"]}}}}}}}}}}}}"#,
        agent.street.url
    );
    fs::write(agent.street.dir.path().join("opencode/opencode.json"), config).expect("a file");
    command.env("TOLLGATE_KEY", key).args(["run", "--model", &format!("tollgate/{model}"), question]);
    if question == SEEN.0 {
        command.args(["--file", PICTURE]);
    }
    command
}

#[tokio::test]
async fn opencode_works_with_models_of_every_provider() {
    check(
        programs().await,
        &["gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"],
        &[MORNING, WEATHER, SEEN],
        opencode,
    )
    .await;
}

fn aider(agent: &Agent<'_>, key: &str, model: &str, question: &str) -> Command {
    let mut command = agent.command("aider");
    command.env("OPENAI_API_BASE", format!("{}/v1", agent.street.url)).env("OPENAI_API_KEY", key);
    command.args(["--model", &format!("openai/{model}"), "--message", question, "--no-git", "--yes-always"]);
    command.args([
        "--no-check-update",
        "--no-show-model-warnings",
        "--no-show-release-notes",
        "--analytics-disable",
    ]);
    command
}

#[tokio::test]
async fn aider_works_with_models_of_every_provider() {
    let bin = async {
        asked()?;
        let python = python("clients-aider", &manifests().join("agents/requirements.txt")).await?;
        Ok(python.with_file_name(""))
    };
    check(bin.await, &["gpt-4o", "claude-haiku-4-5", "gemini-2.5-flash"], &[MORNING], aider).await;
}
