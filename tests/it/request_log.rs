//! Usage and the request log over HTTP and on the command line: exact, visible to their owners only, and removed when
//! their time is over.

use std::process::Command;

use serde_json::{Value, json};
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::upstream::Script;

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;
const PASSWORD: &str = "correct horse battery";

/// A gateway with two users who call, and two credentials.
async fn rig() -> Rig {
    Rig::with(|setup| {
        setup.users.push(("bob", Micropoints::from_points(1000)));
        setup.credentials.push(("openai", None, "second-openai", 100));
    })
    .await
}

async fn chat(rig: &Rig, user: &str, model: &str) -> Reply {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "Hi."}]});
    let request = Request::post("/v1/chat/completions", &body).bearer(rig.key(user));
    client::call(rig.addr(), &request).await
}

async fn get(rig: &Rig, target: &str) -> Value {
    let reply = rig.admin("GET", &format!("/management/v1{target}")).await;
    assert_eq!(reply.status, 200, "{target}: {}", reply.text());
    reply.json()
}

/// A token of a user who could not log in before.
async fn log_in(rig: &Rig, name: &str) -> String {
    let desk = rig.desk().await;
    managed::set_password(&desk, name, Secret::new(PASSWORD.to_owned())).await.expect("a password");
    desk.close().await;
    let body = json!({"name": name, "password": PASSWORD});
    let reply = client::call(rig.admin_addr(), &Request::post("/management/v1/login", &body)).await;
    reply.json()["access_token"].as_str().expect("a token").to_owned()
}

/// Three calls by alice, one of which fails over, and one by bob; all in the tables.
async fn with_calls() -> Rig {
    let rig = rig().await;
    rig.upstream.enqueue(Script::json(429, "{}"));
    for (user, model) in
        [("alice", "gpt-4o"), ("alice", "gpt-4o"), ("alice", "gpt-4o-mini"), ("bob", "gpt-4o")]
    {
        rig.upstream.enqueue(Script::json(200, ANSWER));
        assert_eq!(chat(&rig, user, model).await.status, 200);
    }
    rig.records(4).await;
    rig
}

