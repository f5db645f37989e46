//! Builds the components of this repository for `wasm32-wasip2` with one nested `cargo build`, and writes the tables
//! that `src/lib.rs` includes.
//!
//! The nested build has a target directory of its own, `<target>/components`: sharing the outer one would wait for a
//! lock that the outer build holds. Unchanged sources cost about a second.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const TARGET: &str = "wasm32-wasip2";

/// Name, package and `Kind` of each first-party component.
const COMPONENTS: [(&str, &str, &str); 6] = [
    ("openai", "tollgate-plugin-openai", "ProviderAdapter"),
    ("claude", "tollgate-plugin-claude", "ProviderAdapter"),
    ("gemini", "tollgate-plugin-gemini", "ProviderAdapter"),
    ("key-selection", "tollgate-policy-key-selection", "KeySelector"),
    ("discount-points", "tollgate-policy-discount-points", "PricingPolicy"),
    ("content-filter", "tollgate-policy-content-filter", "ContentFilter"),
];

/// The sources of the components, below the workspace; not `plugins` as a whole, which holds a template with a target
/// directory of its own.
const SOURCES: [&str; 11] = [
    "Cargo.toml",
    "Cargo.lock",
    "wit",
    "plugins/sdk",
    "plugins/protocols",
    "plugins/translator",
    "plugins/openai",
    "plugins/claude",
    "plugins/gemini",
    "plugins/template/kinds",
    "policies",
];

/// The variables beginning with `CARGO_` that a nested build inherits. The rest either describes the outer build
/// (flags, wrappers, its own target) or a package that is not the one being built.
const INHERITED: [&str; 9] = [
    "CARGO_HOME",
    "CARGO_BUILD_JOBS",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TARGET_WASM32_WASIP2_",
    "CARGO_TERM_",
];

/// Flags and wrappers of the outer build: clippy's wrapper would check the components instead of building them.
const SCRUBBED: [&str; 4] = ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];

fn main() -> ExitCode {
    let Err(error) = run() else { return ExitCode::SUCCESS };
    for line in error.to_string().lines() {
        println!("cargo::error={line}");
    }
    ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    let guests = match env::var_os("CARGO_FEATURE_GUESTS") {
        Some(_) => find_guests(&workspace.join("tests/guests"))?,
        None => BTreeMap::new(),
    };
    require_target()?;
    let built = build(&workspace, &target_directory(&out), &guests)?;
    write_tables(&out, &built, &guests)
}

/// Name and package of each directory below `directory` that holds a manifest.
fn find_guests(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut guests = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let package = format!("tollgate-guest-{name}");
            guests.insert(name, package);
        }
    }
    Ok(guests)
}

/// Makes sure that the standard library for [`TARGET`] is there, and asks rustup for it when it is not.
fn require_target() -> Result<(), Box<dyn Error>> {
    if target_installed()? {
        return Ok(());
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").ok();
    let mut arguments = vec!["target", "add", TARGET];
    arguments.extend(toolchain.iter().flat_map(|name| ["--toolchain", name.as_str()]));
    let added = Command::new("rustup").args(&arguments).stdout(Stdio::null()).status();
    if added.is_ok_and(|status| status.success()) && target_installed()? {
        return Ok(());
    }
    let hint = format!("rustup {}", arguments.join(" "));
    Err(format!("plugins are built for {TARGET}, which this toolchain lacks; type:\n    {hint}").into())
}

fn target_installed() -> Result<bool, Box<dyn Error>> {
    let asked = Command::new(rustc()).args(["--print", "target-libdir", "--target", TARGET]).output()?;
    let directory = String::from_utf8(asked.stdout)?;
    let Ok(files) = fs::read_dir(directory.trim()) else { return Ok(false) };
    Ok(files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
}

fn rustc() -> String {
    env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())
}

/// `<target>/components`, where `<target>` is the nearest directory around `out` that cargo has marked as its own, and
/// not the one in it that is named after the platform.
fn target_directory(out: &Path) -> PathBuf {
    let platform = env::var_os("TARGET");
    let marked = out.ancestors().find(|directory| {
        directory.file_name() != platform.as_deref() && directory.join("CACHEDIR.TAG").is_file()
    });
    marked.unwrap_or(out).join("components")
}

/// Builds all components; returns the directory that then holds them.
fn build(
    workspace: &Path,
    target: &Path,
    guests: &BTreeMap<String, String>,
) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let foreign = name.starts_with("CARGO_") && !INHERITED.iter().any(|known| name.starts_with(known));
        if foreign || SCRUBBED.contains(&&*name) {
            cargo.env_remove(&*name);
        }
    }
    cargo.current_dir(workspace).stdout(Stdio::null());
    cargo.args(["build", "--locked", "--lib", "--profile", "plugin", "--target", TARGET, "--target-dir"]);
    cargo.arg(target);
    let packages = COMPONENTS.iter().map(|(_, package, _)| *package);
    for package in packages.chain(guests.values().map(String::as_str)) {
        cargo.args(["--package", package]);
    }
    let status = cargo.status()?;
    if !status.success() {
        return Err("the components do not build; cargo's messages are above".into());
    }
    Ok(target.join(TARGET).join("plugin"))
}

/// Copies the components beside the tables, so that a later build cannot change what this one includes.
fn write_tables(out: &Path, built: &Path, guests: &BTreeMap<String, String>) -> Result<(), Box<dyn Error>> {
    let mut components = String::from("&[\n");
    for (name, package, kind) in COMPONENTS {
        let bytes = copy(built, package, out)?;
        writeln!(components, "Component {{ name: {name:?}, kind: Kind::{kind}, bytes: {bytes} }},")?;
    }
    let mut misbehaving = String::from("&[\n");
    for (name, package) in guests {
        let bytes = copy(built, package, out)?;
        writeln!(misbehaving, "Guest {{ name: {name:?}, bytes: {bytes} }},")?;
    }
    fs::write(out.join("components.rs"), components + "]\n")?;
    fs::write(out.join("guests.rs"), misbehaving + "]\n")?;
    Ok(())
}

/// Copies the component of `package`; returns the expression that includes it.
fn copy(built: &Path, package: &str, out: &Path) -> Result<String, Box<dyn Error>> {
    let from = built.join(package.replace('-', "_")).with_extension("wasm");
    let to = out.join(package).with_extension("wasm");
    fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
    Ok(format!("include_bytes!({:?})", to.display().to_string()))
}
