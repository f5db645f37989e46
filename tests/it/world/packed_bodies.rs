//! Request bodies that come packed: read and sent on as what they are, within bounds.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use tollgate_tests::client::{Connection, Request};
use tollgate_tests::gateway::Rig;

use super::doors::{CHAT, answering, chat};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).expect("bytes that can be packed")
}

/// As it lies, in one block that is not packed (RFC 7932, section 9.2), and the last, empty one.
fn brotli(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len() - 1).expect("a short body");
    let head = 0x80_000b | length << 7;
    [&head.to_le_bytes()[..3], bytes, &[3]].concat()
}

fn packed(encoding: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", CHAT).header("content-encoding", encoding).body(body)
}

#[tokio::test]
async fn a_packed_body_is_read_and_goes_up_as_what_it_is() {
    let rig = answering().await;
    let plain = chat().to_string();
    let bytes = plain.as_bytes();
    for (encoding, body) in [
        ("gzip", gzip(bytes)),
        ("x-gzip", gzip(bytes)),
        ("GZIP", gzip(bytes)),
        ("deflate", zlib(bytes)),
        ("deflate", deflate(bytes)),
        ("br", brotli(bytes)),
        ("zstd", zstd(bytes)),
        ("gzip, zstd", zstd(&gzip(bytes))),
        ("identity", bytes.to_vec()),
        ("", bytes.to_vec()),
        ("gzip", [gzip(&bytes[..9]), gzip(&bytes[9..])].concat()),
        ("gzip", gzip(&[b"\xef\xbb\xbf", bytes].concat())),
    ] {
        let reply = rig.call(packed(encoding, body)).await;
        assert_eq!(reply.status, 200, "{encoding}: {}", reply.text());
        let sent = rig.upstream.next().await;
        assert_eq!(String::from_utf8_lossy(&sent.body), plain, "{encoding}");
        assert_eq!(sent.header("content-encoding"), None, "{encoding}");
    }
    // Another protocol's provider gets it translated, and a large one too.
    let long = "again and ".repeat(40_000);
    let body = json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": long}]});
    assert_eq!(rig.call(packed("zstd", zstd(body.to_string().as_bytes()))).await.status, 200);
    let sent: Value = rig.upstream.next().await.json();
    assert!(sent["messages"].to_string().contains(&long[..999]));
    rig.stop().await;
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_refused_by_what_is_wrong_with_it() {
    let rig = answering().await;
    let plain = chat().to_string();
    let packed_once = gzip(plain.as_bytes());
    for (encoding, body, status) in [
        ("gzip", plain.clone().into_bytes(), 400),
        ("br", plain.clone().into_bytes(), 400),
        ("zstd", plain.clone().into_bytes(), 400),
        ("zstd", packed_once.clone(), 400),
        ("gzip", packed_once[..packed_once.len() / 2].to_vec(), 400),
        ("gzip", Vec::new(), 400),
        ("gzip, gzip", packed_once.clone(), 400),
        ("compress", plain.clone().into_bytes(), 415),
        ("gzip, rot13", packed_once.clone(), 415),
        ("gzip, gzip, gzip, gzip", packed_once.clone(), 415),
    ] {
        let reply = rig.call(packed(encoding, body)).await;
        assert_eq!(reply.status, status, "{encoding}: {}", reply.text());
        if status == 415 {
            let told = "gzip, deflate, br, zstd";
            assert_eq!(reply.header("accept-encoding"), Some(told));
            assert!(reply.text().contains(told), "{}", reply.text());
        }
    }
    // Who asks first is told before anything is sent.
    let mut connection = Connection::open(rig.addr()).await;
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
         content-encoding: compress\r\ncontent-length: 100000\r\n\r\n",
        rig.key("alice")
    );
    connection.send_raw(head.as_bytes()).await;
    assert_eq!(connection.head().await.word(1), "415");
    assert_eq!(rig.upstream.count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn what_a_few_bytes_become_has_the_bound_of_a_body() {
    let rig = Rig::with(|setup| setup.config.limits.request_body_bytes_max = 1 << 20).await;
    let blank = vec![b' '; 64 << 20];
    for (encoding, body) in [
        ("gzip", gzip(&blank)),
        ("zstd", zstd(&blank)),
        ("gzip, gzip", gzip(&gzip(&blank))),
        ("deflate", zlib(&blank)),
    ] {
        assert!(body.len() < 1 << 20, "{encoding}: {}", body.len());
        let reply = rig.call(packed(encoding, body)).await;
        assert_eq!(reply.status, 413, "{encoding}: {}", reply.text());
    }
    let fits = gzip(&[&vec![b' '; 900 << 10][..], b"{}"].concat());
    assert_eq!(rig.call(packed("gzip", fits)).await.status, 400, "it is read, and names no model");
    rig.stop().await;
    // What it becomes is held, like any other body.
    let rig = Rig::with(|setup| setup.config.limits.memory_bytes_max = 4 << 20).await;
    let reply = rig.call(packed("gzip", gzip(&blank[..16 << 20]))).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    rig.stop().await;
}
