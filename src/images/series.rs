//! The attempts of one request that takes several calls, each of which makes a part of the answer.
//!
//! Each call is an attempt: it is begun in the health map, counts against `max_attempts`, and is finished before the next
//! one begins. The present one is in the slot, where the fallback finishes it if the caller leaves or the time is over.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, Response};
use tokio::time::Instant;

use crate::{
    attempt_slot::{AttemptSlot, Terms},
    catalog::Target,
    endpoint::Endpoint,
    health::{Attempt, HealthMap},
    outcome::{Outcome, OutcomeKind},
    upstream::{Classify, Evidence, UpstreamError, answer, resets},
};

/// So long before the end of the fallback's wait a series stops, so that its answer comes in time.
const MARGIN: Duration = Duration::from_millis(100);

pub(crate) struct Series {
    slot: AttemptSlot,
    /// There is no fallback around the router, which then finishes the attempt itself.
    alone: bool,
    endpoint: Endpoint,
    target: Target,
    health: HealthMap,
    /// How many calls were begun.
    calls: usize,
    /// The attempt before the present one. It has succeeded, and stands for the answer if the present one fails.
    succeeded: Option<Attempt>,
}

/// Why no further call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The call failed.
    Failed(OutcomeKind),
    /// As many were made as may be.
    Attempts,
    /// The answer is due.
    Time,
    /// The target must not be asked now.
    Cooling,
    /// There is no room for a further answer.
    Memory,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(kind) => kind.fmt(f),
            Self::Attempts => f.write_str("max_attempts"),
            Self::Time => f.write_str("time"),
            Self::Cooling => f.write_str("cooling"),
            Self::Memory => f.write_str("memory"),
        }
    }
}

impl Series {
    /// A series whose first attempt is in the fallback's slot, or is `attempt` where there is no fallback.
    pub(crate) fn new(
        slot: Option<AttemptSlot>,
        attempt: Option<Attempt>,
        endpoint: Endpoint,
        target: &Target,
        health: &HealthMap,
        classify: &Arc<dyn Classify>,
    ) -> Self {
        let alone = slot.is_none();
        let slot = slot.unwrap_or_else(|| AttemptSlot::new(Arc::default()));
        let mut session = slot.session().lock();
        session.classify.get_or_insert_with(|| Arc::clone(classify));
        drop(session);
        if let Some(attempt) = attempt {
            slot.fill(attempt);
        }
        Self {
            slot,
            alone,
            endpoint,
            target: target.clone(),
            health: health.clone(),
            calls: 1,
            succeeded: None,
        }
    }

    /// The last attempt, where there is no fallback that takes it from the slot.
    pub(crate) fn left(&self) -> Option<Attempt> {
        self.alone.then(|| self.slot.take_attempt()).flatten()
    }

    /// When to stop waiting for a further answer.
    pub(crate) fn until(&self) -> Option<Instant> {
        let by = self.slot.session().lock().answer_by()?;
        Some(by.checked_sub(MARGIN).unwrap_or(by))
    }

    /// The present call has succeeded, with these headers: begins the attempt of the next one.
    pub(crate) fn next(&mut self, headers: &HeaderMap) -> Result<(), Stop> {
        if let Some(terms) = self.terms() {
            if self.calls >= terms.calls {
                return Err(Stop::Attempts);
            }
        }
        if self.until().is_some_and(|until| until <= Instant::now()) {
            return Err(Stop::Time);
        }
        // Without one the caller has left.
        let mut attempt = self.slot.take_attempt().ok_or(Stop::Time)?;
        if let Some(reset) = resets::exhausted(headers, self.health.wall()) {
            attempt.exhausted(reset);
        }
        attempt.answered();
        let Some(next) = self.health.begin(&self.target) else {
            self.slot.fill(attempt);
            return Err(Stop::Cooling);
        };
        let success = (self.target.id().clone(), OutcomeKind::Succeeded);
        self.slot.session().lock().earlier.push(success);
        self.slot.fill(next);
        self.succeeded = Some(attempt);
        self.calls += 1;
        Ok(())
    }

    /// What an answer without what was asked for comes to.
    pub(crate) fn classify(&self, response: &Response<bytes::Bytes>) -> Outcome {
        let headers = response.headers();
        let error = UpstreamError::read(response.status(), headers, response.body().clone());
        let now = self.health.wall();
        let evidence = Evidence::new(&self.target, self.endpoint, headers, &error, now);
        self.slot.session().classify().classify(&evidence)
    }

    /// Quarantines the target if an answer reports a cost.
    pub(crate) fn look_for_a_cost(&self, body: &[u8]) {
        if answer::read(body).billed {
            self.health.quarantine(self.target.id());
        }
    }

    /// A further call came to nothing: that is recorded, and the attempt before it stands for the answer.
    pub(crate) fn failed(&mut self, outcome: &Outcome) {
        let Some(attempt) = self.slot.take_attempt() else {
            return;
        };
        attempt.fail(outcome);
        if let Some(succeeded) = self.succeeded.take() {
            let earlier = &mut self.slot.session().lock().earlier;
            // The fallback notes the one that stands for the answer.
            earlier.pop();
            earlier.push((self.target.id().clone(), outcome.kind));
            self.slot.fill(succeeded);
        }
    }

    /// The router itself refuses to go on: that is no outcome of the target, and no other target is to be tried.
    pub(crate) fn withdraw(&mut self) {
        if let Some(attempt) = self.slot.take_attempt() {
            drop(attempt);
            let abandoned = (self.target.id().clone(), OutcomeKind::Abandoned);
            self.slot.session().lock().earlier.push(abandoned);
        }
    }

    fn terms(&self) -> Option<Terms> {
        self.slot.session().lock().terms.clone()
    }
}
