//! The calls that still count, in the order in which they began.
//!
//! All rolling windows read this one log, each from a place of its own. It is bounded: of more than [`MOST`] calls those
//! that have ended are merged with their neighbours, the older they are the more of them. What is merged leaves a window
//! together with its youngest call, so a limit is then kept more strictly than it has to be, and never less.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::provider::Quantity;

/// Calls that are remembered one by one. No window of a known provider that is not fixed has more requests than that.
pub(super) const MOST: usize = 4096;

/// What an upstream has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing yet, or nothing that says anything of limits.
    None,
    /// It took the call.
    Accepted,
    /// It refused the call because of a limit, and stated no end.
    Refused,
    /// The call never left: it counts nothing.
    GivenBack,
}

/// A call, or several neighbours that have ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its number, or that of the youngest.
    pub(super) call: u64,
    pub(super) begun: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) tokens: u64,
    pub(super) requests: u32,
    /// How many of the requests were refused.
    pub(super) refused: u32,
    pub(super) answer: Answer,
    /// An estimate said that it had no room.
    pub(super) is_trial: bool,
}

impl Entry {
    /// How much of a limit it takes.
    pub(super) fn weight(&self, of: Quantity, with_refused: bool) -> u64 {
        match of {
            Quantity::Requests if with_refused => self.requests.into(),
            Quantity::Requests => self.requests.saturating_sub(self.refused).into(),
            Quantity::Tokens => self.tokens,
        }
    }

    /// Whether it may have been on its way to the upstream, or counted there, without being known as refused.
    pub(super) fn may_count(&self) -> bool {
        !matches!(self.answer, Answer::Refused | Answer::GivenBack)
    }

    pub(super) fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    /// Whether it is in flight and unanswered.
    pub(super) fn is_pending(&self) -> bool {
        self.is_open() && self.answer == Answer::None
    }

    /// Whether it is one call that the upstream took.
    pub(super) fn was_accepted(&self) -> bool {
        self.requests == 1 && self.answer == Answer::Accepted
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// How many entries have left at the front: the place of the first one that is here.
    first: u64,
    open: u64,
    /// Requests and tokens of the calls in flight that are unanswered.
    pending: (u64, u64),
    /// With so many entries they are merged; 0 for [`MOST`].
    full: usize,
}

impl Log {
    /// Calls in flight.
    pub(super) const fn open(&self) -> u64 {
        self.open
    }

    /// What the calls need that are in flight and unanswered.
    pub(super) const fn pending(&self, of: Quantity) -> u64 {
        match of {
            Quantity::Requests => self.pending.0,
            Quantity::Tokens => self.pending.1,
        }
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The place of the first entry.
    pub(super) const fn first(&self) -> u64 {
        self.first
    }

    /// The entry at this place.
    pub(super) fn at(&self, place: u64) -> Option<&Entry> {
        let index = place.checked_sub(self.first)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    /// The entries from this place on.
    pub(super) fn from(&self, place: u64) -> impl Iterator<Item = &Entry> {
        let skipped = place.saturating_sub(self.first);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        self.entries.range(skipped.min(self.entries.len())..)
    }

    /// Appends a call and returns its place; `None` if this number is known. Numbers that come out of order, because the
    /// threads that drew them have overtaken each other, are put in order, and count from when the next one began.
    pub(super) fn push(&mut self, call: u64, tokens: u64, now: Instant) -> Option<u64> {
        let newest = self.entries.back();
        let index = match newest {
            Some(newest) if newest.call >= call => self.index(call).err()?,
            _ => self.entries.len(),
        };
        let begun = match self.entries.get(index) {
            Some(next) => next.begun,
            None => newest.map_or(now, |newest| newest.begun.max(now)),
        };
        let entry = Entry {
            call,
            begun,
            ended: None,
            tokens,
            requests: 1,
            refused: 0,
            answer: Answer::None,
            is_trial: false,
        };
        self.entries.insert(index, entry);
        self.open += 1;
        self.pending.0 += 1;
        self.pending.1 = self.pending.1.saturating_add(tokens);
        Some(self.first + index as u64)
    }

    fn index(&self, call: u64) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&call, |entry| entry.call)
    }

    /// A call.
    pub(super) fn call(&self, call: u64) -> Option<&Entry> {
        self.entries.get(self.index(call).ok()?)
    }

