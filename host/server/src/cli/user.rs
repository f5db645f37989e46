//! `tollgate user`

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;

use super::all;
use super::output::Output;
use crate::config::Config;
use crate::manage::{ManageError, Management, NewUser, Opening, UserEdit};

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
        /// What it may do by the management API: admin or user.
        #[arg(long, default_value = "user", value_parser = role)]
        role: Role,
        /// Read a password from standard input, so that the user may log in.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Set a user's password, which is read from standard input. All logins of the user end.
    Password {
        /// The user.
        name: String,
    },
    /// Give a user a role.
    Role {
        /// The user.
        name: String,
        /// admin or user.
        #[arg(value_parser = role)]
        role: Role,
    },
    /// Say whether a user's own provider keys alone may serve the user's calls: what they cannot serve is refused, and
    /// never paid in full.
    OwnOnly {
        /// The user.
        name: String,
        /// Whether they alone may.
        #[arg(value_name = "BOOL", action = clap::ArgAction::Set)]
        own_only: bool,
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
        let opening = if matches!(self, Self::Add { .. }) { Opening::Make } else { Opening::Find };
        let management = Management::open_as(config, opening).await?;
        match self {
            Self::Add { name, points, role, password_stdin } => {
                let password = password_stdin.then(password).transpose()?;
                let new = NewUser { name: name.clone(), role, password, points, ..NewUser::default() };
                let id = management.create_user(new).await?;
                output.one(&[
                    ("id", id.to_string().into()),
                    ("name", name.into()),
                    ("points", points.to_string().into()),
                ])?;
            }
            Self::Password { name } => {
                let password = Some(password()?);
                change(&management, &name, UserEdit { password, ..UserEdit::default() }).await?;
            }
            Self::Role { name, role } => {
                change(&management, &name, UserEdit { role: Some(role), ..UserEdit::default() }).await?;
            }
            Self::OwnOnly { name, own_only } => {
                let edit = UserEdit { own_only: Some(own_only), ..UserEdit::default() };
                change(&management, &name, edit).await?;
            }
            Self::List => {
                let users = all(|window| management.users("", window)).await?;
                let rows: Vec<_> = users
                    .into_iter()
                    .map(|user| {
                        vec![
                            user.name.into(),
                            user.enabled.into(),
                            user.role.name().into(),
                            user.balance.to_string().into(),
                            user.id.to_string().into(),
                        ]
                    })
                    .collect();
                output.many(&["name", "enabled", "role", "points", "id"], &rows)?;
            }
            Self::Disable { name } => enable(&management, &name, false).await?,
            Self::Enable { name } => enable(&management, &name, true).await?,
        }
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

async fn change(management: &Management, name: &str, edit: UserEdit) -> Result<(), ManageError> {
    management.change_user(management.find_user(name).await?, edit).await
}

async fn enable(management: &Management, name: &str, enabled: bool) -> Result<(), ManageError> {
    change(management, name, UserEdit { enabled: Some(enabled), ..UserEdit::default() }).await
}

fn role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| "known are admin and user".to_owned())
}

/// The first line of standard input.
fn password() -> anyhow::Result<Secret> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("reading the password from standard input")?;
    let password = Secret::new(line);
    Ok(Secret::new(password.expose().trim_end_matches(['\r', '\n']).to_owned()))
}
