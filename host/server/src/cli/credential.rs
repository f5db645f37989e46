//! `tollgate credential`

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tollgate_core::failure::FailureClass;
use tollgate_core::health::Condition;
use tollgate_core::id::CredentialId;
use tollgate_core::limits::{LIMIT_MAX, RateLimits};
use tollgate_core::secret::Secret;
use tollgate_runtime::Runtime;

use super::all;
use super::output::Output;
use crate::config::environment::{self, KeyStorage};
use crate::config::{Config, Grants, file};
use crate::manage::{
    CONSENT_TEXT, CONSENT_VERSION, Management, NewCredential, Opening, Place, Resealed, WhichCredentials,
};
use crate::routing::components;
use crate::state::secret;
use crate::transport::Settings;
use crate::upstream::check::{Check, FirstCredential, Found, Subject};

/// Bytes of a file that holds a key: those of service accounts are the longest.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Provider keys.
#[derive(Debug, Subcommand)]
pub(super) enum Credential {
    /// Add a provider key. It is read from standard input or a file, never from the command line, and stored sealed.
    Add(Box<Add>),
    /// List provider keys by their last characters.
    List,
    /// Use a provider key no more.
    Disable {
        /// Its id, as `list` shows it.
        id: String,
    },
    /// Use a provider key again.
    Enable {
        /// Its id, as `list` shows it.
        id: String,
    },
    /// Ask the provider whether a key is good.
    Check {
        /// Its id, as `list` shows it.
        id: String,
    },
    /// Lend a user's own key to the other users, for points. Say --consent only when its owner has read the text and
    /// agrees: without it, the text is shown. The database notes who did it, and when.
    Share {
        /// Its id, as `list` shows it.
        id: String,
        /// How often others may use it from midnight to midnight UTC.
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=LIMIT_MAX))]
        requests_per_day: u64,
        /// Version of the text that its owner agrees to.
        #[arg(long, value_name = "VERSION")]
        consent: Option<String>,
    },
    /// Take a lent key back. A running server heeds it within half a second.
    Unshare {
        /// Its id, as `list` shows it.
        id: String,
    },
    /// Seal everything with a new master key, while no server runs. The key file is replaced; where the key comes from
    /// TOLLGATE_MASTER_KEY, the new one comes from TOLLGATE_MASTER_KEY_NEW. It may be interrupted at any point.
    Reseal,
    /// Delete a provider key.
    Remove {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// A provider key to add.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// The configured provider that it is for: `openai`, `anthropic`, `google` or another of the configuration.
    #[arg(long)]
    provider: String,
    /// Whose own key it is: only this user's calls use it, at the own-key price. Without it, it is the platform's.
    #[arg(long)]
    user: Option<String>,
    /// A name to tell it by.
    #[arg(long, default_value = "default")]
    label: String,
    /// Share of the load among keys of one owner, 1 to 1000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weight: u32,
    /// Ask the provider whether the key is good, and do not add one that it refuses.
    #[arg(long)]
    check: bool,
    /// Calls a minute that it may serve.
    #[arg(long, value_name = "COUNT")]
    requests_per_minute: Option<u64>,
    /// Tokens a minute, prompt and output together.
    #[arg(long, value_name = "COUNT")]
    tokens_per_minute: Option<u64>,
    /// Tokens a day (UTC), prompt and output together.
    #[arg(long, value_name = "COUNT")]
    tokens_per_day: Option<u64>,
    /// Calls at one time.
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<u64>,
    /// Where it is good, if not at the provider itself: a platform of its adapter, such as `azure`, `bedrock`,
    /// `vertex`, `oauth` or `relay`.
    #[arg(long)]
    platform: Option<String>,
    /// What the platform has to know, such as `region=eu-central-1`. May be given more than once.
    #[arg(long, value_name = "NAME=VALUE", requires = "platform")]
    setting: Vec<String>,
    /// The platform's region: short for `--setting region=…`.
    #[arg(long, requires = "platform")]
    region: Option<String>,
    /// File that holds the key; `-` or nothing for standard input.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Credential {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let memory = environment::keys(|name| std::env::var(name).ok()).storage == Some(KeyStorage::Memory);
        if memory && !matches!(self, Self::Reseal) {
            bail!(
                "with KEY_STORAGE_MODE=memory the running server has the keys: use /management/v1/credentials"
            );
        }
        let opening = if matches!(self, Self::Add(_)) { Opening::Make } else { Opening::Find };
        let management = Management::open_as(config, opening).await?;
        match self {
            Self::Add(add) => add.run(&management, config, output).await?,
            Self::List => {
                let which = WhichCredentials::default();
                let rows: Vec<_> = all(|window| management.credentials(&which, window))
                    .await?
                    .into_iter()
                    .map(|credential| {
                        vec![
                            credential.provider.into(),
                            credential.owner.name().into(),
                            credential.user.into(),
                            credential.label.into(),
                            format!("…{}", credential.hint).into(),
                            credential.weight.into(),
                            credential.enabled.into(),
                            condition(&credential.state.condition).into(),
                            credential.loan.map(|loan| loan.requests_per_day).into(),
                            credential.id.to_string().into(),
                        ]
                    })
                    .collect();
                let columns =
                    ["provider", "owner", "user", "label", "key", "weight", "enabled", "state", "lent", "id"];
                output.many(&columns, &rows)?;
            }
            Self::Disable { id } => management.set_credential_enabled(id.parse()?, false).await?,
            Self::Enable { id } => management.set_credential_enabled(id.parse()?, true).await?,
            Self::Check { id } => {
                let id: CredentialId = id.parse()?;
                let (found, reward) =
                    check_once(config, &management.grants().await?, management.open_credential(id).await?)
                        .await?;
                if let Some(renewed) = &found.renewed {
                    management.renew_credential(id, renewed).await?;
                }
                management.keep_finding(id, &found, &reward).await?;
                output.one(&[("id", id.to_string().into()), ("check", verdict(&found).into())])?;
            }
            Self::Share { id, requests_per_day, consent } => {
                let Some(consent) = consent else {
                    bail!("{CONSENT_TEXT}\nwhoever agrees to this says --consent {CONSENT_VERSION}");
                };
                let loan = management.share_credential(id.parse()?, requests_per_day, &consent).await?;
                output.one(&[
                    ("id", id.into()),
                    ("requests_per_day", loan.requests_per_day.into()),
                    ("consent", loan.consent.into()),
                ])?;
            }
            Self::Unshare { id } => {
                let ended = management.unshare_credential(id.parse()?).await?;
                output.one(&[("id", id.into()), ("was_lent", ended.is_some().into())])?;
            }
            Self::Reseal => {
                let Resealed { credentials, settings, bodies } = management.reseal(config).await?;
                output.one(&[
                    ("credentials", credentials.into()),
                    ("settings", settings.into()),
                    ("bodies", bodies.into()),
                ])?;
            }
            Self::Remove { id } => management.remove_credential(id.parse()?).await?,
        }
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

impl Add {
    async fn run(self, management: &Management, config: &Config, output: &Output) -> anyhow::Result<()> {
        if !config.providers.contains_key(&self.provider) {
            let known: Vec<_> = config.providers.keys().map(String::as_str).collect();
            bail!("there is no provider `{}`; configured are {}", self.provider, known.join(", "));
        }
        let place = self.place()?;
        let secret = self.secret()?;
        let hint = secret.hint().to_owned();
        if let Some(place) = &place {
            // Before anything is sent anywhere.
            place.check(self.user.is_none()).map_err(anyhow::Error::msg)?;
        }
        let (provider, subject_place) = (self.provider.clone(), place.clone());
        let subject = Subject { provider, place: subject_place, secret: secret.clone() };
        let found = if self.check {
            Some(check_once(config, &management.grants().await?, subject).await?)
        } else {
            None
        };
        if found.as_ref().is_some_and(|(found, _)| found.is_invalid()) {
            bail!("the provider refuses this key; without --check it is added all the same");
        }
        let renewed = found.as_ref().and_then(|(found, _)| found.renewed.clone());
        let limits = self.limits();
        let id = management
            .add_credential(NewCredential {
                provider: self.provider.clone(),
                user: self.user.clone(),
                label: self.label,
                weight: self.weight,
                secret: renewed.unwrap_or(secret),
                limits,
                place,
            })
            .await?;
        let checked = match found {
            None => "deferred",
            Some((found, reward)) => {
                management.keep_finding(id, &found, &reward).await?;
                verdict(&found)
            }
        };
        output.one(&[
            ("id", id.to_string().into()),
            ("provider", self.provider.into()),
            ("owner", if self.user.is_some() { "user" } else { "platform" }.into()),
            ("key", format!("…{hint}").into()),
            ("check", checked.into()),
        ])
    }

    const fn limits(&self) -> RateLimits {
        RateLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            tokens_per_day: self.tokens_per_day,
            concurrency: self.concurrency,
        }
    }

    fn place(&self) -> anyhow::Result<Option<Place>> {
        let Some(platform) = self.platform.clone() else { return Ok(None) };
        let split = |given: &String| {
            let (name, value) =
                given.split_once('=').with_context(|| format!("`{given}` is not NAME=VALUE"))?;
            Ok((name.to_owned(), value.to_owned()))
        };
        let region = self.region.iter().map(|region| Ok(("region".to_owned(), region.clone())));
        let settings = region.chain(self.setting.iter().map(split)).collect::<anyhow::Result<_>>()?;
        Ok(Some(Place { platform, settings }))
    }

    fn secret(&self) -> anyhow::Result<Secret> {
        let text = match self.secret_file.as_deref().filter(|path| path.as_os_str() != "-") {
            Some(path) => file::read_text(path, SECRET_BYTES_MAX)
                .with_context(|| format!("reading {}", path.display()))?,
            None => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("reading the key from standard input")?;
                text
            }
        };
        let text = text.trim().to_owned();
        // A secret of several parts is JSON; anything else goes into a header as it is.
        let parts = self.platform.is_some() && secret::has_parts(&Secret::new(text.clone()));
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits && !parts {
            bail!("the key is empty or holds signs that no header can carry");
        }
        Ok(Secret::new(text))
    }
}

