//! What becomes of the response to a request that was routed.

use bytes::Bytes;
use http::{HeaderValue, Response, header::CONTENT_TYPE};

use super::{body::ResponseBody, incoming, refusals::no_image_layer, response_owners::Learner};
use crate::{
    attempt_slot::{AttemptSlot, OpenSlot},
    catalog::Target,
    content_type::{is_event_stream, is_json, is_text},
    endpoint::Endpoint,
    health::Attempt,
    images::Translated,
    outcome::{Outcome, OutcomeKind},
    provider::Redactor,
    request::note,
    routed::Routed,
    upstream::{Classify, Evidence, UpstreamError},
};

/// What is known of a request that has been routed.
pub(super) struct Routing {
    pub(super) target: Target,
    pub(super) endpoint: Endpoint,
    pub(super) dropped: Vec<String>,
    pub(super) adjusted: Vec<String>,
    /// Where the attempt is.
    pub(super) slot: AttemptSlot,
    /// The same slot, where no fallback ends the attempt: however this ends, the attempt ends with it.
    pub(super) own: Option<OpenSlot>,
    /// The image layer has to translate the request, and says so of the response.
    pub(super) translated: bool,
    /// Reads which response this is, where later requests may build upon it.
    pub(super) learner: Option<Learner>,
}

impl Routing {
    /// Marks the response with the target it came from, takes out what must not reach the client, and ends the attempt
    /// where no fallback does.
    pub(super) fn finish<R, E>(
        mut self,
        result: Result<Response<R>, E>,
    ) -> Result<Response<ResponseBody<R>>, E> {
        let mut response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some(attempt) = self.own_attempt() {
                    attempt.fail(&Outcome::of(OutcomeKind::Unreachable));
                }
                return Err(error);
            }
        };
        if self.translated {
            let Some(translated) = response.extensions_mut().remove::<Translated>() else {
                // The attempt says nothing about the target, and another target would not help.
                drop(self.slot.take_attempt());
                let response = no_image_layer().into_response();
                return Ok(response.map(ResponseBody::whole));
            };
            for field in translated.dropped {
                note(&mut self.dropped, &field);
            }
            for field in translated.adjusted {
                note(&mut self.adjusted, &field);
            }
        }
        let is_error = !response.status().is_success();
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map(HeaderValue::as_bytes);
        let is_stream = kind.is_some_and(is_event_stream);
        let credential = self.target.provider().credential();
        let redactor = (is_error || is_stream || kind.is_none_or(may_hold_an_error))
            .then(|| Redactor::new(credential, is_error, is_stream))
            .flatten();
        let learner = self.learner.take().filter(|_| !is_error);
        if let Some(attempt) = self.own_attempt() {
            let classify = self.slot.session().classify();
            end_by_head(attempt, self.endpoint, &*classify, &response);
        }
        incoming::clean(response.headers_mut(), self.target.provider());
        let (mut head, body) = response.into_parts();
        let body = ResponseBody::upstream(
            body,
            &mut head.headers,
            self.target.clone(),
            learner,
            redactor,
        );
        let mut response = Response::from_parts(head, body);
        Routed {
            target: self.target,
            trail: Vec::new(),
            dropped: self.dropped,
            adjusted: self.adjusted,
        }
        .mark(&mut response);
        Ok(response)
    }

    fn own_attempt(&self) -> Option<Attempt> {
        self.own.as_ref()?.0.take_attempt()
    }
}

/// Whether a success of this content type may hold an error: it is JSON or text, and not an image or a recording.
fn may_hold_an_error(content_type: &[u8]) -> bool {
    is_json(content_type) || is_text(content_type)
}

/// Ends an attempt by the head of its response: without a fallback, that is all that is known of it.
fn end_by_head<B>(
    attempt: Attempt,
    endpoint: Endpoint,
    classify: &dyn Classify,
    response: &Response<B>,
) {
    let clients_own = attempt.target().provider().takes_callers_credential()
        && matches!(response.status().as_u16(), 401..=403);
    if response.status().is_success() {
        attempt.succeed();
    } else if clients_own {
        // What the client's own credential is refused says nothing about the target to other clients.
        attempt.fail(&Outcome::of(OutcomeKind::Refused));
    } else {
        let headers = response.headers();
        let error = UpstreamError::read(response.status(), headers, Bytes::new());
        let (target, now) = (attempt.target(), attempt.map().wall());
        let evidence = Evidence::new(target, endpoint, headers, &error, now);
        let outcome = classify.classify(&evidence);
        attempt.fail(&outcome);
    }
}
