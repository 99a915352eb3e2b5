//! Free is guarded at the door of the stack: what an upstream sees cannot ask for anything else, and what was seen to
//! cost is not asked again.

use std::fmt;

use crate::support::{
    BoxError, Reply, Step, Upstream, chat, chat_with, delta, done, event, finish, post, provider,
    seeded, send, streamed_chat, target, targets,
};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Catalog, HealthMap, Model, Provider, health::TargetState, provider::FreeRule, stack,
};

const PATH: &str = "/v1/chat/completions";

/// A JSON object as it stands: every member, duplicates too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl Members {
    /// By a parser that takes the first of several.
    fn first(&self, key: &str) -> Option<&Value> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// By a parser that takes the last of several.
    fn last(&self, key: &str) -> Option<&Value> {
        let mut all = self.0.iter().rev();
        all.find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// By a parser that does not mind the case.
    fn folded(&self, key: &str) -> impl Iterator<Item = &Value> {
        let all = self.0.iter();
        all.filter(move |(known, _)| known.to_lowercase() == key)
            .map(|(_, value)| value)
    }
}

/// What the upstream sees of this body, and the response.
async fn forwarded(body: &str) -> (Members, crate::support::Whole) {
    let (stack, _) = seeded(targets(&["a"], &["the-model"]));
    let upstream = Upstream::script([Reply::answer("yes")]);
    let response = send(&stack, &upstream, post(PATH, body.to_owned())).await;
    assert_eq!(response.status(), 200, "{body} {response:?}");
    let seen = upstream.seen.lock().unwrap();
    let members = serde_json::from_slice(&seen[0].body).expect("an object");
    (members, response)
}

