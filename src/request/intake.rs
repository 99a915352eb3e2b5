//! How a request gets in: which ones are routed, and the collecting of their bodies within bounds.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::{
    body::BoxError,
    clock::later,
    endpoint::Endpoint,
    memory::{Held, Memory},
    poll_budget::PollBudget,
    refusal::Refusal,
};

/// The bounds of collecting. Clones share what counts over all bodies.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(crate) max_body: u64,
    pub(crate) body_timeout: Duration,
    memory: Memory,
}

/// 64 MB: a prompt of a million tokens is 6 to 10 MB, and images come on top.
const MAX_BODY: u64 = 64_000_000;
/// Over all bodies that are held at a time.
const MAX_IN_FLIGHT: u64 = 8 * MAX_BODY;
/// Of a body that will not be taken, so much is read and thrown away: a client that is still sending when its
/// connection is closed does not see why.
const MOST_DISCARDED: u64 = 2 * MAX_BODY;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

impl Default for Intake {
    fn default() -> Self {
        Self {
            max_body: MAX_BODY,
            body_timeout: BODY_TIMEOUT,
            memory: Memory::of(MAX_IN_FLIGHT),
        }
    }
}

impl Intake {
    /// For bodies that somebody else has bounded already.
    pub(crate) fn unbounded() -> Self {
        Self {
            max_body: u64::MAX,
            body_timeout: Duration::MAX,
            ..Self::default()
        }
        .max_in_flight(u64::MAX)
    }

    pub(crate) fn max_in_flight(mut self, max: u64) -> Self {
        self.memory = Memory::of(max);
        self
    }

    pub(crate) fn collect<B>(&self, body: B) -> Collect<B> {
        Collect {
            body,
            intake: self.clone(),
            first: Bytes::new(),
            rest: None,
            held: self.memory.hold(),
            refused: None,
            timer: None,
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

/// Whether a request is routed, and if so, whether its body can be read at all.
pub(crate) fn admit(parts: &Parts) -> Result<Option<Endpoint>, Refusal> {
    let path = parts.uri.path();
    if Endpoint::path_names_a_model(&parts.method, path) {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "model_in_path",
            "The path of the request names a model, which could cost money. Send it to a path such as \
             /v1/chat/completions, with `model` in the body.",
        ));
    }
    let Some(endpoint) = Endpoint::of(&parts.method, path) else {
        return Ok(None);
    };
    readable(&parts.headers, endpoint)?;
    Ok(Some(endpoint))
}

/// A body that is compressed, or is neither JSON nor a form where one may be sent, cannot be rewritten, and what is not
/// rewritten could cost money.
fn readable(headers: &HeaderMap, endpoint: Endpoint) -> Result<(), Refusal> {
    let unsupported = |message: String| {
        Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            message,
        ))
    };
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
        {
            return unsupported(
                "The request body is compressed (Content-Encoding). Send it without compression."
                    .to_owned(),
            );
        }
    }
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        if !is_in_ascii(kind.as_bytes()) {
            return unsupported(
                "The charset of the request body is not one that is read here. Send UTF-8."
                    .to_owned(),
            );
        }
    }
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let readable = match (kinds.next().map(HeaderValue::as_bytes), kinds.next()) {
        (None, _) => endpoint.takes_json(),
        (Some(kind), None) => {
            endpoint.takes_json() && is_json(kind) || endpoint.takes_forms() && is_form(kind)
        }
        // Which of them counts is up to whoever reads it.
        (Some(_), Some(_)) => false,
    };
    if readable {
        return Ok(());
    }
    let accepted = match (endpoint.takes_json(), endpoint.takes_forms()) {
        (true, true) => "\"application/json\" or \"multipart/form-data\"",
        (false, true) => "\"multipart/form-data\"",
        (_, false) => "\"application/json\"",
    };
    unsupported(format!(
        "The Content-Type of the request is not one that {endpoint} takes. Send {accepted}."
    ))
}

