//! One connection of a client: for how long it may be out of use or take nothing, and how it ends.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::response::Response;
use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
};
use tower::{Service, ServiceExt};

use crate::{
    activity::{Activity, Noted},
    handover::Answer,
};

/// A connection may be out of use for so long: until a request's head has arrived, and between requests.
pub(crate) const UNUSED: Duration = Duration::from_secs(30);

/// As above, while the places of all connections are taken: connections without a request must not keep clients out, since
/// each may be half a head that is sent again and again.
pub(crate) const UNUSED_WHEN_FULL: Duration = Duration::from_secs(1);

/// As above, for a connection that is being closed.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// A connection that was accepted, on its way to the thread that serves it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Not yet known to the runtime of any thread.
    pub(crate) stream: std::net::TcpStream,
    /// One of the places for connections, which is free again when this has ended.
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) terms: Terms,
}

/// When a connection ends.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// How long the client may take nothing of an answer.
    pub(crate) idle_timeout: Duration,
    /// Whether the places of all connections are taken.
    pub(crate) full: watch::Receiver<bool>,
    /// Whether the gateway stops.
    pub(crate) stopped: watch::Receiver<bool>,
}

/// What answers the requests of a connection.
pub(crate) trait Routes:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Routes for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

impl Connection {
    /// Serves the connection in the runtime of this thread, until it has ended.
    pub(crate) async fn serve(self, routes: impl Routes) {
        let _place = self.place;
        match TcpStream::from_std(self.stream) {
            Ok(stream) => serve(stream, routes, self.terms).await,
            Err(error) => tracing::error!("cannot serve a connection: {error}"),
        }
    }
}

/// Serves one connection, HTTP/1 or HTTP/2, until it ends, is out of use or takes nothing for too long, or is stopped.
pub(crate) async fn serve<I>(io: I, routes: impl Routes, terms: Terms)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new();
    let idle_timeout = terms.idle_timeout;
    let service = service_fn(|request: Request<Incoming>| {
        let under_way = activity.begin();
        let (routes, version) = (routes.clone(), request.version());
        async move {
            let Ok(response) = routes.oneshot(request).await;
            Ok::<_, Infallible>(
                response.map(|body| Answer::new(body, version, idle_timeout, under_way)),
            )
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(Noted::new(io, activity.clone()));
    let mut serving = pin!(builder.serve_connection(io, service));
    // Polled when it was woken, and not at each turn of the connection, of which there are many.
    let mut ends = FuturesUnordered::from_iter([end(&activity, terms)]);
    tokio::select! {
        // A client that breaks off or sends nonsense is its own business.
        _ = serving.as_mut() => return,
        Some(end) = ends.next() => match end {
            End::Blocked => return given_up(),
            End::Unused | End::Stopped => {}
        }
    }
    serving.as_mut().graceful_shutdown();
    activity.touch();
    tokio::select! {
        _ = serving => {}
        () = activity.blocked_for(idle_timeout) => given_up(),
        () = activity.unused_for(LINGER) => {}
    }
}

/// Why a connection ends that its client does not end.
enum End {
    /// The client takes nothing.
    Blocked,
    /// There is no request.
    Unused,
    /// The gateway stops.
    Stopped,
}

async fn end(activity: &Activity, mut terms: Terms) -> End {
    tokio::select! {
        () = activity.blocked_for(terms.idle_timeout) => End::Blocked,
        () = unused(activity, terms.full) => End::Unused,
        _ = terms.stopped.wait_for(|stopped| *stopped) => End::Stopped,
    }
}

fn given_up() {
    tracing::debug!("a connection was given up, because its client took nothing");
}

/// Resolves when the connection has been out of use for longer than it may be.
async fn unused(activity: &Activity, mut full: watch::Receiver<bool>) {
    loop {
        let limit = match *full.borrow_and_update() {
            true => UNUSED_WHEN_FULL,
            false => UNUSED,
        };
        tokio::select! {
            () = activity.unused_for(limit) => return,
            Ok(()) = full.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests;
