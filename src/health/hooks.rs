//! Functions of the user that are called when an attempt has ended or a target was quarantined.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{catalog::Target, health::snapshot::Cooling, outcome::Outcome};

/// One attempt that has ended, as [`HealthMap::on_outcome`](super::HealthMap::on_outcome) tells of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndedAttempt {
    /// The target that was called.
    pub target: Target,
    /// What came of it. Its kind is [`Succeeded`](crate::OutcomeKind::Succeeded) or
    /// [`Abandoned`](crate::OutcomeKind::Abandoned) where nothing failed.
    pub outcome: Outcome,
    /// The cooldown that this outcome began or lengthened: until when, whether that is stated or a guess, and whether it
    /// holds for the target or its whole provider. `None` where the outcome did not change what holds the target back:
    /// of several attempts that fail with one and the same limit, only the first changes something.
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
pub(super) struct Hooks<T>(Mutex<Arc<Vec<Hook<T>>>>);

impl<T> Hooks<T> {
    pub(super) fn add(&self, hook: impl Fn(&T) + Send + Sync + 'static) {
        let mut hooks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut hooks).push(Arc::new(hook));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Calls all of them, in the order in which they were added. No lock is held meanwhile, so a hook may use the map.
    /// An attempt may end while a panic unwinds, where a second panic would abort the process: so a panic stays here.
    pub(super) fn call(&self, event: &T) {
        for hook in &*self.all() {
            let _ = catch_unwind(AssertUnwindSafe(|| hook(event)));
        }
    }

    fn all(&self) -> Arc<Vec<Hook<T>>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Hooks<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}
