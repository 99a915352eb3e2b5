//! The body of a request on its way to the inner service.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::{byte_budget::Held, json::Segments};

/// The next frame of a body, with its error boxed.
pub(crate) fn poll_boxed<B>(
    body: Pin<&mut B>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let frame = ready!(body.poll_frame(cx));
    Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
}

/// Any error, as bodies of all kinds report them.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request on its way to the inner service.
///
/// A routed request has all its bytes in memory: slices of what the client sent, with replaced values in
/// between, and an exact length. Whatever is not routed passes through as the stream it was, behind one
/// allocation; so the inner service sees one body type, however many layers are stacked.
///
/// ```
/// use http_body_util::BodyExt;
/// use tower_free_models::Body;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body = Body::from("hello");
/// assert_eq!(http_body::Body::size_hint(&body).exact(), Some(5));
/// assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
/// # });
/// ```
pub struct Body(Kind);

enum Kind {
    /// With their place in the memory that all bodies may take, where it is counted here.
    Whole {
        segments: Segments,
        _held: Option<Held>,
    },
    /// The mutex makes the body `Sync`, as some clients ask, even if what it wraps is not; it is never contended.
    Stream(Mutex<Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>>),
}

impl Body {
    pub(crate) const fn whole(segments: Segments, held: Option<Held>) -> Self {
        Self(Kind::Whole {
            segments,
            _held: held,
        })
    }

    /// What is left of a body that is in memory.
    pub(crate) fn as_whole(&self) -> Option<&Segments> {
        match &self.0 {
            Kind::Whole { segments, .. } => Some(segments),
            Kind::Stream(_) => None,
        }
    }

    /// A body that passes through. One that is a [`Body`] already is not wrapped again.
    pub(crate) fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        if let Some(own) = (&mut body as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return own.take().unwrap_or_else(|| Self::from(Bytes::new()));
        }
        body.map_or_else(
            || Self::from(Bytes::new()),
            |body| Self(Kind::Stream(Mutex::new(Box::pin(Erased { body })))),
        )
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::whole(Segments::from(bytes.into()), None)
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Whole { segments, .. } => {
                Poll::Ready(segments.next().map(|bytes| Ok(Frame::data(bytes))))
            }
            Kind::Stream(stream) => stream
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .as_mut()
                .poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole { segments, .. } => segments.is_empty(),
            Kind::Stream(stream) => stream
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole { segments, .. } => SizeHint::with_exact(segments.len()),
            Kind::Stream(stream) => stream
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Kind::Whole { .. } => "whole",
            Kind::Stream(_) => "stream",
        };
        f.debug_struct("Body")
            .field("kind", &kind)
            .finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// A body with its error boxed.
    struct Erased<B> {
        #[pin]
        body: B,
    }
}

impl<B> http_body::Body for Erased<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        poll_boxed(self.project().body, cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_send_and_sync_whatever_it_wraps() {
        const fn check<T: Send + Sync + Unpin>() {}
        check::<Body>();
    }

    #[test]
    fn a_body_is_not_wrapped_twice() {
        let inner = Body::stream(http_body_util::Full::new(Bytes::from_static(b"x")));
        let Kind::Stream(stream) = &inner.0 else {
            panic!("not a stream")
        };
        let address = |stream: &Mutex<
            Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>,
        >| { std::ptr::from_ref(&**stream.lock().unwrap()).cast::<()>() };
        let before = address(stream);
        let Kind::Stream(again) = Body::stream(inner).0 else {
            panic!("not a stream")
        };
        assert_eq!(before, address(&again));
    }
}
