//! One call of the inner service whose answer is read to its end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, response::Parts};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{body::Body, patience::Patience, readied::Readied};

pin_project! {
    /// Readies an instance, calls it, and collects the body of its answer.
    #[project = CallProj]
    pub(super) enum Call<S, F, R> {
        Readying { service: Readied<S>, request: Option<Request<Body>>, limit: usize },
        Calling { #[pin] future: F, limit: usize },
        Collecting { head: Option<Parts>, #[pin] body: R, whole: Whole, limit: usize },
        Done,
    }
}

/// Why an answer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    BrokeOff,
}

impl<S, F, R> Call<S, F, R> {
    /// The answer may have at most `limit` bytes.
    pub(super) const fn new(service: Readied<S>, request: Request<Body>, limit: usize) -> Self {
        Self::Readying {
            service,
            request: Some(request),
            limit,
        }
    }
}

impl<S, R> Future for Call<S, S::Future, R>
where
    S: Service<Request<Body>, Response = Response<R>>,
    R: http_body::Body<Data = Bytes>,
{
    type Output = Result<Result<Response<Bytes>, Unread>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                CallProj::Readying {
                    service,
                    request,
                    limit,
                } => {
                    let mut service = ready!(service.poll_take(cx))?;
                    match request.take() {
                        Some(request) => Self::Calling {
                            future: service.call(request),
                            limit: *limit,
                        },
                        None => Self::Done,
                    }
                }
                CallProj::Calling { future, limit } => {
                    let (head, body) = ready!(future.poll(cx))?.into_parts();
                    Self::Collecting {
                        head: Some(head),
                        body,
                        whole: Whole::default(),
                        limit: *limit,
                    }
                }
                CallProj::Collecting {
                    head,
                    body,
                    whole,
                    limit,
                } => {
                    let read = ready!(whole.poll(body, *limit, cx));
                    let head = head.take();
                    self.set(Self::Done);
                    return match (read, head) {
                        (Ok(body), Some(head)) => {
                            Poll::Ready(Ok(Ok(Response::from_parts(head, body))))
                        }
                        (Err(unread), _) => Poll::Ready(Ok(Err(unread))),
                        (Ok(_), None) => Poll::Pending,
                    };
                }
                // Polled after completion: there is nothing more to come.
                CallProj::Done => return Poll::Pending,
            };
            self.set(next);
        }
    }
}

/// The data of a body so far; not copied if it comes in one frame.
#[derive(Default)]
pub(super) struct Whole {
    first: Bytes,
    rest: BytesMut,
}

impl Whole {
    fn poll<R>(
        &mut self,
        mut body: Pin<&mut R>,
        limit: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Unread>>
    where
        R: http_body::Body<Data = Bytes>,
    {
        let mut patience = Patience::default();
        loop {
            if patience.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let frame = ready!(body.as_mut().poll_frame(cx));
            patience.saw(frame.as_ref());
            let data = match frame {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Err(Unread::BrokeOff)),
                None => return Poll::Ready(Ok(self.take())),
            };
            if data.len() > limit - self.len() {
                return Poll::Ready(Err(Unread::TooLarge));
            }
            self.push(data);
        }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn push(&mut self, data: Bytes) {
        if self.len() == 0 {
            self.first = data;
            return;
        }
        // From here on all of it is in one place.
        self.rest
            .extend_from_slice(&std::mem::take(&mut self.first));
        self.rest.extend_from_slice(&data);
    }

    fn take(&mut self) -> Bytes {
        if self.rest.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            std::mem::take(&mut self.rest).freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn read(frames: &[&'static [u8]], limit: usize) -> Result<Bytes, Unread> {
        let frames: Vec<_> = frames
            .iter()
            .map(|data| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(data))))
            .collect();
        let mut body = std::pin::pin!(StreamBody::new(futures_util::stream::iter(frames)));
        let mut whole = Whole::default();
        std::future::poll_fn(|cx| whole.poll(body.as_mut(), limit, cx)).await
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_within_the_limit() {
        assert_eq!(read(&[], 0).await, Ok(Bytes::new()));
        assert_eq!(read(&[b"ab", b"", b"c", b"d"], 4).await.unwrap(), "abcd");
        assert_eq!(read(&[b"ab", b"c", b"d"], 3).await, Err(Unread::TooLarge));
        assert_eq!(read(&[b"abcd"], 3).await, Err(Unread::TooLarge));
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        static DATA: &[u8] = b"an image";
        let whole = read(&[DATA], 100).await.unwrap();
        assert_eq!(whole.as_ptr(), DATA.as_ptr());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_read() {
        let frames = [
            Ok(Frame::data(Bytes::from_static(b"half"))),
            Err(std::io::Error::other("reset")),
        ];
        let mut body = std::pin::pin!(StreamBody::new(futures_util::stream::iter(frames)));
        let mut whole = Whole::default();
        let read = std::future::poll_fn(|cx| whole.poll(body.as_mut(), 100, cx)).await;
        assert_eq!(read, Err(Unread::BrokeOff));
    }
}
