//! The gateway's routes.

use std::convert::Infallible;

use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::{get, post_service},
};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_free_models::{Catalog, Endpoint, HealthMap, Reports, Stack};

use crate::{client::HttpClient, config::Config, models, page, pool::describe, status};

/// What the routes read.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    pub(crate) catalog: Catalog,
    pub(crate) health: HealthMap,
    /// What the last refresh of each provider came to.
    pub(crate) reports: Reports,
}

/// Shown to whoever asks for something else.
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

pub(crate) fn router(gateway: Gateway, config: &Config, client: HttpClient) -> Router {
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
    routed
        .route("/v1/models", get(list_models))
        .route("/v1/models/{*id}", get(show_model))
        .route("/status", get(show_status))
        .route("/healthz", get(|| async { "ok" }))
        .route("/", get(show_page))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .with_state(gateway)
}

fn stack(gateway: &Gateway, config: &Config) -> Stack {
    let max_body = config.max_body as u64;
    tower_free_models::stack(gateway.catalog.clone(), gateway.health.clone())
        .fallback(|layer| {
            layer
                .max_attempts(config.max_attempts.get())
                .max_body(max_body)
                .body_timeout(config.body_timeout)
                .deadline(config.deadline)
                .header_timeout(config.header_timeout)
                .first_token_timeout(config.first_token_timeout)
                .answer_timeout(config.answer_timeout)
                .idle_timeout(config.idle_timeout)
        })
        .route(|layer| {
            let layer = layer
                .max_body(max_body)
                .prefer_requested(config.prefer_requested);
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

fn openai_error(status: StatusCode, code: &str, message: &str, more: Value) -> Response {
    let kind = if status.is_server_error() {
        "server_error"
    } else {
        "not_found_error"
    };
    let mut error = json!({ "message": message, "type": kind, "param": null, "code": code });
    if let (Some(error), Value::Object(more)) = (error.as_object_mut(), more) {
        error.extend(more);
    }
    (status, Json(json!({ "error": error }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower_free_models::Refresh;

    use super::*;

    #[tokio::test]
    async fn what_is_not_there_is_said_in_openais_format() {
        let (catalog, health) = (Catalog::new(), HealthMap::new());
        let gateway = Gateway {
            reports: Refresh::new(catalog.clone(), health.clone()).reports(),
            catalog,
            health,
        };
        let router = router(gateway, &Config::default(), crate::client::client());
        for (method, path, code) in [
            ("GET", "/v1/models/none", "model_not_found"),
            ("GET", "/v1/models/%FF", "model_not_found"),
            ("GET", "/%FF", "no_such_route"),
            ("GET", "/v1/chat/completions", "no_such_route"),
            ("POST", "/status", "no_such_route"),
        ] {
            let request = Request::builder().method(method).uri(path);
            let request = request.body(Body::empty()).unwrap();
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 404, "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["error"]["code"], code, "{path}");
        }
    }
}
