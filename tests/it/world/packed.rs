//! Answers that come packed although nobody asked for that: billed by what is in them, translated, refused in the
//! provider's words, bounded; and passed on as they came.

use std::io::Write as _;

use serde_json::json;
use tollgate_core::outcome::Outcome;
use tollgate_core::protocol::Protocol::{self, AnthropicMessages, Gemini, OpenaiChat};
use tollgate_core::usage::{Class, Quality};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::{Gate, Script};

use crate::translation::{
    answer, ask, events, expected, foreign, model, rig, understood, understood_stream, with_usage,
};

/// How servers pack what they send, and what they call that.
const PACKINGS: [&str; 7] = ["gzip", "x-gzip", "deflate", "raw deflate", "br", "zstd", "gzip, br"];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// RFC 7932, section 9.2: meta-blocks that are not compressed, and an empty last one.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let (mut held, mut bits) = (0_u64, 0_u32);
    let mut put = |packed: &mut Vec<u8>, value: u64, width: u32, aligned: bool| {
        held |= value << bits;
        bits += width;
        while bits >= 8 || aligned && bits > 0 {
            packed.push((held & 0xff) as u8);
            held >>= 8;
            bits = bits.saturating_sub(8);
        }
    };
    put(&mut packed, 0, 1, false);
    for block in bytes.chunks(1 << 16) {
        put(&mut packed, 0, 3, false);
        put(&mut packed, block.len() as u64 - 1, 16, false);
        put(&mut packed, 1, 1, true);
        packed.extend_from_slice(block);
    }
    put(&mut packed, 0b11, 2, true);
    packed
}

fn packed(packing: &str, bytes: &[u8]) -> (&'static str, Vec<u8>) {
    match packing {
        "gzip" => ("gzip", gzip(bytes)),
        "x-gzip" => ("X-Gzip", gzip(bytes)),
        "deflate" => ("deflate", zlib(bytes)),
        "raw deflate" => ("deflate", raw_deflate(bytes)),
        "br" => ("br", brotli(bytes)),
        "zstd" => ("zstd", zstd::bulk::compress(bytes, 3).expect("a vector takes all")),
        _ => ("gzip, br", brotli(&gzip(bytes))),
    }
}

/// An answer of `kind` that is packed, in pieces of a few bytes.
fn script(kind: &str, encoding: &str, bytes: &[u8]) -> Script {
    let headers = [("content-type", kind), ("content-encoding", encoding)];
    bytes.chunks(11).fold(Script::chunked(200, &headers), Script::chunk).end()
}

async fn charged(rig: &Rig, count: usize, upstream: Protocol, what: &str) {
    let records = rig.records(count).await;
    let record = records.last().expect("a record");
    let (_, charge) = model(upstream);
    assert_eq!((record.outcome, record.charge.get()), (Outcome::Ok, charge), "{what}: {record:?}");
    assert_eq!(record.usage.quality, Quality::Exact, "{what}");
}

