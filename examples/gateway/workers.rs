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
            // A thread that has panicked has no connections, and would be given all that come.
            .filter(|worker| !worker.inbox.is_closed())
            .min_by_key(|worker| Arc::strong_count(&worker.load));
        if let Some(worker) = least {
            let load = Arc::clone(&worker.load);
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net, time::Duration};

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::{Semaphore, watch},
    };

    use super::*;
    use crate::connection::Terms;

    /// An accepted connection, its client's end, and what would stop it.
    async fn connection() -> (Connection, TcpStream, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, client) = tokio::join!(listener.accept(), client);
        let stream: net::TcpStream = accepted.unwrap().0.into_std().unwrap();
        let (stop, stopped) = watch::channel(false);
        let terms = Terms {
            idle_timeout: Duration::from_secs(60),
            full: stopped.clone(),
            stopped,
        };
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        let connection = Connection {
            stream,
            place,
            terms,
        };
        (connection, client.unwrap(), stop)
    }

    #[tokio::test]
    async fn a_connection_goes_to_the_worker_that_has_the_fewest() {
        let (workers, mut inboxes): (Vec<_>, Vec<_>) = (0..3).map(|_| Worker::new()).unzip();
        let workers = Workers(workers);
        let serve = async |n: usize| {
            for _ in 0..n {
                workers.serve(connection().await.0);
            }
        };
        let taken = |inboxes: &mut [UnboundedReceiver<Assigned>], n: usize| {
            std::iter::from_fn(|| inboxes[n].try_recv().ok()).collect::<Vec<_>>()
        };
        serve(7).await;
        let first = taken(&mut inboxes, 0);
        let [second, third] = [1, 2].map(|n| taken(&mut inboxes, n));
        assert_eq!([first.len(), second.len(), third.len()], [3, 2, 2]);
        // Those of the second have ended.
        drop(second);
        serve(4).await;
        let counts = [0, 1, 2].map(|n| taken(&mut inboxes, n).len());
        assert_eq!(counts, [0, 3, 1]);
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_is_given_no_connections() {
        let (workers, mut inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| Worker::new()).unzip();
        let workers = Workers(workers);
        drop(inboxes.remove(0));
        for _ in 0..2 {
            workers.serve(connection().await.0);
            assert!(inboxes[0].try_recv().is_ok());
        }
    }

    #[tokio::test]
    async fn connections_are_served_in_as_many_threads_as_there_are() {
        let name = || async {
            thread::current()
                .name()
                .map(str::to_owned)
                .unwrap_or_default()
        };
        let two = NonZeroUsize::new(2).unwrap();
        let routes = || Router::new().route("/", get(name));
        let workers = Workers::start(two, routes).unwrap();
        let (mut clients, mut names) = (Vec::new(), BTreeSet::new());
        for _ in 0..4 {
            let (connection, mut client, stop) = connection().await;
            workers.serve(connection);
            let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
            client.write_all(request).await.unwrap();
            let mut answer = [0; 1024];
            let read = client.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            names.extend(answer.lines().last().map(str::to_owned));
            clients.push((client, stop));
        }
        assert_eq!(
            names.into_iter().collect::<Vec<_>>(),
            ["worker 0", "worker 1"]
        );
        // With the `Workers` their connections end.
        drop(workers);
        for (mut client, _stop) in clients {
            assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        }
    }
}
