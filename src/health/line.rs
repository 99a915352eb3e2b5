//! The requests that wait for a target, in the order in which they came.
//!
//! A request that finds no target joins the line and sleeps until its own timer ends or the line calls it. An event calls
//! as many requests as it frees places, so that an event which frees nothing wakes no request. A request that was called
//! but is served by another target, or leaves, passes the call on to the next one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::catalog::TargetId;

/// Requests that wait for the same end are let go in groups of 1, 2, 4, … this far apart: the first ones show whether the
/// target takes more.
const BETWEEN_GROUPS: Duration = Duration::from_millis(100);

const WORDS: usize = 16;

/// A set of targets and providers in 128 bytes: a Bloom filter with one hash. It may contain more than was put in, which
/// costs a call in vain, and never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest([u64; WORDS]);

impl Interest {
    const NONE: Self = Self([0; WORDS]);
    pub(super) const ALL: Self = Self([u64::MAX; WORDS]);

    /// The target alone.
    pub(super) fn of(target: &TargetId) -> Self {
        Self::NONE.with(target.hashed())
    }

    /// Any target of this provider. The hash is FNV-1a (RFC 9923), which is short: a request that waits for thousands of
    /// targets adds the provider of each.
    pub(super) fn of_provider(name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::NONE.with(hash)
    }

    const fn with(mut self, hash: u64) -> Self {
        let bit = hash % (WORDS as u64 * 64);
        self.0[(bit / 64) as usize] |= 1 << (bit % 64);
        self
    }

    fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    fn and(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
        self
    }

    fn without(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a &= !b);
        self
    }
}

impl<'a> FromIterator<&'a TargetId> for Interest {
    /// The targets, and with each the provider it is at.
    fn from_iter<I: IntoIterator<Item = &'a TargetId>>(targets: I) -> Self {
        targets.into_iter().fold(Self::NONE, |all, target| {
            all.and(&Self::of_provider(target.provider()))
                .with(target.hashed())
        })
    }
}

/// What a request is called for.
#[derive(Clone, Copy, Debug)]
struct Call {
    to: Interest,
    /// There is room for any number of requests: each that is served calls two more.
    spreads: bool,
    /// The number of the event: what was read at that number or later takes the event into account.
    event: u64,
}

#[derive(Debug)]
struct Waiting {
    wants: Interest,
    notify: Arc<Notify>,
    /// The call that the request has not yet followed with a look.
    called: Option<Call>,
    /// The calls that it followed and found nothing free. It goes on waiting for the same targets and its own timer is
    /// right for them, so the next request need not look until this one leaves.
    in_vain: Option<Call>,
    /// The end that it waits for, and when it is its turn after that.
    turn: Option<(Instant, Instant)>,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// By number: the lower, the earlier the request came.
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    /// How many turns have been given out for each end to come.
    turns: BTreeMap<Instant, u32>,
    /// How many events there were: what was read before the last one is out of date. Picks read it without a lock, before
    /// they look at the targets.
    freed: Arc<AtomicU64>,
}

impl Line {
    pub(super) fn new(freed: Arc<AtomicU64>) -> Self {
        Self {
            freed,
            ..Self::default()
        }
    }

    /// How many events there were.
    pub(super) fn freed(&self) -> u64 {
        self.freed.load(Ordering::Acquire)
    }

    /// This many places at these targets are free: calls as many requests.
    pub(super) fn free(&mut self, to: Interest, places: u32) {
        if places > 0 {
            self.event(to, false, places);
        }
    }

    /// These targets take any number of requests: the first two are called, and each that is served calls two more.
    pub(super) fn open(&mut self, to: Interest) {
        self.event(to, true, 2);
    }

    fn event(&mut self, to: Interest, spreads: bool, places: u32) {
        let event = self.freed.fetch_add(1, Ordering::AcqRel) + 1;
        let call = Call { to, spreads, event };
        self.call(0, call, places);
    }

    /// Calls up to `places` requests from this number on.
    fn call(&mut self, from: u64, call: Call, places: u32) {
        let behind = self.waiting.range_mut(from..).map(|(_, waiting)| waiting);
        let interested =
            behind.filter(|waiting| waiting.called.is_none() && waiting.wants.meets(&call.to));
        for waiting in interested.take(places as usize) {
            waiting.called = Some(call);
            waiting.notify.notify_one();
        }
    }

