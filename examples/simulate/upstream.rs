//! The simulated providers as the service that the layers call.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep, sleep_until};
use tower::Service;
use tower_free_models::Body;

use crate::{
    demand::Ask,
    run::Asks,
    window::Millis,
    wire::{ALIVE, BROKEN, FIRST, ID, LAST, MORE, WHOLE},
    world::{Call, Fate, Times, World},
};

/// The time until the head of a streamed answer, at most.
const HEAD: Millis = 300;

/// All simulated providers.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) world: Arc<World>,
    /// The requests of the run, by their ids.
    pub(crate) asks: Arc<Asks>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Answer>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { this.answer(request).await })
    }
}

impl Upstream {
    async fn answer(self, request: Request<Body>) -> io::Result<Response<Answer>> {
        let (parts, body) = request.into_parts();
        let id = parts
            .headers
            .get(ID)
            .and_then(|id| id.to_str().ok()?.parse().ok());
        let ask = self.asks.get(id.expect("the request has its id")).clone();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let model = model(&body).expect("the body names a model");
        let host = parts.uri.host().unwrap_or_default();
        let model = self
            .world
            .pool
            .find(host, model)
            .expect("the model is in the pool");

        let mut call = Open::begin(&self.world, model, &ask);
        let round_trip = self.world.round_trip(model);
        let pause = |millis| sleep(Duration::from_millis(millis));
        let (status, headers, frames) = match call.call.fate.clone() {
            Fate::Answers(times) => {
                let (wait, kind, frames) = answer(&ask, times);
                pause(wait).await;
                let mut headers = std::mem::take(&mut call.call.headers);
                headers.push(("content-type".into(), kind.into()));
                (200, headers, frames)
            }
            Fate::Stalls if ask.stream => {
                pause(HEAD).await;
                let frames = vec![(0, ALIVE.to_owned()), (Millis::MAX, String::new())];
                (200, vec![("content-type".into(), STREAM.into())], frames)
            }
            Fate::Stalls | Fate::Hangs => std::future::pending().await,
            Fate::ErrorIn200(after) => {
                pause(after).await;
                let (kind, body) = match ask.stream {
                    true => (STREAM, format!("data: {BROKEN}\n\n")),
                    false => (JSON, BROKEN.to_owned()),
                };
                (
                    200,
                    vec![("content-type".into(), kind.into())],
                    vec![(0, body)],
                )
            }
            Fate::Refused(_, refusal) => {
                pause(round_trip).await;
                let mut headers = refusal.headers;
                if !headers.iter().any(|(name, _)| name == "content-type") {
                    headers.push(("content-type".into(), JSON.into()));
                }
                (refusal.status, headers, vec![(0, refusal.body)])
            }
            Fate::Unreachable => {
                pause(round_trip).await;
                return Err(io::Error::other("connection refused"));
            }
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let wall = UNIX_EPOCH + Duration::from_millis(self.world.wall(self.world.now()));
        let response = response.header("date", httpdate::fmt_http_date(wall));
        let body = Answer {
            frames: frames.into(),
            pause: None,
            call,
        };
        response.body(body).map_err(io::Error::other)
    }
}

const STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

/// The time to the head of an answer, its type, and its frames with the times before them.
fn answer(ask: &Ask, times: Times) -> (Millis, &'static str, Vec<(Millis, String)>) {
    if !ask.stream {
        return (times.last, JSON, vec![(0, WHOLE.to_owned())]);
    }
    let head = times.first.min(HEAD);
    let rest = times.last - times.first;
    let frames = vec![
        (0, ALIVE.to_owned()),
        (times.first - head, FIRST.to_owned()),
        (rest / 2, MORE.to_owned()),
        (rest - rest / 2, LAST.to_owned()),
    ];
    (head, STREAM, frames)
}

/// The first `model` of a body: the requests of this simulation have it before everything else.
fn model(body: &[u8]) -> Option<&str> {
    let start = std::str::from_utf8(&body[..body.len().min(300)]).ok()?;
    let (_, rest) = start.split_once(r#""model":""#)?;
    Some(rest.split_once('"')?.0)
}

/// A call that is ended when it is dropped.
pub(crate) struct Open {
    world: Arc<World>,
    pub(crate) call: Call,
    is_complete: bool,
}

impl Open {
    pub(crate) fn begin(world: &Arc<World>, model: usize, ask: &Ask) -> Self {
        Self {
            call: world.begin(model, ask),
            world: Arc::clone(world),
            is_complete: false,
        }
    }

    /// The whole answer has come.
    pub(crate) fn complete(mut self) {
        self.is_complete = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.world.end(&self.call);
        if matches!(self.call.fate, Fate::Answers(_)) && !self.is_complete {
            self.world.dropped(&self.call);
        }
    }
}

/// The body of a simulated answer.
pub(crate) struct Answer {
    /// Each comes so long after the one before; none comes after the longest time.
    frames: VecDeque<(Millis, String)>,
    pause: Option<Pin<Box<Sleep>>>,
    call: Open,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pause.is_none() {
            match self.frames.front() {
                None => {
                    self.call.is_complete = true;
                    return Poll::Ready(None);
                }
                Some((Millis::MAX, _)) => return Poll::Pending,
                Some((0, _)) => {}
                Some(&(wait, _)) => {
                    let world = &self.call.world;
                    let end = world.instant(world.now() + wait);
                    self.pause = Some(Box::pin(sleep_until(end)));
                }
            }
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let frame = self.frames.pop_front();
        if self.frames.is_empty() {
            self.call.is_complete = true;
        }
        Poll::Ready(frame.map(|(_, data)| Ok(Frame::data(data.into()))))
    }
}
