//! When a limit ends, as an upstream names it.
//!
//! This module is pure parsing: it neither classifies a response nor remembers one. Providers name the end of a limit
//! in headers, in fields of the error, or only in its prose; as seconds, an instant or a duration, told apart by shape.
//! Whatever they say, nothing here panics, and nothing is longer than [`MAX`].

pub(crate) mod parse;
#[cfg(test)]
mod tests;

use self::parse::parse_reset;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use serde::de::MapAccess;

use crate::{
    json::{Extent, Reads, extent, into, read, skip},
    upstream::resets::parse::{millis, sentence},
};

/// The longest wait that is believed: 32 days, so that a monthly quota fits.
pub(crate) const MAX: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// The longest wait that is believed if only a sentence names it: a day. Words can be the caller's.
const MAX_SENTENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that an error states, where `prose` is what may be believed of its words.
///
/// What the upstream says of this very error goes first: `Retry-After`, its siblings in the body, a sentence. Only then
/// come the counters that every response carries: the one that stands at zero, else, for an error that is one `of_limit`,
/// the one that resets first. Another error has nothing to do with a counter that something is left of. Within each,
/// headers go before the body. A past end is no wait at all.
pub(crate) fn stated(
    headers: &HeaderMap,
    body: &[u8],
    prose: &str,
    of_limit: bool,
    now: SystemTime,
) -> Option<Duration> {
    let now = date(headers).unwrap_or(now);
    retry_after(headers, now).or_else(|| {
        let mut hints = Hints::of(headers, body, now);
        let mut counters = counters(headers);
        counters.extend(hints.counters());
        hints
            .retry
            .or_else(|| Some(sentence(prose, now)?.min(MAX_SENTENCE)))
            .or_else(|| zero(&counters, now))
            .or_else(|| {
                let resets = counters
                    .iter()
                    .filter_map(|counter| parse_reset(&counter.reset, now));
                resets.min().filter(|_| of_limit)
            })
    })
}

/// The wait that a success announces: some counter stands at zero, and says when it resets.
///
/// A `Retry-After` on a success means nothing: router.huggingface.co and Anthropic send it.
pub(crate) fn exhausted(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    zero(&counters(headers), date(headers).unwrap_or(now))
}

/// Whether a body that is no whole JSON document may be the beginning of one: it is not declared to be something else.
/// Plain text may begin with what a caller wrote, and that may look like JSON that was cut short.
pub(crate) fn may_be_cut(headers: &HeaderMap) -> bool {
    text(headers, header::CONTENT_TYPE.as_str())
        .is_none_or(|kind| kind.to_ascii_lowercase().contains("json"))
}

/// The upstream's own clock: an instant it names is meant by that.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, header::DATE.as_str())?).ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// RFC 9110 10.2.3, and two finer or rarer headers of the same meaning: OpenAI's and Azure's `retry-after-ms`, GitHub
/// Models' `x-ratelimit-timeremaining`.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    text(headers, "retry-after-ms")
        .and_then(millis)
        .or_else(|| parse_reset(text(headers, "retry-after")?, now))
        .or_else(|| parse_reset(text(headers, "x-ratelimit-timeremaining")?, now))
}

/// One counter of a limit: when it resets, and how much of it is left.
#[derive(Debug)]
struct Counter {
    reset: String,
    spent: bool,
}

/// `x-ratelimit-reset`, with what is appended for each window (`-requests`, `-tokens-minute`), and `ratelimit-reset` of
/// the IETF draft; each with its twin, `…remaining…`.
fn counters(headers: &HeaderMap) -> Vec<Counter> {
    headers
        .iter()
        .filter_map(|(name, value)| {
            let remaining = twin(name.as_str())?;
            Some(Counter {
                reset: value.to_str().ok()?.to_owned(),
                spent: text(headers, &remaining).is_some_and(is_zero),
            })
        })
        .collect()
}

/// The name of the counter that a reset belongs to; none if `name` is no reset.
fn twin(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    (name.contains("ratelimit-") && name.contains("-reset"))
        .then(|| name.replacen("-reset", "-remaining", 1))
}

fn is_zero(remaining: &str) -> bool {
    remaining.trim().parse().is_ok_and(|left: f64| left <= 0.0)
}

/// All counters at zero have to reset before a request gets through.
fn zero(counters: &[Counter], now: SystemTime) -> Option<Duration> {
    counters
        .iter()
        .filter(|counter| counter.spent)
        .filter_map(|counter| parse_reset(&counter.reset, now))
        .max()
}

