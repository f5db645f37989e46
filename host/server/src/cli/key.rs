//! `tollgate key`

use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tollgate_core::limits::{KeyLimits, Translation};
use tollgate_core::protocol::Protocol;
use tollgate_core::time::{DAY_MS, Timestamp};

use super::all;
use super::output::Output;
use crate::clock::now;
use crate::config::Config;
use crate::manage::{KeyEdit, KeyRow, Management, Opening};

/// The word that lifts a limit.
const NONE: &str = "none";

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
        #[command(flatten)]
        limits: Limits,
    },
    /// Change an API key. What is not named stays as it is.
    Update {
        /// Its id, as `list` shows it.
        id: String,
        /// A name to tell it by.
        #[arg(long)]
        name: Option<String>,
        /// Whether it is taken.
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
        /// Days from now until it ends, or `none`.
        #[arg(long, value_name = "DAYS")]
        expires_in: Option<Number>,
        #[command(flatten)]
        limits: Limits,
    },
    /// List API keys by their first characters. With --json, with their limits and what was used of them.
    List,
    /// Say whether the bodies of a key's calls are kept from now on, redacted and sealed. Its owner sees it.
    KeepBodies {
        /// Its id, as `list` shows it.
        id: String,
        /// Whether they are. What is kept already stays until its time is over.
        #[arg(value_name = "BOOL", action = clap::ArgAction::Set)]
        keep: bool,
    },
    /// Refuse an API key from now on.
    Revoke {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// What an API key may do.
#[derive(Debug, Args)]
pub(super) struct Limits {
    /// A protocol that it may be used with: openai-chat, openai-responses, anthropic-messages or gemini. May be given
    /// several times; `none` lifts the limit.
    #[arg(long = "protocol", value_name = "PROTOCOL")]
    protocols: Vec<Named>,
    /// A provider that may serve its calls, by the configuration's name. May be given several times; `none` lifts the
    /// limit.
    #[arg(long = "provider", value_name = "PROVIDER")]
    providers: Vec<String>,
    /// A model that it may call; `*` in the name stands for any characters. May be given several times; `none` lifts
    /// the limit.
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// Calls a minute, or `none`.
    #[arg(long, value_name = "NUMBER")]
    requests_per_minute: Option<Number>,
    /// Tokens a minute, prompt and output together, or `none`.
    #[arg(long, value_name = "NUMBER")]
    tokens_per_minute: Option<Number>,
    /// Tokens a day (UTC), prompt and output together, or `none`.
    #[arg(long, value_name = "NUMBER")]
    tokens_per_day: Option<Number>,
    /// Calls at one time, or `none`.
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<Number>,
    /// Whether the oldest turns of a conversation that is longer than the context window are left out.
    #[arg(long, value_name = "BOOL")]
    enable_context_management: Option<bool>,
    /// Tokens of a conversation that are sent on, estimated as a quarter of its bytes, or `none`.
    #[arg(long, value_name = "NUMBER")]
    context_window: Option<Number>,
    /// What becomes of hints that a provider's protocol lacks: `lenient` leaves them out and names them in
    /// `x-tollgate-left-out`, `strict` refuses the request.
    #[arg(long, value_name = "lenient|strict", value_parser = translation)]
    translation: Option<Translation>,
    /// Whether its user's own provider keys alone may serve its calls: what they cannot serve is refused, and never
    /// paid in full.
    #[arg(long, value_name = "BOOL")]
    own_only: Option<bool>,
}

fn translation(name: &str) -> Result<Translation, String> {
    Translation::named(name).ok_or_else(|| "known are `lenient` and `strict`".to_owned())
}

/// A number, or `none`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(Option<u64>);

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = || text.parse().map_err(|_| format!("give a whole number or `{NONE}`"));
        if text == NONE { Ok(Self(None)) } else { number().map(|number| Self(Some(number))) }
    }
}

/// A protocol by its name, or `none`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named(Option<Protocol>);

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Protocol::ALL.into_iter().find(|protocol| protocol.name() == text);
        match found {
            None if text != NONE => {
                Err(format!("known are {} and `{NONE}`", Protocol::ALL.map(Protocol::name).join(", ")))
            }
            found => Ok(Self(found)),
        }
    }
}

