//! A provider's error in OpenAI's envelope, with the provider's own text kept.
//!
//! OpenAI's clients read `error.message`, `error.type`, `error.param` and `error.code` and know no other envelope
//! (`ErrorResponse` of OpenAI's specification). An error that has this shape is left as it is. Any other becomes
//!
//! ```json
//! {"error": {"message": "…", "type": "…", "param": null, "code": null, "metadata": {"provider": "…", "raw": …}}}
//! ```
//!
//! where `type` follows from the status, the other three are the provider's, and `raw` is what it sent.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    provider::{Provider, redact_text},
    refusal::kind_of,
    upstream::error::ErrorBody,
};

/// The most bytes of a provider's body, and of a message made of it, that are passed on.
const MAX_RAW: usize = 4096;

/// Longer words are no codes or names of parameters.
const MAX_WORD: usize = 256;

/// What envelopes are made of, from the outside in: there lies what an error says of itself.
const ENVELOPES: &[&str] = &["error", "errors", "response", "choices"];

/// The body of an error as a provider sent it.
pub(crate) enum Sent<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// Its beginning.
    Cut(&'a [u8]),
    /// It is compressed, and so cannot be read.
    Encoded,
}

/// The error in OpenAI's envelope; `None` where it came in one.
pub(crate) fn openai_error(
    status: StatusCode,
    provider: &Provider,
    sent: &Sent<'_>,
) -> Option<Bytes> {
    let body = match sent {
        Sent::Whole(body) | Sent::Cut(body) => *body,
        Sent::Encoded => &[],
    };
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    let mut tree = serde_json::from_slice::<Value>(body).unwrap_or_default();
    // A reader of JSON undoes every spelling of a credential, also those that the body was not searched for.
    let as_sent = tree.clone();
    redact_tree(&mut tree, provider);
    if matches!(sent, Sent::Whole(_)) && is_openai_error(&tree) && tree == as_sent {
        return None;
    }
    let read = ErrorBody::of(body);
    let prose = || {
        let text = read.text.trim();
        // JSON that was cut before its words is not for people.
        let is_prose = !text.is_empty() && !text.starts_with(['{', '[']);
        is_prose.then(|| redact_text(text, provider))
    };
    let message = match read.html {
        true => None,
        false => words(&tree).or_else(prose),
    };
    let message = message.unwrap_or_else(|| without_words(status, provider, sent, read.html));
    let mut metadata = Map::new();
    metadata.insert("provider".to_owned(), provider.name().into());
    if !read.html && !body.is_empty() {
        metadata.insert("raw".to_owned(), raw(tree.clone(), body, provider));
    }
    let error = json!({
        "message": cut(&message),
        "type": kind_of(status),
        "param": scalar(&tree, "param").or_else(|| location(&tree)),
        "code": code(&tree, status),
        "metadata": metadata,
    });
    Some(Bytes::from(json!({ "error": error }).to_string()))
}

/// Whether a client of OpenAI's can read all of it: `message` is a string, and the others, where they are, a string or
/// null. Clients in typed languages fail at a number in `code`.
fn is_openai_error(body: &Value) -> bool {
    let error = &body["error"];
    error["message"].is_string()
        && ["type", "param", "code"]
            .iter()
            .all(|field| matches!(error[*field], Value::Null | Value::String(_)))
}

/// What is said to people, by any of the fields that providers say it in.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim())
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
        Value::Array(items) => {
            let mut all = Vec::new();
            for words in items.iter().filter_map(words) {
                if !all.contains(&words) && all.len() < 16 {
                    all.push(words);
                }
            }
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(fields) => words_of(fields),
        _ => None,
    }
}

fn words_of(fields: &Map<String, Value>) -> Option<String> {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| fields.get(*name).and_then(words))
    };
    // FastAPI's list of what does not fit: each entry has a place and a message.
    if let Some(message) = first(&["msg"]) {
        return Some(match fields.get("loc").and_then(place) {
            Some(place) => format!("{place}: {message}"),
            None => message,
        });
    }
    // A heading, such as a class of exceptions (sdnext) or the name of a status (NVIDIA), and what it is about.
    let heading = first(&["title", "error"]);
    let text = first(&["message", "detail", "errors", "details"]);
    match (heading, text) {
        // What the upstream of a router said is more than that it said something (OpenRouter).
        (None, Some(text)) if text == "Provider returned error" => {
            Some(relayed(fields).unwrap_or(text))
        }
        (Some(heading), Some(text)) if heading != text => Some(format!("{heading}: {text}")),
        (Some(one), _) | (None, Some(one)) => Some(one),
        (None, None) => first(&["response", "choices"]),
    }
}

