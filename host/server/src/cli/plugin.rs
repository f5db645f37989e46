//! `tollgate plugin`

mod bench;
mod calls;
mod look;
mod new;
mod test;
mod versions;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tollgate_core::host::HostPattern;
use tollgate_runtime::Kind;

use self::bench::Bench;
use self::look::{Check, Inspect};
use self::new::New;
use self::test::Test;
use self::versions::{Back, History, Use};
use super::output::Output;
use crate::config::{Config, Grants};
use crate::listen::pinned::connector;
use crate::manage::{Management, Opening};

/// Components.
#[derive(Debug, Subcommand)]
pub(super) enum Plugin {
    /// Make a folder for a component of one's own, that builds, tests and loads.
    New(New),
    /// Say what a component file is, what it will be shown and what it may do. Nothing of it is run.
    Inspect(Inspect),
    /// Check a component file as a reload would, without a server: imports, exports, compilation, a first
    /// configuration.
    Check(Check),
    /// Hold what a component answers to cases in a file, or to what was recorded, without a server.
    Test(Test),
    /// Time the calls of a component, beside the built-in one of its kind.
    Bench(Bench),
    /// Show what a running server has loaded.
    List(Running),
    /// Make a running server look at its plugins directory now.
    Reload(Running),
    /// Show which versions of components served, with their settings.
    History(History),
    /// Have a version that served before serve again.
    Use(Use),
    /// Have the version before the one that serves serve again.
    Back(Back),
    /// Let go of what a running server keeps of a component whose file is gone.
    Forget(Forget),
    /// Let a component send keys to a host that it names.
    Grant(Host),
    /// Take that back.
    Revoke(Host),
    /// Show the hosts that components may send keys to.
    Grants,
}

/// A component that is gone.
#[derive(Debug, Args)]
pub(super) struct Forget {
    /// The component's file, without `.wasm`, or what the configuration calls it.
    component: String,
    #[command(flatten)]
    running: Running,
}

/// A host of a component.
#[derive(Debug, Args)]
pub(super) struct Host {
    /// The component's file, without `.wasm`.
    component: String,
    /// The host, with its port if that is not 443; stars stand for signs within one part of the name.
    host: HostPattern,
}

/// How to reach a running server.
#[derive(Debug, Args)]
pub(super) struct Running {
    /// The admin secret that the first start printed.
    #[arg(long, env = "TOLLGATE_ADMIN_SECRET", hide_env_values = true)]
    admin_secret: String,
    /// Where the server listens for operators, over what the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
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
            Self::New(new) => new.run(output),
            Self::Inspect(inspect) => inspect.run(config, output),
            Self::Check(check) => check.run(config, output).await,
            Self::Test(test) => test.run(config, output).await,
            Self::Bench(bench) => bench.run(config, output),
            Self::History(history) => history.run(config, output),
            Self::Use(version) => version.run(config, output).await,
            Self::Back(back) => back.run(config, output).await,
            Self::Forget(forget) => {
                let path = format!("/management/v1/plugins/{}/forget", segment(&forget.component));
                let answer = forget.running.ask(config, Method::POST, &path, None).await?;
                print(&answer, output)
            }
            Self::Grant(host) => {
                let management = Management::open_as(config, Opening::Make).await?;
                management.grant_host(&host.component, &host.host).await?;
                management.close().await;
                Ok(ExitCode::SUCCESS)
            }
            Self::Revoke(host) => {
                let management = Management::open_as(config, Opening::Find).await?;
                management.revoke_host(&host.component, &host.host).await?;
                management.close().await;
                Ok(ExitCode::SUCCESS)
            }
            Self::Grants => grants(config, output).await,
            Self::List(running) => {
                let answer = running.ask(config, Method::GET, "/management/v1/plugins", None).await?;
                print(&answer, output)
            }
            Self::Reload(running) => {
                let answer = running.ask(config, Method::POST, "/management/v1/plugins/reload", None).await?;
                print(&answer, output)
            }
        }
    }
}

impl Running {
    /// Sends a call to the management API of the running server; its answer.
    pub(super) async fn ask(
        &self,
        config: &Config,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let address = self.admin_listen.unwrap_or(config.server.admin_listen);
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("no server answers at {address} ([server] admin_listen)"))?;
        let Some(tls) = &config.server.admin_tls else {
            return self.send(stream, address, (method, path), body).await;
        };
        let stream = connector(tls)?.connect(ServerName::IpAddress(address.ip().into()), stream).await;
        let stream = stream.with_context(|| {
            format!("{address} does not prove itself with {}", tls.certificate_file.display())
        })?;
        self.send(stream, address, (method, path), body).await
    }

    /// Asks over a connection to `address`.
    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.admin_secret))
            .body(Full::new(bytes::Bytes::from(body.map(Value::to_string).unwrap_or_default())))?;
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

/// A name as a segment of a path.
fn segment(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// All that is granted, by the configuration file and by the database where there is one.
async fn granted(config: &Config) -> anyhow::Result<Grants> {
    if !config.server.data_dir.join("tollgate.db").is_file() {
        return Ok(config.plugins.grants.clone());
    }
    let management = Management::open_as(config, Opening::Find).await?;
    let granted = management.grants().await?;
    management.close().await;
    Ok(config.plugins.grants.and(&granted))
}

async fn grants(config: &Config, output: &Output) -> anyhow::Result<ExitCode> {
    let granted = granted(config).await?;
    let of_file = &config.plugins.grants;
    let rows: Vec<Vec<Value>> = granted
        .each()
        .map(|(component, host)| {
            let source = if of_file.covers(component, host) { "file" } else { "database" };
            vec![component.into(), host.to_string().into(), source.into()]
        })
        .collect();
    output.many(&["component", "host", "source"], &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn print(answer: &Value, output: &Output) -> anyhow::Result<ExitCode> {
    let columns = [
        "name",
        "kind",
        "component",
        "source",
        "state",
        "share_ppm",
        "calls",
        "call_us_p99",
        "memory_bytes_peak",
        "digest",
        "refused_digest",
        "reason",
        "hosts",
    ];
    let plugins = answer["data"].as_array().context("the server's answer holds no list")?;
    let row = |plugin: &Value| {
        let mut row: Vec<Value> = columns.iter().map(|column| plugin[*column].clone()).collect();
        if !output.is_json() {
            let hosts = plugin["hosts"].as_array().into_iter().flatten();
            let text = |host: &Value, name: &str| host[name].as_str().unwrap_or_default().to_owned();
            let told = hosts.map(|host| format!("{} ({})", text(host, "host"), text(host, "permission")));
            row.pop();
            row.push(told.collect::<Vec<_>>().join(", ").into());
        }
        row
    };
    output.many(&columns, &plugins.iter().map(row).collect::<Vec<_>>())?;
    Ok(ExitCode::SUCCESS)
}
