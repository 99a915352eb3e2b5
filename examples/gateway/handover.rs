//! Passes an answer to its client. A stream of HTTP/2 whose client takes nothing for too long is ended.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::Version,
};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};

use crate::activity::UnderWay;

/// An answer, which is under way until its body has ended or was dropped.
pub(crate) enum Answer {
    /// Of HTTP/1. Where the client takes nothing, the whole connection is ended.
    Direct { body: Body, _under_way: UnderWay },
    /// Of HTTP/2, where the other streams of the connection go on.
    HandedOver(HandedOver),
}

impl Answer {
    /// With HTTP/2 the body is dropped, and its upstream with it, when the client takes nothing of it for `patience`.
    pub(crate) fn new(
        body: Body,
        version: Version,
        patience: Duration,
        under_way: UnderWay,
    ) -> Self {
        match version {
            Version::HTTP_2 if !http_body::Body::is_end_stream(&body) => {
                Self::HandedOver(hand_over(body, patience, under_way))
            }
            _ => Self::Direct {
                body,
                _under_way: under_way,
            },
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Direct { body, .. } => Pin::new(body).poll_frame(cx),
            Self::HandedOver(handed) => handed.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Direct { body, .. } => body.is_end_stream(),
            Self::HandedOver(handed) => handed.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Direct { body, .. } => body.size_hint(),
            Self::HandedOver(handed) => handed.rest,
        }
    }
}

/// A piece of the answer, or `None` for its end.
type Piece = Option<Result<Frame<Bytes>, axum::Error>>;

/// The client's end of a body that is polled by a task of its own: hyper polls the body of a stream only while the client
/// has a window for it, so something else has to look at the time.
pub(crate) struct HandedOver {
    pieces: Receiver<Piece>,
    rest: SizeHint,
    ended: bool,
}

fn hand_over(body: Body, patience: Duration, under_way: UnderWay) -> HandedOver {
    let rest = http_body::Body::size_hint(&body);
    let (pieces, taken) = channel(1);
    tokio::spawn(async move {
        if give(body, &pieces, patience).await.is_none() {
            tracing::debug!("an answer was given up, because its client took nothing or went away");
        }
        drop(under_way);
    });
    HandedOver {
        pieces: taken,
        rest,
        ended: false,
    }
}

/// Gives all pieces; none if the client took nothing or went away.
async fn give(body: Body, pieces: &Sender<Piece>, patience: Duration) -> Option<()> {
    let mut body = pin!(body);
    loop {
        let place = timeout(patience, pieces.reserve()).await.ok()?.ok()?;
        let piece = tokio::select! {
            piece = body.frame() => piece,
            () = pieces.closed() => return None,
        };
        let ended = !matches!(piece, Some(Ok(_)));
        place.send(piece);
        if ended {
            return Some(());
        }
    }
}

impl HandedOver {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.pieces.poll_recv(cx)) {
            Some(piece) => piece,
            None => Some(Err(axum::Error::new("the answer was not taken in time"))),
        };
        self.ended = !matches!(piece, Some(Ok(_)));
        // A length that was stated stays true: what has been passed on is no longer to come.
        let passed = match &piece {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len) as u64,
            _ => 0,
        };
        self.rest = match self.rest.exact() {
            Some(rest) => SizeHint::with_exact(rest.saturating_sub(passed)),
            None => SizeHint::default(),
        };
        Poll::Ready(piece)
    }
}
