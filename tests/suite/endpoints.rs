//! Endpoints other than chat: who may serve which, which model may stand in for which, and what stays at one provider.

use crate::support::*;
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Catalog, FreeModelRouteLayer, HealthMap, Model, Stack, Target,
    health::TargetState,
    provider::{Endpoint, KnownProvider},
    stack,
};

fn of(provider: &str, model: impl Into<Model>) -> Target {
    crate::support::provider(provider)
        .target(model)
        .expect("a free model")
}

#[expect(clippy::needless_pass_by_value, reason = "bodies are written in place")]
fn ask(endpoint: Endpoint, body: Value) -> Request<Full<Bytes>> {
    post(&format!("/v1{endpoint}"), body.to_string())
}

fn embed(body: Value) -> Request<Full<Bytes>> {
    ask(Endpoint::Embeddings, body)
}

fn respond(body: Value) -> Request<Full<Bytes>> {
    ask(Endpoint::Responses, body)
}

fn draw() -> Request<Full<Bytes>> {
    ask(Endpoint::ImageGenerations, json!({ "prompt": "a cat" }))
}

/// What each endpoint answers with.
fn answer_of(path: &str) -> Reply {
    Reply::json(
        200,
        match path.strip_prefix("/v1").unwrap_or(path) {
            "/completions" => {
                json!({ "object": "text_completion", "choices": [{ "text": "hi", "finish_reason": "stop" }] })
            }
            "/responses" => response("resp_1"),
            "/embeddings" => {
                json!({ "object": "list", "data": [{ "object": "embedding", "index": 0, "embedding": [0.5] }] })
            }
            "/images/generations" | "/images/edits" => {
                json!({ "created": 1, "data": [{ "b64_json": "AA" }] })
            }
            _ => return Reply::answer("hi"),
        },
    )
}

fn response(id: &str) -> Value {
    json!({
        "id": id, "object": "response", "status": "completed", "error": null,
        "output": [{ "id": "msg_1", "type": "message", "content": [{ "type": "output_text", "text": "hi" }] }],
    })
}

/// Answers whatever is asked.
fn healthy() -> Upstream {
    Upstream::new(|seen| answer_of(seen.parts.uri.path()))
}

/// These targets fail so, the others answer.
fn failing(who: &'static [&'static str], how: Reply) -> Upstream {
    Upstream::new(move |seen| match who.contains(&&*seen.target()) {
        true => how.clone(),
        false => answer_of(seen.parts.uri.path()),
    })
}

/// Who answers, over many requests.
async fn only(stack: &Stack, request: impl Fn() -> Request<Full<Bytes>>) -> Vec<String> {
    let upstream = healthy();
    for _ in 0..40 {
        let whole = send(stack, &upstream, request()).await;
        assert_eq!(whole.status(), 200, "{}", whole.text());
    }
    let mut asked = upstream.asked();
    asked.sort();
    asked.dedup();
    asked
}

/// A refusal that has reached nobody.
async fn refusal(stack: &Stack, request: Request<Full<Bytes>>) -> (u16, Value) {
    let upstream = healthy();
    let whole = send(stack, &upstream, request).await;
    assert_eq!(upstream.calls(), 0, "a refusal reaches no upstream");
    (whole.status(), whole.json()["error"].clone())
}

#[tokio::test(start_paused = true)]
async fn every_json_endpoint_reaches_its_own_path_with_a_model_of_the_pool() {
    for (endpoint, model, body) in [
        (Endpoint::Completions, "m", json!({ "prompt": "hi" })),
        (Endpoint::Responses, "m", json!({ "input": "hi" })),
        (
            Endpoint::Embeddings,
            "embed-m",
            json!({ "model": "embed-m", "input": "hi" }),
        ),
        (
            Endpoint::ImageGenerations,
            "flux-m",
            json!({ "prompt": "hi" }),
        ),
        (
            Endpoint::ImageEdits,
            "flux-m",
            json!({ "prompt": "hi", "images": [{ "image_url": "u" }] }),
        ),
    ] {
        let (stack, _) = seeded(targets(&["a"], &["m", "embed-m", "flux-m"]));
        let upstream = healthy();
        let whole = send(&stack, &upstream, ask(endpoint, body)).await;
        assert_eq!(
            (whole.status(), whole.header("x-free-model")),
            (200, Some(model)),
            "{endpoint}"
        );
        let seen = upstream.seen.lock().unwrap();
        assert_eq!(seen[0].parts.uri.path(), format!("/v1{endpoint}"));
        assert_eq!(seen[0].model(), model);
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_cost_money_is_dropped_on_every_endpoint() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = healthy();
    let body = json!({ "input": "hi", "models": ["paid"], "plugins": [] });
    let whole = send(&stack, &upstream, respond(body)).await;
    assert_eq!(whole.header("x-free-dropped"), Some("models, plugins"));
    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen[0].json(), json!({ "model": "m", "input": "hi" }));
}

