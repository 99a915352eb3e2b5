//! What the oracle asks of the world, and no other policy can.

use super::{Times, World};
use crate::{demand::Ask, window::Millis};

impl World {
    /// The first moment, not before now and not after `latest`, at which this model answers; when the answer comes then; and
    /// nothing of it is taken yet.
    pub(crate) fn foresee(
        &self,
        model: usize,
        ask: &Ask,
        latest: Millis,
    ) -> Option<(Millis, Times)> {
        let now = self.now();
        let place = &self.pool.models[model];
        let die = [place.number, ask.id, 0];
        if self.accident(model, &die).is_some() {
            return None;
        }
        let times = self.times(model, ask, &die);
        let mut state = self.lock();
        let state = &mut *state;
        for &limit in &place.limits {
            // As far as an answer of this request may reach, and those of requests that have a place later.
            let until = latest + 120_000;
            state.limits[limit].advance(&self.pool.limits[limit], self.dice, now, until);
        }
        let mut at = now;
        'again: while at <= latest {
            if self.outage(model, at).is_some() || !place.is_there(at) {
                at += 1000;
                continue;
            }
            for &limit in &place.limits {
                let (rule, limit) = (&self.pool.limits[limit], &state.limits[limit]);
                if limit.refuses(rule, ask, at, at + times.last).is_some() {
                    at = limit.next(rule, ask, at)?;
                    continue 'again;
                }
            }
            if let Some(bursts) = &place.rule.bursts {
                let weather = &mut state.models[model].weather;
                let until = weather.burst_until(bursts, self.dice, place.number, at);
                if let Some(until) = until.filter(|_| self.is_hit(bursts.refuses, &die)) {
                    at = until;
                    continue;
                }
            }
            return Some((at, times));
        }
        None
    }

    /// Takes what a call at `at` will use, and counts the call.
    pub(crate) fn take(&self, model: usize, ask: &Ask, at: Millis, times: Times) {
        let mut state = self.lock();
        state.tally.call(self.service(model));
        let number = state.tally.calls;
        for &limit in &self.pool.models[model].limits {
            let rule = &self.pool.limits[limit];
            state.limits[limit].note(rule, ask, number, at, at + times.last);
        }
    }
}
