//! `tollgate openapi`

use std::process::ExitCode;

use super::output;
use crate::admin::openapi;

/// Prints the document that `/management/v1/openapi.json` serves.
pub(super) fn print() -> anyhow::Result<ExitCode> {
    output::line(&serde_json::to_string_pretty(openapi())?)?;
    Ok(ExitCode::SUCCESS)
}