#[tokio::test(start_paused = true)]
async fn whichever_model_a_parser_reads_it_is_the_free_one() {
    for body in [
        r#"{}"#,
        r#"{"model":"openai/gpt-4"}"#,
        r#"{"model":null,"x":{"model":"nested"}}"#,
        r#"{"model":"free","model":"openai/gpt-4"}"#,
        r#"{"model":"openai/gpt-4","messages":[],"model":"free"}"#,
        r#"{"mod\u0065l":"openai/gpt-4"}"#,
        r#"{"\u006d\u006F\u0064\u0065\u006C":"openai/gpt-4","model":"free"}"#,
        r#"{"Model":"openai/gpt-4"}"#,
        r#"{"MODEL":"openai/gpt-4","mOdEl":"x","model":["y"]}"#,
        r#"{"M\u004fDEL":"openai/gpt-4"}"#,
        r#"{"model":{"model":"openai/gpt-4"},"model":"a","model":"b","model":"c"}"#,
    ] {
        let (members, _) = forwarded(body).await;
        let free = json!("the-model");
        assert_eq!(members.first("model"), Some(&free), "{body}");
        assert_eq!(members.last("model"), Some(&free), "{body}");
        assert!(
            members.folded("model").all(|model| *model == free),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_spend_money_is_left_out_and_named() {
    for (body, named) in [
        (r#"{"models":["openai/gpt-4"]}"#, "models"),
        (r#"{"model":"free","route":"fallback","a":1}"#, "route"),
        (r#"{"plugins":[{"id":"web"}],"model":"free"}"#, "plugins"),
        (r#"{"web_search_options":{}}"#, "web_search_options"),
        (r#"{"a":1,"MODELS":["x"],"b":2}"#, "models"),
        (r#"{"mod\u0065ls":["x"]}"#, "models"),
        (r#"{"Plug\u0049ns":[]}"#, "plugins"),
        (r#"{"route":1,"route":2,"Route":3}"#, "route"),
        (
            r#"{"providerOptions":{"gateway":{"models":["x"]}}}"#,
            "providerOptions",
        ),
        (r#"{"provider\u005foptions":{}}"#, "provider_options"),
        (r#"{"fallbacks":["x"]}"#, "fallbacks"),
        (r#"{"search_parameters":{}}"#, "search_parameters"),
        (r#"{"enable_search":true}"#, "enable_search"),
        (r#"{"web_search":true}"#, "web_search"),
        (r#"{"mcp_servers":[]}"#, "mcp_servers"),
        (r#"{"api_base":"x","Api_Base":"y"}"#, "api_base"),
        (r#"{"base_url":"x"}"#, "base_url"),
        (r#"{"api_key":"x"}"#, "api_key"),
        (r#"{"service_tier":"priority"}"#, "service_tier"),
    ] {
        let (members, response) = forwarded(body).await;
        assert_eq!(response.header("x-free-dropped"), Some(named), "{body}");
        assert_eq!(members.folded(named).count(), 0, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_spend_money_is_left_out_in_camel_case_too() {
    for (field, named) in [
        ("webSearchOptions", "web_search_options"),
        ("searchParameters", "search_parameters"),
        ("EnableSearch", "enable_search"),
        ("webSearch", "web_search"),
        ("mcpServer\u{17f}", "mcp_servers"),
        ("apiBase", "api_base"),
        ("base\\u0055rl", "base_url"),
        ("APIKEY", "api_key"),
        ("serviceTier", "service_tier"),
        ("Provider_Options", "provider_options"),
    ] {
        let body = format!(r#"{{"a":1,"{field}":{{}},"b":2}}"#);
        let (members, response) = forwarded(&body).await;
        assert_eq!(response.header("x-free-dropped"), Some(named), "{field}");
        let keys: Vec<_> = members.0.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["model", "a", "b"], "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_that_is_left_out_is_named_and_all_else_stays() {
    let (members, response) = forwarded(
        r#"{"plugins":[],"temperature":0,"models":["x"],"route":"fallback","web_search_options":{},"x":{"models":[1],"route":2}}"#,
    )
    .await;
    let mut named: Vec<_> = response
        .header("x-free-dropped")
        .expect("names")
        .split(", ")
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["models", "plugins", "route", "web_search_options"]);
    let mut keys: Vec<_> = members.0.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["model", "temperature", "x"]);
    assert_eq!(
        members.first("x"),
        Some(&json!({ "models": [1], "route": 2 }))
    );
}

#[tokio::test(start_paused = true)]
async fn a_header_of_the_upstream_cannot_claim_that_something_was_left_out() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::answer("yes").header("x-free-dropped", "all")]);
    let response = send(&stack, &upstream, chat()).await;
    assert_eq!(response.header("x-free-dropped"), None);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_the_provider_would_run_is_left_out_and_named() {
    let function = r#"{"type":"function","function":{"name":"f"}}"#;
    for foreign in [
        r#"{"type":"web_search"}"#,
        r#"{"type":"openrouter:web_search"}"#,
        r#"{"type":"function","type":"image_generation"}"#,
        r#"{"t\u0079pe":"file_search"}"#,
        r#"{"Type":"mcp"}"#,
        r#"{"type":"namespace","name":"n","tools":[{"type":"function","name":"g"}]}"#,
        // Of these it is not known what a parser would make.
        r#"{"name":"bash"}"#,
        "7",
    ] {
        let body = format!(r#"{{"tools":[{function},{foreign},{function}],"tool_choice":"auto"}}"#);
        let (members, response) = forwarded(&body).await;
        assert_eq!(
            response.header("x-free-dropped"),
            Some("tools[1]"),
            "{foreign}"
        );
        let function: Value = serde_json::from_str(function).expect("JSON");
        let left = json!([function, function]);
        assert_eq!(members.first("tools"), Some(&left), "{foreign}");
        assert_eq!(members.first("tool_choice"), Some(&json!("auto")));

        let body = format!(r#"{{"tools":[{foreign}],"tool_choice":"auto"}}"#);
        let (members, response) = forwarded(&body).await;
        let named = response.header("x-free-dropped");
        assert_eq!(named, Some("tools[0], tool_choice"), "{foreign}");
        let keys: Vec<_> = members.0.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["model"], "{foreign}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_demanded_and_cannot_be_sent_is_refused_by_name() {
    let function = r#"{"type":"function","function":{"name":"f"}}"#;
    for (choice, named) in [
        (r#"{"type":"web_search"}"#, "web_search"),
        (r#"{"type":"function","function":{"name":"bash"}}"#, "bash"),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"mcp"}]}}"#,
            "mcp",
        ),
    ] {
        let (stack, health) = seeded(targets(&["a"], &["m"]));
        let upstream = Upstream::script([Reply::answer("yes")]);
        let tools = format!(r#"[{function},{{"name":"bash"}},{{"type":"web_search"}}]"#);
        let body = format!(r#"{{"model":"free","tools":{tools},"tool_choice":{choice}}}"#);
        let response = send(&stack, &upstream, post(PATH, body)).await;
        assert_eq!(response.status(), 400, "{choice}");
        let error = &response.json()["error"];
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains(named), "{choice} {message}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!(error["param"], "tool_choice");
        assert_eq!(upstream.calls(), 0, "{choice}");
        let mut targets = health.snapshot().targets.into_iter();
        assert!(targets.all(|target| target.tally.started == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn tools_that_the_caller_runs_pass() {
    let tools =
        r#"[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"g"}}]"#;
    let (members, _) = forwarded(&format!(r#"{{"tools":{tools}}}"#)).await;
    let tools: Value = serde_json::from_str(tools).expect("JSON");
    assert_eq!(members.first("tools"), Some(&tools));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_read_is_no_body_that_can_be_sent() {
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-encoding", "br"),
        ("content-encoding", "identity, zstd"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "multipart/form-data; boundary=b"),
        ("content-type", "text/plain"),
        ("content-type", "application/jsonl"),
        ("content-type", ""),
    ] {
        let (stack, _) = seeded(targets(&["a"], &["m"]));
        let upstream = Upstream::script([Reply::answer("yes")]);
        let mut request: Request<Full<_>> = chat();
        let value = value.parse().expect("a value");
        request.headers_mut().insert(name, value);
        let response = send(&stack, &upstream, request).await;
        assert_eq!(response.status(), 415, "{name} {response:?}");
        assert_eq!(response.json()["error"]["code"], "unsupported_media_type");
        assert_eq!(upstream.calls(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn json_by_any_of_its_names_passes() {
    for value in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.api+json",
        "text/json",
    ] {
        let (stack, _) = seeded(targets(&["a"], &["m"]));
        let upstream = Upstream::script([Reply::answer("yes")]);
        let mut request = chat();
        let value = value.parse().expect("a value");
        request.headers_mut().insert("content-type", value);
        let identity = "identity".parse().expect("a value");
        request.headers_mut().insert("content-encoding", identity);
        assert_eq!(send(&stack, &upstream, request).await.status(), 200);
    }
}

/// A whole answer with this usage.
fn billed(usage: &Value) -> Reply {
    Reply::json(
        200,
        json!({ "choices": [{ "message": { "content": "hi" }, "finish_reason": "stop" }], "usage": usage }),
    )
}

/// The same as a stream, with the usage in its last chunk.
fn streamed(usage: &Value) -> Vec<Step> {
    let usage = event(&json!({ "choices": [], "usage": usage }));
    vec![delta("hi"), finish(), usage, done()]
}

/// The state of the only target after one answer.
async fn state_after(reply: Reply, request: Request<Full<Bytes>>) -> TargetState {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([reply]);
    let response = send(&stack, &upstream, request).await;
    assert_eq!(response.status(), 200);
    health.snapshot().targets[0].state
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cost_money_quarantines_its_target_at_once() {
    for cost in [json!(0.000001), json!(3), json!("0.2"), json!(1e-12)] {
        let usage = json!({ "prompt_tokens": 3, "cost": cost });
        let whole = billed(&usage);
        assert_eq!(
            state_after(whole, chat()).await,
            TargetState::Quarantined,
            "{usage}"
        );
        let stream = Reply::stream(streamed(&usage));
        let state = state_after(stream, streamed_chat()).await;
        assert_eq!(state, TargetState::Quarantined, "{usage}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cost_nothing_does_not() {
    for cost in [json!(0), json!(0.0), json!("0"), json!("0.00"), json!(null)] {
        let usage = json!({ "prompt_tokens": 3, "cost": cost });
        let whole = billed(&usage);
        assert_eq!(
            state_after(whole, chat()).await,
            TargetState::Healthy,
            "{usage}"
        );
        let stream = Reply::stream(streamed(&usage));
        let state = state_after(stream, streamed_chat()).await;
        assert_eq!(state, TargetState::Healthy, "{usage}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cost_counts_in_whatever_form_a_stream_ends() {
    let usage = json!({ "cost": 0.1 });
    let bill = event(&json!({ "choices": [], "usage": usage }));
    let Step::Data(bytes) = &bill else {
        unreachable!("an event is data")
    };
    let unended = |end: usize| Step::Data(bytes.slice(..bytes.len() - end));
    for steps in [
        // Before, after and without `[DONE]`.
        vec![delta("hi"), bill.clone(), finish(), done()],
        vec![delta("hi"), finish(), done(), bill.clone()],
        vec![delta("hi"), finish(), bill.clone()],
        // Cut after it, or right behind its last byte.
        vec![delta("hi"), bill.clone(), Step::Break],
        vec![delta("hi"), finish(), unended(1)],
        vec![delta("hi"), finish(), unended(2)],
        // In one chunk with all the rest.
        vec![Step::Data(
            [
                &b"data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n"[..],
                bytes,
            ]
            .concat()
            .into(),
        )],
    ] {
        let shown = format!("{steps:?}");
        let state = state_after(Reply::stream(steps), streamed_chat()).await;
        assert_eq!(state, TargetState::Quarantined, "{shown}");
    }
}

/// A response of the Responses API says again what was asked for. One as long as this is followed as it passes.
#[tokio::test(start_paused = true)]
async fn what_a_response_repeats_of_the_request_is_no_cost() {
    let long = "x".repeat(2 << 20);
    let tools = format!(
        r#"[{{"type":"function","name":"f","description":"{long}","parameters":{{"usage":{{"cost":1}}}}}}]"#
    );
    let response = format!(
        r#"{{"object":"response","status":"completed","tools":{tools},"output":[{{"type":"message","content":[{{"type":"output_text","text":"hi"}}]}}]}}"#
    );
    let whole = Reply::new(200, "application/json", response.clone());
    let stream = format!(
        "data: {{\"type\":\"response.created\",\"response\":{response}}}\n\n\
         data: {{\"type\":\"response.output_text.delta\",\"delta\":\"hi\"}}\n\n\
         data: {{\"type\":\"response.completed\",\"response\":{response}}}\n\n"
    );
    let stream = Reply::stream([Step::Data(stream.into())]);
    for (reply, body) in [
        (whole, r#"{"input":"hi"}"#),
        (stream, r#"{"input":"hi","stream":true}"#),
    ] {
        let state = state_after(reply, post("/v1/responses", body)).await;
        assert_ne!(state, TargetState::Quarantined, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_passed_over_may_have_cost_money_too() {
    for (first, second, request) in [
        (
            Reply::json(200, json!({ "choices": [], "usage": { "cost": 0.1 } })),
            Reply::answer("hi"),
            chat(),
        ),
        (
            Reply::json(
                200,
                json!({ "error": { "code": 502, "message": "m" }, "usage": { "cost": 0.1 } }),
            ),
            Reply::answer("hi"),
            chat(),
        ),
        (
            Reply::stream([
                event(&json!({ "choices": [], "usage": { "cost": 0.1 } })),
                done(),
            ]),
            Reply::words(&["hi"]),
            streamed_chat(),
        ),
    ] {
        let (stack, health) = seeded(targets(&["a", "b"], &["m"]));
        let upstream = Upstream::script([first, second]);
        assert_eq!(send(&stack, &upstream, request).await.status(), 200);
        let first = &upstream.asked()[0];
        let quarantined: Vec<_> = health
            .snapshot()
            .targets
            .iter()
            .filter(|target| target.state == TargetState::Quarantined)
            .map(|target| target.id.to_string())
            .collect();
        assert_eq!(quarantined, [first.as_str()]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_outlives_every_refresh_and_ends_by_hand() {
    let (provider, health) = (provider("a"), HealthMap::seeded(7));
    let listed = |context: u64| {
        let model = Model::new("m").context_length(context);
        vec![provider.target(model).expect("a free model")]
    };
    let catalog = Catalog::from_targets(listed(8192));
    let stack = stack(catalog.clone(), health.clone());
    let upstream = Upstream::script([billed(&json!({ "cost": 0.1 })), Reply::answer("free again")]);
    // The answer itself is the caller's.
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);

    let refused = async |when: &str| {
        let response = send(&stack, &upstream, chat()).await;
        assert_eq!(response.status(), 503, "{when}");
        let held_back = &response.json()["error"]["metadata"]["held_back"];
        assert_eq!(*held_back, json!({ "quarantined": 1 }), "{when}");
        let named = chat_with(json!({ "model": "a/m" }));
        assert_eq!(send(&stack, &upstream, named).await.status(), 503, "{when}");
        assert_eq!(upstream.calls(), 1, "{when}");
    };
    refused("at once").await;
    // The same listing again, one that says something else, and one in which it was away.
    catalog.replace(&provider, listed(8192)).expect("a swap");
    refused("the same listing").await;
    catalog.replace(&provider, listed(4096)).expect("a swap");
    refused("another listing").await;
    catalog.remove("a");
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 503);
    catalog.replace(&provider, listed(8192)).expect("a swap");
    refused("away and back").await;
    tokio::time::advance(std::time::Duration::from_secs(40 * 24 * 3600)).await;
    refused("after forty days").await;
    health.reset_provider("a");
    refused("its provider was reset").await;

    assert!(health.reset(target(&provider, "m").id()));
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
    assert_eq!(upstream.calls(), 2);
}

/// Servers that know the length of a body drop it when that has been sent, and never ask for its end.
#[tokio::test(start_paused = true)]
async fn a_cost_counts_in_an_answer_that_is_too_large_to_be_held_and_not_asked_for_its_end() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|layer| layer.peek_limit(10));
    let inner = tower::service_fn(|_: Request<tower_free_models::Body>| async {
        let answer = json!({
            "choices": [{ "message": { "content": "hello" }, "finish_reason": "stop" }],
            "usage": { "cost": 1.5 },
        });
        let response = http::Response::builder().header("content-type", "application/json");
        Ok::<_, BoxError>(response.body(Full::<Bytes>::from(answer.to_string()))?)
    });
    let response = stack.layer(inner).oneshot(chat()).await.unwrap();
    let mut body = response.into_body();
    while !http_body::Body::is_end_stream(&body) {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);
    let target = &health.snapshot().targets[0];
    assert_eq!(target.state, TargetState::Quarantined);
    assert_eq!((target.tally.succeeded, target.tally.abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_file_goes_to_a_model_that_is_stated_to_read_files_only_where_reading_is_billed() {
    let file =
        json!({ "type": "file", "file": { "file_data": "data:application/pdf;base64,AA==" } });
    let body = json!({ "messages": [{ "role": "user", "content": [file] }] });
    // It is not stated whether this model reads files.
    let model = || Model::new("google/gemini-9-flash:free");
    let reads = || model().input(["text", "file"]);
    let openrouter = || Provider::openrouter().build().expect("a provider");
    let by_rule = || {
        Provider::new("mirror")
            .base_url("http://mirror.test/v1")
            .free(FreeRule::OpenRouter)
    };
    let by_rule = || by_rule().build().expect("a provider");
    // It relays to OpenRouter.
    let kilo = || {
        Provider::known("kilo")
            .expect("it is known")
            .build()
            .expect("a provider")
    };
    for (provider, model, status) in [
        (openrouter(), model(), 404),
        (openrouter(), reads(), 200),
        (by_rule(), model(), 404),
        (kilo(), model(), 404),
        (kilo(), reads(), 200),
        (provider("other"), model(), 200),
    ] {
        let (stack, _) = seeded([provider.target(model).expect("a target")]);
        let upstream = Upstream::script([Reply::answer("yes")]);
        let response = send(&stack, &upstream, chat_with(body.clone())).await;
        assert_eq!(response.status(), status, "{provider:?} {response:?}");
    }
}
