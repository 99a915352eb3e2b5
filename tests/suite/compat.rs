//! The layers fit what they are used with: hyper-util's client, axum on both sides, tower-http's layers inside
//! and outside, tower's boxes. And the router alone, and the layers in the wrong order.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use crate::support::probe::*;
use crate::support::*;
use axum::{Router, extract::State, response::IntoResponse, routing::post as route_post};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_free_models::{
    Body, Catalog, Fallback, FallbackLayer, FreeModelRoute, FreeModelRouteLayer, HealthMap,
    ImageLayer, Model, NormaliseLayer, Provider, Routed, Stack, Target,
    classify::{OutcomeKind, Scope},
    fallback,
    health::TargetState,
    images::{self, Images},
    normalise::{self, Normalise},
    provider::FreeRule,
    route, stack,
};
use tower_http::{
    decompression::DecompressionLayer,
    limit::RequestBodyLimitLayer,
    timeout::{RequestBodyTimeoutLayer, ResponseBodyTimeoutLayer, TimeoutLayer},
    trace::TraceLayer,
};

type HyperClient = Client<HttpConnector, Body>;

fn hyper_client() -> HyperClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A provider in this process, with real connections: its answer says which model was asked.
async fn listening() -> SocketAddr {
    let app = Router::new().route("/v1/chat/completions", route_post(echo));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

async fn echo(axum::Json(request): axum::Json<Value>) -> axum::Json<Value> {
    axum::Json(json!({ "choices": [{
        "message": { "role": "assistant", "content": request["model"] },
        "finish_reason": "stop",
    }] }))
}

fn at(address: SocketAddr) -> Stack {
    let local = Provider::new("local")
        .base_url(&format!("http://{address}/v1"))
        .free(FreeRule::All)
        .build()
        .unwrap();
    let target = local.target(Model::new("tiny")).unwrap();
    stack(Catalog::from_targets([target]), HealthMap::new())
}

fn content(answer: &Whole) -> Value {
    answer.json()["choices"][0]["message"]["content"].clone()
}

/// Not run: that it compiles is what it says.
#[allow(dead_code)]
mod auto_traits {
    use super::*;

    type Router = FreeModelRoute<Images<HyperClient>>;
    type Both = Normalise<Fallback<Router>>;

    const fn shared<T: Clone + Send + Sync + 'static>() {}
    const fn sent<T: Send + 'static>() {}

    const _: () = {
        shared::<Stack>();
        shared::<FreeModelRouteLayer>();
        shared::<FallbackLayer>();
        shared::<ImageLayer>();
        shared::<NormaliseLayer>();
        shared::<Catalog>();
        shared::<HealthMap>();
        shared::<Target>();
        shared::<tower_free_models::AttemptSlot>();
        shared::<Routed>();
        shared::<Router>();
        shared::<Both>();
        sent::<<Router as Service<Request<Body>>>::Future>();
        sent::<<Both as Service<Request<Body>>>::Future>();
        sent::<<Both as Service<Request<axum::body::Body>>>::Future>();
        sent::<<Both as Service<Request<Upload>>>::Future>();
    };

    type Answer = normalise::ResponseBody<
        fallback::ResponseBody<route::ResponseBody<images::ResponseBody<hyper::body::Incoming>>>,
    >;

    const fn unpin<T: Unpin>() {}
    const _: () = unpin::<Answer>();
    const _: () = unpin::<Body>();
    const fn send_and_sync<T: Send + Sync + 'static>() {}
    const _: () = send_and_sync::<Answer>();
    const _: () = send_and_sync::<Body>();
    const _: () = send_and_sync::<tower_free_models::Attempt>();
}

// ===== clients and servers =====

#[tokio::test]
async fn they_fit_the_client_of_hyper_util() {
    let service = at(listening().await).layer(hyper_client());
    let answer = read(service.oneshot(chat()).await.unwrap()).await;
    assert_eq!((answer.status(), content(&answer)), (200, json!("tiny")));
}

#[tokio::test]
async fn they_fit_around_the_handlers_of_axum() {
    let own = bare_provider("own");
    let (stack, _) = seeded([target(&own, "small")]);
    let app = Router::new()
        .route("/v1/chat/completions", route_post(echo))
        .route("/hello", axum::routing::get(async || "hello"))
        .layer(stack);
    let answer = read(app.clone().oneshot(chat()).await.unwrap()).await;
    assert_eq!((answer.status(), content(&answer)), (200, json!("small")));
    assert_eq!(answer.header("x-free-model"), Some("small"));
    let other = Request::get("/hello")
        .body(Full::<Bytes>::default())
        .unwrap();
    assert_eq!(
        read(app.oneshot(other).await.unwrap()).await.text(),
        "hello"
    );
}

#[tokio::test]
async fn they_fit_around_a_client_inside_a_handler_of_axum() {
    type Models = Normalise<Fallback<FreeModelRoute<Images<HyperClient>>>>;
    async fn ask(
        State(models): State<Models>,
        request: Request<axum::body::Body>,
    ) -> impl IntoResponse {
        let answer = models.oneshot(request).await;
        answer.map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))
    }
    let models = at(listening().await).layer(hyper_client());
    let app = Router::new()
        .route("/chat/completions", route_post(ask))
        .with_state(models);
    let request = post("/chat/completions", CHAT);
    let answer = read(app.oneshot(request).await.unwrap()).await;
    assert_eq!((answer.status(), content(&answer)), (200, json!("tiny")));
}

