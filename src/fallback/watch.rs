//! Ends the attempt of an answer that has begun.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::stream_buffer::StreamBuffer;
use crate::{
    endpoint::Endpoint,
    health::Attempt,
    outcome::Outcome,
    upstream::{Classify, Evidence, UpstreamError},
};

/// Ends the attempt of an answer that has begun, by what is seen of the rest.
pub(super) struct Watch {
    attempt: Option<Attempt>,
    classify: Arc<dyn Classify>,
    /// What was asked; each has its own way to tell of an error in a stream.
    pub(super) endpoint: Endpoint,
    /// The head of the response, for what an error in it means.
    headers: HeaderMap,
    /// The answer is whole, whatever may follow it.
    finished: bool,
    /// The first error event in it.
    error: Option<Bytes>,
}

impl Watch {
    /// `headers` are those of the response, if an error may come in its body.
    pub(super) fn new(
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
            error: None,
        }
    }

    pub(super) fn billed(&self) {
        self.attempt.iter().for_each(Attempt::billed);
    }

    /// Takes note of what a stream has been seen to hold. What costs money is quarantined at once, and not only at the
    /// end of its answer.
    pub(super) fn note(&mut self, gate: &StreamBuffer) {
        if gate.seen.billed {
            self.billed();
        }
        self.finished = gate.seen.finished;
        if self.error.is_none() {
            self.error.clone_from(&gate.seen.error);
        }
    }

    /// Ends the attempt by what the stream itself has said: an error, with the head of its response, or that it is whole.
    /// Says whether it has said either.
    pub(super) fn end_as_said(&mut self) -> bool {
        match self.error.take() {
            Some(error) => self.fail_as_said(error),
            None if self.finished => self.succeed(),
            None => return false,
        }
        true
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

    fn fail_as_said(&mut self, error: Bytes) {
        let Some(attempt) = &self.attempt else {
            return;
        };
        let error = UpstreamError::read(StatusCode::OK, &self.headers, error);
        let (target, now) = (attempt.target(), attempt.map().wall());
        let evidence = Evidence::new(target, self.endpoint, &self.headers, &error, now);
        let outcome = self.classify.classify(&evidence);
        self.fail(&outcome);
    }

    pub(super) fn name(&self) -> String {
        self.attempt
            .as_ref()
            .map_or_else(String::new, |attempt| attempt.target().id().to_string())
    }
}

impl Drop for Watch {
    /// Many clients hang up when the answer is whole, or at an error event, and do not wait for the end of the stream.
    fn drop(&mut self) {
        self.end_as_said();
    }
}
