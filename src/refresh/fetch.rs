//! One GET, bounded in bytes and in time.

use std::{
    error::Error,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::time::timeout;
use tower_service::Service;

use crate::{
    body::{Body, BoxError},
    listing::ListingError,
    poll_budget::PollBudget,
};

/// How long an answer may take, and how large it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) timeout: Duration,
    /// In bytes.
    pub(super) size: usize,
}

/// An answer. Its body is read where the status says success, and empty elsewhere.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NoAddress,
    /// With the client's own words.
    Unreachable(String),
    TooSlow(Duration),
    TooLarge(usize),
    Status(StatusCode),
    Listing(ListingError),
    NoEntry,
    Unreadable,
}

impl Fault {
    pub(super) fn unreachable(error: &(dyn Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Unreachable(text)
    }
}

/// Sends a request, and reads its answer. A redirect is an answer like any other.
pub(super) async fn get<S, B>(
    client: S,
    request: Request<Body>,
    bounds: Bounds,
) -> Result<Answer, Fault>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    timeout(bounds.timeout, exchange(client, request, bounds.size))
        .await
        .unwrap_or(Err(Fault::TooSlow(bounds.timeout)))
}

async fn exchange<S, B>(mut client: S, request: Request<Body>, most: usize) -> Result<Answer, Fault>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let unreachable = |error: BoxError| Fault::unreachable(&*error);
    poll_fn(|cx| client.poll_ready(cx))
        .await
        .map_err(|error| unreachable(error.into()))?;
    let response = client.call(request).await;
    let response = response.map_err(|error| unreachable(error.into()))?;
    let (head, body) = response.into_parts();
    let mut bytes = Vec::new();
    if head.status.is_success() {
        let mut body = pin!(body);
        poll_fn(|cx| poll_read(body.as_mut(), &mut bytes, most, cx)).await?;
    }
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: bytes,
    })
}

/// Reads a body to its end.
fn poll_read<B>(
    mut body: Pin<&mut B>,
    bytes: &mut Vec<u8>,
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Fault>>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut budget = PollBudget::default();
    while !budget.is_over() {
        let frame = ready!(body.as_mut().poll_frame(cx));
        budget.saw(frame.as_ref());
        let Some(frame) = frame else {
            return Poll::Ready(Ok(()));
        };
        let frame = frame.map_err(|error| Fault::unreachable(&*error.into()))?;
        let data = frame.into_data().unwrap_or_default();
        if data.len() > most - bytes.len() {
            return Poll::Ready(Err(Fault::TooLarge(most)));
        }
        bytes.extend_from_slice(&data);
    }
    // The deadline is looked at before the next round.
    cx.waker().wake_by_ref();
    Poll::Pending
}
