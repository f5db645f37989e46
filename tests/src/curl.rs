//! Runs curl as operators do.

use std::process::Stdio;

use tokio::process::Command;

use crate::patiently;

/// The result of a run.
#[derive(Debug)]
pub struct Curled {
    /// Whether it succeeded.
    pub success: bool,
    /// The answer's body.
    pub body: String,
    /// Its error message.
    pub error: String,
    /// `1.1` or `2`; `0` without an answer.
    pub http_version: String,
}

/// Runs curl with `arguments`. `None`, with a message, where this machine has no curl with HTTP/2 and TLS.
///
/// # Panics
/// When curl does not end.
#[expect(clippy::print_stderr, reason = "a skipped test has to say so where its runner shows it")]
pub async fn curl(arguments: &[&str]) -> Option<Curled> {
    let version = run(&["--version"]).await.map(|output| output.0).unwrap_or_default();
    for feature in ["HTTP2", "SSL"] {
        if !version.contains(feature) {
            eprintln!("skipped: curl does not offer {feature} here");
            return None;
        }
    }
    let mark = "\n<http-version>";
    let format = format!("{mark}%{{http_version}}");
    let arguments = [&["--silent", "--show-error", "--max-time", "30", "--write-out", &format], arguments];
    let (output, error, success) = run(&arguments.concat()).await?;
    let (body, http_version) = output.rsplit_once(mark)?;
    Some(Curled { success, body: body.to_owned(), error, http_version: http_version.to_owned() })
}

async fn run(arguments: &[&str]) -> Option<(String, String, bool)> {
    let mut command = Command::new("curl");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = patiently("curl", command.output()).await.ok()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Some((text(output.stdout), text(output.stderr), output.status.success()))
}
