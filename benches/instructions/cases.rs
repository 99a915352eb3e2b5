//! The cases: what is measured.

use std::{convert::Infallible, future::ready, hint::black_box, rc::Rc, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use tokio::runtime::{self, Runtime};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_free_models::{
    __private, Catalog, Classify, FreeModelRouteLayer, HealthMap, Model, Provider,
    classify::{DefaultClassify, Evidence, OutcomeKind, UpstreamError},
    provider::{Dialect, Endpoint},
    refresh::Refresh,
    stack,
};

use crate::inputs::{
    bodies,
    chat::{self, Mock},
    listing,
    pools::{self, Mix},
};

/// What is measured, once.
pub(crate) type Turn = Box<dyn FnOnce()>;

/// Makes the turns of a case ready. What it does itself is not measured.
type Prepared = Box<dyn FnMut() -> Turn>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) prepare: fn() -> Prepared,
    /// Whether its allocations are counted too.
    pub(crate) has_allocations: bool,
}

const fn case(name: &'static str, prepare: fn() -> Prepared) -> Case {
    Case {
        name,
        prepare,
        has_allocations: false,
    }
}

/// The whole stack, whose allocations are counted too.
const fn whole(name: &'static str, prepare: fn() -> Prepared) -> Case {
    Case {
        has_allocations: true,
        ..case(name, prepare)
    }
}

pub(crate) const CASES: &[Case] = &[
    case("rewrite_conversation_1kb", || {
        rewrite(bodies::conversation(1_000))
    }),
    case("rewrite_conversation_100kb", || {
        rewrite(bodies::conversation(100_000))
    }),
    case("rewrite_conversation_2mb", || {
        rewrite(bodies::conversation(2_000_000))
    }),
    case("rewrite_mixed_100kb", || {
        rewrite(bodies::mixed(100_000, false))
    }),
    case("rewrite_image_2mb", || rewrite(bodies::image(2_000_000))),
    case("pick_among_2", || pick(2, Mix::Uniform)),
    case("pick_among_30", || pick(30, Mix::Uniform)),
    case("pick_among_60_mixed", || pick(60, Mix::Mixed)),
    case("pick_among_300", || pick(300, Mix::Uniform)),
    case("pick_among_3000", || pick(3_000, Mix::Uniform)),
    // What the two cases after them take without any layer.
    case("bare_answer", || exchange(Mock::answer(), false)),
    case("bare_stream_of_50_events", || {
        exchange(Mock::events(), true)
    }),
    whole("answer", || layered(Mock::answer(), false)),
    whole("stream_of_50_events", || layered(Mock::events(), true)),
    case("classify_429", classify),
    case("listing_400_rows", listing),
];

/// Scans the body and rewrites it once.
fn rewrite(body: Bytes) -> Prepared {
    let turn = move || {
        const MODEL: &str = "meta-llama/llama-3.3-70b-instruct:free";
        let segments = __private::rewrite(black_box(&body), MODEL, &Dialect::OPENAI, None);
        black_box(segments.expect("the body is routed"));
    };
    repeated(turn)
}

/// Sends a small request through the router alone.
fn pick(size: usize, mix: Mix) -> Prepared {
    let targets = pools::pool(size, mix);
    let health = pools::history(&targets);
    let layer = FreeModelRouteLayer::new(Catalog::from_targets(targets), health).seed(7);
    let answer = |request| {
        black_box(&request);
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    };
    exchange(layer.layer(service_fn(answer)), false)
}

/// Sends a small request through the whole stack, with twenty targets at one provider.
fn layered(mock: Mock, streams: bool) -> Prepared {
    let stack = stack(pools::at_one_provider(), HealthMap::seeded(7)).route(|route| route.seed(7));
    exchange(stack.layer(mock), streams)
}

/// Sends a small request through a service, and reads its whole answer.
fn exchange<S, B>(service: S, streams: bool) -> Prepared
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible> + Clone + 'static,
    B: http_body::Body<Data = Bytes>,
{
    let runtime = Rc::new(runtime());
    Box::new(move || {
        let (runtime, service, request) =
            (Rc::clone(&runtime), service.clone(), chat::chat(streams));
        Box::new(move || {
            runtime.block_on(async move {
                let Ok(response) = service.oneshot(request).await;
                assert_eq!(response.status(), 200);
                let mut body = std::pin::pin!(response.into_body());
                while let Some(Ok(frame)) = body.frame().await {
                    black_box(frame.data_ref());
                }
            })
        })
    })
}

/// Reads the body of a 429 that OpenRouter relays, and decides what it means.
fn classify() -> Prepared {
    const BODY: &str = r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"meta-llama/llama-3.3-70b-instruct:free is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations","provider_name":"Venice","is_byok":false}},"user_id":"user_2abc"}"#;
    let provider = Provider::openrouter().key("key").build();
    let model = Model::new("meta-llama/llama-3.3-70b-instruct:free");
    let target = provider.expect("a provider").target(model);
    let target = target.expect("a free model");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    let turn = move || {
        let body = Bytes::from_static(BODY.as_bytes());
        let error = UpstreamError::read(StatusCode::TOO_MANY_REQUESTS, black_box(&headers), body);
        let evidence = Evidence::new(
            &target,
            Endpoint::ChatCompletions,
            &headers,
            &error,
            SystemTime::UNIX_EPOCH,
        );
        let outcome = black_box(DefaultClassify.classify(&evidence));
        assert_eq!(outcome.kind, OutcomeKind::RateLimited);
    };
    repeated(turn)
}

/// Reads a listing of 400 models, of which 40 are free, and puts them into a catalog that has them already.
fn listing() -> Prepared {
    let body = listing::listing(400);
    let runtime = runtime();
    let catalog = Catalog::new();
    let provider = Provider::openrouter()
        .key("key")
        .build()
        .expect("a provider");
    let mut refresh = Refresh::new(catalog.clone(), HealthMap::seeded(7)).provider(provider);
    let turn = move || {
        let upstream =
            service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Full::new(body.clone())))));
        runtime.block_on(refresh.once(upstream));
        assert_eq!(catalog.snapshot().len(), 40);
    };
    repeated(turn)
}

/// A case whose turns need nothing made ready for each.
fn repeated(turn: impl FnMut() + 'static) -> Prepared {
    let turn = Rc::new(std::cell::RefCell::new(turn));
    Box::new(move || {
        let turn = Rc::clone(&turn);
        Box::new(move || turn.borrow_mut()())
    })
}

/// One thread, as a gateway has one for each core.
fn runtime() -> Runtime {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime")
}
