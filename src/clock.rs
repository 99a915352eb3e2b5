//! The wall clock: an anchor plus tokio's clock.
//!
//! Limits are stated in wall-clock time, waiting is done on tokio's clock. Tying the two together once,
//! instead of asking the system each time, keeps them consistent within a decision, makes tests under
//! paused time exact, and is immune to small steps of the system clock.
//!
//! The system clock can run ahead of the anchor for two reasons. NTP or an operator has set it: then the anchor follows,
//! and no wait on tokio's clock changes. Or the machine was suspended while tokio's clock stood still: then waits have
//! partly passed. Only the time that the machine has slept by its own measure counts as a suspend: on Linux
//! `/proc/uptime` goes on during a suspend (`fs/proc/uptime.c` reads `CLOCK_BOOTTIME`), and tokio's clock does not.
//! Windows needs no such measure, because its `Instant` goes on during a suspend. On macOS the time slept is not measured, and a suspend
//! reads as a step: a stated cooldown then lasts longer by the time slept, but never ends before the stated instant.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

/// The system clock must be this far ahead before the anchor follows it: smaller steps are corrections.
const STEP: Duration = Duration::from_secs(60);

/// This much of a suspend is not counted, because `/proc/uptime` has hundredths of a second: no cooldown may end early.
const ROUNDING: Duration = Duration::from_secs(1);

/// The longest wait that is added to an instant: ten years.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// `wait` after `now`, ten years at most, so that the sum does not overflow.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(FAR)
}

/// A [`Clock`] that any thread reads without a lock: the requests of all threads do.
#[derive(Debug)]
pub(crate) struct SharedClock {
    /// Does not move.
    epoch: Instant,
    /// The wall-clock time at `epoch`, in nanoseconds since 1970.
    wall: AtomicU64,
    /// Locked to move the anchor.
    clock: Mutex<Clock>,
}

impl SharedClock {
    pub(crate) fn new() -> Self {
        let clock = Clock::new();
        Self {
            epoch: clock.instant,
            wall: AtomicU64::new(since_1970(clock.wall)),
            clock: Mutex::new(clock),
        }
    }

    /// The instant at which it was made.
    pub(crate) const fn epoch(&self) -> Instant {
        self.epoch
    }

    /// The wall-clock time at `instant`.
    pub(crate) fn wall(&self, instant: Instant) -> SystemTime {
        let epoch = Duration::from_nanos(self.wall.load(Ordering::Acquire));
        let since_1970 = match instant.checked_duration_since(self.epoch) {
            Some(after) => epoch.saturating_add(after),
            None => epoch.saturating_sub(self.epoch.duration_since(instant)),
        };
        let wall = SystemTime::UNIX_EPOCH.checked_add(since_1970);
        wall.unwrap_or(SystemTime::UNIX_EPOCH + epoch)
    }

    /// Whether the system clock is ahead, so that [`catch_up`](Self::catch_up) has something to do.
    pub(crate) fn is_behind(&self, now: Instant) -> bool {
        let ahead = system_now().duration_since(self.wall(now));
        ahead.is_ok_and(|ahead| ahead > STEP)
    }

    /// Moves the anchor if the system clock is ahead of it. Says how long the machine was suspended since the last call,
    /// if it was.
    pub(crate) fn catch_up(&self, now: Instant) -> Option<Duration> {
        if !self.is_behind(now) {
            return None;
        }
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = clock.catch_up(now);
        let wall = since_1970(clock.wall(self.epoch));
        self.wall.store(wall, Ordering::Release);
        slept
    }
}

/// A wall-clock time in nanoseconds since 1970, which last until 2554.
fn since_1970(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH);
    let nanos = since.unwrap_or_default().as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Translates tokio's instants to wall-clock time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    wall: SystemTime,
    instant: Instant,
    /// The time since the machine was started, including suspends, where the system has a measure of that.
    uptime: Option<Duration>,
}

impl Clock {
    fn new() -> Self {
        Self {
            wall: system_now(),
            instant: Instant::now(),
            uptime: uptime(),
        }
    }

    /// The wall-clock time at `instant`.
    fn wall(&self, instant: Instant) -> SystemTime {
        match instant.checked_duration_since(self.instant) {
            Some(after) => self.wall.checked_add(after),
            None => self.wall.checked_sub(self.instant.duration_since(instant)),
        }
        .unwrap_or(self.wall)
    }

    /// Moves the anchor if the system clock is ahead of it. Says how long the machine was suspended since the last call,
    /// if it was.
    fn catch_up(&mut self, now: Instant) -> Option<Duration> {
        self.catch_up_with(now, system_now(), uptime)
    }

