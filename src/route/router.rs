//! What a router goes by, and how it turns a whole request into what is sent.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE, request::Parts,
};

use crate::{
    attempt_slot::{AttemptSlot, Session},
    body::Body,
    capability::Capability,
    catalog::{Catalog, Target, means_any},
    endpoint::Endpoint,
    headers::PIN,
    health::{Attempt, HealthMap},
    images::{Api, Handover, Translated},
    memory::Held,
    refusal::Refusal,
    request::{self, Envelope, Intake, Recipient, Rewritten, State, intake},
    rng::Rng,
    route::{
        outgoing,
        pick::{NoPick, Pool},
        refusals::{foreign_state, no_embedding_model, no_image_layer, response_not_found},
        response_owners::{Learner, Responses},
        wish::Wish,
    },
    select::Select,
    upstream::Classify,
};

/// What a router goes by.
#[derive(Clone)]
pub(crate) struct Router {
    pub(crate) catalog: Catalog,
    pub(crate) health: HealthMap,
    pub(crate) select: Arc<dyn Select>,
    pub(crate) classify: Arc<dyn Classify>,
    pub(crate) rng: Rng,
    pub(crate) intake: Intake,
    /// For what comes from a fallback, which has its own bounds.
    pub(crate) inner_intake: Intake,
    /// An [`ImageLayer`](crate::ImageLayer) is inside.
    pub(crate) image_layer: bool,
    pub(crate) prefer_requested: bool,
    /// The model of embedding requests that name none.
    pub(crate) embedding_model: Option<String>,
    pub(crate) responses: Responses,
    pub(crate) identity: HeaderValue,
}

/// What is known of a request that has been routed.
pub(crate) struct Info {
    pub(crate) target: Target,
    pub(crate) endpoint: Endpoint,
    pub(crate) dropped: Vec<String>,
    pub(crate) adjusted: Vec<String>,
    /// The attempt, where there is no fallback to finish it.
    pub(crate) attempt: Option<Attempt>,
    /// Whether the image layer translates the request.
    pub(crate) translation: Option<Translation>,
    pub(crate) classify: Arc<dyn Classify>,
    /// Reads which response this is, where later requests may build upon it.
    pub(crate) learner: Option<Learner>,
}

/// A request that the image layer translates.
pub(crate) struct Translation {
    /// Where the layer leaves the attempt for the last call.
    slot: AttemptSlot,
    /// There is no fallback that takes the attempt from there.
    alone: bool,
}

impl Info {
    /// Takes from the response what the image layer says of the request.
    ///
    /// # Errors
    ///
    /// A 500 if that layer has not translated the request.
    pub(crate) fn take_translated<B, E>(
        &mut self,
        result: &mut Result<Response<B>, E>,
    ) -> Result<(), Refusal> {
        let Some(Translation { slot, alone }) = self.translation.take() else {
            return Ok(());
        };
        if let Ok(response) = result {
            let Some(translated) = response.extensions_mut().remove::<Translated>() else {
                // The attempt says nothing about the target, and another target would not help.
                drop(slot.take_attempt());
                return Err(no_image_layer());
            };
            for field in translated.dropped {
                request::note(&mut self.dropped, &field);
            }
            for field in translated.adjusted {
                request::note(&mut self.adjusted, &field);
            }
        }
        if alone {
            self.attempt = slot.take_attempt();
        }
        Ok(())
    }
}

/// Marks a request that a router has sent on without a fallback around that router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutedWithoutFallback;

impl Router {
    /// The bounds for this request.
    pub(crate) fn intake(&self, parts: &Parts) -> &Intake {
        match parts.extensions.get::<AttemptSlot>() {
            Some(_) => &self.inner_intake,
            None => &self.intake,
        }
    }

    /// Whether a request is routed.
    pub(crate) fn admit(&self, parts: &Parts) -> Result<Option<Endpoint>, Refusal> {
        let endpoint = intake::admit(parts)?;
        if endpoint.is_some() && outgoing::is_ours(&parts.headers, &self.identity) {
            return Err(Refusal::new(
                StatusCode::LOOP_DETECTED,
                "routing_loop",
                "This request was sent by this very router: one of its providers has the router's own address.",
            ));
        }
        Ok(endpoint)
    }

