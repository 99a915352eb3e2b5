//! Forms (`multipart/form-data`, RFC 7578), as far as they matter here.

use axum::http::{HeaderMap, header};
use serde_json::{Map, Value, json};

const KIND: &str = "multipart/form-data";

/// The fields of a form, if it is one: texts, the number `n`, and of files how many bytes they have.
pub(super) fn fields(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (kind, boundary) = content_type.split_once("boundary=")?;
    if !kind.trim().to_ascii_lowercase().starts_with(KIND) {
        return None;
    }
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let delimiter = format!("\r\n--{boundary}");
    // The first one may stand at the beginning.
    let (_, mut rest) = cut(body, &delimiter.as_bytes()[2..])?;
    let mut fields = Map::new();
    while let Some((part, after)) = cut(rest, delimiter.as_bytes()) {
        rest = after;
        if let Some((name, value)) = field(part) {
            fields.insert(name, value);
        }
    }
    Some(Value::Object(fields))
}

fn field(part: &[u8]) -> Option<(String, Value)> {
    let (head, content) = cut(part, b"\r\n\r\n")?;
    let head = std::str::from_utf8(head).ok()?;
    let (_, name) = head.split_once(" name=\"")?;
    let (name, _) = name.split_once('"')?;
    let text = std::str::from_utf8(content).unwrap_or_default();
    let value = match name {
        _ if head.contains(" filename=\"") => json!(content.len()),
        "n" => json!(text.parse::<u64>().ok()),
        _ => json!(text),
    };
    Some((name.to_owned(), value))
}

/// What is before and after the first of these.
fn cut<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(by.len()).position(|window| window == by)?;
    Some((&bytes[..at], &bytes[at + by.len()..]))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_form_is_its_texts_and_the_sizes_of_its_files() {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("multipart/form-data; boundary=\"b\"");
        headers.insert(header::CONTENT_TYPE, kind);
        let body = "--b\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n5 cats\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n2\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\x01--b\r\n--b--\r\n";
        assert_eq!(
            fields(&headers, body.as_bytes()),
            Some(json!({ "prompt": "5 cats", "n": 2, "file": 4 }))
        );
        assert_eq!(fields(&HeaderMap::new(), body.as_bytes()), None);
    }
}
