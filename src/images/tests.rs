use std::{convert::Infallible, future::Future, task::Poll, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tokio_test::task::spawn;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::{
    body::Body,
    catalog::{Catalog, Model},
    health::HealthMap,
    images::{ImageLayer, Images},
    provider::{Dialect, FreeRule, ImageApi, Provider},
    route::{FreeModelRoute, FreeModelRouteLayer},
};

/// A megabyte and a third in base64.
const IMAGE: usize = 1_000_000;

type Upstream = UnsyncBoxBody<Bytes, Infallible>;

/// The image layer inside a router without a fallback.
struct Layers {
    images: ImageLayer,
    route: FreeModelRouteLayer,
    health: HealthMap,
}

impl Layers {
    fn bounded(bound: u64) -> Self {
        let dialect = Dialect {
            images: ImageApi::Chat,
            ..Dialect::OPENAI
        };
        let provider = Provider::new("p").base_url("http://p.test/v1");
        let provider = provider.free(FreeRule::All).dialect(dialect).build();
        let target = provider.expect("a provider").target(Model::new("m"));
        let catalog = Catalog::from_targets([target.expect("a target")]);
        let health = HealthMap::seeded(7);
        Self {
            images: ImageLayer::new().max_images_in_flight(bound),
            route: FreeModelRouteLayer::new(catalog, health.clone()).image_layer(true),
            health,
        }
    }

    fn layer<S>(&self, service: S) -> FreeModelRoute<Images<S>> {
        self.route.layer(self.images.layer(service))
    }

    fn held(&self) -> u64 {
        self.images.memory.held()
    }
}

fn request(n: usize) -> Request<Full<Bytes>> {
    let body = json!({ "model": "m", "prompt": "a fox", "n": n }).to_string();
    let request = Request::post("/v1/images/generations").body(Full::new(Bytes::from(body)));
    request.expect("a request")
}

/// A chat's answer with one image.
fn drawing() -> Bytes {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02".to_vec();
    png.resize(IMAGE, 0);
    let url = format!("data:image/png;base64,{}", BASE64.encode(png));
    let message = json!({ "role": "assistant", "images": [{ "image_url": { "url": url } }] });
    let choices = json!([{ "index": 0, "message": message, "finish_reason": "stop" }]);
    Bytes::from(json!({ "choices": choices }).to_string())
}

/// A service that answers each call so, some milliseconds later and piece by piece.
fn artist(
    answer: Bytes,
) -> impl Service<
    Request<Body>,
    Response = Response<Upstream>,
    Error = Infallible,
    Future: Future<Output = Result<Response<Upstream>, Infallible>> + Send + 'static,
> + Clone
+ Send
+ 'static {
    service_fn(move |_| {
        let answer = answer.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let starts: Vec<_> = (0..answer.len()).step_by(100_000).collect();
            let pieces = stream::iter(starts).then(move |start| {
                let end = answer.len().min(start + 100_000);
                // A copy: else all the pieces of all answers were one buffer.
                let piece = Bytes::copy_from_slice(&answer[start..end]);
                async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    Ok(Frame::data(piece))
                }
            });
            Ok(Response::new(UnsyncBoxBody::new(StreamBody::new(pieces))))
        }
    })
}

async fn json_of<B>(response: Response<B>) -> Value
where
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let body = response.into_body().collect().await.expect("a body");
    serde_json::from_slice(&body.to_bytes()).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn all_requests_together_hold_no_more_than_the_bound_and_are_refused_beyond_it() {
    const BOUND: u64 = 20_000_000;
    let layer = Layers::bounded(BOUND);
    let service = layer.layer(artist(drawing()));
    let callers = join_all((0..24).map(|_| service.clone().oneshot(request(1))));
    let mut callers = std::pin::pin!(callers);
    let mut most = 0;
    let responses = loop {
        tokio::select! {
            biased;
            responses = &mut callers => break responses,
            () = tokio::time::sleep(Duration::from_micros(500)) => most = most.max(layer.held()),
        }
    };
    assert!(most <= BOUND, "{most}");
    assert!(most > BOUND / 2, "{most}");
    let (mut served, mut refused, mut bytes) = (0, 0, 0);
    for response in &responses {
        let response = response.as_ref().expect("a response");
        match response.status().as_u16() {
            200 => {
                served += 1;
                bytes += http_body::Body::size_hint(response.body()).lower();
            }
            503 => {
                refused += 1;
                assert_eq!(response.headers()["retry-after"], "1");
                // It is no word about the target.
                assert_eq!(response.headers()["x-free-model"], "m");
            }
            other => panic!("{other}"),
        }
    }
    assert!(served >= 3 && refused >= 1, "{served} {refused}");
    // What was made of the answers is held until the callers have read it.
    assert!((bytes..=BOUND).contains(&layer.held()), "{}", layer.held());
    let tally = layer.health.snapshot().targets[0].tally;
    assert_eq!(
        (tally.succeeded, tally.failed, tally.abandoned),
        (served, 0, refused)
    );
    for response in responses {
        let response = response.expect("a response");
        let refused = response.status() == 503;
        let answer = json_of(response).await;
        assert!(!refused || answer["error"]["code"] == "too_many_images");
        assert_eq!(answer["data"].is_array(), !refused);
    }
    assert_eq!(layer.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn images_that_are_there_are_kept_when_there_is_no_room_for_another() {
    let layer = Layers::bounded(5_500_000);
    let service = layer.layer(artist(drawing()));
    let response = service.oneshot(request(4)).await.expect("a response");
    let answer = json_of(response).await;
    assert_eq!(answer["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["metadata"]["stopped_by"], "memory");
    assert_eq!(layer.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_at_any_stage_gives_its_memory_back() {
    let layer = Layers::bounded(100_000_000);
    let service = layer.layer(artist(drawing()));
    let (mut most, mut left_early) = (0, 0);
    // Two calls of 5 ms and fourteen pieces, at every millisecond; then the answer.
    for stays in 0..50 {
        let mut exchange = spawn(service.clone().oneshot(request(2)));
        let mut answer = None;
        for _ in 0..=stays {
            if let Poll::Ready(response) = exchange.poll() {
                answer = Some(response.expect("a response"));
                break;
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        most = most.max(layer.held());
        left_early += usize::from(answer.is_none());
        drop(exchange);
        // A part of it was read.
        if let Some(answer) = &mut answer {
            answer.body_mut().frame().await;
        }
        drop(answer);
        assert_eq!(layer.held(), 0, "{stays}");
    }
    assert!(most > 2 * IMAGE as u64, "{most}");
    assert!((30..50).contains(&left_early), "{left_early}");
}
