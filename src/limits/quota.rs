//! All limits of one account, or of one model.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{
    counting::Counting,
    room::{Left, Reported, Room},
    rule::Rule,
    saved::{Anchor, SavedQuota},
    stated::StatedLimit,
};

/// What is allowed within a time, and what is used of it.
///
/// A call is reserved under its number before it is sent, and ends once: [`give_back`](Self::give_back), if it never left,
/// or [`ended`](Self::ended). In between it may be [`accepted`](Self::accepted) or [`refused`](Self::refused). Numbers rise
/// from call to call, roughly in the order of the reservations, and are never 0. What is said of a number that is not
/// reserved, or has ended, is ignored.
///
/// Where nothing is known of any limit, nothing is counted, and it takes no more memory than a pointer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quota(Option<Box<Counting>>);

impl Quota {
    /// With the limits of the table and of the operator. The account is taken to have made no other calls before.
    pub(crate) fn new(rules: &[Rule], now: Instant) -> Self {
        let mut new = Self::default();
        if !rules.is_empty() {
            new.begin(now).knows_all();
        }
        new.set_rules(rules, now);
        new
    }

    /// Replaces the limits of the table and of the operator. What was counted stays: rules of the same window go on from
    /// there.
    pub(crate) fn set_rules(&mut self, rules: &[Rule], now: Instant) {
        if !rules.is_empty() {
            self.begin(now);
        }
        if let Some(counting) = &mut self.0 {
            counting.set_rules(rules, now);
        }
    }

    /// Forgets what was counted, stated and inferred. The limits of the table and of the operator begin anew.
    pub(crate) fn forget(&mut self, now: Instant) {
        let rules = self.0.as_ref().map(|counting| counting.known_rules());
        *self = Self::new(&rules.unwrap_or_default(), now);
    }

    /// The windows of a limit that is inferred may be fixed ones, of which two follow each other. So fewer limits are ruled
    /// out, which is right where all calls are of one kind: of a model, and not of an account, whose models may each have a
    /// limit of their own.
    pub(crate) fn allow_fixed_windows(&mut self, now: Instant) {
        self.begin(now).may_be_fixed = true;
    }

    /// Begins to count, if it does not yet.
    fn begin(&mut self, now: Instant) -> &mut Counting {
        self.0.get_or_insert_with(|| Box::new(Counting::new(now)))
    }

    /// Whether calls are counted. If not, nothing needs to be asked or told before a call is refused or a limit stated.
    pub(crate) const fn is_counting(&self) -> bool {
        self.0.is_some()
    }

    /// Whether one more call with so many tokens has room.
    pub(crate) fn room(&mut self, tokens: u64, now: Instant) -> Room {
        let counting = self.0.as_mut();
        counting.map_or(Room::Now, |counting| counting.room(tokens, now))
    }

    /// The most tokens that a call can have and still has room by all that is known; 0 if none has. Without a limit of
    /// tokens it is [`u64::MAX`].
    pub(crate) fn fits(&mut self, now: Instant) -> u64 {
        let counting = self.0.as_mut();
        counting.map_or(u64::MAX, |counting| counting.fits(now))
    }

    /// A call is about to be sent, whether there is room or not.
    pub(crate) fn reserve(&mut self, call: u64, tokens: u64, now: Instant) {
        if let Some(counting) = &mut self.0 {
            counting.reserve(call, tokens, now);
        }
    }

    /// The call was never sent: it is as if it had not been reserved.
    pub(crate) fn give_back(&mut self, call: u64, now: Instant) {
        if let Some(counting) = &mut self.0 {
            counting.give_back(call, now);
        }
    }

    /// The upstream took the call: it succeeded, or failed for another reason than a limit.
    pub(crate) fn accepted(&mut self, call: u64, now: Instant) {
        if let Some(counting) = &mut self.0 {
            counting.accepted(call, now);
        }
    }

    /// The upstream refused the call, because of a limit that may be another one.
    pub(crate) fn not_taken(&mut self, call: u64, now: Instant) {
        if let Some(counting) = &mut self.0 {
            counting.not_taken(call, now);
        }
    }

    /// The upstream refused the call because of a limit, and stated no end of that. Says whether that is explained: the
    /// call was one too many by a limit that is known or that has been inferred, and no other call has room now.
    pub(crate) fn refused(&mut self, call: u64, now: Instant) -> bool {
        self.begin(now).refused(call, now)
    }

    /// The upstream refused a request of so many tokens, because only so many are `left`. Until then no request of that
    /// size has room.
    pub(crate) fn refused_tokens(
        &mut self,
        requested: u64,
        left: Option<u64>,
        until: Instant,
        now: Instant,
    ) {
        self.begin(now).refused_tokens(requested, left, until, now);
    }

    /// The call is no longer in flight, and has used so many tokens, if that is known.
    pub(crate) fn ended(&mut self, call: u64, used_tokens: Option<u64>, now: Instant) {
        if let Some(counting) = &mut self.0 {
            counting.ended(call, used_tokens, now);
        }
    }

    /// An upstream states a limit: in the answer to this `call`, or elsewhere.
    pub(crate) fn state(&mut self, call: Option<u64>, stated: StatedLimit, now: Instant) {
        self.begin(now).state(call, stated, now);
    }

    /// What the scarcest limit of requests leaves, if one is known.
    pub(crate) fn left(&mut self, now: Instant) -> Option<Left> {
        self.0.as_mut()?.left(now)
    }

    /// All limits, for snapshots.
    pub(crate) fn report(&self, now: Instant) -> Vec<Reported> {
        let counting = self.0.as_ref();
        counting.map_or_else(Vec::new, |counting| counting.report(now))
    }

    /// Forgets what is over. Where nothing is left, and nothing was learned for a day, it no longer counts.
    pub(crate) fn drop_past(&mut self, now: Instant) {
        self.0.take_if(|counting| counting.drop_past(now));
    }

    /// The machine was suspended for this long while tokio's clock stood still: all is that much older.
    pub(crate) fn jump(&mut self, ahead: Duration, now: Instant) {
        if let Some(counting) = &mut self.0 {
            counting.jump(ahead, now);
        }
    }

    /// What is to be known after a restart: what is used of windows of an hour and more, ends that were stated, and what
    /// was inferred.
    pub(crate) fn save(&self, anchor: Anchor) -> SavedQuota {
        let counting = self.0.as_ref();
        counting.map_or_else(SavedQuota::default, |counting| counting.save(anchor))
    }

    /// With these rules of the table and of the operator, and what was saved.
    pub(crate) fn restore(saved: &SavedQuota, rules: &[Rule], anchor: Anchor) -> Self {
        let mut new = Self::new(rules, anchor.instant);
        if !saved.is_empty() {
            new.begin(anchor.instant).restore(saved, anchor);
        }
        new
    }

    /// Calls that are remembered.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        let counting = self.0.as_ref();
        counting.map_or(0, |counting| counting.log.entries().count())
    }

    #[cfg(test)]
    pub(super) fn forget_inferred(&mut self) {
        if let Some(counting) = &mut self.0 {
            counting.inferred = None;
        }
    }
}
