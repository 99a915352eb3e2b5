//! Forms are routed: what is sent as `multipart/form-data`, with real servers and clients on both sides.

use crate::support::server::{Front, Received, Server};
use crate::support::{Reply, Whole, post, read, seeded};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use serde_json::json;
use tower_free_models::{Model, Target};

const BOUNDARY: &str = "------------------------d74496d66958873e";

/// A recording with bytes of every kind in it, some of them like a delimiter.
fn recording() -> Vec<u8> {
    let noise: Vec<u8> = (0..100_000_u32).map(|n| ((n * 7919) >> 3) as u8).collect();
    let nearly = format!("\r\n--{}\r\n--\r\n\r\n", &BOUNDARY[1..]);
    [
        b"RIFF\0\0",
        &noise[..],
        nearly.as_bytes(),
        &noise[..],
        b"\r\n",
    ]
    .concat()
}

/// The form that a client sends, around its first parts.
fn form(fields: &[(&str, &str)]) -> Bytes {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend_from_slice(part.as_bytes());
    }
    let file = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model.wav\"\r\n\
         Content-Type: audio/wav\r\n\r\n"
    );
    body.extend_from_slice(file.as_bytes());
    body.extend_from_slice(&recording());
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    body.into()
}

fn upload(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    Request::post(path)
        .header("content-type", kind)
        .body(Full::new(body.into()))
        .expect("a request")
}

/// A model that writes down what was said, at this server.
fn listener(server: &Server, provider: &str, model: &str) -> Target {
    let model = Model::new(model).output(["transcription"]);
    server.provider(provider).target(model).expect("free")
}

async fn send(front: &Front, request: Request<Full<Bytes>>) -> Whole {
    let mut caller = front.caller(Version::HTTP_11).await;
    read(caller.send(request).await).await
}

#[tokio::test]
async fn a_transcription_falls_back_and_its_recording_arrives_as_it_was() {
    let bad = Server::start(|_: &Received| Reply::error(503)).await;
    let good = Server::start(|_: &Received| Reply::json(200, json!({ "text": "hello" }))).await;
    let (stack, _) = seeded([
        listener(&bad, "bad", "whisper-large"),
        listener(&good, "good", "whisper-small"),
    ]);
    let front = Front::start(&stack).await;
    for (path, sent) in [
        ("/v1/audio/transcriptions", "/v1/audio/transcriptions"),
        ("/audio/translations", "/v1/audio/translations"),
    ] {
        let body = form(&[
            ("model", "bad/whisper-large"),
            ("route", "x"),
            ("language", "en"),
        ]);
        let response = send(&front, upload(path, body)).await;
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.json()["text"], "hello");
        assert_eq!(response.header("x-free-provider"), Some("good"));
        assert_eq!(response.header("x-free-dropped"), Some("route"));

        let seen = good.seen().pop().expect("a request");
        assert_eq!(seen.parts.uri.path(), sent);
        let expected = form(&[("model", "whisper-small"), ("language", "en")]);
        assert!(seen.body == expected, "{} bytes", seen.body.len());
        let length = expected.len().to_string();
        assert_eq!(seen.headers()["content-length"], [length]);
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        assert_eq!(seen.headers()["content-type"], [kind]);
    }
    let seen = bad.seen().pop().expect("it was asked first");
    assert!(seen.body == form(&[("model", "whisper-large"), ("language", "en")]));
}

#[tokio::test]
async fn a_form_without_a_model_is_given_one() {
    let server = Server::start(|_: &Received| Reply::json(200, json!({ "text": "hello" }))).await;
    let (stack, _) = seeded([listener(&server, "a", "whisper")]);
    let front = Front::start(&stack).await;
    let response = send(&front, upload("/v1/audio/transcriptions", form(&[]))).await;
    assert_eq!(response.status(), 200, "{response:?}");
    assert!(server.seen()[0].body == form(&[("model", "whisper")]));
}

#[tokio::test]
async fn a_transcript_may_come_as_bare_text() {
    let server = Server::start(|_: &Received| Reply::new(200, "text/plain", "hello\n")).await;
    let (stack, _) = seeded([listener(&server, "a", "whisper")]);
    let front = Front::start(&stack).await;
    let body = form(&[("response_format", "text")]);
    let response = send(&front, upload("/v1/audio/transcriptions", body)).await;
    assert_eq!((response.status(), response.text()), (200, "hello\n"));
    assert_eq!(response.header("x-free-attempts"), Some("1"));
}

#[tokio::test]
async fn silence_is_an_answer_and_nothing_is_none() {
    let silent = Server::start(|_: &Received| Reply::json(200, json!({ "text": "" }))).await;
    let empty = Server::start(|_: &Received| Reply::new(200, "application/json", "")).await;
    let (stack, health) = seeded([
        listener(&empty, "empty", "whisper-large"),
        listener(&silent, "silent", "whisper-small"),
    ]);
    let front = Front::start(&stack).await;
    let body = form(&[("model", "empty/whisper-large")]);
    let response = send(&front, upload("/v1/audio/transcriptions", body)).await;
    assert_eq!(
        (response.status(), response.text()),
        (200, r#"{"text":""}"#)
    );
    let trail = "empty/whisper-large=empty, silent/whisper-small=succeeded";
    assert_eq!(response.header("x-free-trail"), Some(trail));
    let snapshot = health.snapshot();
    let failed: u64 = snapshot
        .targets
        .iter()
        .map(|target| target.tally.failed)
        .sum();
    assert_eq!(failed, 1);
}

#[tokio::test]
async fn what_cannot_be_read_reaches_no_upstream() {
    let server = Server::start(|_: &Received| Reply::json(200, json!({ "text": "hello" }))).await;
    let (stack, _) = seeded([listener(&server, "a", "whisper")]);
    let stack = stack.fallback(|fallback| fallback.max_body(300_000));
    let front = Front::start(&stack).await;
    let path = "/v1/audio/transcriptions";
    let whole = form(&[("model", "whisper")]);
    let cut = whole.slice(..whole.len() - 10);
    let long = form(&[("prompt", &"x".repeat(200_000))]);
    let json = post(path, r#"{"model":"whisper"}"#);
    for (request, status, says) in [
        (upload(path, cut), 400, "closing delimiter"),
        (upload(path, long), 413, "300000 bytes"),
        (json, 415, "multipart/form-data"),
        (
            upload("/v1/chat/completions", whole),
            415,
            "application/json",
        ),
    ] {
        let response = send(&front, request).await;
        let message = response.json()["error"]["message"].to_string();
        assert_eq!(response.status(), status, "{message}");
        assert!(message.contains(says), "{message}");
    }
    assert_eq!(server.calls(), 0);
}