    /// Joins the line, or comes back to `place` in it, after a look that found nothing free and that took the events up
    /// to `read` into account.
    pub(super) fn join(
        &mut self,
        place: Option<u64>,
        wants: Interest,
        read: u64,
    ) -> (u64, Arc<Notify>) {
        let number = place.unwrap_or(self.next);
        self.next = self.next.max(number + 1);
        let waiting = self.waiting.entry(number).or_insert_with(|| Waiting {
            wants,
            notify: Arc::default(),
            called: None,
            in_vain: None,
            turn: None,
        });
        waiting.wants = wants;
        let notify = Arc::clone(&waiting.notify);
        // A call that came after the look stays: its wake-up is still to come.
        let followed = [
            waiting.in_vain.take(),
            waiting.called.take_if(|call| call.event <= read),
        ];
        // A call that is of no use to this request goes to those behind it, so that it ends with the last of them; and so
        // does a call to all targets, which says nothing of those that the others wait for.
        let is_kept = |call: &Call| call.to != Interest::ALL && call.to.meets(&wants);
        let (kept, passed_on): (Vec<_>, Vec<_>) = followed.into_iter().flatten().partition(is_kept);
        waiting.in_vain = kept.into_iter().reduce(|earlier, call| Call {
            to: call.to.and(&earlier.to),
            spreads: call.spreads || earlier.spreads,
            ..call
        });
        for call in passed_on {
            self.call(number + 1, call, 1);
        }
        (number, notify)
    }

