//! Who watches over an answer that has begun, and ends its attempt.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    endpoint::Endpoint,
    fallback::stream_buffer::StreamBuffer,
    health::Attempt,
    outcome::Outcome,
    upstream::{Classify, Evidence, UpstreamError},
};

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
    pub(crate) fn fail_as_said(&mut self, error: &Bytes) {
        let Some(attempt) = &self.attempt else {
            return;
        };
        let error = UpstreamError::read(StatusCode::OK, &self.headers, error.clone());
        let (target, now) = (attempt.target(), attempt.map().wall());
        let evidence = Evidence::new(target, self.endpoint, &self.headers, &error, now);
        let outcome = self.classify.classify(&evidence);
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