/// Whether the charset of a body, if one is stated, writes ASCII as it is.
///
/// In another one an upstream could read other keys in the same bytes: in UTF-7, which Node's `body-parser` knows,
/// `+AG0-odel` is `model`.
fn is_in_ascii(content_type: &[u8]) -> bool {
    const CHARSETS: [&[u8]; 4] = [b"utf-8", b"utf8", b"us-ascii", b"iso-8859-1"];
    let mut parameters = content_type.split(|&b| b == b';').skip(1);
    parameters.all(|parameter| {
        let mut halves = parameter.splitn(2, |&b| b == b'=').map(<[u8]>::trim_ascii);
        let name = halves.next().unwrap_or_default().to_ascii_lowercase();
        // `charset*` is another way to write it (RFC 2231), and whatever it says is refused.
        let Some(rest) = name.strip_prefix(b"charset") else {
            return true;
        };
        let value = halves.next().unwrap_or_default();
        let quoted = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""));
        let value = quoted.unwrap_or(value);
        rest.is_empty()
            && CHARSETS
                .iter()
                .any(|known| value.eq_ignore_ascii_case(known))
    })
}

/// `multipart/form-data`, with any parameters.
pub(crate) fn is_form(content_type: &[u8]) -> bool {
    essence(content_type).eq_ignore_ascii_case(b"multipart/form-data")
}

fn essence(content_type: &[u8]) -> &[u8] {
    let essence = content_type.split(|&b| b == b';').next();
    essence.unwrap_or_default().trim_ascii()
}

/// `application/json`, `text/json` and everything that ends in `+json`, with any parameters.
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    let essence = essence(content_type);
    [&b"application/json"[..], b"text/json"]
        .iter()
        .any(|json| essence.eq_ignore_ascii_case(json))
        || essence.len() > 5 && essence[essence.len() - 5..].eq_ignore_ascii_case(b"+json")
}

