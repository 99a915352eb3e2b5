//! The proxies that the gateway is compared with: axum, a hyper-util client with a pool, `TCP_NODELAY` on both sides.

use std::{io, thread};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
    serve::ListenerExt as _,
};
use clap::ValueEnum;
use http::{StatusCode, Uri, header, uri::Authority};
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{net::TcpListener, runtime};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a proxy does to a request's body. Responses pass as they come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// Forwards it as it comes.
    Bare,
    /// Collects it whole, then forwards it.
    Collect,
    /// Collects it, parses it to a tree, sets `model`, writes it again.
    Naive,
}

#[derive(Clone)]
struct Proxy {
    kind: Kind,
    upstream: Authority,
    client: Client<HttpConnector, Body>,
}

/// Serves until its stdin ends. On one core the runtime is the cheapest there is: one thread; else one thread a core.
pub(crate) fn run(kind: Kind, upstream: Authority) -> io::Result<()> {
    crate::process::exit_with_stdin();
    let cores = thread::available_parallelism()?.get();
    let mut builder = match cores {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()?.block_on(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        let proxy = Proxy {
            kind,
            upstream,
            client,
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(forward))
            .with_state(proxy);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await
    })
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    match proxy.forward(request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Proxy {
    async fn forward(&self, request: Request) -> Result<Response, BoxError> {
        let (mut head, body) = request.into_parts();
        let mut uri = head.uri.into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.authority = Some(self.upstream.clone());
        head.uri = Uri::from_parts(uri)?;
        head.headers.remove(header::HOST);
        let body = match self.kind {
            Kind::Bare => body,
            Kind::Collect => body.collect().await?.to_bytes().into(),
            Kind::Naive => {
                let written = written_again(&body.collect().await?.to_bytes())?;
                head.headers
                    .insert(header::CONTENT_LENGTH, written.len().into());
                written.into()
            }
        };
        let response = self.client.request(Request::from_parts(head, body)).await?;
        Ok(response.map(Body::new))
    }
}

fn written_again(body: &Bytes) -> serde_json::Result<Vec<u8>> {
    let mut tree: serde_json::Value = serde_json::from_slice(body)?;
    tree["model"] = "acme/model".into();
    serde_json::to_vec(&tree)
}
