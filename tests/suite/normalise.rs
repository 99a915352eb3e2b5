//! Whole answers that strict clients fail at, and the layer that rewrites them.

use crate::support::*;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, util::MapResponse};
use tower_free_models::{Catalog, FallbackLayer, FreeModelRouteLayer, HealthMap, NormaliseLayer};

/// What the stack makes of this reply of an upstream.
async fn through_the_stack(reply: Reply) -> Whole {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    send(&stack, &Upstream::script([reply]), chat()).await
}

fn bytes_of(reply: &Reply) -> Vec<u8> {
    let data = |step: &Step| match step {
        Step::Data(data) => data.to_vec(),
        _ => Vec::new(),
    };
    reply.steps.iter().flat_map(data).collect()
}

/// An answer that Mistral could give: parts, a call without a type, a string for a number.
fn irregular() -> Value {
    json!({ "id": "1", "object": "chat.completion", "created": "1700000000", "model": "m", "choices": [{
        "index": 0, "finish_reason": "stop", "message": {
            "role": "assistant",
            "content": [{ "type": "thinking", "thinking": [{ "type": "text", "text": "Hm." }] }, { "type": "text", "text": "Hi" }],
            "tool_calls": [{ "id": "gSIMJiOkT", "function": { "name": "f", "arguments": { "x": 1 } } }],
        } }] })
}

#[tokio::test(start_paused = true)]
async fn an_irregular_answer_is_rewritten_and_its_head_fits_it_and_says_so() {
    let reply = Reply::json(200, irregular())
        .header("etag", "\"1\"")
        .header("content-length", "1")
        .header("x-free-normalised", "nothing, says the upstream");
    let whole = through_the_stack(reply).await;
    assert_eq!(whole.status(), 200);
    let choice = &whole.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], "Hi");
    assert_eq!(choice["message"]["reasoning_content"], "Hm.");
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([{ "id": "gSIMJiOkT", "type": "function", "function": { "name": "f", "arguments": "{\"x\":1}" } }])
    );
    assert_eq!(whole.json()["created"], 1_700_000_000);
    let names = whole.header("x-free-normalised").unwrap_or_default();
    let mut names: Vec<_> = names.split(", ").collect();
    names.sort_unstable();
    assert_eq!(names, ["content", "created", "finish_reason", "tool_calls"]);
    let len = whole.body.len().to_string();
    assert_eq!(whole.header("content-length"), Some(&*len));
    assert_eq!(whole.header("etag"), None);
}

#[tokio::test(start_paused = true)]
async fn a_regular_answer_keeps_its_bytes_and_its_head() {
    let reply = Reply::answer("hi")
        .header("etag", "\"1\"")
        .header("x-free-normalised", "content");
    let whole = through_the_stack(reply.clone()).await;
    assert_eq!(whole.body, bytes_of(&reply));
    assert_eq!(whole.header("etag"), Some("\"1\""));
    // What an upstream says that it normalised is not passed on as the word of this layer.
    assert_eq!(whole.header("x-free-normalised"), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_many_pieces_is_rewritten_and_one_above_the_peek_limit_passes() {
    let body = irregular().to_string();
    let pieces = body.as_bytes().chunks(7).map(Bytes::copy_from_slice);
    let reply = Reply {
        steps: pieces.map(Step::Data).collect(),
        ..Reply::json(200, json!(null))
    };
    let whole = through_the_stack(reply.clone()).await;
    assert_eq!(whole.json()["choices"][0]["message"]["content"], "Hi");

    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|fallback| fallback.peek_limit(100));
    let whole = send(&stack, &Upstream::script([reply]), chat()).await;
    assert_eq!(whole.text(), body);
}

#[tokio::test(start_paused = true)]
async fn a_stream_keeps_its_bytes_however_irregular_they_are() {
    let irregular = event(
        &json!({ "created": 1.5, "choices": [{ "delta": { "content": [{ "type": "text", "text": "Hi" }] } }] }),
    );
    let reply = Reply::stream([irregular, finish(), done()]);
    let whole = through_the_stack(reply.clone()).await;
    assert_eq!(whole.body, bytes_of(&reply));
}

#[tokio::test(start_paused = true)]
async fn an_irregular_answer_passes_where_the_layer_or_the_fallback_is_left_out() {
    let reply = Reply::json(200, irregular());
    let route = || {
        let catalog = Catalog::from_targets(targets(&["a"], &["m"]));
        FreeModelRouteLayer::new(catalog, HealthMap::new()).layer(Upstream::script([reply.clone()]))
    };
    let without_layer = FallbackLayer::new().layer(route());
    let without_layer = read(without_layer.oneshot(chat()).await.unwrap()).await;
    let without_fallback = NormaliseLayer::new().layer(route());
    let without_fallback = read(without_fallback.oneshot(chat()).await.unwrap()).await;
    for whole in [without_layer, without_fallback] {
        assert_eq!(whole.body, bytes_of(&reply));
        assert_eq!(whole.header("x-free-normalised"), None);
    }
}

/// What comes of an irregular answer where a layer between the fallback and this one replaces its frames.
async fn replaced(frames: fn() -> Vec<Result<Frame<Bytes>, &'static str>>) -> Response<AnyBody> {
    let catalog = Catalog::from_targets(targets(&["a"], &["m"]));
    let route = FreeModelRouteLayer::new(catalog, HealthMap::new());
    let upstream = Upstream::script([Reply::json(200, irregular())]);
    let service = FallbackLayer::new().layer(route.layer(upstream));
    let service = MapResponse::new(service, move |response: Response<_>| {
        response.map(|_| StreamBody::new(tokio_stream::iter(frames())))
    });
    let response = NormaliseLayer::new().layer(service).oneshot(chat()).await;
    response.unwrap().map(BodyExt::boxed_unsync)
}

type AnyBody =
    http_body_util::combinators::UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::test(start_paused = true)]
async fn what_another_layer_made_of_the_answer_passes() {
    let other = replaced(|| {
        vec![
            Ok(Frame::data("no JSON ".into())),
            Ok(Frame::data("any more".into())),
        ]
    });
    let other = read(other.await).await;
    assert_eq!(other.text(), "no JSON any more");
    assert_eq!(other.header("x-free-normalised"), None);

    let broken = replaced(|| vec![Ok(Frame::data("{".into())), Err("broke")]);
    let broken = read(broken.await).await;
    assert!(broken.broken.unwrap().contains("broke"));
}

#[tokio::test(start_paused = true)]
async fn a_rewritten_answer_keeps_its_trailers_and_states_no_length_before_them() {
    let response = replaced(|| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", http::HeaderValue::from_static("1"));
        let data = Frame::data(irregular().to_string().into());
        vec![Ok(data), Ok(Frame::trailers(trailers))]
    });
    let response = response.await;
    assert!(response.headers().contains_key("x-free-normalised"));
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), None);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "1");
}
