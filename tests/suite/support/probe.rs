//! A service that checks how it is used, and uploads that come as the test says.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use tower::Service;
use tower_free_models::Body;

use super::{BoxError, Step, Upstream};

/// Stands before an upstream and holds its callers to the contract of [`Service`]: an instance is called only
/// after it was polled ready, and a clone has to become ready for itself. From the moment it is ready until it
/// is called or dropped, an instance holds a place.
pub struct Probe {
    pub upstream: Upstream,
    id: usize,
    ready: bool,
    pendings_left: usize,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    instances: usize,
    polls: usize,
    /// Instances that hold a place.
    held: BTreeSet<usize>,
    /// Instances in the order of their calls.
    called: Vec<usize>,
    closed: bool,
    broken: bool,
    pendings: usize,
    waiting: Vec<Waker>,
}

/// The error of a probe that can not become ready.
#[derive(Debug, PartialEq)]
pub struct NeverReady;

impl fmt::Display for NeverReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("never ready")
    }
}

impl std::error::Error for NeverReady {}

impl Probe {
    pub fn new(upstream: Upstream) -> Self {
        Self {
            upstream,
            id: 0,
            ready: false,
            pendings_left: 0,
            log: Arc::new(Mutex::new(Log {
                instances: 1,
                ..Log::default()
            })),
        }
    }

    /// Each instance is pending so many times before it becomes ready.
    pub fn pending(mut self, times: usize) -> Self {
        self.log().pendings = times;
        self.pendings_left = times;
        self
    }

    /// From now on no instance becomes ready.
    pub fn close(&self) {
        self.log().closed = true;
    }

    /// From now on everybody does.
    pub fn open(&self) {
        let mut log = self.log();
        log.closed = false;
        log.waiting.drain(..).for_each(Waker::wake);
    }

    /// From now on readiness ends in [`NeverReady`].
    pub fn break_down(&self) {
        self.log().broken = true;
    }

    /// How many instances hold a place.
    pub fn held(&self) -> usize {
        self.log().held.len()
    }

    /// The instances that were called, in order.
    pub fn called(&self) -> Vec<usize> {
        self.log().called.clone()
    }

    /// How often `poll_ready` was called.
    pub fn polls(&self) -> usize {
        self.log().polls
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        let mut log = self.log();
        let id = log.instances;
        log.instances += 1;
        Self {
            upstream: self.upstream.clone(),
            id,
            ready: false,
            pendings_left: log.pendings,
            log: Arc::clone(&self.log),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // A poisoned log has failed its test already.
        if let Ok(mut log) = self.log.lock() {
            log.held.remove(&self.id);
        }
    }
}

impl Service<Request<Body>> for Probe {
    type Response = <Upstream as Service<Request<Body>>>::Response;
    type Error = BoxError;
    type Future = <Upstream as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let log = Arc::clone(&self.log);
        let mut log = log.lock().unwrap();
        log.polls += 1;
        if log.broken {
            return Poll::Ready(Err(NeverReady.into()));
        }
        if !self.ready && log.closed {
            log.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        if !self.ready && self.pendings_left > 0 {
            self.pendings_left -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ready = true;
        log.held.insert(self.id);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        assert!(
            self.ready,
            "instance {} was called without being ready",
            self.id
        );
        self.ready = false;
        let mut log = self.log();
        log.held.remove(&self.id);
        log.called.push(self.id);
        drop(log);
        self.upstream.call(request)
    }
}

pub type Upload = UnsyncBoxBody<Bytes, BoxError>;

/// A chat request whose body comes in these steps.
pub fn upload(steps: Vec<Step>) -> Request<Upload> {
    let frames = stream::iter(steps).filter_map(async |step| match step {
        Step::Data(data) => Some(Ok(Frame::data(data))),
        Step::Pause(time) => {
            tokio::time::sleep(time).await;
            None
        }
        Step::Hang => future::pending().await,
        Step::Break => Some(Err(BoxError::from("the caller went away"))),
    });
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(StreamBody::new(frames).boxed_unsync())
        .expect("a valid request")
}

pub const CHAT: &str = r#"{"model": "free", "messages": [{"role": "user", "content": "hi"}]}"#;
pub const STREAMED_CHAT: &str =
    r#"{"model": "free", "stream": true, "messages": [{"role": "user", "content": "hi"}]}"#;

/// All of it at once.
pub fn at_once(text: &'static str) -> Vec<Step> {
    vec![Step::Data(Bytes::from_static(text.as_bytes()))]
}

pub const LATE: Duration = Duration::from_millis(10);

/// In this many pieces, with a pause of [`LATE`] before each.
pub fn in_pieces(text: impl Into<Bytes>, pieces: usize) -> Vec<Step> {
    let mut rest: Bytes = text.into();
    let size = rest.len().div_ceil(pieces);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        steps.push(Step::Pause(LATE));
        steps.push(Step::Data(rest.split_to(size.min(rest.len()))));
    }
    steps
}

/// The first half, and then nothing.
pub fn stalled(text: &'static str) -> Vec<Step> {
    let half = Bytes::from_static(&text.as_bytes()[..text.len() / 2]);
    vec![Step::Data(half), Step::Hang]
}
