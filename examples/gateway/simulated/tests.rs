//! The pool as its callers see it, over its router and a paused clock.

use std::{collections::HashSet, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use tower::ServiceExt;

use super::*;

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// What the events of a stream hold, without the end mark.
    fn events(&self) -> Vec<Value> {
        let data = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "));
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

async fn send(router: &Router, request: Request<Body>) -> Got {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Got {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

/// A chat with one message and these further fields.
async fn chat(router: &Router, provider: &str, model: &str, fields: Value) -> Got {
    let mut body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello" }] });
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().cloned().unwrap_or_default());
    let request = Request::post(format!("/{provider}/v1/chat/completions"))
        .header("authorization", format!("Bearer {provider}-key"))
        .body(Body::from(body.to_string()));
    send(router, request.unwrap()).await
}

async fn list(router: &Router, provider: &str, key: Option<&str>) -> Got {
    let mut request = Request::get(format!("/{provider}/v1/models"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    send(router, request.body(Body::empty()).unwrap()).await
}

/// Asks once a second until something else than an answer comes.
async fn until_trouble(router: &Router, model: &str, fields: Value) -> Got {
    for _ in 0..100 {
        let got = chat(router, "sim-atlas", model, fields.clone()).await;
        let fine = got.status.is_success() && !got.text.contains("\"error\":{");
        if !fine {
            return got;
        }
        advance(Duration::from_secs(1)).await;
    }
    panic!("{model} was never in trouble");
}

#[tokio::test(start_paused = true)]
async fn a_chat_is_answered_in_openai_format() {
    let got = chat(&upstream(7), "sim-harbor", "lighthouse-70b", json!({})).await;
    assert_eq!(got.status, 200);
    assert_eq!(got.headers[SIMULATED], "true");
    let answer = got.json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "lighthouse-70b");
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    let text = "You said: hello — answered by sim-harbor/lighthouse-70b, simulated";
    assert_eq!(choice["message"]["content"], text);
    let usage = &answer["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap();
    assert!(count("prompt_tokens") > 0 && count("completion_tokens") > 0);
    assert_eq!(
        count("total_tokens"),
        count("prompt_tokens") + count("completion_tokens")
    );
    assert_eq!(usage["cost"], 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_a_role_words_a_finish_usage_if_asked_and_an_end() {
    let router = upstream(7);
    let fields = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let got = chat(&router, "sim-harbor", "lighthouse-70b", fields).await;
    assert_eq!(got.headers["content-type"], "text/event-stream");
    assert_eq!(got.headers[SIMULATED], "true");
    assert!(
        got.text.starts_with(": SIMULATED PROCESSING\n\n"),
        "{}",
        got.text
    );
    assert!(got.text.ends_with("data: [DONE]\n\n"), "{}", got.text);

    let events = got.events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let words = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    let text: String = words.collect();
    assert_eq!(
        text,
        "You said: hello — answered by sim-harbor/lighthouse-70b, simulated"
    );
    let [.., finish, usage] = &events[..] else {
        panic!("too short")
    };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(
        (
            &usage["choices"],
            usage["usage"]["completion_tokens"].as_u64() > Some(0)
        ),
        (&json!([]), true)
    );

    let unasked = chat(
        &router,
        "sim-harbor",
        "lighthouse-70b",
        json!({ "stream": true }),
    )
    .await;
    assert!(!unasked.text.contains("usage"));
}

#[tokio::test(start_paused = true)]
async fn a_tool_call_is_the_same_streamed_or_whole() {
    let router = upstream(7);
    let tool = json!({ "type": "function", "function": { "name": "weather", "parameters": {
        "properties": { "city": { "type": "string" }, "days": { "type": "integer" } },
        "required": ["city", "days"],
    } } });
    let whole = chat(
        &router,
        "sim-harbor",
        "lighthouse-70b",
        json!({ "tools": [tool] }),
    )
    .await;
    let choice = &whole.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let called = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(called["name"], "weather");

    let fields = json!({ "tools": [tool], "stream": true });
    let events = chat(&router, "sim-harbor", "lighthouse-70b", fields)
        .await
        .events();
    let calls: Vec<_> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"][0])
        .filter(|call| !call.is_null())
        .collect();
    assert_eq!(calls[0]["function"]["name"], "weather");
    assert!(calls[0]["id"].is_string() && calls.iter().all(|call| call["index"] == 0));
    let arguments: String = calls
        .iter()
        .filter_map(|call| call["function"]["arguments"].as_str())
        .collect();
    assert_eq!(called["arguments"], arguments.as_str());
    assert_eq!(
        serde_json::from_str::<Value>(&arguments).unwrap(),
        json!({ "city": "example", "days": 1 })
    );
}

#[tokio::test(start_paused = true)]
async fn only_a_providers_own_key_opens_it() {
    let router = upstream(7);
    for provider in PROVIDERS {
        assert_eq!(
            list(&router, provider.name, Some(provider.key))
                .await
                .status,
            200
        );
        assert_eq!(list(&router, provider.name, None).await.status, 401);
        for other in PROVIDERS.iter().filter(|other| other.name != provider.name) {
            let got = list(&router, provider.name, Some(other.key)).await;
            assert_eq!(got.status, 401);
            assert_eq!(got.headers[SIMULATED], "true");
        }
    }
    assert_eq!(list(&router, "sim-nowhere", Some("key")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn listings_are_free_and_differ_in_what_their_models_can() {
    let router = upstream(7);
    let mut seen = HashSet::new();
    let mut lengths = HashSet::new();
    for provider in PROVIDERS {
        for model in list(&router, provider.name, Some(provider.key))
            .await
            .json()["data"]
            .as_array()
            .unwrap()
        {
            assert_eq!(
                model["pricing"],
                json!({ "prompt": "0", "completion": "0" })
            );
            lengths.insert(model["context_length"].as_u64().unwrap());
            for key in ["/supported_parameters", "/architecture/input_modalities"] {
                let words = model.pointer(key).unwrap().as_array().unwrap();
                seen.extend(words.iter().map(|word| word.as_str().unwrap().to_owned()));
            }
        }
    }
    for word in ["tools", "response_format", "structured_outputs", "image"] {
        assert!(seen.contains(word), "{word}");
    }
    assert!(lengths.len() > 3);
}

#[tokio::test(start_paused = true)]
async fn a_model_refuses_what_its_listing_does_not_state() {
    let router = upstream(7);
    let tool = json!({ "type": "function", "function": { "name": "weather" } });
    let picture = json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "data:," } }] }]);
    for (fields, words) in [
        (json!({ "tools": [tool] }), "tool use"),
        (json!({ "messages": picture }), "image input"),
        (
            json!({ "response_format": { "type": "json_object" } }),
            "requested parameters",
        ),
        (
            json!({ "response_format": { "type": "json_schema" } }),
            "requested parameters",
        ),
        (
            json!({ "modalities": ["text", "image"] }),
            "requested parameters",
        ),
    ] {
        let got = chat(&router, "sim-comet", "lynx-8b", fields).await;
        assert_eq!(got.status, 404);
        assert!(got.text.contains(words), "{}", got.text);
    }
    let long = chat(
        &router,
        "sim-comet",
        "lynx-8b",
        json!({ "messages": [{ "role": "user", "content": "x".repeat(100_000) }] }),
    )
    .await;
    assert_eq!(long.status, 400);
    assert_eq!(
        long.json()["error"]["metadata"]["error_type"],
        "context_length_exceeded"
    );
    assert_eq!(
        chat(&router, "sim-comet", "lion-8b", json!({}))
            .await
            .status,
        404
    );
    assert_eq!(
        chat(&router, "sim-comet", "lynx-8b", json!({ "messages": 1 }))
            .await
            .status,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_limit_holds_for_all_models_until_the_reset_it_states() {
    let router = upstream(7);
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            chat(&router, "sim-comet", "lynx-8b", json!({}))
                .await
                .status,
            200
        );
    }
    let got = chat(&router, "sim-comet", "deep-27b", json!({})).await;
    assert_eq!(got.status, 429);
    let error = &got.json()["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("free-models-per-min")
    );
    let reset: i64 = error["metadata"]["headers"]["X-RateLimit-Reset"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let date = httpdate::parse_http_date(got.headers["date"].to_str().unwrap()).unwrap();
    let date = i64::try_from(
        date.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap();
    let stated = reset - date;
    let rest = 60_000 - i64::try_from(start.elapsed().as_millis()).unwrap();
    // A date has whole seconds.
    assert!((rest..rest + 1000).contains(&stated), "{stated} of {rest}");

    advance(Duration::from_millis(u64::try_from(rest).unwrap() - 1)).await;
    assert_eq!(
        chat(&router, "sim-comet", "lynx-8b", json!({}))
            .await
            .status,
        429
    );
    advance(Duration::from_millis(1)).await;
    assert_eq!(
        chat(&router, "sim-comet", "lynx-8b", json!({}))
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_model_states_when_it_is_back() {
    let router = upstream(7);
    let got = until_trouble(&router, "crowd-24b", json!({})).await;
    assert_eq!(got.status, 429);
    let metadata = &got.json()["error"]["metadata"];
    let seconds = metadata["retry_after_seconds"].as_u64().unwrap();
    assert!((1..=5).contains(&seconds));
    assert_eq!(metadata["headers"]["Retry-After"], seconds.to_string());
    assert_eq!(metadata["provider_name"], "sim-atlas");
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_model_recovers() {
    let router = upstream(7);
    assert_eq!(
        until_trouble(&router, "nap-34b", json!({})).await.status,
        503
    );
    let mut answered = false;
    for _ in 0..60 {
        advance(Duration::from_secs(1)).await;
        answered |= chat(&router, "sim-atlas", "nap-34b", json!({}))
            .await
            .status
            == 200;
    }
    assert!(answered);
}

#[tokio::test(start_paused = true)]
async fn a_broken_model_hides_its_error_in_a_success() {
    let router = upstream(7);
    let whole = until_trouble(&router, "crack-13b", json!({})).await;
    assert_eq!(whole.status, 200);
    assert_eq!(whole.json()["error"]["code"], 502);

    let streamed = until_trouble(&router, "crack-13b", json!({ "stream": true })).await;
    assert_eq!(streamed.status, 200);
    let event = &streamed.events()[0];
    assert_eq!(
        (
            &event["error"]["code"],
            &event["choices"][0]["finish_reason"]
        ),
        (&json!(502), &json!("error"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stalling_model_sends_comments_long_before_its_first_word() {
    let router = upstream(7);
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let start = Instant::now();
        let got = chat(&router, "sim-comet", "deep-27b", json!({ "stream": true })).await;
        assert!(got.text.ends_with("data: [DONE]\n\n"));
        longest = longest.max(start.elapsed());
    }
    assert!(longest > Duration::from_secs(8), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_pool() {
    async fn history(seed: u64) -> Vec<(StatusCode, String)> {
        let router = upstream(seed);
        let mut history = Vec::new();
        for _ in 0..20 {
            for model in ["crowd-24b", "crack-13b", "nap-34b"] {
                let got = chat(&router, "sim-atlas", model, json!({ "stream": true })).await;
                let text = got
                    .events()
                    .iter()
                    .map(|event| event["choices"].to_string())
                    .collect();
                history.push((got.status, text));
            }
        }
        history
    }
    assert_eq!(history(7).await, history(7).await);
    assert_ne!(history(7).await, history(100).await);
}

/// A request to another endpoint.
async fn ask(router: &Router, provider: &str, endpoint: &str, body: Value) -> Got {
    let request = Request::post(format!("/{provider}/v1{endpoint}"))
        .header("authorization", format!("Bearer {provider}-key"))
        .body(Body::from(body.to_string()));
    send(router, request.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn a_completion_continues_a_prompt() {
    let router = upstream(7);
    let said = "You said: hello — answered by sim-harbor/lighthouse-70b, simulated";
    let body = json!({ "model": "lighthouse-70b", "prompt": "hello" });
    let whole = ask(&router, "sim-harbor", "/completions", body.clone())
        .await
        .json();
    assert_eq!(whole["object"], "text_completion");
    assert_eq!(whole["choices"][0]["text"], said);
    let mut streamed = body;
    streamed["stream"] = json!(true);
    let got = ask(&router, "sim-harbor", "/completions", streamed).await;
    let events = got.events();
    let text = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str());
    assert_eq!(text.collect::<String>(), said);
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_is_items_whole_and_events_in_a_stream() {
    let router = upstream(7);
    let said = "You said: hello — answered by sim-harbor/lighthouse-70b, simulated";
    let body = json!({ "model": "lighthouse-70b", "input": "hello" });
    let whole = ask(&router, "sim-harbor", "/responses", body.clone())
        .await
        .json();
    assert_eq!(
        (&whole["object"], &whole["status"]),
        (&json!("response"), &json!("completed"))
    );
    assert_eq!(whole["output"][0]["content"][0]["text"], said);

    let mut streamed = body;
    streamed["stream"] = json!(true);
    let got = ask(&router, "sim-harbor", "/responses", streamed).await;
    assert!(!got.text.contains("[DONE]"), "the API has no such mark");
    let events = got.events();
    assert_eq!(events[0]["type"], "response.created");
    assert!(
        events
            .iter()
            .enumerate()
            .all(|(i, event)| event["sequence_number"] == i)
    );
    let deltas = events.iter().filter_map(|event| event["delta"].as_str());
    assert_eq!(deltas.collect::<String>(), said);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["id"], events[0]["response"]["id"]);
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], said);
}

#[tokio::test(start_paused = true)]
async fn a_response_calls_functions_keeps_a_format_and_is_cut() {
    let router = upstream(7);
    let ask = |fields: Value| {
        let mut body =
            json!({ "model": "lighthouse-70b", "input": [{ "role": "user", "content": "hello" }] });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().cloned().unwrap());
        ask(&router, "sim-harbor", "/responses", body)
    };
    let tools = json!([{ "type": "function", "name": "weather", "parameters": {
        "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"],
    } }]);
    let call = &ask(json!({ "tools": tools })).await.json()["output"][0];
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("weather"))
    );
    assert_eq!(call["arguments"], r#"{"city":"example"}"#);
    let got = ask(json!({ "tools": tools, "stream": true })).await;
    assert!(
        got.text.contains("response.function_call_arguments.delta"),
        "{}",
        got.text
    );

    let format = json!({ "type": "json_schema", "name": "n", "schema": {
        "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"],
    } });
    let formed = ask(json!({ "text": { "format": format } })).await.json();
    assert_eq!(formed["output"][0]["content"][0]["text"], r#"{"n":1}"#);

    let cut = ask(json!({ "max_output_tokens": 2 })).await.json();
    assert_eq!(cut["status"], "incomplete");
    assert_eq!(cut["output"][0]["content"][0]["text"], "You said: ");
}

#[tokio::test(start_paused = true)]
async fn vectors_and_images_come_from_the_models_that_make_them() {
    let router = upstream(7);
    let body = json!({ "model": "pebble-embed", "input": ["one", "two"] });
    let got = ask(&router, "sim-atlas", "/embeddings", body).await;
    assert_eq!(got.headers[SIMULATED], "true");
    assert_eq!(got.json()["data"].as_array().unwrap().len(), 2);
    let body = json!({ "model": "easel-2b", "prompt": "a cat", "size": "16x16" });
    let got = ask(&router, "sim-atlas", "/images/generations", body).await;
    assert!(
        got.json()["data"][0]["b64_json"]
            .as_str()
            .unwrap()
            .starts_with("iVBOR")
    );

    for (endpoint, body) in [
        (
            "/embeddings",
            json!({ "model": "crowd-24b", "input": "one" }),
        ),
        (
            "/images/generations",
            json!({ "model": "pebble-embed", "prompt": "a cat" }),
        ),
        (
            "/responses",
            json!({ "model": "pebble-embed", "input": "one" }),
        ),
    ] {
        assert_eq!(
            ask(&router, "sim-atlas", endpoint, body).await.status,
            404,
            "{endpoint}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn forms_are_read_for_edits_and_recordings() {
    let router = upstream(7);
    for (endpoint, model, says) in [
        ("/images/edits", "easel-2b", "\"b64_json\":\"iVBOR"),
        ("/audio/transcriptions", "echo-1b", "\"text\":\"4 bytes"),
        ("/audio/translations", "echo-1b", "\"text\":\"4 bytes"),
    ] {
        let part = |name, value| {
            format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
        };
        let body = part("\"model\"", model)
            + &part("\"prompt\"", "a cat")
            + &part("\"file\"; filename=\"a\"", "RIFF")
            + "--b--\r\n";
        let request = Request::post(format!("/sim-atlas/v1{endpoint}"))
            .header("authorization", "Bearer sim-atlas-key")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from(body));
        let got = send(&router, request.unwrap()).await;
        assert!(got.text.contains(says), "{endpoint}: {}", got.text);
    }
}

#[tokio::test(start_paused = true)]
async fn every_model_is_listed_as_free() {
    let router = upstream(7);
    for place in PROVIDERS {
        let got = list(&router, place.name, Some(place.key)).await;
        let provider = tower_free_models::Provider::new(place.name)
            .build()
            .unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH;
        let listing = provider.read_listing(got.text.as_bytes(), now).unwrap();
        assert_eq!(listing.skipped(), [], "{}", place.name);
        let listed = listing.into_targets();
        let ids: Vec<_> = listed.iter().map(|target| target.id().model()).collect();
        let models: Vec<_> = place.models.iter().map(|model| model.id).collect();
        assert_eq!(ids, models);
    }
}
