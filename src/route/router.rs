//! The router: picks a target for a request, and makes of the request what is sent there.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, request::Parts};

use crate::{
    attempt_slot::{AttemptSlot, OpenSlot, RoutedWithoutFallback},
    body::Body,
    byte_budget::Held,
    capability::Capability,
    catalog::{Catalog, means_any},
    endpoint::Endpoint,
    headers::PIN,
    health::{Attempt, Binding, HealthMap},
    images::{Api, Handover},
    json::Collected,
    refusal::Refusal,
    request::{Bounds, Envelope, Recipient, Rewritten, State},
    rng::{Rng, identity},
    route::{
        outgoing,
        pick::{NoPick, Pool},
        refusals::{foreign_state, no_embedding_model, response_not_found, routing_loop},
        response_owners::Responses,
        routing::Routing,
        wish::Wish,
    },
    select::Select,
    upstream::{Classify, DefaultClassify},
};

/// The settings of a router, and what its clones share.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) catalog: Catalog,
    pub(super) health: HealthMap,
    /// Both, as picks read them.
    binding: Arc<Binding>,
    /// Without one targets are picked at random, as [`Random`](crate::select::Random) does.
    pub(super) select: Option<Arc<dyn Select>>,
    pub(super) classify: Arc<dyn Classify>,
    pub(super) rng: Rng,
    /// Where the router stands alone.
    pub(super) bounds: Bounds,
    /// For what comes from a fallback, which has its own bounds, and was changed on its way.
    pub(super) inner_bounds: Bounds,
    /// An [`ImageLayer`](crate::ImageLayer) is inside.
    pub(super) image_layer: bool,
    pub(super) prefer_requested: bool,
    /// The model of embedding requests that name none.
    pub(super) embedding_model: Option<String>,
    pub(super) responses: Responses,
    pub(super) identity: HeaderValue,
}

impl Router {
    pub(super) fn new(catalog: Catalog, health: HealthMap) -> Self {
        let identity = format!("{:016x}", identity());
        Self {
            binding: Arc::new(Binding::new(catalog.clone(), health.clone())),
            catalog,
            health,
            select: None,
            classify: Arc::new(DefaultClassify),
            rng: Rng::unpredictable(),
            bounds: Bounds::default(),
            inner_bounds: Bounds::unbounded(),
            image_layer: false,
            prefer_requested: true,
            embedding_model: None,
            responses: Responses::default(),
            // Hexadecimal digits are always fit for a header.
            identity: HeaderValue::from_str(&identity).unwrap_or(HeaderValue::from_static("0")),
        }
    }

    /// The bounds within which the body of a request is collected here.
    pub(super) fn bounds_for(&self, parts: &Parts) -> &Bounds {
        match parts.extensions.get::<AttemptSlot>() {
            Some(_) => &self.inner_bounds,
            None => &self.bounds,
        }
    }

    /// Picks a target for a request and makes of it what is sent there.
    ///
    /// `held`: the place of the body in memory, if the router has collected it.
    pub(super) fn route(
        &self,
        mut parts: Parts,
        envelope: &Envelope,
        collected: &Collected,
        held: Option<Held>,
    ) -> Result<(Request<Body>, Routing), Refusal> {
        if outgoing::is_ours(&parts.headers, &self.identity) {
            return Err(routing_loop());
        }
        // It goes no further: an inner service that keeps the extensions of a request must not keep its attempt.
        let slot = parts.extensions.remove::<AttemptSlot>();
        let alone = slot.is_none();
        let slot = slot.unwrap_or_else(AttemptSlot::of_no_fallback);
        slot.session()
            .lock()
            .classify
            .get_or_insert_with(|| Arc::clone(&self.classify));
        let attempt = self.pick(envelope, &parts.headers, &slot)?;
        let (target, endpoint) = (attempt.target().clone(), envelope.needs.endpoint);
        slot.fill(attempt);
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
        } = envelope.rewrite(collected, &recipient);
        outgoing::address(
            &mut parts,
            &target,
            endpoint,
            body.len(),
            &self.identity,
            &mut dropped,
        );
        if alone {
            parts.extensions.insert(RoutedWithoutFallback);
        }
        let api = Api::of(&target).filter(|_| endpoint == Endpoint::ImageGenerations);
        let translated = api.is_some();
        if let Some(api) = api {
            parts.extensions.insert(Handover {
                api,
                target: target.clone(),
                body: collected.clone().joined(),
                slot: slot.clone(),
                health: self.health.clone(),
            });
        }
        let learner = (endpoint == Endpoint::Responses)
            .then(|| self.responses.learner(target.id().provider()));
        let routing = Routing {
            target,
            endpoint,
            dropped,
            adjusted,
            own: alone.then(|| OpenSlot(slot.clone())),
            slot,
            translated,
            learner,
        };
        let request = Request::from_parts(parts, Body::whole(body, held));
        Ok((request, routing))
    }

    fn pick(
        &self,
        envelope: &Envelope,
        headers: &HeaderMap,
        slot: &AttemptSlot,
    ) -> Result<Attempt, Refusal> {
        let pool = Pool {
            binding: &self.binding,
            select: self.select.as_deref(),
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
        let mut memory = slot.session().lock();
        pool.pick(&wish, &mut memory)
            .map_err(|no_pick| match no_pick {
                NoPick::Refused(refusal) => *refusal,
                NoPick::NotNow(no_target) => {
                    let refusal = no_target.refusal.clone();
                    slot.no_target(*no_target);
                    refusal
                }
            })
    }
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