pin_project! {
    /// Collects a body: without a copy if it comes in one frame, within the size, the time and the memory
    /// over all bodies that the intake allows.
    pub(crate) struct Collect<B> {
        #[pin]
        body: B,
        intake: Intake,
        first: Bytes,
        rest: Option<BytesMut>,
        held: Held,
        // Why the body will not be taken, and how many bytes of it have been thrown away since.
        refused: Option<(Box<Refusal>, u64)>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<B> Future for Collect<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<(Bytes, Held), Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let announced = this.body.size_hint().lower();
        if this.refused.is_none() && announced > this.intake.max_body {
            if announced > MOST_DISCARDED {
                return Poll::Ready(Err(this.intake.too_large()));
            }
            *this.refused = Some((Box::new(this.intake.too_large()), 0));
        }
        let mut budget = PollBudget::default();
        loop {
            let frame = if budget.is_over() {
                cx.waker().wake_by_ref();
                Poll::Pending
            } else {
                this.body.as_mut().poll_frame(cx)
            };
            let Poll::Ready(frame) = frame else {
                if this.timer.is_none() {
                    this.timer.set(Some(tokio::time::sleep_until(later(
                        Instant::now(),
                        this.intake.body_timeout,
                    ))));
                }
                if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                    ready!(timer.poll(cx));
                }
                let refused = this.refused.take().map(|(refusal, _)| *refusal);
                return Poll::Ready(Err(
                    refused.unwrap_or_else(|| too_slow(this.intake.body_timeout))
                ));
            };
            budget.saw(frame.as_ref());
            match frame {
                Some(Ok(frame)) => {
                    // Trailers of a request say nothing to an upstream.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Some((refusal, discarded)) = this.refused.take() {
                        let discarded = discarded.saturating_add(data.len() as u64);
                        if discarded > MOST_DISCARDED {
                            return Poll::Ready(Err(*refusal));
                        }
                        *this.refused = Some((refusal, discarded));
                        continue;
                    }
                    let within = this.held.add(data.len() as u64);
                    let too_large = this.held.bytes() > this.intake.max_body;
                    if too_large || !within {
                        *this.first = Bytes::new();
                        *this.rest = None;
                        *this.held = this.intake.memory.hold();
                        let refusal = if too_large {
                            this.intake.too_large()
                        } else {
                            too_busy()
                        };
                        *this.refused = Some((Box::new(refusal), 0));
                        continue;
                    }
                    if let Some(rest) = this.rest {
                        rest.extend_from_slice(&data);
                    } else if this.first.is_empty() {
                        *this.first = data;
                    } else {
                        let mut both = BytesMut::from(&this.first[..]);
                        both.extend_from_slice(&data);
                        *this.rest = Some(both);
                    }
                }
                Some(Err(_)) => {
                    return Poll::Ready(Err(Refusal::bad_request(
                        "The request body broke off before its end.",
                    )));
                }
                None => {
                    if let Some((refusal, _)) = this.refused.take() {
                        return Poll::Ready(Err(*refusal));
                    }
                    let bytes = this
                        .rest
                        .take()
                        .map_or_else(|| std::mem::take(this.first), BytesMut::freeze);
                    let held = std::mem::replace(this.held, this.intake.memory.hold());
                    return Poll::Ready(Ok((bytes, held)));
                }
            }
        }
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

    #[tokio::test]
    async fn one_frame_is_not_copied() {
        let bytes = Bytes::from(vec![b'x'; 1000]);
        let (collected, _held) = Intake::default()
            .collect(Full::new(bytes.clone()))
            .await
            .unwrap();
        assert_eq!(collected.as_ptr(), bytes.as_ptr());
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
        let (collected, _held) = Intake::default()
            .collect(frames(vec![b"a", b"", b"bc", b"d"]))
            .await
            .unwrap();
        assert_eq!(collected, "abcd");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413_whatever_its_length_header_says() {
        let intake = Intake {
            max_body: 3,
            ..Intake::default()
        };
        assert_eq!(
            intake
                .collect(frames(vec![b"ab", b"cd"]))
                .await
                .unwrap_err()
                .status,
            413
        );
        assert!(intake.collect(frames(vec![b"ab", b"c"])).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_read_to_its_end_but_not_kept() {
        let intake = Intake {
            max_body: 3,
            ..Intake::default()
        };
        let read = std::cell::Cell::new(0);
        let chunks = futures_util::stream::iter((0..100).map(|_| {
            read.set(read.get() + 1);
            Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(b"abcd")))
        }));
        let refusal = intake.collect(StreamBody::new(chunks)).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), read.get()), (413, 100));
        assert_eq!(intake.memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_empty_frames_without_end_is_not_read_for_ever() {
        let empty = || Ok::<_, BoxError>(http_body::Frame::data(Bytes::new()));
        let endless = StreamBody::new(futures_util::stream::repeat_with(empty));
        let collect = Intake::default().collect(endless);
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
        let intake = Intake {
            max_body: 3,
            ..Intake::default()
        };
        let megabyte = Bytes::from(vec![b'x'; 1_000_000]);
        let endless = futures_util::stream::repeat_with(|| {
            Ok::<_, BoxError>(http_body::Frame::data(megabyte.clone()))
        });
        assert_eq!(
            intake
                .collect(StreamBody::new(endless))
                .await
                .unwrap_err()
                .status,
            413
        );
    }

    #[tokio::test]
    async fn all_bodies_together_are_bounded_and_a_dropped_one_makes_room() {
        let intake = Intake::default().max_in_flight(5);
        let first = intake.collect(frames(vec![b"abc"])).await.unwrap();
        assert_eq!(
            intake
                .collect(frames(vec![b"def"]))
                .await
                .unwrap_err()
                .status,
            503
        );
        drop(first);
        assert!(intake.collect(frames(vec![b"def"])).await.is_ok());
        assert_eq!(intake.memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn eight_slow_uploads_do_not_take_the_memory_of_a_ninth_request() {
        // The default bounds, a thousandth of them.
        let intake = Intake {
            max_body: MAX_BODY / 1000,
            ..Intake::default()
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
            .map(|_| tokio_test::task::spawn(intake.collect(sent_but_for_its_end())))
            .collect();
        for upload in &mut slow {
            assert!(upload.poll().is_pending());
        }
        assert!(intake.memory.held() >= 6 * intake.max_body);

        for (length, what) in [(100, "a prompt"), (5000, "a picture")] {
            let body = Full::new(Bytes::from(vec![b'x'; length]));
            assert!(intake.collect(body).await.is_ok(), "{what}");
        }
        for upload in slow {
            assert!(matches!(
                upload.await.unwrap_err().status.as_u16(),
                408 | 503
            ));
        }
        assert_eq!(intake.memory.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_upload_ends_in_408() {
        let stalled = StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<Bytes>, BoxError>,
        >());
        assert_eq!(
            Intake::default().collect(stalled).await.unwrap_err().status,
            408
        );
    }

    #[test]
    fn json_is_told_by_its_essence() {
        for yes in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json(yes.as_bytes()), "{yes}");
        }
        for no in [
            "application/jsonl",
            "text/plain",
            "multipart/form-data; boundary=json",
            "",
            "+jso",
        ] {
            assert!(!is_json(no.as_bytes()), "{no}");
        }
    }

    fn status(endpoint: Endpoint, headers: &[(header::HeaderName, &'static str)]) -> u16 {
        let headers = headers
            .iter()
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, HeaderValue::from_static(value));
                headers
            });
        readable(&headers, endpoint).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn a_compressed_body_is_unsupported_and_identity_is_not_compressed() {
        let with = |value| {
            let encoding = [(header::CONTENT_ENCODING, value)];
            status(Endpoint::ChatCompletions, &encoding)
        };
        assert_eq!(with("gzip"), 415);
        assert_eq!(with("identity"), 200);
    }

    #[test]
    fn a_charset_in_which_the_keys_could_be_others_is_unsupported() {
        for (kind, expected) in [
            ("application/json; charset=UTF-8", 200),
            ("application/json;charset=\"utf-8\"; x=y", 200),
            ("application/json; charset=iso-8859-1", 200),
            ("application/json; charset=utf-7", 415),
            ("application/json; Charset = \"utf-7\"", 415),
            ("application/json; charset=utf-8; charset=utf-7", 415),
            (
                "application/json; x=\"; charset=utf-8\"; charset=utf-7",
                415,
            ),
            ("application/json; charset*=utf-8''utf-7", 415),
            ("application/json; charset=utf-16", 415),
            ("application/json; charset", 415),
        ] {
            let headers = [(header::CONTENT_TYPE, kind)];
            let status = status(Endpoint::ChatCompletions, &headers);
            assert_eq!(status, expected, "{kind}");
        }
        let form = (
            header::CONTENT_TYPE,
            "multipart/form-data; boundary=x; charset=utf-7",
        );
        assert_eq!(status(Endpoint::AudioTranscriptions, &[form]), 415);
    }

    #[test]
    fn json_and_forms_are_taken_where_they_are_spoken() {
        const JSON: &str = "application/json; charset=utf-8";
        const FORM: &str = "Multipart/Form-Data; boundary=x";
        let kind = |kind| (header::CONTENT_TYPE, kind);
        for (endpoint, json, form, nothing) in [
            (Endpoint::ChatCompletions, 200, 415, 200),
            (Endpoint::ImageEdits, 200, 200, 200),
            (Endpoint::AudioTranscriptions, 415, 200, 415),
            (Endpoint::AudioTranslations, 415, 200, 415),
        ] {
            assert_eq!(status(endpoint, &[kind(JSON)]), json, "{endpoint}");
            assert_eq!(status(endpoint, &[kind(FORM)]), form, "{endpoint}");
            assert_eq!(status(endpoint, &[]), nothing, "{endpoint}");
            let other = [kind("multipart/mixed; boundary=x")];
            assert_eq!(status(endpoint, &other), 415, "{endpoint}");
            let both = [kind(FORM), kind(JSON)];
            assert_eq!(status(endpoint, &both), 415, "{endpoint}");
        }
    }
}
