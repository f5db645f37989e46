//! `tollgate plugin new`: a folder that builds, tests and loads. The binary carries all of it, so nothing else has to
//! be at hand: the SDK and the contract are put beside the author's own source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use tollgate_runtime::Kind;

use super::KindName;
use crate::cli::output::{Output, line};

/// Files that the binary carries, by their places in the repository.
macro_rules! carried {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../../../../", $path)))),+]
    };
}

/// The contract.
const WIT: &[(&str, &str)] = carried![
    "wit/class.rs",
    "wit/host.wit",
    "wit/policy.wit",
    "wit/provider.wit",
    "wit/types.wit",
    "wit/README.md",
];
/// The SDK, but for its manifest, which names the workspace that it is part of.
const SDK: &[(&str, &str)] = carried![
    "plugins/sdk/src/adapter.rs",
    "plugins/sdk/src/bindings.rs",
    "plugins/sdk/src/component.rs",
    "plugins/sdk/src/config.rs",
    "plugins/sdk/src/filtering.rs",
    "plugins/sdk/src/host.rs",
    "plugins/sdk/src/key_selection.rs",
    "plugins/sdk/src/lib.rs",
    "plugins/sdk/src/pricing.rs",
    "plugins/sdk/src/types.rs",
];
const SDK_MANIFEST: &str = r#"[package]
name = "tollgate-plugin"
version = "0.2.0"
edition = "2024"
publish = false

[lib]
doctest = false

[dependencies]
serde = { version = "1", features = ["derive"] }
serde_json = "1"
wit-bindgen = { version = "0.61.1", default-features = false, features = ["macros", "realloc"] }
"#;
/// A manifest and a source of each kind, with cases.
const TEMPLATES: &[(&str, &str)] = carried![
    "plugins/template/Cargo.toml",
    "plugins/template/src/lib.rs",
    "plugins/template/kinds/key-selector.rs",
    "plugins/template/kinds/content-filter.rs",
    "plugins/template/kinds/provider-adapter.rs",
    "plugins/template/cases/pricing-policy.toml",
    "plugins/template/cases/key-selector.toml",
    "plugins/template/cases/content-filter.toml",
    "plugins/template/cases/provider-adapter.toml",
];
const JAVASCRIPT: &[(&str, &str)] = carried![
    "plugins/examples/javascript/package.json",
    "plugins/examples/javascript/build.mjs",
    "plugins/examples/javascript/least-busy.js",
];
const PYTHON: &[(&str, &str)] =
    carried!["plugins/examples/python/requirements.txt", "plugins/examples/python/least_busy.py",];

/// A folder to make.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// What it is called: letters, digits and hyphens. The folder gets this name.
    name: String,
    /// What it is to be.
    #[arg(long, value_enum)]
    kind: KindName,
    /// In which language. In JavaScript and Python there is a key selector to begin with.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// Where the folder is made.
    #[arg(long, value_name = "DIR", default_value = ".")]
    within: PathBuf,
}

/// What components are written in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Javascript,
    Python,
}

/// A file to write: its place in the folder, and what it holds.
type Entry = (String, String);

impl New {
    pub(super) fn run(self, output: &Output) -> anyhow::Result<ExitCode> {
        let kind = Kind::from(self.kind);
        let fits = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '-';
        if !self.name.starts_with(|sign: char| sign.is_ascii_lowercase()) || !self.name.chars().all(fits) {
            bail!("a name begins with a small letter and has small letters, digits and hyphens");
        }
        let (files, steps) = match self.lang {
            Language::Rust => rust(&self.name, kind),
            Language::Javascript | Language::Python if kind != Kind::KeySelector => {
                bail!("there is a key-selector to begin with in that language, and no {}", kind.name());
            }
            Language::Javascript => javascript(&self.name),
            Language::Python => python(&self.name),
        };
        let folder = self.within.join(&self.name);
        if folder.exists() {
            bail!("{} is there already", folder.display());
        }
        for (place, content) in &files {
            write(&folder.join(place), content)?;
        }
        output.one(&[
            ("folder", folder.display().to_string().into()),
            ("kind", kind.name().into()),
            ("files", files.len().into()),
        ])?;
        if !output.is_json() {
            steps.iter().try_for_each(|step| line(&format!("  {step}")))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
    fs::write(path, content).with_context(|| format!("writing {}", path.display()))
}

/// The text of a file that the binary carries.
fn text(place: &str) -> &'static str {
    TEMPLATES.iter().find(|(path, _)| *path == place).map_or("", |(_, text)| text)
}

/// Files below `vendor`, where they keep their places.
fn vendored(files: &[(&str, &str)]) -> impl Iterator<Item = Entry> {
    files.iter().map(|(path, text)| (format!("vendor/{path}"), (*text).to_owned()))
}

fn rust(name: &str, kind: Kind) -> (Vec<Entry>, Vec<String>) {
    let source = match kind {
        Kind::PricingPolicy => text("plugins/template/src/lib.rs"),
        Kind::KeySelector => text("plugins/template/kinds/key-selector.rs"),
        Kind::ContentFilter => text("plugins/template/kinds/content-filter.rs"),
        Kind::ProviderAdapter => text("plugins/template/kinds/provider-adapter.rs"),
    };
    let cases = text(&format!("plugins/template/cases/{}.toml", kind.name())).to_owned();
    let made = format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_"));
    let steps = vec![
        format!("cd {name}"),
        "cargo test".to_owned(),
        "cargo build --release --target wasm32-wasip2".to_owned(),
        format!("tollgate plugin test {made} --cases cases.toml"),
        format!("cp {made} <data dir>/plugins/{name}.wasm"),
    ];
    let manifest = text("plugins/template/Cargo.toml")
        .lines()
        .skip_while(|line| line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("name = \"my-policy\"", &format!("name = \"{name}\""))
        .replace("path = \"../sdk\"", "path = \"vendor/plugins/sdk\"")
        .replace("tollgate-plugin = {", "serde_json = \"1\"\ntollgate-plugin = {");
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest + "\n"),
        ("src/lib.rs".to_owned(), source.replace("my_policy", &name.replace('-', "_"))),
        ("cases.toml".to_owned(), cases),
        (".gitignore".to_owned(), "/target\n".to_owned()),
        ("README.md".to_owned(), readme(name, kind, &steps)),
        ("vendor/plugins/sdk/Cargo.toml".to_owned(), SDK_MANIFEST.to_owned()),
    ];
    files.extend(vendored(SDK).chain(vendored(WIT)));
    (files, steps)
}

