//! Passes an answer to its client, and drops it when the client reads nothing for too long.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::Version,
};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, timeout_at},
};

use crate::activity::UnderWay;

/// A piece of the answer, or `None` for its end.
type Piece = Option<Result<Frame<Bytes>, axum::Error>>;

/// The same body, which is dropped, and its upstream with it, when its reader takes nothing for so long. The answer is
/// under way until the body has ended or was dropped.
///
/// With HTTP/2 the reader opens the stream's window for the next piece. With HTTP/1 the server asks for the next piece when
/// all that it has buffered is written, which may take a slow reader long; so there the bytes of the connection count.
pub(crate) fn hand_over(
    body: Body,
    version: Version,
    patience: Duration,
    under_way: UnderWay,
) -> Body {
    if http_body::Body::is_end_stream(&body) {
        return body;
    }
    let (pieces, taken) = channel(1);
    tokio::spawn(async move {
        let written = || match version {
            Version::HTTP_2 => None,
            _ => Some(under_way.last_written()),
        };
        if give(body, &pieces, patience, &written).await.is_none() {
            tracing::debug!("an answer was given up, because its reader took nothing or went away");
        }
    });
    Body::new(Handed {
        pieces: taken,
        ended: false,
    })
}

/// Gives all pieces; none if the reader took nothing or went away.
async fn give(
    body: Body,
    pieces: &Sender<Piece>,
    patience: Duration,
    written: &(dyn Fn() -> Option<Instant> + Sync),
) -> Option<()> {
    let mut body = pin!(body);
    loop {
        let mut end = Instant::now() + patience;
        let place = loop {
            if let Ok(place) = timeout_at(end, pieces.reserve()).await {
                break place.ok()?;
            }
            end = written()
                .map(|at| at + patience)
                .filter(|&later| later > end)?;
        };
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

/// The reader's end. The length of the answer, where it is known, stands in its `Content-Length` already.
struct Handed {
    pieces: Receiver<Piece>,
    ended: bool,
}

impl http_body::Body for Handed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = match ready!(self.pieces.poll_recv(cx)) {
            Some(piece) => piece,
            None => Some(Err(axum::Error::new("the answer was not taken in time"))),
        };
        self.ended = !matches!(piece, Some(Ok(_)));
        Poll::Ready(piece)
    }
}
