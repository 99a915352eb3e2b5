//! The attempts of one request that takes several calls, each of which makes a part of the answer.
//!
//! Each call is an attempt: it is begun in the health map, counts against `max_attempts`, and is finished before the next
//! one begins. The attempt for the present call is in the slot, where the fallback finishes it if the client leaves or the
//! time is over.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tokio::time::Instant;

use crate::{
    attempt_slot::AttemptSlot,
    catalog::Target,
    endpoint::Endpoint,
    health::{Attempt, HealthMap},
    images::calls::Failure,
    outcome::{Outcome, OutcomeKind},
    session::Terms,
    upstream::{Evidence, UpstreamError, resets},
};

/// So long before the end of the fallback's wait no further call is waited for, so that the answer comes in time.
const MARGIN: Duration = Duration::from_millis(100);

pub(super) struct Attempts {
    slot: AttemptSlot,
    target: Target,
    health: HealthMap,
    /// How many calls were begun.
    calls: usize,
    /// The attempt before the present one. It has succeeded, and stands for the answer if the present one fails.
    succeeded: Option<Attempt>,
}

impl Attempts {
    /// The first attempt is in the slot.
    pub(super) const fn new(slot: AttemptSlot, target: Target, health: HealthMap) -> Self {
        Self {
            slot,
            target,
            health,
            calls: 1,
            succeeded: None,
        }
    }

    /// The end of the wait for a further answer.
    pub(super) fn until(&self) -> Option<Instant> {
        let by = self.slot.session().lock().answer_by()?;
        Some(by.checked_sub(MARGIN).unwrap_or(by))
    }

    /// The present call has succeeded, with these headers: begins the attempt for the next one.
    ///
    /// # Errors
    ///
    /// Why no further call may be made.
    pub(super) fn next(&mut self, headers: &HeaderMap) -> Result<(), &'static str> {
        if self.terms().is_some_and(|terms| self.calls >= terms.calls) {
            return Err("max_attempts");
        }
        if self.until().is_some_and(|until| until <= Instant::now()) {
            return Err("time");
        }
        // The slot is empty if the client has left.
        let mut attempt = self.slot.take_attempt().ok_or("time")?;
        if let Some(reset) = resets::exhausted(headers, self.health.wall()) {
            attempt.exhausted(reset);
        }
        attempt.answered();
        let Some(next) = self.health.begin(&self.target) else {
            self.slot.fill(attempt);
            return Err("cooling");
        };
        let success = (self.target.id().clone(), OutcomeKind::Succeeded);
        self.slot.session().lock().earlier.push(success);
        self.slot.fill(next);
        self.succeeded = Some(attempt);
        self.calls += 1;
        Ok(())
    }

    /// A further call brought no image: records that, and says why there are no more images.
    pub(super) fn failed<E>(&mut self, failure: &Failure<E>) -> &'static str {
        // Where only the time or the memory that others left was too little, that is no fault of the target.
        let no_fault = Outcome::of(OutcomeKind::Abandoned);
        let (outcome, stopped_by) = match failure {
            Failure::Memory => (no_fault, "memory"),
            Failure::Time => (no_fault, "time"),
            Failure::Service(_) => return self.ended(&Outcome::of(OutcomeKind::Unreachable)),
            Failure::Answer(response) => return self.ended(&self.classify(response)),
        };
        self.ended(&outcome);
        stopped_by
    }

    /// The present attempt has failed: the one before it stands for the answer.
    pub(super) fn ended(&mut self, outcome: &Outcome) -> &'static str {
        if let Some(attempt) = self.slot.take_attempt() {
            attempt.fail(outcome);
            if let Some(succeeded) = self.succeeded.take() {
                let earlier = &mut self.slot.session().lock().earlier;
                // The fallback notes the attempt that stands for the answer.
                earlier.pop();
                earlier.push((self.target.id().clone(), outcome.kind));
                self.slot.fill(succeeded);
            }
        }
        outcome.kind.name()
    }

    /// The layer itself refuses to go on: that is no outcome of the target, and no other target is to be tried.
    pub(super) fn withdraw(&self) {
        if let Some(attempt) = self.slot.take_attempt() {
            drop(attempt);
            let abandoned = (self.target.id().clone(), OutcomeKind::Abandoned);
            self.slot.session().lock().earlier.push(abandoned);
        }
    }

    /// What a response without an image means, in the words of the fallback's classifier.
    fn classify(&self, response: &Response<Bytes>) -> Outcome {
        let headers = response.headers();
        let error = UpstreamError::read(response.status(), headers, response.body().clone());
        let (endpoint, now) = (Endpoint::ImageGenerations, self.health.wall());
        let evidence = Evidence::new(&self.target, endpoint, headers, &error, now);
        self.slot.session().classify().classify(&evidence)
    }

    fn terms(&self) -> Option<Terms> {
        self.slot.session().lock().terms.clone()
    }
}
