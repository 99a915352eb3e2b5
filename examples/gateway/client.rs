//! The clients that reach the providers: HTTP/1.1 and TLS, no proxy, no redirects.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower_free_models::Body;

pub(crate) type Connector = HttpsConnector<HttpConnector>;

pub(crate) type HttpClient = Client<Connector, Body>;

/// An address that does not answer within this is out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Clones share the certificates that are trusted and the TLS sessions that can be resumed.
pub(crate) fn connector() -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(http)
}

/// A client with a pool of connections of its own. Clones share the pool.
pub(crate) fn client(connector: Connector) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}
