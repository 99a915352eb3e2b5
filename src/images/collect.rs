//! Reads the body of an answer to its end, in memory that is counted.

use std::pin::pin;

use bytes::Bytes;

use super::failure::Failure;
use crate::{byte_budget::Held, poll_budget::PollBudget};

/// Reads a body of at most so many bytes. Their memory is held until the last slice of them is dropped.
pub(super) async fn collect<B, E>(body: B, most: usize, held: Held) -> Result<Bytes, Failure<E>>
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    let mut budget = PollBudget::default();
    let mut collected = Collected {
        held,
        first: Bytes::new(),
        rest: Vec::new(),
    };
    while let Some(frame) = budget.next_frame(body.as_mut()).await {
        let Ok(frame) = frame else {
            return Err(Failure::unread("broke off before the end of its answer"));
        };
        let data = frame.into_data().unwrap_or_default();
        if data.len() > most - collected.len() {
            return Err(Failure::unread("answers with more bytes than are read"));
        }
        if !collected.push(data) {
            return Err(Failure::Stopped("memory"));
        }
    }
    Ok(collected.into_bytes())
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
    held: Held,
    first: Bytes,
    rest: Vec<u8>,
}

impl Collected {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// Takes the next bytes; says whether there is memory for them.
    fn push(&mut self, data: Bytes) -> bool {
        if self.len() == 0 {
            self.first = data;
            return self.held.add(self.first.len() as u64);
        }
        let (needed, there) = (self.len() + data.len(), self.rest.capacity());
        if needed > there {
            // By half as much again, so that the bytes are seldom copied. Counted before it is taken.
            let capacity = needed.max(there + there / 2);
            if !self.held.add((capacity - there) as u64) {
                return false;
            }
            self.rest.reserve_exact(capacity - self.rest.len());
        }
        let first = std::mem::take(&mut self.first);
        self.rest.extend_from_slice(&first);
        self.rest.extend_from_slice(&data);
        true
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
    use serde_json::Value;

    use super::*;
    use crate::byte_budget::ByteBudget;

    type Piece = Result<&'static [u8], std::io::ErrorKind>;

    /// The bytes, or why there are none.
    async fn read(pieces: &[Piece], most: usize) -> Result<Bytes, String> {
        let frame = |piece: &Piece| piece.map(|data| Frame::data(Bytes::from_static(data)));
        let frames: Vec<_> = pieces.iter().map(frame).collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let held = ByteBudget::of(1000).hold();
        collect(body, most, held)
            .await
            .map_err(|failure: Failure<()>| match failure {
                Failure::Answer(response) => {
                    assert_eq!(response.status(), 502);
                    let body: Value = serde_json::from_slice(response.body()).expect("JSON");
                    body["error"]["message"].to_string()
                }
                Failure::Stopped(why) => why.to_owned(),
                Failure::Service(()) => panic!("no service was called"),
            })
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_within_the_limit() {
        let pieces = |pieces: &[&'static [u8]]| pieces.iter().copied().map(Ok).collect::<Vec<_>>();
        assert_eq!(read(&[], 0).await, Ok(Bytes::new()));
        let whole = read(&pieces(&[b"ab", b"", b"c", b"d"]), 4).await;
        assert_eq!(whole.unwrap(), "abcd");
        for too_large in [&[&b"ab"[..], b"c", b"d"][..], &[b"abcd"]] {
            let why = read(&pieces(too_large), 3).await.unwrap_err();
            assert!(why.contains("more bytes"), "{why}");
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
        let why = read(&[Ok(b"half"), reset], 100).await.unwrap_err();
        assert!(why.contains("broke off"), "{why}");
    }

    #[tokio::test]
    async fn a_body_that_takes_more_memory_than_there_is_left_is_not_read() {
        static LARGE: &[u8] = &[0; 1001];
        assert_eq!(read(&[Ok(LARGE)], 2000).await.unwrap_err(), "memory");
    }
}
