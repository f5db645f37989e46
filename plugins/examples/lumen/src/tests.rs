//! Native: no gateway, no sandbox.

use super::{Adapter, Class, FailureClass, Lumen, Operation, Protocol, Quality, Refusal, Usage};

fn lumen(config: &str) -> Lumen {
    Lumen::configure(config).unwrap()
}

#[test]
fn it_is_reached_where_it_is_and_with_its_own_header() {
    let plan = lumen("{}").plan();
    assert!(plan.endpoints.iter().any(|endpoint| endpoint.path == "/serving/v3/chat/completions"));
    assert!(plan.endpoints.iter().all(|endpoint| endpoint.protocol == Protocol::OpenaiChat));
    assert_eq!((plan.auth[0].name.as_str(), plan.auth[0].value.as_str()), ("x-lumen-key", "{credential}"));
    assert_eq!(plan.check.unwrap().path, "/serving/v3/catalog");
    let newer = lumen(r#"{"api_version":"v4"}"#).plan();
    assert_eq!(newer.check.unwrap().path, "/serving/v4/catalog");
    assert!(Lumen::configure(r#"{"version":"v4"}"#).is_err());
}

#[test]
fn cached_tokens_are_counted_beside_the_others() {
    let read =
        |samples: &str| lumen("{}").read_usage(Protocol::OpenaiChat, Operation::Generate, samples.as_bytes());
    let exact = Usage::of(Quality::Exact, &[(Class::Input, 10), (Class::CacheRead, 90), (Class::Output, 5)]);
    assert_eq!(read(r#"{"prompt_tokens":10,"cached_prompt_tokens":90,"completion_tokens":5}"#), exact);
    let uncached = exact.with(Class::CacheRead, 0);
    assert_eq!(read(r#"{"prompt_tokens":10,"completion_tokens":5}"#), uncached);
    assert_eq!(read(""), Usage::MISSING);
}

#[test]
fn the_line_of_the_usage_is_that_of_the_plan() {
    assert_eq!(lumen("{}").plan().usage_taps[super::USAGE].path, "usage");
}

#[test]
fn a_420_is_a_rate_limit_and_all_else_is_openais() {
    let classify = |status, retry_after_ms, body: &str| {
        let refusal = Refusal { status, retry_after_ms, kind: String::new(), body: body.as_bytes().to_vec() };
        let failure = lumen("{}").classify(&refusal);
        (failure.class, failure.retry_after_ms)
    };
    assert_eq!(classify(420, None, r#"{"retry_in_s":7}"#), (FailureClass::RateLimited, Some(7000)));
    assert_eq!(classify(420, Some(9), "no JSON"), (FailureClass::RateLimited, Some(9)));
    let refused = r#"{"error":{"message":"no such key","type":"invalid_request_error"}}"#;
    assert_eq!(classify(401, None, refused), (FailureClass::InvalidCredential, None));
}
