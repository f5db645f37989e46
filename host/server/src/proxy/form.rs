//! Bodies that are forms (`multipart/form-data`, RFC 7578): fields of text, and files. They go up as they came; what
//! decides something is found in them, and has to be there beyond doubt.

use std::ops::Range;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use memchr::memmem;
use tollgate_core::json;

use super::error::ProxyError;

/// Longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
/// Most fields of a form.
const FIELDS_MAX: usize = 128;
/// Fields that something is decided by: each stands there once.
const DECISIVE: [&str; 5] = ["model", "n", "stream", "response_format", "file"];

/// A form.
#[derive(Debug)]
pub(crate) struct Form {
    /// What the body is called, without anything that need not be said.
    pub(crate) content_type: HeaderValue,
    fields: Vec<Field>,
}

/// One of its fields.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// Where its value is.
    pub(super) value: Range<usize>,
    /// Whether it is a file.
    pub(super) is_file: bool,
}

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 where it is no form, or one that two readers could read in two ways.
    pub(super) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, ProxyError> {
        let wrong = |words: &str| ProxyError::bad_request(words, None);
        let boundary = boundary(headers).ok_or_else(|| {
            wrong("This call takes a form: `Content-Type: multipart/form-data` with its boundary.")
        })?;
        let fields =
            fields(body, &boundary).ok_or_else(|| wrong("The body is not a form with this boundary."))?;
        for name in DECISIVE {
            let mut alike = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            let odd = alike.next().is_some_and(|field| field.name != name) || alike.next().is_some();
            if odd {
                let words = format!("`{name}` stands there more than once, or in another spelling.");
                return Err(ProxyError::bad_request(words, Some(name)));
            }
        }
        let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
        let content_type =
            HeaderValue::try_from(content_type).map_err(|_| wrong("The boundary is not valid."))?;
        Ok(Self { content_type, fields })
    }

    /// The field of that name that is text, and its value.
    pub(super) fn text<'b>(&self, body: &'b [u8], name: &str) -> Option<(Range<usize>, &'b str)> {
        let field = self.fields.iter().find(|field| field.name == name && !field.is_file)?;
        Some((field.value.clone(), std::str::from_utf8(body.get(field.value.clone())?).ok()?))
    }

    /// Its files.
    pub(super) fn files(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.is_file)
    }

    /// What a person has written in it, as JSON, for those who look for words.
    pub(super) fn words(&self, body: &[u8]) -> Bytes {
        let texts = self.fields.iter().filter(|field| !field.is_file).map(|field| {
            let text = String::from_utf8_lossy(body.get(field.value.clone()).unwrap_or_default());
            json::quote(&text)
        });
        Bytes::from(format!("[{}]", texts.collect::<Vec<_>>().join(",")))
    }

    /// Bytes of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        self.fields.iter().filter(|field| !field.is_file).map(|field| field.value.len()).sum()
    }
}

/// The boundary that a head names.
fn boundary(headers: &HeaderMap) -> Option<String> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = kinds.next().filter(|_| kinds.next().is_none())?.to_str().ok()?;
    let mut parts = kind.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let named = parts.filter_map(|part| part.split_once('='));
    let mut named = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let boundary = named.next()?.1.trim().trim_matches('"');
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    let fits = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()) && boundary.bytes().all(sign);
    (fits && named.next().is_none()).then(|| boundary.to_owned())
}

/// The fields of a body. Nothing stands before the first, and nothing but line ends behind the last.
fn fields(body: &[u8], boundary: &str) -> Option<Vec<Field>> {
    let between = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&between);
    let mut at = body.strip_prefix(&between.as_bytes()[2..]).map(|_| between.len() - 2)?;
    let mut fields = Vec::new();
    loop {
        match body.get(at..)? {
            [b'-', b'-', rest @ ..] => return matches!(rest, b"" | b"\r\n").then_some(fields),
            [b'\r', b'\n', ..] => at += 2,
            _ => return None,
        }
        let end = at + finder.find(body.get(at..)?)?;
        // A part may begin with the empty line that ends its head.
        let head = at + memmem::find(body.get(at..end)?, b"\r\n\r\n")?;
        if fields.len() >= FIELDS_MAX {
            return None;
        }
        fields.push(field(std::str::from_utf8(body.get(at..head)?).ok()?, head + 4..end)?);
        at = end + between.len();
    }
}

