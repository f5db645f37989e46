//! `tollgate key`

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::Value;

use super::output::Output;
use crate::config::Config;
use crate::desk::Desk;
use crate::shared::now;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// API keys.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// Make an API key. It is printed once and stored as a hash.
    Create {
        /// Whose key it is.
        #[arg(long)]
        user: String,
        /// A name to tell it by.
        #[arg(long, default_value = "default")]
        name: String,
        /// Days until it ends. Without it, it does not.
        #[arg(long, value_name = "DAYS")]
        expires_in: Option<u64>,
    },
    /// List API keys by their first signs.
    List,
    /// Refuse an API key from now on.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
    },
}

impl Key {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let desk = Desk::open(config).await?;
        match self {
            Self::Create { user, name, expires_in } => {
                let expires_at = expires_in.map(|days| now().plus_ms(days.saturating_mul(DAY_MS)));
                let (id, key) = desk.create_key(&user, &name, expires_at).await?;
                output.one(&[
                    ("key", key.expose().into()),
                    ("id", id.to_string().into()),
                    ("user", user.into()),
                    ("name", name.into()),
                ])?;
            }
            Self::List => {
                let rows: Vec<_> = desk
                    .keys()
                    .await?
                    .into_iter()
                    .map(|key| {
                        let expires = key.expires_at.map_or(Value::Null, |at| at.millis().into());
                        vec![
                            key.hint.into(),
                            key.user.into(),
                            key.name.into(),
                            key.enabled.into(),
                            expires,
                            key.id.to_string().into(),
                        ]
                    })
                    .collect();
                output.many(&["key", "user", "name", "enabled", "expires_at_ms", "id"], &rows)?;
            }
            Self::Revoke { id } => desk.revoke_key(id.parse()?).await?,
        }
        desk.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