#[tokio::test]
async fn a_packed_answer_passes_as_it_came_and_is_billed_by_what_is_in_it() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let mut count = 0;
        for packing in PACKINGS {
            let what = format!("{upstream:?} {packing}");
            let whole = answer(upstream);
            let (encoding, bytes) = packed(packing, whole.as_bytes());
            rig.upstream.enqueue(script("application/json", encoding, &bytes));
            let reply = rig.call(ask(upstream, model, false)).await;
            assert_eq!(reply.body, bytes, "{what}");
            let told = reply.header("content-encoding").expect("what it is packed in");
            assert_eq!(
                told.to_ascii_lowercase().trim_start_matches("x-"),
                encoding.to_ascii_lowercase().trim_start_matches("x-")
            );
            assert_eq!(rig.upstream.next().await.header("accept-encoding"), Some("identity"), "{what}");
            count += 1;
            charged(&rig, count, upstream, &what).await;

            let (encoding, bytes) = packed(packing, events(upstream).concat().as_bytes());
            rig.upstream.enqueue(script("text/event-stream", encoding, &bytes));
            let reply = rig.call(with_usage(upstream, model)).await;
            assert_eq!(reply.body, bytes, "{what}, streamed");
            assert_eq!(reply.header("content-type"), Some("text/event-stream"), "{what}");
            rig.upstream.next().await;
            count += 1;
            charged(&rig, count, upstream, &what).await;
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_packed_stream_of_which_the_client_wants_no_usage_comes_plain_and_says_so() {
    let rig = rig(OpenaiChat).await;
    let (model, _) = model(OpenaiChat);
    let all = events(OpenaiChat).concat();
    for (count, packing) in PACKINGS.into_iter().enumerate() {
        let (encoding, bytes) = packed(packing, all.as_bytes());
        let headers =
            [("content-type", "text/event-stream"), ("content-encoding", encoding), ("etag", "W/x")];
        let length = bytes.len().to_string();
        // Once in pieces, and once with a length, which is that of the packed bytes.
        let script = match count % 2 {
            0 => script("text/event-stream", encoding, &bytes),
            _ => Script::whole(200, &headers, &bytes),
        };
        rig.upstream.enqueue(script);
        let request = ask(OpenaiChat, model, true).header("accept-encoding", "gzip, br, zstd");
        let reply = rig.call(request).await;
        assert_eq!(reply.header("content-encoding"), None, "{packing}");
        assert_ne!(reply.header("content-length"), Some(length.as_str()), "{packing}");
        let usage = all.split_inclusive("\n\n").find(|event| event.contains("\"usage\":{")).expect("usage");
        assert_eq!(reply.text(), all.replace(usage, ""), "{packing}");
        charged(&rig, count + 1, OpenaiChat, packing).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_packed_answer_is_translated_like_any_other() {
    for upstream in Protocol::ALL {
        let rig = rig(upstream).await;
        let (model, _) = model(upstream);
        let mut count = 0;
        for packing in PACKINGS {
            for client in foreign(upstream) {
                let what = format!("{client:?} of {upstream:?}, {packing}");
                let (encoding, bytes) = packed(packing, answer(upstream).as_bytes());
                rig.upstream.enqueue(script("application/json", encoding, &bytes));
                let reply = rig.call(ask(client, model, false)).await;
                assert_eq!(reply.status, 200, "{what}: {}", reply.text());
                assert_eq!(reply.header("content-encoding"), None, "{what}");
                assert_eq!(understood(client, &reply.json()), expected(), "{what}");
                let (encoding, bytes) = packed(packing, events(upstream).concat().as_bytes());
                rig.upstream.enqueue(script("text/event-stream", encoding, &bytes));
                let reply = rig.call(with_usage(client, model)).await;
                assert_eq!(understood_stream(client, &reply.text()), expected(), "{what}");
                count += 2;
                charged(&rig, count, upstream, &what).await;
            }
        }
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_is_packed_without_saying_so_or_says_so_without_being_it_is_what_it_is() {
    let rig = rig(AnthropicMessages).await;
    let plain = answer(AnthropicMessages);
    let zipped = gzip(plain.as_bytes());
    let zstd = packed("zstd", plain.as_bytes()).1;
    // What the head says, the body, and what the client is told that it is packed in.
    let cases: [(&str, &[u8], Option<&str>); 8] = [
        ("identity", &zipped, Some("gzip")),
        ("", &zipped, Some("gzip")),
        ("", &zstd, Some("zstd")),
        ("gzip", plain.as_bytes(), None),
        ("deflate", plain.as_bytes(), None),
        ("br", plain.as_bytes(), None),
        ("zstd", plain.as_bytes(), None),
        ("gzip, identity", &zipped, Some("gzip")),
    ];
    for (at, (encoding, body, told)) in cases.into_iter().enumerate() {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        rig.upstream.enqueue(Script::whole(200, &headers, body));
        let reply = rig.call(ask(AnthropicMessages, "claude-sonnet-4-5", false)).await;
        assert_eq!(reply.body, body, "{encoding}");
        assert_eq!(reply.header("content-encoding").filter(|name| *name != "identity"), told, "{encoding}");
        rig.upstream.enqueue(Script::whole(200, &headers, body));
        let reply = rig.call(ask(OpenaiChat, "claude-sonnet-4-5", false)).await;
        assert_eq!(understood(OpenaiChat, &reply.json()), expected(), "{encoding}");
        charged(&rig, 2 * at + 2, AnthropicMessages, encoding).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_packed_refusal_is_told_in_the_providers_words() {
    let rig = Rig::start().await;
    let body = br#"{"error":{"message":"Your tools are wrong.","type":"invalid_request_error","param":"tools","code":null}}"#;
    for packing in PACKINGS {
        for status in [400, 404, 422] {
            let (encoding, bytes) = packed(packing, body);
            let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
            for client in [OpenaiChat, AnthropicMessages, Gemini] {
                rig.upstream.enqueue(Script::whole(status, &headers, &bytes));
                let reply = rig.call(ask(client, "gpt-4o", false)).await;
                assert_eq!(reply.status, status, "{packing} {client:?}");
                assert_eq!(reply.header("content-encoding"), None, "{packing}");
                assert!(reply.text().contains("Your tools are wrong."), "{packing}: {}", reply.text());
            }
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_first_event_leaves_while_a_provider_that_packs_still_thinks() {
    let rig = rig(AnthropicMessages).await;
    let events = events(AnthropicMessages).concat();
    let at = events.find("event: content_block_stop").expect("an end of the text");
    for packing in ["gzip", "zstd"] {
        // Each half flushed, as servers that pack streams do.
        let (one, two) = match packing {
            "gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&events.as_bytes()[..at]).expect("a vector takes all");
                encoder.flush().expect("a vector takes all");
                let one = encoder.get_ref().clone();
                encoder.write_all(&events.as_bytes()[at..]).expect("a vector takes all");
                let all = encoder.finish().expect("a vector takes all");
                (one.clone(), all[one.len()..].to_vec())
            }
            _ => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
                encoder.write_all(&events.as_bytes()[..at]).expect("a vector takes all");
                encoder.flush().expect("a vector takes all");
                let one = encoder.get_ref().clone();
                encoder.write_all(&events.as_bytes()[at..]).expect("a vector takes all");
                let all = encoder.finish().expect("a vector takes all");
                (one.clone(), all[one.len()..].to_vec())
            }
        };
        let gate = Gate::new();
        let headers = [("content-type", "text/event-stream"), ("content-encoding", packing)];
        rig.upstream.enqueue(Script::chunked(200, &headers).chunk(one).gate(&gate).chunk(two).end());
        let mut client = Connection::open(rig.addr()).await;
        client.send(&ask(OpenaiChat, "claude-sonnet-4-5", true).bearer(rig.key("alice"))).await;
        client.head().await;
        client.read_until("look. ").await;
        gate.open();
        client.read_until("[DONE]").await;
    }
    rig.stop().await;
}

/// What becomes 64 MiB of a text that says something, and then `filler` after each piece of it.
fn bomb(begin: &str, filler: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(begin.as_bytes()).expect("a vector takes all");
    let spaces = " ".repeat(1 << 20) + filler;
    for _ in 0..64 {
        encoder.write_all(spaces.as_bytes()).expect("a vector takes all");
    }
    encoder.finish().expect("a vector takes all")
}

#[tokio::test]
async fn a_bomb_is_ended_and_recorded_and_charged_within_what_can_be() {
    let whole = bomb(r#"{"usage":{"input_tokens":10,"output_tokens":4000000000},"content":""#, "");
    let stream = bomb(
        concat!(
            "event: message_start\n",
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":4000000000}}}\n\n: ",
        ),
        "\n\n: ",
    );
    let rig = rig(AnthropicMessages).await;
    let mut count = 0;
    for client in [AnthropicMessages, OpenaiChat] {
        for (streams, kind, bytes) in
            [(false, "application/json", &whole), (true, "text/event-stream", &stream)]
        {
            let headers = [("content-type", kind), ("content-encoding", "gzip")];
            rig.upstream.enqueue(Script::whole(200, &headers, bytes));
            let mut connection = Connection::open(rig.addr()).await;
            connection.send(&ask(client, "claude-sonnet-4-5", streams).bearer(rig.key("alice"))).await;
            let answered = connection.everything().await.unwrap_or_default();
            assert!(answered.len() < 1 << 20, "{} bytes", answered.len());
            count += 1;
            let records = rig.records(count).await;
            let record = records.last().expect("a record");
            let told = record.error.as_deref().unwrap_or_default();
            assert!(told.contains("unpacks to more than"), "{client:?} {kind}: {record:?}");
            assert!(!matches!(record.outcome, Outcome::Ok | Outcome::Empty), "{record:?}");
            // The request allows 99 tokens, at 15 USD a million, and its prompt is some words long.
            assert!(record.usage[Class::Output] <= 128_000, "{record:?}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_secret_inside_a_packing_goes_nowhere() {
    let rig = Rig::start().await;
    let body = json!({"choices": [{"message": {"content": "Your key is platform-openai."}}]}).to_string();
    for packing in PACKINGS {
        let (encoding, bytes) = packed(packing, body.as_bytes());
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        rig.upstream.enqueue(Script::whole(200, &headers, &bytes));
        let mut connection = Connection::open(rig.addr()).await;
        connection.send(&ask(OpenaiChat, "gpt-4o", false).bearer(rig.key("alice"))).await;
        let answered = connection.everything().await.unwrap_or_default();
        assert!(!answered.ends_with(&bytes), "{packing}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_packed_embedding_and_a_packed_count_are_billed_and_told() {
    let rig = Rig::start().await;
    let body = json!({"object": "list", "model": "text-embedding-3-small", "data": [{"object": "embedding", "index": 0,
        "embedding": [0.5]}], "usage": {"prompt_tokens": 10, "total_tokens": 10}});
    let bytes = gzip(body.to_string().as_bytes());
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    rig.upstream.enqueue(Script::whole(200, &headers, &bytes));
    let asked = json!({"model": "text-embedding-3-small", "input": "Hi"});
    let reply = rig.call(Request::post("/v1/embeddings", &asked)).await;
    assert_eq!((reply.status, &reply.body), (200, &bytes));
    assert_eq!(rig.record().await.usage[Class::Input], 10);
    let bytes = gzip(br#"{"input_tokens":14}"#);
    rig.upstream.enqueue(Script::whole(200, &headers, &bytes));
    let asked = json!({"contents": [{"parts": [{"text": "Hi"}]}]});
    let reply = rig.call(Request::post("/v1beta/models/claude-sonnet-4-5:countTokens", &asked)).await;
    assert_eq!(reply.json()["totalTokens"], 14, "{}", reply.text());
    rig.stop().await;
}
