//! Rust sources as text: their code without comments, literals and tests, the files that they import, and the lengths
//! of their functions. A parser for just what the promises about the shape of the tree need.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One file.
#[derive(Debug)]
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// Its lines, tests included.
    pub lines: usize,
    /// Its code without its tests and comments, literals emptied.
    pub code: String,
    /// The string literals of that code.
    pub literals: Vec<String>,
}

/// The Rust files below a folder, in the order of their paths.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn sources(root: &Path, folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(root, folder, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &str, found: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    for entry in entries {
        let entry = entry.expect("an entry can be read");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(root, &path, found);
        } else if path.ends_with(".rs") {
            found.push(Source::read(root, path));
        }
    }
}

impl Source {
    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(root: &Path, path: String) -> Self {
        let text = fs::read_to_string(root.join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let (code, literals) = code_and_literals(&text);
        Self { lines: text.lines().count(), path, code, literals }
    }

    /// Whether the file holds tests alone.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// The length of each function in lines, from its `fn` to its last brace.
    #[must_use]
    pub fn functions(&self) -> Vec<usize> {
        let starts = self.code.match_indices("fn ").filter(|(at, _)| {
            *at == 0
                || !self.code.as_bytes()[at - 1].is_ascii_alphanumeric()
                    && self.code.as_bytes()[at - 1] != b'_'
        });
        starts.filter_map(|(at, _)| length(&self.code[at..])).collect()
    }

    /// The paths of this crate that the code names, segment by segment: `crate::…` and `super::…`.
    #[must_use]
    pub fn imports(&self, module: &[String]) -> BTreeSet<Vec<String>> {
        let mut paths = BTreeSet::new();
        for (at, word) in words(&self.code, &["crate::", "super::"]) {
            let mut rest = &self.code[at + word.len()..];
            let mut base = if word == "crate::" { Vec::new() } else { parent(module) };
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            tree(rest, &base, &mut paths);
        }
        paths
    }
}

fn parent(module: &[String]) -> Vec<String> {
    module[..module.len().saturating_sub(1)].to_vec()
}

/// Where one of `wanted` begins a path. What follows another `super::` is read with it.
fn words<'a>(code: &'a str, wanted: &'a [&'static str]) -> impl Iterator<Item = (usize, &'static str)> + 'a {
    wanted.iter().flat_map(move |word| code.match_indices(word).map(move |(at, _)| (at, *word))).filter(
        move |(at, _)| {
            let before = code[..*at].chars().next_back();
            !before.is_some_and(|sign| sign.is_alphanumeric() || matches!(sign, '_' | ':' | '$'))
        },
    )
}

/// Reads a path, or a tree of them in braces, that follows `base`.
fn tree(text: &str, base: &[String], paths: &mut BTreeSet<Vec<String>>) {
    let mut path = base.to_vec();
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix('{') {
            for branch in branches(inner) {
                tree(branch.trim_start(), &path, paths);
            }
            return;
        }
        let end = rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(rest.len());
        if end > 0 && &rest[..end] != "self" {
            path.push(rest[..end].to_owned());
        }
        match rest[end..].strip_prefix("::") {
            Some(after) if end > 0 => rest = after,
            _ => break,
        }
    }
    paths.insert(path);
}

/// What stands between the braces of a `use` tree, split at its commas.
fn branches(inner: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, sign) in inner.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(&inner[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|branch| !branch.trim().is_empty());
    found
}

/// Lines up to the brace that closes the first one; `None` for a declaration without a body.
fn length(code: &str) -> Option<usize> {
    let open = code.find(['{', ';']).filter(|at| code.as_bytes()[*at] == b'{')?;
    let mut depth = 0usize;
    for (at, sign) in code[open..].char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(code[..=open + at].lines().count());
        }
    }
    None
}

/// The files of one crate and what each imports of the same crate.
#[derive(Debug)]
pub struct Graph {
    /// From file to the files that it imports, by paths below the crate's source folder, without `.rs`.
    pub files: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Reads the imports of a crate's source folder.
    #[must_use]
    pub fn of(root: &Path, folder: &str) -> Self {
        let all: Vec<Source> = sources(root, folder).into_iter().filter(|source| !source.is_test()).collect();
        let name = |source: &Source| source.path[folder.len() + 1..].trim_end_matches(".rs").to_owned();
        let known: BTreeMap<Vec<String>, String> =
            all.iter().map(|source| (module(&name(source)), name(source))).collect();
        let files = all.iter().map(|source| {
            let (from, own) = (name(source), module(&name(source)));
            let inside =
                if from.ends_with("mod") { [own.clone(), vec![String::new()]].concat() } else { own };
            let targets = source.imports(&inside).iter().filter_map(|path| resolve(path, &known)).collect();
            (from, targets)
        });
        let mut files: BTreeMap<String, BTreeSet<String>> = files.collect();
        for (from, targets) in &mut files {
            targets.remove(from);
        }
        Self { files }
    }

