//! The layers around a hyper client: `cargo run --example hyper_client`.
//!
//! Two providers are played by this program itself; one is always overloaded. The caller does not notice.

use axum::{Json, Router, http::StatusCode, routing::post, serve::ListenerExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{Layer, ServiceExt};
use tower_free_models::{Body, Catalog, HealthMap, Model, Provider, provider::FreeRule, stack};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstreams = listen().await?;
    let mut targets = Vec::new();
    for name in ["busy", "calm"] {
        let provider = Provider::new(name)
            .base_url(&format!("{upstreams}/{name}/v1"))
            .key("a-key-of-this-provider-only")
            .free(FreeRule::All)
            .build()?;
        targets.push(provider.target(Model::new("tiny").context_length(8192))?);
    }
    let health = HealthMap::new();

    let mut connector = HttpConnector::new();
    // Without this a small write may wait 40 ms for the acknowledgement of the one before, here and in `listen`.
    connector.set_nodelay(true);
    // This is all there is to it.
    let client = Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = stack(Catalog::from_targets(targets), health.clone()).layer(client);

    for n in 1..=4 {
        let body = json!({ "model": "free", "messages": [{ "role": "user", "content": n }] });
        let request = Request::post("/v1/chat/completions").body(Full::from(body.to_string()))?;
        let response = service.clone().oneshot(request).await?;
        let trail = response.headers()["x-free-trail"].clone();
        let answer = response.into_body().collect().await?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer)?;
        println!("{} {trail:?}", answer["choices"][0]["message"]["content"]);
    }
    for target in health.snapshot().targets {
        println!("{}: {}, {:?}", target.id, target.state.name(), target.tally);
    }
    Ok(())
}

/// Both providers, on a port of their own.
async fn listen() -> Result<String, BoxError> {
    async fn answer(Json(request): Json<Value>) -> Json<Value> {
        let said = &request["messages"][0]["content"];
        let message = json!({ "role": "assistant", "content": format!("You said {said}.") });
        Json(json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }))
    }
    let app = Router::new()
        .route(
            "/busy/v1/chat/completions",
            post(|| async { StatusCode::SERVICE_UNAVAILABLE }),
        )
        .route("/calm/v1/chat/completions", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(format!("http://{address}"))
}
