//! The requests that wait for a target, in the order in which they came.
//!
//! A request that finds no target joins the line and sleeps until its own timer ends or the map calls it. The map
//! calls as many as there are places: an event that frees nothing wakes no request, and of all who wait for the same
//! end a few go first. A request that was called but is served elsewhere, or leaves, passes the call on.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};

use super::map::HealthMap;
use crate::catalog::{Target, TargetId};

/// Waiting requests are let go in groups of 1, 2, 4, … this far apart, once what they wait for ends: the first ones
/// show whether there is room for more.
const BETWEEN_GROUPS: Duration = Duration::from_millis(100);

/// A set of targets in 128 bytes: a Bloom filter with one hash. It may hold more than was put in, which costs a call
/// in vain, and never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest([u64; 16]);

impl Interest {
    const NONE: Self = Self([0; 16]);
    pub(super) const ALL: Self = Self([u64::MAX; 16]);

    pub(super) fn of(target: &TargetId) -> Self {
        [target].into_iter().collect()
    }

    const fn meets(&self, other: &Self) -> bool {
        let mut word = 0;
        while word < self.0.len() {
            if self.0[word] & other.0[word] != 0 {
                return true;
            }
            word += 1;
        }
        false
    }
}

impl<'a> FromIterator<&'a TargetId> for Interest {
    fn from_iter<I: IntoIterator<Item = &'a TargetId>>(targets: I) -> Self {
        targets.into_iter().fold(Self::NONE, |mut all, target| {
            let bit = target.hashed() % 1024;
            all.0[(bit / 64) as usize] |= 1 << (bit % 64);
            all
        })
    }
}

/// What a request is called for.
#[derive(Clone, Copy, Debug)]
struct Call {
    to: Interest,
    /// There is room for any number of requests: each that is served calls two more.
    spreads: bool,
}

impl Call {
    fn and(self, other: Self) -> Self {
        let mut to = self.to;
        to.0.iter_mut().zip(other.to.0).for_each(|(a, b)| *a |= b);
        Self {
            to,
            spreads: self.spreads || other.spreads,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    wants: Interest,
    notify: Arc<Notify>,
    /// It was called and has not looked yet.
    called: bool,
    /// What it was called for and was not served with: of all that want it, this one knows how it stands. It passes
    /// the call on when it leaves.
    duty: Option<Call>,
    /// The end that it waits for, and when it is its turn after that.
    turn: Option<(Instant, Instant)>,
}

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By their number: the lower, the earlier they came.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// How many turns have been given out for each end to come.
    turns: BTreeMap<Instant, u32>,
    /// How often something was freed: what was read before the last time is out of date.
    pub(super) freed: u64,
}

impl Line {
    /// Some places at these targets are free: calls as many requests.
    pub(super) fn free(&mut self, to: Interest, places: u32) {
        self.freed += 1;
        let call = Call { to, spreads: false };
        self.call(0, call, places);
    }

    /// These targets take any number of requests: the first two are called, and each that is served calls two more.
    pub(super) fn open(&mut self, to: Interest) {
        self.freed += 1;
        self.call(0, Call { to, spreads: true }, 2);
    }

    fn call(&mut self, from: u64, call: Call, places: u32) {
        let behind = self.waiting.range_mut(from..).map(|(_, waiting)| waiting);
        let interested = behind.filter(|waiting| !waiting.called && waiting.wants.meets(&call.to));
        for waiting in interested.take(places as usize) {
            waiting.called = true;
            waiting.duty = Some(waiting.duty.map_or(call, |duty| duty.and(call)));
            waiting.notify.notify_one();
        }
    }

    /// Joins the line, or comes back to its place in it.
    pub(super) fn join(&mut self, place: Option<u64>, wants: Interest) -> (u64, Arc<Notify>) {
        let number = place.unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        let waiting = self.waiting.entry(number).or_insert_with(|| Waiting {
            wants,
            notify: Arc::default(),
            called: false,
            duty: None,
            turn: None,
        });
        waiting.wants = wants;
        waiting.called = false;
        let notify = Arc::clone(&waiting.notify);
        // A call that it has no use for goes to those behind it, so that it ends with the last of them.
        if let Some(call) = waiting.duty.filter(|call| !call.to.meets(&wants)) {
            waiting.duty = None;
            self.call(number + 1, call, 1);
        }
        (number, notify)
    }

    /// The turn of a waiting request after an end that several may wait for; `chance` is in 0..1.
    pub(super) fn turn(&mut self, number: u64, end: Instant, now: Instant, chance: f64) -> Instant {
        let known = self.waiting.get(&number).and_then(|waiting| waiting.turn);
        if let Some((_, turn)) = known.filter(|&(same, turn)| same == end && turn > now) {
            return turn;
        }
        self.turns = self.turns.split_off(&now);
        let given = self.turns.entry(end).or_default();
        // 0, then 1 and 2, then 3 to 6, …
        let group = (*given + 1).ilog2();
        *given = given.saturating_add(1).min(u32::MAX - 1);
        let after = f64::from(group) * (1.0 - 0.5 * chance);
        let turn = end + BETWEEN_GROUPS.mul_f64(after);
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.turn = Some((end, turn));
        }
        turn
    }

    /// A request has left the line: served by this target, or not at all.
    fn leave(&mut self, number: u64, served: Option<&TargetId>) {
        let Some(call) = self
            .waiting
            .remove(&number)
            .and_then(|waiting| waiting.duty)
        else {
            return;
        };
        match served.map(Interest::of) {
            Some(target) if !target.meets(&call.to) => self.call(0, call, 1),
            Some(_) if call.spreads => self.call(0, call, 2),
            Some(_) => {}
            None => self.call(0, call, 1),
        }
    }

