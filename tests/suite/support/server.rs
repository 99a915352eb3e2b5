//! Real servers and callers on the loopback interface: upstreams that remember what they receive, and a front that
//! serves the layers over a hyper client.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header, request::Parts};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::Sleep,
};
use tower::{Layer, Service, ServiceExt};
use tower_free_models::{Body, FreeRule, Model, Provider, Stack, Target};

use crate::support::{BoxError, Reply, Step};

pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// What an upstream received.
#[derive(Debug)]
pub struct Received {
    pub parts: Parts,
    pub body: Bytes,
}

impl Received {
    /// Every header with its values, sorted by name.
    pub fn headers(&self) -> BTreeMap<String, Vec<String>> {
        all(&self.parts.headers)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let value = self.parts.headers.get(name)?;
        Some(value.to_str().expect("ASCII"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON arrives")
    }

    pub fn model(&self) -> String {
        self.json()["model"].as_str().expect("a model").to_owned()
    }

    /// All that came, to look for what must not have come.
    pub fn everything(&self) -> String {
        format!("{} {:?} {}", self.parts.uri, self.headers(), self.text())
    }
}

pub fn all(headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in headers {
        let value = value.to_str().expect("ASCII").to_owned();
        all.entry(name.to_string()).or_default().push(value);
    }
    all
}

/// What an upstream answers. A reply with an `error` closes the connection without an answer.
pub struct Answer {
    pub reply: Reply,
    pub trailers: Option<HeaderMap>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        let trailers = None;
        Self { reply, trailers }
    }
}

/// A real server. `…/echo` sends back what comes, as it comes; anything else is answered as the test says. It ends when
/// dropped.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    answer: Box<dyn Fn(&Received) -> Answer + Send + Sync>,
    seen: Mutex<Vec<Received>>,
    accepted: AtomicUsize,
    /// Requests whose answers have neither ended nor been dropped.
    open: watch::Sender<usize>,
}

impl Server {
    pub async fn start<A: Into<Answer>>(
        answer: impl Fn(&Received) -> A + Send + Sync + 'static,
    ) -> Self {
        let (address, listener) = bind().await;
        let state = Arc::new(State::new(answer));
        let accepting = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    state.serve(stream);
                }
            }
        });
        Self {
            address,
            state,
            accepting,
        }
    }

    /// The URL of its OpenAI-compatible service.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// This server as a provider with a key of its own, whose models are all free.
    pub fn provider(&self, name: &str) -> Provider {
        Provider::new(name)
            .base_url(&self.url())
            .key(&format!("key-of-{name}"))
            .free(FreeRule::All)
            .build()
            .expect("a valid provider")
    }

    pub fn targets(&self, name: &str, models: &[&str]) -> Vec<Target> {
        let provider = self.provider(name);
        let target = |id: &&str| provider.target(Model::new(*id)).expect("a free model");
        models.iter().map(target).collect()
    }

    pub fn seen(&self) -> MutexGuard<'_, Vec<Received>> {
        self.state.seen.lock().unwrap()
    }

    pub fn calls(&self) -> usize {
        self.seen().len()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Resolves when so many of its answers are under way.
    pub async fn until_open(&self, n: usize) {
        let mut open = self.state.open.subscribe();
        open.wait_for(|open| *open == n)
            .await
            .expect("the server lives");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn new<A: Into<Answer>>(answer: impl Fn(&Received) -> A + Send + Sync + 'static) -> Self {
        Self {
            answer: Box::new(move |received| answer(received).into()),
            seen: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: watch::channel(0).0,
        }
    }

    fn serve(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(self);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&state).handle(request));
            // Callers that hang up are part of the tests.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }

    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<AnyBody>, BoxError> {
        let open = Open::new(&self);
        let (parts, body) = request.into_parts();
        if parts.uri.path().ends_with("/echo") {
            let nothing = Bytes::new();
            self.seen.lock().unwrap().push(Received {
                parts,
                body: nothing,
            });
            return Ok(Response::new(body.map_err(Into::into).boxed_unsync()));
        }
        let body = body.collect().await?.to_bytes();
        let received = Received { parts, body };
        let Answer { reply, trailers } = (self.answer)(&received);
        self.seen.lock().unwrap().push(received);
        tokio::time::sleep(reply.after).await;
        if let Some(error) = reply.error {
            return Err(error.into());
        }
        let mut response = Response::builder().status(reply.status);
        for (name, value) in &reply.headers {
            response = response.header(name, value);
        }
        let body = Scripted {
            steps: reply.steps.into(),
            trailers,
            pause: None,
            _open: open,
        };
        Ok(response.body(body.boxed_unsync())?)
    }
}

