//! The attempts of one request that takes several calls, each of which makes a part of the answer.
//!
//! Each call is an attempt: it is begun in the health map, counts against `max_attempts`, and is finished before the next
//! one begins. The attempt for the present call is in the slot, where the fallback finishes it if the client leaves or the
//! time is over.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::time::Instant;

use super::{failure::Failure, handover::Handover};
use crate::{
    endpoint::Endpoint,
    health::Attempt,
    outcome::{Outcome, OutcomeKind},
    upstream::{Evidence, UpstreamError, resets},
};

/// So long before the end of the fallback's wait no further call is waited for, so that the answer comes in time.
const MARGIN: Duration = Duration::from_millis(100);

pub(super) struct Attempts<'a> {
    request: &'a Handover,
    /// How many calls were begun.
    calls: usize,
    /// The attempt before the present one. It has succeeded, and stands for the answer if the present one fails.
    succeeded: Option<Attempt>,
}

impl<'a> Attempts<'a> {
    pub(super) const fn new(request: &'a Handover) -> Self {
        Self {
            request,
            calls: 1,
            succeeded: None,
        }
    }

    /// The end of the wait for a further answer.
    pub(super) fn until(&self) -> Option<Instant> {
        let by = self.request.slot.session().lock().answer_by()?;
        Some(by.checked_sub(MARGIN).unwrap_or(by))
    }

    /// The present call has succeeded, with these headers: begins the attempt for the next one.
    ///
    /// # Errors
    ///
    /// Why no further call may be made.
    pub(super) fn next(&mut self, headers: &HeaderMap) -> Result<(), &'static str> {
        let terms = self.request.slot.session().lock().terms.clone();
        if terms.is_some_and(|terms| self.calls >= terms.calls) {
            return Err("max_attempts");
        }
        if self.until().is_some_and(|until| until <= Instant::now()) {
            return Err("time");
        }
        // The slot is empty if the client has left.
        let mut attempt = self.request.slot.take_attempt().ok_or("time")?;
        if let Some(reset) = resets::exhausted(headers, self.request.health.wall()) {
            attempt.exhausted(reset);
        }
        attempt.answered();
        let Some(next) = self.request.health.begin(&self.request.target) else {
            self.request.slot.fill(attempt);
            return Err("cooling");
        };
        self.note(OutcomeKind::Succeeded);
        self.request.slot.fill(next);
        self.succeeded = Some(attempt);
        self.calls += 1;
        Ok(())
    }

    /// A further call brought no image: records that, and says why there are no more images.
    pub(super) fn failed<E>(&mut self, failure: &Failure<E>) -> &'static str {
        match failure {
            Failure::Service(_) => self.ended(&Outcome::of(OutcomeKind::Unreachable)),
            Failure::Answer(response) => self.ended(&self.classify(response)),
            Failure::Stopped(why) => {
                self.ended(&Outcome::of(OutcomeKind::Abandoned));
                why
            }
        }
    }

    /// The present attempt has failed: the one before it stands for the answer.
    pub(super) fn ended(&mut self, outcome: &Outcome) -> &'static str {
        if let Some(attempt) = self.request.slot.take_attempt() {
            attempt.fail(outcome);
            if let Some(succeeded) = self.succeeded.take() {
                // The fallback notes the attempt that stands for the answer.
                self.request.slot.session().lock().earlier.pop();
                self.note(outcome.kind);
                self.request.slot.fill(succeeded);
            }
        }
        outcome.kind.name()
    }

    /// The layer itself refuses to go on: that is no outcome of the target, and no other target is to be tried.
    pub(super) fn withdraw(&self) {
        if let Some(attempt) = self.request.slot.take_attempt() {
            drop(attempt);
            self.note(OutcomeKind::Abandoned);
        }
    }

    /// What a response without an image means, in the words of the fallback's classifier.
    fn classify(&self, response: &Response<Bytes>) -> Outcome {
        let headers = response.headers();
        let error = UpstreamError::read(response.status(), headers, response.body().clone());
        let (endpoint, now) = (Endpoint::ImageGenerations, self.request.health.wall());
        let evidence = Evidence::new(&self.request.target, endpoint, headers, &error, now);
        self.request.slot.session().classify().classify(&evidence)
    }

    /// Adds an attempt to those that the fallback puts into the trail before its own.
    fn note(&self, kind: OutcomeKind) {
        let attempt = (self.request.target.id().clone(), kind);
        self.request.slot.session().lock().earlier.push(attempt);
    }
}
