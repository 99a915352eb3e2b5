//! The pool's wall clock: one real instant, moved on by tokio's clock, which tests can pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

pub(super) struct Clock {
    wall: SystemTime,
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            wall: jiff::Timestamp::now().into(),
            start: Instant::now(),
        }
    }

    pub(super) fn epoch_ms(&self, at: Instant) -> u128 {
        let since = self.wall_at(at).duration_since(UNIX_EPOCH);
        since.unwrap_or(Duration::ZERO).as_millis()
    }

    pub(super) fn http_date(&self, at: Instant) -> String {
        httpdate::fmt_http_date(self.wall_at(at))
    }

    fn wall_at(&self, at: Instant) -> SystemTime {
        self.wall + at.saturating_duration_since(self.start)
    }
}
