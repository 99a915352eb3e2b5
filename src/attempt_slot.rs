//! What the fallback and the router tell each other about one request.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use crate::{
    catalog::Target,
    clock::later,
    health::{Attempt, Place},
    refusal::Refusal,
    session::{Session, WaitState},
};

/// Where a router leaves the [`Attempt`] it has begun, for the [`Fallback`](crate::Fallback) around it to finish.
///
/// `Fallback` puts a fresh one into the extensions of each request that it sends. A router other than ours joins in by
/// asking it which targets [may be tried](Self::may_try), and by [filling](Self::fill) it or saying
/// [not now](Self::not_now). It hands on responses without credentials, and not compressed: taking out keys and inflating is
/// the router's work, not the fallback's.
///
/// ```
/// use std::time::Duration;
/// use tower_free_models::{AttemptSlot, HealthMap, Target};
///
/// /// Says which target to send the request to, if there is one.
/// fn route<'a, B>(request: &http::Request<B>, targets: &'a [Target], health: &HealthMap) -> Option<&'a Target> {
///     let slot = request.extensions().get::<AttemptSlot>()?;
///     for target in targets.iter().filter(|target| slot.may_try(target)) {
///         if let Some(attempt) = health.begin(target) {
///             slot.fill(attempt);
///             return Some(target);
///         }
///     }
///     // The response to this call does not matter: the fallback asks again in two seconds.
///     slot.not_now(Some(Duration::from_secs(2)));
///     None
/// }
/// ```
#[derive(Clone)]
pub struct AttemptSlot {
    taken: Arc<Mutex<Taken>>,
    session: Arc<Session>,
}

/// What a router has left in a slot.
#[derive(Default)]
pub(crate) enum Taken {
    #[default]
    Nothing,
    Attempt(Attempt),
    NoTarget(NoTarget),
    /// The request has ended or goes on with another slot.
    Closed,
}

/// The slot of a call that is under way: dropping this closes the slot.
///
/// Clones of the slot travel with the request, and what handles the request may keep it for long after the client has
/// left. The attempt must end without waiting for that.
pub(crate) struct OpenSlot(pub(crate) AttemptSlot);

impl Drop for OpenSlot {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Marks a request that a router has sent on without a fallback around that router.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoutedWithoutFallback;

/// Why a router found no target for a request now, although the catalog has some that could serve it.
pub(crate) struct NoTarget {
    /// What to answer if the request does not wait.
    pub(crate) refusal: Refusal,
    /// When the first of those that this request may still try is free, at the latest.
    pub(crate) worth_waiting: Option<FirstEnd>,
    /// Some are held back by nothing but other requests' probes, which may end at any time.
    pub(crate) probing: bool,
    /// Some are held back by nothing but a guess.
    pub(crate) by_guess: bool,
    /// The request's place among those that wait; without it nothing but time ends the wait.
    pub(crate) place: Option<Place>,
}

/// The first end of what holds back a target that a request may still try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstEnd {
    pub(crate) at: Instant,
    /// Other requests may wait for the same: they are let go a few at a time.
    pub(crate) is_shared: bool,
}

impl AttemptSlot {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self {
            taken: Arc::default(),
            session,
        }
    }

    /// For a router without a fallback around it, where no request can wait.
    pub(crate) fn of_no_fallback() -> Self {
        let slot = Self::new(Arc::default());
        slot.session.lock().wait = WaitState::Over;
        slot
    }

    /// Leaves the attempt here. An attempt that was here before is dropped, which counts as abandoned; and so is this one
    /// if the client has gone away since.
    pub fn fill(&self, attempt: Attempt) {
        self.put(Taken::Attempt(attempt));
    }

    /// Whether this target may be tried now for the request. Not if it was tried already, or if its provider cannot help
    /// this request any more; after a wait for its reset a target may be tried once more. The target's health is another
    /// question, which [`HealthMap::begin`](crate::HealthMap::begin) answers.
    #[must_use]
    pub fn may_try(&self, target: &Target) -> bool {
        let memory = self.session.lock();
        let is_tried = memory
            .record_of(target.id())
            .is_some_and(|tried| !tried.again);
        !is_tried && !memory.avoids(target.provider().name())
    }

    /// Says that no target may be tried now, and how long to wait until one may be: a tenth of a second at least,
    /// and ten years at most.
    ///
    /// The fallback waits as it does with our own router, and sends the request to the router again: if the wait is not
    /// longer than [`max_wait`](crate::FallbackLayer::max_wait) and the deadline allow. Otherwise, or with `None`, it
    /// refuses the request: with 429 and `Retry-After`, or with 503. The router's response to this call is dropped.
    pub fn not_now(&self, retry_after: Option<Duration>) {
        /// A router that asks for no wait at all would be called again and again without a pause.
        const SHORTEST: Duration = Duration::from_millis(100);
        let refusal = |status, code| {
            let message = "The router has no model that can take this request now.";
            Refusal::new(status, code, message)
        };
        let now = Instant::now();
        let end = retry_after.map(|wait| later(now, wait.max(SHORTEST)));
        let refusal = match end.map(|end| end - now) {
            Some(wait) => refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded")
                .retry_after(wait)
                .recovers_in(wait),
            None => refusal(StatusCode::SERVICE_UNAVAILABLE, "no_model_available"),
        };
        self.no_target(NoTarget {
            refusal,
            worth_waiting: end.map(|at| FirstEnd {
                at,
                is_shared: false,
            }),
            probing: false,
            by_guess: false,
            place: None,
        });
    }

    pub(crate) fn no_target(&self, no_target: NoTarget) {
        self.put(Taken::NoTarget(no_target));
    }

    /// Drops what is here, and whatever is left here later: clones of the slot can outlive its request.
    pub(crate) fn close(&self) {
        self.put(Taken::Closed);
    }

    fn put(&self, new: Taken) {
        let mut taken = self.lock();
        // What is not kept is dropped after the lock is released.
        let _old = if matches!(*taken, Taken::Closed) {
            new
        } else {
            std::mem::replace(&mut *taken, new)
        };
        drop(taken);
    }

    /// What is here.
    pub(crate) fn take(&self) -> Taken {
        std::mem::take(&mut *self.lock())
    }

    pub(crate) fn take_attempt(&self) -> Option<Attempt> {
        let mut taken = self.lock();
        match std::mem::take(&mut *taken) {
            Taken::Attempt(attempt) => Some(attempt),
            other => {
                *taken = other;
                None
            }
        }
    }

    /// Reads something of the attempt that a router has begun, if it is here.
    pub(crate) fn read_attempt<T>(&self, read: impl FnOnce(&Attempt) -> T) -> Option<T> {
        match &*self.lock() {
            Taken::Attempt(attempt) => Some(read(attempt)),
            _ => None,
        }
    }

    /// The attempt that is here has to wait for its turn at the server.
    pub(crate) fn waits_in_line(&self) {
        if let Taken::Attempt(attempt) = &mut *self.lock() {
            attempt.waits_in_line();
        }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AttemptSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = match &*self.lock() {
            Taken::Nothing => "nothing",
            Taken::Attempt(_) => "an attempt",
            Taken::NoTarget(_) => "no target",
            Taken::Closed => "closed",
        };
        f.debug_struct("AttemptSlot")
            .field("taken", &taken)
            .finish_non_exhaustive()
    }
}