    /// The turn of a waiting request after an end that several may wait for; `chance` is in 0..1.
    pub(super) fn turn(&mut self, number: u64, end: Instant, now: Instant, chance: f64) -> Instant {
        let known = self.waiting.get(&number).and_then(|waiting| waiting.turn);
        let is_ahead = |&(same, turn): &(Instant, Instant)| same == end && turn > now;
        if let Some((_, turn)) = known.filter(is_ahead) {
            return turn;
        }
        self.turns = self.turns.split_off(&now);
        let given = self.turns.entry(end).or_default();
        // The first request is in group 0, then two in group 1, four in group 2, …
        let group = (*given + 1).ilog2();
        *given = given.saturating_add(1).min(u32::MAX - 1);
        let after = f64::from(group) * (1.0 - 0.5 * chance);
        let turn = end + BETWEEN_GROUPS.mul_f64(after);
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.turn = Some((end, turn));
        }
        turn
    }

    /// A request leaves the line, served by this target or by none. It passes on what it was called for and does not
    /// take.
    pub(super) fn leave(&mut self, number: u64, served: Option<&TargetId>) {
        let Some(waiting) = self.waiting.remove(&number) else {
            return;
        };
        let served: Interest = served.into_iter().collect();
        for call in [waiting.called, waiting.in_vain].into_iter().flatten() {
            let rest = call.to.without(&served);
            if call.spreads && served.meets(&call.to) {
                self.call(0, call, 2);
            } else if rest != Interest::NONE {
                self.call(0, Call { to: rest, ..call }, 1);
            }
        }
    }

    #[cfg(test)]
    fn called(&self) -> Vec<u64> {
        let called = self.waiting.iter().filter(|(_, w)| w.called.is_some());
        called.map(|(&number, _)| number).collect()
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

    /// What an event at these targets alone is about.
    fn at(models: &[u32]) -> Interest {
        let none = Interest::NONE;
        models
            .iter()
            .fold(none, |all, &model| all.and(&Interest::of(&id(model))))
    }

    /// A line in which each of these waits for its targets.
    fn line(waiting: &[&[u32]]) -> Line {
        let mut line = Line::default();
        for wants in waiting {
            line.join(None, want(wants), 0);
        }
        line
    }

    #[test]
    fn as_many_are_called_as_there_are_places_in_the_order_in_which_they_came() {
        let mut line = line(&[&[1], &[1], &[1], &[1]]);
        line.free(at(&[1]), 2);
        assert_eq!(line.called(), [0, 1]);
        line.free(at(&[1]), 1);
        assert_eq!(line.called(), [0, 1, 2]);
    }

    #[test]
    fn no_request_is_called_for_a_target_that_it_has_no_use_for() {
        let mut line = line(&[&[1], &[2, 3]]);
        line.free(at(&[3]), 9);
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn one_that_is_served_elsewhere_or_leaves_passes_the_call_on() {
        for served in [Some(id(2)), None] {
            let mut line = line(&[&[1, 2], &[2], &[1]]);
            line.free(at(&[1]), 1);
            line.leave(0, served.as_ref());
            assert_eq!(line.called(), [2]);
        }
    }

    #[test]
    fn one_that_is_served_by_what_it_was_called_for_passes_nothing_on() {
        let mut line = line(&[&[1], &[1]]);
        line.free(at(&[1]), 1);
        line.leave(0, Some(&id(1)));
        assert!(line.called().is_empty());
    }

    #[test]
    fn one_that_looks_again_in_vain_keeps_its_place_and_passes_on_what_it_cannot_use() {
        let mut line = line(&[&[1], &[1], &[2]]);
        line.free(at(&[1]), 1);
        // It has been tried since, and waits for another one now.
        line.join(Some(0), want(&[2]), 1);
        assert_eq!(line.called(), [1]);
        line.free(at(&[2]), 1);
        assert_eq!(line.called(), [0, 1]);
    }

    #[test]
    fn a_place_at_a_provider_is_offered_to_those_alone_who_want_one_of_its_targets() {
        let elsewhere = TargetId::new(Arc::from("other"), Arc::from("1"));
        let mut line = Line::default();
        line.join(None, [&elsewhere].into_iter().collect(), 0);
        line.join(None, want(&[1]), 0);
        line.free(Interest::of_provider("p"), 1);
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn a_call_to_all_targets_that_is_of_no_use_to_one_goes_to_the_next() {
        let mut line = line(&[&[1], &[1], &[2]]);
        line.open(Interest::ALL);
        assert_eq!(line.called(), [0, 1]);
        line.join(Some(0), want(&[1]), 1);
        assert_eq!(line.called(), [1, 2]);
        line.join(Some(1), want(&[1]), 1);
        line.join(Some(2), want(&[2]), 1);
        assert!(line.called().is_empty(), "it ends with the last of them");
    }

    #[test]
    fn one_that_looked_in_vain_and_is_served_elsewhere_lets_the_next_look() {
        let mut line = line(&[&[1, 2], &[1]]);
        line.free(at(&[1]), 1);
        line.join(Some(0), want(&[1, 2]), 1);
        line.free(at(&[2]), 1);
        assert_eq!(line.called(), [0]);
        line.leave(0, Some(&id(2)));
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn a_call_that_comes_after_the_look_is_not_taken_for_one_in_vain() {
        let mut line = line(&[&[1], &[1]]);
        line.free(at(&[1]), 1);
        line.join(Some(0), want(&[1]), 0);
        assert_eq!(line.called(), [0]);
        line.leave(0, None);
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn one_that_leaves_after_looking_in_vain_lets_the_next_look() {
        let mut line = line(&[&[1], &[1]]);
        line.free(at(&[1]), 1);
        line.join(Some(0), want(&[1]), 1);
        assert!(line.called().is_empty());
        line.leave(0, None);
        assert_eq!(line.called(), [1]);
    }

    #[test]
    fn each_that_is_served_by_an_open_target_calls_two_more() {
        let mut line = line(&[&[1][..]; 10]);
        line.open(at(&[1]));
        assert_eq!(line.called(), [0, 1]);
        line.leave(0, Some(&id(1)));
        assert_eq!(line.called(), [1, 2, 3]);
        line.leave(1, Some(&id(1)));
        assert_eq!(line.called(), [2, 3, 4, 5]);
    }

    #[test]
    fn a_call_is_not_missed_by_one_that_does_not_yet_listen() {
        let mut line = Line::default();
        let (_, notify) = line.join(None, want(&[1]), 0);
        line.free(at(&[1]), 1);
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
            line.free(at(&[1]), 1);
            for leaves in leaving {
                let called = line.called();
                prop_assert_eq!(called.len(), 1);
                line.leave(called[0], (!leaves).then(|| id(1)).as_ref());
                if !leaves {
                    line.free(at(&[1]), 1);
                }
            }
            prop_assert!(line.waiting.is_empty());
        }
    }
}