#[tokio::test]
async fn they_fit_into_a_box_that_is_shared_between_threads() {
    let service = at(listening().await).layer(hyper_client());
    let service: BoxCloneSyncService<Request<Full<Bytes>>, _, _> =
        BoxCloneSyncService::new(service);
    let tasks: Vec<_> = (0..4)
        .map(|_| tokio::spawn(service.clone().oneshot(chat())))
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 200);
    }
}

// ===== tower-http =====

/// An upstream whose bodies have a default, as some of tower-http's layers want of what is inside them.
fn plain(
    upstream: &Upstream,
) -> impl Service<
    Request<Body>,
    Response = Response<axum::body::Body>,
    Error = BoxError,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    upstream
        .clone()
        .map_response(|response| response.map(axum::body::Body::new))
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn they_fit_inside_and_outside_of_the_layers_of_tower_http() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let upstream = Upstream::script([Reply::error(503), Reply::words(&["a", "b"])]);
    let status = StatusCode::GATEWAY_TIMEOUT;
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(RequestBodyTimeoutLayer::new(MINUTE))
        .layer(RequestBodyLimitLayer::new(1_000_000))
        .layer(ResponseBodyTimeoutLayer::new(MINUTE))
        .layer(DecompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(status, MINUTE))
        .layer(stack)
        .layer(TraceLayer::new_for_http())
        .layer(ResponseBodyTimeoutLayer::new(MINUTE))
        .layer(DecompressionLayer::new())
        .layer(TimeoutLayer::with_status_code(status, MINUTE))
        .service(plain(&upstream));
    let answer = read(service.oneshot(streamed_chat()).await.unwrap()).await;
    assert_eq!((answer.status(), answer.broken), (200, None));
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_drops_the_upstream_and_blames_nobody() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::hang()]);
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_secs(1),
        ))
        .layer(stack)
        .service(upstream.clone());
    let answer = service.oneshot(chat()).await.unwrap();
    assert_eq!(
        (answer.status(), upstream.alive()),
        (StatusCode::GATEWAY_TIMEOUT, 0)
    );
    let target = &health.snapshot().targets[0];
    assert_eq!((target.tally.abandoned, target.cooling), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_leads_to_another_model() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let upstream = Upstream::script([Reply::hang(), Reply::answer("hello")]);
    let service = ServiceBuilder::new()
        .layer(stack)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_secs(1),
        ))
        .service(plain(&upstream));
    let answer = read(service.oneshot(chat()).await.unwrap()).await;
    assert_eq!(
        (answer.status(), answer.header("x-free-attempts")),
        (200, Some("2"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_timeout_inside_ends_a_stream_with_an_error_event() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::stream([delta("a"), Step::Hang])]);
    let service = ServiceBuilder::new()
        .layer(stack)
        .layer(ResponseBodyTimeoutLayer::new(Duration::from_secs(1)))
        .service(upstream.clone());
    let answer = read(service.oneshot(streamed_chat()).await.unwrap()).await;
    assert!(answer.text().contains("\"error\""), "{}", answer.text());
    assert!(!answer.text().contains("[DONE]"));
    assert_eq!((answer.broken, upstream.alive()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_body_timeout_outside_ends_a_stalled_upload() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([Reply::answer("hello")]);
    let service = ServiceBuilder::new()
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(1)))
        .layer(stack)
        .service(upstream.clone());
    let answer = service.oneshot(upload(stalled(CHAT))).await.unwrap();
    assert!(answer.status().is_client_error());
    assert_eq!(upstream.calls(), 0);
}

