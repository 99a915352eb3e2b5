//! What goes over the wire, with real servers and clients on both sides.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::support::server::{FRONT, Front, RawServer, Received, Server, all};
use crate::support::{
    Reply, Step, bare_provider, chat, chat_with, comment, delta, post, read, role, seeded,
    streamed_chat, target, without_waiting,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::json;
use tokio::sync::mpsc;
use tower_free_models::{Provider, provider::FreeRule};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// What no provider may see of a caller.
const CANARIES: [&str; 13] = [
    "authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "proxy-authorization",
    "openai-organization",
    "openai-project",
    "x-forwarded-for",
    "forwarded",
    "x-free-pin",
    "x-session-token",
    "origin",
];

/// A request with something that must not be passed on in every header that could carry it.
fn with_canaries(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    for name in CANARIES {
        let canary = format!("canary-in-{name}").parse().expect("a value");
        request.headers_mut().insert(name, canary);
    }
    request
}

fn expected<const N: usize>(headers: [(&str, &str); N]) -> BTreeMap<String, Vec<String>> {
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .collect()
}

/// The headers without the router's own mark, whose value is different each time.
fn marked(received: &Received) -> BTreeMap<String, Vec<String>> {
    let mut headers = received.headers();
    let via = headers.remove("x-free-via").expect("a mark");
    assert!(via.len() == 1 && via[0].len() == 16, "{via:?}");
    headers
}

async fn answering() -> Server {
    Server::start(|_: &Received| Reply::answer("yes")).await
}

// What is sent.

#[tokio::test]
async fn a_provider_receives_exactly_these_headers() {
    for version in VERSIONS {
        let upstream = answering().await;
        let (stack, _) = seeded(upstream.targets("a", &["m"]));
        let front = Front::start(&stack).await;
        let mut request = with_canaries(chat());
        let headers = request.headers_mut();
        for (name, value) in [
            ("accept", "application/json"),
            ("accept-encoding", "gzip, br"),
            ("content-digest", "sha-256=:AAAA:"),
            ("repr-digest", "sha-256=:AAAA:"),
            ("want-content-digest", "sha-256=1"),
            ("digest", "md5=AAAA"),
            ("content-md5", "AAAA"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("trailer", "x-sum"),
            ("traceparent", "00-0-0-01"),
            ("user-agent", "tester/1"),
            ("x-stainless-lang", "rust"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if version == Version::HTTP_11 {
            // HTTP/2 has no such headers.
            for (name, value) in [
                ("connection", "keep-alive, X-Request-Id, x-hop, upgrade"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("upgrade", "h2c"),
                ("x-hop", "of this hop"),
                // The list would pass it, but `Connection` names it.
                ("x-request-id", "of this hop"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        let response = read(front.caller(version).await.send(request).await).await;
        assert_eq!(response.status(), 200, "{version:?} {response:?}");

        let seen = upstream.seen();
        let length = seen[0].body.len().to_string();
        let authority = upstream.authority();
        assert_eq!(
            marked(&seen[0]),
            expected([
                ("accept", "application/json"),
                ("accept-encoding", "identity"),
                ("authorization", "Bearer key-of-a"),
                ("content-length", &length),
                ("content-type", "application/json"),
                ("host", &authority),
                ("traceparent", "00-0-0-01"),
                ("user-agent", "tester/1"),
            ]),
            "{version:?}"
        );
        assert_eq!(seen[0].parts.version, Version::HTTP_11);
        assert_eq!(seen[0].parts.method, Method::POST);
        assert_eq!(seen[0].parts.uri, "/v1/chat/completions");
    }
}

#[tokio::test]
async fn on_the_wire_there_is_one_request_line_one_host_and_one_body() {
    let upstream = RawServer::start(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 46\r\n\r\n\
            {\"choices\":[{\"message\":{\"content\":\"a word\"}}]}",
    )
    .await;
    let provider = Provider::new("raw")
        .base_url(&format!("http://{}/api/v1/", upstream.address))
        .free(FreeRule::All)
        .build()
        .expect("a provider");
    let (stack, _) = seeded([target(&provider, "the-model")]);
    let front = Front::start(&stack).await;
    let request = post("/v1/chat/completions?api-version=1", r#"{"model":"free"}"#);
    let response = read(front.caller(Version::HTTP_2).await.send(request).await).await;
    assert_eq!(response.status(), 200, "{response:?}");

    let seen = upstream.seen();
    let via = seen[0]
        .split("x-free-via: ")
        .nth(1)
        .and_then(|rest| rest.get(..16))
        .expect("a mark");
    let mut lines: Vec<_> = seen[0].split("\r\n").collect();
    lines[1..6].sort_unstable();
    let (host, via) = (
        format!("host: {}", upstream.address),
        format!("x-free-via: {via}"),
    );
    assert_eq!(
        lines,
        [
            "POST /api/v1/chat/completions?api-version=1 HTTP/1.1",
            "accept-encoding: identity",
            "content-length: 21",
            "content-type: application/json",
            &host,
            &via,
            "",
            r#"{"model":"the-model"}"#,
        ]
    );
}

#[tokio::test]
async fn no_credential_of_the_caller_arrives_anywhere() {
    for version in VERSIONS {
        // Everybody is asked.
        let (a, b) = (
            Server::start(|_: &Received| Reply::error(503)).await,
            Server::start(|_: &Received| Reply::error(429)).await,
        );
        let keyless = Provider::new("keyless")
            .base_url(&b.url())
            .free(FreeRule::All)
            .build()
            .expect("a provider");
        let mut targets = a.targets("a", &["m", "n"]);
        targets.extend(b.targets("b", &["m"]));
        targets.push(target(&keyless, "k"));
        let (stack, _) = seeded(targets);
        let stack = without_waiting(stack);
        let front = Front::start(&stack).await;
        let response = front
            .caller(version)
            .await
            .send(with_canaries(chat()))
            .await;
        assert_eq!(read(response).await.header("x-free-attempts"), Some("4"));
        for server in [&a, &b] {
            assert_eq!(server.calls(), 2);
            for received in server.seen().iter() {
                let everything = received.everything();
                assert!(!everything.contains("canary"), "{everything}");
                assert!(!everything.contains(FRONT), "{everything}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_goes_to_its_own_provider_only() {
    // Every other answer finds the window too small, which is held against nobody.
    let sometimes = || {
        let calls = AtomicUsize::new(0);
        move |_: &Received| match calls.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Reply::json(
                400,
                json!({ "error": { "message": "too long", "code": "context_length_exceeded" } }),
            ),
            _ => Reply::answer("yes"),
        }
    };
    let (a, b) = (
        Server::start(sometimes()).await,
        Server::start(sometimes()).await,
    );
    let mut targets = a.targets("a", &["m", "n"]);
    targets.extend(b.targets("b", &["m", "n"]));
    let (stack, _) = seeded(targets);
    let front = Front::start(&stack).await;
    let mut caller = front.caller(Version::HTTP_11).await;
    let mut attempts = 0;
    for _ in 0..60 {
        let response = read(caller.send(chat()).await).await;
        let made = response.header("x-free-attempts").expect("a count");
        attempts += made.parse::<usize>().expect("a number");
    }
    assert_eq!(a.calls() + b.calls(), attempts);
    for (server, key) in [(&a, "Bearer key-of-a"), (&b, "Bearer key-of-b")] {
        assert!(server.calls() > 20, "{} of {attempts}", server.calls());
        for received in server.seen().iter() {
            assert_eq!(received.headers()["authorization"], [key]);
            let others = if key.ends_with('a') {
                "key-of-b"
            } else {
                "key-of-a"
            };
            assert!(!received.everything().contains(others));
        }
    }
}

#[tokio::test]
async fn a_keyless_provider_gets_no_credential() {
    let upstream = answering().await;
    let local = Provider::new("local")
        .base_url(&upstream.url())
        .free(FreeRule::All)
        .build()
        .expect("a provider");
    let (stack, _) = seeded([target(&local, "m")]);
    let front = Front::start(&stack).await;
    let request = with_canaries(chat());
    let response = front.caller(Version::HTTP_11).await.send(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(upstream.seen()[0].header("authorization"), None);
}

#[tokio::test]
async fn without_a_base_url_the_address_the_host_and_the_credential_stay() {
    let upstream = answering().await;
    let (stack, _) = seeded([target(&bare_provider("bare"), "m")]);
    let front = Front::with_home(&stack, upstream.address).await;
    let mut request = post("/somewhere/v1/chat/completions?b=2&a=1", r#"{"model":"x"}"#);
    for (name, value) in [
        ("authorization", "Bearer the-callers-own"),
        ("x-api-key", "its-own-too"),
        ("x-custom", "as it was"),
        ("content-md5", "no longer true"),
        ("x-free-pin", "false"),
    ] {
        let value = HeaderValue::from_static(value);
        request.headers_mut().insert(name, value);
    }
    let response = front.caller(Version::HTTP_11).await.send(request).await;
    assert_eq!(response.status(), 200);
    let seen = upstream.seen();
    assert_eq!(seen[0].text(), r#"{"model":"m"}"#);
    assert_eq!(seen[0].parts.uri, "/somewhere/v1/chat/completions?b=2&a=1");
    assert_eq!(
        marked(&seen[0]),
        expected([
            ("accept-encoding", "identity"),
            ("authorization", "Bearer the-callers-own"),
            ("content-length", "13"),
            ("content-type", "application/json"),
            ("host", FRONT),
            ("x-api-key", "its-own-too"),
            ("x-custom", "as it was"),
        ])
    );
}

#[tokio::test]
async fn the_path_of_the_base_is_kept_and_its_version_is_never_doubled() {
    let upstream = answering().await;
    for (base, arrives) in [
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/api/v1", "/api/v1/chat/completions"),
        ("/v1beta/openai", "/v1beta/openai/chat/completions"),
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
    ] {
        for called in [
            "/v1/chat/completions",
            "/openai/v1/chat/completions",
            "/chat/completions",
        ] {
            let provider = Provider::new("p")
                .base_url(&format!("http://{}{base}", upstream.address))
                .free(FreeRule::All)
                .build()
                .expect("a provider");
            let (stack, _) = seeded([target(&provider, "m")]);
            let front = Front::start(&stack).await;
            let request = post(
                &format!("{called}?a=1&api-version=2024-10-21&d"),
                r#"{"messages":[]}"#,
            );
            let response = front.caller(Version::HTTP_11).await.send(request).await;
            assert_eq!(response.status(), 200);
            let seen = upstream.seen().pop().expect("a request");
            let expected = format!("{arrives}?api-version=2024-10-21");
            assert_eq!(seen.parts.uri, expected.as_str(), "{base} {called}");
        }
    }
}

#[tokio::test]
async fn but_for_the_model_every_byte_arrives_as_it_was_sent() {
    let long = "provider/a-model-with-a-name-that-is-longer-than-most:free";
    for model in ["m", long] {
        let upstream = answering().await;
        let (stack, _) = seeded(upstream.targets("a", &[model]));
        let front = Front::start(&stack).await;
        let mut caller = front.caller(Version::HTTP_11).await;
        for (before, asked, after) in [
            ("{\"model\":", "\"free\"", "}"),
            (
                "\r\n{ \"temperature\" : 1.0e+0,\t\"model\" : ",
                "\"gpt-4\"",
                " , \"messages\":[ {\"role\":\"user\",\"content\":\"\\u00e9 \u{e9} \\/ \\ud83d\\ude00\"} ] }\n",
            ),
            (
                "{\"big\":123456789012345678901234567890.10,\"model\":",
                "null",
                ",\"big\":-0.0,\"nested\":{\"model\":\"stays\"}}",
            ),
            (
                "{\"\":[[],{}],\"model\":",
                "{\"a\":[1]}",
                ", \"x\":\"\u{1f600}\"}",
            ),
        ] {
            let request = post("/v1/chat/completions", format!("{before}{asked}{after}"));
            let response = read(caller.send(request).await).await;
            assert_eq!(response.status(), 200, "{response:?}");
            let seen = upstream.seen().pop().expect("a request");
            let sent = format!("{before}\"{model}\"{after}");
            assert_eq!(seen.text(), sent);
            assert_eq!(
                seen.header("content-length"),
                Some(&*sent.len().to_string())
            );
        }
    }
}

#[tokio::test]
async fn an_upload_in_chunks_arrives_whole_and_with_its_length() {
    for version in VERSIONS {
        let upstream = answering().await;
        let (stack, _) = seeded(upstream.targets("a", &["m"]));
        let front = Front::start(&stack).await;
        let whole = format!(
            r#"{{"model":"free","messages":[{{"role":"user","content":"{}"}}]}}"#,
            "word ".repeat(60_000)
        );
        let frames: Vec<_> = whole
            .as_bytes()
            .chunks(7000)
            .map(|chunk| Ok::<_, std::io::Error>(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(StreamBody::new(futures_util::stream::iter(frames)))
            .expect("a request");
        let response = front.caller(version).await.send(request).await;
        assert_eq!(response.status(), 200);
        let seen = upstream.seen();
        let sent = whole.replacen("free", "m", 1);
        assert!(seen[0].text() == sent, "{version:?}");
        assert_eq!(
            seen[0].header("content-length"),
            Some(&*sent.len().to_string())
        );
        assert_eq!(seen[0].header("transfer-encoding"), None);
    }
}

// What comes back.

#[tokio::test]
async fn dealings_of_the_provider_with_its_client_do_not_reach_the_caller() {
    for version in VERSIONS {
        let upstream = Server::start(|_: &Received| {
            Reply::answer("yes")
                .header("set-cookie", "session=1")
                .header("alt-svc", "h3=\":443\"")
                .header("strict-transport-security", "max-age=1")
                .header("connection", "x-of-the-hop, keep-alive")
                .header("x-of-the-hop", "1")
                .header("keep-alive", "timeout=5")
                .header("proxy-authenticate", "Basic")
                .header("upgrade", "h2c")
                .header("x-debug", "you sent Bearer key-of-a")
                .header("access-control-allow-origin", "*")
                .header("openai-organization", "org-of-the-pool")
                .header("cf-ray", "1")
                .header("x-free-model", "of-another-router")
                .header("x-free-made-up", "1")
                .header("x-request-id", "req-1")
                .header("x-ratelimit-remaining-requests", "9")
                .header("openai-processing-ms", "7")
        })
        .await;
        let (stack, _) = seeded(upstream.targets("a", &["m"]));
        let front = Front::start(&stack).await;
        let response = front.caller(version).await.send(chat()).await;
        let headers = all(response.headers());
        let names: Vec<_> = headers.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "content-length",
                "content-type",
                "date",
                "openai-processing-ms",
                "x-free-attempts",
                "x-free-model",
                "x-free-provider",
                "x-free-trail",
                "x-ratelimit-remaining-requests",
                "x-request-id",
            ],
            "{version:?}"
        );
        assert_eq!(headers["x-free-trail"], ["a/m=succeeded"]);
        assert_eq!(headers["x-free-model"], ["m"]);
    }
}

#[tokio::test]
async fn an_error_that_echoes_the_key_is_redacted() {
    for status in [400, 401, 503] {
        let upstream = Server::start(move |_: &Received| {
            let message = "Incorrect API key provided: key-of-a. Not key-of-a!";
            Reply::json(
                status,
                json!({ "error": { "message": message, "key": "key-of-a" } }),
            )
            .header("x-your-key", "key-of-a")
        })
        .await;
        let (stack, _) = seeded(upstream.targets("a", &["m"]));
        let front = Front::start(&stack).await;
        let response = front.caller(Version::HTTP_11).await.send(chat()).await;
        let response = read(response).await;
        let all = format!("{response:?}");
        assert!(
            all.contains("Incorrect API key provided: redacted. Not redacted!"),
            "{all}"
        );
        assert!(!all.contains("key-of-a"), "{all}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = answering().await;
    let location = format!("{}/chat/completions", elsewhere.url());
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let moved = Server::start(move |_: &Received| {
            Reply::new(status, "text/html", "moved").header("location", &location)
        })
        .await;
        let (stack, _) = seeded(moved.targets("a", &["m"]));
        let stack = without_waiting(stack);
        let front = Front::start(&stack).await;
        let response = front.caller(Version::HTTP_11).await.send(chat()).await;
        assert_eq!(response.status(), 503);
        assert!(!response.headers().contains_key("location"));
        assert_eq!(moved.calls(), 1);
    }
    assert_eq!(elsewhere.accepted(), 0);
}

/// An answer and its trailers. A server of hyper would send none, since nobody upstream is asked for them.
const WITH_TRAILERS: [&[u8]; 2] = [
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
        2e\r\n{\"choices\":[{\"message\":{\"content\":\"a word\"}}]}\r\n0\r\nx-sum: 42\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
        3b\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a longer word\"}}]}\n\n\r\n\
        e\r\ndata: [DONE]\n\n\r\n0\r\nx-sum: 42\r\n\r\n",
];

#[tokio::test]
async fn trailers_of_an_answer_survive() {
    for version in VERSIONS {
        for (answer, request) in WITH_TRAILERS.into_iter().zip([chat(), streamed_chat()]) {
            let upstream = RawServer::start(answer).await;
            let provider = Provider::new("raw")
                .base_url(&format!("http://{}/v1", upstream.address))
                .free(FreeRule::All)
                .build()
                .expect("a provider");
            let (stack, _) = seeded([target(&provider, "m")]);
            let front = Front::start(&stack).await;
            let mut request = request;
            // Without this an HTTP/1 server sends none.
            let te = HeaderValue::from_static("trailers");
            request.headers_mut().insert("te", te);
            let response = front.caller(version).await.send(request).await;
            assert_eq!(response.status(), 200);
            let whole = response.into_body().collect().await.expect("a whole body");
            let sum = whole.trailers().and_then(|trailers| trailers.get("x-sum"));
            assert_eq!(
                sum.map(HeaderValue::as_bytes),
                Some(&b"42"[..]),
                "{version:?}"
            );
            assert!(whole.to_bytes().windows(4).any(|word| word == b"word"));
        }
    }
}

// Connections.

#[tokio::test]
async fn after_a_small_failure_the_connection_is_used_again() {
    let calls = AtomicUsize::new(0);
    let upstream = Server::start(
        move |_: &Received| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::error(503),
            1 => Reply::error(429),
            // Its length is not stated, so it is sent in chunks.
            2 => Reply {
                steps: vec![Step::Data("{".into()), Step::Data("}".into())],
                ..Reply::error(500)
            },
            3 => Reply::json(
                200,
                json!({ "error": { "code": 502, "message": "hidden" } }),
            ),
            4 => Reply::json(200, json!({ "choices": [] })),
            _ => Reply::answer("yes"),
        },
    )
    .await;
    let (stack, _) = seeded(upstream.targets("a", &["m", "n", "o", "p", "q", "r"]));
    // One attempt each: a client that is asked again at once may open another connection before the first is back.
    let front = Front::start(&stack.fallback(|fallback| fallback.max_attempts(1))).await;
    let mut caller = front.caller(Version::HTTP_11).await;
    for n in 0..6 {
        let response = read(caller.send(chat()).await).await;
        assert_eq!(response.status() == 200, n == 5, "{n} {response:?}");
        assert_eq!((upstream.calls(), upstream.accepted()), (n + 1, 1));
    }
}

#[tokio::test]
async fn an_endless_error_is_not_read_to_its_end() {
    let upstream = Server::start(|received: &Received| {
        if received.model() == "endless" {
            let steps = vec![Step::Data(vec![b' '; 100_000].into()); 1000];
            Reply {
                steps,
                ..Reply::error(503)
            }
        } else {
            Reply::answer("yes")
        }
    })
    .await;
    let (stack, health) = seeded(upstream.targets("a", &["endless", "m"]));
    let front = Front::start(&stack).await;
    let request = chat_with(json!({ "model": "endless" }));
    let response = front.caller(Version::HTTP_11).await.send(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.headers()["x-free-trail"],
        "a/endless=unavailable, a/m=succeeded"
    );
    // What is left of it is not waited for: its connection is closed.
    bounded(upstream.until_open(0)).await;
    assert_eq!(upstream.accepted(), 2);
    assert_eq!(health.snapshot().targets[0].tally.failed, 1);
}

/// A bound, not an assertion: what does not come would keep the test waiting.
async fn bounded<T>(future: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, future).await.expect("an end")
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_answer_of_the_upstream() {
    let stalls = [
        // Nothing has come, not even a head.
        Reply::hang(),
        // A head has come, and nothing that could be passed on.
        Reply::stream([comment(), role(), Step::Hang]),
        // An answer that is not streamed has begun.
        Reply {
            steps: vec![Step::Data("{\"choices\":".into()), Step::Hang],
            ..Reply::answer("")
        },
        // The body of an error has begun.
        Reply {
            steps: vec![Step::Data("{\"error\":".into()), Step::Hang],
            ..Reply::error(500)
        },
    ];
    for version in VERSIONS {
        for stall in &stalls {
            let stall = stall.clone();
            let upstream = Server::start(move |_: &Received| stall.clone()).await;
            let (stack, health) = seeded(upstream.targets("a", &["m"]));
            let front = Front::start(&stack).await;
            let mut caller = front.caller(version).await;
            let waiting = tokio::spawn(async move { caller.send(streamed_chat()).await });
            bounded(upstream.until_open(1)).await;
            waiting.abort();
            bounded(upstream.until_open(0)).await;
            let tally = health.snapshot().targets[0].tally;
            assert_eq!((tally.started, tally.abandoned), (1, 1), "{tally:?}");
        }
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_in_the_middle_of_a_stream_ends_it_at_the_upstream() {
    for version in VERSIONS {
        let upstream =
            Server::start(|_: &Received| Reply::stream([role(), delta("first"), Step::Hang])).await;
        let (stack, health) = seeded(upstream.targets("a", &["m"]));
        let front = Front::start(&stack).await;
        let mut caller = front.caller(version).await;
        let mut body = caller.send(streamed_chat()).await.into_body();
        let mut so_far = String::new();
        while !so_far.contains("first") {
            let frame = body.frame().await.expect("a frame").expect("no error");
            so_far.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8"));
        }
        assert_eq!(health.snapshot().targets[0].tally.in_flight(), 1);
        drop((body, caller));
        bounded(upstream.until_open(0)).await;
        let tally = health.snapshot().targets[0].tally;
        assert_eq!(
            (tally.started, tally.abandoned),
            (1, 1),
            "{version:?} {tally:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_arrives_event_by_event() {
    let upstream =
        Server::start(|_: &Received| Reply::stream([role(), delta("a"), Step::Hang])).await;
    let (stack, _) = seeded(upstream.targets("a", &["m"]));
    let front = Front::start(&stack).await;
    let mut caller = front.caller(Version::HTTP_11).await;
    let response = bounded(caller.send(streamed_chat())).await;
    assert!(!response.headers().contains_key("content-length"));
    let frame = bounded(response.into_body().frame()).await;
    assert!(frame.is_some_and(|frame| frame.is_ok()));
}

// What is none of our business.

#[tokio::test]
async fn what_is_not_routed_passes_untouched() {
    let upstream = Server::start(|_: &Received| {
        Reply::new(404, "text/plain", "not here").header("set-cookie", "a=b")
    })
    .await;
    let (stack, health) = seeded(upstream.targets("a", &["m"]));
    let front = Front::with_home(&stack, upstream.address).await;
    let mut caller = front.caller(Version::HTTP_11).await;
    for (method, path) in [
        (Method::GET, "/v1/chat/completions?limit=3"),
        (Method::GET, "/v1/models"),
        (Method::DELETE, "/v1/files/1"),
        (Method::POST, "/v1/files"),
        (Method::POST, "/v1/chat/completions/1"),
    ] {
        let body = "--b\r\nnot JSON";
        let request = Request::builder()
            .method(&method)
            .uri(path)
            .header("authorization", "Bearer the-callers-own")
            .header("accept-encoding", "gzip")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .expect("a request");
        let response = read(caller.send(request).await).await;
        let length = body.len().to_string();
        let seen = upstream.seen().pop().expect("a request");
        assert_eq!(
            (&seen.parts.method, seen.parts.uri.to_string()),
            (&method, path.to_owned())
        );
        assert_eq!(seen.body, body);
        assert_eq!(
            seen.headers(),
            expected([
                ("accept-encoding", "gzip"),
                ("authorization", "Bearer the-callers-own"),
                ("content-length", &length),
                ("content-type", "multipart/form-data; boundary=b"),
                ("host", FRONT),
            ])
        );
        assert_eq!(response.status(), 404);
        assert_eq!(response.text(), "not here");
        let mut names: Vec<_> = response
            .parts
            .headers
            .keys()
            .map(|name| name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-length", "content-type", "date", "set-cookie"]
        );
    }
    assert!(
        health.snapshot().targets.is_empty(),
        "nobody was asked for them"
    );
}

#[tokio::test]
async fn what_is_not_routed_is_not_held_back() {
    let upstream = answering().await;
    let (stack, _) = seeded(upstream.targets("a", &["m"]));
    let front = Front::with_home(&stack, upstream.address).await;
    let mut caller = front.caller(Version::HTTP_11).await;
    let (upload, frames) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
    let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(frames));
    let request = Request::post("/v1/audio/echo")
        .body(body)
        .expect("a request");
    let response = bounded(caller.send(request)).await;
    let mut answer = response.into_body();
    // Each part comes back before the next one is sent.
    for part in ["one", "two", "three"] {
        let frame = Frame::data(Bytes::from(part));
        upload.send(Ok(frame)).await.expect("an open upload");
        let back = bounded(answer.frame())
            .await
            .expect("a frame")
            .expect("no error");
        assert_eq!(back.into_data().expect("data"), part);
    }
    drop(upload);
    assert!(bounded(answer.frame()).await.is_none());
}
