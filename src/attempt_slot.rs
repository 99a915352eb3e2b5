//! What the fallback and the router tell each other about one request.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use crate::{
    catalog::{Target, TargetId},
    clock::later,
    health::{Attempt, Place},
    outcome::OutcomeKind,
    refusal::Refusal,
    request::{Envelope, Parsed},
    upstream::{Classify, DefaultClassify},
};

/// Where a router leaves the [`Attempt`] it has begun, for the [`Fallback`](crate::Fallback) around it to finish.
///
/// `Fallback` puts a fresh one into the extensions of each request that it sends. A router other than ours joins in by
/// asking it which targets [may be tried](Self::may_try), and by [filling](Self::fill) it or saying
/// [not now](Self::not_now):
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

    /// Leaves the attempt here. One that was here before is dropped, and so counts as abandoned; and so is this one
    /// if the caller has gone away since.
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

    /// Says that no target may be tried now, and how long to wait until one may be.
    ///
    /// The fallback waits as it does with our own router, and sends the request to the router again: if the wait is not
    /// longer than [`max_wait`](crate::FallbackLayer::max_wait) and the deadline allow. Otherwise, or with `None`, it
    /// refuses the request: with 429 and `Retry-After`, or with 503. The router's response to this call is dropped.
    pub fn not_now(&self, retry_after: Option<Duration>) {
        let refusal = |status, code| {
            let message = "The router has no model that can take this request now.";
            Refusal::new(status, code, message)
        };
        let refusal = match retry_after {
            Some(wait) => refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded")
                .retry_after(wait)
                .recovers_in(wait),
            None => refusal(StatusCode::SERVICE_UNAVAILABLE, "no_model_available"),
        };
        self.nobody(NoTarget {
            refusal,
            worth_waiting: retry_after.map(|wait| FirstEnd {
                at: later(Instant::now(), wait),
                is_shared: false,
            }),
            probing: false,
            by_guess: false,
            place: None,
        });
    }

    pub(crate) fn nobody(&self, no_target: NoTarget) {
        self.put(Taken::NoTarget(no_target));
    }

    /// Ends what is here, and whatever may still come: clones of the slot can outlive its request.
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

/// What is shared between the attempts of one request.
#[derive(Default)]
pub(crate) struct Session(Mutex<Memory>);

#[derive(Default)]
pub(crate) struct Memory {
    /// Targets tried so far.
    pub(crate) tried: Vec<Tried>,
    /// Providers that cannot help this request any more.
    pub(crate) avoided: Vec<Avoided>,
    /// A window of this size was too small.
    pub(crate) too_small: Option<u64>,
    /// Whether the request waits where a guess is all that holds targets back.
    pub(crate) wait: WaitState,
    /// Its place in the line, if it has waited and looks again now.
    pub(crate) place: Option<Place>,
    /// Other targets than the one that was picked last could have been tried.
    pub(crate) had_choice: bool,
    /// What the fallback grants for the present attempt; `None` where no fallback is around the router.
    pub(crate) terms: Option<Terms>,
    /// Calls that the router has made as further attempts, with their outcomes: the fallback adds them to the trail.
    pub(crate) earlier: Vec<(TargetId, OutcomeKind)>,
    /// The request as the fallback has read it.
    pub(crate) parsed: Option<Arc<Parsed>>,
    /// How failures are told apart: as the fallback is set, else as the router is.
    pub(crate) classify: Option<Arc<dyn Classify>>,
    /// The scan of the body, and the very bytes that were scanned.
    scanned: Option<(Bytes, Arc<Envelope>)>,
}

/// What a fallback grants a router that answers one request by several calls of the inner service.
#[derive(Clone)]
pub(crate) struct Terms {
    /// How many calls may be made, the first one included.
    pub(crate) calls: usize,
    /// The end of the wait for the whole answer.
    pub(crate) answer_by: Instant,
    /// The same where other targets could have been tried.
    pub(crate) answer_by_with_choice: Instant,
}

/// What a request does where a guess is all that holds targets back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WaitState {
    /// It does not wait: it is sent as soon as it gets a probe's lease.
    #[default]
    Never,
    /// It waits for the end of the guess.
    Waits,
    /// It has waited as long as it may: it is sent, also beside other probes.
    Over,
}

/// A target that a request has been sent to.
#[derive(Clone, Debug)]
pub(crate) struct Tried {
    pub(crate) id: TargetId,
    pub(crate) times: u32,
    /// When it may be tried once more.
    pub(crate) second_try: SecondTry,
    /// It may be tried once more, where no untried target is left.
    pub(crate) again: bool,
}

