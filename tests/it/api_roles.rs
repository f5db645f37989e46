//! Who may call what: every route of the served OpenAPI document, called by everyone whom it admits and by everyone
//! whom it refuses. The answers are as the document says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tollgate_core::limits::KeyLimits;
use tollgate_core::points::Micropoints;
use tollgate_core::role::Role;
use tollgate_core::secret::Secret;
use tollgate_tests::client::{self, Connection, Reply, Request};
use tollgate_tests::gateway::Rig;
use tollgate_tests::managed;
use tollgate_tests::patiently;
use tollgate_tests::schema::{check, resolve};
use tollgate_tests::upstream::Script;

const ROOT: &str = "/management/v1";
const PASSWORD: &str = "correct horse battery";
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":10,"completion_tokens":5}}"#;

/// Who may call each route. The document is generated from the table that the gateway checks; this list is an
/// independent statement.
const ACCESS: &str = "
GET /about anyone
GET /audit admin
GET /codes admin
POST /codes admin
PATCH /codes/{batch} admin
GET /configuration admin
POST /configuration/reload admin
GET /credentials owner
POST /credentials owner
DELETE /credentials/{credential} owner
GET /credentials/{credential} owner
PATCH /credentials/{credential} owner
POST /credentials/{credential}/check owner
DELETE /credentials/{credential}/share owner
POST /credentials/{credential}/share owner
GET /credentials/{credential}/uses owner
GET /events owner
GET /keys owner
GET /keys/dry-run owner
POST /keys owner
DELETE /keys/{key} owner
GET /keys/{key} owner
PUT /keys/{key}/keep-bodies admin
PATCH /keys/{key} owner
POST /login anyone
POST /logout me
GET /me me
PUT /me/own-only me
POST /me/password me
GET /openapi.json anyone
GET /models/routes admin
POST /models/routes admin
GET /models/routes/{route} admin
PATCH /models/routes/{route} admin
DELETE /models/routes/{route} admin
GET /platforms owner
GET /plugins admin
GET /plugins/grants admin
POST /plugins/{component}/back admin
POST /plugins/{component}/forget admin
GET /plugins/{component}/inspection admin
POST /plugins/{component}/use admin
GET /plugins/{component}/versions admin
PUT /plugins/{component}/hosts/{host} admin
DELETE /plugins/{component}/hosts/{host} admin
GET /plugins/events admin
POST /plugins/reload admin
GET /lending owner
GET /pool owner
POST /proxy/test admin
POST /refresh anyone
POST /session/link anyone
POST /session/login anyone
POST /session/logout anyone
POST /session/refresh anyone
GET /requests owner
GET /requests/export.csv owner
GET /requests/export.jsonl owner
GET /requests/latency owner
GET /requests/sums owner
GET /requests/tail owner
GET /requests/{request} owner
GET /requests/{request}/bodies admin
GET /usage owner
GET /usage/summary owner
GET /price-rates admin
PUT /price-rates admin
GET /prices admin
PATCH /prices admin
POST /prices admin
DELETE /prices/{version} admin
GET /prices/{version} admin
GET /prices/{version}/list admin
GET /receipts/{request} owner
GET /receipts/{request}/inputs admin
POST /redeem me
POST /requests/{request}/refund admin
GET /transfers owner
POST /users/{user}/grants admin
POST /users/{user}/top-ups admin
GET /users admin
POST /users admin
GET /users/{user} owner
PATCH /users/{user} admin
GET /users/{user}/keys owner
";

/// Routes whose example cannot succeed here, and why.
const CANNOT_SUCCEED: [(&str, &str); 8] = [
    ("GET /requests/{request}/bodies", "bodies are kept for keys of which an operator wants it alone"),
    ("POST /plugins/{component}/back", "nothing runs under the name that a grant is for"),
    ("GET /plugins/{component}/inspection", "nor is there anything to look at"),
    ("POST /plugins/{component}/use", "nor did any version of it serve"),
    ("POST /refresh", "a refresh token is good once and known to its owner alone"),
    ("POST /session/refresh", "the cookie is known to its browser alone"),
    ("POST /session/link", "a log-in link is good once and made by a start of the gateway"),
    ("POST /redeem", "a code is known to whom it was given alone"),
];

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Nobody,
    Disabled,
    /// The owner of the things.
    Owner,
    /// Another user with the same role.
    Foreign,
    Admin,
    Operator,
}

impl Who {
    const ALL: [Self; 6] =
        [Self::Nobody, Self::Disabled, Self::Owner, Self::Foreign, Self::Admin, Self::Operator];

    /// The status with which they are refused, if they are.
    fn kept_out(self, access: &str, has_params: bool) -> Option<u16> {
        match (access, self) {
            ("anyone", _) => None,
            (_, Self::Nobody | Self::Disabled) => Some(401),
            ("me", Self::Operator) | ("admin", Self::Owner | Self::Foreign) => Some(403),
            ("owner", Self::Foreign) if has_params => Some(404),
            _ => None,
        }
    }
}