/// A field by its head: one line says what it is called, and none that it is written in another way.
fn field(head: &str, value: Range<usize>) -> Option<Field> {
    let mut disposition = None;
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if disposition.is_none() => disposition = Some(value),
            "content-disposition" => return None,
            "content-transfer-encoding" if !["binary", "8bit", "7bit"].contains(&value.trim()) => {
                return None;
            }
            _ => {}
        }
    }
    let mut parameters = parameters(disposition?)?.into_iter();
    if !parameters.next()?.0.eq_ignore_ascii_case("form-data") {
        return None;
    }
    let (mut name, mut is_file) = (None, false);
    for (parameter, value) in parameters {
        match parameter.to_ascii_lowercase().as_str() {
            "name" if name.is_none() => name = value,
            "name" | "name*" => return None,
            "filename" | "filename*" => is_file = true,
            _ => {}
        }
    }
    Some(Field { name: name?, value, is_file })
}

/// The parameters of a header, in quotes or not; `None` where quotes do not match or something is escaped.
fn parameters(text: &str) -> Option<Vec<(String, Option<String>)>> {
    let mut all = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find([';', '=']).unwrap_or(rest.len());
        let name = rest[..end].trim().to_owned();
        rest = &rest[end..];
        let mut value = None;
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            let (text, behind) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_at(quoted.find('"')?),
                None => after.split_at(after.find(';').unwrap_or(after.len())),
            };
            if text.contains('\\') && name.eq_ignore_ascii_case("name") {
                return None;
            }
            value = Some(text.trim().to_owned());
            rest = behind.strip_prefix('"').unwrap_or(behind).trim_start();
        }
        all.push((name, value));
        match rest.strip_prefix(';') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::Form;
    use http::header::{CONTENT_TYPE, HeaderMap};

    fn read(kind: &str, body: &str) -> Option<Vec<(String, String, bool)>> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
        let form = Form::read(&headers, body.as_bytes()).ok()?;
        let field =
            |field: &super::Field| (field.name.clone(), body[field.value.clone()].to_owned(), field.is_file);
        Some(form.fields.iter().map(field).collect())
    }

    const KIND: &str = "multipart/form-data; boundary=x-1";

    fn part(head: &str, value: &str) -> String {
        format!("--x-1\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    #[test]
    fn fields_and_files_are_found() {
        let body = [
            part("name=\"model\"", "whisper-1"),
            part("name=\"file\"; filename=\"a;b=\\\"c.wav\"\r\nContent-Type: audio/wav", "RIFF\r\n--x-2\r\n"),
            part("name=prompt", ""),
        ];
        let body = body.concat() + "--x-1--\r\n";
        let found = read(KIND, &body.replace("\\\"", "")).unwrap();
        let names: Vec<_> = found.iter().map(|(name, value, file)| (&**name, &**value, *file)).collect();
        let expected =
            [("model", "whisper-1", false), ("file", "RIFF\r\n--x-2\r\n", true), ("prompt", "", false)];
        assert_eq!(names, expected);
        assert!(
            read("multipart/form-data; charset=utf-8; boundary=\"x-1\"", &body.replace("\\\"", "")).is_some()
        );
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let model = part("name=\"model\"", "cheap");
        let end = "--x-1--";
        assert!(read(KIND, &(model.clone() + end)).is_some());
        for body in [
            format!("{model}{}{end}", part("name=\"model\"", "dear")),
            format!("{model}{}{end}", part("name=\"Model\"", "dear")),
            format!("preamble\r\n{model}{end}"),
            format!("{model}{end}\r\n{model}"),
            model.clone(),
            String::new(),
            part("name=\"mod\\\"el\"", "dear") + end,
            part("name=\"a\"; name=\"model\"", "dear") + end,
            part("name*=utf-8''model", "dear") + end,
            part("name=\"model\"\r\nContent-Transfer-Encoding: base64", "ZGVhcg==") + end,
            part("name=\"model\"\r\nContent-Disposition: form-data; name=\"x\"", "dear") + end,
            "--x-1\r\n\r\nbare\r\n--x-1--".to_owned(),
        ] {
            assert_eq!(read(KIND, &body), None, "{body}");
        }
        for kind in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=x-1; boundary=y",
            "multipart/mixed; boundary=x-1",
        ] {
            assert_eq!(read(kind, &(model.clone() + end)), None, "{kind}");
        }
    }
}
