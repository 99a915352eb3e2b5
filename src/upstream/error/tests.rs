use proptest::prelude::*;

use super::*;

fn read(status: u16, body: &[u8]) -> UpstreamError {
    let status = StatusCode::from_u16(status).unwrap();
    UpstreamError::read(status, &HeaderMap::new(), body.to_vec())
}

/// What becomes of an error of this status; `None` where it goes back as it was sent.
fn answer(status: u16, body: &[u8]) -> Option<Value> {
    let answer = read(status, body).into_openai("acme");
    (answer != body).then(|| serde_json::from_slice(&answer).unwrap())
}

fn made(body: &[u8]) -> Option<Value> {
    answer(400, body)
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
        let answer = answer(status, b"busy").unwrap();
        assert_eq!(answer["error"]["type"], kind, "{status}");
    }
}

#[test]
fn what_is_cut_short_gives_what_came_before() {
    let error = made(br#"{"error":{"message":"too long","code":"c","more":"xxxx"#).unwrap();
    assert_eq!(error["error"]["message"], "too long");
    let error = made(br#"{"echo":"xxxxxxxxx"#).unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("acme answered with status 400"),
        "{message}"
    );
    assert_eq!(error["error"]["metadata"]["raw"], r#"{"echo":"xxxxxxxxx"#);
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

fn said(body: &str) -> Option<String> {
    read(400, body.as_bytes()).summary()
}

#[test]
fn a_page_for_browsers_says_nothing() {
    assert_eq!(said("<!DOCTYPE html><html>Access denied</html>"), None);
    assert_eq!(said(""), None);
    assert_eq!(said("{}"), None);
}

#[test]
fn a_message_is_short_and_fits_a_line() {
    let long =
        said(&serde_json::json!({ "error": "ä\u{7}\n\u{85} ".repeat(1000) }).to_string()).unwrap();
    assert!(long.chars().count() <= MAX_SUMMARY);
    assert!(long.starts_with("ä ä"));
    assert!(!long.contains(char::is_control));
}

#[test]
fn a_status_is_a_number_that_can_be_one() {
    let status = |body: &str| read(400, body.as_bytes()).envelope.status;
    assert_eq!(status(r#"{"error":{"code":429}}"#), Some(429));
    assert_eq!(status(r#"{"error":{"code":"503"}}"#), Some(503));
    assert_eq!(
        status(r#"{"code":"1300","raw_status_code":429}"#),
        Some(429)
    );
    assert_eq!(status(r#"{"error":{"http_status":429}}"#), Some(429));
    assert_eq!(status(r#"{"error":{"code":4006}}"#), None);
    assert_eq!(status(r#"{"error":{"code":200}}"#), None);
    assert_eq!(status(r#"{"error":{"code":"server_error"}}"#), None);
}

#[test]
fn a_body_cut_short_gives_what_came_before_and_its_last_string_only_if_nothing_else_speaks() {
    let error = read(
        429,
        br#"{"error":{"code":429,"message":"busy","metadata":{"raw":"mod"#,
    );
    let envelope = &error.envelope;
    assert_eq!((envelope.status, &*envelope.text), (Some(429), "busy\n"));
    let error = read(429, br#"{"error":{"message":"Rate limit exc"#);
    assert_eq!(error.message(), Some("Rate limit exc"));
}

#[test]
fn the_outermost_status_is_a_routers_own() {
    for body in [
        r#"{"error":{"code":429,"metadata":{"raw":"{\"error\":{\"code\":401}}"}}}"#,
        r#"{"error":{"details":[{"code":401}],"code":429}}"#,
        r#"{"errors":[{"code":401}],"status":429}"#,
    ] {
        assert_eq!(read(200, body.as_bytes()).status(), 429, "{body}");
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

    #[test]
    fn no_body_panics_or_grows(body in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,400}") {
        for body in [&body[..], text.as_bytes(), json!({ "error": text }).to_string().as_bytes()] {
            let error = read(400, body);
            prop_assert!(error.envelope.text.len() <= 8 * 1024 + 1);
            prop_assert!(error.summary().is_none_or(|message| message.chars().count() <= MAX_SUMMARY));
        }
    }
}
