//! How Amazon Bedrock says that something failed, for models of any maker: a name beside the body or in its `__type`,
//! and a sentence.

use tollgate_plugin::adapter::FailureClass;

use crate::failure;

/// What a failure means by its name, or by its status where nothing names it. `None` where neither tells.
///
/// `name` may come with a namespace before it (`com.amazon.coral.service#ThrottlingException`), with an address after
/// it (`ThrottlingException:http://…`), or begin with a lower-case letter, as the messages of a stream name it.
pub(crate) fn classify(status: u16, name: &str, message: &str) -> Option<FailureClass> {
    let name = name.rsplit('#').next().and_then(|name| name.split(':').next()).unwrap_or_default();
    let name = name.trim().trim_end_matches("Exception").to_ascii_lowercase();
    let class = match (name.as_str(), status) {
        ("accessdenied", _) | ("", 403) => denied(message),
        ("invalidsignature", _) => signature(message),
        (
            "unrecognizedclient"
            | "expiredtoken"
            | "invalidclienttokenid"
            | "incompletesignature"
            | "missingauthenticationtoken",
            _,
        ) => FailureClass::InvalidCredential,
        ("throttling" | "toomanyrequests", _) | ("", 429) => throttled(message),
        ("servicequotaexceeded", _) => FailureClass::QuotaExhausted,
        ("modelnotready" | "serviceunavailable", _) => FailureClass::Overloaded,
        ("modeltimeout" | "modelerror" | "modelstreamerror" | "internalserver" | "internalfailure", _) => {
            FailureClass::Transient
        }
        // The model is not in this region, or this account has not asked for it.
        ("resourcenotfound", _) | ("", 404) => FailureClass::Permission,
        ("validation", _) | ("", 400) => invalid(message),
        _ => return None,
    };
    Some(class)
}

/// Sentences that say that a key is none.
const NO_KEY: [&str; 6] = [
    "The security token included in the request is",
    "The request signature we calculated does not match",
    "Authentication failed: Please make sure your API Key is valid",
    "Authentication failed",
    "Invalid API Key",
    "Bearer Token has expired",
];

/// A key may lack a model, or not be a key at all. Words may be the client's, so that it is none only whole sentences
/// say.
fn denied(message: &str) -> FailureClass {
    if is_clock(message) {
        FailureClass::Transient
    } else if NO_KEY.iter().any(|words| failure::is_sentence(message, words)) {
        FailureClass::InvalidCredential
    } else {
        FailureClass::Permission
    }
}

/// A signature is wrong because of its key, or because of the clock of whoever made it: then the key is fine.
fn signature(message: &str) -> FailureClass {
    if is_clock(message) { FailureClass::Transient } else { FailureClass::InvalidCredential }
}

fn is_clock(message: &str) -> bool {
    message.starts_with("Signature expired") || message.starts_with("Signature not yet current")
}

fn throttled(message: &str) -> FailureClass {
    if failure::is_sentence(message, "Too many tokens per day") {
        FailureClass::QuotaExhausted
    } else if message.contains("not ready") {
        FailureClass::Overloaded
    } else {
        FailureClass::RateLimited
    }
}

/// Faults that are not the request's come under the same name: a model that this region or account does not have.
fn invalid(message: &str) -> FailureClass {
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if says(&["too long", "Too many input tokens", "exceed context limit"]) {
        FailureClass::ContextTooLong
    } else if says(&["model identifier is invalid", "on-demand throughput", "Operation not allowed"]) {
        FailureClass::Permission
    } else if says(&["content filtering policy", "blocked by our content filters"]) {
        FailureClass::ContentRefused
    } else {
        FailureClass::BadRequest
    }
}