/// Checks a credential with components that are started for it. Returns what they would grant for it as well.
async fn check_once(
    config: &Config,
    granted: &Grants,
    subject: Subject,
) -> anyhow::Result<(Found, FirstCredential)> {
    // What was good is the running server's to say.
    let settings = tollgate_runtime::Settings { versions_file: None, ..components::settings(config, 1) };
    let bindings = components::bindings(config);
    let starting = tokio::task::spawn_blocking(move || Runtime::serve(settings, bindings, |_| {}));
    let provider = config.providers.get(&subject.provider).cloned();
    let transport = Settings::new(config.limits.upstream_connect_timeout_ms.duration(), 16);
    let runtime = starting.await??;
    let reward = FirstCredential::of(&runtime);
    let grants = Arc::new(config.plugins.grants.and(granted));
    Ok((Check { runtime, provider, grants, transport, subject, serving: None }.run().await, reward))
}

/// What a check found, in a word.
fn verdict(found: &Found) -> &'static str {
    match found.result {
        None => "impossible",
        Some(result) => result.failure.map_or("good", FailureClass::name),
    }
}

fn condition(condition: &Condition) -> &'static str {
    match condition {
        Condition::Good => "good",
        Condition::Resting { why, .. } => why.name(),
        Condition::Disabled { why, .. } => why.name(),
    }
}
