//! Images by each API: the requests that go upstream, the answers, and failures.

use std::time::Duration;

use crate::support::png;
use crate::support::sdnext;
use crate::support::sdnext::{GENERATION, Mood, Sdnext};
use crate::support::*;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, limit::ConcurrencyLimit};
use tower_free_models::{
    Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, ImageLayer, Model, Provider, Stack,
    Target,
    catalog::ModelBuilder,
    classify::OutcomeKind,
    health::TargetState,
    provider::{Dialect, FreeRule, ImageApi},
};

/// The model that every provider here has, by the name that the stand-in for sdnext knows.
const MODEL: &str = "me.safetensors";

fn request(more: Value) -> Request<Full<Bytes>> {
    let mut body = json!({ "model": MODEL, "prompt": "photo of a sks fox" });
    let (Some(body_map), Value::Object(more)) = (body.as_object_mut(), more) else {
        panic!("objects");
    };
    body_map.extend(more);
    post("/v1/images/generations", body.to_string())
}

/// The model at a provider that is asked for images in this way.
fn at(name: &str, images: ImageApi) -> Target {
    let mut dialect = Dialect::default();
    dialect.images = images;
    let provider = Provider::new(name)
        .base_url(&format!("http://{name}.test/v1"))
        .key(&format!("key-of-{name}"))
        .free(FreeRule::All)
        .dialect(dialect)
        .build()
        .expect("a valid provider");
    target(&provider, MODEL)
}

fn studio() -> Target {
    target(
        &sdnext::provider("studio", "http://studio.test:7860"),
        MODEL,
    )
}

/// Asks the stand-in, and an upstream for whatever is not sdnext's.
async fn ask(stack: &Stack, sdnext: &Sdnext, request: Request<Full<Bytes>>) -> Whole {
    let response = stack.layer(sdnext.clone()).oneshot(request).await;
    read(response.expect("a response")).await
}

fn not_called() -> Upstream {
    Upstream::new(|seen| panic!("asked for {}", seen.parts.uri))
}

fn drawn(width: u32, height: u32) -> String {
    BASE64.encode(png::png(width, height, 7))
}

/// OpenAI's own answer.
fn openai_images() -> Reply {
    Reply::json(
        200,
        json!({ "created": 1, "data": [{ "b64_json": drawn(8, 8) }], "extra": [1,  2] }),
    )
}

