//! AWS Signature Version 4: a signature over a request, made of a secret key that never travels.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. Pure: the time is an
//! argument.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tollgate_core::time::Timestamp;

/// The signer, and what it signs for.
pub(crate) struct Signer<'a> {
    /// The name of the key.
    pub(crate) access_key_id: &'a str,
    /// The key.
    pub(crate) secret_access_key: &'a str,
    /// Where the request goes.
    pub(crate) region: &'a str,
    /// The service.
    pub(crate) service: &'a str,
}

/// The signed parts of a request.
pub(crate) struct Signed<'a> {
    /// `POST`.
    pub(crate) method: &'a str,
    /// As it is sent.
    pub(crate) path: &'a str,
    /// As it is sent, without its question mark.
    pub(crate) query: &'a str,
    /// Lower-case names with their values, sorted by name; including `host` and `x-amz-date`.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// SHA-256 of the body, in hexadecimal digits.
    pub(crate) body_sha256: &'a str,
}

/// The time as the header `x-amz-date` has it: `20150830T123600Z`.
pub(crate) fn date(at: Timestamp) -> String {
    at.rfc3339().replace(['-', ':'], "")
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Signer<'_> {
    /// The header `authorization` of a request that is sent at `date`.
    pub(crate) fn authorization(&self, date: &str, request: &Signed<'_>) -> String {
        let day = date.get(..8).unwrap_or(date);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = Sha256::digest(canonical(request, &names));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&canonical));
        let signature = hex(&mac(&self.key(day), &text));
        let id = self.access_key_id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    /// The key of one day, region and service.
    fn key(&self, day: &str) -> [u8; 32] {
        let first = mac(format!("AWS4{}", self.secret_access_key).as_bytes(), day);
        mac(&mac(&mac(&first, self.region), self.service), "aws4_request")
    }
}

fn canonical(request: &Signed<'_>, names: &str) -> String {
    let mut query: Vec<String> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    query.sort_unstable();
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let Signed { method, path, body_sha256, .. } = request;
    // A path is encoded as it is sent, and once more here.
    let path = percent_encoding::utf8_percent_encode(path, SEGMENTS);
    format!("{method}\n{path}\n{}\n{headers}\n{names}\n{body_sha256}", query.join("&"))
}

const SEGMENTS: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

fn mac(key: &[u8], text: &str) -> [u8; 32] {
    // HMAC takes keys of any length.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mut mac| {
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().into()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Signed, Signer, canonical, date, hex};
    use sha2::{Digest, Sha256};
    use tollgate_core::time::Timestamp;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn signer(service: &'static str) -> Signer<'static> {
        Signer { access_key_id: "AKIDEXAMPLE", secret_access_key: SECRET, region: "us-east-1", service }
    }

    #[test]
    fn the_published_example_key_comes_out() {
        let key = hex(&signer("iam").key("20150830"));
        assert_eq!(key, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn the_published_test_suite_comes_out() {
        let check = |method: &str, query: &str, signature: &str| {
            let empty = hex(&Sha256::digest(b""));
            let at = "20150830T123600Z";
            let headers = [("host", "example.amazonaws.com"), ("x-amz-date", at)];
            let request = Signed { method, path: "/", query, headers: &headers, body_sha256: &empty };
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            assert_eq!(signer("service").authorization(at, &request), expected, "{method} {query}");
        };
        // get-vanilla, post-vanilla, get-vanilla-query-order-key-case.
        check("GET", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        check("POST", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
        check(
            "GET",
            "Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
    }

    #[test]
    fn a_path_is_encoded_once_more_and_time_has_no_signs() {
        let request = Signed {
            method: "POST",
            path: "/model/a.b-v1:0/x%2Fy",
            query: "",
            headers: &[],
            body_sha256: "",
        };
        assert_eq!(canonical(&request, "").lines().nth(1), Some("/model/a.b-v1%3A0/x%252Fy"));
        assert_eq!(date(Timestamp::from_millis(1_440_938_160_999)), "20150830T123600Z");
    }
}