fn javascript(name: &str) -> (Vec<Entry>, Vec<String>) {
    let steps = vec![
        format!("cd {name}"),
        "npm install && npm run build".to_owned(),
        "tollgate plugin test least-busy.wasm --cases cases.toml".to_owned(),
        format!("cp least-busy.wasm <data dir>/plugins/{name}.wasm"),
    ];
    let mut files = own(JAVASCRIPT);
    files.iter_mut().for_each(|(_, text)| *text = text.replace("../../../wit", "vendor/wit"));
    files.push(("README.md".to_owned(), readme(name, Kind::KeySelector, &steps)));
    (files, steps)
}

fn python(name: &str) -> (Vec<Entry>, Vec<String>) {
    let make = "componentize-py -d vendor/wit -w key-selector componentize least_busy -o least_busy.wasm";
    let steps = vec![
        format!("cd {name}"),
        "pip install -r requirements.txt".to_owned(),
        make.to_owned(),
        "tollgate plugin test least_busy.wasm --cases cases.toml".to_owned(),
        format!("cp least_busy.wasm <data dir>/plugins/{name}.wasm"),
    ];
    let mut files = own(PYTHON);
    files.push(("README.md".to_owned(), readme(name, Kind::KeySelector, &steps)));
    (files, steps)
}

/// An example's files at the top of the folder, with the contract and with cases for what it does.
fn own(example: &[(&str, &str)]) -> Vec<Entry> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut files: Vec<Entry> = example.iter().map(|(path, text)| (name(path), (*text).to_owned())).collect();
    files.push(("cases.toml".to_owned(), LEAST_BUSY_CASES.to_owned()));
    files.extend(vendored(WIT));
    files
}

const LEAST_BUSY_CASES: &str = r#"# What the selector is to answer: tollgate plugin test FILE --cases cases.toml

[[case]]
name = "who has the fewest calls under way serves"
select = { candidates = [{ handle = 1, in_flight = 9 }, { handle = 2, in_flight = 3 }] }
expect = { chosen = 2 }
"#;

fn readme(name: &str, kind: Kind, steps: &[String]) -> String {
    let steps: String = steps.iter().skip(1).map(|step| format!("{step}\n")).collect();
    format!(
        "# {name}\n\nA {} for Tollgate. `vendor` holds the contract (`vendor/wit`) and what it takes to build.\n\n\
         ```sh\n{steps}```\n",
        kind.name()
    )
}

#[cfg(test)]
mod tests {
    use super::{Kind, SDK, SDK_MANIFEST, WIT, rust};
    use std::collections::BTreeSet;
    use std::fs;

    const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    #[test]
    fn all_of_the_sdk_and_of_the_contract_is_carried() {
        for (folder, files) in [("plugins/sdk/src", SDK), ("wit", WIT)] {
            let there = fs::read_dir(format!("{REPOSITORY}/{folder}")).unwrap();
            let there = there.map(|file| file.unwrap().file_name().into_string().unwrap());
            let wanted = |name: &String| name.ends_with(".rs") || name.ends_with(".wit");
            let there: BTreeSet<String> =
                there.filter(wanted).map(|name| format!("{folder}/{name}")).collect();
            let carried = files.iter().map(|(path, _)| (*path).to_owned());
            assert_eq!(there, carried.filter(wanted).collect());
        }
    }

    #[test]
    fn the_sdk_is_built_with_what_it_is_built_with_here() {
        let workspace = fs::read_to_string(format!("{REPOSITORY}/Cargo.toml")).unwrap();
        for line in SDK_MANIFEST.lines().filter(|line| line.contains("version = \"") && line.contains('{')) {
            assert!(workspace.contains(line), "{line}");
        }
    }

    #[test]
    fn a_folder_names_its_author_s_own_and_nothing_of_the_repository() {
        for kind in Kind::ALL {
            let (files, _) = rust("night-owl", kind);
            let of = |place: &str| &files.iter().find(|(path, _)| path == place).unwrap().1;
            let manifest = of("Cargo.toml");
            assert!(manifest.contains("name = \"night-owl\"") && !manifest.contains("my-policy"));
            assert!(manifest.contains("path = \"vendor/plugins/sdk\""), "{manifest}");
            assert!(of("src/lib.rs").contains("tollgate_plugin::export_"), "{}", kind.name());
            assert!(of("cases.toml").contains("[[case]]"), "{}", kind.name());
            assert!(!of("src/lib.rs").contains("my_policy"));
        }
    }
}
