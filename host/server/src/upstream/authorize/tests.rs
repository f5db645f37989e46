use super::{Envelope, Manner, Proof, URL_SAFE_NO_PAD, assertion, authorize, key_pair};
use crate::transport::Wire;
use crate::transport::body::Chained;
use crate::upstream::envelope::Endpoint;
use crate::upstream::proof::Template;
use base64::Engine;
use bytes::Bytes;
use http::Method;
use http::header::{HeaderMap, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_core::secret::Secret;
use tollgate_core::time::Timestamp;
use tollgate_runtime::HeaderTemplate;

const PEM: &str = include_str!("../../../testdata/service-account.pem");
const KEY: &str = "skverysecret1234";
/// 2023-11-14T22:13:20.999Z.
const AT: Timestamp = Timestamp::from_millis(1_700_000_000_999);

fn envelope(manner: Manner) -> Envelope {
    let bearer = HeaderTemplate { name: "authorization".into(), value: "Bearer {credential}".into() };
    let headers = match manner {
        Manner::Headers => Template::new(&bearer).into_iter().collect(),
        _ => Vec::new(),
    };
    let proof = Proof { headers, manner };
    let endpoint = Endpoint::new(Scheme::HTTPS, Authority::from_static("api.example"), Wire::Http1, proof);
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    Envelope {
        endpoint: Arc::new(endpoint),
        method: Method::POST,
        target: PathAndQuery::from_static("/v1/say?a=b"),
        model: Some("m-1".into()),
        headers,
        body: Chained::from(Bytes::from_static(br#"{"model":"m-1"}"#)),
    }
}

fn account() -> Secret {
    Secret::new(
        json!({"client_email": "robot@project.example", "private_key": PEM, "private_key_id": "k1",
            "access_key_id": "AKID", "secret_access_key": "wJalrXUtnFEMI", "session_token": "sess-0123",
            "refresh_token": "r-0123"})
        .to_string(),
    )
}

/// Everything that goes over the wire, one line each.
fn written(envelope: Envelope, secret: &Secret) -> String {
    let request = authorize(envelope, secret, AT).unwrap_or_else(|error| panic!("{error}"));
    let (head, body) = request.request.message.into_parts();
    let headers = head.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
    let headers: String = headers.collect();
    format!("{} {}\n{headers}\n{}", head.method, head.uri, String::from_utf8_lossy(&body.joined()))
}

/// An envelope may leave the machine, and be kept for any time.
const fn is_plain<T: Send + Clone + 'static>(_: &T) {}

#[test]
fn an_envelope_is_a_plain_value_that_holds_no_byte_of_the_secret() {
    let secrets = ["wJalrXUtnFEMI", "sess-0123", "r-0123", KEY];
    let manners = [
        (Manner::Headers, Secret::new(KEY.to_owned())),
        (Manner::Query("key".to_owned()), Secret::new(KEY.to_owned())),
        (Manner::Sigv4 { service: "bedrock".to_owned(), region: "eu-1".to_owned() }, account()),
        (Manner::RefreshToken { client_id: "c".to_owned() }, account()),
    ];
    for (manner, secret) in manners {
        let envelope = envelope(manner);
        is_plain(&envelope);
        let mut bytes = format!("{envelope:?}{}", envelope.target).into_bytes();
        // A header that is marked sensitive does not show in what is printed.
        envelope.headers.values().for_each(|value| bytes.extend_from_slice(value.as_bytes()));
        bytes.extend_from_slice(&envelope.body.clone().joined());
        let text = String::from_utf8_lossy(&bytes);
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
        let shown = written(envelope.clone(), &secret);
        let proof = format!("{:?}", envelope.endpoint.proof);
        let holds = secrets.iter().any(|secret| shown.contains(secret));
        assert!(holds || shown.contains("Signature="), "{proof} put nothing into {shown}");
    }
}

#[test]
fn a_secret_stands_where_the_provider_wants_it() {
    let key = Secret::new("k/1 2".to_owned());
    let shown = written(envelope(Manner::Headers), &key);
    assert!(shown.contains("authorization: Bearer k/1 2\n"), "{shown}");
    assert!(shown.contains("host: api.example\n") && shown.contains("content-length: 15\n"), "{shown}");
    let shown = written(envelope(Manner::Query("key".to_owned())), &key);
    assert!(shown.starts_with("POST /v1/say?a=b&key=k%2F1%202\n"), "{shown}");
    let shown = written(envelope(Manner::RefreshToken { client_id: "c".to_owned() }), &account());
    assert!(shown.ends_with("\n\ngrant_type=refresh_token&refresh_token=r-0123&client_id=c"), "{shown}");
}

#[test]
fn a_request_is_signed_as_it_is_sent() {
    let manner = Manner::Sigv4 { service: "bedrock".to_owned(), region: "eu-1".to_owned() };
    let shown = written(envelope(manner), &account());
    for part in [
        "x-amz-date: 20231114T221320Z\n",
        "x-amz-security-token: sess-0123\n",
        "authorization: AWS4-HMAC-SHA256 Credential=AKID/20231114/eu-1/bedrock/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn a_secret_that_does_not_fit_makes_no_request() {
    let check = |manner: Manner, secret: &str, told: &str| {
        let made = authorize(envelope(manner), &Secret::new(secret.to_owned()), AT);
        assert_eq!(made.err().map(|error| error.to_string()).as_deref(), Some(told));
    };
    check(Manner::Headers, "line\nbreak", "no header authorization can be made of the secret");
    let sigv4 = Manner::Sigv4 { service: String::new(), region: String::new() };
    check(sigv4, "plain", "the secret has no access_key_id that serves");
    check(
        Manner::RefreshToken { client_id: String::new() },
        "{}",
        "the secret has no refresh_token that serves",
    );
}

#[test]
fn an_assertion_is_signed_by_the_accounts_key_and_says_what_it_asks() {
    let jwt = assertion(&account(), "https://tokens.example/token", "everything", AT).unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let key = key_pair(&Secret::new(PEM.to_owned())).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
    public.verify(signed.as_bytes(), &decode(signature)).unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let read = |text: &str| serde_json::from_slice::<Value>(&decode(text)).unwrap();
    assert_eq!(read(head), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let expected = json!({"iss": "robot@project.example", "scope": "everything",
        "aud": "https://tokens.example/token", "iat": 1_700_000_000, "exp": 1_700_003_600});
    assert_eq!(read(claims), expected);
}
