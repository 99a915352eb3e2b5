//! Tower middleware that gives any HTTP stack free LLM inference.
//!
//! ```text
//! caller ─▶ Fallback ─▶ FreeModelRoute ─▶ S        S: a hyper client, reqwest, an axum handler…
//!             │  ▲            │   ▲
//!     outcome │  │ again      │   │ one consistent read per pick
//!             ▼  │            ▼   │
//!           HealthMap ◀───── Catalog                cheap handles; clones share state
//! ```
//!
//! [`FreeModelRouteLayer`] rewrites the `model` of an outgoing OpenAI-format request to a free model, chosen
//! at random among those that can serve this request and are healthy now. [`FallbackLayer`] sees what comes
//! back: on a rate limit, an overload, an error hidden in a 200, an empty answer or a stall before the first
//! token it records the outcome in the [`HealthMap`], and sends the same request to another model, before the
//! caller has seen a byte. [`stack()`] gives both in the right order, and [`Refresh`](refresh::Refresh) keeps the catalog in step with the
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
//! // Who offers what for free. Most read a provider's listing: see `Provider::read_listing`.
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
//! POST requests to `…/chat/completions`, `…/completions`, `…/responses`, `…/embeddings` and `…/images/generations`
//! with a JSON body, to `…/images/edits` with JSON or a form, to `…/audio/transcriptions` and `…/audio/translations`
//! with a form: see [`Endpoint`]. Everything else passes through untouched and unbuffered.
//! `free`, `auto`, `openrouter/free`, an empty or a missing `model` mean any model; the id of a model means that one
//! first, at any provider; `provider/id` means that model there; any other name means any. A request header
//! `x-free-pin: true` forbids any model but the one that is named; so does a model with
//! [`random(false)`](catalog::ModelBuilder::random), by itself.
//!
//! A model is picked only for what it is [for](Model::is_for), at a provider that is not known to lack the endpoint.
//! Embeddings get the model that they name, or [the configured one](FreeModelRouteLayer::embedding_model), and never
//! another. A response that goes on from a `previous_response_id` stays at the provider that made that one; what else
//! only one provider keeps (`conversation`, `background`, references to items, stored prompts) is refused.
//!
//! `…/audio/transcriptions` and `…/audio/translations` take forms (`multipart/form-data`), `…/images/edits` forms and JSON.
//! A form keeps its parts byte for byte, but for `model` and what could cost money; it has at most 256 of them, and what
//! two upstreams could read in two ways (a bare line feed for a CRLF, an encoded name) is answered with a 400.
//!
//! # Images
//!
//! `POST …/images/generations` is sent as it is where a provider serves that. Elsewhere it is translated, as the
//! provider's [`ImageApi`](provider::ImageApi) says, and the answer comes back in OpenAI's format: `data[]` with `b64_json`, or with a data
//! URL in `url` if `response_format` is `"url"`.
//!
//! Of a request that is translated, `prompt`, `n` (1 to 10), `size` and `response_format` are read; what cannot be done
//! is a 400 that names the field, `stream` among them. `txt2img` also takes `negative_prompt`, `steps` (1 to 150) and
//! `seed`, with sides that are multiples of 8 up to 2048 pixels; a model may have
//! [a size of its own](catalog::ModelBuilder::image_size). An answer says of each image its `media_type`, `width` and `height`,
//! all read from its bytes, and where the server tells them its `seed` and `infotext`; `metadata` names the checkpoint
//! that was used and its settings. What is no PNG, JPEG or WebP is a failure, and so are answers to one request above
//! 64 MiB together. They are held in memory with what is made of them:
//! [`max_images_in_flight`](ImageLayer::max_images_in_flight) bounds that over all requests.
//!
//! A chat model makes one image at a time, so `n` images are `n` chats with the same model. Each is an attempt of its own:
//! in the health map, in `x-free-attempts` and against [`max_attempts`](FallbackLayer::max_attempts). If a further chat
//! fails or may not be asked, the answer is a 200 with the images that are there: `x-free-adjusted` names `n`, and
//! `metadata` has `images_asked_for`, `images_made` and `stopped_by`: the outcome of the chat that failed, `max_attempts`,
//! `time` (the answer was due), `cooling` (a limit was met), `memory` or `billed` (a chat reported a cost).
//!
//! # What a response says
//!
//! | header | |
//! |---|---|
//! | `x-free-model`, `x-free-provider` | who answered |
//! | `x-free-attempts` | how many attempts were made |
//! | `x-free-trail` | `provider/model=outcome, …`, at most 2 KiB |
//! | `x-free-dropped` | fields of the request that were left out: they could cost money, or the provider refuses them or has no place for them |
//! | `x-free-adjusted` | fields that were renamed, lowered or put in, as the provider or the model needs it |
//! | `x-free-normalised` | fields of a whole answer that were changed so that strict clients can read it |
//!
//! For Rust, the same stands in the extension [`Routed`], but for the last.
//!
//! A request that an upstream finds fault with gets that upstream's status and its own words, in OpenAI's error format:
//! what has that format already is passed on as it is, of anything else `error.metadata.raw` is what was sent (4 KiB at
//! most). A whole answer to `…/chat/completions` or `…/completions` is changed where OpenAI's clients are known to fail
//! at it: a missing `id` or `created`, `content` in parts, arguments that are no string, a `finish_reason` or
//! `service_tier` that is not OpenAI's, counts that are null. Nothing else of it is, and answers that are larger than the
//! fallback's peek limit pass as they are.
//!
//! # What is guaranteed
//!
//! - **Free**: what is known to cost cannot be represented as a [`Target`]; see [`FreeRule`](provider::FreeRule). A service that
//!   bills whoever has a payment method is used only if it is said that the account cannot be billed. A listed price of
//!   zero is believed for an hour after the listing was last read, and by name for a day. A target whose answer reports
//!   a cost is quarantined at once.
//! - **Whole**: before commit no byte of a losing attempt reaches the caller; after it, the upstream's bytes pass
//!   unchanged, but for the fields of a whole answer that `x-free-normalised` names. A stream that breaks off ends with
//!   one error event, and never with an invented `[DONE]`.
//! - **Separate**: where a provider has a base URL, its own credential is set and the caller's headers pass by an
//!   allow-list, so a credential goes to its own provider only.
//! - **Bounded**: every buffer has a limit and every wait of the fallback a deadline; dropping a response drops its upstream.
//!
//! # The order of the layers
//!
//! `FallbackLayer` outside, `FreeModelRouteLayer` inside, as [`stack()`] has them; the wrong order is answered with a 500
//! that says so. Timeouts around both must be longer than the fallback's own deadline. A layer that decompresses
//! responses may stand inside or outside: upstreams are asked not to compress.

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
mod headers;
pub mod health;
pub mod images;
mod json;
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
        outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
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
