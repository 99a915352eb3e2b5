//! Accepts connections, as many as there may be at a time, and gives them to the workers.

use std::{future::Future, io, net, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    connection::{Connection, Terms},
    workers::Workers,
};

/// Each connection may need one to an upstream, and 1,024 files are what a process may usually have open.
pub(crate) const MOST: u16 = 480;

/// Connections count as too many from the last free place on, until one part in so many of all places is free.
const RELAXED: usize = 8;

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
    workers: &Workers,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections.into()));
    let (stopping, stopped) = watch::channel(false);
    let (filling, full) = watch::channel(false);
    let terms = Terms {
        idle_timeout: limits.idle_timeout,
        full,
        stopped,
    };
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
            workers.serve(Connection {
                stream: accept(&listener).await,
                place,
                terms: terms.clone(),
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
async fn accept(listener: &TcpListener) -> net::TcpStream {
    loop {
        match listener
            .accept()
            .await
            .and_then(|(stream, _)| ready(stream))
        {
            Ok(stream) => return stream,
            // The client went away before it was accepted.
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

/// Without Nagle's algorithm, and no longer known to the runtime of this thread.
fn ready(stream: TcpStream) -> io::Result<net::TcpStream> {
    let _ = stream.set_nodelay(true);
    stream.into_std()
}

#[cfg(test)]
mod tests;
