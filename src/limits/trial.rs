//! Calls that are sent although an estimate leaves no room for them.
//!
//! An estimate that is obeyed is never corrected, so now and then a call goes beyond it: where nothing else can serve a
//! request. One call at a time is enough, and after a refusal there is none for a while: otherwise each request that finds
//! all models full would be sent in vain.

use std::time::Duration;

use tokio::time::Instant;

/// After a refused trial there is none for this long, which is the longest window that is inferred.
const REST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Default)]
pub(super) struct Trials {
    /// The one under way.
    open: Option<u64>,
    /// There is none before that.
    rest: Option<Instant>,
}

impl Trials {
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        self.open.is_none() && self.rest.is_none_or(|rest| rest <= now)
    }

    pub(super) fn begun(&mut self, call: u64) {
        self.open.get_or_insert(call);
    }

    pub(super) fn answered(&mut self, call: u64, is_accepted: bool, now: Instant) {
        if self.open.take_if(|open| *open == call).is_some() {
            self.rest = (!is_accepted).then(|| now + REST);
        }
    }

    /// It has ended without an answer that says anything of limits.
    pub(super) fn ended(&mut self, call: u64) {
        self.open.take_if(|open| *open == call);
    }

    /// The machine was suspended for this long while tokio's clock stood still.
    pub(super) fn jump(&mut self, ahead: Duration) {
        self.rest = self.rest.and_then(|rest| rest.checked_sub(ahead));
    }
}
