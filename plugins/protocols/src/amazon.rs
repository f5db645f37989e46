//! How Amazon Bedrock says that something failed, for models of any maker: a name beside the body or in its `__type`,
//! and a sentence.

use tollgate_plugin::adapter::FailureClass;

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

/// Tells a key that lacks a model from one that is wrong.
fn denied(message: &str) -> FailureClass {
    let no_key = ["security token", "API Key", "Bearer Token", "Authentication failed"];
    if no_key.iter().any(|words| message.contains(words)) {
        FailureClass::InvalidCredential
    } else if message.contains("ignature") {
        signature(message)
    } else {
        FailureClass::Permission
    }
}

/// A signature is wrong because of its key, or because of the signer's clock: then the key is good.
fn signature(message: &str) -> FailureClass {
    let clock = message.contains("Signature expired") || message.contains("Signature not yet current");
    if clock { FailureClass::Transient } else { FailureClass::InvalidCredential }
}

fn throttled(message: &str) -> FailureClass {
    if message.contains("per day") {
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
