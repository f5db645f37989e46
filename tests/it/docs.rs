//! What the documents say, held against the repository: commands, folders, the code map, and the invariants of
//! ARCHITECTURE.md that can be read off the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tollgate_tests::{sdk, source};

use crate::sdk::at_a_demonstration;

const PAGES: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benches/README.md",
    "wit/README.md",
    "wit/CHANGELOG.md",
];
/// Columns of a line of prose; tables and code are as wide as they are.
const COLUMNS_MAX: usize = 120;

/// All documents for readers: those at fixed places, and what lies below `docs/`.
fn documents() -> Vec<String> {
    let mut all: Vec<String> = PAGES.map(str::to_owned).to_vec();
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for (path, is_directory) in entries(&folder) {
            if is_directory {
                folders.push(path);
            } else {
                assert!(path.ends_with(".md"), "{path} is no document");
                all.push(path);
            }
        }
    }
    all.sort();
    all
}

/// Targets of the links of a document, without those that lead out of the repository.
fn links(document: &str) -> Vec<String> {
    let text = read(document);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a directory holds: the path of each entry from the root, and whether it is a directory itself.
fn entries(directory: &str) -> Vec<(String, bool)> {
    let entries = fs::read_dir(root().join(directory)).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let entries = entries.map(|entry| entry.expect("an entry can be read"));
    entries
        .map(|entry| (format!("{directory}/{}", entry.file_name().to_string_lossy()), entry.path().is_dir()))
        .collect()
}

/// The Rust files below a directory.
fn rust_files(directory: &str) -> Vec<String> {
    let below =
        |(path, is_directory): (String, bool)| if is_directory { rust_files(&path) } else { vec![path] };
    entries(directory).into_iter().flat_map(below).filter(|path| path.ends_with(".rs")).collect()
}

/// A source file without its comments and its tests: the code with its string literals emptied, and the literals.
fn code_and_literals(path: &str) -> (String, Vec<String>) {
    source::code_and_literals(&read(path))
}

/// The fenced blocks of a document in one language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let text = read(document);
    let blocks =
        text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned());
    blocks.collect()
}

