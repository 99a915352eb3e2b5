//! When a model is congested: bursts that begin and end by chance, whatever is asked meanwhile.

use serde::Deserialize;

use crate::{dice::Dice, window::Millis};

/// Bursts of congestion of one model: on and off, each time for an exponentially distributed while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BurstRule {
    /// The mean length of a burst, in seconds.
    pub(crate) on_s: f64,
    /// The mean time between two bursts, in seconds.
    pub(crate) off_s: f64,
    /// The share of calls that is refused during a burst. Default: all.
    #[serde(default = "one")]
    pub(crate) refuses: f64,
    /// What the refusal states as the time to wait, in seconds, which need not be true. Default: nothing is stated.
    pub(crate) says_s: Option<u64>,
}

const fn one() -> f64 {
    1.0
}

/// The bursts of one model, as far as they were asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// Beginnings and ends, in order.
    bursts: Vec<(Millis, Millis)>,
}

impl Weather {
    /// The end of the burst that there is at `at`.
    pub(crate) fn burst_until(
        &mut self,
        rule: &BurstRule,
        dice: Dice,
        model: u64,
        at: Millis,
    ) -> Option<Millis> {
        while self.bursts.last().is_none_or(|last| last.0 <= at) {
            let n = self.bursts.len() as u64;
            let last = self.bursts.last().map_or(0, |last| last.1);
            let span =
                |mean: f64, which| (dice.exponential(mean, &[model, n, which]) * 1e3) as Millis + 1;
            let begin = last + span(rule.off_s, BEGIN);
            self.bursts.push((begin, begin + span(rule.on_s, END)));
        }
        let next = self.bursts.partition_point(|burst| burst.0 <= at);
        let (_, end) = *self.bursts.get(next.checked_sub(1)?)?;
        (end > at).then_some(end)
    }
}

const BEGIN: u64 = 0x6275_7273;
const END: u64 = 0x656e_6421;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_take_their_share_of_the_time_in_whatever_order_they_are_asked_for() {
        let rule = BurstRule {
            on_s: 20.0,
            off_s: 60.0,
            refuses: 1.0,
            says_s: None,
        };
        let (dice, mut ahead, mut behind) = (Dice::new(1), Weather::default(), Weather::default());
        let times = 0..20_000u64;
        behind.burst_until(&rule, dice, 1, 20_000_000);
        let on = times.filter(|second| {
            let at = second * 1000;
            let until = ahead.burst_until(&rule, dice, 1, at);
            assert_eq!(until, behind.burst_until(&rule, dice, 1, at));
            until.is_some()
        });
        let share = on.count() as f64 / 20_000.0;
        assert!((share - 0.25).abs() < 0.06, "{share}");
    }
}
