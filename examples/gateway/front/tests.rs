use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Json, http::HeaderMap, routing::post};
use http_body_util::BodyExt;
use serde_json::Value;
use tower_free_models::{
    Catalog, HealthMap, Model, Provider, provider::FreeRule, refresh::Refresh,
};

use super::*;
use crate::{client, host::Name, origin::Origin, server::ROUTES};

const APP: &str = "https://app.example";

/// What the only provider was asked.
#[derive(Default)]
struct Upstream {
    calls: AtomicUsize,
    headers: Mutex<HeaderMap>,
}

impl Upstream {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// The front of one provider that answers.
async fn front(config: &Config, keys: Option<&str>) -> (Front, Arc<Upstream>) {
    let seen = Arc::<Upstream>::default();
    let asked = Arc::clone(&seen);
    let answer = move |headers: HeaderMap| async move {
        asked.calls.fetch_add(1, Ordering::SeqCst);
        *asked.headers.lock().unwrap() = headers;
        let message = json!({ "role": "assistant", "content": "hello" });
        Json(
            json!({ "id": "1", "object": "chat.completion", "created": 1, "model": "tiny",
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }),
        )
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let upstream = Router::new().route("/v1/chat/completions", post(answer));
    tokio::spawn(async move { axum::serve(listener, upstream).await });

    let provider = Provider::new("local")
        .base_url(&format!("http://{address}/v1"))
        .free(FreeRule::All)
        .build()
        .unwrap();
    let catalog = Catalog::from_targets([provider.target(Model::new("tiny")).unwrap()]);
    let health = HealthMap::new();
    let gateway = Gateway {
        order: Vec::new(),
        reports: Refresh::new(catalog.clone(), health.clone()).reports(),
        catalog,
        health,
    };
    let keys = keys
        .map(|keys| AccessKeys::from_variable("KEYS", &|_| Some(keys.to_owned())).expect("keys"));
    let site = Site::new(gateway, config, keys);
    (site.front(client::client(client::connector())), seen)
}

fn allowing(origin: &str) -> Config {
    Config {
        cors_origins: vec![Origin::parse(origin).unwrap()],
        ..Config::default()
    }
}

/// The response to a request with these headers beside `Host`; a POST is a chat.
async fn ask(front: &Front, line: &str, headers: &[(&str, &str)]) -> (Response<Body>, Value) {
    let (method, path) = line.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "127.0.0.1:3733");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match method {
        "POST" => {
            Body::from(json!({ "messages": [{ "role": "user", "content": "hi" }] }).to_string())
        }
        _ => Body::empty(),
    };
    let request = request.body(body).unwrap();
    let response = front.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_default();
    (Response::from_parts(parts, Body::empty()), value)
}

const CHAT: &str = "POST /v1/chat/completions";
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_is_not_there_is_said_in_openais_format() {
    let (front, _) = front(&Config::default(), None).await;
    for (line, code) in [
        ("GET /v1/models/none", "model_not_found"),
        ("GET /v1/models/%FF", "model_not_found"),
        ("GET /%FF", "no_such_route"),
        ("GET /v1/chat/completions", "no_such_route"),
        ("POST /status", "no_such_route"),
        ("POST /v1/chat/completions/", "no_such_route"),
        ("POST /v1/chat%2Fcompletions", "no_such_route"),
        ("POST /chat/completions", "no_such_route"),
    ] {
        let (response, body) = ask(&front, line, &[]).await;
        assert_eq!(response.status(), 404, "{line}");
        assert_eq!(body["error"]["code"], code, "{line}");
    }
}

#[tokio::test]
async fn another_method_is_told_that_models_are_asked_by_post() {
    let (front, upstream) = front(&Config::default(), None).await;
    for endpoint in Endpoint::ALL {
        for method in ["GET", "PUT", "OPTIONS"] {
            let line = format!("{method} /v1{}", endpoint.path());
            let (response, body) = ask(&front, &line, &[JSON]).await;
            assert_eq!(response.status(), 404, "{line}");
            assert_eq!(response.headers()["allow"], "POST", "{line}");
            assert_eq!(body["error"]["code"], "no_such_route", "{line}");
        }
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn an_answer_to_head_has_no_body_and_states_the_length_of_one() {
    let (open, _) = front(&Config::default(), None).await;
    let (locked, _) = front(&allowing(APP), Some("key")).await;
    let foreign = ("host", "evil.example");
    for (front, path, headers, status) in [
        (&open, "/v1/models", &[][..], 200),
        (&open, "/nowhere", &[], 404),
        (&open, "/v1/chat/completions", &[], 404),
        (&open, "/v1/models", &[foreign], 403),
        (&locked, "/v1/models", &[], 401),
        (&locked, "/v1/models", &[foreign], 403),
    ] {
        let answer = async |method: &str| {
            let headers = match headers {
                [] => &[("host", "localhost")],
                headers => headers,
            };
            let mut request = Request::builder().method(method).uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).unwrap();
            let (head, body) = front.clone().oneshot(request).await.unwrap().into_parts();
            assert_eq!(head.status, status, "{method} {path}");
            (head, body.collect().await.unwrap().to_bytes().len())
        };
        let (_, length) = answer("GET").await;
        let (head, left) = answer("HEAD").await;
        assert_eq!(left, 0, "{path}");
        assert_eq!(head.headers["content-length"], length.to_string(), "{path}");
    }
}

#[tokio::test]
async fn every_endpoint_goes_to_the_models() {
    let (front, _) = front(&Config::default(), None).await;
    for endpoint in Endpoint::ALL {
        let line = format!("POST /v1{}", endpoint.path());
        let (response, body) = ask(&front, &line, &[JSON]).await;
        assert!(
            response.headers().contains_key("x-free-attempts"),
            "{line}: {body}"
        );
    }
}

#[tokio::test]
async fn a_page_of_another_origin_spends_nothing_and_reads_nothing() {
    for config in [Config::default(), allowing(APP)] {
        let (front, upstream) = front(&config, None).await;
        let simple = ("content-type", "text/plain");
        for headers in [
            &[JSON, ("origin", "https://evil.example")][..],
            &[simple, ("origin", "https://evil.example")],
            &[JSON, ("origin", "null")],
            &[JSON, ("sec-fetch-site", "cross-site")],
            &[JSON, ("host", "evil.example:3733")],
        ] {
            let (response, body) = ask(&front, CHAT, headers).await;
            assert_eq!(response.status(), 403, "{headers:?}");
            assert_eq!(body["error"]["type"], "permission_error", "{body}");
            assert!(
                !response
                    .headers()
                    .contains_key("access-control-allow-origin")
            );
        }
        let preflight = [
            ("origin", "https://evil.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        let (response, _) = ask(&front, "OPTIONS /v1/chat/completions", &preflight).await;
        assert_eq!(response.status(), 403);
        assert_eq!(upstream.calls(), 0);
    }
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_asks_first_and_reads_the_answer() {
    let (front, upstream) = front(&allowing(APP), None).await;
    let wanted = "authorization,content-type,x-stainless-os";
    let preflight = [
        ("origin", APP),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", wanted),
        ("access-control-request-private-network", "true"),
        ("sec-fetch-site", "cross-site"),
    ];
    let (response, _) = ask(&front, "OPTIONS /v1/chat/completions", &preflight).await;
    assert_eq!(response.status(), 200);
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], APP);
    assert_eq!(headers["access-control-allow-headers"], wanted);
    assert!(
        headers["access-control-allow-methods"]
            .to_str()
            .unwrap()
            .contains("POST")
    );
    assert_eq!(headers["access-control-allow-private-network"], "true");
    assert_eq!(upstream.calls(), 0);

    let page = [JSON, ("origin", APP), ("sec-fetch-site", "cross-site")];
    let (response, body) = ask(&front, CHAT, &page).await;
    assert_eq!(response.status(), 200, "{body}");
    assert_eq!(response.headers()["access-control-allow-origin"], APP);
    assert_eq!(response.headers()["access-control-expose-headers"], "*");
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_reads_errors_too() {
    let (front, _) = front(&allowing(APP), Some("key")).await;
    let key = ("x-api-key", "key");
    for (line, headers, status) in [
        (CHAT, &[("origin", APP), JSON][..], 401),
        (CHAT, &[("origin", APP), key], 415),
        ("GET /nowhere", &[("origin", APP), key], 404),
    ] {
        let (response, _) = ask(&front, line, headers).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["access-control-allow-origin"], APP);
    }
}

#[tokio::test]
async fn the_gateways_own_page_may_use_it() {
    let (front, upstream) = front(&Config::default(), None).await;
    let own = [
        JSON,
        ("origin", "http://127.0.0.1:3733"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(ask(&front, CHAT, &own).await.0.status(), 200);
    let typed = [("sec-fetch-site", "none")];
    assert_eq!(ask(&front, "GET /", &typed).await.0.status(), 200);
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test]
async fn a_post_that_does_not_say_what_it_sends_is_415() {
    let (front, upstream) = front(&Config::default(), None).await;
    for endpoint in Endpoint::ALL {
        let line = format!("POST /v1{}", endpoint.path());
        let (response, body) = ask(&front, &line, &[]).await;
        assert_eq!(response.status(), 415, "{line}");
        assert_eq!(body["error"]["type"], "invalid_request_error", "{body}");
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn a_key_is_asked_for_on_every_route_but_one() {
    let (front, upstream) = front(&Config::default(), Some("first,second")).await;
    let lines = ROUTES.iter().map(|line| line.replace("{id}", "tiny"));
    for line in lines.chain(["GET /nowhere".into(), "OPTIONS /v1/models".into()]) {
        let (response, body) = ask(&front, &line, &[JSON, ("x-api-key", "third")]).await;
        if line.ends_with("/healthz") {
            assert_eq!(response.status(), 200);
            continue;
        }
        assert_eq!(response.status(), 401, "{line}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(body["error"]["code"], "invalid_api_key", "{body}");
    }
    assert_eq!(upstream.calls(), 0);
    for key in [("authorization", "Bearer first"), ("x-api-key", "second")] {
        assert_eq!(ask(&front, CHAT, &[JSON, key]).await.0.status(), 200);
    }
}

#[tokio::test]
async fn a_preflight_needs_no_key() {
    let (front, _) = front(&allowing(APP), Some("key")).await;
    let preflight = [("origin", APP), ("access-control-request-method", "POST")];
    let (response, _) = ask(&front, "OPTIONS /v1/chat/completions", &preflight).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], APP);
}

#[tokio::test]
async fn a_callers_key_goes_no_further() {
    let (front, upstream) = front(&Config::default(), Some("canary-key")).await;
    let headers = [
        JSON,
        ("authorization", "Bearer canary-key"),
        ("x-api-key", "canary-key"),
    ];
    assert_eq!(ask(&front, CHAT, &headers).await.0.status(), 200);
    let seen = format!("{:?}", upstream.headers.lock().unwrap());
    assert!(seen.contains("host") && !seen.contains("canary"), "{seen}");
}

#[tokio::test]
async fn a_name_of_the_configuration_is_a_host() {
    let config = Config {
        hosts: vec![Name::parse("box").unwrap()],
        listen: "gateway.example:3733".parse().unwrap(),
        ..Config::default()
    };
    let (front, _) = front(&config, None).await;
    for (host, status) in [("BOX:80", 200), ("gateway.example", 200), ("other", 403)] {
        let (response, body) = ask(&front, "GET /v1/models", &[("host", host)]).await;
        assert_eq!(response.status(), status, "{body}");
    }
}
