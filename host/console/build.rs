//! Compresses every file of `web/` and the documents of `docs/`, and writes the table that `src/lib.rs` includes.
//!
//! All files but the page stand below one digest of the whole set, so their imports stay relative, and a browser may
//! keep them for ever. The page alone names the digest.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// The page, in which [`MARK`] stands for the digest.
const PAGE: &str = "index.html";
const MARK: &str = "{digest}";
/// Characters of the digest that stand in addresses.
const DIGEST_CHARS: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let web = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("web");
    println!("cargo::rerun-if-changed={}", web.display());
    let documents = web.join("../../../docs").canonicalize()?;
    println!("cargo::rerun-if-changed={}", documents.display());
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut paths = Vec::new();
    collect(&web, &web, "", &mut paths)?;
    collect(&documents, &documents, "docs/", &mut paths)?;
    paths.sort();
    let mut digest = Sha256::new();
    let mut files = Vec::new();
    for (path, from) in paths {
        let bytes = fs::read(from)?;
        for part in [path.as_bytes(), &bytes] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        files.push((path, bytes));
    }
    let mut hex = String::new();
    for byte in digest.finalize() {
        write!(hex, "{byte:02x}")?;
    }
    hex.truncate(DIGEST_CHARS);
    write_table(&out, &hex, files)
}

/// The files below a folder: the path of each below `root`, behind `prefix`, and where it is.
fn collect(
    root: &Path,
    folder: &Path,
    prefix: &str,
    paths: &mut Vec<(String, PathBuf)>,
) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, prefix, paths)?;
        } else {
            let below = path.strip_prefix(root)?.to_str().ok_or("a name that is no text")?.replace('\\', "/");
            paths.push((format!("{prefix}{below}"), path));
        }
    }
    Ok(())
}

fn write_table(out: &Path, digest: &str, files: Vec<(String, Vec<u8>)>) -> Result<(), Box<dyn Error>> {
    let mut table = format!("/// Which set of files this is.\npub const DIGEST: &str = {digest:?};\n");
    let mut rows = String::new();
    for (number, (path, bytes)) in files.into_iter().enumerate() {
        let bytes = match path == PAGE {
            true => String::from_utf8(bytes)?.replace(MARK, digest).into_bytes(),
            false => bytes,
        };
        let packed = out.join(format!("{number}.gz"));
        let mut encoder = GzEncoder::new(fs::File::create(&packed)?, Compression::best());
        encoder.write_all(&bytes)?;
        encoder.finish()?;
        let media_type = media_type(&path)?;
        let packed = packed.display().to_string();
        let row = format!(
            "File {{ path: {path:?}, media_type: {media_type:?}, gzip: include_bytes!({packed:?}) }}"
        );
        if path == PAGE {
            writeln!(table, "/// The page.\npub static PAGE: File = {row};")?;
        } else {
            writeln!(rows, "{row},")?;
        }
    }
    writeln!(table, "/// Everything else, by path.\npub static FILES: &[File] = &[\n{rows}];")?;
    fs::write(out.join("files.rs"), table)?;
    Ok(())
}

fn media_type(path: &str) -> Result<&'static str, Box<dyn Error>> {
    Ok(match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("md") => "text/markdown; charset=utf-8",
        _ => return Err(format!("{path}: what is this file?").into()),
    })
}
