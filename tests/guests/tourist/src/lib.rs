//! A key selector that looks for the outside world, and chooses only when there is none.
//!
//! It imports what an ordinary program of the standard library imports: environment, files, clocks, sockets,
//! randomness.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use tollgate_plugin::key_selection::{Candidate, KeySelector, Request};

/// Takes any configuration.
#[derive(Debug)]
pub struct Tourist;

impl KeySelector for Tourist {
    fn configure(_config: &str) -> Result<Self, String> {
        match sights().as_slice() {
            [] => Ok(Self),
            seen => Err(format!("I have seen {}", seen.join(", "))),
        }
    }

    fn select(&self, request: Request, candidates: &[Candidate]) -> Option<u32> {
        // Errors are of no interest: where this goes is not the component's business.
        let _ = writeln!(std::io::stderr(), "a postcard");
        let _ = writeln!(std::io::stdout(), "to standard output");
        if request.attempt > 0 {
            std::process::exit(0);
        }
        let handles: HashSet<u32> = candidates.iter().map(|candidate| candidate.handle).collect();
        handles.into_iter().min()
    }
}

/// Everything that a sandbox should hide and did not.
fn sights() -> Vec<&'static str> {
    let looked = [
        ("an environment", std::env::vars_os().next().is_some()),
        ("arguments", std::env::args_os().next().is_some()),
        ("a directory", std::env::current_dir().is_ok_and(|path| std::fs::read_dir(path).is_ok())),
        ("a root", std::fs::read_dir("/").is_ok()),
        ("a file", std::fs::read("/etc/passwd").is_ok()),
        ("a place to write", std::fs::write("/tmp/postcard", "x").is_ok()),
        ("the time", SystemTime::now().duration_since(UNIX_EPOCH).is_ok_and(|time| !time.is_zero())),
        ("a network", TcpStream::connect(("127.0.0.1", 80)).is_ok()),
    ];
    looked.into_iter().filter_map(|(sight, seen)| seen.then_some(sight)).collect()
}

tollgate_plugin::export_key_selector!(Tourist);