    fn catch_up_with(
        &mut self,
        now: Instant,
        wall: SystemTime,
        uptime: impl FnOnce() -> Option<Duration>,
    ) -> Option<Duration> {
        let ahead = wall.duration_since(self.wall(now)).ok()?;
        if ahead <= STEP {
            return None;
        }
        let uptime = uptime();
        // Read after the uptime, so that the time between the two readings does not count as a suspend.
        let awake = Instant::now().saturating_duration_since(self.instant);
        let before = std::mem::replace(
            self,
            Self {
                wall,
                instant: now,
                uptime,
            },
        );
        let passed = uptime?.checked_sub(before.uptime?)?;
        passed.checked_sub(awake)?.checked_sub(ROUNDING)
    }
}

/// The only place where the system clock is read.
#[allow(clippy::disallowed_methods)]
fn system_now() -> SystemTime {
    SystemTime::now()
}

/// The time since the machine was started, including suspends.
fn uptime() -> Option<Duration> {
    cfg!(target_os = "linux")
        .then(|| std::fs::read_to_string("/proc/uptime").ok())
        .flatten()
        .and_then(|text| read_uptime(&text))
}

/// Of the two numbers of `/proc/uptime` the first one, in seconds (proc_uptime(5)).
fn read_uptime(text: &str) -> Option<Duration> {
    let seconds = text.split_ascii_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
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
    async fn a_shared_clock_tells_the_same_time_before_and_after_its_epoch_and_after_it_has_caught_up()
     {
        let clock = Clock::new();
        let shared = SharedClock {
            epoch: clock.instant,
            wall: AtomicU64::new(since_1970(clock.wall)),
            clock: Mutex::new(clock),
        };
        let same = |shared: &SharedClock, clock: &Clock| {
            for instant in [clock.instant - HOUR, clock.instant, clock.instant + HOUR] {
                assert_eq!(shared.wall(instant), clock.wall(instant));
            }
        };
        same(&shared, &clock);
        let now = Instant::now();
        assert!(!shared.is_behind(now));
        // As if the system clock had been set forward.
        let behind = Clock {
            wall: clock.wall - HOUR,
            uptime: None,
            ..clock
        };
        let shared = SharedClock {
            epoch: clock.instant,
            wall: AtomicU64::new(since_1970(behind.wall)),
            clock: Mutex::new(behind),
        };
        assert!(shared.is_behind(now));
        assert_eq!(shared.catch_up(now), None);
        assert!(!shared.is_behind(now));
        same(&shared, &shared.clock.lock().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn no_wait_overflows() {
        let now = Instant::now();
        assert!(later(now, Duration::MAX) > now + Duration::from_secs(86_400 * 365));
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const UP: Duration = Duration::from_secs(5000);

    /// A clock whose machine had been up for [`UP`] when it was made.
    fn clock() -> (Clock, Instant, SystemTime) {
        let clock = Clock {
            uptime: Some(UP),
            ..Clock::new()
        };
        (clock, clock.instant, clock.wall)
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_step_or_one_back_does_not_move_the_anchor() {
        let (mut clock, now, wall) = clock();
        for system in [wall + STEP, wall - HOUR] {
            let slept = clock.catch_up_with(now, system, || panic!("the uptime was read"));
            assert_eq!(slept, None);
            assert_eq!(clock.wall(now), wall);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_system_clock_moves_the_anchor_and_is_no_suspend() {
        let (mut clock, began, wall) = clock();
        tokio::time::advance(HOUR).await;
        let now = Instant::now();
        let system = wall + HOUR + 24 * HOUR;
        let slept = clock.catch_up_with(now, system, || Some(UP + HOUR));
        assert_eq!(slept, None);
        assert_eq!(clock.wall(began), wall + 24 * HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspend_moves_the_anchor_and_has_the_length_that_the_machine_slept() {
        let (mut clock, began, wall) = clock();
        for nights in 1..=2 {
            tokio::time::advance(HOUR).await;
            let now = Instant::now();
            // Each night the clock is set as well, which is no suspend.
            let (system, uptime) = (wall + nights * 12 * HOUR, UP + nights * 9 * HOUR);
            let slept = clock.catch_up_with(now, system, || Some(uptime));
            assert_eq!(slept, Some(8 * HOUR - ROUNDING), "night {nights}");
            assert_eq!(clock.wall(now), system);
        }
        assert_eq!(Instant::now() - began, 2 * HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_measure_of_the_uptime_there_is_no_suspend() {
        for (before, after) in [
            (None, Some(UP + 9 * HOUR)),
            (Some(UP), None),
            // Another machine, after a migration of a container.
            (Some(UP), Some(UP / 2)),
        ] {
            let (mut clock, now, wall) = clock();
            clock.uptime = before;
            assert_eq!(clock.catch_up_with(now, wall + HOUR, || after), None);
            assert_eq!(clock.wall(now), wall + HOUR);
        }
    }

    #[test]
    fn the_uptime_is_the_first_number() {
        let read = |text| read_uptime(text);
        assert_eq!(
            read("350735.47 234388.90\n"),
            Some(Duration::from_secs_f64(350_735.47))
        );
        for bad in ["", "x 1", "-1 1", "NaN 1", "inf 1", "1e300 1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_has_the_uptime() {
        assert!(uptime().is_some());
    }
}
