//! What the files of the console promise about themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::{DIGEST, FILES, PAGE, PAGE_POLICY, find};

/// Lines of the kernel together, and of any other module.
const KERNEL_LINES_MAX: usize = 400;
const MODULE_LINES_MAX: usize = 300;
const CODE_COLUMNS_MAX: usize = 130;
const PROSE_COLUMNS_MAX: usize = 120;
/// Bytes of a first visit: the page, what it names, one page's module and words.
const FIRST_VISIT_BYTES_MAX: usize = 100_000;
const ALL_BYTES_MAX: usize = 250_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web")
}

/// The files below a folder of `web/` that end so, with their texts.
fn files(folder: &str, end: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&name, end));
        } else if name.ends_with(end) {
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn modules() -> BTreeMap<String, String> {
    files("", ".js")
}

/// The texts between quotes of one kind, and those of templates without what is put into them. Comments have none.
fn literals(module: &str) -> Vec<String> {
    let code: String = module
        .lines()
        .filter(|line| !line.trim_start().starts_with(['*', '/']))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find(['\'', '`', '/']) {
        let quote = rest.as_bytes()[at] as char;
        rest = &rest[at + 1..];
        match quote {
            '/' if rest.starts_with("**") => rest = rest.split_once("*/").map_or("", |(_, rest)| rest),
            '/' => {}
            quote => {
                let Some((text, after)) = rest.split_once(quote) else { break };
                found.push(text.to_owned());
                rest = after;
            }
        }
    }
    found
}

#[test]
fn the_kernel_stays_small_and_so_does_each_module() {
    let lines = |text: &String| text.lines().count();
    let kernel: usize = files("kernel", ".js").values().map(lines).sum();
    assert!(kernel <= KERNEL_LINES_MAX, "the kernel has {kernel} lines");
    for (name, text) in modules() {
        assert!(lines(&text) <= MODULE_LINES_MAX, "{name} has {} lines", lines(&text));
        let prose = |line: &str| ["//", "*", "/*"].iter().any(|mark| line.trim_start().starts_with(mark));
        let most = |line: &str| if prose(line) { PROSE_COLUMNS_MAX } else { CODE_COLUMNS_MAX };
        let wide = text.lines().find(|line| line.chars().count() > most(line));
        assert_eq!(wide, None, "{name}");
    }
}

#[test]
fn both_languages_have_the_same_keys_and_the_same_values_in_them() {
    let (english, chinese) = (files("words/en", ".json"), files("words/zh", ".json"));
    let names = |words: &BTreeMap<String, String>| -> BTreeSet<String> {
        words.keys().map(|name| name.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&english), names(&chinese));
    let holes = |text: &str| -> BTreeSet<String> {
        text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect()
    };
    for (name, text) in english {
        let read = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).unwrap();
        let (english, chinese) = (read(&text), read(&chinese[&name.replace("/en/", "/zh/")]));
        assert_eq!(english.keys().collect::<Vec<_>>(), chinese.keys().collect::<Vec<_>>(), "{name}");
        for (key, text) in &english {
            assert_eq!(holes(text), holes(&chinese[key]), "{name}: {key}");
            assert!(!text.is_empty() && !chinese[key].is_empty(), "{name}: {key}");
        }
    }
}

/// The words of all pages are in one place once they are loaded.
#[test]
fn no_key_stands_in_two_files_of_words() {
    let mut seen = BTreeMap::new();
    for (name, text) in files("words/en", ".json") {
        for key in serde_json::from_str::<BTreeMap<String, String>>(&text).unwrap().into_keys() {
            let other = seen.insert(key.clone(), name.clone());
            assert_eq!(other, None, "`{key}` stands in {name} too");
        }
    }
}

/// Every text of `t('…')` is there in English, in the words that are loaded with some page.
#[test]
fn every_key_that_a_module_names_has_its_words() {
    let words = files("words/en", ".json");
    let read = |text: &String| serde_json::from_str::<BTreeMap<String, String>>(text).unwrap();
    let known: BTreeSet<String> = words.values().flat_map(|text| read(text).into_keys()).collect();
    for (name, text) in modules() {
        for (at, _) in text.match_indices(" t('").chain(text.match_indices("(t('")) {
            let key = text[at + 4..].split('\'').next().unwrap();
            assert!(known.contains(key), "{name} names the text `{key}`");
        }
    }
}

