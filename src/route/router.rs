//! What a router goes by, and how it turns a whole request into the one to send.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header::CONTENT_TYPE, request::Parts};

use super::{
    forward,
    nobody::Nobody,
    pick::{Pool, Wish},
};
use crate::{
    body::Body,
    catalog::{Catalog, Target},
    error::Refusal,
    headers::PIN,
    health::{Attempt, HealthMap},
    intake::{self, Intake},
    memory::Held,
    request::{self, Endpoint, Envelope, Recipient, Rewritten},
    rng::Rng,
    select::Select,
    slot::{AttemptSlot, Session},
};

/// What a router goes by.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) catalog: Catalog,
    pub(super) health: HealthMap,
    pub(super) select: Arc<dyn Select>,
    pub(super) rng: Rng,
    pub(super) intake: Intake,
    /// For what comes from a fallback, which has its own bounds.
    pub(super) inner_intake: Intake,
    pub(super) prefer_requested: bool,
    pub(super) identity: HeaderValue,
}

/// What is known of a request that has been routed.
pub(super) struct Info {
    pub(super) target: Target,
    pub(super) dropped: Vec<String>,
    pub(super) adjusted: Vec<String>,
    /// The attempt, where there is no fallback to finish it.
    pub(super) attempt: Option<Attempt>,
}

/// Marks a request that a router has sent on without a fallback around that router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutedWithoutFallback;

impl Router {
    /// The bounds for this request.
    pub(super) fn intake(&self, parts: &Parts) -> &Intake {
        match parts.extensions.get::<AttemptSlot>() {
            Some(_) => &self.inner_intake,
            None => &self.intake,
        }
    }

    /// Whether a request is routed.
    pub(super) fn admit(&self, parts: &Parts) -> Result<Option<Endpoint>, Refusal> {
        let endpoint = intake::admit(parts)?;
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
        let envelope = scan(session, bytes, endpoint, &parts.headers)?;
        let attempt = self.pick(&envelope, &parts.headers, session, slot.as_ref())?;
        let target = attempt.target().clone();
        let recipient = Recipient {
            model: target.model().id(),
            dialect: target.provider().dialect(),
            // One of zero is a listing's way to say nothing.
            max_output: target.model().max_output().filter(|&most| most > 0),
        };
        let Rewritten {
            body,
            dropped,
            adjusted,
        } = envelope.rewrite(bytes, &recipient);
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
            dropped,
            adjusted,
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
                .get(PIN)
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
fn scan(
    session: &Session,
    bytes: &Bytes,
    endpoint: Endpoint,
    headers: &HeaderMap,
) -> Result<Arc<Envelope>, Refusal> {
    let mut memory = session.lock();
    if let Some(envelope) = memory.scan_of(bytes) {
        return Ok(envelope);
    }
    let envelope = match headers.get(CONTENT_TYPE) {
        Some(kind) if intake::is_form(kind.as_bytes()) => {
            request::scan_form(bytes, endpoint, kind.as_bytes())
        }
        _ => request::scan(bytes, endpoint),
    }
    .map_err(|error| Refusal::bad_request(error.to_string()))?;
    let envelope = Arc::new(envelope);
    memory.keep_scan(bytes, &envelope);
    Ok(envelope)
}

impl Router {
    pub(super) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("catalog", &self.catalog)
            .field("health", &self.health)
            .field("prefer_requested", &self.prefer_requested)
            .finish_non_exhaustive()
    }
}