#[tokio::test(start_paused = true)]
async fn tools_of_a_response_that_the_provider_would_run_are_left_out() {
    for tool in [
        "web_search",
        "file_search",
        "code_interpreter",
        "image_generation",
        "mcp",
        "computer_use_preview",
        "namespace",
    ] {
        let (stack, _) = seeded(targets(&["a"], &["m"]));
        let upstream = healthy();
        let function = json!({ "type": "function", "name": "f", "parameters": {} });
        let mut body =
            json!({ "input": "hi", "tools": [function, { "type": tool }], "tool_choice": "auto" });
        let whole = send(&stack, &upstream, respond(body.clone())).await;
        assert_eq!(whole.header("x-free-dropped"), Some("tools[1]"), "{tool}");
        let sent = upstream.seen.lock().unwrap()[0].json();
        assert_eq!(sent["tools"], json!([function]), "{tool}");
        assert_eq!(sent["tool_choice"], "auto", "{tool}");

        body["tool_choice"] = json!({ "type": tool });
        let (status, error) = refusal(&stack, respond(body)).await;
        assert_eq!(status, 400, "{tool}");
        assert!(error["message"].as_str().unwrap().contains(tool), "{error}");
        assert_eq!(error["param"], "tool_choice");
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_names_a_model_is_refused_and_reaches_no_upstream() {
    for path in [
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "/openai/deployments/gpt-4o/audio/speech",
        "/v1/engines/davinci/completions",
        "/v1/engines/ada/search",
    ] {
        // Wherever the request would go.
        for provider in [provider("a"), bare_provider("b")] {
            let (stack, _) = seeded([target(&provider, "m")]);
            let upstream = healthy();
            let body = json!({ "model": "free", "messages": [] }).to_string();
            let whole = send(&stack, &upstream, post(path, body)).await;
            assert_eq!((whole.status(), upstream.calls()), (400, 0), "{path}");
            let error = &whole.json()["error"];
            assert_eq!(error["code"], "model_in_path", "{path}");
            assert_eq!(error["type"], "invalid_request_error", "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_reaches_a_provider_without_what_could_cost_and_what_is_left_out_is_told() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = healthy();
    let path = "/v1/chat/completions?model=openai/gpt-5&api-version=2024-10-21&api_key=k&route=x";
    let body = json!({ "models": ["x"], "messages": [] }).to_string();
    let whole = send(&stack, &upstream, post(path, body)).await;
    let told = whole.header("x-free-dropped");
    assert_eq!(told, Some("models, ?model, ?api_key, ?route"));
    let uri = upstream.seen.lock().unwrap()[0].parts.uri.to_string();
    let expected = "http://a.test/v1/chat/completions?api-version=2024-10-21";
    assert_eq!(uri, expected);
}

#[tokio::test(start_paused = true)]
async fn a_random_pick_is_for_what_is_asked() {
    let models = [
        "chat-m",
        "nomic-embed-text",
        "whisper-1",
        "flux-schnell",
        "kokoro-tts",
    ];
    let (stack, _) = seeded(targets(&["a"], &models));
    assert_eq!(only(&stack, chat).await, ["a/chat-m"]);
    assert_eq!(
        only(&stack, || respond(json!({ "input": "hi" }))).await,
        ["a/chat-m"]
    );
    assert_eq!(only(&stack, draw).await, ["a/flux-schnell"]);
    // Who names a model knows what it is for.
    let named = || {
        ask(
            Endpoint::ImageGenerations,
            json!({ "model": "chat-m", "prompt": "p" }),
        )
    };
    assert_eq!(only(&stack, named).await, ["a/chat-m"]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_for_something_else_says_what_is_missing() {
    let (stack, _) = seeded(targets(&["a"], &["nomic-embed-text"]));
    let (status, error) = refusal(&stack, chat()).await;
    assert_eq!((status, &error["param"]), (404, &json!("output_text")));
    let (stack, _) = seeded(targets(&["a"], &["chat-m"]));
    let (status, error) = refusal(&stack, draw()).await;
    assert_eq!((status, &error["param"]), (404, &json!("output_image")));
    let message = error["message"].as_str().unwrap();
    for cure in [
        "a provider with a free image model",
        "SD.Next or AUTOMATIC1111",
        "a chat model with image output",
    ] {
        assert!(message.contains(cure), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_a_provider_has_not_costs_its_models_nothing_elsewhere() {
    let upstream = Upstream::new(|seen| {
        let path = seen.parts.uri.path();
        match seen.target().starts_with("a/") && path == "/v1/responses" {
            true => Reply::new(404, "text/plain", "404 page not found"),
            false => answer_of(path),
        }
    });
    let asked = || respond(json!({ "model": "a/m", "input": "hi" }));

    let (stack, health) = seeded(targets(&["a", "b"], &["m", "n"]));
    let whole = send(&stack, &upstream, asked()).await;
    assert_eq!(whole.status(), 200, "{}", whole.text());
    let asked_then = upstream.asked();
    assert_eq!((asked_then.len(), &*asked_then[0]), (2, "a/m"));
    assert!(
        asked_then[1].starts_with("b/"),
        "its other models are not tried"
    );
    assert!(
        health
            .snapshot()
            .targets
            .iter()
            .all(|target| target.cooling.is_none())
    );

    let (stack, _) = seeded(targets(&["a"], &["m"]));
    assert_eq!(send(&stack, &upstream, asked()).await.status(), 404);
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_named_for_what_it_is_not_made_for_stays_there_for_the_rest() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let missing = json!({ "error": { "message": "Model m does not exist", "code": 404 } });
    let upstream = Upstream::script([Reply::json(404, missing), Reply::answer("hi")]);
    let asked = embed(json!({ "model": "m", "input": "hi" }));
    assert_eq!(send(&stack, &upstream, asked).await.status(), 404);
    assert!(health.snapshot().targets[0].cooling.is_none());
    assert_eq!(send(&stack, &upstream, chat()).await.status(), 200);
}

/// A target at a known provider that is known not to serve this endpoint.
fn without(endpoint: Endpoint) -> Target {
    KnownProvider::all()
        .iter()
        .filter(|known| !known.endpoints.contains(&endpoint))
        .filter_map(|known| {
            known
                .builder()
                .account("account")
                .free(known.free)
                .build()
                .ok()
        })
        .find_map(|provider| provider.target(Model::new("acme/known:free")).ok())
        .expect("a known provider without this endpoint")
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_is_known_not_to_serve_an_endpoint_is_not_asked() {
    let asked = || respond(json!({ "input": "hi" }));
    let known = without(Endpoint::Responses);
    let (stack, _) = seeded([known.clone(), of("a", Model::new("m"))]);
    assert_eq!(only(&stack, asked).await, ["a/m"]);
    let (stack, _) = seeded([known]);
    let (status, error) = refusal(&stack, asked()).await;
    assert_eq!((status, &error["param"]), (404, &json!("output_text")));
    assert!(
        error["message"].as_str().unwrap().contains("/responses"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_known_to_serve_an_endpoint_goes_before_who_may() {
    let known = KnownProvider::all()
        .iter()
        .filter(|known| known.endpoints.contains(&Endpoint::Responses))
        .filter_map(|known| known.builder().free(known.free).build().ok())
        .find_map(|provider| provider.target(Model::new("acme/known:free")).ok())
        .expect("a known provider with this endpoint");
    let (stack, _) = seeded([of("a", Model::new("m")), known.clone()]);
    let upstream = Upstream::new(move |seen| match seen.target() == "a/m" {
        true => answer_of(seen.parts.uri.path()),
        false => Reply::error(503),
    });
    let request = || respond(json!({ "input": "hi" }));
    let whole = send(&stack, &upstream, request()).await;
    assert_eq!(
        whole.header("x-free-model"),
        Some("m"),
        "who may is asked next"
    );
    assert_eq!(upstream.seen.lock().unwrap()[0].model(), "acme/known:free");
    // In a chat both are as good.
    let (stack, _) = seeded([of("a", Model::new("m")), known]);
    assert_eq!(only(&stack, chat).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn embeddings_stay_at_the_model_they_name_wherever_it_is() {
    let (stack, _) = seeded(targets(&["a", "b"], &["embed-1", "embed-2"]));
    let stack = without_waiting(stack);
    let named = || embed(json!({ "model": "embed-1", "input": "hi" }));
    assert_eq!(only(&stack, named).await, ["a/embed-1", "b/embed-1"]);
    let upstream = failing(&["a/embed-1", "b/embed-1"], Reply::error(503));
    assert_eq!(send(&stack, &upstream, named()).await.status(), 503);
    let mut asked = upstream.asked();
    asked.sort();
    assert_eq!(asked, ["a/embed-1", "b/embed-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_listed_for_text_embeds_where_it_is_asked_by_name() {
    let (stack, _) = seeded([of("a", Model::new("m").output(["text"]))]);
    let named = || embed(json!({ "model": "m", "input": "hi" }));
    assert_eq!(only(&stack, named).await, ["a/m"]);
}

#[tokio::test(start_paused = true)]
async fn embeddings_that_name_no_model_get_the_configured_one() {
    let pool = || targets(&["a", "b"], &["embed-1", "embed-2"]);
    let route = |route: FreeModelRouteLayer| route.embedding_model("b/embed-2");
    let stack = stack(Catalog::from_targets(pool()), HealthMap::seeded(7)).route(route);
    for body in [
        json!({ "input": "hi" }),
        json!({ "model": "free", "input": "hi" }),
    ] {
        assert_eq!(only(&stack, || embed(body.clone())).await, ["b/embed-2"]);
    }
    let named = || embed(json!({ "model": "a/embed-1", "input": "hi" }));
    assert_eq!(only(&stack, named).await, ["a/embed-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_configured_embedding_model_that_means_any_is_none() {
    let pool = targets(&["a"], &["embed-1", "embed-2"]);
    let route = |route: FreeModelRouteLayer| route.embedding_model("free");
    let stack = stack(Catalog::from_targets(pool), HealthMap::seeded(7)).route(route);
    let (status, error) = refusal(&stack, embed(json!({ "input": "hi" }))).await;
    assert_eq!(status, 400, "{error}");
    assert_eq!(error["code"], "embedding_model_required");
}

#[tokio::test(start_paused = true)]
async fn embeddings_without_any_model_are_refused_and_those_of_a_stranger_too() {
    let (stack, _) = seeded(targets(&["a"], &["embed-1"]));
    for model in [Value::Null, json!("auto"), json!("")] {
        let (status, error) =
            refusal(&stack, embed(json!({ "model": model, "input": "hi" }))).await;
        assert_eq!((status, &error["param"]), (400, &json!("model")), "{error}");
        assert_eq!(error["code"], "embedding_model_required");
    }
    let stranger = embed(json!({ "model": "text-embedding-3-small", "input": "hi" }));
    let (status, error) = refusal(&stack, stranger).await;
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
    assert!(
        !error["message"].as_str().unwrap().contains("x-free-pin"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_personal_model_is_never_substituted() {
    let (stack, _) = seeded([
        of("a", Model::new("dear").random(false)),
        of("b", Model::new("m")),
    ]);
    let stack = without_waiting(stack);
    let upstream = failing(&["a/dear"], Reply::error(503));
    let named = chat_with(json!({ "model": "dear", "messages": [] }));
    assert_eq!(send(&stack, &upstream, named).await.status(), 503);
    assert_eq!(upstream.asked(), ["a/dear"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_content_falls_back_on_every_endpoint() {
    for (endpoint, model, empty) in [
        (
            Endpoint::Completions,
            "m",
            json!({ "choices": [{ "text": "", "finish_reason": "stop" }] }),
        ),
        (
            Endpoint::Responses,
            "m",
            json!({ "id": "r", "object": "response", "status": "completed", "output": [] }),
        ),
        (
            Endpoint::Embeddings,
            "embed-m",
            json!({ "object": "list", "data": [] }),
        ),
        (
            Endpoint::ImageGenerations,
            "flux-m",
            json!({ "created": 1, "data": [] }),
        ),
        (
            Endpoint::ImageGenerations,
            "flux-m",
            json!({ "images": [], "info": "{}" }),
        ),
    ] {
        let (stack, _) = seeded(targets(&["a", "b"], &[model]));
        let path = format!("/v1{endpoint}");
        let upstream = Upstream::script([Reply::json(200, empty), answer_of(&path)]);
        let asked = ask(
            endpoint,
            json!({ "model": model, "prompt": "p", "input": "p" }),
        );
        let whole = send(&stack, &upstream, asked).await;
        assert_eq!((whole.status(), upstream.calls()), (200, 2), "{endpoint}");
    }
}

/// Two providers, and a response that one of them has made. Gives that one's name, too.
async fn conversation(first: Reply) -> (Stack, String) {
    let (stack, _) = seeded(targets(&["a", "b"], &["m", "n"]));
    let begun = send(
        &stack,
        &Upstream::script([first]),
        respond(json!({ "input": "hi" })),
    )
    .await;
    assert_eq!(begun.status(), 200, "{}", begun.text());
    let holder = begun.header("x-free-provider").unwrap().to_owned();
    (stack, holder)
}

fn next() -> Request<Full<Bytes>> {
    respond(json!({ "input": "and then?", "previous_response_id": "resp_1" }))
}

fn created(id: &str) -> Step {
    named_event(
        "response.created",
        &json!({ "response": { "id": id, "status": "in_progress", "error": null, "output": [] } }),
    )
}

/// An event of the Responses API, as OpenAI writes it.
fn named_event(name: &str, fields: &Value) -> Step {
    let mut data = fields.clone();
    data["type"] = json!(name);
    Step::Data(Bytes::from(format!("event: {name}\ndata: {data}\n\n")))
}

fn text_delta() -> Step {
    named_event(
        "response.output_text.delta",
        &json!({ "item_id": "msg_1", "delta": "hi" }),
    )
}

fn completed(id: &str) -> Step {
    named_event(
        "response.completed",
        &json!({ "response": { "id": id, "status": "completed", "error": null, "output": [] } }),
    )
}

#[tokio::test(start_paused = true)]
async fn a_response_goes_on_where_it_began() {
    let stream = Reply::stream([created("resp_1"), text_delta(), completed("resp_1")]);
    for first in [Reply::json(200, response("resp_1")), stream] {
        let (stack, holder) = conversation(first).await;
        let expected = [format!("{holder}/m"), format!("{holder}/n")];
        assert_eq!(only(&stack, next).await, expected);
        // Also where another one is asked for by name.
        let model = if holder == "a" { "b/m" } else { "a/m" };
        let named =
            || respond(json!({ "model": model, "input": "i", "previous_response_id": "resp_1" }));
        assert_eq!(only(&stack, named).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_is_known_without_a_fallback_too() {
    let pool = targets(&["a", "b"], &["m"]);
    let layer = FreeModelRouteLayer::new(Catalog::from_targets(pool), HealthMap::new());
    let upstream = healthy();
    let begun = layer
        .layer(upstream.clone())
        .oneshot(respond(json!({ "input": "hi" })))
        .await;
    read(begun.unwrap()).await;
    for _ in 0..20 {
        // A clone of the layer shares what is known.
        let response = layer
            .clone()
            .layer(upstream.clone())
            .oneshot(next())
            .await
            .unwrap();
        assert_eq!(read(response).await.status(), 200);
    }
    let asked = upstream.asked();
    assert!(asked.iter().all(|target| *target == asked[0]), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_fails_where_it_began_goes_nowhere_else() {
    let (stack, holder) = conversation(Reply::json(200, response("resp_1"))).await;
    let stack = without_waiting(stack);
    let upstream = Upstream::script([Reply::error(503)]);
    assert_eq!(send(&stack, &upstream, next()).await.status(), 503);
    assert_eq!(upstream.calls(), 2);
    assert!(
        upstream
            .asked()
            .iter()
            .all(|target| target.starts_with(&holder))
    );
    // And while it is limited, it is refused.
    let day = Reply::json(
        429,
        json!({ "error": { "message": "Rate limit exceeded: free-models-per-day", "code": 429 } }),
    )
    .header("retry-after", "3600");
    let (stack, _) = conversation(Reply::json(200, response("resp_1"))).await;
    let upstream = Upstream::script([day]);
    assert_eq!(send(&stack, &upstream, next()).await.status(), 429);
    let (status, _) = refusal(&stack, next()).await;
    assert_eq!(status, 429);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_knows_is_refused() {
    let (stack, _) = conversation(Reply::json(200, response("resp_other"))).await;
    let (status, error) = refusal(&stack, next()).await;
    assert_eq!(
        (status, &error["param"]),
        (400, &json!("previous_response_id"))
    );
    assert_eq!(error["code"], "previous_response_not_found");
}

#[tokio::test(start_paused = true)]
async fn a_failure_teaches_no_response() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let failed = Reply::json(
        500,
        json!({ "id": "resp_1", "error": { "message": "no", "code": 500 } }),
    );
    send(
        &stack,
        &Upstream::script([failed]),
        respond(json!({ "input": "hi" })),
    )
    .await;
    let (_, error) = refusal(&stack, next()).await;
    assert_eq!(error["code"], "previous_response_not_found");
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_provider_has_left_the_pool_is_refused() {
    let (a, b) = (provider("a"), provider("b"));
    let catalog = Catalog::from_targets([target(&a, "m")]);
    let stack = stack(catalog.clone(), HealthMap::new());
    send(&stack, &healthy(), respond(json!({ "input": "hi" }))).await;
    catalog.remove("a");
    catalog.replace(&b, vec![target(&b, "m")]).unwrap();
    let (status, error) = refusal(&stack, next()).await;
    assert_eq!(
        (status, &error["code"]),
        (400, &json!("previous_response_not_found"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_one_model_that_will_do_cannot_go_on_with_is_refused() {
    let (stack, _) = seeded([
        of("a", Model::new("m")),
        of("b", Model::new("n")),
        of("b", Model::new("mine").random(false)),
    ]);
    let begin = respond(json!({ "model": "a/m", "input": "hi" }));
    send(&stack, &healthy(), begin).await;
    for (model, pin, status, param) in [
        ("b/n", "true", 400, "previous_response_id"),
        ("mine", "false", 400, "previous_response_id"),
        // That no provider has it is said first.
        ("unknown", "true", 404, "model"),
    ] {
        let mut asked = respond(
            json!({ "model": model, "input": "and then?", "previous_response_id": "resp_1" }),
        );
        asked
            .headers_mut()
            .insert("x-free-pin", HeaderValue::from_static(pin));
        let (answered, error) = refusal(&stack, asked).await;
        assert_eq!(
            (answered, &error["param"]),
            (status, &json!(param)),
            "{model}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(model),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn state_that_is_not_made_here_is_refused() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    for (body, param) in [
        (
            json!({ "input": "hi", "conversation": "conv_1" }),
            "conversation",
        ),
        (
            json!({ "input": "hi", "conversation": { "id": "conv_1" } }),
            "conversation",
        ),
        (json!({ "input": "hi", "background": true }), "background"),
        (
            json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }),
            "input",
        ),
        (json!({ "prompt": { "id": "pmpt_1" } }), "prompt"),
    ] {
        let (status, error) = refusal(&stack, respond(body)).await;
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
    }
    let none = json!({ "input": "hi", "conversation": null, "background": false, "previous_response_id": null });
    assert_eq!(send(&stack, &healthy(), respond(none)).await.status(), 200);
}

/// What one target streams, and what the caller gets where another one answers well.
async fn streamed(steps: Vec<Step>) -> (Whole, Upstream) {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let good = Reply::stream([created("resp_good"), text_delta(), completed("resp_good")]);
    let upstream = Upstream::script([Reply::stream(steps), good]);
    let request = respond(json!({ "input": "hi", "stream": true }));
    let whole = send(&stack, &upstream, request).await;
    (whole, upstream)
}

fn item(kind: &str) -> Value {
    json!({ "item": { "id": "i", "type": kind, "name": "f", "content": [] } })
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_response_begins_with_what_it_says() {
    for (name, fields) in [
        ("response.output_text.delta", json!({ "delta": "hi" })),
        (
            "response.function_call_arguments.delta",
            json!({ "delta": "{" }),
        ),
        ("response.reasoning_text.delta", json!({ "delta": "Hm" })),
        (
            "response.reasoning_summary_text.delta",
            json!({ "delta": "Hm" }),
        ),
        ("response.refusal.delta", json!({ "delta": "No" })),
    ] {
        let said = named_event(name, &fields);
        let (whole, upstream) = streamed(vec![created("resp_1"), said, Step::Break]).await;
        assert_eq!(upstream.calls(), 1, "{name}");
        assert!(
            whole.text().contains(name) && whole.text().contains("resp_1"),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn until_a_response_says_something_another_can_take_over() {
    for (name, fields) in [
        (
            "response.in_progress",
            json!({ "response": { "id": "resp_1", "output": [] } }),
        ),
        ("response.output_item.added", item("message")),
        ("response.output_item.added", item("function_call")),
        (
            "response.content_part.added",
            json!({ "part": { "type": "output_text", "text": "" } }),
        ),
        ("response.output_text.delta", json!({ "delta": "" })),
    ] {
        let silent = named_event(name, &fields);
        let (whole, upstream) = streamed(vec![created("resp_1"), silent, Step::Break]).await;
        assert_eq!(upstream.calls(), 2, "{name}");
        assert!(
            !whole.text().contains("resp_1"),
            "{name}: nothing of the loser leaks"
        );
        assert!(whole.text().contains("resp_good"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_fails_inside_a_success_falls_back() {
    // As OpenAI streams a spent quota.
    let error = named_event(
        "error",
        &json!({ "error": { "type": "insufficient_quota", "code": "insufficient_quota", "message": "spent" } }),
    );
    let failed = named_event(
        "response.failed",
        &json!({ "response": { "id": "resp_1", "status": "failed", "error": { "code": "insufficient_quota" } } }),
    );
    let (whole, upstream) = streamed(vec![created("resp_1"), error, failed]).await;
    assert_eq!(upstream.calls(), 2);
    assert!(whole.text().contains("resp_good") && !whole.text().contains("resp_1"));
}

#[tokio::test(start_paused = true)]
async fn a_whole_stream_of_a_response_is_left_as_it_is() {
    let steps = vec![created("resp_1"), text_delta(), completed("resp_1")];
    let sent: Vec<u8> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Data(data) => data.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    let (whole, _) = streamed(steps).await;
    assert_eq!(whole.body, sent, "no [DONE] is invented, and no error");
}

#[tokio::test(start_paused = true)]
async fn a_cut_response_ends_with_an_error_that_every_client_understands() {
    let (whole, _) = streamed(vec![created("resp_1"), text_delta(), Step::Break]).await;
    let last = whole.text().trim_end().rsplit("\n\n").next().unwrap();
    let data = last
        .strip_prefix("event: error\ndata: ")
        .expect("a named event");
    let event: Value = serde_json::from_str(data).unwrap();
    // Clients of the Responses API go by the type, OpenAI's own by `error`.
    assert_eq!(event["type"], "error");
    assert_eq!(event["error"]["code"], event["code"]);
    assert_eq!(event["error"]["message"], event["message"]);
    assert!(
        event["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
    );
    assert!(!whole.text().contains("[DONE]"));
}

#[tokio::test(start_paused = true)]
async fn a_completion_streams_like_a_chat() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let chunk = |text: &str, finish: Value| {
        event(
            &json!({ "object": "text_completion", "choices": [{ "text": text, "index": 0, "finish_reason": finish }] }),
        )
    };
    let silent = Reply::stream([chunk("", Value::Null), Step::Break]);
    let good = Reply::stream([chunk("hi", Value::Null), chunk("", json!("stop")), done()]);
    let upstream = Upstream::script([silent, good]);
    let request = ask(
        Endpoint::Completions,
        json!({ "prompt": "p", "stream": true }),
    );
    let whole = send(&stack, &upstream, request).await;
    assert_eq!((upstream.calls(), whole.broken.is_none()), (2, true));
    assert!(whole.text().starts_with("data: {") && whole.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(whole.text().matches("text_completion").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cost_money_quarantines_its_target_wherever_that_is_said() {
    let edit = || {
        let image = json!([{ "image_url": "data:image/png;base64,AA" }]);
        ask(
            Endpoint::ImageEdits,
            json!({ "prompt": "a hat", "images": image }),
        )
    };
    for paid in [
        json!({ "usage": { "cost": 0.04 } }),
        json!({ "providerMetadata": { "gateway": { "cost": "0.04" } } }),
        json!({ "provider_metadata": { "gateway": { "cost": 0.04 } } }),
    ] {
        for request in [draw(), edit()] {
            let mut body = json!({ "created": 1, "data": [{ "b64_json": "AA" }] });
            for (name, value) in paid.as_object().unwrap() {
                body[name] = value.clone();
            }
            let (stack, health) = seeded([of("a", Model::new("m").output(["image"]))]);
            let upstream = Upstream::script([Reply::json(200, body)]);
            assert_eq!(
                send(&stack, &upstream, request).await.status(),
                200,
                "{paid}"
            );
            let state = health.snapshot().targets[0].state;
            assert_eq!(state, TargetState::Quarantined, "{paid}");
        }
    }
}
