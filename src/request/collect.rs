//! The collecting of request bodies, within bounds.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::assemble::Assembly;
use crate::{
    body::BoxError,
    byte_budget::{ByteBudget, Held},
    clock::later,
    deadline::within,
    json::Collected,
    poll_budget::PollBudget,
    refusal::Refusal,
};

/// The bounds of collecting. Clones share the count of what all bodies hold.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_body: u64,
    pub(crate) body_timeout: Duration,
    budget: ByteBudget,
}

/// 64 MB: a prompt of a million tokens is 6 to 10 MB, and images come on top.
const MAX_BODY: u64 = 64_000_000;
/// Over all bodies that are held at a time.
const MAX_IN_FLIGHT: u64 = 8 * MAX_BODY;
/// Of a body that is refused, so much is read and thrown away: a client that is still sending when its connection is
/// closed does not see the answer.
const MOST_DISCARDED: u64 = 2 * MAX_BODY;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_body: MAX_BODY,
            body_timeout: BODY_TIMEOUT,
            budget: ByteBudget::of(MAX_IN_FLIGHT),
        }
    }
}

impl Bounds {
    /// For bodies that an outer layer has bounded already.
    pub(crate) fn unbounded() -> Self {
        Self {
            max_body: u64::MAX,
            body_timeout: Duration::MAX,
            budget: ByteBudget::of(u64::MAX),
        }
    }

    pub(crate) fn max_in_flight(mut self, max: u64) -> Self {
        self.budget = ByteBudget::of(max);
        self
    }

    /// Collects a body: without a copy if it comes in one frame.
    pub(crate) async fn collect<B>(
        &self,
        body: B,
        assembly: Assembly,
    ) -> Result<(Collected, Held), Refusal>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut body = pin!(body);
        let mut collecting = Collecting {
            bounds: self,
            assembly,
            held: self.budget.hold(),
            refused: None,
            discarded: 0,
        };
        let announced = body.size_hint().lower();
        if announced > self.max_body {
            if announced > MOST_DISCARDED {
                return Err(self.too_large());
            }
            collecting.refuse(self.too_large());
        }
        let mut budget = PollBudget::default();
        let read = async {
            loop {
                match budget.next_frame(body.as_mut()).await {
                    Some(Ok(frame)) => {
                        // Trailers of a request say nothing to an upstream.
                        let data = frame.into_data().unwrap_or_default();
                        if !collecting.takes(data) {
                            return Ok(());
                        }
                    }
                    Some(Err(_)) => {
                        let message = "The request body broke off before its end.";
                        return Err(Refusal::bad_request(message));
                    }
                    None => return Ok(()),
                }
            }
        };
        let end = later(Instant::now(), self.body_timeout);
        let read = within(pin!(read), || end).await;
        match (read, collecting.refused) {
            (Some(Err(broken)), _) => Err(broken),
            (_, Some(refusal)) => Err(refusal),
            (None, None) => Err(too_slow(self.body_timeout)),
            (Some(Ok(())), None) => Ok((collecting.assembly.finish(), collecting.held)),
        }
    }

    fn too_large(&self) -> Refusal {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!(
                "The request body is larger than {} bytes, the most that is accepted here.",
                self.max_body
            ),
        )
    }
}

/// A body that is being collected.
struct Collecting<'a> {
    bounds: &'a Bounds,
    assembly: Assembly,
    held: Held,
    /// Why the body is refused, and how many bytes of it have been thrown away since.
    refused: Option<Refusal>,
    discarded: u64,
}

impl Collecting<'_> {
    /// Takes the next bytes; says whether more are wanted.
    fn takes(&mut self, data: Bytes) -> bool {
        let len = data.len() as u64;
        if self.refused.is_some() {
            self.discarded = self.discarded.saturating_add(len);
            return self.discarded <= MOST_DISCARDED;
        }
        let is_within = self.held.add(len);
        if self.held.bytes() > self.bounds.max_body {
            self.refuse(self.bounds.too_large());
        } else if !is_within {
            self.refuse(too_busy());
        } else {
            self.assembly.push(data);
        }
        true
    }

    /// Lets go of what is there.
    fn refuse(&mut self, refusal: Refusal) {
        self.assembly = Assembly::of_bytes();
        self.held = self.bounds.budget.hold();
        self.refused = Some(refusal);
    }
}

fn too_slow(limit: Duration) -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        format!(
            "The request body did not arrive within {} seconds.",
            limit.as_secs_f64()
        ),
    )
}

