//! The scripted provider: its answers exist before the first request comes.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use memchr::memmem;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval};

use crate::http::Connection;

/// Deltas of a stream.
pub(crate) const EVENTS: usize = 300;
/// Bytes of an unstreamed answer's body.
pub(crate) const ANSWER_BYTES: usize = 1024;

/// When the events of a stream leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each in a write of its own, as fast as they go.
    Burst,
    /// One after each such interval, as a model writes.
    Every(Duration),
}

/// The provider's answers.
pub(crate) struct Script {
    pub(crate) pace: Cell<Pace>,
    answer: Vec<u8>,
    head: Vec<u8>,
    /// Each framed as a chunk; the last one ends the body.
    events: Vec<Vec<u8>>,
    /// Which of them states the usage.
    usage: usize,
}

impl Script {
    pub(crate) fn new() -> Self {
        let body = tollgate_benches::chat_answer(ANSWER_BYTES);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nopenai-processing-ms: 1\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nopenai-processing-ms: 1\r\n\
            cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";
        let events = tollgate_benches::chat_stream(EVENTS);
        let chunk = |event: &String| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes();
        let mut events: Vec<Vec<u8>> = events.iter().map(chunk).collect();
        if let Some(last) = events.last_mut() {
            last.extend_from_slice(b"0\r\n\r\n");
        }
        let usage = events.len() - 2;
        Self { pace: Cell::new(Pace::Burst), answer: answer.into(), head: head.into(), events, usage }
    }

    async fn stream(&self, connection: &mut Connection, usage: bool) -> io::Result<()> {
        connection.write(&self.head).await?;
        let mut ticks = match self.pace.get() {
            Pace::Burst => None,
            Pace::Every(time) => Some(interval(time)),
        };
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        for (at, event) in self.events.iter().enumerate() {
            if at == self.usage && !usage {
                continue;
            }
            match &mut ticks {
                Some(ticks) => {
                    ticks.tick().await;
                }
                None => tokio::task::yield_now().await,
            }
            connection.write(event).await?;
        }
        Ok(())
    }
}

/// Serves the script on a port of its own, until the runtime ends.
pub(crate) async fn start(script: &Rc<Script>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let script = Rc::clone(script);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Rc::clone(&script);
            // The provider ignores a peer that leaves in the middle.
            tokio::task::spawn_local(async move { serve(stream, &script).await.ok() });
        }
    });
    Ok(address)
}

async fn serve(stream: TcpStream, script: &Script) -> io::Result<()> {
    let mut connection = Connection::new(stream)?;
    while let Some(request) = connection.read().await? {
        let asks = |text: &str| memmem::find(request.head, text.as_bytes()).is_some();
        let (streams, usage) = (asks("\"stream\":true"), asks("\"include_usage\":true"));
        match streams {
            true => script.stream(&mut connection, usage).await?,
            false => connection.write(&script.answer).await?,
        }
    }
    Ok(())
}
