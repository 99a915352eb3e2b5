//! When a limit ends, as an upstream names it: in headers, in fields of the error, or only in its prose.
//!
//! Whatever an upstream says, nothing here panics, and no wait is longer than [`MAX`].

mod parse;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) use self::parse::parse_reset;
use crate::upstream::{
    envelope::Waits,
    resets::parse::{millis, sentence},
    searchable::Searchable,
};

/// The longest wait that is believed: 32 days, so that a monthly quota fits.
pub(crate) const MAX: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// The longest wait that is believed if only a sentence names it: a day. Words can be the caller's.
const MAX_SENTENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that an error states in its headers, in the fields of its body, and in `prose`: those of its words that are
/// believed.
///
/// What the upstream says of this very error goes first: `Retry-After`, the same in the body, a sentence. Then come the
/// counters that every response carries: those at zero, else, for an error that is one `of_limit`, the one that resets
/// first. Another error has nothing to do with a counter that something is left of. A past end is no wait.
pub(super) fn stated<'a>(
    headers: &HeaderMap,
    waits: &Waits,
    prose: impl FnOnce() -> &'a Searchable,
    of_limit: bool,
    now: SystemTime,
) -> Option<Duration> {
    let now = date(headers).unwrap_or(now);
    let in_body = || {
        let retry = waits.retry.iter().filter_map(|text| parse_reset(text, now));
        // Of a rounded and a raw one the longer is on the safe side.
        retry
            .chain(waits.retry_millis.iter().filter_map(|text| millis(text)))
            .max()
    };
    let counters = || {
        let mut counters = counters_of(headers);
        let in_body = waits.counters.iter();
        counters.extend(counters_in(
            &in_body
                .map(|(name, value)| (&**name, &**value))
                .collect::<Vec<_>>(),
        ));
        zero(&counters, now).or_else(|| {
            let resets = counters
                .iter()
                .filter_map(|counter| parse_reset(&counter.reset, now));
            resets.min().filter(|_| of_limit)
        })
    };
    retry_after(headers, now)
        .or_else(in_body)
        .or_else(|| Some(sentence(prose(), now)?.min(MAX_SENTENCE)))
        .or_else(counters)
}

/// The wait that a success announces: some counter stands at zero, and says when it resets.
///
/// A `Retry-After` on a success means nothing: router.huggingface.co and Anthropic send it.
pub(crate) fn exhausted(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    // Nearly every success has something left of every limit. A number that is not above zero begins with one of these.
    let may_be_spent = |(name, value): (&HeaderName, &HeaderValue)| {
        let first = value.as_bytes().first();
        first.is_some_and(|first| b"0-+. \t".contains(first))
            && name.as_str().contains("-remaining")
    };
    if !headers.iter().any(may_be_spent) {
        return None;
    }
    zero(&counters_of(headers), date(headers).unwrap_or(now))
}

/// The upstream's own clock: an instant it names is meant by that.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, &header::DATE)?).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// RFC 9110 10.2.3, and two finer or rarer headers of the same meaning: OpenAI's and Azure's `retry-after-ms`, GitHub
/// Models' `x-ratelimit-timeremaining`.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
    static TIME_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-timeremaining");

    text(headers, &RETRY_AFTER_MS)
        .and_then(millis)
        .or_else(|| parse_reset(text(headers, &header::RETRY_AFTER)?, now))
        .or_else(|| parse_reset(text(headers, &TIME_REMAINING)?, now))
}

/// One counter of a limit: when it resets, and whether nothing is left of it.
struct Counter {
    reset: String,
    spent: bool,
}

fn counters_of(headers: &HeaderMap) -> Vec<Counter> {
    let limits = headers
        .iter()
        .filter(|(name, _)| name.as_str().contains("ratelimit-"));
    let pairs = limits.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    counters_in(&pairs.collect::<Vec<_>>())
}

/// `x-ratelimit-reset`, with what is appended for each window (`-requests`, `-tokens-minute`), and `ratelimit-reset` of
/// the IETF draft; each with its twin, `…remaining…`. Names are in lower case.
fn counters_in(pairs: &[(&str, &str)]) -> Vec<Counter> {
    let counters = pairs.iter().filter(|(name, _)| name.contains("-reset"));
    counters
        .map(|(name, reset)| {
            let twin = name.replacen("-reset", "-remaining", 1);
            Counter {
                reset: (*reset).to_owned(),
                spent: pairs
                    .iter()
                    .any(|(name, left)| *name == twin && is_zero(left)),
            }
        })
        .collect()
}

fn is_zero(left: &str) -> bool {
    left.trim().parse().is_ok_and(|left: f64| left <= 0.0)
}

/// All counters at zero have to reset before a request gets through.
fn zero(counters: &[Counter], now: SystemTime) -> Option<Duration> {
    let spent = counters.iter().filter(|counter| counter.spent);
    spent
        .filter_map(|counter| parse_reset(&counter.reset, now))
        .max()
}