/// A gateway with one caller of each kind.
struct Office {
    rig: Rig,
    document: Value,
    tokens: BTreeMap<&'static str, String>,
    /// An API key of carol's.
    key: Secret,
}

impl Office {
    async fn open() -> Self {
        let rig = Rig::with(|setup| {
            setup.config.limits.api_keys_per_user = 1000;
            setup.config.lending.enabled = true;
        })
        .await;
        let desk = rig.desk().await;
        for (name, role) in
            [("root", Role::Admin), ("carol", Role::User), ("dave", Role::User), ("eve", Role::User)]
        {
            let password = Some(Secret::new(PASSWORD.to_owned()));
            managed::add_account(&desk, name, role, password, Micropoints::from_points(100))
                .await
                .expect("a user");
        }
        let (_, key) = desk.create_key("carol", "call", None, KeyLimits::default()).await.expect("a key");
        desk.close().await;
        rig.upstream.respond(|_| Script::json(200, ANSWER));
        let document =
            client::call(rig.admin_addr(), &Request::get(&format!("{ROOT}/openapi.json"))).await.json();
        let mut office = Self { rig, document, tokens: BTreeMap::new(), key };
        office.log_in("eve").await;
        office.log_everyone_in().await;
        let eve = office.user("eve").await;
        office.send(Who::Operator, "PATCH", &format!("/users/{eve}"), &json!({"enabled": false})).await;
        office
    }

    async fn log_in(&mut self, name: &'static str) {
        let body = json!({"name": name, "password": PASSWORD});
        let reply = self.send(Who::Nobody, "POST", "/login", &body).await;
        let token = reply.json()["access_token"].as_str().expect("a token").to_owned();
        self.tokens.insert(name, token);
    }

    /// Logs in those who may, with their first passwords.
    async fn log_everyone_in(&mut self) {
        for name in ["root", "carol", "dave"] {
            let id = self.user(name).await;
            self.send(Who::Operator, "PATCH", &format!("/users/{id}"), &json!({"password": PASSWORD})).await;
            self.log_in(name).await;
        }
    }

    async fn user(&self, name: &str) -> String {
        let found = self.send(Who::Operator, "GET", &format!("/users?search={name}"), &Value::Null).await;
        found.json()["data"][0]["id"].as_str().expect("a user").to_owned()
    }

    async fn send(&self, who: Who, method: &str, path: &str, body: &Value) -> Reply {
        let request = match body {
            Value::Null => Request::new(method, &format!("{ROOT}{path}")),
            body => Request::new(method, &format!("{ROOT}{path}")).body(body.to_string()),
        };
        let token = match who {
            Who::Nobody => return self.call(&request).await,
            Who::Disabled => &self.tokens["eve"],
            Who::Owner => &self.tokens["carol"],
            Who::Foreign => &self.tokens["dave"],
            Who::Admin => &self.tokens["root"],
            Who::Operator => self.rig.admin_secret(),
        };
        self.call(&request.bearer(token)).await
    }

    /// The whole answer; of events, which have no end, the first ones.
    async fn call(&self, request: &Request) -> Reply {
        let mut connection = Connection::open(self.rig.admin_addr()).await;
        connection.send(request).await;
        let head = connection.head().await;
        let status = head.word(1).parse().expect("a status that is a number");
        let body = match head.header("content-type") {
            Some("text/event-stream") => connection.read_until("retry: ").await.into_bytes(),
            _ => connection.body().await.expect("a body to its end"),
        };
        Reply { status, head, body }
    }

    /// A new thing of carol's for a parameter of a path.
    async fn make(&self, parameter: &str) -> String {
        let made = match parameter {
            "user" => return self.user("carol").await,
            "key" => self.send(Who::Owner, "POST", "/keys", &json!({"name": "made"})).await,
            "credential" => {
                let body =
                    json!({"provider": "openai", "secret": "sk-0123456789abcdef", "check": "deferred"});
                self.send(Who::Owner, "POST", "/credentials", &body).await
            }
            "component" => return "own".to_owned(),
            "host" => {
                static MADE: AtomicUsize = AtomicUsize::new(0);
                let host = format!("h{}.example.com", MADE.fetch_add(1, Ordering::Relaxed));
                let path = format!("/plugins/own/hosts/{host}");
                assert_eq!(self.send(Who::Operator, "PUT", &path, &Value::Null).await.status, 200);
                return host;
            }
            "request" => return self.charged().await,
            "batch" => {
                let body = json!({"label": "made", "points": "1", "count": 1});
                self.send(Who::Operator, "POST", "/codes", &body).await
            }
            "version" => {
                let prices = operations(&self.document);
                let publish = prices.iter().find(|it| it.name() == "POST /prices").expect("a route");
                let (body, _) = publish.example(&self.document).expect("an example");
                let made = self.send(Who::Operator, "POST", "/prices", body).await;
                return made.json()["version"].to_string();
            }
            "route" => {
                static MADE: AtomicUsize = AtomicUsize::new(0);
                let name = format!("route-{}", MADE.fetch_add(1, Ordering::Relaxed));
                let body = json!({"name": name, "targets": [{"provider": "openai"}]});
                self.send(Who::Operator, "POST", "/models/routes", &body).await
            }
            other => panic!("tell this test how to make what `{{{other}}}` stands for"),
        };
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().expect("an id").to_owned()
    }