    /// Changes a call in flight. Says where it stands, and what it was before and is now.
    pub(super) fn change(
        &mut self,
        call: u64,
        change: impl FnOnce(&mut Entry),
    ) -> Option<(u64, Entry, Entry)> {
        let index = self.index(call).ok()?;
        let entry = &mut self.entries[index];
        let old = *entry;
        if !old.is_open() {
            return None;
        }
        change(entry);
        let new = *entry;
        if old.is_pending() && !new.is_pending() {
            self.pending.0 = self.pending.0.saturating_sub(1);
            self.pending.1 = self.pending.1.saturating_sub(old.tokens);
        }
        if !new.is_open() {
            self.open = self.open.saturating_sub(1);
        }
        Some((self.first + index as u64, old, new))
    }

    /// Puts back what was saved, before all other calls.
    pub(super) fn restore(&mut self, saved: impl DoubleEndedIterator<Item = (Instant, u32, u64)>) {
        for (begun, requests, tokens) in saved.rev() {
            self.entries.push_front(Entry {
                call: 0,
                begun: self
                    .entries
                    .front()
                    .map_or(begun, |next| next.begun.min(begun)),
                ended: Some(begun),
                tokens,
                requests,
                refused: 0,
                answer: Answer::None,
                is_trial: false,
            });
        }
    }

    /// Forgets calls that have ended and began this long ago.
    pub(super) fn forget(&mut self, horizon: Duration, now: Instant) {
        let is_over = |entry: &Entry| {
            entry.ended.is_some() && now.saturating_duration_since(entry.begun) >= horizon
        };
        while self.entries.front().is_some_and(is_over) {
            self.entries.pop_front();
            self.first += 1;
        }
    }

    /// Merges calls if there are too many. Says whether places have changed.
    pub(super) fn compact(&mut self, now: Instant) -> bool {
        let is_full = self.entries.len() >= self.full.max(MOST);
        if is_full {
            self.merge(MOST / 2, now);
            // Calls in flight are not merged: where they are many, it is not tried again for each one more.
            self.full = self.entries.len() * 2;
        }
        is_full
    }

    /// Merges neighbours that have ended until no more than `most` entries are left, or none can be merged.
    fn merge(&mut self, most: usize, now: Instant) {
        // Neighbours are merged if the time between them is no more than this part of their age; at last all are.
        for part in [256, 128, 64, 32, 16, 8, 4, 2, 1, 0] {
            if self.entries.len() <= most {
                return;
            }
            let mut group_began: Option<Instant> = None;
            let mut merged = VecDeque::<Entry>::with_capacity(MOST);
            for entry in self.entries.drain(..) {
                let room = group_began.zip(merged.back_mut());
                let room = room.filter(|(began, group)| {
                    let (age, apart) =
                        (now.saturating_duration_since(*began), entry.begun - *began);
                    let is_near = part == 0 || apart.saturating_mul(part) <= age;
                    is_near && group.ended.is_some() && entry.ended.is_some()
                });
                match room {
                    Some((_, group)) => absorb(group, &entry),
                    None => {
                        group_began = Some(entry.begun);
                        merged.push_back(entry);
                    }
                }
            }
            self.entries = merged;
        }
    }

    /// What has ended, merged to `most` entries or so, for saving.
    pub(super) fn merged(&self, most: usize, now: Instant) -> impl Iterator<Item = Entry> {
        let mut all = self.clone();
        for entry in &mut all.entries {
            entry.ended.get_or_insert(now);
        }
        all.merge(most, now);
        all.entries.into_iter()
    }

    /// The machine was suspended for this long while tokio's clock stood still: all calls are that much older.
    pub(super) fn jump(&mut self, ahead: Duration) {
        let back = |at: Instant| at.checked_sub(ahead);
        let Some(first) = self.entries.front().map(|entry| entry.begun) else {
            return;
        };
        // Where an instant that early cannot be represented, all are as old as the first one can be.
        let floor = back(first).unwrap_or(first);
        for entry in &mut self.entries {
            entry.begun = back(entry.begun).unwrap_or(floor).max(floor);
            entry.ended = entry.ended.map(|ended| back(ended).unwrap_or(floor));
        }
    }
}

/// Several calls as one.
fn absorb(group: &mut Entry, entry: &Entry) {
    group.call = entry.call;
    group.begun = entry.begun;
    group.ended = group.ended.max(entry.ended);
    group.tokens = group.tokens.saturating_add(entry.tokens);
    group.requests = group.requests.saturating_add(entry.requests);
    group.refused = group.refused.saturating_add(entry.refused);
    group.is_trial = false;
    if group.answer != entry.answer {
        group.answer = Answer::None;
    }
}
