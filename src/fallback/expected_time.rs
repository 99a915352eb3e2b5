//! How long a target is waited for where other targets can be asked instead, by what it usually takes.
//!
//! The configured timeouts are for the slowest models that there are. To wait that long for each target would mean that one
//! that stalls outlives its client: most clients and proxies give up after 30 to 60 s. To cut every attempt after 8 s, or a
//! whole answer after 15 s, was measured as well: it gains 1 to 2 requests of a hundred, and loses healthy answers of slow
//! models. So a target has a multiple of what it usually takes, and where that is not known a moderate default.

use std::time::Duration;

use crate::{
    endpoint::Endpoint,
    health::{Pace, Usual},
    request::Needs,
};

/// A target that takes three times as long as usual, and longer than six times its mean deviation from that, has stalled
/// more likely than not. Free tiers vary by a factor of two between quiet and busy minutes.
const FACTOR: f64 = 3.0;
const DEVIATIONS: f64 = 6.0;

/// The mean and two mean deviations are exceeded by about one answer of twenty, where the tail is not long. A target that
/// always takes alike is not late because of a little more.
const LATE_FACTOR: f64 = 1.5;
const LATE_DEVIATIONS: f64 = 2.0;

/// The wait for something that comes, without what a larger request takes longer.
struct Expected {
    /// Where nothing is known of the target.
    unknown: Duration,
    /// The least: the next request may be harder than all before.
    floor: Duration,
    /// The same for what takes longer than usual, so that a second target may be asked beside it.
    late_unknown: Duration,
    late_floor: Duration,
}

const FIRST_CONTENT: Expected = Expected {
    unknown: Duration::from_secs(20),
    floor: Duration::from_secs(10),
    late_unknown: Duration::from_secs(4),
    late_floor: Duration::from_secs(1),
};

/// The length of an answer is not known beforehand, so that the floor is as high as the default.
const WHOLE: Expected = Expected {
    unknown: Duration::from_secs(30),
    floor: Duration::from_secs(30),
    late_unknown: Duration::from_secs(10),
    late_floor: Duration::from_secs(2),
};

/// How much longer a request may take because of its size.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    /// For the prompt.
    first_content: Duration,
    /// For the prompt and the answer. None where the time has little to do with sizes, as that of an image.
    whole: Option<Duration>,
}

impl Allowance {
    /// A slow model reads some 2,000 tokens a second and writes about 100. A prompt has about half of the tokens that it can
    /// have at most, and an answer at most half of those that it may have, as a rule.
    pub(super) fn of(needs: &Needs) -> Self {
        let prompt = Duration::from_secs(needs.most_prompt_tokens() / 4000);
        let tokens = needs.output_tokens.unwrap_or(0);
        let answer = Duration::from_millis(tokens.saturating_mul(5));
        let is_text = matches!(
            needs.endpoint,
            Endpoint::ChatCompletions
                | Endpoint::Completions
                | Endpoint::Responses
                | Endpoint::Embeddings
        );
        Self {
            first_content: prompt,
            whole: is_text.then(|| prompt.saturating_add(answer)),
        }
    }

    /// Whether the answer is text or vectors.
    pub(super) const fn is_of_text(&self) -> bool {
        self.whole.is_some()
    }

    /// The time after which an answer takes longer than usual.
    pub(super) fn late(&self, streams: bool, usual: Option<&Usual>) -> Duration {
        let (expected, allowance) = match streams {
            true => (&FIRST_CONTENT, self.first_content),
            false => (&WHOLE, self.whole.unwrap_or_default()),
        };
        let by_pace = pace(streams, usual).map(|pace| {
            let late = pace.at_most(LATE_FACTOR, LATE_DEVIATIONS);
            late.max(expected.late_floor)
        });
        let late = by_pace.unwrap_or(expected.late_unknown);
        late.saturating_add(allowance)
    }

    /// The wait for the first content of a stream. `usual`: of the target, if it is known which one it is.
    pub(super) fn first_content(&self, usual: Option<&Usual>) -> Duration {
        let pace = pace(true, usual);
        wait(&FIRST_CONTENT, pace, usual).saturating_add(self.first_content)
    }

    /// The wait for the whole of an answer that is not streamed, where it depends on the target.
    pub(super) fn whole(&self, usual: Option<&Usual>) -> Option<Duration> {
        let pace = pace(false, usual);
        Some(wait(&WHOLE, pace, usual).saturating_add(self.whole?))
    }
}

/// The pace of the first content of a stream, or of the whole answer.
fn pace(streams: bool, usual: Option<&Usual>) -> Option<Pace> {
    let usual = usual?;
    match streams {
        true => usual.first_content,
        false => usual.total,
    }
}

/// A wait that was in vain is not repeated but doubled: a model that is slower than all that is known of it, or was never
/// given enough time, is found to be healthy at last.
fn wait(expected: &Expected, pace: Option<Pace>, usual: Option<&Usual>) -> Duration {
    let by_pace = pace.map(|pace| pace.at_most(FACTOR, DEVIATIONS).max(expected.floor));
    let in_vain = usual.map_or(Duration::ZERO, |usual| usual.in_vain);
    by_pace
        .unwrap_or(expected.unknown)
        .max(in_vain.saturating_mul(2))
}