/// When a target that failed may be tried once more by the same request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondTry {
    Never,
    /// At the end that it named, or that a fixed rule sets.
    AtReset,
    /// At the end of a guess.
    At(Instant),
}

/// A provider that a request has no use for any more.
#[derive(Clone, Debug)]
pub(crate) struct Avoided {
    pub(crate) provider: Arc<str>,
    /// Until its limit is over; else for good.
    limited: bool,
}

impl Session {
    /// For a router without a fallback around it, where no request can wait.
    pub(crate) fn of_no_fallback() -> Self {
        let session = Self::default();
        session.lock().wait = WaitState::Over;
        session
    }

    /// What tells the failures of this request apart.
    pub(crate) fn classify(&self) -> Arc<dyn Classify> {
        let classify = self.lock().classify.clone();
        classify.unwrap_or_else(|| Arc::new(DefaultClassify))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// The end of the fallback's wait for the whole answer.
    pub(crate) fn answer_by(&self) -> Option<Instant> {
        self.terms.as_ref().map(|terms| match self.had_choice {
            true => terms.answer_by_with_choice,
            false => terms.answer_by,
        })
    }

    /// An attempt for this target has failed.
    pub(crate) fn tried(&mut self, id: &TargetId, second_try: SecondTry) {
        match self.tried.iter_mut().find(|tried| tried.id == *id) {
            Some(tried) => {
                *tried = Tried {
                    times: tried.times + 1,
                    second_try,
                    again: false,
                    ..tried.clone()
                }
            }
            None => {
                // There was another target after all: only the one and only is asked twice without a wait.
                let asked = self.tried.iter_mut();
                let without_a_wait = asked.filter(|tried| tried.second_try == SecondTry::Never);
                without_a_wait.for_each(|tried| tried.again = false);
                self.tried.push(Tried {
                    id: id.clone(),
                    times: 1,
                    second_try,
                    again: false,
                });
            }
        }
    }

    /// Lets a target be tried a second time, where no untried one is left.
    pub(crate) fn allow_again(&mut self, which: impl Fn(&Tried) -> bool) {
        for tried in &mut self.tried {
            tried.again |= tried.times == 1 && which(tried);
        }
    }

    /// Whether waiting for this target's stated recovery can help: after the wait it may be tried once more.
    pub(crate) fn may_wait_for(&self, id: &TargetId) -> bool {
        self.record_of(id).is_none_or(|tried| tried.times == 1)
    }

    /// When this target may be tried once more, if a guess is all that is against it.
    pub(crate) fn second_try(&self, id: &TargetId) -> Option<Instant> {
        let tried = self.record_of(id)?;
        match tried.second_try {
            SecondTry::At(at) if tried.times == 1 => Some(at),
            _ => None,
        }
    }

    /// This provider cannot help: for good, or because it is `limited` for now.
    pub(crate) fn avoid(&mut self, provider: &str, limited: bool) {
        self.avoided.push(Avoided {
            provider: provider.into(),
            limited,
        });
    }

    /// The record of this target, if an attempt for it has failed.
    pub(crate) fn record_of(&self, id: &TargetId) -> Option<&Tried> {
        self.tried.iter().find(|tried| tried.id == *id)
    }

    /// Whether the request has no use for this provider any more.
    pub(crate) fn avoids(&self, provider: &str) -> bool {
        let mut avoided = self.avoided.iter();
        avoided.any(|avoided| *avoided.provider == *provider)
    }

    /// The request has waited until `now`.
    pub(crate) fn waited(&mut self, now: Instant) {
        self.allow_again(|tried| match tried.second_try {
            SecondTry::Never => false,
            SecondTry::AtReset => true,
            SecondTry::At(at) => at <= now,
        });
        self.avoided.retain(|avoided| !avoided.limited);
    }

    /// The scan, if it was made of these very bytes.
    pub(crate) fn scan_of(&self, body: &Bytes) -> Option<Arc<Envelope>> {
        let (bytes, envelope) = self.scanned.as_ref()?;
        (bytes.as_ptr() == body.as_ptr() && bytes.len() == body.len()).then(|| Arc::clone(envelope))
    }

    /// Keeps the bytes as well, so that no other body can come to stand at their address.
    pub(crate) fn keep_scan(&mut self, body: &Bytes, envelope: &Arc<Envelope>) {
        self.scanned = Some((body.clone(), Arc::clone(envelope)));
    }
}
