//! One call of the inner service whose answer is read to its end.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, response::Parts};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    body::Body,
    memory::{Held, Memory},
    poll_budget::PollBudget,
    ready_service::ReadyService,
};

pin_project! {
    /// Readies an instance, calls it, and collects the body of its answer.
    #[project = CallProj]
    pub(crate) enum Call<S, F, R> {
        Readying { service: ReadyService<S>, request: Option<Request<Body>>, room: Option<Room> },
        Calling { #[pin] future: F, room: Option<Room> },
        Collecting { head: Option<Parts>, #[pin] body: R, whole: Whole },
        Done,
    }
}

/// Why an answer could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    TooLarge,
    BrokeOff,
    /// All answers together take the memory that they may take.
    NoMemory,
}

/// Where an answer is put: at most so many bytes, of the memory that all answers share.
pub(crate) struct Room {
    pub(crate) most: usize,
    pub(crate) held: Held,
}

impl Room {
    pub(crate) fn of(memory: &Memory, most: usize) -> Self {
        let held = memory.hold();
        Self { most, held }
    }
}

/// Bytes whose memory is held until the last slice of them is dropped.
pub(crate) fn counted(bytes: Bytes, held: Held) -> Bytes {
    struct Counted {
        bytes: Bytes,
        _held: Held,
    }
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Counted { bytes, _held: held })
}

impl<S, F, R> Call<S, F, R> {
    pub(crate) const fn new(service: ReadyService<S>, request: Request<Body>, room: Room) -> Self {
        Self::Readying {
            service,
            request: Some(request),
            room: Some(room),
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
                    room,
                } => {
                    let mut service = ready!(service.poll_take(cx))?;
                    match request.take() {
                        Some(request) => Self::Calling {
                            future: service.call(request),
                            room: room.take(),
                        },
                        None => Self::Done,
                    }
                }
                CallProj::Calling { future, room } => {
                    let (head, body) = ready!(future.poll(cx))?.into_parts();
                    match room.take() {
                        Some(room) => Self::Collecting {
                            head: Some(head),
                            body,
                            whole: Whole::new(room),
                        },
                        None => Self::Done,
                    }
                }
                CallProj::Collecting { head, body, whole } => {
                    let read = ready!(whole.poll(body, cx));
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
pub(crate) struct Whole {
    first: Bytes,
    rest: Vec<u8>,
    /// Taken when the body is whole.
    room: Option<Room>,
}

impl Whole {
    fn new(room: Room) -> Self {
        Self {
            first: Bytes::new(),
            rest: Vec::new(),
            room: Some(room),
        }
    }

    fn poll<R>(
        &mut self,
        mut body: Pin<&mut R>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Unread>>
    where
        R: http_body::Body<Data = Bytes>,
    {
        let mut budget = PollBudget::default();
        loop {
            if budget.is_over() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let frame = ready!(body.as_mut().poll_frame(cx));
            budget.saw(frame.as_ref());
            let data = match frame {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Poll::Ready(Err(Unread::BrokeOff)),
                None => return Poll::Ready(Ok(self.take())),
            };
            if let Err(unread) = self.push(data) {
                return Poll::Ready(Err(unread));
            }
        }
    }

    fn push(&mut self, data: Bytes) -> Result<(), Unread> {
        let Some(room) = &mut self.room else {
            return Err(Unread::BrokeOff);
        };
        let length = self.first.len() + self.rest.len();
        if data.len() > room.most - length {
            return Err(Unread::TooLarge);
        }
        if length == 0 {
            self.first = data;
            return hold(&mut room.held, self.first.len());
        }
        let (needed, there) = (length + data.len(), self.rest.capacity());
        if needed > there {
            // By half as much again, so that what is there is seldom copied, and counted before it is taken.
            let capacity = needed.max(there + there / 2);
            hold(&mut room.held, capacity - there)?;
            self.rest.reserve_exact(capacity - self.rest.len());
        }
        // From here on all of it is in one place.
        self.rest
            .extend_from_slice(&std::mem::take(&mut self.first));
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    fn take(&mut self) -> Bytes {
        let bytes = if self.rest.is_empty() {
            std::mem::take(&mut self.first)
        } else {
            Bytes::from(std::mem::take(&mut self.rest))
        };
        match self.room.take() {
            Some(room) => counted(bytes, room.held),
            None => bytes,
        }
    }
}

fn hold(held: &mut Held, more: usize) -> Result<(), Unread> {
    match held.add(more as u64) {
        true => Ok(()),
        false => Err(Unread::NoMemory),
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
        let mut whole = Whole::new(Room::of(&Memory::of(1000), limit));
        std::future::poll_fn(|cx| whole.poll(body.as_mut(), cx)).await
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
        let mut whole = Whole::new(Room::of(&Memory::of(1000), 100));
        let read = std::future::poll_fn(|cx| whole.poll(body.as_mut(), cx)).await;
        assert_eq!(read, Err(Unread::BrokeOff));
    }
}