/// What the fields of a body say of waiting.
#[derive(Debug)]
struct Hints {
    now: SystemTime,
    /// A field that says when to return.
    retry: Option<Duration>,
    /// The reader is within an `error`. Beside it `metadata` is the caller's own, which a response repeats.
    in_error: bool,
    /// The reader is in JSON that a string holds, and what is quoted in that in turn is not read.
    quoted: bool,
    /// Headers that were put into the body: names in lower case, and values.
    headers: Vec<(String, String)>,
}

/// Headers in a body beyond this are not counters.
const MAX_HEADERS: usize = 64;

impl Hints {
    fn of(headers: &HeaderMap, body: &[u8], now: SystemTime) -> Self {
        let text = String::from_utf8_lossy(body);
        let mut hints = Self::none(now);
        match extent(text.trim_start_matches('\u{feff}'), &mut hints) {
            Extent::Whole => hints,
            Extent::Cut if may_be_cut(headers) => hints,
            // Text that quotes JSON.
            Extent::Cut | Extent::Other => Self::none(now),
        }
    }

    const fn none(now: SystemTime) -> Self {
        Self {
            now,
            retry: None,
            in_error: false,
            quoted: false,
            headers: Vec::new(),
        }
    }

    fn counters(&mut self) -> Vec<Counter> {
        let headers = std::mem::take(&mut self.headers);
        headers
            .iter()
            .filter_map(|(name, reset)| {
                let twin = twin(name)?;
                let mut spent = headers.iter().filter(|(name, _)| *name == twin);
                Some(Counter {
                    reset: reset.clone(),
                    spent: spent.any(|(_, left)| is_zero(left)),
                })
            })
            .collect()
    }
}

impl Reads for Hints {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let key = key.to_ascii_lowercase();
        match &*key {
            // OpenRouter (`metadata.retry_after_seconds`, `availability.retry_after`, `metadata.headers`), LLM7
            // (`retry_after`), Google (`RetryInfo.retryDelay`).
            "retry-after"
            | "retry_after"
            | "retryafter"
            | "retry_after_seconds"
            | "retry_after_seconds_raw"
            | "retrydelay" => {
                let mut value = Scalar::default();
                into(map, &mut value)?;
                // Of a rounded and a raw one the longer is on the safe side.
                self.retry = self.retry.max(parse_reset(&value.0, self.now));
                Ok(())
            }
            "retry-after-ms" | "retry_after_ms" => {
                let mut value = Scalar::default();
                into(map, &mut value)?;
                self.retry = self.retry.max(millis(&value.0));
                Ok(())
            }
            _ if key.contains("ratelimit-") => {
                let mut value = Scalar::default();
                into(map, &mut value)?;
                if self.headers.len() < MAX_HEADERS {
                    self.headers.push((key, value.0));
                }
                Ok(())
            }
            // What an error is wrapped in, and where it has its fields.
            "error" | "errors" => {
                let outer = std::mem::replace(&mut self.in_error, true);
                let read = into(map, self);
                self.in_error = outer;
                read
            }
            "detail" | "details" => into(map, self),
            "metadata" | "headers" | "availability" if self.in_error => into(map, self),
            // A response that failed repeats the request, with whatever the caller wrote into it.
            "response" | "choices" => into(map, &mut Failed(self)),
            // The upstream's own answer, relayed by OpenRouter: often JSON in a string.
            "raw" if self.in_error && !self.quoted => {
                let mut raw = Scalar::default();
                into(map, &mut raw)?;
                let mut inner = Self {
                    quoted: true,
                    ..Self::none(self.now)
                };
                if read(&raw.0, &mut inner) {
                    self.retry = self.retry.max(inner.retry);
                    self.headers.append(&mut inner.headers);
                    self.headers.truncate(MAX_HEADERS);
                }
                Ok(())
            }
            _ => skip(map),
        }
    }
}

/// A response or a choice that failed: its error, and nothing else of it.
struct Failed<'a>(&'a mut Hints);

impl Reads for Failed<'_> {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "error" => self.0.field(key, map),
            _ => skip(map),
        }
    }
}

/// A string or a number, as text; of the last one, if there are several.
#[derive(Default)]
struct Scalar(String);

impl Reads for Scalar {
    fn text(&mut self, text: &str) {
        text.clone_into(&mut self.0);
    }

    fn number(&mut self, number: f64) {
        self.0 = number.to_string();
    }
}
