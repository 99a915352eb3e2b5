//! How a model behaves: what it does with the next request, by its own chance and the time.

use std::{ops::RangeInclusive, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

/// A model's lasting nature.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manner {
    /// Answers, always and soon.
    Steady,
    /// Answers, a word now and then.
    Slow,
    /// Is asked too much by others and says for how long.
    Busy,
    /// Is down for spells and says nothing about how long.
    Overloaded,
    /// Answers some requests with an error inside a success.
    Broken,
    /// Keeps some callers waiting before the first word.
    Stalling,
}

/// What becomes of one request.
#[derive(Debug, PartialEq)]
pub(super) enum Turn {
    Answers(Pace),
    /// Rate limited upstream, for this long.
    Busy(Duration),
    Overloaded,
    Broken,
}

/// How fast an answer comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// How often a stream says that it is still there before it begins, once a [`BEAT`](Self::BEAT).
    pub(super) beats: u32,
    /// Between two words.
    pub(super) word: Duration,
}

/// A model's nature and how it fares now.
pub(super) struct Mood {
    manner: Manner,
    rng: StdRng,
    /// The end of the bad spell it is or was in.
    unwell_until: Option<Instant>,
}

impl Mood {
    pub(super) fn new(manner: Manner, seed: u64) -> Self {
        Self {
            manner,
            rng: StdRng::seed_from_u64(seed),
            unwell_until: None,
        }
    }

    /// Takes the next request.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        match self.manner {
            Manner::Slow => Turn::Answers(Pace::SLOW),
            Manner::Busy => match self.spell(now, 0.4, 1..=5) {
                Some(rest) => Turn::Busy(rest),
                None => Turn::Answers(Pace::BRISK),
            },
            Manner::Overloaded => match self.spell(now, 0.3, 3..=10) {
                Some(_) => Turn::Overloaded,
                None => Turn::Answers(Pace::BRISK),
            },
            Manner::Broken if self.rng.random_bool(0.4) => Turn::Broken,
            Manner::Stalling if self.rng.random_bool(0.3) => Turn::Answers(Pace::STALLED),
            Manner::Steady | Manner::Broken | Manner::Stalling => Turn::Answers(Pace::BRISK),
        }
    }

    /// The rest of a bad spell, if one is on or begins with this request.
    fn spell(
        &mut self,
        now: Instant,
        chance: f64,
        seconds: RangeInclusive<u64>,
    ) -> Option<Duration> {
        let over = self.unwell_until.is_none_or(|until| until <= now);
        if over && self.rng.random_bool(chance) {
            self.unwell_until = Some(now + Duration::from_secs(self.rng.random_range(seconds)));
        }
        let rest = self.unwell_until?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(rest)
    }
}

impl Pace {
    /// How far apart the comments before a stream's first word are.
    pub(super) const BEAT: Duration = Duration::from_millis(100);

    const BRISK: Self = Self::new(1, 10);
    const SLOW: Self = Self::new(3, 150);
    /// Long enough to be noticed, short enough that a first try does not hang on it.
    const STALLED: Self = Self::new(80, 10);

    const fn new(beats: u32, word_ms: u64) -> Self {
        Self {
            beats,
            word: Duration::from_millis(word_ms),
        }
    }

    /// How long an answer of so many pieces takes.
    pub(super) fn total(self, pieces: usize) -> Duration {
        let words = self
            .word
            .saturating_mul(u32::try_from(pieces).unwrap_or(u32::MAX));
        (Self::BEAT * self.beats).saturating_add(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One request a second.
    fn turns(manner: Manner, seed: u64, count: u32) -> Vec<Turn> {
        let mut mood = Mood::new(manner, seed);
        let start = Instant::now();
        (0..count).map(|n| mood.turn(start + SECOND * n)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_troubles() {
        for manner in [
            Manner::Busy,
            Manner::Overloaded,
            Manner::Broken,
            Manner::Stalling,
        ] {
            assert_eq!(turns(manner, 7, 200), turns(manner, 7, 200));
            assert_ne!(turns(manner, 7, 200), turns(manner, 8, 200));
        }
    }

    #[test]
    fn every_trouble_shows_and_passes() {
        let answers = |turn: &Turn| matches!(turn, Turn::Answers(pace) if *pace != Pace::STALLED);
        for manner in [
            Manner::Busy,
            Manner::Overloaded,
            Manner::Broken,
            Manner::Stalling,
        ] {
            let turns = turns(manner, 7, 200);
            let well = turns.iter().filter(|turn| answers(turn)).count();
            assert!(
                (20..180).contains(&well),
                "{manner:?} answered {well} of 200"
            );
        }
    }

    #[test]
    fn the_steady_and_the_slow_always_answer() {
        for manner in [Manner::Steady, Manner::Slow] {
            assert!(
                turns(manner, 7, 200)
                    .iter()
                    .all(|turn| matches!(turn, Turn::Answers(_)))
            );
        }
    }

    #[test]
    fn a_busy_model_counts_down_the_wait_it_stated() {
        let mut mood = Mood::new(Manner::Busy, 7);
        let mut now = Instant::now();
        let wait = loop {
            if let Turn::Busy(wait) = mood.turn(now) {
                break wait;
            }
            now += SECOND;
        };
        let step = Duration::from_millis(400);
        assert_eq!(mood.turn(now + step), Turn::Busy(wait - step));
    }
}
