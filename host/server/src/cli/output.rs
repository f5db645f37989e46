//! What commands print: a table for people, JSON for programs, errors to standard error.

use std::io::{ErrorKind, Write};

use serde_json::{Map, Value};
use tollgate_core::line;

/// The reader of standard output has left, as `head` does when it has seen enough. That is no failure of the command.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output any more")]
pub(super) struct Unread;

/// Where and how a command prints.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// One thing: its fields line by line, or a JSON object.
    pub(super) fn one(&self, fields: &[(&str, Value)]) -> anyhow::Result<()> {
        if self.json {
            return line(&object(fields).to_string());
        }
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        fields.iter().try_for_each(|(name, value)| line(&format!("{name:width$}  {}", plain(value))))
    }

    /// Many things of one kind: a table, or a JSON array of objects.
    pub(super) fn many(&self, columns: &[&str], rows: &[Vec<Value>]) -> anyhow::Result<()> {
        if self.json {
            let objects = rows.iter().map(|row| {
                let fields: Vec<_> = columns.iter().copied().zip(row.iter().cloned()).collect();
                object(&fields)
            });
            return line(&Value::Array(objects.collect()).to_string());
        }
        let texts: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        let width = |at: usize| {
            let cells = texts.iter().map(|row| row[at].chars().count());
            cells.chain([columns[at].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let print = |cells: Vec<String>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            line(padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        print(columns.iter().map(|column| column.to_uppercase()).collect())?;
        texts.into_iter().try_for_each(print)
    }
}

fn object(fields: &[(&str, Value)]) -> Value {
    Value::Object(
        fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>(),
    )
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        // Names, models and errors are strangers' words, and this may be a terminal.
        Value::String(text) => line::plain(text).into_owned(),
        other => other.to_string(),
    }
}

/// One line to standard output.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Bytes to standard output.
///
/// # Errors
/// [`Unread`] where its reader has left, and as the system answers.
pub(super) fn write(bytes: &[u8]) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(bytes).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Unread.into(),
        _ => error.into(),
    })
}

/// An error with its causes, to standard error.
pub(super) fn complain(error: &anyhow::Error) {
    // There is nowhere left to say that standard error is gone.
    let _told = writeln!(std::io::stderr().lock(), "tollgate: {}", lines(&format!("{error:#}")));
}

/// Something beside what was asked for, to standard error.
pub(super) fn remark(text: &str) {
    let _told = writeln!(std::io::stderr().lock(), "{}", lines(text));
}

/// Lines as they may be shown: those of a configuration that is refused are several.
fn lines(text: &str) -> String {
    text.split('\n').map(line::plain).collect::<Vec<_>>().join("\n")
}
