//! Reads the body of an answer to its end, in memory that is counted.

use std::{future::poll_fn, pin::pin, task::Poll};

use bytes::Bytes;

use crate::{byte_budget::Held, poll_budget::PollBudget};

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    TooLarge,
    BrokeOff,
    /// The images of all requests take the memory that they may take.
    NoMemory,
}

/// Reads a body of at most so many bytes. Their memory is held until the last slice of them is dropped.
pub(super) async fn collect<B>(body: B, most: usize, held: Held) -> Result<Bytes, Unread>
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut collected = Collected {
        most,
        held,
        first: Bytes::new(),
        rest: Vec::new(),
    };
    let mut budget = PollBudget::default();
    loop {
        let frame = poll_fn(|cx| {
            if budget.is_over() {
                budget = PollBudget::default();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            body.as_mut().poll_frame(cx)
        })
        .await;
        budget.saw(frame.as_ref());
        match frame {
            Some(Ok(frame)) => collected.push(frame.into_data().unwrap_or_default())?,
            Some(Err(_)) => return Err(Unread::BrokeOff),
            None => return Ok(collected.into_bytes()),
        }
    }
}

/// Bytes whose memory is held until the last slice of them is dropped.
pub(super) fn counted(bytes: Bytes, held: Held) -> Bytes {
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

/// The data of a body so far; not copied if it comes in one frame.
struct Collected {
    most: usize,
    held: Held,
    first: Bytes,
    rest: Vec<u8>,
}

impl Collected {
    fn push(&mut self, data: Bytes) -> Result<(), Unread> {
        let length = self.first.len() + self.rest.len();
        if data.len() > self.most - length {
            return Err(Unread::TooLarge);
        }
        if length == 0 {
            self.first = data;
            return self.hold(self.first.len());
        }
        let (needed, there) = (length + data.len(), self.rest.capacity());
        if needed > there {
            // By half as much again, so that the bytes are seldom copied. Counted before it is taken.
            let capacity = needed.max(there + there / 2);
            self.hold(capacity - there)?;
            self.rest.reserve_exact(capacity - self.rest.len());
        }
        let first = std::mem::take(&mut self.first);
        self.rest.extend_from_slice(&first);
        self.rest.extend_from_slice(&data);
        Ok(())
    }

    fn hold(&mut self, more: usize) -> Result<(), Unread> {
        match self.held.add(more as u64) {
            true => Ok(()),
            false => Err(Unread::NoMemory),
        }
    }

    fn into_bytes(self) -> Bytes {
        let bytes = match self.rest.is_empty() {
            true => self.first,
            false => Bytes::from(self.rest),
        };
        counted(bytes, self.held)
    }
}

#[cfg(test)]
mod tests {
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;
    use crate::byte_budget::ByteBudget;

    type Piece = Result<&'static [u8], std::io::ErrorKind>;

    async fn read(pieces: &[Piece], most: usize) -> Result<Bytes, Unread> {
        let frame = |piece: &Piece| piece.map(|data| Frame::data(Bytes::from_static(data)));
        let frames: Vec<_> = pieces.iter().map(frame).collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        collect(body, most, ByteBudget::of(1000).hold()).await
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_within_the_limit() {
        let pieces = |pieces: &[&'static [u8]]| pieces.iter().copied().map(Ok).collect::<Vec<_>>();
        assert_eq!(read(&[], 0).await, Ok(Bytes::new()));
        let whole = read(&pieces(&[b"ab", b"", b"c", b"d"]), 4).await;
        assert_eq!(whole.unwrap(), "abcd");
        for too_large in [&[&b"ab"[..], b"c", b"d"][..], &[b"abcd"]] {
            assert_eq!(read(&pieces(too_large), 3).await, Err(Unread::TooLarge));
        }
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        static DATA: &[u8] = b"an image";
        let whole = read(&[Ok(DATA)], 100).await.unwrap();
        assert_eq!(whole.as_ptr(), DATA.as_ptr());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_read() {
        let reset = Err(std::io::ErrorKind::ConnectionReset);
        let read = read(&[Ok(b"half"), reset], 100).await;
        assert_eq!(read, Err(Unread::BrokeOff));
    }

    #[tokio::test]
    async fn a_body_that_takes_more_memory_than_there_is_left_is_not_read() {
        static LARGE: &[u8] = &[0; 1001];
        assert_eq!(read(&[Ok(LARGE)], 2000).await, Err(Unread::NoMemory));
    }
}
