//! The content filter reads what a person would read, in requests and in answers, and covers what is spelled there.

use serde_json::{Value, json};
use tollgate_tests::client::Request;
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

use crate::bad_input::CHAT;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;

/// A rig whose filter has this configuration.
async fn rig(config: &str, fold: bool) -> Rig {
    let rig = Rig::with(|setup| {
        setup.config.policies.content_filter.config = toml::from_str(config).expect("a table");
        setup.config.content_filter.fold = fold;
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    rig
}

const BLOCK: &str = "words = [\"falcon\", \"テスト\", \"top secret\"]\npatterns = ['\\b\\d{4}-\\d{4}\\b']";
const MASK: &str = "action = \"mask\"\nwords = [\"falcon\", \"テスト\"]\npatterns = ['\\b\\d{4}-\\d{4}\\b']";

/// How words of the lists may be spelled. Read by a person, all of them are there.
const SPELLED: [&str; 30] = [
    "fal\u{200b}con",
    "f\u{200d}a\u{200c}l\u{2060}c\u{feff}on",
    "fal\u{ad}con",
    "fal\u{34f}con",
    "fal\u{61c}con",
    "fal\u{2062}con",
    "fal\u{180e}con",
    "fal\u{fe0f}con",
    "\u{202e}fal\u{202c}con",
    "fal\u{e0041}con",
    "f\u{336}a\u{336}l\u{336}c\u{336}o\u{336}n\u{336}",
    "ｆａｌｃｏｎ",
    "ＦＡＬＣＯＮ",
    "ｆal\u{200b}ｃon",
    "𝐟𝐚𝐥𝐜𝐨𝐧",
    "𝓯𝓪𝓵𝓬𝓸𝓷",
    "𝕱𝖆𝖑𝖈𝖔𝖓",
    "ⓕⓐⓛⓒⓞⓝ",
    "🅕🅐🅛🅒🅞🅝",
    "🇫🇦🇱🇨🇴🇳",
    "ꜰᴀʟᴄᴏɴ",
    "fаlcon",
    "fаlсоn",
    "FΑLCON",
    "ﾃｽﾄ",
    "テ\u{200b}スト",
    "top\u{a0}secret",
    "top\u{3000}secret",
    "５５５５\u{2011}１２３４",
    "5555\u{2011}1234",
];

fn chat(text: &str) -> Request {
    Request::post(CHAT, &json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}))
}

#[tokio::test]
async fn a_word_is_refused_however_it_is_spelled_and_passes_where_folding_is_off() {
    for fold in [true, false] {
        let rig = rig(BLOCK, fold).await;
        for spelled in SPELLED {
            let reply = rig.call(chat(&format!("about {spelled} we say"))).await;
            assert_eq!(reply.status, if fold { 400 } else { 200 }, "{spelled}: {}", reply.text());
            if fold {
                assert_eq!(reply.json()["error"]["code"], "content_filter", "{spelled}");
            }
        }
        assert_eq!(rig.call(chat("the falcon")).await.status, 400, "as it stands");
        rig.stop().await;
    }
}

