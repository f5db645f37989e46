//! `tollgate plugin`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tollgate_runtime::{Binding, Kind, Runtime, Variant};

use super::output::Output;
use crate::config::Config;
use crate::listen::pinned::connector;
use crate::routing::components;

/// Components.
#[derive(Debug, Subcommand)]
pub(super) enum Plugin {
    /// Check a component file as a reload would, without a server: imports, exports, compilation, a first
    /// configuration.
    Check(Check),
    /// Show what a running server has loaded.
    List(Running),
    /// Make a running server look at its plugins directory now.
    Reload(Running),
}

/// A file to check.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The component.
    file: PathBuf,
    /// What it is to be used as.
    #[arg(long, value_enum)]
    kind: KindName,
    /// Configuration as JSON.
    #[arg(long, default_value = "{}")]
    config_json: String,
}

/// How to reach a running server.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// The admin secret that the first start printed.
    #[arg(long, env = "TOLLGATE_ADMIN_SECRET", hide_env_values = true)]
    admin_secret: String,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindName {
    ProviderAdapter,
    KeySelector,
    PricingPolicy,
    ContentFilter,
}

impl From<KindName> for Kind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::ProviderAdapter => Self::ProviderAdapter,
            KindName::KeySelector => Self::KeySelector,
            KindName::PricingPolicy => Self::PricingPolicy,
            KindName::ContentFilter => Self::ContentFilter,
        }
    }
}

impl Plugin {
    pub(super) async fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(check) => check.run(config, output),
            Self::List(running) => {
                let answer = running.ask(config, Method::GET, "/management/v1/plugins").await?;
                print(&answer, output)
            }
            Self::Reload(running) => {
                let answer = running.ask(config, Method::POST, "/management/v1/plugins/reload").await?;
                print(&answer, output)
            }
        }
    }
}

impl Check {
    /// Loads the file alone, from a directory that holds nothing else.
    fn run(self, config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
        let dir = tempfile::tempdir()?;
        let copy = dir.path().join("checked.wasm");
        std::fs::copy(&self.file, &copy).with_context(|| format!("reading {}", self.file.display()))?;
        let mut settings = components::settings(config, 1);
        settings.plugins_dir = Some(dir.path().to_owned());
        settings.cache_dir = None;
        settings.archive = None;
        settings.versions_file = None;
        settings.embedded.clear();
        let variant = Variant::new("checked", self.config_json);
        let binding = Binding::of("checked", self.kind.into(), vec![variant]);
        let runtime = Runtime::start(settings, vec![binding], |_| {})
            .with_context(|| format!("{} is refused", self.file.display()))?;
        let Some(status) = runtime.status().into_iter().next() else { bail!("nothing was loaded") };
        output.one(&[
            ("file", self.file.display().to_string().into()),
            ("kind", status.kind.name().into()),
            ("digest", status.digest.to_string().into()),
            ("result", "would be taken up".into()),
        ])?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Running {
    async fn ask(&self, config: &Config, method: Method, path: &str) -> anyhow::Result<Value> {
        let address = config.server.admin_listen;
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no server answers at {address} ([server] admin_listen)"))?;
        let Some(tls) = &config.server.admin_tls else {
            return self.send(stream, address, method, path).await;
        };
        let stream = connector(tls)?.connect(ServerName::IpAddress(address.ip().into()), stream).await;
        let stream = stream.with_context(|| {
            format!("{address} does not prove itself with {}", tls.certificate_file.display())
        })?;
        self.send(stream, address, method, path).await
    }

    /// Asks over a connection to `address`.
    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
        method: Method,
        path: &str,
    ) -> anyhow::Result<Value> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin_secret))
            .body(Empty::<bytes::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).context("the server's answer is no JSON")?;
        if !status.is_success() {
            bail!("{}", answer["error"]["message"].as_str().unwrap_or("the server refused"));
        }
        Ok(answer)
    }
}

fn print(answer: &Value, output: &Output) -> anyhow::Result<ExitCode> {
    let columns = ["name", "kind", "component", "source", "state", "calls", "digest", "reason"];
    let plugins = answer["data"].as_array().context("the server's answer holds no list")?;
    let rows: Vec<Vec<Value>> =
        plugins.iter().map(|plugin| columns.iter().map(|column| plugin[*column].clone()).collect()).collect();
    output.many(&columns, &rows)?;
    Ok(ExitCode::SUCCESS)
}