/// OpenRouter's `metadata.raw`: prose, or the upstream's JSON as a string.
fn relayed(fields: &Map<String, Value>) -> Option<String> {
    let raw = fields.get("metadata")?.get("raw")?.as_str()?;
    let inner = serde_json::from_str::<Value>(raw).ok();
    // What is quoted in the quote is not read: that is as deep as it goes.
    let said = |inner: &Value| inner["error"]["message"].as_str().map(str::to_owned);
    Some(
        inner
            .as_ref()
            .and_then(said)
            .unwrap_or_else(|| raw.trim().to_owned()),
    )
    .filter(|words| !words.is_empty())
}

/// `["body", "messages", 0, "content"]` as OpenAI writes a place in a request: `messages[0].content`.
fn place(loc: &Value) -> Option<String> {
    let mut place = String::new();
    for (i, step) in loc.as_array()?.iter().enumerate() {
        match step {
            Value::String(part) if i == 0 && part == "body" => {}
            Value::String(name) if place.is_empty() => place.push_str(name),
            Value::String(name) => {
                place.push('.');
                place.push_str(name);
            }
            Value::Number(index) => place.push_str(&format!("[{index}]")),
            _ => {}
        }
    }
    (!place.is_empty()).then_some(place)
}

/// The place that FastAPI's first complaint is about.
fn location(body: &Value) -> Option<String> {
    let detail = match &body["detail"] {
        Value::Null => &body["message"]["detail"],
        detail => detail,
    };
    place(&detail[0]["loc"]).filter(|place| place.len() <= MAX_WORD)
}