#[tokio::test]
async fn what_is_covered_is_what_is_spelled_and_nothing_else() {
    let rig = rig(MASK, true).await;
    for spelled in SPELLED.into_iter().filter(|spelled| !spelled.contains("secret")) {
        let reply = rig.call(chat(&format!("é\u{200b} {spelled} \u{2014} ｘ"))).await;
        assert_eq!(reply.status, 200, "{spelled}");
        let sent = rig.upstream.next().await.json();
        let text = sent["messages"][0]["content"].as_str().expect("text").to_owned();
        let covered = text.strip_prefix("é\u{200b} ").and_then(|rest| rest.strip_suffix(" \u{2014} ｘ"));
        let covered = covered.unwrap_or_else(|| panic!("{spelled}: {text}"));
        let stars = covered.trim_matches(|c| matches!(c, '\u{202e}' | '\u{336}'));
        assert!(!stars.is_empty() && stars.chars().all(|c| c == '*'), "{spelled}: {covered}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn honest_texts_are_left_alone() {
    let rig = rig("words = [\"ano\", \"cop\", \"ass\", \"falcon\"]", true).await;
    for text in [
        "el a\u{f1}o pasado \u{2014} \u{201c}bueno\u{201d}",
        "\u{441}\u{43e}\u{440} \u{2026} \u{2116} 5",
        "emoji \u{1f469}\u{200d}\u{1f4bb}\u{fe0f}, flags \u{1f1e9}\u{1f1ea}",
        "한국어 日本語 ひらがな العربية हिन्दी ไทย",
        "a fal con, and a f-a-l-c-o-n",
        "x\u{b2} + y\u{b2} \u{2264} \u{bd}",
    ] {
        let reply = rig.call(chat(text)).await;
        assert_eq!(reply.status, 200, "{text}: {}", reply.text());
        let sent = rig.upstream.next().await.json();
        assert_eq!(sent["messages"][0]["content"], text, "to the byte");
    }
    // Two texts that are not one: what the one ends with and the other begins with is no word.
    let apart = json!({"model": "gpt-4o", "messages": [
        {"role": "system", "content": "it has"}, {"role": "user", "content": "some"},
        {"role": "assistant", "content": "fal"}, {"role": "user", "content": "con"},
    ]});
    assert_eq!(rig.call(Request::post(CHAT, &apart)).await.status, 200);
    rig.stop().await;
}

/// Bodies in which a word stands in two parts that are read as one.
fn split() -> Vec<(&'static str, &'static str, Value)> {
    let text = |text: &str| json!({"type": "text", "text": text});
    let parts = json!([text("a fal"), text("con b")]);
    let with_picture = json!([
        text("a f"),
        text("alc"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        text("on"),
    ]);
    let said = |content: &Value| json!([{"role": "user", "content": content}]);
    let turns = json!([{"role": "user", "content": "a fal"}, {"role": "user", "content": "con b"}]);
    let input = json!([text("a fa"), text("lcon")]).to_string().replace("\"text\",", "\"input_text\",");
    let input: Value = serde_json::from_str(&input).expect("JSON");
    let arguments = json!([{"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": r#"{"a":"f\u0061lcon"}"#}}
    ]}]);
    let of = |messages: &Value| json!({"model": "gpt-4o", "messages": messages});
    let claude =
        |messages: &Value| json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": messages});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "a fal"}, {"text": "con b"}]}]});
    vec![
        ("parts", CHAT, of(&said(&parts))),
        ("parts around a picture", CHAT, of(&said(&with_picture))),
        ("messages of one turn", CHAT, of(&turns)),
        ("parts of a system prompt", "/v1/messages", {
            let mut body = claude(&said(&json!("hi")));
            body["system"] = parts.clone();
            body
        }),
        ("parts of a message", "/v1/messages", claude(&said(&parts))),
        ("parts of Gemini", "/v1beta/models/gemini-2.5-flash:generateContent", gemini),
        ("parts of an input", "/v1/responses", json!({"model": "gpt-4o", "input": said(&input)})),
        ("JSON in JSON", CHAT, of(&arguments)),
        ("parts in wide letters", CHAT, of(&said(&json!([text("ｆａ\u{200b}"), text("\u{ad}ｌcon")])))),
    ]
}

#[tokio::test]
async fn parts_that_are_read_as_one_are_searched_as_one() {
    let blocking = rig(BLOCK, true).await;
    for (what, path, body) in split() {
        let reply = blocking.call(Request::post(path, &body)).await;
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
    }
    blocking.stop().await;
    let masking = rig(MASK, true).await;
    let (_, path, body) = split().swap_remove(0);
    assert_eq!(masking.call(Request::post(path, &body)).await.status, 200);
    let sent = masking.upstream.next().await.json();
    let part = |index: usize| sent["messages"][0]["content"][index]["text"].clone();
    assert_eq!((part(0), part(1)), (json!("a ***"), json!("*** b")));
    masking.stop().await;
}

fn stream(texts: &[&str]) -> Script {
    let event =
        |text: &&str| format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": text}}]}));
    texts.iter().fold(Script::sse(), |script, text| script.chunk(event(text))).chunk("data: [DONE]\n\n").end()
}

#[tokio::test]
async fn answers_are_read_alike_however_the_word_is_spelled_and_cut() {
    let config = format!("{MASK}\nresponses = {{ window_chars = 32 }}");
    let rig = rig(&config, true).await;
    let far = format!("fal{}con", "\u{200b}".repeat(500));
    for texts in [
        &["a fal\u{200b}", "con b"][..],
        &["a ｆａ", "ｌｃｏｎ b"],
        &["a fa", "\u{ad}", "\u{200d}", "lcon b"],
        &["a 𝐟𝐚𝐥", "𝐜𝐨𝐧 b"],
        &["a fаl", "cоn b"],
        &["a ", &far, " b"],
        &["a \u{feff}f", "a", "l", "c", "o", "n", " b and more text that fills the window up"],
    ] {
        rig.upstream.enqueue(stream(texts));
        let body = json!({"model": "gpt-4o", "stream": true, "messages": []});
        let text = rig.call(Request::post(CHAT, &body)).await.text();
        let said: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
            .collect();
        assert!(said.starts_with("a ") && said.contains(" b") && said.contains('*'), "{texts:?}: {said}");
        assert!(!said.contains("con") && !said.contains('ｃ') && !said.contains("fal"), "{texts:?}: {said}");
    }
    for whole in ["a fal\u{200b}con", "a ｆａｌｃｏｎ"] {
        rig.upstream
            .enqueue(Script::json(200, json!({"choices": [{"message": {"content": whole}}]}).to_string()));
        let reply = rig.call(chat("hi")).await;
        let said = reply.json()["choices"][0]["message"]["content"].as_str().expect("text").to_owned();
        assert!(said.starts_with("a *") && said.ends_with('*') && !said.contains('ｆ'), "{said}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_word_of_a_list_may_be_spelled_oddly_itself() {
    let rig = rig("words = [\"ｆａｌｃｏｎ\", \"Falcon\u{2013}9\"]", true).await;
    for text in ["a falcon", "a ｆａｌｃｏｎ", "a fal\u{200b}con", "a Falcon-9", "a Falcon\u{2013}9"] {
        assert_eq!(rig.call(chat(text)).await.status, 400, "{text}");
    }
    rig.stop().await;
}