    #[cfg(test)]
    fn called(&self) -> Vec<u64> {
        let called = self.waiting.iter().filter(|(_, w)| w.called);
        called.map(|(&number, _)| number).collect()
    }
}

/// A request's place in the line. Dropping it leaves the line.
pub(crate) struct Place {
    pub(super) map: HealthMap,
    pub(super) number: u64,
    pub(super) notify: Arc<Notify>,
}

impl Place {
    /// Resolves when the map calls this request. A call is not missed, even if the future is polled later.
    pub(crate) fn called(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }

    /// The request has begun an attempt for this target.
    pub(crate) fn served(self, target: &Target) {
        self.map
            .with_line(|line| line.leave(self.number, Some(target.id())));
    }
}

impl Drop for Place {
    /// Does nothing for one that was served: it has left already.
    fn drop(&mut self) {
        self.map.with_line(|line| line.leave(self.number, None));
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn id(model: u32) -> TargetId {
        TargetId::new(Arc::from("p"), Arc::from(model.to_string()))
    }

    fn want(models: &[u32]) -> Interest {
        models
            .iter()
            .map(|&model| id(model))
            .collect::<Vec<_>>()
            .iter()
            .collect()
    }

    /// A line in which each of these waits for its targets.
    fn line(waiting: &[&[u32]]) -> Line {
        let mut line = Line::default();
        for wants in waiting {
            line.join(None, want(wants));
        }
        line
    }

    #[test]
    fn as_many_are_called_as_there_are_places_in_the_order_in_which_they_came() {
        let mut line = line(&[&[1], &[1], &[1], &[1]]);
        line.free(want(&[1]), 2);
        assert_eq!(line.called(), [0, 1]);
        line.free(want(&[1]), 1);
        assert_eq!(line.called(), [0, 1, 2]);
    }

    #[test]
    fn no_request_is_called_for_a_target_that_it_has_no_use_for() {
        let mut line = line(&[&[1], &[2, 3]]);
        line.free(want(&[3]), 9);
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn one_that_is_served_elsewhere_or_leaves_passes_the_call_on() {
        for served in [Some(id(2)), None] {
            let mut line = line(&[&[1, 2], &[2], &[1]]);
            line.free(want(&[1]), 1);
            line.leave(0, served.as_ref());
            assert_eq!(line.called(), [2]);
        }
    }

    #[test]
    fn one_that_is_served_by_what_it_was_called_for_passes_nothing_on() {
        let mut line = line(&[&[1], &[1]]);
        line.free(want(&[1]), 1);
        line.leave(0, Some(&id(1)));
        assert!(line.called().is_empty());
    }

    #[test]
    fn one_that_looks_again_in_vain_keeps_its_place_and_passes_on_what_it_cannot_use() {
        let mut line = line(&[&[1], &[1], &[2]]);
        line.free(want(&[1]), 1);
        // It has been tried since, and waits for another one now.
        line.join(Some(0), want(&[2]));
        assert_eq!(line.called(), [1]);
        line.free(want(&[2]), 1);
        assert_eq!(line.called(), [0, 1]);
    }

    #[test]
    fn one_that_leaves_after_looking_in_vain_lets_the_next_look() {
        let mut line = line(&[&[1], &[1]]);
        line.free(want(&[1]), 1);
        line.join(Some(0), want(&[1]));
        assert!(line.called().is_empty());
        line.leave(0, None);
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn each_that_is_served_by_an_open_target_calls_two_more() {
        let mut line = line(&[&[1][..]; 10]);
        line.open(want(&[1]));
        assert_eq!(line.called(), [0, 1]);
        line.leave(0, Some(&id(1)));
        assert_eq!(line.called(), [1, 2, 3]);
        line.leave(1, Some(&id(1)));
        assert_eq!(line.called(), [2, 3, 4, 5]);
    }

    #[test]
    fn a_call_is_not_missed_by_one_that_does_not_yet_listen() {
        let mut line = Line::default();
        let (_, notify) = line.join(None, want(&[1]));
        line.free(want(&[1]), 1);
        assert!(notify.notified().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn turns_after_one_end_come_in_growing_groups_and_never_before_it() {
        let (now, mut line) = (Instant::now(), line(&[&[1][..]; 63]));
        let end = now + Duration::from_secs(5);
        let turns: Vec<_> = (0..63)
            .map(|number| line.turn(number, end, now, 0.999))
            .collect();
        assert_eq!(turns[0], end);
        let group = |n: usize| turns.iter().filter(|&&turn| turn == turns[n]).count();
        assert_eq!([0, 1, 3, 7, 15, 31].map(group), [1, 2, 4, 8, 16, 32]);
        assert!(turns.is_sorted());
        assert_eq!(line.turn(7, end, now, 0.0), turns[7], "a turn is kept");
    }

    proptest! {
        #[test]
        fn an_interest_holds_all_that_was_put_in(models in prop::collection::vec(0..10_000_u32, 1..50)) {
            let all = want(&models);
            prop_assert!(models.iter().all(|&model| all.meets(&Interest::of(&id(model)))));
            prop_assert!(!Interest::NONE.meets(&Interest::ALL));
        }

        /// Whatever happens in between, every request in a line of one target is called in the end, if each that is
        /// called is served and frees a place again.
        #[test]
        fn no_request_is_forgotten(leaving in prop::collection::vec(any::<bool>(), 1..40)) {
            let mut line = line(&vec![&[1][..]; leaving.len()]);
            line.free(want(&[1]), 1);
            for leaves in leaving {
                let called = line.called();
                prop_assert_eq!(called.len(), 1);
                line.leave(called[0], (!leaves).then(|| id(1)).as_ref());
                if !leaves {
                    line.free(want(&[1]), 1);
                }
            }
            prop_assert!(line.waiting.is_empty());
        }
    }
}