    /// From room to the rooms that it imports, each with the files that do. A room is a folder or a file beside the
    /// folders.
    #[must_use]
    pub fn rooms(&self) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
        let mut rooms: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (from, targets) in &self.files {
            let arrows = rooms.entry(room(from).to_owned()).or_default();
            for to in targets.iter().filter(|to| room(to) != room(from)) {
                arrows.entry(room(to).to_owned()).or_default().insert(from.clone());
            }
        }
        rooms
    }

    /// Groups of rooms that import each other in a circle.
    #[must_use]
    pub fn circles_of_rooms(&self) -> Vec<Vec<String>> {
        let arrows = self.rooms().into_iter().map(|(from, to)| (from, to.into_keys().collect())).collect();
        circles(&arrows)
    }

    /// Groups of files that import each other in a circle. A parent and its children count as one: a room's `mod.rs`
    /// names what the files beside it hold, and they name what it holds.
    #[must_use]
    pub fn circles_of_files(&self) -> Vec<Vec<String>> {
        let family = |from: &str, to: &str| {
            let parent = |file: &str| module(file);
            let (a, b) = (parent(from), parent(to));
            a.starts_with(&b) || b.starts_with(&a)
        };
        let arrows = self.files.iter().map(|(from, targets)| {
            (from.clone(), targets.iter().filter(|to| !family(from, to)).cloned().collect())
        });
        circles(&arrows.collect())
    }
}

/// The room that a file stands in.
#[must_use]
pub fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file)
}

fn module(file: &str) -> Vec<String> {
    let segments = file.split('/').map(str::to_owned);
    let mut path: Vec<String> = segments.collect();
    if path.last().is_some_and(|last| last == "mod" || path.len() == 1 && last == "lib") {
        path.pop();
    }
    path
}

/// The file that holds what a path names: the longest beginning of it that is a module.
fn resolve(path: &[String], known: &BTreeMap<Vec<String>, String>) -> Option<String> {
    (0..=path.len()).rev().find_map(|length| known.get(&path[..length]).cloned())
}

/// Strongly connected groups of more than one node.
fn circles(arrows: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(node) = next.pop() {
            for to in arrows.get(&node).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        arrows.keys().map(|from| (from, reach(from))).collect();
    let mut groups: BTreeSet<Vec<String>> = BTreeSet::new();
    for (from, seen) in &reached {
        let group: Vec<String> = seen
            .iter()
            .filter(|to| reached.get(to).is_some_and(|back| back.contains(*from)))
            .cloned()
            .collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

/// A source text without its comments and its tests: the code with its string literals emptied, and the literals.
///
/// # Panics
/// When a literal does not end.
#[must_use]
pub fn code_and_literals(source: &str) -> (String, Vec<String>) {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let (mut code, mut literals, mut rest) = (String::new(), Vec::new(), source);
    while let Some(at) = rest.find(['"', '\'', '/']) {
        code.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with('"') {
            let (literal, after) = literal(&code, &rest[1..]);
            code.push_str("\"\"");
            code.extend(literal.matches('\n'));
            literals.push(literal.to_owned());
            rest = after;
        } else {
            // A quoted quote, brace or backslash would be taken for something else; lifetimes and other characters are
            // plain.
            let quoted = ["'\"'", "'\\''", "'\\\\'", "'{'", "'}'", "b'{'", "b'}'"];
            let length = quoted.iter().find(|it| rest.starts_with(**it)).map_or(1, |it| it.len());
            code.push_str(if length == 1 { &rest[..1] } else { "''" });
            rest = &rest[length..];
        }
    }
    (code + rest, literals)
}

/// Splits what follows an opening quote at the closing one. A raw literal is recognised by what stands before the
/// quote.
fn literal<'a>(before: &str, text: &'a str) -> (&'a str, &'a str) {
    let hashes = before.len() - before.trim_end_matches('#').len();
    let end = if before.trim_end_matches('#').ends_with('r') {
        let closing = format!("\"{}", "#".repeat(hashes));
        (text.find(&closing), closing.len())
    } else {
        let mut escaped = false;
        let closes = |sign: char| {
            let closing = sign == '"' && !escaped;
            escaped = sign == '\\' && !escaped;
            closing
        };
        (text.find(closes), 1)
    };
    let (Some(at), length) = end else { panic!("a literal without an end: {text:.40}") };
    (&text[..at], &text[at + length..])
}

#[cfg(test)]
mod tests {
    use super::{Source, circles, code_and_literals};
    use std::collections::{BTreeMap, BTreeSet};

    fn source(text: &str) -> Source {
        let (code, literals) = code_and_literals(text);
        Source { path: "a/b.rs".to_owned(), lines: 0, code, literals }
    }

    #[test]
    fn imports_are_read_from_paths_trees_and_parents() {
        let text = "use crate::{a::{self, B}, c};\n// use crate::not;\nuse super::d::E;\nfn f() { crate::g::h(\"crate::no\") }";
        let module = ["x".to_owned(), "y".to_owned()];
        let found: Vec<String> =
            source(text).imports(&module).into_iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["a", "a::B", "c", "g::h", "x::d::E"]);
    }

    #[test]
    fn functions_are_measured_from_their_name_to_their_last_brace() {
        let text = "trait T { fn declared(&self); }\nfn one() { '{'; }\nfn four() {\n    if x {\n    }\n}\n";
        assert_eq!(source(text).functions(), [1, 4]);
    }

    #[test]
    fn a_circle_is_found_and_a_diamond_is_none() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let diamond: BTreeMap<String, BTreeSet<String>> =
            [("a", set(&["b", "c"])), ("b", set(&["d"])), ("c", set(&["d"])), ("d", set(&[]))]
                .map(|(from, to)| (from.to_owned(), to))
                .into();
        assert!(circles(&diamond).is_empty());
        let mut closed = diamond;
        closed.insert("d".to_owned(), set(&["a"]));
        assert_eq!(circles(&closed), [["a", "b", "c", "d"].map(str::to_owned).to_vec()]);
    }
}
