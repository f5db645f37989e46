//! The first questions of a newcomer, and the file that answers each: README.md, ARCHITECTURE.md or the head of the
//! room that they point to names it, and it holds the item that is named here.

use std::fs;
use std::path::Path;

/// Question, file, and the item in it.
const QUESTIONS: [(&str, &str, &str); 22] = [
    (
        "Where does a provider's Retry-After become a wait that is believed?",
        "host/core/src/wait.rs",
        "pub struct RetryAfter",
    ),
    (
        "Where is it decided whether a failed attempt is tried again?",
        "host/core/src/retry.rs",
        "pub const fn decide(",
    ),
    ("Where does a credential that failed begin to rest?", "host/core/src/health.rs", "impl Health"),
    ("Which classes of usage are there?", "wit/class.rs", "CodeInterpreter"),
    ("Where are units times rates summed?", "host/core/src/price.rs", "pub fn cost("),
    ("Where are the bytes of a receipt spelt out?", "host/core/src/receipt/bytes.rs", "fn "),
    ("Where is an account's balance decided?", "host/core/src/ledger.rs", "impl Account"),
    (
        "Who grants a hold, on one node or on several?",
        "host/server/src/state/accounts.rs",
        "pub(crate) async fn hold<",
    ),
    ("What can several nodes decide together?", "host/server/src/state/deciders.rs", "pub struct Deciders"),
    (
        "Where does the secret come into a request?",
        "host/server/src/upstream/authorize.rs",
        "pub(crate) fn authorize(",
    ),
    (
        "What may an agent without the secret be handed?",
        "host/server/src/upstream/envelope.rs",
        "pub(crate) struct Envelope",
    ),
    ("What is behind the transport's face?", "host/server/src/transport/mod.rs", "pub trait Transport"),
    (
        "Which states does a request go through?",
        "host/server/src/proxy/states.rs",
        "pub(crate) struct Admitted",
    ),
    (
        "What makes a request end exactly once?",
        "host/server/src/proxy/ticket.rs",
        "impl<S: State> Drop for Ticket<S>",
    ),
    (
        "Where does a failure get its HTTP status and its words?",
        "host/server/src/proxy/dialect.rs",
        "pub(crate) fn status(",
    ),
    ("Which path is which call?", "host/server/src/proxy/router.rs", "pub(crate) fn route("),
    ("Where is a certificate read again?", "host/server/src/listen/tls.rs", "pub(crate) async fn watch("),
    ("Which variant of a component serves whom?", "host/runtime/src/choice.rs", "pub(crate) fn choose("),
    ("Where is a new component published?", "host/runtime/src/reload.rs", "fn publish"),
    ("How are an entry's bytes in the journal written?", "host/store/src/sqlite/journal/bytes.rs", "fn "),
    ("What does a start release, and of whom?", "host/store/src/sqlite/sweep.rs", "async fn sweep("),
    ("Which routes does the management API have, and for whom?", "host/server/src/admin/routes.rs", "ROUTES"),
];

#[test]
fn every_first_question_is_answered_by_the_file_that_the_map_leads_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map reads");
    for (question, file, item) in QUESTIONS {
        let source =
            fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{question} {file}: {error}"));
        assert!(source.contains(item), "{question} {file} has no `{item}`");
        // By its own name, or by that of its room.
        let below = file.split("/src/").nth(1).unwrap_or(file);
        let room = below.split('/').next().unwrap_or(below);
        let named = [format!("`{below}`"), format!("`{room}`"), format!("`{room}/`"), format!("`{room}.rs`")];
        assert!(
            named.iter().any(|name| map.contains(name)),
            "{question} ARCHITECTURE.md leads nobody to {file}"
        );
    }
}
