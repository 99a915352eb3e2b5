//! A request's place in the line of those that wait.

use std::sync::Arc;

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use crate::{
    catalog::{Target, TargetId},
    health::map::HealthMap,
};

/// A request's place in the line of those that wait. Dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Place {
    map: HealthMap,
    number: u64,
    notify: Arc<Notify>,
}

impl HealthMap {
    /// Joins the line of the requests that wait for one of these targets, or comes back to `place` in it, after a look that
    /// found nothing free. `read` is what [`freed`](Self::freed) gave before that look. Says
    /// whether nothing was freed since: otherwise the request has to look once more, and is called for later events.
    pub(crate) fn wait_for<'a>(
        &self,
        wants: impl IntoIterator<Item = &'a TargetId>,
        place: &mut Option<Place>,
        read: u64,
    ) -> bool {
        let wants = wants.into_iter().collect();
        let (mut state, _) = self.lock();
        let is_fresh = state.line.freed() == read;
        let number = place.as_ref().map(|place| place.number);
        let (number, notify) = state.line.join(number, wants, read);
        drop(state);
        place.get_or_insert_with(|| Place {
            map: self.clone(),
            number,
            notify,
        });
        is_fresh
    }
}

impl Place {
    /// Resolves when the line calls this request. A call is not missed, even if the future is polled later.
    pub(crate) fn called(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }

    /// When it is this request's turn after an end that several may wait for.
    pub(crate) fn turn(&self, end: Instant) -> Instant {
        let chance = self.map.chance();
        let (mut state, now) = self.map.lock();
        state.line.turn(self.number, end, now, chance)
    }

    /// Whether it is in the line of this map.
    pub(crate) fn is_of(&self, map: &HealthMap) -> bool {
        self.map.is_same(map)
    }

    /// The request has begun an attempt for this target.
    pub(crate) fn served(self, target: &Target) {
        self.leave(Some(target.id()));
    }

    fn leave(&self, served: Option<&TargetId>) {
        self.map.lock().0.line.leave(self.number, served);
    }
}

impl Drop for Place {
    /// Does nothing after [`served`](Self::served): the request has left already.
    fn drop(&mut self) {
        self.leave(None);
    }
}