/// A chat's answer with these images in it.
#[allow(clippy::needless_pass_by_value)]
fn drawing(images: &[&str], usage: Value) -> Reply {
    let image = |url: &&str| json!({ "type": "image_url", "image_url": { "url": url } });
    let message = json!({ "role": "assistant", "content": "", "images": images.iter().map(image).collect::<Vec<_>>() });
    Reply::json(
        200,
        json!({ "id": "1", "object": "chat.completion", "model": "m", "usage": usage,
            "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] }),
    )
}

fn data_url() -> String {
    format!("data:image/png;base64,{}", drawn(8, 8))
}

fn image_at(answer: &Value, index: usize) -> Vec<u8> {
    let base64 = answer["data"][index]["b64_json"].as_str();
    let base64 = base64.unwrap_or_else(|| panic!("no image in {answer}"));
    BASE64.decode(base64).expect("base64")
}

fn state_of(health: &HealthMap, provider: &str) -> TargetState {
    let snapshot = health.snapshot();
    let target = snapshot
        .targets
        .iter()
        .find(|target| target.id.provider() == provider);
    target.expect("it was tried").state
}

// Without a translation.

#[tokio::test(start_paused = true)]
async fn where_images_are_generated_as_at_openai_the_request_and_the_answer_pass_unchanged() {
    let (stack, _) = seeded([at("a", ImageApi::OpenAi)]);
    let upstream = Upstream::script([openai_images()]);
    let body = r#"{"model":"me.safetensors" ,"prompt":"a fox","size":"7x9","style":"vivid","odd":{"a":1.0}}"#;
    let whole = send(&stack, &upstream, post("/v1/images/generations", body)).await;
    assert_eq!(whole.status(), 200);
    let expected = openai_images().steps;
    let [Step::Data(expected)] = &expected[..] else {
        panic!("one step");
    };
    assert_eq!(whole.body, expected);
    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen[0].parts.uri, "http://a.test/v1/images/generations");
    assert_eq!(seen[0].body, body);
}

// The layer.

/// A router without an image layer inside.
fn without_images(targets: impl IntoIterator<Item = Target>) -> (FreeModelRouteLayer, HealthMap) {
    let health = HealthMap::seeded(7);
    let catalog = Catalog::from_targets(targets);
    (FreeModelRouteLayer::new(catalog, health.clone()), health)
}

#[tokio::test(start_paused = true)]
async fn without_the_image_layer_images_come_only_from_where_they_are_generated_as_at_openai() {
    let translated = [ImageApi::Chat, ImageApi::OpenRouter, ImageApi::Sdapi];
    let translated = || translated.map(|api| at(&format!("{api:?}").to_lowercase(), api));
    let targets = translated().into_iter().chain([at("b", ImageApi::OpenAi)]);
    let (layer, _) = without_images(targets);
    let upstream = Upstream::script([openai_images()]);
    for _ in 0..8 {
        let response = layer.layer(upstream.clone()).oneshot(request(json!({})));
        let whole = read(response.await.expect("a response")).await;
        assert_eq!(whole.header("x-free-provider"), Some("b"), "{whole:?}");
    }
    let (layer, _) = without_images(translated());
    let response = layer.layer(not_called()).oneshot(request(json!({})));
    let whole = read(response.await.expect("a response")).await;
    assert_eq!(whole.status(), 404);
    assert_eq!(whole.json()["error"]["param"], "output_image");
}

#[tokio::test(start_paused = true)]
async fn an_image_layer_that_is_said_to_be_inside_and_is_not_is_a_500_that_names_it() {
    let (layer, health) = without_images([at("a", ImageApi::Chat), at("b", ImageApi::Chat)]);
    let layer = layer.image_layer(true);
    let upstream = Upstream::script([Reply::error(404)]);
    let alone = layer.layer(upstream.clone()).oneshot(request(json!({})));
    let alone = read(alone.await.expect("a response")).await;
    let under_a_fallback = FallbackLayer::new().layer(layer.layer(upstream.clone()));
    let under_a_fallback = under_a_fallback.oneshot(request(json!({})));
    let under_a_fallback = read(under_a_fallback.await.expect("a response")).await;
    for whole in [alone, under_a_fallback] {
        assert_eq!(whole.status(), 500, "{whole:?}");
        let error = &whole.json()["error"];
        assert_eq!(error["code"], "image_layer_missing");
        let message = error["message"].as_str().expect("a message");
        assert!(message.contains("ImageLayer"), "{message}");
    }
    // No target is at fault, and none is asked in vain a second time.
    assert_eq!(upstream.calls(), 2);
    let snapshot = health.snapshot();
    let tallies = || snapshot.targets.iter().map(|target| target.tally);
    assert_eq!(tallies().map(|tally| tally.abandoned).sum::<u64>(), 2);
    assert_eq!(tallies().map(|tally| tally.failed).sum::<u64>(), 0);
}

// By chat.

#[tokio::test(start_paused = true)]
async fn a_chat_model_draws_what_is_asked_for() {
    let (stack, _) = seeded([at("a", ImageApi::Chat)]);
    let usage = json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 });
    let upstream = Upstream::script([drawing(&[&data_url()], usage)]);
    let whole = send(
        &stack,
        &upstream,
        request(json!({ "n": 2, "size": "1536x1024" })),
    )
    .await;
    assert_eq!(whole.status(), 200, "{whole:?}");
    let answer = whole.json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(png::size(&image_at(&answer, 1)), (8, 8));
    assert!(answer["created"].as_u64() > Some(1_700_000_000), "{answer}");
    assert_eq!(answer["usage"]["total_tokens"], 14);
    assert_eq!(whole.header("x-free-model"), Some(MODEL));
    assert_eq!(whole.header("x-free-attempts"), Some("2"));
    let length = whole.body.len().to_string();
    assert_eq!(whole.header("content-length"), Some(&*length));

    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    for seen in seen.iter() {
        assert_eq!(seen.parts.uri, "http://a.test/v1/chat/completions");
        assert_eq!(seen.parts.headers["authorization"], "Bearer key-of-a");
        let length = seen.body.len().to_string();
        assert_eq!(seen.parts.headers["content-length"], length);
        assert_eq!(
            seen.json(),
            json!({ "model": MODEL, "modalities": ["image", "text"], "image_config": { "aspect_ratio": "3:2" },
                "messages": [{ "role": "user", "content": "photo of a sks fox" }] })
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_writes_and_draws_is_asked_by_chat_where_there_are_no_generations() {
    let groq = Provider::known("groq").expect("it is known");
    let groq = groq
        .key("key-of-groq")
        .free(FreeRule::Plan)
        .build()
        .expect("a provider");
    let target = |model: ModelBuilder| groq.target(model).expect("a target");
    let (stack, _) = seeded([
        target(Model::new("artist").output(["text", "image"])),
        target(Model::new("writer").output(["text"])),
        target(Model::new("painter").output(["image"])),
    ]);
    let upstream = Upstream::script([drawing(&[&data_url()], json!(null))]);
    for _ in 0..8 {
        let whole = send(&stack, &upstream, request(json!({ "model": "free" }))).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        assert_eq!(whole.header("x-free-model"), Some("artist"));
    }
    let seen = upstream.seen.lock().unwrap();
    assert!(seen[0].parts.uri.path().ends_with("/chat/completions"));
}

#[tokio::test(start_paused = true)]
async fn a_translated_answer_keeps_the_limits_in_its_head_and_nothing_that_described_its_body() {
    let (stack, _) = seeded([at("a", ImageApi::Chat)]);
    let reply = drawing(&[&data_url()], json!(null))
        .header("x-ratelimit-remaining-requests", "3")
        .header("content-digest", "sha-256=:AAAA:")
        .header("content-length", "1");
    let whole = send(&stack, &Upstream::script([reply]), request(json!({}))).await;
    assert_eq!(whole.header("x-ratelimit-remaining-requests"), Some("3"));
    assert_eq!(whole.header("content-digest"), None);
    let length = whole.body.len().to_string();
    assert_eq!(whole.header("content-length"), Some(&*length));
    assert_eq!(whole.header("content-type"), Some("application/json"));
}

#[tokio::test(start_paused = true)]
async fn a_translated_attempt_that_fails_is_classified_and_another_target_answers() {
    let cut = Reply {
        steps: vec![
            Step::Data(Bytes::from_static(b"{\"choices\":")),
            Step::Break,
        ],
        ..Reply::answer("")
    };
    let compressed = Reply {
        steps: vec![Step::Data(Bytes::from_static(b"\x1f\x8b\x08\0"))],
        ..drawing(&[&data_url()], json!(null))
    };
    for (first, outcome) in [
        (compressed.header("content-encoding", "gzip"), "unavailable"),
        (Reply::error(503), "unavailable"),
        (
            Reply::error(429).header("retry-after", "60"),
            "rate_limited",
        ),
        (Reply::unreachable(), "unreachable"),
        (Reply::answer("I would rather not."), "empty"),
        (
            Reply::json(
                200,
                json!({ "error": { "message": "overloaded", "code": 503 } }),
            ),
            "unavailable",
        ),
        (
            drawing(&["data:image/png;base64,AAAA"], json!(null)),
            "unavailable",
        ),
        (
            drawing(&["data:image/png;base64,%"], json!(null)),
            "unavailable",
        ),
        (cut, "unavailable"),
    ] {
        let why = format!("{first:?}");
        let (stack, _) = seeded([at("a", ImageApi::Chat), at("b", ImageApi::Chat)]);
        let upstream = Upstream::script([first, drawing(&[&data_url()], json!(null))]);
        let whole = send(&stack, &upstream, request(json!({}))).await;
        assert_eq!(whole.status(), 200, "{why} {whole:?}");
        image_at(&whole.json(), 0);
        let trail = whole.header("x-free-trail").expect("a trail");
        assert!(
            trail.contains(&format!("{MODEL}={outcome}, ")),
            "{why}: {trail}"
        );
    }
}

/// An answer of a chat with an image, and how it ends.
fn drawn_by_chat() -> Reply {
    drawing(&[&data_url()], json!(null))
}

/// The counts of the only target, and why it rests.
fn counts(health: &HealthMap) -> (u64, u64, u64, u64, Option<OutcomeKind>) {
    let snapshot = health.snapshot();
    let [target] = &snapshot.targets[..] else {
        panic!("{snapshot:?}");
    };
    let (tally, cooling) = (target.tally, target.cooling.as_ref());
    let of_provider = snapshot.providers[0].cooling.as_ref();
    (
        tally.started,
        tally.succeeded,
        tally.failed,
        tally.abandoned,
        cooling.or(of_provider).map(|cooling| cooling.reason),
    )
}

#[tokio::test(start_paused = true)]
async fn the_images_that_are_there_are_kept_when_a_further_chat_fails() {
    let limited = Reply::error(429).header("retry-after", "60");
    let overloaded = json!({ "error": { "message": "overloaded", "code": 503 } });
    let no_image = drawing(&["data:image/png;base64,AAAA"], json!(null));
    // One failure without a stated end does not close a target that has just succeeded.
    for (third, outcome, rests) in [
        (limited, "rate_limited", Some(OutcomeKind::RateLimited)),
        (Reply::unreachable(), "unreachable", None),
        (Reply::json(200, overloaded), "unavailable", None),
        (no_image, "unavailable", None),
        (Reply::answer("I would rather not."), "empty", None),
    ] {
        let (stack, health) = seeded([at("a", ImageApi::Chat)]);
        let script = [drawn_by_chat(), drawn_by_chat(), third];
        let upstream = Upstream::script(script);
        let whole = send(&stack, &upstream, request(json!({ "n": 4 }))).await;
        assert_eq!(whole.status(), 200, "{outcome} {whole:?}");
        let answer = whole.json();
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(2));
        image_at(&answer, 1);
        assert_eq!(
            answer["metadata"],
            json!({ "images_asked_for": 4, "images_made": 2, "stopped_by": outcome })
        );
        assert_eq!(whole.header("x-free-adjusted"), Some("n"));
        assert_eq!(whole.header("x-free-attempts"), Some("3"));
        let trail = ["succeeded", outcome, "succeeded"].map(|kind| format!("a/{MODEL}={kind}"));
        assert_eq!(whole.header("x-free-trail"), Some(&*trail.join(", ")));
        assert_eq!(upstream.calls(), 3, "{outcome}");
        let (started, succeeded, failed, abandoned, reason) = counts(&health);
        assert_eq!((started, succeeded, failed, abandoned), (3, 2, 1, 0));
        assert_eq!(reason, rests, "{outcome}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_chat_for_an_image_is_an_attempt() {
    let (stack, health) = seeded([at("a", ImageApi::Chat)]);
    let upstream = Upstream::script([drawn_by_chat()]);
    let whole = send(&stack, &upstream, request(json!({ "n": 3 }))).await;
    assert_eq!(whole.json()["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(whole.header("x-free-attempts"), Some("3"));
    assert_eq!(whole.header("x-free-adjusted"), None);
    assert_eq!(counts(&health), (3, 3, 0, 0, None));
}

#[tokio::test(start_paused = true)]
async fn no_more_chats_are_asked_for_images_than_attempts_are_allowed() {
    let (stack, _) = seeded([at("a", ImageApi::Chat), at("b", ImageApi::Chat)]);
    let stack = stack.fallback(|layer| layer.max_attempts(4));
    let upstream = Upstream::script([Reply::error(503), drawn_by_chat()]);
    let whole = send(&stack, &upstream, request(json!({ "n": 9 }))).await;
    assert_eq!(upstream.calls(), 4);
    let answer = whole.json();
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(answer["metadata"]["stopped_by"], "max_attempts");
    assert_eq!(whole.header("x-free-attempts"), Some("4"));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_a_chat_announces_ends_the_asking_for_images() {
    let (stack, health) = seeded([at("a", ImageApi::Chat)]);
    let last = drawn_by_chat()
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "40s");
    let upstream = Upstream::script([last]);
    let whole = send(&stack, &upstream, request(json!({ "n": 3 }))).await;
    assert_eq!(whole.status(), 200, "{whole:?}");
    assert_eq!(whole.json()["metadata"]["stopped_by"], "cooling");
    assert_eq!(upstream.calls(), 1);
    assert_eq!(
        counts(&health),
        (1, 1, 0, 0, Some(OutcomeKind::RateLimited))
    );
}

#[tokio::test(start_paused = true)]
async fn the_images_that_are_there_are_kept_when_the_time_is_over() {
    let limit = Duration::from_secs(60);
    // Where there is another target, one may not use up the whole deadline.
    for others in [&[][..], &["b"]] {
        let targets = ["a"].iter().chain(others);
        let targets = targets.map(|name| at(name, ImageApi::Chat));
        let (stack, health) = seeded(targets);
        let stack = stack.fallback(|layer| match others {
            [] => layer.answer_timeout(limit),
            _ => layer.deadline(2 * limit),
        });
        let began = Instant::now();
        let upstream = Upstream::script([drawn_by_chat(), Reply::hang()]);
        let whole = send(&stack, &upstream, request(json!({ "n": 2 }))).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        image_at(&whole.json(), 0);
        assert_eq!(whole.json()["metadata"]["stopped_by"], "time");
        assert!(began.elapsed() <= limit);
        // The second chat had only what the first one left of the time.
        let snapshot = health.snapshot();
        let asked = snapshot
            .targets
            .iter()
            .find(|asked| asked.tally.started > 0);
        let tally = asked.expect("one was asked").tally;
        let ended = (tally.succeeded, tally.failed, tally.abandoned);
        assert_eq!((tally.started, ended), (2, (1, 0, 1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_without_a_fallback_counts_each_chat_for_an_image() {
    let health = HealthMap::seeded(7);
    let catalog = Catalog::from_targets([at("a", ImageApi::Chat)]);
    let layer = FreeModelRouteLayer::new(catalog, health.clone()).image_layer(true);
    let upstream = Upstream::script([drawn_by_chat(), Reply::error(429)]);
    let images = ImageLayer::new().layer(upstream);
    let response = layer.layer(images).oneshot(request(json!({ "n": 3 })));
    let whole = read(response.await.expect("a response")).await;
    assert_eq!(whole.json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(whole.header("x-free-adjusted"), Some("n"));
    assert_eq!(
        counts(&health),
        (2, 1, 1, 0, Some(OutcomeKind::RateLimited))
    );
}

#[tokio::test(start_paused = true)]
async fn a_router_without_a_fallback_counts_an_image_that_could_not_be_asked_for() {
    let (layer, health) = without_images([at("a", ImageApi::Chat)]);
    let images = ImageLayer::new().layer(Upstream::script([Reply::unreachable()]));
    let layer = layer.image_layer(true).layer(images);
    assert!(layer.oneshot(request(json!({}))).await.is_err());
    let (started, succeeded, failed, abandoned, _) = counts(&health);
    assert_eq!((started, succeeded, failed, abandoned), (1, 0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_during_a_further_chat_abandons_only_that_chat() {
    let (stack, health) = seeded([at("a", ImageApi::Chat)]);
    let upstream = Upstream::script([drawn_by_chat(), Reply::hang()]);
    let left = tokio::time::timeout(
        Duration::from_secs(1),
        send(&stack, &upstream, request(json!({ "n": 2 }))),
    );
    assert!(left.await.is_err());
    assert_eq!(counts(&health), (2, 1, 0, 1, None));
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_keeps_the_request_does_not_keep_the_attempt_of_a_router_alone() {
    let (layer, health) = without_images([at("a", ImageApi::Chat)]);
    // The recorded requests, with all their extensions, live as long as the upstream.
    let upstream = Upstream::script([Reply::hang()]);
    let service = layer.image_layer(true).layer(upstream.clone());
    let left = service.oneshot(request(json!({})));
    assert!(
        tokio::time::timeout(Duration::from_secs(1), left)
            .await
            .is_err()
    );
    assert_eq!(upstream.calls(), 1);
    assert_eq!(counts(&health), (1, 0, 0, 1, None));
}

#[tokio::test(start_paused = true)]
async fn a_further_chat_that_cost_quarantines_and_the_images_are_kept() {
    let usage = json!({ "prompt_tokens": 1, "cost": 0.04 });
    let error = json!({ "error": { "message": "overloaded", "code": 503 }, "usage": usage });
    for second in [
        drawing(&[], usage.clone()),
        drawing(&["data:image/png;base64,AAAA"], usage.clone()),
        Reply::json(200, error),
    ] {
        let (stack, health) = seeded([at("a", ImageApi::Chat)]);
        let upstream = Upstream::script([drawn_by_chat(), second]);
        let whole = send(&stack, &upstream, request(json!({ "n": 3 }))).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        image_at(&whole.json(), 0);
        assert_eq!(state_of(&health, "a"), TargetState::Quarantined);
        assert_eq!(upstream.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_answers_of_one_request_are_bounded_together() {
    let (stack, _) = seeded([at("a", ImageApi::Chat)]);
    let Some(Step::Data(image)) = drawn_by_chat().steps.pop() else {
        panic!("a body");
    };
    let large = [&image[..], &vec![b' '; 33 << 20]].concat();
    let reply = Reply {
        steps: vec![Step::Data(large.into())],
        ..drawing(&[], json!(null))
    };
    let upstream = Upstream::script([reply]);
    let whole = send(&stack, &upstream, request(json!({ "n": 2 }))).await;
    assert_eq!(whole.status(), 200, "{whole:?}");
    assert_eq!(whole.json()["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cost_money_quarantines_its_target() {
    let usage = json!({ "prompt_tokens": 1, "cost": 0.04 });
    let by_images = json!({ "created": 1, "data": [{ "b64_json": drawn(8, 8) }], "usage": usage });
    for (api, reply, path) in [
        (
            ImageApi::Chat,
            drawing(&[&data_url()], usage.clone()),
            "/v1/chat/completions",
        ),
        (
            ImageApi::OpenRouter,
            Reply::json(200, by_images),
            "/v1/images",
        ),
    ] {
        let (stack, health) = seeded([at("a", api)]);
        let upstream = Upstream::script([reply]);
        let whole = send(&stack, &upstream, request(json!({ "n": 3 }))).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        assert_eq!(whole.json()["usage"]["cost"], 0.04);
        assert_eq!(state_of(&health, "a"), TargetState::Quarantined, "{api:?}");
        // It was not asked for the rest.
        let seen = upstream.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{api:?}");
        assert_eq!(seen[0].parts.uri.path(), path);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cost_that_a_translated_answer_has_no_place_for_quarantines() {
    let cost = json!({ "gateway": { "cost": "0.04" } });
    let image = json!({ "type": "image_url", "image_url": { "url": data_url() } });
    let message = json!({ "role": "assistant", "images": [image], "provider_metadata": cost });
    let choices = json!([{ "index": 0, "finish_reason": "stop", "message": message }]);
    let by_images =
        json!({ "created": 1, "data": [{ "b64_json": drawn(8, 8) }], "providerMetadata": cost });
    for (api, answer) in [
        (ImageApi::Chat, json!({ "choices": choices })),
        (ImageApi::OpenRouter, by_images),
    ] {
        let (stack, health) = seeded([at("a", api)]);
        let upstream = Upstream::script([Reply::json(200, answer)]);
        let whole = send(&stack, &upstream, request(json!({}))).await;
        image_at(&whole.json(), 0);
        assert_eq!(state_of(&health, "a"), TargetState::Quarantined, "{api:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cost_quarantines_even_if_there_is_no_image() {
    let usage = json!({ "prompt_tokens": 1, "cost": 0.04 });
    let by_images = json!({ "data": [{ "b64_json": "AAAA" }], "usage": usage });
    for (api, reply) in [
        (
            ImageApi::Chat,
            drawing(&["data:image/png;base64,AAAA"], usage.clone()),
        ),
        (ImageApi::OpenRouter, Reply::json(200, by_images)),
    ] {
        let (stack, health) = seeded([at("a", api)]);
        let upstream = Upstream::script([reply]);
        send(&stack, &upstream, request(json!({}))).await;
        assert_eq!(state_of(&health, "a"), TargetState::Quarantined, "{api:?}");
        assert_eq!(upstream.calls(), 1, "{api:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fields_that_an_api_has_no_place_for_are_named() {
    let asked = || {
        let fields = json!({ "quality": "hd", "style": "vivid", "steps": 9, "user": null, "models": ["x"], "size": "8x8" });
        request(fields)
    };
    let by_images = json!({ "data": [{ "b64_json": drawn(8, 8) }] });
    for (api, reply, dropped) in [
        (
            ImageApi::Chat,
            drawing(&[&data_url()], json!(null)),
            "models, quality, steps, style",
        ),
        (
            ImageApi::OpenRouter,
            Reply::json(200, by_images),
            "models, steps, style",
        ),
    ] {
        let (stack, _) = seeded([at("a", api)]);
        let whole = send(&stack, &Upstream::script([reply]), asked()).await;
        assert_eq!(whole.header("x-free-dropped"), Some(dropped), "{api:?}");
    }
    let (stack, _) = seeded([studio()]);
    let whole = ask(&stack, &Sdnext::new(Mood::Well, not_called()), asked()).await;
    assert_eq!(
        whole.header("x-free-dropped"),
        Some("models, quality, style")
    );
}

// By sdnext.

#[tokio::test(start_paused = true)]
async fn sdnext_makes_what_is_asked_for() {
    let (stack, _) = seeded([studio()]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let asked = json!({ "n": 2, "size": "512x256", "seed": 7, "response_format": "b64_json" });
    let whole = ask(&stack, &sdnext, request(asked)).await;
    assert_eq!(whole.status(), 200, "{whole:?}");
    let answer = whole.json();
    for index in 0..2 {
        assert_eq!(png::size(&image_at(&answer, index)), (512, 256));
        let entry = &answer["data"][index];
        assert_eq!(
            (&entry["width"], &entry["height"]),
            (&json!(512), &json!(256))
        );
        assert_eq!(entry["media_type"], "image/png");
        assert_eq!(entry["seed"], 7 + index);
    }
    assert_eq!(answer["metadata"]["model"], "me");
    assert_eq!(answer["metadata"]["seeds"], json!([7, 8]));
    assert_eq!(answer["output_format"], "png");
    assert_eq!(sdnext.asked()[0], "GET /sdapi/v1/sd-models");
    assert_eq!(
        sdnext.first_header("authorization").as_deref(),
        Some("Bearer key-of-studio")
    );
    assert_eq!(sdnext.first_header("content-length"), None);
    assert_eq!(sdnext.generations().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_image_comes_as_a_data_url_where_that_is_asked_for() {
    let (stack, _) = seeded([studio()]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let asked = json!({ "size": "64x64", "response_format": "url" });
    let answer = ask(&stack, &sdnext, request(asked)).await.json();
    let url = answer["data"][0]["url"].as_str().expect("a URL");
    let base64 = url
        .strip_prefix("data:image/png;base64,")
        .expect("a data URL");
    assert_eq!(png::size(&BASE64.decode(base64).expect("base64")), (64, 64));
    assert!(answer["data"][0].get("b64_json").is_none());
}

#[tokio::test(start_paused = true)]
async fn sdnext_is_found_from_any_base_url() {
    for base in [
        "http://studio.test:7860",
        "http://studio.test/v1",
        "http://studio.test/sdapi/v1/",
    ] {
        let (stack, _) = seeded([target(&sdnext::provider("studio", base), MODEL)]);
        let sdnext = Sdnext::new(Mood::Well, not_called());
        let whole = ask(&stack, &sdnext, request(json!({ "size": "8x8" }))).await;
        assert_eq!(whole.status(), 200, "{base}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_has_a_size_of_its_own() {
    let provider = sdnext::provider("studio", "http://studio.test:7860");
    let model = Model::new(MODEL).random(false).image_size(512, 512);
    let (stack, _) = seeded([provider.target(model).expect("a target")]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    for (asked, size) in [
        (json!({}), (512, 512)),
        (json!({ "size": "64x128" }), (64, 128)),
    ] {
        let answer = ask(&stack, &sdnext, request(asked)).await.json();
        assert_eq!(png::size(&image_at(&answer, 0)), size);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_is_not_there_is_gone_and_no_other_one_answers_for_it() {
    let provider = sdnext::provider("studio", "http://studio.test:7860");
    let (stack, health) = seeded([target(&provider, "you.safetensors")]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let asked = || request(json!({ "model": "you.safetensors" }));
    let whole = ask(&stack, &sdnext, asked()).await;
    assert!(!(200..300).contains(&whole.status()), "{whole:?}");
    let trail = whole.header("x-free-trail").expect("a trail");
    assert!(trail.ends_with("=gone"), "{trail}");
    assert_eq!(state_of(&health, "studio"), TargetState::Gone);
    assert_eq!(sdnext.generations(), Vec::<Value>::new());
    // Its owner may copy it there: it is looked for again after a minute, which no request waits for as a whole.
    let looked_for = || {
        let asked = sdnext.asked();
        asked
            .iter()
            .filter(|asked| asked.ends_with("/sd-models"))
            .count()
    };
    for (seconds, times) in [(34, 1), (26, 2)] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let whole = ask(&stack, &sdnext, asked()).await;
        assert!(!(200..300).contains(&whole.status()), "{whole:?}");
        assert_eq!(looked_for(), times);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_title_is_not_ascii_is_asked_for_and_named() {
    let title = sdnext::CHECKPOINTS[2];
    let in_header = "m%C3%B6we_%E6%B5%B7.safetensors [89abcdef01]";
    let provider = sdnext::provider("studio", "http://studio.test:7860");
    let (stack, _) = seeded([target(&provider, title), studio()]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    for name in [title, &format!("studio/{title}"), in_header] {
        let asked = request(json!({ "model": name, "size": "8x8" }));
        let whole = ask(&stack, &sdnext, asked).await;
        assert_eq!(whole.status(), 200, "{name} {whole:?}");
        assert_eq!(whole.json()["metadata"]["model"], "möwe_海");
        let generation = sdnext.generations().pop().expect("a generation");
        assert_eq!(
            generation["override_settings"]["sd_model_checkpoint"],
            title
        );
        assert_eq!(whole.header("x-free-model"), Some(in_header));
        let trail = format!("studio/{}=succeeded", in_header.replace(' ', "%20"));
        assert_eq!(whole.header("x-free-trail"), Some(&*trail));
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_fails_goes_to_another_provider() {
    for (mood, outcome) in [
        (Mood::Nothing, "empty"),
        (Mood::Garbage, "unavailable"),
        (Mood::OutOfMemory, "unavailable"),
    ] {
        let (stack, _) = seeded([studio(), at("b", ImageApi::OpenAi)]);
        let sdnext = Sdnext::new(mood, Upstream::script([openai_images()]));
        // The choice is random: some of these begin at sdnext.
        let mut began_there = false;
        for _ in 0..8 {
            let whole = ask(&stack, &sdnext, request(json!({ "size": "8x8" }))).await;
            assert_eq!(whole.status(), 200, "{mood:?} {whole:?}");
            assert_eq!(whole.header("x-free-provider"), Some("b"));
            let trail = whole.header("x-free-trail").expect("a trail");
            began_there |= trail.starts_with(&format!("studio/{MODEL}={outcome}, "));
        }
        assert!(began_there, "{mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_a_provider_cannot_make_is_a_400_that_names_the_field_and_reaches_no_upstream()
 {
    for (asked, param) in [
        (json!({ "size": "500x500" }), "size"),
        (json!({ "size": "4096x4096" }), "size"),
        (json!({ "n": 11 }), "n"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "stream": true }), "stream"),
        (json!({ "steps": 0 }), "steps"),
        (json!({ "seed": "lucky" }), "seed"),
        (json!({ "negative_prompt": 1 }), "negative_prompt"),
    ] {
        let (stack, health) = seeded([studio()]);
        let sdnext = Sdnext::new(Mood::Well, not_called());
        let whole = ask(&stack, &sdnext, request(asked)).await;
        assert_eq!(whole.status(), 400, "{param} {whole:?}");
        assert_eq!(whole.json()["error"]["param"], param);
        assert!(sdnext.asked().is_empty());
        assert_eq!(state_of(&health, "studio"), TargetState::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_can_stream_does_so_where_another_one_cannot() {
    let (stack, _) = seeded([studio(), at("b", ImageApi::OpenAi)]);
    let image = json!({ "type": "image_generation.completed", "b64_json": drawn(8, 8) });
    let sdnext = Sdnext::new(
        Mood::Well,
        Upstream::script([Reply::stream([event(&image)])]),
    );
    for _ in 0..8 {
        let whole = ask(&stack, &sdnext, request(json!({ "stream": true }))).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        assert!(whole.text().contains("image_generation.completed"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_without_a_fallback_translates_too_and_finishes_its_attempts() {
    let health = HealthMap::seeded(7);
    let target = studio();
    let catalog = Catalog::from_targets([target]);
    let layer = FreeModelRouteLayer::new(catalog, health.clone()).image_layer(true);
    for (asked, status) in [
        (json!({ "size": "8x8" }), 200),
        (json!({ "size": "9x9" }), 400),
    ] {
        let sdnext = Sdnext::new(Mood::Well, not_called());
        let images = ImageLayer::new().layer(sdnext);
        let response = layer.layer(images).oneshot(request(asked)).await;
        let whole = read(response.expect("a response")).await;
        assert_eq!(whole.status(), status, "{whole:?}");
        assert_eq!(whole.header("x-free-model"), Some(MODEL));
    }
    let tally = health.snapshot().targets[0].tally;
    assert_eq!((tally.started, tally.succeeded, tally.failed), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_for_an_image_that_names_an_unknown_model_goes_to_a_model_that_makes_images() {
    let writer = target(&provider("writer"), "chat-model");
    let (stack, _) = seeded([writer, studio()]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    for _ in 0..8 {
        let asked = json!({ "model": "dall-e-3", "size": "8x8" });
        let whole = ask(&stack, &sdnext, request(asked)).await;
        assert_eq!(whole.status(), 200, "{whole:?}");
        assert_eq!(whole.header("x-free-provider"), Some("studio"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_of_sdnext_is_sent_as_basic_authentication() {
    let known = Provider::known("sdnext").expect("it is known");
    let provider = known.key("artist:secret").build().expect("a provider");
    let (stack, _) = seeded([target(&provider, MODEL)]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let whole = ask(&stack, &sdnext, request(json!({ "size": "8x8" }))).await;
    assert_eq!(whole.status(), 200, "{whole:?}");
    let expected = format!("Basic {}", BASE64.encode("artist:secret"));
    assert_eq!(sdnext.first_header("authorization"), Some(expected));
}

// One at a time.

/// Sends a request for an image and lets it go as far as it can now.
fn begin(stack: &Stack, sdnext: &Sdnext) -> tokio::task::JoinHandle<Whole> {
    let (stack, sdnext) = (stack.clone(), sdnext.clone());
    tokio::spawn(async move { ask(&stack, &sdnext, request(json!({ "size": "8x8" }))).await })
}

#[tokio::test(start_paused = true)]
async fn a_server_of_images_gets_one_request_at_a_time_and_the_others_are_counted_as_waiting() {
    let target = studio();
    let provider = target.provider().clone();
    let (stack, _) = seeded([target]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let began = Instant::now();
    let requests: Vec<_> = (0..3).map(|_| begin(&stack, &sdnext)).collect();
    tokio::time::sleep(GENERATION / 2).await;
    let queue = provider.image_queue().expect("a queue");
    assert_eq!(queue.waiting, 2);
    assert!(queue.running.is_some());
    for request in requests {
        assert_eq!(request.await.expect("an answer").status(), 200);
    }
    assert_eq!(sdnext.most_inside(), 1);
    assert_eq!(began.elapsed(), 3 * GENERATION);
    let queue = provider.image_queue().expect("a queue");
    assert_eq!((queue.waiting, queue.running), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_server_is_not_at_fault_for_requests_that_wait_too_long_for_their_turn() {
    let target = studio();
    let id = target.id().clone();
    let (stack, health) = seeded([target]);
    let patience = GENERATION * 3 / 2;
    let stack = stack.fallback(|layer| layer.answer_timeout(patience));
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let requests: Vec<_> = (0..3).map(|_| begin(&stack, &sdnext)).collect();
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(request.await.expect("an answer").status());
    }
    assert_eq!(statuses, [200, 503, 503]);
    let snapshot = health.snapshot();
    let tally = snapshot.targets.iter().find(|known| known.id == id);
    let tally = tally.expect("an entry").tally;
    assert_eq!((tally.succeeded, tally.failed, tally.abandoned), (1, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn progress_can_be_read_while_an_image_is_made() {
    let target = studio();
    let provider = target.provider().clone();
    let (stack, _) = seeded([target]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let request = begin(&stack, &sdnext);
    let mut fractions = Vec::new();
    for _ in 0..3 {
        tokio::time::sleep(GENERATION / 4).await;
        let progress = provider.image_queue().expect("a queue").running;
        let progress = progress.expect("progress");
        let eta = progress.eta.expect("an end").as_secs_f64();
        let whole = GENERATION.as_secs_f64();
        assert!(
            (progress.fraction * whole + eta - whole).abs() < 1e-6,
            "{progress:?}"
        );
        fractions.push(progress.fraction);
    }
    assert!(
        fractions.is_sorted() && fractions[0] > 0.1 && fractions[2] > 0.6,
        "{fractions:?}"
    );
    assert_eq!(request.await.expect("an answer").status(), 200);
    let polls = sdnext.asked();
    let polls = polls
        .iter()
        .filter(|asked| *asked == "GET /sdapi/v1/progress?skip_current_image=true");
    let seconds = usize::try_from(GENERATION.as_secs()).expect("small");
    assert!((seconds - 1..=seconds).contains(&polls.count()));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_turn_holds_no_readiness() {
    let target = studio();
    let provider = target.provider().clone();
    let (stack, _) = seeded([target]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    // One place for the image, one for the question how far it is.
    let limited = stack.layer(ConcurrencyLimit::new(sdnext, 2));
    let requests: Vec<_> = (0..3)
        .map(|_| tokio::spawn(limited.clone().oneshot(request(json!({ "size": "8x8" })))))
        .collect();
    tokio::time::sleep(GENERATION / 2).await;
    let queue = provider.image_queue().expect("a queue");
    assert_eq!(queue.waiting, 2);
    assert!(queue.running.expect("progress").fraction > 0.2);
    for request in requests {
        let response = request.await.expect("it ends").expect("a response");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_leaves_the_server_and_the_queue() {
    let target = studio();
    let provider = target.provider().clone();
    let (stack, _) = seeded([target]);
    let sdnext = Sdnext::new(Mood::Well, not_called());
    let mut requests: Vec<_> = (0..3).map(|_| begin(&stack, &sdnext)).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // One that waits, then the one that is served.
    for (leaves, waiting) in [(1, 1), (0, 0)] {
        let leaver = requests.remove(leaves);
        leaver.abort();
        assert!(leaver.await.is_err());
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(provider.image_queue().expect("a queue").waiting, waiting);
        assert_eq!(sdnext.inside(), 1);
    }
    assert_eq!(requests.remove(0).await.expect("an answer").status(), 200);
    assert_eq!(sdnext.inside(), 0);
}
