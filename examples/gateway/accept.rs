//! The connections of callers: how many there may be, for how long they may be out of use, and how they end.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt;

use crate::{
    activity::{Activity, Noted},
    handover::hand_over,
};

/// Each connection may need one to an upstream, and 1,024 files are what a process may usually have open.
pub(crate) const MOST: u16 = 480;

/// A connection may be out of use for so long: until a request's head has arrived, and between requests.
const UNUSED: Duration = Duration::from_secs(30);

/// As above, while the places of all connections are taken: connections without a request must not keep callers out, since
/// each may be half a head that is sent again and again.
const UNUSED_WHEN_FULL: Duration = Duration::from_secs(1);

/// Connections count as too many from the last free place on, until one part in so many of all places is free.
const RELAXED: usize = 8;

/// As above, for a connection that is being closed: so long it may take until its last bytes are written.
const LINGER: Duration = Duration::from_secs(2);

/// Waited where no connection can be accepted for want of files or memory.
const NO_MORE_FILES: Duration = Duration::from_secs(1);

/// What callers get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many connections are served at a time; others wait to be accepted, and connections without a request give way.
    pub(crate) connections: u16,
    /// How long a caller may take nothing of its answer.
    pub(crate) idle_timeout: Duration,
    /// How long requests under way may take once the gateway stops.
    pub(crate) grace: Duration,
}

/// Serves callers until `stop` resolves; then lets the requests that are under way end within the grace.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections.into()));
    let (stopping, stopped) = watch::channel(false);
    let (filling, full) = watch::channel(false);
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let free = places.available_permits();
            filling.send_if_modified(|full| {
                let relaxed = free > usize::from(limits.connections) / RELAXED;
                let is_full = free == 0 || *full && !relaxed;
                std::mem::replace(full, is_full) != is_full
            });
            let stream = accept(&listener).await;
            let (router, stopped, full) = (router.clone(), stopped.clone(), full.clone());
            tokio::spawn(async move {
                let _place = place;
                connection(stream, router, limits.idle_timeout, full, stopped).await;
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop => {}
    }
    drop(listener);
    let _ = stopping.send(true);
    // All places are free when the last connection has ended.
    let all = places.acquire_many(limits.connections.into());
    let _ = timeout(limits.grace, all).await;
}

/// The next connection, which sends each piece of a stream at once.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            // The caller went away before it was accepted.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!("cannot accept a connection: {error}");
                sleep(NO_MORE_FILES).await;
            }
        }
    }
}

/// Serves one connection, HTTP/1 or HTTP/2, until it ends, is out of use for too long, or is stopped.
async fn connection<I>(
    io: I,
    router: Router,
    idle_timeout: Duration,
    full: watch::Receiver<bool>,
    mut stopped: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let activity = Activity::new();
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let under_way = activity.begin();
        let (router, version) = (router.clone(), request.version());
        async move {
            let request: Request = request.map(axum::body::Body::new);
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            Ok::<_, Infallible>(
                response.map(|body| hand_over(body, version, idle_timeout, under_way)),
            )
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let io = TokioIo::new(Noted::new(io, activity.clone()));
    let mut serving = pin!(builder.serve_connection(io, service));
    tokio::select! {
        // A caller that breaks off or sends nonsense is its own business.
        _ = serving.as_mut() => return,
        () = unused(&activity, full) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    serving.as_mut().graceful_shutdown();
    activity.touch();
    tokio::select! {
        _ = serving => {}
        () = activity.unused_for(LINGER) => {}
    }
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
