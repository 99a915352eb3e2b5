//! What is remembered of one target, and of one provider.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    capability::{Capability, CapabilitySet},
    catalog::TargetId,
    health::{
        cooldown::Cooldown,
        tally::{Record, Speed, Tally},
    },
    limits::Quota,
    outcome::OutcomeKind,
};

/// What a failure taught about a target is believed for this long.
const LEARNED: Duration = Duration::from_secs(3600);
/// A success this recent makes a target proven.
const PROVEN: Duration = Duration::from_secs(600);
/// Two targets of a provider that are refused within this time, without an end, may have met one limit.
const SAME_LIMIT: Duration = Duration::from_secs(60);
/// With this share of successes a single failure looks like an accident.
const GOOD_RECORD: f64 = 0.5;

#[derive(Debug, Default)]
pub(super) struct TargetEntry {
    pub(super) cooldown: Cooldown,
    /// The limits of this model alone.
    pub(super) quota: Quota,
    pub(super) tally: Tally,
    pub(super) record: Record,
    /// It was seen to cost money. Only a manual reset forgets that.
    pub(super) quarantined: bool,
    /// A hash of what the listing said of it when it was last seen.
    pub(super) row: u64,
    /// Since when no provider lists it.
    pub(super) vanished: Option<Instant>,
    /// The map has forgotten it: a request that still has its cell has to ask the map for the present one.
    pub(super) forgotten: bool,
    /// Soft failures since the last success.
    pub(super) soft: u32,
    /// Attempts in flight that have begun to answer.
    pub(super) answering: u64,
    pub(super) last_success: Option<Instant>,
    lacks: Vec<(Capability, Instant)>,
    window: Option<(u64, Instant)>,
}

#[derive(Debug, Default)]
pub(super) struct ProviderEntry {
    pub(super) cooldown: Cooldown,
    /// The limits that all its models share.
    pub(super) quota: Quota,
    /// The last two targets that were refused because of a limit whose amount was not stated.
    refused: [Option<(TargetId, Instant)>; 2],
    /// Targets that could not be reached lately.
    pub(super) unreachable: Vec<(TargetId, Instant)>,
}

impl ProviderEntry {
    /// Forgets what is over.
    pub(super) fn drop_past(&mut self, now: Instant) {
        self.cooldown.drop_past(now);
        self.quota.drop_past(now);
    }

    /// Forgets what is held against it.
    pub(super) fn forget_all(&mut self, now: Instant) {
        self.quota.forget(now);
        *self = Self {
            quota: std::mem::take(&mut self.quota),
            ..Self::default()
        };
    }

    /// Whether a limit whose end is not stated may be one of the account: it has met two models within a minute.
    pub(super) fn meets_another(&mut self, target: &TargetId, now: Instant) -> bool {
        let [last, _] = &self.refused;
        if last.as_ref().is_none_or(|(id, _)| id != target) {
            self.refused.swap(0, 1);
        }
        self.refused[0] = Some((target.clone(), now));
        let is_recent = |at: Instant| now.saturating_duration_since(at) <= SAME_LIMIT;
        let [_, other] = &self.refused;
        other.as_ref().is_some_and(|&(_, at)| is_recent(at))
    }
}

impl TargetEntry {
    /// Whether it succeeded lately.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        self.last_success
            .is_some_and(|at| Self::proves(now.saturating_duration_since(at)))
    }

    /// Whether a success this long ago makes a target proven.
    pub(super) fn proves(ago: Duration) -> bool {
        ago < PROVEN
    }

    /// Whether an attempt may begin without a look at anything else of this target.
    pub(super) const fn is_clear(&self) -> bool {
        let is_present = self.vanished.is_none() && !self.forgotten;
        is_present && !self.quarantined && self.cooldown.holds_nothing()
    }

    pub(super) fn has_learned_nothing(&self) -> bool {
        self.lacks.is_empty() && self.window.is_none()
    }

    /// Forgets what is over and says nothing any more.
    pub(super) fn drop_past(&mut self, now: Instant) {
        self.cooldown.drop_past(now);
        self.quota.drop_past(now);
        self.lacks.retain(|&(_, until)| until > now);
        self.window.take_if(|(_, until)| *until <= now);
    }

    /// The listing has the target, with this row. Where the row has changed, or the target was not listed for a while,
    /// what was said of the old row ("gone", "gated") no longer holds.
    pub(super) fn is_listed(&mut self, row: u64) {
        let is_back = self.vanished.take().is_some();
        if self.row != row || is_back {
            self.row = row;
            self.cooldown.row_changed();
        }
    }

    /// An attempt has ended, in a success or without an outcome. `speed` is that of its answer, if it had begun to answer.
    pub(super) fn ended_well(&mut self, kind: OutcomeKind, speed: Option<Speed>, now: Instant) {
        self.ended(kind, speed);
        if let (OutcomeKind::Succeeded, Some(speed)) = (kind, speed) {
            self.record.success(speed);
            self.soft = 0;
            self.last_success = Some(now);
        }
    }

    /// Counts an attempt that has ended.
    pub(super) fn ended(&mut self, kind: OutcomeKind, speed: Option<Speed>) {
        self.tally.end(kind);
        if speed.is_some() {
            self.answering = self.answering.saturating_sub(1);
        }
    }

    /// Whether a single failure may be an accident: it is answering other requests, or has answered well lately.
    pub(super) fn is_doing_well(&self, now: Instant) -> bool {
        let has_good_record =
            || self.is_proven(now) && self.record.success_rate() >= Some(GOOD_RECORD);
        !self.cooldown.is_unproven() && (self.answering > 0 || has_good_record())
    }

    pub(super) fn learn_lack(&mut self, lack: Capability, now: Instant) {
        self.lacks
            .retain(|&(known, until)| known != lack && until > now);
        self.lacks.push((lack, now + LEARNED));
    }

    /// The capabilities that it was found to lack.
    pub(super) fn lacks(&self, now: Instant) -> CapabilitySet {
        let lacks = self.lacks.iter().filter(|(_, until)| *until > now);
        lacks.map(|&(lack, _)| lack).collect()
    }

    pub(super) fn learn_window(&mut self, tokens: u64, now: Instant) {
        self.window = Some((tokens, now + LEARNED));
    }

    /// The window that it was last found to have, in tokens.
    pub(super) fn window(&self, now: Instant) -> Option<u64> {
        let window = self.window.filter(|&(_, until)| until > now);
        window.map(|(tokens, _)| tokens)
    }

    /// Forgets what is held against it; its counts stay.
    pub(super) fn forget_all(&mut self, now: Instant) {
        self.quota.forget(now);
        *self = Self {
            quota: std::mem::take(&mut self.quota),
            tally: self.tally,
            record: self.record,
            row: self.row,
            vanished: self.vanished,
            forgotten: self.forgotten,
            answering: self.answering,
            ..Self::default()
        };
    }
}
