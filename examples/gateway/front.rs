//! Which requests may come in, and what answers them.
//!
//! Requests to models are told apart by their path before axum's router, which has the other routes: on their way
//! nothing is boxed but the future and the body of the response.

use std::{
    convert::Infallible,
    error::Error,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::TryFutureExt;
use serde_json::json;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_free_models::{Stack, provider::Endpoint};
use tower_http::cors::CorsLayer;

use crate::{
    access::AccessKeys,
    client::HttpClient,
    config::Config,
    gather::Gathered,
    guard::{Guard, refuse_untyped},
    origin,
    pool::describe,
    refusal::openai_error,
    server::{self, Gateway, no_such_route},
};

/// What the fronts of all workers share.
pub(crate) struct Site {
    guard: Guard,
    /// Where pages of other origins may use the gateway.
    cors: Option<CorsLayer>,
    keys: Option<AccessKeys>,
    stack: Stack,
    pages: Router,
}

impl Site {
    /// With `keys`, clients need one of them.
    pub(crate) fn new(gateway: Gateway, config: &Config, keys: Option<AccessKeys>) -> Arc<Self> {
        let hosts = config.hosts.iter().chain(config.listen.name());
        let guard = Guard {
            hosts: hosts.cloned().collect(),
            origins: config.cors_origins.clone().into(),
        };
        let origins = Arc::clone(&guard.origins);
        Arc::new(Self {
            guard,
            cors: (!origins.is_empty()).then(|| origin::cors(origins)),
            keys,
            stack: server::stack(&gateway, config),
            pages: server::pages(gateway),
        })
    }

    /// Answers with what this client gets from the providers.
    pub(crate) fn front(self: &Arc<Self>, client: HttpClient) -> Front {
        Front(Arc::new(Parts {
            site: Arc::clone(self),
            models: self.stack.layer(client),
        }))
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Answers any request. A clone is cheap: each request takes two.
#[derive(Clone)]
pub(crate) struct Front(Arc<Parts>);

struct Parts {
    site: Arc<Site>,
    models: <Stack as Layer<HttpClient>>::Service,
}

impl<B> Service<Request<B>> for Front
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    /// Always ready: what answers is asked when it is known which that is.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_head = request.method() == Method::HEAD;
        let answering = self.guarded(request);
        match is_head {
            true => Box::pin(answering.map_ok(without_body)),
            false => answering,
        }
    }
}

impl Front {
    /// Lets in what may come in, and answers it.
    fn guarded<B>(&self, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
            + Send
            + 'static,
    {
        // First, so that no other page learns anything.
        if let Some(refusal) = self.0.site.guard.refuse(&request) {
            return Box::pin(ready(Ok(refusal)));
        }
        let front = self.clone();
        match &self.0.site.cors {
            None => Box::pin(async move { Ok(front.answer(request).await) }),
            // Preflights are answered here: they cannot carry a key.
            Some(cors) => Box::pin(
                cors.layer(service_fn(move |request| {
                    let front = front.clone();
                    async move { Ok(front.answer(request).await) }
                }))
                .oneshot(request),
            ),
        }
    }

    async fn answer<B>(self, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
            + Send
            + 'static,
    {
        let Parts { site, models } = &*self.0;
        let keys = site.keys.as_ref();
        if let Some(refusal) = keys.and_then(|keys| keys.refuse(&request)) {
            return refusal;
        }
        if !is_for_models(request.uri().path()) {
            let request = request.map(Body::new);
            let Ok(response) = site.pages.clone().oneshot(request).await;
            return response;
        }
        if request.method() != Method::POST {
            let allowed = (header::ALLOW, HeaderValue::from_static("POST"));
            return ([allowed], no_such_route().await).into_response();
        }
        if let Some(refusal) = refuse_untyped(request.headers()) {
            return refusal;
        }
        match models.clone().oneshot(request).await {
            Ok(response) => response.map(answered),
            Err(error) => unreachable(&error),
        }
    }
}

/// The answer to a HEAD request: it states the length of the body that it leaves out. Over HTTP/2 hyper would send the body,
/// which clients take for an error of the protocol.
fn without_body(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    if let Some(length) = http_body::Body::size_hint(&body).exact() {
        // A route of axum has left its body out already, and stated its length.
        let length = HeaderValue::from(length);
        head.headers.entry(header::CONTENT_LENGTH).or_insert(length);
    }
    Response::from_parts(head, Body::empty())
}

fn is_for_models(path: &str) -> bool {
    let path = path.strip_prefix("/v1");
    path.is_some_and(|path| Endpoint::ALL.iter().any(|endpoint| endpoint.path() == path))
}

/// A body whose length is known is here already, or comes in large pieces: there is nothing to gather.
fn answered<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>> + Send>
        + Send
        + 'static,
{
    match body.size_hint().exact() {
        Some(_) => Body::new(body),
        None => Body::new(Gathered::new(body)),
    }
}

/// No provider answered at all: the client's own error, which has no words for a caller.
fn unreachable(error: &hyper_util::client::legacy::Error) -> Response {
    tracing::warn!(error = describe(error), "no provider answered");
    let message = "No provider answered: none could be reached, or the connection broke. Are they up, and is this \
                   machine's network?";
    openai_error(StatusCode::BAD_GATEWAY, "unreachable", message, json!({}))
}

#[cfg(test)]
mod tests;
