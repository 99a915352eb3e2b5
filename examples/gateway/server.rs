//! What stands behind the front: the stack that routes requests to models, and the routes that are not for models.

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tower_free_models::{Catalog, HealthMap, Stack, refresh::Reports};

use crate::{access::HEALTHZ, config::Config, models, page, refusal::openai_error, status};

/// What the routes read.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) catalog: Catalog,
    pub(crate) health: HealthMap,
    /// The names of the providers as the operator has ordered them: they come into the catalog as their listings are read.
    pub(crate) order: Vec<String>,
    /// What the last refresh of each provider came to.
    pub(crate) reports: Reports,
}

/// All routes, listed in the 404 for any other path.
pub(crate) const ROUTES: [&str; 13] = [
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

/// The routes that models do not answer.
pub(crate) fn pages(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*id}", get(show_model))
        .route("/status", get(show_status))
        .route(HEALTHZ, get(|| async { "ok" }))
        .route("/", get(show_page))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .with_state(gateway)
}

pub(crate) fn stack(gateway: &Gateway, config: &Config) -> Stack {
    tower_free_models::stack(gateway.catalog.clone(), gateway.health.clone())
        .fallback(|layer| {
            layer
                .max_attempts(config.max_attempts.get())
                .max_body(config.max_body as u64)
                .body_timeout(config.body_timeout)
                .deadline(config.deadline)
                .max_wait(config.max_wait)
                .hedge(config.hedge)
                .header_timeout(config.header_timeout)
                .first_token_timeout(config.first_token_timeout)
                .answer_timeout(config.answer_timeout)
                .idle_timeout(config.idle_timeout)
        })
        .route(|layer| {
            let layer = layer.prefer_requested(config.prefer_requested);
            let layer = config.selector.set(layer, &gateway.order);
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

pub(crate) async fn no_such_route() -> Response {
    let message = format!("There is no such route. Routes: {}.", ROUTES.join(", "));
    openai_error(
        StatusCode::NOT_FOUND,
        "no_such_route",
        &message,
        json!({ "routes": ROUTES }),
    )
}
