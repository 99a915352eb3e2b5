//! The response to the client when no attempt answered.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Response, StatusCode, header, response};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    catalog::{Target, TargetId},
    outcome::OutcomeKind,
    refusal::{Refusal, in_words},
    upstream::{UpstreamError, relabel},
};

/// Why there is no further attempt.
pub(super) enum OutOf {
    /// There is no target left to try, as the router says.
    Targets(Refusal),
    Budget,
    /// The deadline has passed, of so many seconds.
    Time(f64),
}

/// A failure as the upstream said it.
pub(super) struct Failed {
    pub(super) target: Target,
    pub(super) head: response::Parts,
    pub(super) error: UpstreamError,
}

impl Failed {
    /// As the upstream said it, if need be in OpenAI's envelope.
    pub(super) fn into_response(mut self) -> Response<Bytes> {
        let body = self.error.into_openai(self.target.provider().name());
        relabel(&mut self.head.headers, body.len());
        // What comes after a failure's body is not read.
        self.head.headers.remove(header::TRAILER);
        Response::from_parts(self.head, body)
    }
}

/// What the last upstream that failed said.
pub(super) struct LastError {
    pub(super) target: TargetId,
    pub(super) status: Option<StatusCode>,
    pub(super) message: Option<String>,
}

/// What all attempts came to.
pub(super) struct Account<'a> {
    pub(super) trail: &'a [(TargetId, OutcomeKind)],
    pub(super) last: Option<&'a LastError>,
    /// The first end of a limit that an attempt has met.
    pub(super) limit: Option<Instant>,
}

impl Account<'_> {
    /// The refusal, with counts by outcome and the last error of an upstream.
    pub(super) fn refusal(&self, out_of: OutOf) -> Refusal {
        let mut by_outcome = BTreeMap::<&str, usize>::new();
        for (_, outcome) in self.trail {
            *by_outcome.entry(outcome.name()).or_default() += 1;
        }
        let counted: Vec<_> = by_outcome
            .iter()
            .map(|(outcome, n)| format!("{n} {}", outcome.replace('_', " ")))
            .collect();
        let tried = match self.trail.len() {
            1 => format!("1 attempt: {}", counted.join(", ")),
            n => format!("{n} attempts: {}", counted.join(", ")),
        };
        let refusal = match out_of {
            OutOf::Targets(refusal) => refusal,
            OutOf::Time(seconds) => {
                out_of_time(seconds, (!self.trail.is_empty()).then_some(&tried))
            }
            OutOf::Budget => self.out_of_budget(&tried),
        };
        let refusal = refusal.metadata("attempts", json!(self.trail.len()));
        let refusal = match by_outcome.is_empty() {
            true => refusal,
            false => refusal.metadata("outcomes", json!(by_outcome)),
        };
        match self.last {
            Some(last) => refusal.metadata("last_error", last.json()),
            None => refusal,
        }
    }

    fn out_of_budget(&self, tried: &str) -> Refusal {
        let message = format!(
            "No free model could answer, and more attempts are not allowed for one request ({tried})."
        );
        let Some(until) = self.limit else {
            return Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no_model_available",
                message,
            );
        };
        let wait = until.saturating_duration_since(Instant::now());
        let message = format!("{message} The first limit ends {}.", in_words(wait));
        let refusal = Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_exceeded",
            message,
        )
        .retry_after(wait);
        // Where something else went wrong as well, that may be over sooner.
        let only_limits =
            |outcome| matches!(outcome, OutcomeKind::RateLimited | OutcomeKind::OutOfQuota);
        match self.trail.iter().all(|&(_, outcome)| only_limits(outcome)) {
            true => refusal.recovers_in(wait),
            false => refusal,
        }
    }
}

fn out_of_time(seconds: f64, tried: Option<&String>) -> Refusal {
    let message = match tried {
        Some(tried) => format!("No free model began to answer within {seconds} seconds ({tried})."),
        None => format!("No free model could be asked within {seconds} seconds."),
    };
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message)
}

impl LastError {
    fn json(&self) -> serde_json::Value {
        json!({
            "provider": self.target.provider(),
            "model": self.target.model(),
            "status": self.status.map(|status| status.as_u16()),
            "message": self.message,
        })
    }
}