/// The bytes as gzip has them where they are not compressed: RFC 1951 3.2.4, RFC 1952 2.3.
fn gzip(bytes: &[u8]) -> Bytes {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let len = u16::try_from(bytes.len()).unwrap();
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    gzip.extend(len.to_le_bytes());
    gzip.extend((!len).to_le_bytes());
    gzip.extend(bytes);
    gzip.extend((!crc).to_le_bytes());
    gzip.extend(u32::from(len).to_le_bytes());
    gzip.into()
}

/// Compressed, although that was not asked for.
fn compressed(mut reply: Reply) -> Reply {
    let Some(Step::Data(body)) = reply.steps.pop() else {
        unreachable!("a reply in one piece");
    };
    reply.steps = vec![Step::Data(gzip(&body))];
    reply.header("content-encoding", "gzip")
}

#[tokio::test(start_paused = true)]
async fn what_is_decompressed_inside_is_looked_at() {
    let (stack, _) = seeded(targets(&["a", "b"], &["m"]));
    let hidden = Reply::json(200, json!({ "error": { "message": "busy", "code": 503 } }));
    let upstream = Upstream::script([compressed(hidden), compressed(Reply::answer("hello"))]);
    let service = ServiceBuilder::new()
        .layer(stack)
        .layer(DecompressionLayer::new())
        .service(upstream.clone());
    let answer = read(service.oneshot(chat()).await.unwrap()).await;
    assert_eq!((content(&answer), upstream.calls()), (json!("hello"), 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_inflated_already_is_not_decompressed_outside() {
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let upstream = Upstream::script([compressed(Reply::answer("hello"))]);
    let service = ServiceBuilder::new()
        .layer(DecompressionLayer::new())
        .layer(stack)
        .service(upstream.clone());
    let answer = read(service.oneshot(chat()).await.unwrap()).await;
    assert_eq!(content(&answer), json!("hello"));
    assert_eq!(answer.header("content-encoding"), None);
    let seen = upstream.seen.lock().unwrap();
    assert_eq!(seen[0].parts.headers["accept-encoding"], "identity");
}

// ===== clones =====

#[tokio::test(start_paused = true)]
async fn clones_of_a_layer_share_what_counts_over_all_bodies() {
    let room = CHAT.len() as u64;
    let (stack, _) = seeded(targets(&["a"], &["m"]));
    let stack = stack.fallback(|fallback| fallback.max_bodies_in_flight(room));
    let upstream = Upstream::script([Reply::answer("hello")]);
    let (first, second) = (
        stack.layer(upstream.clone()),
        stack.clone().layer(upstream.clone()),
    );
    let mut stalls = task::spawn(first.oneshot(upload(stalled(CHAT))));
    assert_pending!(stalls.poll());
    assert_eq!(second.clone().oneshot(chat()).await.unwrap().status(), 503);
    drop(stalls);
    assert_eq!(
        second
            .oneshot(upload(at_once(CHAT)))
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test(start_paused = true)]
async fn clones_of_a_stack_share_health() {
    let (stack, health) = seeded(targets(&["a"], &["m"]));
    let limited = Reply::error(429).header("retry-after", "100");
    send(&stack, &Upstream::script([limited]), chat()).await;
    let upstream = Upstream::script([Reply::answer("hello")]);
    let refused = send(&stack.clone(), &upstream, chat()).await;
    assert_eq!((refused.status(), upstream.calls()), (429, 0));
    assert_eq!(health.snapshot().targets[0].state, TargetState::Cooling);
}

// ===== the router alone =====

struct Alone {
    response: Result<Whole, BoxError>,
    routed: Option<Routed>,
    health: HealthMap,
}

/// One request, and what the router without a fallback makes of it.
async fn alone(provider: Provider, reply: Reply) -> Alone {
    let health = HealthMap::seeded(7);
    let catalog = Catalog::from_targets([target(&provider, "m")]);
    let service =
        FreeModelRouteLayer::new(catalog, health.clone()).layer(Upstream::script([reply]));
    let mut routed = None;
    let response = match service.oneshot(chat()).await {
        Ok(response) => {
            routed = response.extensions().get().cloned();
            Ok(read(response).await)
        }
        Err(error) => Err(error),
    };
    Alone {
        response,
        routed,
        health,
    }
}

#[tokio::test(start_paused = true)]
async fn the_router_alone_says_who_answered() {
    let Alone {
        response, routed, ..
    } = alone(provider("a"), Reply::answer("hello")).await;
    let response = response.unwrap();
    assert_eq!(
        (response.status(), response.header("x-free-provider")),
        (200, Some("a"))
    );
    assert_eq!(response.header("x-free-model"), Some("m"));
    assert_eq!(response.header("x-free-attempts"), None);
    assert_eq!(routed.unwrap().target.id().model(), "m");
}

#[tokio::test(start_paused = true)]
async fn the_router_alone_judges_by_the_head() {
    // The status, and whether it succeeded, and what the target is kept back for, and for how long if that was said.
    for (reply, succeeded, cooling) in [
        (Reply::answer("hello"), true, None),
        // What is in the body it does not see.
        (
            Reply::json(200, json!({ "error": { "code": 429 } })),
            true,
            None,
        ),
        (
            Reply::error(429).header("retry-after", "100"),
            false,
            Some((OutcomeKind::RateLimited, Scope::Target, true)),
        ),
        (
            Reply::error(503),
            false,
            Some((OutcomeKind::Unavailable, Scope::Target, false)),
        ),
        (
            Reply::error(401),
            false,
            Some((OutcomeKind::Unauthorised, Scope::Provider, true)),
        ),
        (Reply::error(400), false, None),
        (
            Reply::unreachable(),
            false,
            Some((OutcomeKind::Unreachable, Scope::Target, false)),
        ),
    ] {
        let status = reply.status;
        let Alone { health, .. } = alone(provider("a"), reply).await;
        let target = &health.snapshot().targets[0];
        let tally = (
            target.tally.succeeded,
            target.tally.failed,
            target.tally.abandoned,
        );
        let ended = if succeeded { (1, 0, 0) } else { (0, 1, 0) };
        assert_eq!(tally, ended, "{status}");
        let found = target
            .cooling
            .map(|cooling| (cooling.reason, cooling.scope, cooling.stated));
        assert_eq!(found, cooling, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_callers_own_credential_is_refused_is_not_written_to_health() {
    for status in [401, 402, 403] {
        let Alone {
            response, health, ..
        } = alone(bare_provider("own"), Reply::error(status)).await;
        assert_eq!(response.unwrap().status(), status);
        assert_eq!(health.snapshot().targets[0].cooling, None, "{status}");
        assert_eq!(health.snapshot().providers[0].cooling, None, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_router_alone_returns_an_error_of_the_inner_service_as_it_is() {
    let Alone { response, .. } = alone(provider("a"), Reply::unreachable()).await;
    assert_eq!(response.unwrap_err().to_string(), "connection refused");
}

#[tokio::test]
async fn a_service_that_cannot_fail_stays_one() {
    let own = bare_provider("own");
    let (stack, _) = seeded([target(&own, "m")]);
    let inner = tower::service_fn(|_: Request<Body>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(
            r#"{"choices": [{"message": {"content": "hello"}}]}"#,
        )))
    });
    let Ok(response) = stack.layer(inner).oneshot(chat()).await;
    assert_eq!(response.status(), 200);
}

// ===== the wrong order =====

#[tokio::test(start_paused = true)]
async fn layers_in_the_wrong_order_are_told() {
    let pool = targets(&["a", "b"], &["m"]);
    let upstream = Upstream::script([Reply::answer("hello")]);
    let service = ServiceBuilder::new()
        .layer(FreeModelRouteLayer::new(
            Catalog::from_targets(pool),
            HealthMap::seeded(7),
        ))
        .layer(FallbackLayer::new())
        .service(upstream.clone());
    // And not only the first time.
    for _ in 0..5 {
        let refused = read(service.clone().oneshot(chat()).await.unwrap()).await;
        assert_eq!(refused.status(), 500);
        assert_eq!(refused.json()["error"]["code"], "layers_in_wrong_order");
    }
    assert_eq!(upstream.calls(), 0);
}
