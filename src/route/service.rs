use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request::Parts};
use tower_service::Service;

use super::{
    body::ResponseBody,
    forward,
    future::{Info, ResponseFuture},
    layer::Shared,
    pick::{Nobody, Pool, Wish},
};
use crate::{
    body::{Body, BoxError},
    error::Refusal,
    health::Attempt,
    intake::{Held, Intake},
    request::{self, Endpoint, Envelope},
    slot::{AttemptSlot, Session},
};

/// Rewrites the `model` of outgoing OpenAI-format requests to a free model that can serve them and is healthy now.
///
/// What is not a POST to a routed endpoint passes through untouched.
///
/// # Errors
///
/// Those of the inner service, as they are. What the router itself refuses is a response in OpenAI's error
/// format: 400, 404, 408, 413, 415, 429, 503, 508.
///
/// # Cancel safety
///
/// Dropping the response future drops the call of the inner service and ends the attempt as abandoned.
///
/// See the [crate docs](crate) for a complete example.
#[derive(Clone)]
pub struct FreeModelRoute<S> {
    pub(super) inner: S,
    pub(super) shared: Arc<Shared>,
}

impl<S> FreeModelRoute<S> {
    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, to change it.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Gives the inner service back.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for FreeModelRoute<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>> + Clone,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (parts, body) = request.into_parts();
        match self.shared.admit(&parts) {
            Ok(None) => ResponseFuture::passing(
                self.inner
                    .call(Request::from_parts(parts, Body::stream(body))),
            ),
            Ok(Some(endpoint)) => {
                // The instance that was polled ready goes with the request; the clone takes its place.
                let clone = self.inner.clone();
                let readied = std::mem::replace(&mut self.inner, clone);
                ResponseFuture::routing(Arc::clone(&self.shared), endpoint, parts, body, readied)
            }
            Err(refusal) => ResponseFuture::refused(refusal),
        }
    }
}

impl<S> fmt::Debug for FreeModelRoute<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug("FreeModelRoute", f)
    }
}

/// Marks a request that a router has sent on without a fallback around that router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutedWithoutFallback;

impl Shared {
    /// The bounds for this request.
    pub(super) fn intake(&self, parts: &Parts) -> &Intake {
        match parts.extensions.get::<AttemptSlot>() {
            Some(_) => &self.inner_intake,
            None => &self.intake,
        }
    }

    /// Whether a request is routed.
    fn admit(&self, parts: &Parts) -> Result<Option<Endpoint>, Refusal> {
        let endpoint = self.intake(parts).admit(parts)?;
        if endpoint.is_some() && forward::is_ours(&parts.headers, &self.identity) {
            return Err(Refusal::new(
                StatusCode::LOOP_DETECTED,
                "routing_loop",
                "This request was sent by this very router: one of its providers has the router's own address.",
            ));
        }
        Ok(endpoint)
    }

    /// Turns a whole request into the one to send.
    pub(super) fn route(
        &self,
        endpoint: Endpoint,
        mut parts: Parts,
        bytes: &Bytes,
        held: Held,
    ) -> Result<(Request<Body>, Info), Refusal> {
        // It goes no further: whoever keeps a request's extensions must not keep its attempt in flight.
        let slot = parts.extensions.remove::<AttemptSlot>();
        let alone = Session::default();
        let session = slot.as_ref().map_or(&alone, AttemptSlot::session);
        let envelope = scan(session, bytes, endpoint)?;
        let attempt = self.pick(&envelope, &parts.headers, session, slot.as_ref())?;
        let target = attempt.target().clone();
        let body = envelope.rewrite(bytes, target.model().id());
        forward::address(&mut parts, &target, endpoint, body.len(), &self.identity);
        let attempt = match slot {
            Some(slot) => {
                slot.fill(attempt);
                None
            }
            None => {
                parts.extensions.insert(RoutedWithoutFallback);
                Some(attempt)
            }
        };
        let info = Info {
            target,
            dropped: envelope.dropped.clone(),
            attempt,
        };
        Ok((
            Request::from_parts(parts, Body::whole(body, Some(held))),
            info,
        ))
    }

    fn pick(
        &self,
        envelope: &Envelope,
        headers: &HeaderMap,
        session: &Session,
        slot: Option<&AttemptSlot>,
    ) -> Result<Attempt, Refusal> {
        let pool = Pool {
            catalog: &self.catalog,
            health: &self.health,
            select: &*self.select,
            rng: &self.rng,
        };
        let wish = Wish {
            needs: &envelope.needs,
            requested: envelope.requested.as_deref(),
            pinned: headers
                .get(forward::PIN)
                .is_some_and(|pin| pin.as_bytes().eq_ignore_ascii_case(b"true")),
            prefer_requested: self.prefer_requested,
        };
        let memory = session.lock();
        pool.pick(&wish, &memory).map_err(|nobody| match nobody {
            Nobody::Refused(refusal) => *refusal,
            Nobody::NotNow(no_target) => {
                let refusal = no_target.refusal.clone();
                if let Some(slot) = slot {
                    slot.nobody(*no_target);
                }
                refusal
            }
        })
    }
}

/// Scans the body, unless these very bytes were scanned for an earlier attempt.
fn scan(session: &Session, bytes: &Bytes, endpoint: Endpoint) -> Result<Arc<Envelope>, Refusal> {
    let mut memory = session.lock();
    if let Some(envelope) = memory.scan_of(bytes) {
        return Ok(envelope);
    }
    let envelope =
        request::scan(bytes, endpoint).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let envelope = Arc::new(envelope);
    memory.keep_scan(bytes, &envelope);
    Ok(envelope)
}
