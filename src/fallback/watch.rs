//! Who watches over an answer that has begun, and ends its attempt.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::{
    classify::{Classify, Evidence},
    gate::Gate,
};
use crate::{health::Attempt, outcome::Outcome, request::Endpoint};

/// What watches over an answer that has begun: it ends the attempt.
pub(super) struct Watch {
    attempt: Option<Attempt>,
    classify: Arc<dyn Classify>,
    /// What was asked; each has its own way to tell of an error in a stream.
    pub(super) endpoint: Endpoint,
    /// The answer is whole, whatever may follow it.
    pub(super) finished: bool,
}

impl Watch {
    pub(super) fn new(attempt: Attempt, classify: Arc<dyn Classify>, endpoint: Endpoint) -> Self {
        Self {
            attempt: Some(attempt),
            classify,
            endpoint,
            finished: false,
        }
    }

    pub(super) fn billed(&self) {
        self.attempt.iter().for_each(Attempt::billed);
    }

    /// What was seen to cost money is quarantined at once, and not only at the end of its answer.
    pub(super) fn note_bill(&self, gate: &Gate) {
        if gate.seen.billed {
            self.billed();
        }
    }

    pub(super) fn succeed(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            attempt.succeed();
        }
    }

    pub(super) fn fail(&mut self, outcome: &Outcome) {
        if let Some(attempt) = self.attempt.take() {
            attempt.fail(outcome);
        }
    }

    /// An error event has been passed on: what it says counts.
    pub(super) fn fail_as_said(&mut self, error: &[u8]) {
        let Some(now) = self.attempt.as_ref().map(|attempt| attempt.map().wall()) else {
            return;
        };
        let outcome = self.classify.classify(&Evidence::new(
            StatusCode::OK,
            &HeaderMap::new(),
            error,
            now,
        ));
        self.fail(&outcome);
    }

    pub(super) fn name(&self) -> String {
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