/// A field of the error as text: of several the innermost one.
fn scalar(value: &Value, field: &str) -> Option<String> {
    let inner = match value {
        Value::Array(items) => return items.iter().find_map(|item| scalar(item, field)),
        value => ENVELOPES
            .iter()
            .find_map(|envelope| scalar(value.get(envelope)?, field)),
    };
    inner.or_else(|| match value.get(field)? {
        Value::String(text) if (1..=MAX_WORD).contains(&text.len()) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// The provider's code. A number that only repeats the status gives way to a word: Google's `status`, the `name` that
/// validators have, the class of exceptions that sdnext has for `error`.
fn code(body: &Value, status: StatusCode) -> Option<String> {
    let code = scalar(body, "code");
    let says_nothing = |code: &String| *code == status.as_u16().to_string();
    if code.as_ref().is_some_and(|code| !says_nothing(code)) {
        return code;
    }
    let is_name = |word: &String| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let class = || {
        body["error"]
            .as_str()
            .filter(|_| body["detail"].is_string())
    };
    scalar(body, "status")
        .filter(is_name)
        .or_else(|| scalar(body, "name").filter(is_name))
        .or_else(|| class().map(str::to_owned).filter(is_name))
        .or(code)
}

/// What to say where the provider said nothing that a person could read.
fn without_words(status: StatusCode, provider: &Provider, sent: &Sent<'_>, html: bool) -> String {
    let name = provider.name();
    match sent {
        _ if html => {
            format!("{name} answered with a web page instead of an error (status {status}).")
        }
        Sent::Encoded => {
            format!(
                "{name} answered with status {status}, and a compressed body although none was asked for."
            )
        }
        _ => format!("{name} answered with status {status}, and did not say why."),
    }
}

/// The body itself: as JSON if it is JSON, else its text; where it is too long, the beginning of its text.
fn raw(tree: Value, body: &[u8], provider: &Provider) -> Value {
    if !tree.is_null() {
        let text = tree.to_string();
        return match text.len() <= MAX_RAW {
            true => tree,
            false => cut(&text).into(),
        };
    }
    cut(&redact_text(&String::from_utf8_lossy(body), provider)).into()
}

fn redact_tree(value: &mut Value, provider: &Provider) {
    match value {
        // JSON in a string, as routers relay it, has spellings of its own; they are known there.
        Value::String(text) => *text = redact_text(text, provider),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| redact_tree(item, provider)),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(key, mut value)| {
                    redact_tree(&mut value, provider);
                    (redact_text(&key, provider), value)
                })
                .collect();
        }
        _ => {}
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_RAW);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn acme() -> Provider {
        Provider::new("acme")
            .base_url("http://acme.test/v1")
            .key("sk-acme-1")
            .build()
            .unwrap()
    }

    /// What becomes of an error of status 400.
    fn made(body: &[u8]) -> Option<Value> {
        let error = openai_error(StatusCode::BAD_REQUEST, &acme(), &Sent::Whole(body))?;
        Some(serde_json::from_slice(&error).unwrap())
    }

    fn error(body: &str) -> Value {
        let mut made = made(body.as_bytes()).unwrap_or_else(|| panic!("unchanged: {body}"));
        made["error"].take()
    }

    #[test]
    fn what_is_in_openai_s_envelope_stays_as_it_is() {
        for body in [
            r#"{"error":{"message":"busy","type":"t","param":null,"code":null}}"#,
            r#"{"error":{"message":"busy","code":"c"}}"#,
            r#" {"error": {"message": "busy", "param": "n", "more": [1]}, "user_id": "u"} "#,
            r#"{"success":false,"error":{"name":"ZodError","message":"[…]"}}"#,
            r#"{"type":"error","error":{"type":"t","message":"busy"}}"#,
        ] {
            assert_eq!(made(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_number_as_code_is_not_openai_s() {
        let error = error(r#"{"error":{"message":"busy","type":"t","code":4006}}"#);
        assert_eq!(
            (&error["message"], &error["code"]),
            (&json!("busy"), &json!("4006"))
        );
    }

    #[test]
    fn every_other_envelope_becomes_openai_s_with_the_provider_s_words() {
        for (body, message, param, code) in [
            (r#"{"error":"busy"}"#, "busy", json!(null), json!(null)),
            (
                r#"{"code":"invalid-argument","error":"busy"}"#,
                "busy",
                json!(null),
                json!("invalid-argument"),
            ),
            (
                r#"{"message":"busy","type":"t","param":"quota","code":"c"}"#,
                "busy",
                json!("quota"),
                json!("c"),
            ),
            (
                r#"{"object":"error","message":"busy","type":"t","param":null,"code":"3051","raw_status_code":400}"#,
                "busy",
                json!(null),
                json!("3051"),
            ),
            (
                r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","seed"],"msg":"Extra inputs are not permitted"}]},"code":null}"#,
                "seed: Extra inputs are not permitted",
                json!("seed"),
                json!(null),
            ),
            (r#"{"detail":"busy"}"#, "busy", json!(null), json!(null)),
            (
                r#"{"detail":[{"loc":["body","messages",0,"content"],"msg":"Field required"},{"loc":["body","n"],"msg":"Too large"}]}"#,
                "messages[0].content: Field required; n: Too large",
                json!("messages[0].content"),
                json!(null),
            ),
            (
                r#"{"status":400,"title":"Bad Request"}"#,
                "Bad Request",
                json!(null),
                json!(null),
            ),
            (
                r#"{"status":400,"title":"Bad Request","detail":"busy"}"#,
                "Bad Request: busy",
                json!(null),
                json!(null),
            ),
            (
                r#"{"id":"x","message":"busy"}"#,
                "busy",
                json!(null),
                json!(null),
            ),
            (
                r#"[{"error":{"code":400,"message":"busy","status":"INVALID_ARGUMENT"}}]"#,
                "busy",
                json!(null),
                json!("INVALID_ARGUMENT"),
            ),
            (
                r#"{"errors":[{"code":4006,"message":"busy"}],"success":false,"result":{}}"#,
                "busy",
                json!(null),
                json!("4006"),
            ),
            (
                r#"{"error":"OutOfMemoryError","code":400,"detail":"busy","errors":"e"}"#,
                "OutOfMemoryError: busy",
                json!(null),
                json!("OutOfMemoryError"),
            ),
            (
                r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"busy\"}}"}}}"#,
                "busy",
                json!(null),
                json!("400"),
            ),
            (
                r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"busy"}}}"#,
                "busy",
                json!(null),
                json!("400"),
            ),
            (
                r#"{"choices":[{"message":{"content":"half"},"finish_reason":"error","error":{"code":502,"message":"busy"}}]}"#,
                "busy",
                json!(null),
                json!("502"),
            ),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"server_error","message":"busy"}}}"#,
                "busy",
                json!(null),
                json!("server_error"),
            ),
        ] {
            let error = error(body);
            assert_eq!(error["message"], message, "{body}");
            assert_eq!(error["type"], "invalid_request_error", "{body}");
            assert_eq!(error["param"], param, "{body}");
            assert_eq!(error["code"], code, "{body}");
            let raw: Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                error["metadata"],
                json!({ "provider": "acme", "raw": raw }),
                "{body}"
            );
        }
    }

    #[test]
    fn plain_text_is_the_message() {
        let error = error(" error code: 1010\n");
        assert_eq!(error["message"], "error code: 1010");
        assert_eq!(error["metadata"]["raw"], " error code: 1010\n");
    }

    #[test]
    fn a_web_page_is_named_and_not_shown() {
        let error = error("<!DOCTYPE html><title>Blocked</title>");
        assert_eq!(
            error["message"],
            "acme answered with a web page instead of an error (status 400 Bad Request)."
        );
        assert_eq!(error["metadata"], json!({ "provider": "acme" }));
    }

    #[test]
    fn an_error_without_words_still_has_a_message() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"error":{}}"#,
            r#"{"error":{"message":7}}"#,
        ] {
            let message = error(body)["message"].clone();
            let message = message.as_str().unwrap();
            assert!(
                message.contains("acme") && message.contains("400"),
                "{body}: {message}"
            );
        }
    }

    #[test]
    fn the_type_follows_from_the_status() {
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "not_found_error"),
            (422, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "server_error"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let body = openai_error(status, &acme(), &Sent::Whole(b"busy")).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["type"], kind, "{status}");
        }
    }

    #[test]
    fn what_is_cut_short_gives_what_came_before() {
        let sent = Sent::Cut(br#"{"error":{"message":"too long","code":"c","more":"xxxx"#);
        let body = openai_error(StatusCode::BAD_REQUEST, &acme(), &sent).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["message"], "too long");
        let sent = Sent::Cut(br#"{"echo":"xxxxxxxxx"#);
        let body = openai_error(StatusCode::BAD_REQUEST, &acme(), &sent).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("acme answered with status 400"),
            "{message}"
        );
        assert_eq!(body["error"]["metadata"]["raw"], r#"{"echo":"xxxxxxxxx"#);
    }

    #[test]
    fn a_long_body_is_cut() {
        for body in [
            "ä".repeat(9000),
            json!({ "detail": "ä".repeat(9000) }).to_string(),
        ] {
            let error = error(&body);
            assert!(error["message"].as_str().unwrap().len() <= MAX_RAW);
            assert!(error["metadata"]["raw"].as_str().unwrap().len() <= MAX_RAW);
        }
    }

    #[test]
    fn no_spelling_brings_a_credential_back() {
        for body in [
            r#"{"detail":"bad key \u0073k-acme-1","sk\u002dacme-1":{"code":"s\u006b-acme-1"}}"#,
            r#"{"error":{"message":"bad key \u0073k-acme-1","type":"t"}}"#,
            r#"{"error":{"message":"Provider returned error","code":1,"metadata":{"raw":"{\"error\":{\"message\":\"bad key \\u0073k-acme-1\"}}"}}}"#,
            r#"{"error":{"message":"busy","metadata":{"raw":"[\"bad key \\u0073k-acme-1\"]"}}}"#,
        ] {
            let made = made(body.as_bytes()).unwrap().to_string();
            for spelling in ["sk-acme-1", "u0073k-acme-1"] {
                assert!(!made.contains(spelling), "{made}");
            }
            assert!(made.contains("bad key [redacted]"), "{made}");
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let key = prop::sample::select(vec![
                "error", "errors", "message", "detail", "details", "loc", "msg", "code", "param",
                "type", "status", "title", "metadata", "raw", "choices", "response", "name",
            ]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((key, inner), 0..5).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_the_caller_sees_openai_s_envelope(tree in tree(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for body in [tree.to_string().into_bytes(), bytes] {
                if let Some(made) = made(&body) {
                    prop_assert!(is_openai_error(&made), "{made}");
                    prop_assert!(made["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
                } else {
                    prop_assert!(is_openai_error(&serde_json::from_slice(&body).unwrap()));
                }
            }
        }
    }
}
