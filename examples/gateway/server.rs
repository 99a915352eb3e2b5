//! The gateway's routes.

use std::convert::Infallible;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::{get, post_service},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{Catalog, HealthMap, Stack, provider::Endpoint, refresh::Reports};

use crate::{
    access::{AccessKeys, HEALTHZ, ask_key},
    client::HttpClient,
    config::Config,
    guard::{Guard, ask_content_type, keep_pages_out},
    models, origin, page,
    pool::describe,
    refusal::openai_error,
    status,
};

/// What the routes read.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) catalog: Catalog,
    pub(crate) health: HealthMap,
    /// What the last refresh of each provider came to.
    pub(crate) reports: Reports,
}

/// The routes, listed in the 404 for any other path.
const ROUTES: [&str; 13] = [
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/responses",
    "POST /v1/embeddings",
    "POST /v1/images/generations",
    "POST /v1/images/edits",
    "POST /v1/audio/transcriptions",
    "POST /v1/audio/translations",
    "GET /v1/models",
    "GET /v1/models/{id}",
    "GET /status",
    "GET /healthz",
    "GET /",
];

/// With `keys`, callers need one of them.
pub(crate) fn router(
    gateway: Gateway,
    config: &Config,
    keys: Option<AccessKeys>,
    client: HttpClient,
) -> Router {
    let stack = stack(&gateway, config);
    // An answer in any case: axum's services do not fail.
    let models = stack.layer(client);
    let models = tower::service_fn(move |request| {
        let models = models.clone();
        async move {
            Ok::<_, Infallible>(match models.oneshot(request).await {
                Ok(response) => response.into_response(),
                Err(error) => unreachable(&error),
            })
        }
    });
    let routed = Endpoint::ALL
        .iter()
        .fold(Router::new(), |router, endpoint| {
            router.route(
                &format!("/v1{}", endpoint.path()),
                post_service(models.clone()),
            )
        });
    let routes = routed
        .route_layer(from_fn(ask_content_type))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*id}", get(show_model))
        .route("/status", get(show_status))
        .route(HEALTHZ, get(|| async { "ok" }))
        .route("/", get(show_page))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .with_state(gateway);
    guarded(routes, config, keys)
}

/// Pages are kept out first; then preflights are answered, which cannot carry a key; then a key is asked for.
fn guarded(mut routes: Router, config: &Config, keys: Option<AccessKeys>) -> Router {
    if let Some(keys) = keys {
        routes = routes.layer(from_fn_with_state(keys, ask_key));
    }
    let guard = Guard {
        hosts: config
            .hosts
            .iter()
            .chain(config.listen.name())
            .cloned()
            .collect(),
        origins: config.cors_origins.clone().into(),
    };
    if !guard.origins.is_empty() {
        routes = routes.layer(origin::cors(guard.origins.clone()));
    }
    routes.layer(from_fn_with_state(guard, keep_pages_out))
}

fn stack(gateway: &Gateway, config: &Config) -> Stack {
    tower_free_models::stack(gateway.catalog.clone(), gateway.health.clone())
        .fallback(|layer| {
            layer
                .max_attempts(config.max_attempts.get())
                .max_body(config.max_body as u64)
                .body_timeout(config.body_timeout)
                .deadline(config.deadline)
                .max_wait(config.max_wait)
                .header_timeout(config.header_timeout)
                .first_token_timeout(config.first_token_timeout)
                .answer_timeout(config.answer_timeout)
                .idle_timeout(config.idle_timeout)
        })
        .route(|layer| {
            let layer = layer.prefer_requested(config.prefer_requested);
            let layer = match &config.embedding_model {
                Some(model) => layer.embedding_model(model),
                None => layer,
            };
            match config.seed {
                Some(seed) => layer.seed(seed),
                None => layer,
            }
        })
}

/// No provider answered at all: the client's own error, which has no words for a caller.
fn unreachable(error: &hyper_util::client::legacy::Error) -> Response {
    tracing::warn!(error = describe(error), "no provider answered");
    let message = "No provider answered: none could be reached, or the connection broke. Are they up, and is this \
                   machine's network?";
    openai_error(StatusCode::BAD_GATEWAY, "unreachable", message, json!({}))
}

async fn list_models(State(gateway): State<Gateway>) -> Json<Value> {
    Json(models::list(&gateway.catalog.snapshot()))
}

async fn show_model(
    State(gateway): State<Gateway>,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    // What is no UTF-8 is no model's name, and is answered in OpenAI's format like any other.
    let id = id.map_or_else(|_| "\u{fffd}".to_owned(), |Path(id)| id);
    match models::find(&gateway.catalog.snapshot(), &id) {
        Some(model) => Json(model).into_response(),
        None => {
            let message = format!(
                "The model `{id}` is not in the pool. GET /v1/models lists those that are."
            );
            openai_error(
                StatusCode::NOT_FOUND,
                "model_not_found",
                &message,
                json!({ "param": "model" }),
            )
        }
    }
}

async fn show_status(State(gateway): State<Gateway>) -> Json<Value> {
    Json(status::status(&gateway))
}

async fn show_page(State(gateway): State<Gateway>) -> Html<String> {
    Html(page::page(&gateway))
}

async fn no_such_route() -> Response {
    let message = format!("There is no such route. Routes: {}.", ROUTES.join(", "));
    openai_error(
        StatusCode::NOT_FOUND,
        "no_such_route",
        &message,
        json!({ "routes": ROUTES }),
    )
}

#[cfg(test)]
mod tests;
