//! The client that reaches the providers: HTTP/1.1 and TLS, no proxy, no redirects.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower_free_models::Body;

pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Body>;

/// An address that does not answer within this is out of reach.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn client() -> HttpClient {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}