/// Lines of all shell blocks without their comments.
fn shell_lines() -> Vec<String> {
    let all: Vec<String> = documents().iter().flat_map(|document| blocks(document, "sh")).collect();
    let lines = all.join("\n").replace("\\\n", " ");
    let bare = lines.lines().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    bare.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Texts in single backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The part of a document from a heading to the next one of its level or above.
fn section(document: &str, heading: &str) -> String {
    let text = read(document);
    let level = heading.split(' ').next().unwrap_or_default().len();
    let mut lines = text.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{document} has no heading `{heading}`");
    let ends =
        |line: &str| line.starts_with('#') && line.split(' ').next().unwrap_or_default().len() <= level;
    lines.take_while(|line| !ends(line)).collect::<Vec<_>>().join("\n")
}

fn manifest(directory: &str) -> toml::Table {
    let path = format!("{directory}/Cargo.toml");
    read(&path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Directory and manifest of each package of the workspace, except the components that misbehave.
fn manifests() -> BTreeMap<String, toml::Table> {
    let workspace = manifest(".");
    let members = workspace["workspace"]["members"].as_array().expect("a list of members");
    let members = members.iter().filter_map(|member| member.as_str()).filter(|member| !member.ends_with('*'));
    members.map(|member| (member.to_owned(), manifest(member))).collect()
}

/// Dependencies of a package; those for tests only are none.
fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let tables =
        ["dependencies", "build-dependencies"].iter().filter_map(|table| manifest.get(*table)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn a_newcomer_needs_two_commands() {
    let first = blocks("README.md", "sh").into_iter().next().expect("a shell block");
    let commands: Vec<&str> =
        first.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- serve --demo", "cargo test --workspace"]);
}

#[test]
fn the_readme_and_ci_name_the_same_test_command() {
    let documented =
        shell_lines().into_iter().find(|line| line.starts_with("cargo test")).expect("a test command");
    let run = read(".ci/run");
    let steps: Vec<&str> = run.lines().filter_map(|line| line.strip_prefix("step \"tests\" ")).collect();
    assert_eq!(steps, [documented]);
}

/// Files below a folder whose comments are read as prose: Rust, WIT, and what operators and authors copy from.
fn commented_files(folder: &str) -> Vec<String> {
    let below = |(path, is_directory): (String, bool)| match is_directory {
        true if path.ends_with("/target") => Vec::new(),
        true => commented_files(&path),
        false => vec![path],
    };
    let ends = |path: &String| [".rs", ".wit", ".toml", ".sh"].iter().any(|end| path.ends_with(end));
    entries(folder).into_iter().flat_map(below).filter(ends).collect()
}

/// Whether a line is a comment, and not a row of a table.
fn is_prose(line: &str) -> bool {
    let line = line.trim_start();
    let text = line.strip_prefix("//").map(|text| text.trim_start_matches(['/', '!']));
    let text = text.or_else(|| line.strip_prefix('#').filter(|text| text.starts_with([' ', '#'])));
    text.is_some_and(|text| !text.trim_start().starts_with('|'))
}

#[test]
fn no_comment_is_wider_than_a_page() {
    let folders = ["host", "plugins", "policies", "tests", "benches", "wit"];
    let files: Vec<String> = folders.into_iter().flat_map(commented_files).collect();
    assert!(files.len() > 500, "{} files have comments", files.len());
    for file in files {
        for line in read(&file).lines().filter(|line| is_prose(line)) {
            assert!(line.chars().count() <= COLUMNS_MAX, "{file}: {line}");
        }
    }
}

#[test]
fn every_link_of_a_document_leads_somewhere() {
    for document in documents() {
        let folder = Path::new(&document).parent().unwrap().to_owned();
        for target in links(&document) {
            let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if path.is_empty() { PathBuf::from(&document) } else { folder.join(path) };
            assert!(root().join(&file).exists(), "{document} links to {target}");
            assert!(
                anchor.is_empty() || anchors(&read(&file)).contains(anchor),
                "{document} links to {target}"
            );
        }
    }
}

#[test]
fn every_document_is_one_click_from_the_readme() {
    let linked = links("README.md");
    for document in documents().iter().filter(|document| document.starts_with("docs/")) {
        assert!(linked.contains(document), "README.md does not link to {document}");
    }
}

#[test]
fn no_line_of_prose_is_wider_than_a_page() {
    for document in documents() {
        let text = read(&document);
        let prose = text.split("```").step_by(2).flat_map(str::lines);
        for line in prose.filter(|line| !line.starts_with('|')) {
            assert!(line.chars().count() <= COLUMNS_MAX, "{document}: {line}");
        }
    }
}

/// The names that a reader's browser gives to a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let kept = |sign: &char| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_');
    headings
        .map(|line| {
            line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>()
        })
        .map(|heading| heading.replace(' ', "-"))
        .collect()
}

#[test]
fn every_folder_that_the_readme_names_exists() {
    let map = section("README.md", "## Folders");
    let named: Vec<&str> = code_spans(&map).filter(|span| span.ends_with('/')).collect();
    assert!(named.len() > 5, "{named:?}");
    for folder in named {
        assert!(root().join(folder).is_dir(), "README.md names {folder}");
    }
}

#[test]
fn the_code_map_names_every_crate() {
    let text = read("ARCHITECTURE.md");
    for member in manifests().keys() {
        assert!(text.contains(&format!("`{member}`")), "ARCHITECTURE.md does not say what {member} is for");
    }
}

/// Checks that the files which a section names, and those which the folder holds, are the same.
fn check_map(heading: &str, folder: &str) {
    let map = section("ARCHITECTURE.md", heading);
    let named: BTreeSet<&str> =
        code_spans(&map).filter(|span| span.ends_with(".rs") && !span.contains('/')).collect();
    let files = entries(folder);
    let files = files
        .iter()
        .filter(|(_, is_directory)| !is_directory)
        .filter_map(|(path, _)| path.rsplit('/').next());
    let held = files.filter(|name| name.ends_with(".rs") && *name != "lib.rs");
    assert_eq!(named, held.collect(), "left: what `{heading}` names; right: what {folder} holds");
}

#[test]
fn the_code_map_names_every_module_of_the_host() {
    check_map("### `host/core`", "host/core/src");
    check_map("### `host/runtime`", "host/runtime/src");
    check_map("### `host/store`", "host/store/src");
    check_map("### `host/server`", "host/server/src");
    let text = read("ARCHITECTURE.md");
    for path in rust_files("host/server/src/proxy") {
        let name = path.trim_start_matches("host/server/src/");
        assert!(text.contains(&format!("`{name}`")), "ARCHITECTURE.md does not say what {name} is for");
    }
}

#[test]
fn every_command_line_in_a_document_is_one_that_tollgate_has() {
    let lines = shell_lines();
    let calls =
        lines.iter().filter_map(|line| line.split("tollgate ").nth(1)).filter(|call| !call.starts_with('-'));
    let mut checked = 0;
    for call in calls {
        let words: Vec<&str> =
            call.split_whitespace().take_while(|word| !matches!(*word, "|" | "<" | ">" | "&&")).collect();
        let verbs = if words[0] == "serve" || words[1].starts_with("--") { &words[..1] } else { &words[..2] };
        let help = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
            .args(verbs)
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(!help.is_empty(), "there is no `tollgate {}`", verbs.join(" "));
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let name = flag.split('=').next().unwrap_or_default();
            assert!(help.contains(name), "`tollgate {}` has no {name}", verbs.join(" "));
        }
        checked += 1;
    }
    assert!(checked >= 8, "{lines:?}");
}

#[test]
fn every_configuration_in_a_document_is_accepted() {
    let examples: Vec<String> = documents()
        .iter()
        .filter(|document| !document.starts_with("docs/plugins"))
        .flat_map(|document| blocks(document, "toml"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        let read = toml::from_str::<tollgate_server::config::Config>(&example);
        assert!(read.is_ok(), "{example}\n{}", read.unwrap_err());
    }
}

/// Placeholders of the documents, and what a test puts in their place.
const SHOWN_URL: &str = "http://127.0.0.1:8080";
const SHOWN_KEY: &str = "TOLLGATE_KEY";

#[tokio::test]
async fn every_curl_of_the_readme_gets_its_answer() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: there is no curl here");
        return;
    }
    at_a_demonstration(|url, key| async move {
        let calls = blocks("README.md", "sh").into_iter().filter(|block| block.starts_with("curl"));
        let mut protocols = 0;
        for call in calls {
            let mut shell = tokio::process::Command::new("sh");
            shell.args(["-c", &call.replace(SHOWN_URL, &url)]).env(SHOWN_KEY, &key);
            let answer = shell.output().await.unwrap();
            let said = String::from_utf8_lossy(&answer.stdout);
            assert!(said.contains("morning") && said.contains("usage"), "{call}\n{said}");
            protocols += 1;
        }
        assert_eq!(protocols, 3);
    })
    .await;
}

#[tokio::test]
async fn every_sdk_snippet_of_the_users_guide_works() {
    let dir = tempfile::tempdir().unwrap();
    let snippets = blocks("docs/users.md", "python");
    assert_eq!(snippets.len(), 3);
    at_a_demonstration(|url, key| async move {
        for (number, snippet) in snippets.iter().enumerate() {
            let script = dir.path().join(format!("{number}.py"));
            fs::write(&script, snippet.replace(SHOWN_URL, &url).replace(SHOWN_KEY, "API_KEY")).unwrap();
            sdk::run(script.to_str().unwrap(), &url, &key).await.expect_passed();
        }
    })
    .await;
}

#[test]
fn wit_packages_agree_on_one_version() {
    let files = entries("wit").into_iter().map(|(path, _)| path);
    let wits: Vec<String> = files.filter(|path| path.ends_with(".wit")).collect();
    assert_eq!(wits.len(), 4, "{wits:?}");
    let lines: BTreeSet<String> =
        wits.iter().map(|path| read(path).lines().next().unwrap().to_owned()).collect();
    let package = "tollgate:plugin@0.2.0";
    assert_eq!(lines, BTreeSet::from([format!("package {package};")]));
    for document in ["ARCHITECTURE.md", "CHANGELOG.md"] {
        assert!(read(document).contains(package), "{document} names another version");
    }
}

#[test]
fn a_pricing_policy_imports_nothing() {
    let text = read("wit/policy.wit");
    let world = text.split("world pricing-policy {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
    assert_eq!(world.trim(), "export pricing;");
}

#[test]
fn core_depends_on_no_io_crate() {
    let pure = [
        "aho-corasick",
        "base64",
        "crc32fast",
        "memchr",
        "serde",
        "thiserror",
        "unicode-normalization",
        "uuid",
        "zeroize",
    ];
    let pure = pure.map(str::to_owned);
    assert_eq!(dependencies(&manifests()["host/core"]), BTreeSet::from(pure));
}

#[test]
fn core_has_no_clock_no_chance_and_no_world() {
    let outside = [
        "SystemTime",
        "Instant",
        "now_v7",
        "new_v4",
        "std::env",
        "std::fs",
        "std::net",
        "std::io",
        "std::thread",
    ];
    for path in rust_files("host/core/src") {
        let (code, _) = code_and_literals(&path);
        for word in outside {
            assert!(!code.contains(word), "{path} names {word}");
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let manifests = manifests();
    let ours = |member: &str| -> BTreeSet<String> {
        let all = dependencies(&manifests[member]);
        all.into_iter().filter(|name| name.starts_with("tollgate-")).collect()
    };
    let check = |member: &str, expected: &[&str]| {
        let expected = expected.iter().map(|name| format!("tollgate-{name}")).collect();
        assert_eq!(ours(member), expected, "{member}");
    };
    check("host/core", &[]);
    check("host/components", &[]);
    check("host/runtime", &["core"]);
    check("host/store", &["core"]);
    check("host/console", &[]);
    check("host/server", &["components", "console", "core", "runtime", "store"]);
    check("plugins/sdk", &[]);
    check("plugins/protocols", &["plugin"]);
    check("plugins/translator", &["plugin", "protocols"]);
    for adapter in ["plugins/openai", "plugins/claude", "plugins/gemini"] {
        check(adapter, &["plugin", "protocols", "translator"]);
    }
    for policy in ["policies/key-selection", "policies/discount-points", "policies/content-filter"] {
        check(policy, &["plugin"]);
    }
}

#[test]
fn only_the_runtime_knows_wasmtime_and_only_the_store_a_database() {
    let owners = |driver: &str| -> Vec<String> {
        let manifests = manifests();
        let depends = manifests.iter().filter(|(_, manifest)| dependencies(manifest).contains(driver));
        depends.map(|(member, _)| member.clone()).collect()
    };
    assert_eq!(owners("wasmtime"), ["host/runtime"]);
    assert_eq!(owners("sqlx"), ["host/store"]);
}

/// Files that a request passes through on its way.
#[test]
fn only_one_folder_names_the_database_engine() {
    let outside = rust_files("host").into_iter().filter(|path| !path.starts_with("host/store/src/sqlite/"));
    for path in outside.filter(|path| path.contains("/src/")) {
        let (code, literals) = code_and_literals(&path);
        let names = |text: &str| ["sqlite", "sqlx"].iter().any(|name| text.to_lowercase().contains(name));
        let module = path == "host/store/src/lib.rs";
        let code = if module { code.replace("mod sqlite;", "").replace("sqlite::", "") } else { code };
        assert!(
            !names(&code) && !literals.iter().any(|text| names(text)),
            "{path} names the database engine"
        );
    }
}

fn road() -> Vec<String> {
    let mut files: Vec<String> =
        ["proxy", "routing"].iter().flat_map(|room| rust_files(&format!("host/server/src/{room}"))).collect();
    files.retain(|path| !path.ends_with("routing/components.rs"));
    files.extend(
        ["upstream/mod", "listen/worker", "state/directory", "transport/body"]
            .map(|name| format!("host/server/src/{name}.rs")),
    );
    files
}

/// The protocols' own words by which a client of theirs is known, and one that it looks for: none of them decides where
/// a request goes.
const CLIENT_SIGNS: [&str; 7] = [
    "anthropic-version",
    "x-goog-api-key",
    "x-goog-api-client",
    "x-goog-upload-",
    "google-genai",
    "type.googleapis.com/google.rpc.retryinfo",
    "openai-insecure-api-key.",
];

/// A provider is a row of the configuration. Identifiers may name wire formats (`Protocol::Gemini`); texts name who is
/// called, and there must be none.
#[test]
fn the_host_names_no_provider_on_the_road() {
    let providers = ["openai", "anthropic", "claude", "gemini", "google", "goog", "azure", "bedrock"];
    // The paths that clients call name their protocols.
    let names_paths = |path: &str| ["proxy/router.rs", "proxy/doors.rs"].iter().any(|it| path.ends_with(it));
    for path in road().into_iter().filter(|path| !names_paths(path)) {
        let (_, literals) = code_and_literals(&path);
        for literal in literals {
            let text = CLIENT_SIGNS.iter().fold(literal.to_lowercase(), |text, sign| text.replace(sign, ""));
            assert!(!providers.iter().any(|name| text.contains(name)), "{path} says \"{literal}\"");
        }
    }
}

#[test]
fn nothing_on_the_road_reads_the_database() {
    for path in road() {
        let (code, _) = code_and_literals(&path);
        let writes = path.ends_with("proxy/record.rs");
        assert!(writes || !code.contains("tollgate_store"), "{path} names the store");
        assert!(!code.contains("Store"), "{path} names more of the store than its writer");
        let blocks = ["std::fs", "std::env", "spawn_blocking"].into_iter().find(|word| code.contains(word));
        assert_eq!(blocks, None, "{path}");
    }
}

/// Management is the one way in: the API and the command line reach the database only through it.
#[test]
fn operators_reach_the_store_through_management_alone() {
    let files = rust_files("host/server/src/admin").into_iter().chain(rust_files("host/server/src/cli"));
    for path in files {
        let (code, _) = code_and_literals(&path);
        assert!(!code.contains("tollgate_store"), "{path} names the store");
        assert!(!code.contains(".store()"), "{path} goes round management");
    }
}

/// A library returns typed errors; errors of any kind are for programs that print them.
#[test]
fn only_the_command_line_takes_errors_of_every_kind() {
    let printing =
        |path: &String| path == "host/server/src/main.rs" || path.starts_with("host/server/src/cli/");
    let mut files = rust_files("host/server/src");
    for folder in ["host/core/src", "host/runtime/src", "host/store/src", "host/components"] {
        files.extend(rust_files(folder));
    }
    assert!(files.len() > 100, "{} files", files.len());
    for path in files.into_iter().filter(|path| !printing(path)) {
        assert!(!code_and_literals(&path).0.contains("anyhow"), "{path} names anyhow");
    }
}

/// Bodies are read in place; a tree is only built for the model list, which the gateway writes itself.
#[test]
fn no_body_on_the_road_becomes_a_tree() {
    for path in road().into_iter().filter(|path| !path.ends_with("proxy/models.rs")) {
        assert!(!code_and_literals(&path).0.contains("serde_json"), "{path} parses into a tree");
    }
}

#[test]
fn no_secret_is_within_reach_of_a_component_and_no_call_of_one_waits() {
    for path in rust_files("host/runtime/src") {
        let (code, _) = code_and_literals(&path);
        assert!(!code.to_lowercase().contains("secret"), "{path} handles secrets");
        assert!(!code.contains("async ") && !code.contains(".await"), "{path} waits");
    }
}

#[test]
fn operators_and_the_simulated_provider_stay_off_the_road() {
    for path in rust_files("host/server/src/admin").into_iter().chain(rust_files("host/server/src/demo")) {
        assert!(!code_and_literals(&path).0.contains("crate::proxy"), "{path} reaches into the road");
    }
}
