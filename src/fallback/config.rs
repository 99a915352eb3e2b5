//! The settings of a fallback.

use std::{fmt, sync::Arc, time::Duration};

use super::hedging::Hedges;
use crate::{request::Bounds, upstream::Classify};

/// The settings of [`FallbackLayer`](super::FallbackLayer), which documents them.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) bounds: Bounds,
    /// As the router is set, if this is not.
    pub(super) classify: Option<Arc<dyn Classify>>,
    pub(super) max_attempts: usize,
    pub(super) deadline: Duration,
    pub(super) header_timeout: Duration,
    pub(super) first_token_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_wait: Duration,
    pub(super) peek_limit: usize,
    /// Where a second target may be asked beside one that is slow.
    pub(super) hedges: Option<Arc<Hedges>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            classify: None,
            max_attempts: 6,
            deadline: Duration::from_secs(300),
            header_timeout: Duration::from_secs(30),
            first_token_timeout: Duration::from_secs(120),
            answer_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(120),
            max_wait: Duration::from_secs(25),
            peek_limit: 1024 * 1024,
            hedges: None,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("max_attempts", &self.max_attempts)
            .field("deadline", &self.deadline)
            .field("header_timeout", &self.header_timeout)
            .field("first_token_timeout", &self.first_token_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_wait", &self.max_wait)
            .field("peek_limit", &self.peek_limit)
            .field("hedges", &self.hedges)
            .finish_non_exhaustive()
    }
}