/// Words that are no language: names of keys, headers, commands, protocols, elements of types.
const TECHNICAL: [&str; 18] = [
    "Tollgate",
    "English",
    "Escape",
    "Enter",
    "Esc",
    "ArrowDown",
    "ArrowUp",
    "GET",
    "POST",
    "PATCH",
    "PUT",
    "DELETE",
    "Authorization",
    "Bearer",
    "TOLLGATE",
    "Content",
    "UTC",
    "SDK",
];

/// A text that people read begins with a capital letter, or is Chinese. None stands in a module: it stands in `words/`.
#[test]
fn no_module_holds_a_text_that_people_read() {
    for (name, module) in modules() {
        for text in literals(&module) {
            let bare = TECHNICAL.iter().fold(text.clone(), |text, word| text.replace(word, ""));
            let chinese =
                text.chars().any(|sign| ('\u{4e00}'..='\u{9fff}').contains(&sign)) && text != "中文";
            let begins =
                bare.trim_start().starts_with(|sign: char| sign.is_ascii_uppercase()) && bare.len() > 1;
            let drawn = bare.starts_with('M')
                && bare[1..].starts_with(|sign: char| sign.is_ascii_digit() || sign == '$');
            assert!(!chinese && (!begins || drawn), "{name}: {text:?}");
        }
    }
}

#[test]
fn every_import_is_relative_and_leads_to_a_file() {
    for (name, text) in modules() {
        let here = root().join(&name);
        let imports = text.lines().filter_map(|line| {
            let rest = line.split_once("from '").or_else(|| line.split_once("import('"))?.1;
            rest.split('\'').next()
        });
        for import in imports {
            assert!(import.starts_with('.'), "{name} imports {import}");
            assert!(here.parent().unwrap().join(import).is_file(), "{name} imports {import}");
        }
    }
}

#[test]
fn nothing_names_another_origin_or_makes_markup_of_a_text() {
    for (name, text) in modules().into_iter().chain(files("", ".html")).chain(files("", ".css")) {
        let bare = text.replace("http://www.w3.org/2000/svg", "");
        for word in
            ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
        {
            assert!(!bare.contains(word), "{name} holds {word}");
        }
        assert!(
            !name.ends_with(".html") || !text.contains(" style="),
            "{name} holds a style that the policy refuses"
        );
    }
}

#[test]
fn the_policy_is_the_strict_one_to_the_letter() {
    let expected = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";
    assert_eq!(PAGE_POLICY, expected);
}

fn unpacked(gzip: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_page_names_the_digest_and_every_file_that_it_names_is_there() {
    let page = unpacked(PAGE.gzip);
    let mut named = 0;
    for rest in page.split(&format!("\"{DIGEST}/")).skip(1) {
        let path = rest.split('"').next().unwrap();
        assert!(find(path).is_some(), "{path}");
        named += 1;
    }
    assert!(named > 5 && !page.contains("{digest}"), "{page}");
    assert!(find("index.html").is_none() && find("kernel").is_none() && find("../Cargo.toml").is_none());
    assert!(FILES.windows(2).all(|pair| pair[0].path < pair[1].path), "they are searched by halves");
}

#[test]
fn every_document_is_embedded_and_on_the_page_of_documents() {
    let page = fs::read_to_string(root().join("pages/docs.js")).unwrap();
    let documents: Vec<_> = FILES.iter().filter_map(|file| file.path.strip_prefix("docs/")).collect();
    assert!(documents.len() > 10, "{documents:?}");
    for document in documents {
        let name = document.trim_end_matches(".md");
        assert!(page.contains(&format!("'{name}'")), "pages/docs.js does not name {name}");
    }
}

#[test]
fn a_first_visit_and_all_pages_together_are_light() {
    let size = |chosen: &dyn Fn(&str) -> bool| -> usize {
        FILES.iter().filter(|file| chosen(file.path)).map(|file| file.gzip.len()).sum()
    };
    let shared = PAGE.gzip.len()
        + size(&|path| !path.contains('/') || path.starts_with("kernel/") || path.starts_with("parts/"));
    let words = size(&|path| path == "words/zh/common.json");
    let largest = |folder: &str| {
        FILES
            .iter()
            .filter(|file| file.path.starts_with(folder))
            .map(|file| file.gzip.len())
            .max()
            .unwrap_or(0)
    };
    let first = shared + words + largest("pages/") + largest("words/zh/");
    assert!(first <= FIRST_VISIT_BYTES_MAX, "{first} bytes");
    let all = PAGE.gzip.len() + size(&|path| !path.starts_with("words/en/"));
    assert!(all <= ALL_BYTES_MAX, "{all} bytes");
}
