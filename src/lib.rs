//! Tower middleware that gives any HTTP stack free LLM inference.
//!
//! ```text
//! client ─▶ Normalise ─▶ Fallback ─▶ FreeModelRoute ─▶ Images ─▶ S    S: a hyper client, reqwest, an axum handler…
//!                          │  ▲         │   ▲
//!                  outcome │  │ again   │   │ one consistent read per pick
//!                          ▼  │         ▼   │
//!                        HealthMap ◀── Catalog                        cheap handles; clones share state
//! ```
//!
//! - [`FreeModelRouteLayer`] rewrites the `model` of an outgoing request in OpenAI's format to a free model, chosen at
//!   random among those that can serve the request and are healthy now.
//! - [`FallbackLayer`] reads what comes back. On a rate limit, an overload, an error hidden in a 200, an empty answer or a
//!   stall before the first token it records the outcome in the [`HealthMap`] and sends the same request to another model,
//!   before the client has seen a byte.
//! - [`ImageLayer`] translates requests for images for providers that have another API for them than OpenAI's.
//! - [`NormaliseLayer`] changes the fields of whole answers at which strict clients fail.
//!
//! [`stack()`] has all four in the right order, and [`Refresh`](refresh::Refresh) keeps the catalog in step with the
//! listings of its providers.
//!
//! ```
//! use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
//!
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_free_models::{Body, Catalog, HealthMap, Model, Provider, Routed, provider::FreeRule, stack};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! // Which models are free where. Most programs read a provider's listing: see `Provider::read_listing`.
//! let acme = Provider::new("acme")
//!     .base_url("https://acme.example/v1")
//!     .key("acme-key")
//!     .free(FreeRule::All)
//!     .build()?;
//! let catalog = Catalog::from_targets([
//!     acme.target(Model::new("small"))?,
//!     acme.target(Model::new("large"))?,
//! ]);
//! let health = HealthMap::new();
//!
//! // Any client: this one is overloaded once, and then answers.
//! let client = service_fn({
//!     let calls = Arc::new(AtomicU32::new(0));
//!     move |request: Request<Body>| {
//!         assert_eq!(request.uri(), "https://acme.example/v1/chat/completions");
//!         assert_eq!(request.headers()["authorization"], "Bearer acme-key");
//!         let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
//!         let (status, body) = if first {
//!             (503, r#"{"error": {"message": "overloaded"}}"#)
//!         } else {
//!             (200, r#"{"choices": [{"message": {"content": "Hello!"}, "finish_reason": "stop"}]}"#)
//!         };
//!         let response = Response::builder().status(status).body(Full::from(body));
//!         async move { response }
//!     }
//! });
//!
//! let service = stack(catalog, health.clone()).layer(client);
//! let request = Request::post("/v1/chat/completions")
//!     .header("content-type", "application/json")
//!     .body(Full::from(r#"{"model": "free", "messages": [{"role": "user", "content": "Hi"}]}"#))?;
//! let response = service.oneshot(request).await?;
//!
//! // The caller has not noticed anything, but can see it all.
//! assert_eq!(response.status(), 200);
//! assert_eq!(response.headers()["x-free-attempts"], "2");
//! let routed = response.extensions().get::<Routed>().unwrap();
//! assert_eq!(response.headers()["x-free-model"], routed.target.id().model());
//! let body = response.into_body().collect().await?.to_bytes();
//! assert!(std::str::from_utf8(&body)?.contains("Hello!"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is routed
//!
//! POST requests to `…/chat/completions`, `…/completions`, `…/responses`, `…/embeddings` and `…/images/generations` with a
//! JSON body, to `…/images/edits` with JSON or a form, to `…/audio/transcriptions` and `…/audio/translations` with a form:
//! see [`Endpoint`](provider::Endpoint). All other requests pass through untouched and unbuffered.
//!
//! `free`, `auto`, `openrouter/free`, an empty or a missing `model` mean any model; the id of a model means that this model
//! is tried first, at any provider; `provider/id` means that model there; any other name means any. A request header
//! `x-free-pin: true` forbids any model but the one that is named; a model with
//! [`random(false)`](catalog::ModelBuilder::random) is never substituted either.
//!
//! A model is picked only for what it is [for](Model::is_for), at a provider that is not known to lack the endpoint.
//! Embeddings get the model that the request names, or [the configured one](FreeModelRouteLayer::embedding_model), and
//! never another. A response that continues a `previous_response_id` stays at the provider that made that one; what else
//! only one provider keeps (`conversation`, `background`, references to items, stored prompts) is refused.
//!
//! A form (`multipart/form-data`) keeps its parts byte for byte, but for `model` and what could cost money. It has at most
//! 256 parts, and what two upstreams could read in two ways (a bare line feed for a CRLF, an encoded name) is a 400.
//!
//! # What a response says
//!
//! | header | |
//! |---|---|
//! | `x-free-model`, `x-free-provider` | the model that answered, and its provider |
//! | `x-free-attempts` | how many attempts were made |
//! | `x-free-trail` | `provider/model=outcome, …`, at most 2 KiB |
//! | `x-free-dropped` | fields of the request that were left out: they could cost money, or the provider refuses them or has no place for them |
//! | `x-free-adjusted` | fields that were renamed, lowered or put in, as the provider or the model needs it |
//! | `x-free-normalised` | fields of a whole answer that [`NormaliseLayer`] changed |
//!
//! For Rust, the same stands in the extension [`Routed`], but for the last.
//!
//! A request that an upstream finds fault with gets that upstream's status and its own words, in OpenAI's error format: an
//! error that has that format already passes as it is; of any other, `error.metadata.raw` is what was sent (4 KiB at most).
//!
//! # What is guaranteed
//!
//! - **Free**: a model that is known to cost cannot be represented as a [`Target`]; see [`FreeRule`](provider::FreeRule). A
//!   service that bills accounts with a payment method is used only if the operator says that the account cannot be billed.
//!   A listed price of zero is believed for an hour after the listing was last read, and by name for a day. A target whose
//!   answer reports a cost is quarantined at once.
//! - **Whole**: before commit no byte of a losing attempt reaches the client; after it the upstream's bytes pass unchanged,
//!   but for the fields of a whole answer that `x-free-normalised` names and for a credential in an error. A stream that
//!   breaks off ends with one error event, and never with an invented `[DONE]`.
//! - **Separate**: where a provider has a base URL, its own credential is set and the client's headers pass by an
//!   allow-list, so a credential goes to its own provider only.
//! - **Bounded**: every buffer has a limit and every wait of the fallback a deadline; dropping a response drops its upstream.
//!
//! # The order of the layers
//!
//! From the outside in: [`NormaliseLayer`], [`FallbackLayer`], [`FreeModelRouteLayer`], [`ImageLayer`], as [`stack()`] has
//! them. The first and the last can be left out. A fallback inside its router is answered with a 500 that says so, and so is
//! a router that is [told](FreeModelRouteLayer::image_layer) of an image layer that is not there. Timeouts around the
//! fallback must be longer than its own deadline. A layer that decompresses responses may stand inside or outside: upstreams
//! are asked not to compress.
//!
//! # Making it your own
//!
//! - A [`Select`] picks among equally good targets: one of [`select`], or a closure of yours, which sees the request.
//! - A [`Classify`] says what a failed response means; it sees the provider and the model, and can change one answer of
//!   [`DefaultClassify`](classify::DefaultClassify).
//! - [`HealthMap::on_outcome`] calls you for every attempt that ends: logs, metrics and alarms belong there.
//! - Another router takes the place of [`FreeModelRouteLayer`] by filling the [`AttemptSlot`] of a request.