fn requests(page: &Value) -> Vec<String> {
    let entries = page["data"].as_array().expect("a list").iter();
    entries.map(|entry| entry["request"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn usage_is_what_the_calls_used_by_day_month_model_and_key() {
    let rig = with_calls().await;
    let summary = get(&rig, "/usage/summary?user=alice").await;
    for period in ["today", "month", "total"] {
        let used = &summary[period];
        assert_eq!((&used["requests"], &used["tokens"], &used["failed"]), (&json!(3), &json!(45), &json!(0)));
    }
    let spent: i64 = rig.records(4).await.iter().map(|record| record.charge.get()).sum();
    let everyone = get(&rig, "/usage/summary").await;
    assert_eq!(everyone["total"]["points"], json!(Micropoints::new(spent).to_string()));
    let names = async |query: &str| {
        let rows = get(&rig, &format!("/usage?{query}")).await;
        let rows = rows["data"].as_array().expect("rows").clone();
        rows.iter().map(|row| (row["name"].clone(), row["requests"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(
        names("user=alice&by=model").await,
        [(json!("gpt-4o"), json!(2)), (json!("gpt-4o-mini"), json!(1))]
    );
    let days = names("user=alice&by=day").await;
    let months = names("user=alice&by=month").await;
    let (day, month) = (days[0].0.as_str().expect("a day"), months[0].0.as_str().expect("a month"));
    assert!(day.len() == 10 && day.starts_with(month), "{day} {month}");
    assert_eq!(names(&format!("user=alice&from={day}&until={day}")).await, days);
    assert_eq!(names("user=alice&until=2020-01-01").await, []);
    let keys = names("user=alice&by=key").await;
    assert_eq!(names(&format!("key={}", keys[0].0.as_str().expect("an id"))).await, days);
    let page = get(&rig, "/usage?user=alice&by=model&limit=1").await;
    let (first, next) = (&page["data"][0]["name"], page["next_cursor"].as_str().expect("a next page"));
    assert_eq!((first, next), (&json!("gpt-4o"), ".gpt-4o"));
    let rest = get(&rig, &format!("/usage?user=alice&by=model&limit=1&cursor={next}")).await;
    assert_eq!((&rest["data"][0]["name"], &rest["next_cursor"]), (&json!("gpt-4o-mini"), &Value::Null));
    for by in ["day", "month", "key"] {
        let first = get(&rig, &format!("/usage?user=alice&by={by}")).await["data"][0]["name"].clone();
        let after = format!("user=alice&by={by}&cursor=.{}", first.as_str().expect("a name"));
        assert_eq!(names(&after).await, [], "nothing follows the only row by {by}");
    }
    for wrong in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "by=day&cursor=.x",
        "by=key",
        "by=year",
        "from=yesterday",
        "user=alice&key=x",
        "key=x",
        "colour=red",
    ] {
        assert_eq!(rig.admin("GET", &format!("/management/v1/usage?{wrong}")).await.status, 400, "{wrong}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn usage_by_two_slices_by_user_by_credential_and_by_hour_adds_up_to_the_same() {
    let rig = with_calls().await;
    let rows = async |query: &str| {
        get(&rig, &format!("/usage?{query}")).await["data"].as_array().expect("rows").clone()
    };
    let total = get(&rig, "/usage/summary").await["total"].clone();
    for by in [
        "hour",
        "user",
        "credential",
        "day,model",
        "model,day",
        "month,model",
        "hour,model",
        "user,model",
        "day,user",
        "credential,model",
        "user,key",
        "model,credential",
        "day,credential",
    ] {
        let rows = rows(&format!("by={by}")).await;
        let sum = |member: &str| rows.iter().filter_map(|row| row[member].as_u64()).sum::<u64>();
        assert_eq!(
            (json!(sum("requests")), json!(sum("tokens"))),
            (total["requests"].clone(), total["tokens"].clone()),
            "{by}"
        );
        let points = rows.iter().map(|row| {
            Micropoints::parse_points(row["points"].as_str().expect("points")).expect("a number").get()
        });
        assert_eq!(json!(Micropoints::new(points.sum()).to_string()), total["points"], "{by}");
        let two = by.contains(',');
        assert!(rows.iter().all(|row| row["second"].is_null() != two), "{by}: {rows:?}");
    }
    let users = rows("by=user,model").await;
    let of = |user: &str, model: &str| {
        let found =
            users.iter().find(|row| row["title"] == json!(user) && row["second"]["name"] == json!(model));
        found.map(|row| row["requests"].clone())
    };
    assert_eq!((of("alice", "gpt-4o"), of("bob", "gpt-4o")), (Some(json!(2)), Some(json!(1))), "{users:?}");
    assert!(rows("by=credential").await.iter().all(|row| row["title"].is_string()));
    let hours = rows("by=hour").await;
    assert!(hours.iter().all(|row| row["at_ms"].as_u64().is_some_and(|at| at % 3_600_000 == 0)), "{hours:?}");
    let first = get(&rig, "/usage?by=user,model&limit=1").await;
    let next = first["next_cursor"].as_str().expect("a next page");
    let rest = rows(&format!("by=user,model&cursor={next}")).await;
    assert_eq!(rest[..], users[1..]);
    assert_eq!(rows("user=alice&by=day,key").await.len(), 1);
    for wrong in
        ["by=day,day", "by=day,model,key", "by=credential,user", "by=hour,user", "user=alice&by=user"]
    {
        assert_eq!(rig.admin("GET", &format!("/management/v1/usage?{wrong}")).await.status, 400, "{wrong}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn the_log_is_filtered_and_paged_and_names_each_attempt() {
    let rig = with_calls().await;
    let all = requests(&get(&rig, "/requests").await);
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by(|one, other| one > other), "newest first");
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&rig, &format!("/requests?limit=1{cursor}")).await;
        paged.extend(requests(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(paged, all);
    let count = async |query: &str| requests(&get(&rig, &format!("/requests?{query}")).await).len();
    assert_eq!(count("user=alice").await, 3);
    assert_eq!(count("model=gpt-4o&outcome=ok&status=200&protocol=openai-chat&provider=openai").await, 3);
    assert_eq!((count("outcome=refused").await, count("from=2020-01-01&until=2020-01-02").await), (0, 0));
    assert_eq!((count("attempts_min=2").await, count("points_min=1000").await), (1, 0));
    let failed_over = &requests(&get(&rig, "/requests?attempts_min=2").await)[0];
    let call = get(&rig, &format!("/requests/{failed_over}")).await;
    let tries = call["tries"].as_array().expect("attempts");
    assert_eq!((&tries[0]["status"], &tries[0]["failure"]), (&json!(429), &json!("rate-limited")));
    assert_eq!((&tries[1]["status"], &tries[1]["failure"]), (&json!(200), &Value::Null));
    assert_ne!(tries[0]["credential"], tries[1]["credential"]);
    assert_eq!(call["credential"], tries[1]["credential"]);
    let credential = call["credential"].as_str().expect("an id").to_owned();
    assert!(count(&format!("credential={credential}")).await >= 1);
    let pricing = call["pricing"].as_str().expect("a digest").to_owned();
    assert_eq!(count(&format!("component={pricing}")).await, 4);
    for wrong in ["outcome=fine", "key=x", "component=12", "points_min=x", "limit=0", "cursor=x", "offset=5"]
    {
        assert_eq!(
            rig.admin("GET", &format!("/management/v1/requests?{wrong}")).await.status,
            400,
            "{wrong}"
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn each_row_has_the_names_beside_its_ids_even_of_what_is_gone() {
    let rig = with_calls().await;
    let page = get(&rig, "/requests?attempts_min=2").await;
    let row = &page["data"][0];
    assert_eq!(row["user"], json!("alice"), "{row}");
    let (key, credential) = (row["key"].as_str().expect("an id"), row["credential"].as_str().expect("an id"));
    let named = get(&rig, &format!("/keys/{key}")).await["name"].clone();
    assert!(named.is_string() && row["key_name"] == named, "{row}");
    let label = get(&rig, &format!("/credentials/{credential}")).await["label"].clone();
    assert!(label.is_string() && row["credential_name"] == label, "{row}");
    let called = |method: &str, target: String| {
        Request::new(method, &format!("/management/v1{target}")).bearer(rig.admin_secret())
    };
    let renamed = called("PATCH", format!("/credentials/{credential}")).body(r#"{"label":"the last name"}"#);
    assert_eq!(client::call(rig.admin_addr(), &renamed).await.status, 200);
    for gone in [format!("/credentials/{credential}"), format!("/keys/{key}")] {
        let status = client::call(rig.admin_addr(), &called("DELETE", gone)).await.status;
        assert!((200..300).contains(&status), "{status}");
    }
    let request = row["request"].as_str().expect("an id");
    let call = get(&rig, &format!("/requests/{request}")).await;
    assert_eq!((&call["key_name"], &call["credential_name"]), (&named, &json!("the last name")));
    let tries = call["tries"].as_array().expect("attempts");
    assert!(tries.iter().all(|it| it["credential_name"].is_string()), "{call}");
    // A user learns the names of what is theirs; the operator's credentials are not.
    let token = log_in(&rig, "alice").await;
    let own = Request::get(&format!("/management/v1/requests/{request}")).bearer(&token);
    let own = client::call(rig.admin_addr(), &own).await.json();
    assert_eq!((&own["user"], &own["key_name"]), (&json!("alice"), &named));
    let unnamed = own["tries"].as_array().expect("attempts").iter().all(|it| it["credential_name"].is_null());
    assert!(own["credential_name"].is_null() && unnamed, "{own}");
    rig.stop().await;
}

#[tokio::test]
async fn a_filter_takes_several_values_a_part_of_a_model_a_failure_and_whom_to_leave_out() {
    let rig = with_calls().await;
    let count = async |query: &str| requests(&get(&rig, &format!("/requests?{query}")).await).len();
    assert_eq!((count("user=alice&user=bob").await, count("exclude_user=alice").await), (4, 1));
    assert_eq!((count("model=gpt-4o&model=gpt-4o-mini").await, count("status=200&status=404").await), (4, 4));
    assert_eq!((count("model_part=MINI").await, count("model_part=claude").await), (1, 0));
    assert_eq!((count("failure=rate-limited").await, count("failure=overloaded").await), (1, 0));
    assert_eq!(count("failure=rate-limited&user=bob").await, 0);
    let trial = Request::post("/management/v1/proxy/test", &json!({"model": "gpt-4o"}));
    rig.upstream.enqueue(Script::json(200, ANSWER));
    let trial = client::call(rig.admin_addr(), &trial.bearer(rig.admin_secret())).await;
    assert_eq!(trial.status, 200, "{}", trial.text());
    rig.records(5).await;
    assert_eq!((count("").await, count("trials=true").await, count("trials=false").await), (5, 5, 4));
    for wrong in ["failure=x", "exclude_user=nobody", "status=x", "trials=2"] {
        let status = rig.admin("GET", &format!("/management/v1/requests?{wrong}")).await.status;
        assert!(matches!(status, 400 | 404), "{wrong}: {status}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn sums_of_a_filter_are_those_of_the_rows_that_it_lists() {
    let rig = with_calls().await;
    for query in
        ["user=alice", "model_part=gpt", "failure=rate-limited", "outcome=refused", "points_min=0.001"]
    {
        let rows = get(&rig, &format!("/requests?{query}")).await["data"].as_array().expect("rows").clone();
        let points = rows.iter().map(|row| {
            Micropoints::parse_points(row["points"].as_str().expect("points")).expect("a number").get()
        });
        let points = Micropoints::new(points.sum()).to_string();
        for by in ["total", "minute", "hour", "day", "outcome", "status", "provider", "model", "user", "key"]
        {
            let sums = get(&rig, &format!("/requests/sums?{query}&by={by}")).await;
            assert_eq!(sums["total"]["requests"], json!(rows.len()), "{query} {by}: {sums}");
            assert_eq!((&sums["total"]["points"], &sums["next_cursor"]), (&json!(points), &Value::Null));
            let data = sums["data"].as_array().expect("rows");
            let requests: u64 = data.iter().filter_map(|row| row["requests"].as_u64()).sum();
            assert_eq!(requests, rows.len() as u64, "{query} {by}: {sums}");
        }
    }
    let by_user = get(&rig, "/requests/sums?by=user").await;
    let mut users: Vec<_> =
        by_user["data"].as_array().expect("rows").iter().map(|row| row["name"].clone()).collect();
    users.sort_by_key(ToString::to_string);
    assert_eq!(users, [json!("alice"), json!("bob")]);
    let wrong = rig.admin("GET", "/management/v1/requests/sums?by=colour").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    rig.stop().await;
}

#[tokio::test]
async fn times_are_told_by_provider_model_and_credential_and_over_time() {
    let rig = with_calls().await;
    let listed = get(&rig, "/requests").await["data"].as_array().expect("rows").clone();
    for (by, member) in [("provider", "provider"), ("model", "model"), ("credential", "credential")] {
        let paces = get(&rig, &format!("/requests/latency?by={by}&every=hour")).await;
        let data = paces["data"].as_array().expect("rows");
        assert_eq!(data.iter().filter_map(|row| row["requests"].as_u64()).sum::<u64>(), 4, "{by}: {paces}");
        for row in data {
            let name = if by == "credential" { &row["id"] } else { &row["name"] };
            let mut times: Vec<u64> = listed
                .iter()
                .filter(|call| call[member] == *name)
                .filter_map(|call| call["latency_ms"].as_u64())
                .collect();
            times.sort_unstable();
            assert_eq!(json!(times.len()), row["requests"], "{row}");
            assert_eq!(row["latency_ms"]["p99"].as_u64(), times.last().copied(), "{row}");
            assert_eq!(
                row["latency_ms"]["p50"].as_u64(),
                times.get(times.len().div_ceil(2) - 1).copied(),
                "{row}"
            );
            assert!(row["ttft_ms"]["p50"].is_u64(), "{row}");
            assert!(row["at_ms"].as_u64().is_some_and(|at| at % 3_600_000 == 0), "{row}");
        }
    }
    let all = get(&rig, "/requests/latency?user=bob").await;
    assert_eq!((&all["data"][0]["requests"], &all["next_cursor"]), (&json!(1), &Value::Null));
    let wrong = rig.admin("GET", "/management/v1/requests/latency?every=model").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
    rig.stop().await;
}

#[tokio::test]
async fn an_export_holds_what_the_filter_lets_through() {
    let rig = with_calls().await;
    let export = async |target: &str| {
        let reply = rig.admin("GET", &format!("/management/v1/requests/export.{target}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.text()
    };
    let lines = export("jsonl?user=alice").await;
    let entries: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(entries.len(), 3);
    assert_eq!(
        json!(requests(&json!({"data": entries}))),
        json!(requests(&get(&rig, "/requests?user=alice").await))
    );
    let table = export("csv").await;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 5 && rows[0].starts_with("request,started_at,"), "{table}");
    assert_eq!(export("csv?outcome=refused").await, "");
    rig.stop().await;
}

#[tokio::test]
async fn a_user_sees_his_own_calls_and_nobody_elses() {
    let rig = with_calls().await;
    rig.upstream.enqueue(Script::json(400, r#"{"error":{"message":"no"}}"#));
    assert_eq!(chat(&rig, "alice", "gpt-4o").await.status, 400);
    rig.records(5).await;
    let token = log_in(&rig, "alice").await;
    let ask = async |target: &str| {
        let request = Request::get(&format!("/management/v1{target}")).bearer(&token);
        client::call(rig.admin_addr(), &request).await
    };
    let own = requests(&ask("/requests").await.json());
    assert_eq!(own.len(), 4);
    assert_eq!(ask("/usage/summary").await.json()["total"]["requests"], json!(4));
    assert_eq!(ask("/requests/export.jsonl").await.text().lines().count(), 4);
    let all = requests(&get(&rig, "/requests").await);
    for request in &all {
        let shown = ask(&format!("/requests/{request}")).await;
        assert_eq!(shown.status == 200, own.contains(request), "{}", shown.text());
        if shown.status == 200 {
            assert_eq!(shown.json()["error"], Value::Null, "what went wrong inside is for operators");
        }
    }
    assert!(!get(&rig, &format!("/requests/{}", all[0])).await["error"].is_null());
    let bobs = get(&rig, "/requests?user=bob").await["data"][0].clone();
    let bobs_key = bobs["key"].as_str().expect("an id");
    assert_eq!(requests(&ask(&format!("/requests?key={bobs_key}")).await.json()), [""; 0]);
    for others in ["/requests?user=bob", "/usage?user=bob", "/usage/summary?user=nobody"] {
        assert_eq!(ask(others).await.status, 404, "{others}");
    }
    assert_eq!(ask(&format!("/usage?key={bobs_key}")).await.status, 404);
    assert_eq!(
        ask(&format!("/usage?credential={}", bobs["credential"].as_str().expect("an id"))).await.status,
        404
    );
    rig.stop().await;
}

/// Runs a command on the data of a gateway that has stopped, with a configuration of its own.
fn tollgate(dir: &std::path::Path, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate-under-test"))
        .current_dir(dir)
        .args(["--json", "--config", "log.toml"])
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

#[tokio::test]
async fn an_attempt_that_failed_alone_says_why() {
    let rig = rig().await;
    rig.upstream.enqueue(Script::json(400, r#"{"error":{"message":"no","type":"invalid_request_error"}}"#));
    assert_eq!(chat(&rig, "alice", "gpt-4o").await.status, 400);
    let request = rig.record().await.request;
    let call = get(&rig, &format!("/requests/{request}")).await;
    let tries = call["tries"].as_array().expect("attempts");
    assert_eq!(tries.len(), 1);
    assert_eq!((&tries[0]["status"], &tries[0]["failure"]), (&json!(400), &json!("bad-request")));
    rig.stop().await;
}

#[tokio::test]
async fn old_records_go_into_the_archive_and_the_counters_stay() {
    let rig = with_calls().await;
    let dir = rig.dir();
    let desk = rig.desk().await;
    let data = rig.config.server.data_dir.display().to_string();
    let (archive, seen) = (dir.join("archive"), dir.join("seen"));
    let config = format!(
        "[server]\ndata_dir = \"{data}\"\n[requests]\nkeep_records = 1\narchive_dir = \"{}\"\n\
         archive_command = [\"sh\", \"-c\", \"cp \\\"$0\\\" {}\"]\n",
        archive.display(),
        seen.display(),
    );
    std::fs::write(dir.join("log.toml"), config).expect("a configuration");
    let before = tollgate(&dir, &["usage", "summary"]);
    let all = requests(&json!({"data": tollgate(&dir, &["requests", "list"])}));
    let pruned = tollgate(&dir, &["requests", "prune"]);
    assert_eq!(pruned["removed"], json!(3));
    let file = std::fs::read_to_string(pruned["file"].as_str().expect("a file")).expect("the archive");
    let archived: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(archived[0]["tries"][0]["failure"], json!("rate-limited"), "{}", archived[0]);
    assert_eq!(archived[0]["tries"].as_array().map(Vec::len), Some(2));
    let archived = requests(&json!({"data": archived}));
    assert!(archived.iter().eq(all[1..].iter().rev()), "oldest first: {archived:?}");
    assert_eq!(std::fs::read_to_string(seen).expect("the command's work"), file);
    assert_eq!(requests(&json!({"data": tollgate(&dir, &["requests", "list"])})), all[..1]);
    assert_eq!(tollgate(&dir, &["usage", "summary"]), before);
    assert_eq!(tollgate(&dir, &["usage", "verify"])["violations"], json!(0));
    assert_eq!(tollgate(&dir, &["ledger", "verify"])["violations"], json!(0));
    assert_eq!(tollgate(&dir, &["ledger", "receipt", &all[3]])["request"], json!(all[3]), "receipts stay");
    assert_eq!(tollgate(&dir, &["requests", "prune"])["removed"], json!(0));
    desk.close().await;
    rig.stop().await;
}

#[tokio::test]
async fn everyones_usage_is_for_admins_and_a_users_role_changes_it() {
    let rig = with_calls().await;
    let desk = rig.desk().await;
    managed::set_role(&desk, "alice", Role::Admin).await.expect("a role");
    desk.close().await;
    let token = log_in(&rig, "alice").await;
    let summary = Request::get("/management/v1/usage/summary").bearer(&token);
    let summary = client::call(rig.admin_addr(), &summary).await.json();
    assert_eq!(summary["total"]["requests"], json!(4));
    rig.stop().await;
}
