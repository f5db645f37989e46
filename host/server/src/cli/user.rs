//! `tollgate user`

use std::process::ExitCode;

use clap::Subcommand;

use super::output::Output;
use crate::config::Config;
use crate::desk::Desk;

/// People and teams.
#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Add a user with an account.
    Add {
        /// A name that no other user has.
        name: String,
        /// Points to begin with.
        #[arg(long, default_value = "0", value_parser = super::points)]
        points: tollgate_core::points::Micropoints,
    },
    /// List users with their balances.
    List,
    /// Refuse a user's calls from now on.
    Disable {
        /// The user.
        name: String,
    },
    /// Take a user's calls again.
    Enable {
        /// The user.
        name: String,
    },
}

impl User {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let desk = Desk::open(config).await?;
        match self {
            Self::Add { name, points } => {
                let id = desk.add_user(&name, points).await?;
                output.one(&[
                    ("id", id.to_string().into()),
                    ("name", name.into()),
                    ("points", points.to_string().into()),
                ])?;
            }
            Self::List => {
                let users = desk.users().await?;
                let rows: Vec<_> = users
                    .into_iter()
                    .map(|user| {
                        vec![
                            user.name.into(),
                            user.enabled.into(),
                            user.balance.to_string().into(),
                            user.id.to_string().into(),
                        ]
                    })
                    .collect();
                output.many(&["name", "enabled", "points", "id"], &rows)?;
            }
            Self::Disable { name } => desk.set_user_enabled(&name, false).await?,
            Self::Enable { name } => desk.set_user_enabled(&name, true).await?,
        }
        desk.close().await;
        Ok(ExitCode::SUCCESS)
    }
}