#[doc(hidden)]
pub mod __private;

mod accessors;
mod attempt_slot;
mod body;
mod byte_budget;
mod capability;
pub mod catalog;
mod clock;
mod content_type;
mod deadline;
mod endpoint;
pub mod fallback;
mod hash;
mod headers;
pub mod health;
pub mod images;
mod json;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "no file keeps quotas across restarts yet")
)]
mod limits;
pub mod listing;
pub mod normalise;
mod outcome;
mod poll_budget;
pub mod provider;
mod ready_service;
pub mod refresh;
mod refusal;
mod request;
mod rng;
pub mod route;
mod routed;
pub mod select;
mod session;
mod stack;
mod upstream;

pub mod classify {
    //! What a failed response is evidence of, and what it means: what a [`Classify`](crate::Classify) reads and returns.

    pub use crate::{
        outcome::{Lack, LimitHit, LimitOf, Outcome, OutcomeKind, Recovery, Scope},
        upstream::{DefaultClassify, Evidence, UpstreamError},
    };
}

pub use crate::{
    attempt_slot::AttemptSlot,
    body::Body,
    catalog::{model::Model, set::Catalog, target::Target},
    fallback::{layer::FallbackLayer, service::Fallback},
    health::{attempt::Attempt, map::HealthMap},
    images::layer::ImageLayer,
    normalise::layer::NormaliseLayer,
    provider::account::Provider,
    route::{layer::FreeModelRouteLayer, service::FreeModelRoute},
    routed::Routed,
    select::strategy::Select,
    stack::{Stack, stack},
    upstream::Classify,
};

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
