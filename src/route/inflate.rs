//! The body of an upstream's response, with its content encoding undone.
//!
//! Every attempt asks for `identity`, since an answer is read before it is passed on. Some upstreams, and proxies before
//! them, compress all the same. gzip and deflate are undone here, frame by frame; so whatever reads the body, an error,
//! an answer or a stream, reads what was meant.

use std::{
    fmt,
    io::{self, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use flate2::write::{GzDecoder, ZlibDecoder};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    body::{BoxError, poll_boxed},
    upstream::{encodings, no_longer_as_sent},
};

/// The byte that a member of gzip begins with (RFC 1952 2.3.1, `ID1`).
const GZIP: u8 = 0x1f;

pin_project! {
    /// A response body in the encoding that was asked for. One that came in it passes as it is.
    ///
    /// Of a compressed one a frame of at most 64 KiB is made at a time, so what a small body grows to is held in parts,
    /// and is bounded by the limits of those that read it.
    pub(super) struct Inflated<B> {
        #[pin]
        body: B,
        inflating: Option<Box<Inflating>>,
    }
}

/// A body that is being inflated.
struct Inflating {
    decoder: Decoder,
    /// What came and was not inflated yet.
    input: Bytes,
    trailers: Option<HeaderMap>,
    /// A byte has come: a body without any is empty, and not broken.
    begun: bool,
    /// The last frame of the body has come.
    ended: bool,
    /// All is out but the trailers.
    finished: bool,
}

enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    /// RFC 9110 8.4.1.2: deflate in the format of zlib.
    Deflate(ZlibDecoder<Vec<u8>>),
    /// The compressed data has ended; what follows it is padding.
    Ended,
}

impl<B> Inflated<B> {
    /// Takes a body by what its head says of it. What no longer describes it is removed from the head; the content
    /// encoding stays if it cannot be undone.
    pub(super) fn new(body: B, headers: &mut HeaderMap) -> Self {
        let decoder = Decoder::of(headers);
        if decoder.is_some() {
            no_longer_as_sent(headers);
        }
        let inflating = decoder.map(|decoder| {
            Box::new(Inflating {
                decoder,
                input: Bytes::new(),
                trailers: None,
                begun: false,
                ended: false,
                finished: false,
            })
        });
        Self { body, inflating }
    }
}

impl Decoder {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut encodings = encodings(headers);
        let encoding = encodings.next()?;
        let is = |name: &[u8]| encoding.eq_ignore_ascii_case(name);
        if encodings.next().is_some() {
            // One encoding within another: no upstream is known to send that.
            None
        } else if is(b"gzip") || is(b"x-gzip") {
            Some(Self::Gzip(GzDecoder::new(Vec::new())))
        } else if is(b"deflate") {
            Some(Self::Deflate(ZlibDecoder::new(Vec::new())))
        } else {
            None
        }
    }

    /// Inflates some of the input, at most into as much as the decoder holds.
    fn write(&mut self, input: &mut Bytes) -> io::Result<Vec<u8>> {
        let writer: &mut dyn Write = match self {
            Self::Gzip(decoder) => decoder,
            Self::Deflate(decoder) => decoder,
            Self::Ended => {
                input.clear();
                return Ok(Vec::new());
            }
        };
        let read = writer.write(input)?;
        if read == 0 {
            let inflated = self.finish()?;
            // RFC 1952 2.2: a further member may follow, as from a server that compresses what it sends part by part.
            let further = matches!(self, Self::Gzip(_)) && input.starts_with(&[GZIP]);
            *self = match further {
                true => Self::Gzip(GzDecoder::new(Vec::new())),
                false => Self::Ended,
            };
            return Ok(inflated);
        }
        input.advance(read);
        if input.is_empty() {
            // What a stream has sent so far is wanted now.
            writer.flush()?;
        }
        Ok(self.take())
    }

    fn finish(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish()?,
            Self::Deflate(decoder) => decoder.try_finish()?,
            Self::Ended => {}
        }
        Ok(self.take())
    }

    fn take(&mut self) -> Vec<u8> {
        match self {
            Self::Gzip(decoder) => std::mem::take(decoder.get_mut()),
            Self::Deflate(decoder) => std::mem::take(decoder.get_mut()),
            Self::Ended => Vec::new(),
        }
    }
}

