//! The threads that serve connections, each with a runtime and a client of its own.
//!
//! A connection stays with one thread, and so do the upstream connections of its requests: no task moves between cores
//! and nothing wakes another thread on the way of a request. One acceptor gives each connection to the thread that has the
//! fewest. Listeners of the same port (`SO_REUSEPORT`) would spread connections by a hash of their addresses, which is uneven
//! where there are few, and would let a second gateway start on a port that is taken.

use std::{io, num::NonZeroUsize, sync::Arc, thread};

use tokio::{
    runtime,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use crate::connection::{Connection, Routes};

/// Where connections are served. They end with this.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    inbox: UnboundedSender<Assigned>,
    /// One for the worker and one for each of its connections.
    load: Arc<()>,
}

/// A connection, which counts for its worker as long as it lasts.
struct Assigned {
    connection: Connection,
    load: Arc<()>,
}

impl Workers {
    /// Starts so many threads. Each has routes that are made for it.
    ///
    /// # Errors
    ///
    /// If the system lacks the means for a thread or its runtime.
    pub(crate) fn start<R: Routes>(
        threads: NonZeroUsize,
        routes: impl Fn() -> R,
    ) -> io::Result<Self> {
        let start = |n| {
            let (worker, inbox) = Worker::new();
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let routes = routes();
            thread::Builder::new()
                .name(format!("worker {n}"))
                .spawn(move || runtime.block_on(work(inbox, routes)))?;
            Ok(worker)
        };
        Ok(Self(
            (0..threads.get()).map(start).collect::<io::Result<_>>()?,
        ))
    }

    /// One worker, in the runtime of the caller.
    #[cfg(test)]
    pub(crate) fn here(routes: impl Routes) -> Self {
        let (worker, inbox) = Worker::new();
        tokio::spawn(work(inbox, routes));
        Self(vec![worker])
    }

    /// Hands a connection to the worker that has the fewest.
    pub(crate) fn serve(&self, connection: Connection) {
        let least = self
            .0
            .iter()
            .min_by_key(|worker| Arc::strong_count(&worker.load));
        if let Some(worker) = least {
            let load = Arc::clone(&worker.load);
            // A worker takes connections as long as there are `Workers`.
            let _ = worker.inbox.send(Assigned { connection, load });
        }
    }
}

impl Worker {
    fn new() -> (Self, UnboundedReceiver<Assigned>) {
        let (inbox, assigned) = unbounded_channel();
        let load = Arc::new(());
        (Self { inbox, load }, assigned)
    }
}

/// Serves the connections that are assigned, until there are no `Workers` any more.
async fn work(mut inbox: UnboundedReceiver<Assigned>, routes: impl Routes) {
    while let Some(Assigned { connection, load }) = inbox.recv().await {
        let routes = routes.clone();
        tokio::spawn(async move {
            connection.serve(routes).await;
            drop(load);
        });
    }
}
