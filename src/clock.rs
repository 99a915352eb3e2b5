//! The wall clock: an anchor plus tokio's clock.
//!
//! Limits are stated in wall-clock time, waiting is done on tokio's clock. Tying the two together once,
//! instead of asking the system each time, keeps them consistent within a decision, makes tests under
//! paused time exact, and is immune to small steps of the system clock. Tokio's clock stands still while a
//! machine is suspended, so the anchor is moved when the system clock has run ahead of it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The system clock must be this far ahead before that counts as a suspend and not as a correction.
const SUSPENDED: Duration = Duration::from_secs(60);

/// As good as never, and still a moment that can be reckoned with.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `wait` after `now`; as good as never, where that is too far to be told.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FAR)
}

/// Translates tokio's instants to wall-clock time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: SystemTime,
    instant: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            wall: system_now(),
            instant: Instant::now(),
        }
    }

    /// The wall-clock time at `instant`.
    pub(crate) fn wall(&self, instant: Instant) -> SystemTime {
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.wall.checked_add(after),
            None => self.wall.checked_sub(self.instant.duration_since(instant)),
        }
        .unwrap_or(self.wall)
    }

    /// Moves the anchor if the machine was suspended, and says for how long it was.
    pub(crate) fn catch_up(&mut self, now: Instant) -> Option<Duration> {
        self.catch_up_with(now, system_now())
    }

    fn catch_up_with(&mut self, now: Instant, system: SystemTime) -> Option<Duration> {
        let ahead = system.duration_since(self.wall(now)).ok()?;
        (ahead > SUSPENDED).then(|| {
            *self = Self {
                wall: system,
                instant: now,
            };
            ahead
        })
    }
}

/// The only place where the system clock is read.
#[allow(clippy::disallowed_methods)]
fn system_now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn wall_time_follows_tokio_time() {
        let clock = Clock::new();
        let start = clock.wall(Instant::now());
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(
            clock.wall(Instant::now()),
            start + Duration::from_secs(3600)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_is_too_long_to_be_reckoned_with() {
        let now = Instant::now();
        assert!(later(now, Duration::MAX) > now + Duration::from_secs(86_400 * 365));
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_suspend_moves_the_anchor() {
        let mut clock = Clock::new();
        let now = Instant::now();
        let wall = clock.wall(now);
        assert_eq!(
            clock.catch_up_with(now, wall + Duration::from_secs(59)),
            None
        );
        assert_eq!(
            clock.catch_up_with(now, wall - Duration::from_secs(900)),
            None
        );
        let night = Duration::from_secs(8 * 3600);
        assert_eq!(clock.catch_up_with(now, wall + night), Some(night));
        assert_eq!(clock.wall(now), wall + night);
    }
}