/// An answer under way.
struct Open(Arc<State>);

impl Open {
    fn new(state: &Arc<State>) -> Self {
        state.open.send_modify(|open| *open += 1);
        Self(Arc::clone(state))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// A body that goes through its steps. One that is whole has a length, as those of real servers have.
struct Scripted {
    steps: VecDeque<Step>,
    trailers: Option<HeaderMap>,
    pause: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.steps.pop_front() {
                Some(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Pause(time)) => self.pause = Some(Box::pin(tokio::time::sleep(time))),
                Some(Step::Hang) => {
                    self.steps.push_front(Step::Hang);
                    return Poll::Pending;
                }
                Some(Step::Break) => return Poll::Ready(Some(Err("broken off".into()))),
                None => {
                    let trailers = self.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (self.steps.as_slices(), &self.trailers) {
            (([Step::Data(data)], []), None) => SizeHint::with_exact(data.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// A server below HTTP: it reads one request of a connection, writes these bytes, and closes.
pub struct RawServer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl RawServer {
    pub async fn start(answer: &'static [u8]) -> Self {
        let (address, listener) = bind().await;
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let accepting = tokio::spawn({
            let seen = Arc::clone(&seen);
            async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let seen = Arc::clone(&seen);
                    tokio::spawn(async move {
                        if let Some(request) = read_request(&mut stream).await {
                            seen.lock().unwrap().push(request);
                            let _ = stream.write_all(answer).await;
                        }
                    });
                }
            }
        });
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// The requests as they stood on the wire.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request with a `Content-Length`, as its bytes.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = std::str::from_utf8(&bytes).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().ok())?
        });
        if length.is_some_and(|length| body.len() >= length) {
            return Some(text.to_owned());
        }
    }
}

/// An address where no server listens.
pub async fn nowhere() -> SocketAddr {
    bind().await.0
}

async fn bind() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    (listener.local_addr().expect("an address"), listener)
}

pub type HttpClient = Client<HttpConnector, Body>;

/// A client as an application would use it.
pub fn client() -> HttpClient {
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(http)
}

/// Serves both layers over a real client, and over HTTP/1 and HTTP/2.
pub struct Front {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Front {
    pub async fn start(stack: &Stack) -> Self {
        Self::serve(stack.layer(client())).await
    }

    /// The same over a client that knows by itself where to go.
    pub async fn with_home(stack: &Stack, home: SocketAddr) -> Self {
        let client = client().map_request(move |mut request: Request<Body>| {
            if request.uri().authority().is_none() {
                let address = format!("http://{home}{}", request.uri());
                *request.uri_mut() = address.parse().expect("an address");
            }
            request
        });
        Self::serve(stack.layer(client)).await
    }

    async fn serve<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (address, listener) = bind().await;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let service = service.clone();
                let service = service_fn(move |request| service.clone().oneshot(request));
                tokio::spawn(async move {
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, accepting }
    }

    /// Opens a connection to it.
    pub async fn caller(&self, version: Version) -> Caller {
        let stream = TcpStream::connect(self.address).await.expect("a stream");
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(stream);
        if version == Version::HTTP_2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                .await
                .expect("HTTP/2");
            tokio::spawn(connection);
            return Caller::Http2(sender);
        }
        let (sender, connection) = http1::handshake(io).await.expect("HTTP/1");
        tokio::spawn(connection);
        Caller::Http1(sender)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The name by which callers know the front.
pub const FRONT: &str = "front.example";

/// One connection of a caller.
pub enum Caller {
    Http1(http1::SendRequest<AnyBody>),
    Http2(http2::SendRequest<AnyBody>),
}

impl Caller {
    pub async fn send<B>(&mut self, request: Request<B>) -> Response<Incoming>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        let response = match self {
            Self::Http1(sender) => {
                let host = HeaderValue::from_static(FRONT);
                request.headers_mut().entry(header::HOST).or_insert(host);
                sender.ready().await.expect("a connection");
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                let uri = format!("http://{FRONT}{}", request.uri());
                *request.uri_mut() = uri.parse().expect("an address");
                *request.version_mut() = Version::HTTP_2;
                sender.ready().await.expect("a connection");
                sender.send_request(request).await
            }
        };
        response.expect("a response")
    }
}
