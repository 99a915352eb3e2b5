//! Who watches over an answer that has begun, and ends its attempt.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::{
    endpoint::Endpoint,
    fallback::stream_buffer::StreamBuffer,
    health::Attempt,
    outcome::{Lack, Outcome, OutcomeKind},
    upstream::{Classify, Evidence},
};

/// What a failure means, whether it came before or after its answer had begun.
pub(crate) fn outcome_of(
    classify: &dyn Classify,
    attempt: &Attempt,
    endpoint: Endpoint,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
) -> Outcome {
    let now = attempt.map().wall();
    let outcome = classify.classify(&Evidence::new(status, headers, body, now).at(Some(endpoint)));
    let output = endpoint.output();
    if outcome.kind == OutcomeKind::Gone && !attempt.target().model().is_for(output) {
        // It was asked by its name for what it is not made for, and may be there for all else.
        Outcome::unfit(Lack::Capability(output))
    } else {
        outcome
    }
}

/// What watches over an answer that has begun: it ends the attempt.
pub(crate) struct Watch {
    attempt: Option<Attempt>,
    classify: Arc<dyn Classify>,
    /// What was asked; each has its own way to tell of an error in a stream.
    pub(crate) endpoint: Endpoint,
    /// The head of the response, for what an error in it means.
    headers: HeaderMap,
    /// The answer is whole, whatever may follow it.
    pub(crate) finished: bool,
}

impl Watch {
    /// `headers` are those of the response, if an error may come in its body.
    pub(crate) fn new(
        attempt: Attempt,
        classify: Arc<dyn Classify>,
        endpoint: Endpoint,
        headers: HeaderMap,
    ) -> Self {
        Self {
            attempt: Some(attempt),
            classify,
            endpoint,
            headers,
            finished: false,
        }
    }

    pub(crate) fn billed(&self) {
        self.attempt.iter().for_each(Attempt::billed);
    }

    /// What was seen to cost money is quarantined at once, and not only at the end of its answer.
    pub(crate) fn note_bill(&self, gate: &StreamBuffer) {
        if gate.seen.billed {
            self.billed();
        }
    }

    /// An error event must not tell the caller the pool's credential.
    pub(crate) fn redact(&self, gate: &mut StreamBuffer) {
        if let Some(attempt) = &self.attempt {
            gate.redact(attempt.target().provider());
        }
    }

    pub(crate) fn succeed(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.succeed();
        }
    }

    pub(crate) fn fail(&mut self, outcome: &Outcome) {
        if let Some(attempt) = self.attempt.take() {
            attempt.fail(outcome);
        }
    }

    /// An error event has been passed on: what it says counts, with the head of its response.
    pub(crate) fn fail_as_said(&mut self, error: &[u8]) {
        let Some(attempt) = &self.attempt else {
            return;
        };
        let outcome = outcome_of(
            &*self.classify,
            attempt,
            self.endpoint,
            StatusCode::OK,
            &self.headers,
            error,
        );
        self.fail(&outcome);
    }

    pub(crate) fn name(&self) -> String {
        self.attempt
            .as_ref()
            .map_or_else(String::new, |attempt| attempt.target().id().to_string())
    }
}

impl Drop for Watch {
    /// Many clients hang up when the answer is whole, and do not wait for the end of the stream.
    fn drop(&mut self) {
        if self.finished {
            self.succeed();
        }
    }
}
