//! The queue for a server that makes one image at a time.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The state of the queue for a server that makes one image at a time.
///
/// Requests wait here and not within the server, first come, first served. A request whose client goes away leaves the
/// queue. The time of waiting counts against the deadlines of the fallback.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ImageQueue {
    /// How many requests wait for their turn.
    pub waiting: usize,
    /// The progress of the request whose turn it is; `None` if the server is idle.
    pub running: Option<Progress>,
}

/// The progress of a request at its server, which is asked for it once a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The part that is done, from 0 to 1.
    pub fraction: f64,
    /// How long the rest will take, as the server estimates; `None` if it does not know yet.
    pub eta: Option<Duration>,
}

/// The queue for one server: first come, first served.
pub(crate) struct Queue {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    running: Mutex<Option<Progress>>,
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            permits: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            running: Mutex::new(None),
        })
    }

    pub(crate) fn state(&self) -> ImageQueue {
        ImageQueue {
            waiting: self.waiting.load(Ordering::Relaxed),
            running: *self.running(),
        }
    }

    /// Waits for a turn. A request whose future is dropped leaves the queue.
    pub(crate) async fn turn(self: &Arc<Self>) -> Turn {
        let place = Place::in_line(self);
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        drop(place);
        *self.running() = Some(Progress::default());
        Turn {
            queue: Arc::clone(self),
            _permit: permit,
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request among those that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn in_line(queue: &'a Queue) -> Self {
        queue.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&queue.waiting)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to ask the server for an image, until this is dropped.
pub(crate) struct Turn {
    queue: Arc<Queue>,
    /// `None` only if the semaphore were closed, which does not happen.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Records the progress that the server reports.
    pub(crate) fn report(&self, fraction: f64, eta_seconds: f64) {
        let sane = if fraction.is_finite() {
            fraction.clamp(0.0, 1.0)
        } else {
            0.0
        };
        // 0 means that the server does not know yet.
        let eta = Duration::try_from_secs_f64(eta_seconds).ok();
        *self.queue.running() = Some(Progress {
            fraction: sane,
            eta: eta.filter(|eta| !eta.is_zero()),
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the permit goes to the next request.
        *self.queue.running() = None;
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use tokio_test::task::{Spawn, spawn};

    use super::*;

    type Waiting = Spawn<Pin<Box<dyn Future<Output = Turn>>>>;

    fn wait(queue: &Arc<Queue>) -> Waiting {
        let queue = Arc::clone(queue);
        spawn(Box::pin(async move { queue.turn().await }))
    }

    async fn one_and_two_that_wait() -> (Arc<Queue>, Turn, Waiting, Waiting) {
        let queue = Queue::new();
        let turn = queue.turn().await;
        let [second, third] = [(); 2].map(|()| {
            let mut waiting = wait(&queue);
            assert!(waiting.poll().is_pending());
            waiting
        });
        (queue, turn, second, third)
    }

    #[tokio::test]
    async fn turns_come_one_at_a_time_in_the_order_of_asking() {
        let (_, first, mut second, mut third) = one_and_two_that_wait().await;
        drop(first);
        assert!(third.poll().is_pending());
        assert!(second.poll().is_ready());
    }

    #[tokio::test]
    async fn a_request_that_waits_is_counted_until_it_is_dropped() {
        let (queue, turn, second, mut third) = one_and_two_that_wait().await;
        assert_eq!(queue.state().waiting, 2);
        drop(second);
        assert_eq!(queue.state().waiting, 1);
        drop(turn);
        assert!(third.poll().is_ready());
    }

    #[tokio::test]
    async fn a_turn_of_a_request_that_was_dropped_goes_to_the_next() {
        let (_, turn, second, mut third) = one_and_two_that_wait().await;
        drop(turn);
        assert!(second.is_woken());
        drop(second);
        assert!(third.poll().is_ready());
    }

    #[tokio::test]
    async fn progress_is_kept_while_a_request_has_its_turn() {
        let queue = Queue::new();
        assert_eq!(queue.state().running, None);
        let turn = queue.turn().await;
        assert_eq!(queue.state().running, Some(Progress::default()));
        turn.report(0.5, 12.0);
        let progress = queue.state().running.expect("progress");
        assert_eq!(progress.eta, Some(Duration::from_secs(12)));
        for (said, fraction) in [(7.0, 1.0), (-1.0, 0.0), (f64::NAN, 0.0), (0.25, 0.25)] {
            turn.report(said, f64::NEG_INFINITY);
            let progress = queue.state().running.expect("progress");
            assert_eq!((progress.fraction, progress.eta), (fraction, None));
        }
        drop(turn);
        assert_eq!(queue.state().running, None);
    }
}
