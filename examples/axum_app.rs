//! The layers in axum apps: `cargo run --example axum_app`.
//!
//! One app has them as a `Router::layer`, in front of a handler that does the inference itself. The
//! other has them around the client with which it calls the first.

use axum::response::{IntoResponse, Response};
use axum::{Json, Router, extract::State, routing::post, serve::ListenerExt};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tower_free_models::{
    Body, Catalog, Fallback, FreeModelRoute, HealthMap, Model, Provider, images::Images,
    normalise::Normalise, provider::FreeRule, stack,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Models = Normalise<Fallback<FreeModelRoute<Images<Client<HttpConnector, Body>>>>>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // As a layer: without a base URL the request stays where it is, and only its model changes.
    let here = Provider::new("here").free(FreeRule::All).build()?;
    let pool = Catalog::from_targets([here.target(Model::new("parrot"))?]);
    let inference = Router::new().route("/v1/chat/completions", post(infer));
    let inference = serve(inference.layer(stack(pool, HealthMap::new()))).await?;

    // Around a client: a handler calls models as it would any other service.
    let url = format!("{inference}/v1");
    let there = Provider::new("there")
        .base_url(&url)
        .free(FreeRule::All)
        .build()?;
    let pool = Catalog::from_targets([there.target(Model::new("free"))?]);
    let mut connector = HttpConnector::new();
    // Without this a small write may wait 40 ms for the acknowledgement of the one before, here and in `serve`.
    connector.set_nodelay(true);
    let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build(connector);
    let models: Models = stack(pool, HealthMap::new()).layer(client.clone());
    let app = serve(Router::new().route("/ask", post(ask)).with_state(models)).await?;

    let request = Request::post(format!("{app}/ask")).body(Body::from("Are you there?"))?;
    let answer = client.request(request).await?;
    println!("{:?}", answer.headers()["x-free-trail"]);
    println!("{:?}", answer.into_body().collect().await?.to_bytes());
    Ok(())
}

/// The inference itself.
async fn infer(Json(request): Json<Value>) -> Json<Value> {
    let content = format!("{} repeats: {}", request["model"], request["messages"]);
    let choice = json!({ "message": { "content": content }, "finish_reason": "stop" });
    Json(json!({ "choices": [choice] }))
}

/// Passes the answer on as it comes, with the headers that say which model gave it.
async fn ask(State(models): State<Models>, question: String) -> Result<Response, StatusCode> {
    let body = json!({ "messages": [{ "role": "user", "content": question }] }).to_string();
    let request = Request::post("/v1/chat/completions").body(Body::from(body));
    let answer = models
        .oneshot(request.map_err(|_| StatusCode::BAD_REQUEST)?)
        .await;
    answer
        .map(IntoResponse::into_response)
        .map_err(|_| StatusCode::BAD_GATEWAY)
}

async fn serve(app: Router) -> Result<String, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}"))
}