impl<B> Body for Inflated<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let Some(inflating) = this.inflating else {
            return poll_boxed(this.body, cx);
        };
        if inflating.input.is_empty() && !inflating.ended {
            match ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => inflating.input = data,
                    Err(frame) => {
                        inflating.trailers = frame.into_trailers().ok();
                        inflating.ended = true;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => inflating.ended = true,
            }
        }
        let broken = |error| format!("the answer cannot be decompressed: {error}").into();
        Poll::Ready(inflating.next().map(|frame| frame.map_err(broken)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inflating {
            Some(inflating) => inflating.finished && inflating.trailers.is_none(),
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inflating {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

impl Inflating {
    /// What can be told now: a frame, which may be empty, or the end.
    fn next(&mut self) -> Option<io::Result<Frame<Bytes>>> {
        if !self.input.is_empty() {
            self.begun = true;
            let inflated = self.decoder.write(&mut self.input);
            return Some(inflated.map(|data| Frame::data(data.into())));
        }
        if !self.ended {
            return Some(Ok(Frame::data(Bytes::new())));
        }
        if !std::mem::replace(&mut self.finished, true) && self.begun {
            match self.decoder.finish() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Some(Ok(Frame::data(data.into()))),
                Err(error) => return Some(Err(error)),
            }
        }
        self.trailers
            .take()
            .map(|trailers| Ok(Frame::trailers(trailers)))
    }
}

impl fmt::Debug for Inflating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflating").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use flate2::{
        Compression,
        write::{GzEncoder, ZlibEncoder},
    };
    use http::HeaderValue;
    use http_body_util::{BodyExt, StreamBody};
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn head(encoding: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", HeaderValue::from_static(encoding));
        headers.insert("content-length", HeaderValue::from_static("1"));
        headers
    }

    /// What comes out, and the largest frame.
    fn inflated(
        body: &[u8],
        size: usize,
        encoding: &'static str,
    ) -> Result<(Vec<u8>, usize), String> {
        let chunks: Vec<_> = body
            .chunks(size)
            .map(|chunk| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(chunk))))
            .collect();
        let body = StreamBody::new(futures_util::stream::iter(chunks));
        let mut body = Inflated::new(body, &mut head(encoding));
        let (mut out, mut largest) = (Vec::new(), 0);
        let read = async {
            while let Some(frame) = body.frame().await {
                let data = frame.map_err(|error| error.to_string())?;
                let data = data.into_data().unwrap();
                largest = largest.max(data.len());
                out.extend(data);
            }
            Ok::<(), String>(())
        };
        futures_util::FutureExt::now_or_never(read).expect("it comes at once")?;
        Ok((out, largest))
    }

    #[test]
    fn what_was_compressed_comes_out_however_it_is_split() {
        let text = "data: {\"a\":\"ä\"}\n\n".repeat(300);
        for (encoding, body) in [
            ("gzip", gzip(text.as_bytes())),
            ("X-Gzip", gzip(text.as_bytes())),
            ("deflate", zlib(text.as_bytes())),
        ] {
            for size in [1, 2, 7, 100, body.len()] {
                let (out, _) = inflated(&body, size, encoding).unwrap();
                assert_eq!(out, text.as_bytes(), "{encoding} by {size}");
            }
        }
    }

    #[test]
    fn the_members_of_a_gzip_body_come_out_one_after_the_other() {
        let body = [
            gzip(b"one "),
            gzip(b""),
            gzip(b"two"),
            vec![0; 9],
            vec![GZIP],
        ]
        .concat();
        for size in [1, 2, 7, 30, body.len()] {
            assert_eq!(inflated(&body, size, "gzip").unwrap().0, b"one two");
        }
        let cut = [gzip(b"one "), gzip(b"two")].concat();
        assert!(inflated(&cut[..cut.len() - 1], 5, "gzip").is_err());
    }

    #[test]
    fn a_bomb_comes_in_small_frames() {
        let bomb = gzip(&vec![0; 50_000_000]);
        assert!(bomb.len() < 60_000);
        let (out, largest) = inflated(&bomb, bomb.len(), "gzip").unwrap();
        assert_eq!(out.len(), 50_000_000);
        assert!(largest <= 128 * 1024, "{largest}");
    }

    #[test]
    fn a_cut_or_broken_body_is_an_error_and_padding_is_none() {
        let body = gzip(b"hello hello hello");
        for at in 11..body.len() {
            assert!(inflated(&body[..at], 5, "gzip").is_err(), "{at}");
        }
        assert!(inflated(b"hello", 5, "gzip").is_err());
        assert!(inflated(b"hello", 5, "deflate").is_err());
        let padded = [&body[..], &[0; 20]].concat();
        for size in [1, 7, 1000] {
            assert_eq!(
                inflated(&padded, size, "gzip").unwrap().0,
                b"hello hello hello"
            );
        }
        assert_eq!(inflated(b"", 1, "gzip").unwrap().0, b"");
    }

    #[test]
    fn the_head_no_longer_describes_what_was_undone_and_still_what_was_not() {
        for (encoding, left) in [
            ("gzip", 0),
            ("deflate", 0),
            ("gzip, identity", 0),
            ("identity, , GZIP", 0),
            ("br", 2),
            ("gzip, br", 2),
            ("gzip, gzip", 2),
            ("identity", 2),
        ] {
            let mut headers = head(encoding);
            Inflated::new((), &mut headers);
            assert_eq!(headers.len(), left, "{encoding}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>(), flip in any::<u8>()) {
            let _ = inflated(&body, 3, "gzip");
            let _ = inflated(&body, 3, "deflate");
            for (encoding, mut good) in [("gzip", gzip(&body)), ("deflate", zlib(&body))] {
                let at = cut.index(good.len());
                good[at] ^= flip;
                let _ = inflated(&good, 5, encoding);
            }
        }
    }
}
