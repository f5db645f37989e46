//! The binary under test: the same entry point as `tollgate`, so that tests can start and kill it as a process.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_server::main()
}