    /// A request of carol's that was charged.
    async fn charged(&self) -> String {
        let call = Request::new("POST", "/v1/chat/completions").body(r#"{"model":"gpt-4o","max_tokens":5}"#);
        let call = call.bearer(self.key.expose());
        patiently("the key to be taken and the charge to be booked", async {
            let id = loop {
                let reply = client::call(self.rig.addr(), &call).await;
                if reply.status == 200 {
                    break reply.header("x-tollgate-request-id").expect("an id").to_owned();
                }
            };
            let receipt = format!("/receipts/{id}");
            while self.send(Who::Operator, "GET", &receipt, &Value::Null).await.status != 200 {}
            id
        })
        .await
    }

    /// A route's path with things of carol's in it.
    async fn filled(&self, path: &str) -> String {
        let mut filled = Vec::new();
        for segment in path.split('/') {
            match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) => filled.push(self.make(name).await),
                None => filled.push(segment.to_owned()),
            }
        }
        filled.join("/")
    }
}

/// A row of the document.
struct Operation<'a> {
    method: String,
    path: &'a str,
    says: &'a Value,
}

impl Operation<'_> {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn access(&self) -> &str {
        self.says["x-access"].as_str().expect("x-access")
    }

    /// The example of the body, and its schema.
    fn example<'d>(&'d self, document: &'d Value) -> Option<(&'d Value, &'d Value)> {
        let schema = self.says.pointer("/requestBody/content/application~1json/schema")?;
        let example = resolve(document, schema).pointer("/examples/0");
        Some((example.unwrap_or_else(|| panic!("{} has no example of its body", self.name())), schema))
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, says) in methods.as_object().expect("methods") {
            let path = path.strip_prefix(ROOT).expect("a path below the root");
            all.push(Operation { method: method.to_uppercase(), path, says });
        }
    }
    all
}

/// Checks an answer against what the document says of it.
fn check_answer(document: &Value, operation: &Operation<'_>, who: Who, reply: &Reply) {
    let responses = &operation.says["responses"];
    let status = reply.status.to_string();
    let told = responses.get(&status).unwrap_or_else(|| {
        panic!(
            "{} answers {who:?} with {status}, of which the document says nothing: {}",
            operation.name(),
            reply.text()
        )
    });
    let told = resolve(document, told);
    match told.pointer("/content/application~1json/schema") {
        Some(schema) => check(document, schema, &reply.json())
            .unwrap_or_else(|error| panic!("{} for {who:?}: {error}", operation.name())),
        // Lines of a log, which are not JSON as a whole.
        None if told.get("content").is_some() => {}
        None => assert!(reply.body.is_empty(), "{} says more than the document", operation.name()),
    }
}

#[tokio::test]
async fn every_route_lets_in_whom_the_document_says_and_nobody_else() {
    let mut office = Office::open().await;
    let document = office.document.clone();
    for operation in operations(&document) {
        let body = operation.example(&document).map_or(&Value::Null, |(example, _)| example);
        let excused = CANNOT_SUCCEED.iter().any(|(name, _)| *name == operation.name());
        let mut succeeded = false;
        for who in Who::ALL {
            let path = office.filled(operation.path).await;
            let reply = office.send(who, &operation.method, &path, body).await;
            check_answer(&document, &operation, who, &reply);
            let name = operation.name();
            match who.kept_out(operation.access(), operation.path.contains('{')) {
                Some(status) => assert_eq!(reply.status, status, "{name} for {who:?}: {}", reply.text()),
                None => {
                    // What only some may see must not be there.
                    let absent = reply.status == 404 && excused;
                    let let_in = absent || (!matches!(reply.status, 403..=405) && reply.status < 500);
                    assert!(let_in, "{name} keeps {who:?} out: {} {}", reply.status, reply.text());
                    succeeded |= reply.status < 300;
                }
            }
            if matches!(operation.path, "/logout" | "/me/password") {
                office.log_everyone_in().await;
            }
        }
        assert_ne!(succeeded, excused, "{} succeeds for nobody, or is excused for nothing", operation.name());
    }
    office.rig.stop().await;
}

#[tokio::test]
async fn every_example_is_what_its_schema_says_and_access_is_what_was_decided() {
    let office = Office::open().await;
    let operations = operations(&office.document);
    for operation in &operations {
        if let Some((example, schema)) = operation.example(&office.document) {
            check(&office.document, schema, example)
                .unwrap_or_else(|error| panic!("{}: {error}", operation.name()));
        }
    }
    let mut said: Vec<_> = operations.iter().map(|it| format!("{} {}", it.name(), it.access())).collect();
    let mut decided: Vec<_> = ACCESS.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    said.sort();
    decided.sort();
    assert_eq!(said, decided, "left: the document, right: ACCESS in this test");
    office.rig.stop().await;
}