    /// Turns a whole request into what is sent.
    pub(crate) fn route(
        &self,
        endpoint: Endpoint,
        mut parts: Parts,
        bytes: &Bytes,
        held: Held,
    ) -> Result<(Request<Body>, Info), Refusal> {
        // It goes no further: whoever keeps a request's extensions must not keep its attempt in flight.
        let slot = parts.extensions.remove::<AttemptSlot>();
        let without_fallback = Arc::new(Session::of_no_fallback());
        let session = slot
            .as_ref()
            .map_or(&*without_fallback, AttemptSlot::session);
        session
            .lock()
            .classify
            .get_or_insert_with(|| Arc::clone(&self.classify));
        let envelope = scan(session, bytes, endpoint, &parts.headers)?;
        let attempt = self.pick(&envelope, &parts.headers, session, slot.as_ref())?;
        let target = attempt.target().clone();
        let recipient = Recipient {
            model: target.model().id(),
            dialect: target.provider().dialect(),
            max_output: target.model().max_output(),
            window: target.model().context_length(),
            thinks: !(target.model().capabilities().no).contains(Capability::Reasoning),
        };
        let Rewritten {
            body,
            mut dropped,
            adjusted,
        } = envelope.rewrite(bytes, &recipient);
        outgoing::address(
            &mut parts,
            &target,
            endpoint,
            body.len(),
            &self.identity,
            &mut dropped,
        );
        let alone = slot.is_none();
        if alone {
            parts.extensions.insert(RoutedWithoutFallback);
        }
        let api = Api::of(&target).filter(|_| endpoint == Endpoint::ImageGenerations);
        let (attempt, translation) = match (slot, api) {
            (slot, Some(api)) => {
                let slot = slot.unwrap_or_else(|| AttemptSlot::new(Arc::clone(&without_fallback)));
                slot.fill(attempt);
                parts.extensions.insert(Handover {
                    api,
                    target: target.clone(),
                    body: bytes.clone(),
                    slot: slot.clone(),
                    health: self.health.clone(),
                });
                (None, Some(Translation { slot, alone }))
            }
            (Some(slot), None) => {
                slot.fill(attempt);
                (None, None)
            }
            (None, None) => (Some(attempt), None),
        };
        let learner = (endpoint == Endpoint::Responses)
            .then(|| self.responses.learner(target.id().provider()));
        let info = Info {
            target,
            endpoint,
            learner,
            dropped,
            adjusted,
            attempt,
            translation,
            classify: Arc::clone(&self.classify),
        };
        let request = Request::from_parts(parts, Body::whole(body, Some(held)));
        Ok((request, info))
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
        let provider = match &envelope.needs.state {
            State::None => None,
            State::Response(id) => Some(
                self.responses
                    .provider_of(id)
                    .ok_or_else(response_not_found)?,
            ),
            State::Foreign(field) => return Err(foreign_state(field)),
        };
        let mut wish = Wish {
            needs: &envelope.needs,
            headers,
            requested: envelope.requested.as_deref(),
            pinned: headers
                .get(PIN)
                .is_some_and(|pin| pin.as_bytes().eq_ignore_ascii_case(b"true")),
            prefer_requested: self.prefer_requested,
            image_layer: self.image_layer,
            provider: provider.as_deref(),
        };
        if envelope.needs.endpoint == Endpoint::Embeddings {
            wish.pinned = true;
            if wish.requested.is_none_or(means_any) {
                let model = self.embedding_model.as_deref();
                let model = model.filter(|model| !means_any(model));
                wish.requested = Some(model.ok_or_else(no_embedding_model)?);
            }
        }
        let mut memory = session.lock();
        pool.pick(&wish, &mut memory)
            .map_err(|no_pick| match no_pick {
                NoPick::Refused(refusal) => *refusal,
                NoPick::NotNow(no_target) => {
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
    .map_err(|error| {
        let refusal = Refusal::bad_request(error.to_string());
        match error.param() {
            Some(param) => refusal.param(param),
            None => refusal,
        }
    })?;
    let envelope = Arc::new(envelope);
    memory.keep_scan(bytes, &envelope);
    Ok(envelope)
}

impl Router {
    pub(crate) fn debug(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("catalog", &self.catalog)
            .field("health", &self.health)
            .field("prefer_requested", &self.prefer_requested)
            .finish_non_exhaustive()
    }
}
