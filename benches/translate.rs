//! Translation between protocols, natively: what an event of a stream costs, beside the framing of one that passes as
//! it is, and what a request costs.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use tollgate_core::sse::Framer;
use tollgate_plugin::types::Protocol;
use tollgate_protocols::target::{Context, Target};
use tollgate_protocols::translate::Pair;

/// Events of one stream.
const EVENTS: usize = 300;
const PROTOCOLS: [(&str, Protocol); 4] = [
    ("chat", Protocol::OpenaiChat),
    ("responses", Protocol::OpenaiResponses),
    ("messages", Protocol::AnthropicMessages),
    ("gemini", Protocol::Gemini),
];
/// The request of every client here, in one protocol.
const REQUEST: &str = r#"{"model":"m","max_tokens":200,"stream":true,"messages":[
    {"role":"system","content":"Answer in verse."},{"role":"user","content":"What is a tollgate?"}]}"#;

fn pairs() -> impl Iterator<Item = (String, Pair)> {
    PROTOCOLS.into_iter().flat_map(|(from, client)| {
        let others = PROTOCOLS.into_iter().filter(move |(_, upstream)| *upstream != client);
        others.map(move |(to, upstream)| (format!("{from}_to_{to}"), Pair { client, upstream }))
    })
}

/// The same request and the same stream in a given protocol.
struct Spoken {
    request: Vec<u8>,
    context: Context,
    events: Vec<Vec<u8>>,
}

impl Spoken {
    fn new(protocol: Protocol) -> Self {
        let chat = Protocol::OpenaiChat;
        let events: Vec<Vec<u8>> =
            tollgate_benches::chat_stream(EVENTS).into_iter().map(String::into_bytes).collect();
        let (there, back) =
            (Pair { client: chat, upstream: protocol }, Pair { client: protocol, upstream: chat });
        let translated = match there.request(REQUEST.as_bytes(), &Target::new("m")) {
            Ok(translated) => translated,
            Err(refused) => panic!("the request of this bench is refused: {refused:?}"),
        };
        if protocol == chat {
            return Self { request: REQUEST.into(), context: translated.context, events };
        }
        let mut stream = back.stream(&translated.context);
        let mut events: Vec<Vec<u8>> = events.iter().map(|event| stream.feed(event)).collect();
        events.push(stream.finish());
        events.retain(|event| !event.is_empty());
        Self { request: translated.body, context: translated.context, events }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let spoken: Vec<(Protocol, Spoken)> =
        PROTOCOLS.into_iter().map(|(_, protocol)| (protocol, Spoken::new(protocol))).collect();
    let of =
        |wanted: Protocol| spoken.iter().find(|(protocol, _)| *protocol == wanted).map(|(_, spoken)| spoken);

    let mut group = criterion.benchmark_group("translate/stream_of_300_events");
    group.throughput(Throughput::Elements(EVENTS as u64));
    if let Some(chat) = of(Protocol::OpenaiChat) {
        group.bench_function("passthrough_framed", |bencher| {
            bencher.iter(|| {
                let mut framer = Framer::new(1 << 20);
                let mut seen = 0;
                for event in &chat.events {
                    let _ = framer.push(event, |frame| seen += frame.bytes().len());
                }
                black_box(seen)
            });
        });
    }
    for (name, pair) in pairs() {
        let Some(upstream) = of(pair.upstream) else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut stream = pair.stream(&upstream.context);
                let bytes: usize = upstream.events.iter().map(|event| stream.feed(event).len()).sum();
                black_box(bytes + stream.finish().len())
            });
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("translate/request");
    for (name, pair) in pairs() {
        let Some(client) = of(pair.client) else { continue };
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(pair.request(&client.request, &Target::new("m"))));
        });
    }
    group.finish();
    criterion.final_summary();
}
