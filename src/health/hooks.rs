//! Functions of the user that are called when an attempt has ended or a target was quarantined.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{catalog::Target, health::snapshot::Cooling, outcome::Outcome};

/// One attempt that has ended, as [`HealthMap::on_outcome`](super::HealthMap::on_outcome) tells of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndedAttempt {
    /// The target that was called.
    pub target: Target,
    /// What came of it. Its kind is [`Succeeded`](crate::classify::OutcomeKind::Succeeded) or
    /// [`Abandoned`](crate::classify::OutcomeKind::Abandoned) where nothing failed.
    pub outcome: Outcome,
    /// The cooldown that this outcome began or lengthened: until when, whether that is stated or a guess, and whether it
    /// holds for the target or its whole provider. `None` where the outcome did not change what holds the target back:
    /// of several attempts that fail with one and the same limit, only the first changes something. A cooldown because a
    /// success said that nothing is left ([`exhausted`](super::Attempt::exhausted)) begins earlier, and is not told here.
    pub cooled: Option<Cooling>,
    /// Whether this attempt was the first to be answered since the target, or its provider, began to cool.
    pub recovered: bool,
    /// When the attempt began.
    pub began: SystemTime,
    /// The time from then to the first content of the answer; `None` where none came.
    pub first_content: Option<Duration>,
    /// The time from the beginning of the attempt to its end.
    pub total: Duration,
}

type Hook<T> = Arc<dyn Fn(&T) + Send + Sync>;

/// The functions to call with each `T`.
pub(super) struct Hooks<T> {
    hooks: Mutex<Arc<Vec<Hook<T>>>>,
    /// Each attempt asks for that at its end, so it must not need the lock.
    has_some: AtomicBool,
}

impl<T> Hooks<T> {
    pub(super) fn add(&self, hook: impl Fn(&T) + Send + Sync + 'static) {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut hooks).push(Arc::new(hook));
        self.has_some.store(true, Ordering::Release);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_some.load(Ordering::Acquire)
    }

    /// Calls all of them, in the order in which they were added. No lock is held meanwhile, so a hook may use the map.
    /// An attempt may end while a panic unwinds, where a second panic would abort the process: so a panic stays here.
    pub(super) fn call(&self, event: &T) {
        for hook in &*self.all() {
            let _ = catch_unwind(AssertUnwindSafe(|| hook(event)));
        }
    }

    fn all(&self) -> Arc<Vec<Hook<T>>> {
        Arc::clone(&self.hooks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Hooks<T> {
    fn default() -> Self {
        Self {
            hooks: Mutex::default(),
            has_some: AtomicBool::new(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        catalog::Model,
        health::HealthMap,
        outcome::{OutcomeKind, Recovery, Scope},
        provider::{FreeRule, Provider},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn target() -> Target {
        // Without a base URL the limits of a target would be those of its callers.
        let provider = Provider::new("p")
            .base_url("http://p.test/v1")
            .free(FreeRule::All);
        provider.build().unwrap().target(Model::new("m")).unwrap()
    }

    /// A map, and the attempts that it tells of.
    fn told() -> (HealthMap, mpsc::Receiver<EndedAttempt>) {
        let (health, (send, told)) = (HealthMap::seeded(1), mpsc::channel());
        health.on_outcome(move |ended| send.send(ended.clone()).unwrap());
        (health, told)
    }

    #[tokio::test(start_paused = true)]
    async fn each_attempt_is_told_once_with_its_outcome_and_its_times() {
        let (health, told) = told();
        let mut attempt = health.begin(&target()).unwrap();
        let began = health.wall();
        tokio::time::advance(SECOND).await;
        attempt.commit();
        tokio::time::advance(SECOND).await;
        attempt.answered();
        drop(attempt);
        drop(health.begin(&target()).unwrap());
        let (first, second) = (told.recv().unwrap(), told.recv().unwrap());
        assert_eq!(first.outcome.kind, OutcomeKind::Succeeded);
        assert_eq!((first.began, first.total), (began, 2 * SECOND));
        assert_eq!(first.first_content, Some(SECOND));
        assert!(first.cooled.is_none() && !first.recovered);
        assert_eq!(second.outcome.kind, OutcomeKind::Abandoned);
        assert_eq!((second.first_content, second.total), (None, Duration::ZERO));
        assert!(told.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cooldown_is_told_by_the_attempt_that_began_it_alone() {
        let (health, told) = told();
        let [a, b, c] = [(); 3].map(|()| health.begin(&target()).unwrap());
        a.fail(&Outcome::of(OutcomeKind::Unavailable));
        b.fail(&Outcome::of(OutcomeKind::Unavailable));
        let minute = Recovery::After(60 * SECOND);
        c.fail(
            &Outcome::of(OutcomeKind::RateLimited)
                .provider()
                .until(minute),
        );
        let cooled = || told.recv().unwrap().cooled;
        let first = cooled().unwrap();
        assert_eq!((first.stated, first.scope), (false, Scope::Target));
        assert!(first.remaining <= SECOND);
        assert_eq!(cooled(), None);
        let last = cooled().unwrap();
        assert_eq!((last.stated, last.scope), (true, Scope::Provider));
        assert_eq!(
            (last.remaining, last.reason),
            (60 * SECOND, OutcomeKind::RateLimited)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_to_an_attempt_begun_after_a_cooldown_is_a_recovery() {
        for recovery in [Recovery::Unstated, Recovery::After(SECOND)] {
            let (health, told) = told();
            let [early, fails] = [(); 2].map(|()| health.begin(&target()).unwrap());
            fails.fail(&Outcome::of(OutcomeKind::RateLimited).until(recovery));
            early.succeed();
            tokio::time::advance(SECOND).await;
            for _ in 0..2 {
                health.begin(&target()).unwrap().succeed();
            }
            let recovered: Vec<_> = told.try_iter().map(|ended| ended.recovered).collect();
            assert_eq!(recovered, [false, false, true, false]);
        }
    }

    #[test]
    fn a_quarantine_is_told_once() {
        let (health, (send, told)) = (HealthMap::seeded(1), mpsc::channel());
        health.on_quarantine(move |id| send.send(id.clone()).unwrap());
        let [a, b] = [(); 2].map(|()| health.begin(&target()).unwrap());
        a.billed();
        b.billed();
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [target().id().clone()]);
    }

    #[test]
    fn a_hook_may_use_the_map_and_a_panic_in_it_harms_nothing() {
        let (health, (send, told)) = (HealthMap::seeded(1), mpsc::channel());
        health.on_outcome(|_| panic!("a defect of the user"));
        let map = health.clone();
        health.on_outcome(move |_| {
            let health = map.snapshot();
            map.on_outcome(|_| {});
            send.send(health.targets[0].tally.failed).unwrap();
        });
        health
            .begin(&target())
            .unwrap()
            .fail(&Outcome::of(OutcomeKind::Refused));
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [1]);
        assert!(health.begin(&target()).is_some());
    }
}
