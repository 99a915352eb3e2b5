//! The shapes in which a wait is written: a number, an instant, a duration, a sentence.

use std::time::{Duration, SystemTime};

use crate::upstream::{resets::MAX, searchable::Searchable};

/// The wait until `text`, told apart by its shape: seconds from now, an epoch in seconds or milliseconds, a duration as
/// Go writes it (`2m59.56s`), RFC 3339, or an HTTP date.
pub(crate) fn parse_reset(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim().trim_matches('"').trim();
    // A number in words (`inf`, `NaN`) and a negative number are not read.
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        if let Ok(number) = text.parse::<f64>() {
            return number_to_wait(number, now);
        }
        if let Some((wait, "")) = duration(text) {
            return Some(wait.min(MAX));
        }
    }
    let instant = match text.parse() {
        Ok(timestamp) => to_system(timestamp)?,
        Err(_) => httpdate::parse_http_date(text).ok()?,
    };
    Some(until(instant, now))
}

/// Not by `From`, which has instants that some platform's clock has not.
fn to_system(timestamp: jiff::Timestamp) -> Option<SystemTime> {
    let epoch = Duration::try_from(timestamp.as_duration()).unwrap_or_default();
    SystemTime::UNIX_EPOCH.checked_add(epoch)
}

/// OpenRouter resets at an epoch in milliseconds, but has been seen to do so in seconds; others count from now.
fn number_to_wait(number: f64, now: SystemTime) -> Option<Duration> {
    const EPOCH_SECONDS: f64 = 1e9;
    const EPOCH_MILLIS: f64 = 1e11;
    /// The year 5138: no instant that is meant.
    const NONSENSE: f64 = 1e14;

    let epoch = if number < EPOCH_SECONDS {
        return Duration::try_from_secs_f64(number)
            .ok()
            .map(|wait| wait.min(MAX));
    } else if number < EPOCH_MILLIS {
        Duration::try_from_secs_f64(number).ok()?
    } else if number < NONSENSE {
        Duration::from_millis(number as u64)
    } else {
        return None;
    };
    Some(until(SystemTime::UNIX_EPOCH.checked_add(epoch)?, now))
}

fn until(instant: SystemTime, now: SystemTime) -> Duration {
    instant.duration_since(now).unwrap_or_default().min(MAX)
}

/// A number of milliseconds.
pub(crate) fn millis(text: &str) -> Option<Duration> {
    let millis: f64 = text.trim().parse().ok()?;
    let wait = Duration::try_from_secs_f64(millis / 1000.0).ok()?;
    Some(wait.min(MAX))
}

/// What stands before a duration. Each is a sentence of a real provider.
const BEFORE_DURATION: &[&str] = &[
    "try again in ", // Groq, OpenAI: "Please try again in 11m0.528s."
    "please wait ",  // GitHub Models: "Please wait 5631 seconds before retrying."
    "retry after ",  // OpenRouter, LLM7: "Retry after 40 seconds."
    "retry in ",     // Gemini: "Please retry in 15.064991272s."
    "reset after ",  // gateways: "(reset after 2m 13s)"
    "resets after ",
    "reset in ",
    "resets in ",
    "try again after ",
];

/// What stands before an instant.
const BEFORE_INSTANT: &[&str] = &["reset at ", "resets at "];

/// The wait that a sentence names; of several the shortest, because all but one may be the caller's words, which must
/// not make it longer.
pub(crate) fn sentence(text: &Searchable, now: SystemTime) -> Option<Duration> {
    let after = |marks: &'static [&'static str]| marks.iter().flat_map(|mark| text.all_after(mark));
    let durations = after(BEFORE_DURATION).filter_map(|rest| Some(duration(rest)?.0.min(MAX)));
    let instants = after(BEFORE_INSTANT).filter_map(|rest| instant(rest, now));
    durations.chain(instants).min()
}

/// `2026-09-04 18:30:53`, without a zone, as Z.ai writes it for UTC+8; or RFC 3339.
fn instant(text: &str, now: SystemTime) -> Option<Duration> {
    const ZAI: jiff::tz::Offset = jiff::tz::offset(8);

    let end = text
        .find(|c: char| !(c.is_ascii_digit() || " t:.-+z".contains(c)))
        .unwrap_or(text.len());
    let stamp = text[..end].trim_end_matches(['.', ' ', '-']);
    let stamp = stamp.to_ascii_uppercase();
    let timestamp = stamp
        .parse()
        .or_else(|_| ZAI.to_timestamp(stamp.parse()?))
        .ok()?;
    Some(until(to_system(timestamp)?, now))
}

/// The units of Go's `time.Duration`, and those of English.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("millisecond", 1e-3),
    ("milliseconds", 1e-3),
    ("s", 1.0),
    ("sec", 1.0),
    ("secs", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("mins", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("h", 3600.0),
    ("hr", 3600.0),
    ("hrs", 3600.0),
    ("hour", 3600.0),
    ("hours", 3600.0),
    ("d", 86400.0),
    ("day", 86400.0),
    ("days", 86400.0),
];

/// A duration at the start of `text` (`11m0.528s`, `6m 11.52s`, `1 hour and 5 minutes`, `5631 seconds`), and what
/// follows it.
fn duration(text: &str) -> Option<(Duration, &str)> {
    let mut seconds = None;
    let mut rest = text;
    while let Some((term, after)) = term(rest, seconds.is_some()) {
        seconds = Some(seconds.unwrap_or(0.0) + term);
        rest = after;
    }
    // Beyond what a duration can hold it is as good as [`MAX`].
    let seconds: f64 = seconds?;
    Some((Duration::try_from_secs_f64(seconds).unwrap_or(MAX), rest))
}

/// One number with its unit, in seconds, and what follows.
fn term(text: &str, joined: bool) -> Option<(f64, &str)> {
    let mut text = text.trim_start();
    if joined {
        let next = text
            .strip_prefix("and ")
            .or_else(|| text.strip_prefix(", "));
        text = next.unwrap_or(text).trim_start();
    }
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start();
    let letters = after
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(after.len());
    let (unit, rest) = after.split_at(letters);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some((number * scale, rest))
}
