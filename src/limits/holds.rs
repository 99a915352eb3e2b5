//! Token refusals: a refusal of so many tokens holds for calls of that size or more, and for no smaller one.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    limits::{
        room::{Reported, Room},
        rule::Source,
    },
    provider::Quantity,
};

/// Refusals of different sizes that are remembered. Of more, the two that end closest to each other become one, which
/// holds for the smaller size until the later end.
const MOST: usize = 8;

/// Refusals in force. Sorted by size, and so also by end: a smaller size that ends later includes a larger one.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Vec<(u64, Instant)>);

impl Holds {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing of `least` tokens or more has room before `until`.
    pub(super) fn add(&mut self, least: u64, until: Instant, now: Instant) {
        self.forget(now);
        let is_included = |&(size, end): &(u64, Instant)| size <= least && end >= until;
        if until <= now || self.0.iter().any(is_included) {
            return;
        }
        self.0
            .retain(|&(size, end)| !(size >= least && end <= until));
        let index = self.0.partition_point(|&(size, _)| size < least);
        self.0.insert(index, (least, until));
        if self.0.len() > MOST {
            let pairs = self.0.windows(2).enumerate();
            let closest = pairs.min_by_key(|(_, pair)| pair[1].1 - pair[0].1);
            if let Some((first, _)) = closest {
                let (_, end) = self.0.remove(first + 1);
                self.0[first].1 = end;
            }
        }
    }

    pub(super) fn forget(&mut self, now: Instant) {
        self.0.retain(|&(_, until)| until > now);
    }

    /// Whether a call with so many tokens has room.
    pub(super) fn room(&self, tokens: u64, now: Instant) -> Room {
        let held = self.0.iter().filter(|&&(least, _)| least <= tokens);
        let end = held.map(|&(_, until)| until).max();
        end.filter(|&end| end > now).map_or(Room::Now, Room::Stated)
    }

    /// The most tokens that are not held back.
    pub(super) fn fits(&self, now: Instant) -> u64 {
        let held = self.0.iter().find(|&&(_, until)| until > now);
        held.map_or(u64::MAX, |&(least, _)| least.saturating_sub(1))
    }

    /// The size below which calls have room, for snapshots.
    pub(super) fn report(&self, now: Instant) -> impl Iterator<Item = Reported> {
        let held = self.0.iter().filter(move |&&(_, until)| until > now);
        held.map(|&(least, until)| Reported {
            of: Quantity::Tokens,
            window: None,
            at_once: false,
            limit: None,
            left: least.saturating_sub(1),
            resets: Some(until),
            source: Source::Stated,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.0.iter().copied()
    }

    /// The machine was suspended for this long while tokio's clock stood still.
    pub(super) fn jump(&mut self, ahead: Duration, now: Instant) {
        for (_, until) in &mut self.0 {
            *until = until.checked_sub(ahead).unwrap_or(now);
        }
        self.forget(now);
    }
}
