//! The load: requests over connections that stay open, each answer checked.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::http::Connection;

/// A request and the least that its answer must have.
pub(crate) struct Exchange {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) body_bytes_min: usize,
}

impl Exchange {
    /// A request for `path`.
    pub(crate) fn new(
        address: SocketAddr,
        api_key: &str,
        path: &str,
        body: &str,
        body_bytes_min: usize,
    ) -> Self {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {api_key}\r\n\
             content-type: application/json\r\naccept: application/json\r\nuser-agent: OpenAI/Python 2.8.0\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self { address, request: request.into(), body_bytes_min }
    }

    async fn connect(&self) -> anyhow::Result<Connection> {
        Ok(Connection::new(TcpStream::connect(self.address).await?)?)
    }

    /// Sends the request once and checks its answer.
    async fn run(&self, connection: &mut Connection) -> anyhow::Result<()> {
        connection.write(&self.request).await?;
        let answer = connection.read().await?.context("the connection was closed instead of an answer")?;
        if !answer.head.starts_with(b"HTTP/1.1 200 ") || answer.body_bytes < self.body_bytes_min {
            bail!("this is not the answer:\n{}", String::from_utf8_lossy(answer.head));
        }
        Ok(())
    }
}

/// Sends `count` requests over `connections`, each connection the next as soon as it has its answer. Returns how long
/// it took.
pub(crate) async fn closed(
    exchange: &Rc<Exchange>,
    connections: usize,
    count: u64,
) -> anyhow::Result<Duration> {
    let left = Rc::new(Cell::new(count));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..connections {
        let (exchange, left) = (Rc::clone(exchange), Rc::clone(&left));
        tasks.spawn_local(async move {
            let mut connection = exchange.connect().await?;
            while let Some(rest) = left.get().checked_sub(1) {
                left.set(rest);
                exchange.run(&mut connection).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(start.elapsed())
}

/// Requests that wait for a connection, by the moment at which they were due.
#[derive(Default)]
struct Due {
    since: RefCell<VecDeque<Instant>>,
}

/// Sends `burst` requests every millisecond for `millis`, whether or not earlier ones have their answers. Returns the
/// time that each took, waiting for a connection included.
pub(crate) async fn open(
    exchange: &Rc<Exchange>,
    connections: usize,
    burst: usize,
    millis: usize,
) -> anyhow::Result<Vec<Duration>> {
    let (due, permits) = (Rc::new(Due::default()), Rc::new(Semaphore::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (exchange, due, permits) = (Rc::clone(exchange), Rc::clone(&due), Rc::clone(&permits));
        tasks.spawn_local(async move {
            let mut connection = exchange.connect().await?;
            let mut times = Vec::with_capacity(millis);
            while let Ok(permit) = permits.acquire().await {
                permit.forget();
                let since = due.since.borrow_mut().pop_front();
                let Some(since) = since else { break };
                exchange.run(&mut connection).await?;
                times.push(since.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..millis {
        ticks.tick().await;
        due.since.borrow_mut().extend(std::iter::repeat_n(Instant::now(), burst));
        permits.add_permits(burst);
    }
    // A permit without a request tells a connection that it was the last.
    permits.add_permits(connections);
    let mut times = Vec::with_capacity(burst * millis);
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(times)
}