impl Limits {
    /// The limits that these options make of `before`.
    fn onto(self, before: KeyLimits) -> KeyLimits {
        let mut limits = before;
        if !self.protocols.is_empty() {
            limits.protocols = self.protocols.into_iter().filter_map(|named| named.0).collect();
        }
        if !self.models.is_empty() {
            limits.models = self.models.into_iter().filter(|pattern| pattern != NONE).collect();
        }
        if !self.providers.is_empty() {
            limits.providers = self.providers.into_iter().filter(|name| name != NONE).collect();
        }
        let context = &mut limits.context;
        context.enabled = self.enable_context_management.unwrap_or(context.enabled);
        context.window = self.context_window.map_or(context.window, |number| number.0);
        limits.translation = self.translation.unwrap_or(limits.translation);
        limits.own_only = self.own_only.unwrap_or(limits.own_only);
        let rates = &mut limits.rates;
        for (rate, given) in [
            (&mut rates.requests_per_minute, self.requests_per_minute),
            (&mut rates.tokens_per_minute, self.tokens_per_minute),
            (&mut rates.tokens_per_day, self.tokens_per_day),
            (&mut rates.concurrency, self.concurrency),
        ] {
            *rate = given.map_or(*rate, |number| number.0);
        }
        limits
    }
}

impl Key {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let management = Management::open_as(config, Opening::Find).await?;
        match self {
            Self::Create { user, name, expires_in, limits } => {
                let limits = limits.onto(KeyLimits::default());
                let (id, key) = management.create_key(&user, &name, expires_in.map(in_days), limits).await?;
                output.one(&[
                    ("key", key.expose().into()),
                    ("id", id.to_string().into()),
                    ("user", user.into()),
                    ("name", name.into()),
                ])?;
            }
            Self::Update { id, name, enabled, expires_in, limits } => {
                let id = id.parse()?;
                let limits = Some(limits.onto(management.key(id).await?.limits));
                let expires_at = expires_in.map(|days| days.0.map(in_days));
                management.change_key(id, KeyEdit { name, enabled, expires_at, limits }).await?;
            }
            Self::List => list(&all(|window| management.keys(None, window)).await?, output)?,
            Self::KeepBodies { id, keep } => management.keep_bodies(id.parse()?, keep).await?,
            Self::Revoke { id } => management.revoke_key(id.parse()?).await?,
        }
        management.close().await;
        Ok(ExitCode::SUCCESS)
    }
}

fn in_days(days: u64) -> Timestamp {
    now().plus_ms(days.saturating_mul(DAY_MS))
}

/// A table has room for what tells keys apart; JSON has everything.
fn list(keys: &[KeyRow], output: &Output) -> anyhow::Result<()> {
    const COLUMNS: [&str; 12] = [
        "key",
        "user",
        "name",
        "enabled",
        "expires_at_ms",
        "id",
        "limits",
        "keep_bodies",
        "last_used_ms",
        "requests",
        "tokens",
        "points",
    ];
    let columns = if output.is_json() { &COLUMNS[..] } else { &COLUMNS[..6] };
    let rows: Vec<_> = keys.iter().map(|key| row(key).into_iter().take(columns.len()).collect()).collect();
    output.many(columns, &rows)
}

fn row(key: &KeyRow) -> [Value; 12] {
    let used = key.used.unwrap_or_default();
    [
        key.hint.clone().into(),
        key.user.clone().into(),
        key.name.clone().into(),
        key.enabled.into(),
        key.expires_at.map(Timestamp::millis).into(),
        key.id.to_string().into(),
        limits_json(&key.limits),
        key.keep_bodies.into(),
        key.used.map(|used| used.last_used.millis()).into(),
        used.requests.into(),
        used.tokens.into(),
        used.charge.to_string().into(),
    ]
}

/// Limits as programs read them.
fn limits_json(limits: &KeyLimits) -> Value {
    let rates = limits.rates;
    json!({
        "protocols": limits.protocols.iter().map(|protocol| protocol.name()).collect::<Vec<_>>(),
        "providers": limits.providers,
        "models": limits.models,
        "requests_per_minute": rates.requests_per_minute,
        "tokens_per_minute": rates.tokens_per_minute,
        "tokens_per_day": rates.tokens_per_day,
        "concurrency": rates.concurrency,
        "enable_context_management": limits.context.enabled,
        "context_window": limits.context.window,
        "translation": limits.translation.name(),
        "own_only": limits.own_only,
    })
}
