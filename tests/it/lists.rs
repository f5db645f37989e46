//! Lists of the management API: searched, in an order that somebody wants, and page by page in that order.

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{self, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

async fn get(rig: &Rig, target: &str) -> Value {
    let reply = rig.admin("GET", &format!("/management/v1{target}")).await;
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    reply.json()
}

/// The members of a list by its pages, of one entry each.
async fn paged(rig: &Rig, list: &str, member: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(rig, &format!("{list}&limit=1{cursor}")).await;
        let data = page["data"].as_array().expect("a list");
        all.extend(data.iter().map(|row| row[member].as_str().expect("a text").to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

/// Three users of whom bob calls most, carol has most points, and alice is the oldest.
async fn rig() -> Rig {
    let rig = Rig::with(|setup| {
        setup.users.push(("bob", Micropoints::from_points(2000)));
        setup.users.push(("Carol", Micropoints::from_points(3000)));
        setup.credentials.push(("openai", Some("bob"), "bobs-secret-zz99", 100));
    })
    .await;
    rig.upstream.respond(|_| Script::json(200, ANSWER));
    for (user, calls) in [("alice", 1), ("bob", 2)] {
        for _ in 0..calls {
            let body = json!({"model": "gpt-4o", "messages": []});
            let call = Request::post("/v1/chat/completions", &body).bearer(rig.key(user));
            assert_eq!(client::call(rig.addr(), &call).await.status, 200);
        }
    }
    rig.records(3).await;
    rig
}

#[tokio::test]
async fn users_are_listed_by_what_they_have_and_by_what_they_use() {
    let rig = rig().await;
    let first = async |sort: &str| paged(&rig, &format!("/users?sort={sort}"), "name").await;
    assert_eq!(first("created").await[..3], ["alice", "bob", "Carol"]);
    assert_eq!(first("name").await[..3], ["alice", "bob", "Carol"]);
    assert_eq!(first("points").await[0], "Carol");
    assert_eq!(first("requests").await[..2], ["bob", "alice"]);
    assert_eq!(first("spent").await[..2], ["alice", "bob"], "what bob's own key serves costs a tenth");
    assert_eq!(paged(&rig, "/users?sort=points&search=O", "name").await, ["Carol", "bob"]);
    for wrong in
        ["/users?sort=colour", "/users?sort=points&cursor=x", "/keys?sort=colour", "/keys?sort=name&cursor=x"]
    {
        assert_eq!(rig.admin("GET", &format!("/management/v1{wrong}")).await.status, 400, "{wrong}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn keys_and_provider_keys_are_found_by_their_names_and_by_whose_they_are() {
    let rig = rig().await;
    let users = async |query: &str| paged(&rig, &format!("/keys?{query}"), "user").await;
    let by_age = users("").await;
    assert_eq!(by_age.len(), 3);
    assert_eq!(users("sort=requests").await[..2], ["bob", "alice"]);
    assert_eq!(users("sort=last-used").await[..2], ["bob", "alice"]);
    assert_eq!(users("sort=points").await[..2], ["alice", "bob"]);
    assert_eq!(users("search=CAROL").await, ["Carol"]);
    assert_eq!(users("search=carol&sort=points").await, ["Carol"]);
    assert_eq!(users("user=bob&sort=name").await, ["bob"]);
    assert_eq!(users("search=nobody").await, [""; 0]);
    let hint = get(&rig, "/keys?user=bob").await["data"][0]["hint"].as_str().expect("a hint").to_owned();
    assert_eq!(users(&format!("search={hint}")).await, ["bob"]);
    let found = paged(&rig, "/credentials?search=ZZ99", "hint").await;
    assert_eq!(found, ["zz99"]);
    let openai = paged(&rig, "/credentials?search=openai", "provider").await;
    assert!(openai.len() >= 2 && openai.iter().all(|name| name == "openai"), "{openai:?}");
    rig.stop().await;
}
