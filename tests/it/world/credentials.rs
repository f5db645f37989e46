//! A provider's only key serves everyone, whatever one user's prompts meet.

use serde_json::json;
use tollgate_core::points::Micropoints;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::{Rig, Setup};
use tollgate_tests::patiently;
use tollgate_tests::upstream::Script;

use crate::bad_input::{ANSWER, CHAT};

/// What the provider fails at, whoever says it.
const POISON: &str = "the prompt that breaks the server";
const USERS: [&str; 3] = ["alice", "bob", "carol"];

fn three_users(setup: &mut Setup) {
    setup.users = USERS.map(|name| (name, Micropoints::from_points(1000))).to_vec();
    setup.credentials = vec![("openai", None, "the only one", 100)];
}

async fn rig() -> Rig {
    let rig = Rig::with(three_users).await;
    rig.upstream.respond(|request| match String::from_utf8_lossy(&request.body).contains(POISON) {
        true => {
            Script::json(500, r#"{"error":{"message":"The server had an error.","type":"server_error"}}"#)
        }
        false => Script::json(200, ANSWER),
    });
    rig
}

async fn say(rig: &Rig, user: &str, text: &str) -> Reply {
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]});
    client::call(rig.addr(), &Request::post(CHAT, &body).bearer(rig.key(user))).await
}

#[tokio::test]
async fn one_users_failing_prompt_takes_the_only_key_from_nobody() {
    let rig = rig().await;
    for round in 0..12 {
        let failed = say(&rig, "alice", POISON).await;
        assert!(matches!(failed.status, 502 | 503), "{}", failed.text());
        for user in ["bob", "carol"] {
            assert_eq!(say(&rig, user, "hi").await.status, 200, "{user}, round {round}");
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_only_key_is_back_after_a_second_for_whose_prompts_failed_too() {
    // One whose prompts fail, and two whose failures together rest it for all.
    for failing in [&USERS[..1], &USERS[..2]] {
        let rig = rig().await;
        for round in 0..6 {
            for user in failing {
                let failed = say(&rig, user, POISON).await;
                let wait = failed.header("retry-after").map(str::to_owned);
                assert_eq!(wait.as_deref(), Some("1"), "{user}, round {round}: {}", failed.text());
                assert_eq!(failed.header("x-should-retry"), None);
            }
        }
        for user in USERS {
            patiently("the key to be back", async {
                loop {
                    let reply = say(&rig, user, "hi").await;
                    if reply.status == 200 {
                        break;
                    }
                    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            })
            .await;
        }
        rig.stop().await;
    }
}