fn too_busy() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_bodies",
        "Too many large requests are being served at the moment. Try again shortly.",
    )
    .retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body_util::{Full, StreamBody};

    use super::*;

    impl Bounds {
        async fn json<B>(&self, body: B) -> Result<(Collected, Held), Refusal>
        where
            B: http_body::Body<Data = Bytes>,
            B::Error: Into<BoxError>,
        {
            self.collect(body, Assembly::of_json()).await
        }
    }

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let bytes = Bytes::from(vec![b'x'; 1000]);
        let (collected, _held) = Bounds::default()
            .json(Full::new(bytes.clone()))
            .await
            .unwrap();
        assert_eq!(collected.text().as_ptr(), bytes.as_ptr());
    }

    fn frames(
        chunks: Vec<&'static [u8]>,
    ) -> impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> {
        StreamBody::new(futures_util::stream::iter(
            chunks
                .into_iter()
                .map(|chunk| Ok(http_body::Frame::data(Bytes::from_static(chunk)))),
        ))
    }

    #[tokio::test]
    async fn many_frames_are_joined() {
        let (collected, _held) = Bounds::default()
            .json(frames(vec![b"a", b"", b"bc", b"d"]))
            .await
            .unwrap();
        assert_eq!(collected.text(), "abcd");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413_whatever_its_length_header_says() {
        let bounds = Bounds {
            max_body: 3,
            ..Bounds::default()
        };
        assert_eq!(
            bounds
                .json(frames(vec![b"ab", b"cd"]))
                .await
                .unwrap_err()
                .status,
            413
        );
        assert!(bounds.json(frames(vec![b"ab", b"c"])).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_to_its_end_but_not_kept() {
        let bounds = Bounds {
            max_body: 3,
            ..Bounds::default()
        };
        let read = std::cell::Cell::new(0);
        let chunks = futures_util::stream::iter((0..100).map(|_| {
            read.set(read.get() + 1);
            Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(b"abcd")))
        }));
        let refusal = bounds.json(StreamBody::new(chunks)).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), read.get()), (413, 100));
        assert_eq!(bounds.budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_empty_frames_without_end_is_not_read_for_ever() {
        let empty = || Ok::<_, BoxError>(http_body::Frame::data(Bytes::new()));
        let endless = StreamBody::new(futures_util::stream::repeat_with(empty));
        let bounds = Bounds::default();
        let collect = bounds.json(endless);
        let ticking = async {
            loop {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            collected = collect => assert_eq!(collected.unwrap_err().status, 408),
            () = ticking => {}
        }
    }

    #[tokio::test]
    async fn a_body_without_end_is_not_read_for_ever() {
        let bounds = Bounds {
            max_body: 3,
            ..Bounds::default()
        };
        let megabyte = Bytes::from(vec![b'x'; 1_000_000]);
        let endless = futures_util::stream::repeat_with(|| {
            Ok::<_, BoxError>(http_body::Frame::data(megabyte.clone()))
        });
        assert_eq!(
            bounds
                .json(StreamBody::new(endless))
                .await
                .unwrap_err()
                .status,
            413
        );
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded_and_a_dropped_one_makes_room() {
        let bounds = Bounds::default().max_in_flight(5);
        let first = bounds.json(frames(vec![b"abc"])).await.unwrap();
        assert_eq!(
            bounds.json(frames(vec![b"def"])).await.unwrap_err().status,
            503
        );
        drop(first);
        assert!(bounds.json(frames(vec![b"def"])).await.is_ok());
        assert_eq!(bounds.budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn eight_slow_uploads_do_not_take_the_memory_of_a_ninth_request() {
        // The default bounds, a thousandth of them.
        let bounds = Bounds {
            max_body: MAX_BODY / 1000,
            ..Bounds::default()
        }
        .max_in_flight(MAX_IN_FLIGHT / 1000);
        let sent_but_for_its_end = || {
            let sent = (0..MAX_BODY / 1_000_000).map(|_| {
                let frame = http_body::Frame::data(Bytes::from_static(&[b'x'; 1000]));
                Ok::<_, BoxError>(frame)
            });
            let sent = futures_util::stream::iter(sent);
            StreamBody::new(sent.chain(futures_util::stream::pending()))
        };
        let mut slow: Vec<_> = (0..8)
            .map(|_| tokio_test::task::spawn(bounds.json(sent_but_for_its_end())))
            .collect();
        for upload in &mut slow {
            assert!(upload.poll().is_pending());
        }
        assert!(bounds.budget.held() >= 6 * bounds.max_body);

        for (length, what) in [(100, "a prompt"), (5000, "a picture")] {
            let body = Full::new(Bytes::from(vec![b'x'; length]));
            assert!(bounds.json(body).await.is_ok(), "{what}");
        }
        for upload in slow {
            assert!(matches!(
                upload.await.unwrap_err().status.as_u16(),
                408 | 503
            ));
        }
        assert_eq!(bounds.budget.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_upload_ends_in_408() {
        let stalled = StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<Bytes>, BoxError>,
        >());
        assert_eq!(
            Bounds::default().json(stalled).await.unwrap_err().status,
            408
        );
    }
}
