//! When a limit ends, as an upstream names it.
//!
//! This module is pure parsing: it neither classifies a response nor remembers one. Providers name the end of a limit
//! in headers, in fields of the error, or only in its prose; as seconds, an instant or a duration, told apart by shape.
//! Whatever they say, nothing here panics, and nothing is longer than [`MAX`].

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use serde::de::MapAccess;

use crate::lenient::{Reads, into, read, skip};

/// The longest wait that is believed: 32 days, so that a monthly quota fits.
pub(crate) const MAX: Duration = Duration::from_secs(32 * 24 * 60 * 60);

/// The wait that an error states.
///
/// What the upstream says of this very error goes first: `Retry-After`, its siblings in the body, a sentence. Only then
/// come the counters that every response carries: the one that stands at zero, else the one that resets first. Within
/// each, headers go before the body. A past end is no wait at all.
pub(crate) fn stated(headers: &HeaderMap, body: &[u8], now: SystemTime) -> Option<Duration> {
    let now = date(headers).unwrap_or(now);
    retry_after(headers, now).or_else(|| {
        let mut hints = Hints::of(body, now);
        let mut counters = counters(headers);
        counters.extend(hints.counters());
        hints
            .retry
            .or(hints.sentence)
            .or_else(|| zero(&counters, now))
            .or_else(|| {
                counters
                    .iter()
                    .filter_map(|counter| parse_reset(&counter.reset, now))
                    .min()
            })
    })
}

/// The wait that a success announces: some counter stands at zero, and says when it resets.
///
/// A `Retry-After` on a success means nothing: router.huggingface.co and Anthropic send it.
pub(crate) fn exhausted(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    zero(&counters(headers), date(headers).unwrap_or(now))
}

/// The wait until `text`, told apart by its shape: seconds from now, an epoch in seconds or milliseconds, a duration as
/// Go writes it (`2m59.56s`), RFC 3339, or an HTTP date.
pub(crate) fn parse_reset(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim().trim_matches('"').trim();
    // A number in words (`inf`, `NaN`) is none; a negative one neither.
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
        return Duration::try_from_secs_f64(number).ok().map(|wait| wait.min(MAX));
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

fn millis(text: &str) -> Option<Duration> {
    let millis: f64 = text.trim().parse().ok()?;
    let wait = Duration::try_from_secs_f64(millis / 1000.0).ok()?;
    Some(wait.min(MAX))
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

/// What a body says of waiting.
#[derive(Debug)]
struct Hints {
    now: SystemTime,
    /// A field that says when to return.
    retry: Option<Duration>,
    /// A sentence that does.
    sentence: Option<Duration>,
    /// Headers that were put into the body: names in lower case, and values.
    headers: Vec<(String, String)>,
}

/// Headers in a body beyond this are not counters.
const MAX_HEADERS: usize = 64;

impl Hints {
    fn of(body: &[u8], now: SystemTime) -> Self {
        let text = String::from_utf8_lossy(body);
        let mut hints = Self {
            now,
            retry: None,
            sentence: None,
            headers: Vec::new(),
        };
        if !read(text.trim_start_matches('\u{feff}'), &mut hints) {
            // No JSON, or cut short: the sentence may still stand in it.
            hints.text(&text);
        }
        hints
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
            "retry-after" | "retry_after" | "retryafter" | "retry_after_seconds" | "retry_after_seconds_raw"
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
            // Where an error speaks, and what it is wrapped in.
            "error" | "errors" | "message" | "detail" | "details" | "metadata" | "headers"
            | "availability" | "response" | "choices" => into(map, self),
            // The upstream's own answer, relayed by OpenRouter: often JSON in a string.
            "raw" => {
                let mut raw = Scalar::default();
                into(map, &mut raw)?;
                let mut inner = Quoted(self);
                if !read(&raw.0, &mut inner) {
                    self.text(&raw.0);
                }
                Ok(())
            }
            _ => skip(map),
        }
    }

    fn text(&mut self, text: &str) {
        if self.sentence.is_none() {
            self.sentence = sentence(text, self.now);
        }
    }
}

/// JSON inside a string: read as any other, but what is quoted in it in turn is not.
struct Quoted<'a>(&'a mut Hints);

impl Reads for Quoted<'_> {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "raw" => skip(map),
            "error" | "errors" | "metadata" | "details" => into(map, self),
            _ => self.0.field(key, map),
        }
    }

    fn text(&mut self, text: &str) {
        self.0.text(text);
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

/// What stands before a duration. Each is a sentence of a real provider.
const BEFORE_DURATION: &[&str] = &[
    "try again in ",     // Groq, OpenAI: "Please try again in 11m0.528s."
    "please wait ",      // GitHub Models: "Please wait 5631 seconds before retrying."
    "retry after ",      // OpenRouter, LLM7: "Retry after 40 seconds."
    "retry in ",         // Gemini: "Please retry in 15.064991272s."
    "reset after ",      // gateways: "(reset after 2m 13s)"
    "resets after ",
    "reset in ",
    "resets in ",
    "try again after ",
];

/// What stands before an instant.
const BEFORE_INSTANT: &[&str] = &["reset at ", "resets at "];

/// The wait that a sentence names.
fn sentence(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let after = |marks: &'static [&'static str]| {
        let text = &text;
        marks.iter().filter_map(move |mark| Some(text.split_once(mark)?.1))
    };
    after(BEFORE_DURATION)
        .find_map(|rest| duration(rest).map(|(wait, _)| wait.min(MAX)))
        .or_else(|| after(BEFORE_INSTANT).find_map(|rest| instant(rest, now)))
}

/// `2026-09-04 18:30:53`, without a zone as Z.ai writes it, who means UTC+8; or RFC 3339.
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
        let next = text.strip_prefix("and ").or_else(|| text.strip_prefix(", "));
        text = next.unwrap_or(text).trim_start();
    }
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start();
    let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
    let (unit, rest) = after.split_at(letters);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some((number * scale, rest))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// 2026-09-04T10:00:00Z.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_788_516_000)
    }

    fn secs(seconds: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(seconds))
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn of_headers(pairs: &[(&str, &str)]) -> Option<Duration> {
        stated(&headers(pairs), b"", now())
    }

    fn of_body(body: &str) -> Option<Duration> {
        stated(&HeaderMap::new(), body.as_bytes(), now())
    }

    #[test]
    fn a_reset_is_told_apart_by_its_shape() {
        for (text, expected) in [
            ("30", secs(30.0)),
            (" 30 ", secs(30.0)),
            ("\"30\"", secs(30.0)),
            ("11.38", secs(11.38)),
            ("33011.382867", secs(33011.382_867)),
            ("0", secs(0.0)),
            ("1788516060", secs(60.0)),
            ("1788516060000", secs(60.0)),
            ("1788516060500", secs(60.5)),
            ("1788515999", secs(0.0)),
            ("6s", secs(6.0)),
            ("370ms", secs(0.37)),
            ("2m59.56s", secs(179.56)),
            ("3m6s", secs(186.0)),
            ("1h23m45.6s", secs(5025.6)),
            ("15.064991272s", secs(15.064_991_272)),
            ("500µs", secs(0.0005)),
            ("2026-09-04T10:01:00Z", secs(60.0)),
            ("2026-09-04T12:01:00.5+02:00", secs(60.5)),
            ("Fri, 04 Sep 2026 10:01:00 GMT", secs(60.0)),
            ("Fri, 04 Sep 2026 09:01:00 GMT", secs(0.0)),
            ("99999999", Some(MAX)),
            ("99999999999", Some(MAX)),
            ("9999999999999", Some(MAX)),
            ("999999999h", Some(MAX)),
            ("9998-12-31T23:59:59Z", Some(MAX)),
        ] {
            assert_eq!(parse_reset(text, now()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_reset_is_none() {
        for text in [
            "", " ", "-1", "NaN", "inf", "-inf", "infinity", "1e400", "1e300", "soon", "5 apples", "5s later",
            "1.2.3s", "-5s", "s", "🦀", "2026-09-04", "0x10",
        ] {
            assert_eq!(parse_reset(text, now()), None, "{text}");
        }
    }

    #[test]
    fn retry_after_goes_before_any_reset() {
        assert_eq!(
            of_headers(&[
                ("x-ratelimit-reset-tokens", "370ms"),
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "3m6s"),
                ("retry-after", "7"),
            ]),
            secs(7.0)
        );
        assert_eq!(of_headers(&[("retry-after", "Fri, 04 Sep 2026 10:00:09 GMT")]), secs(9.0));
        assert_eq!(of_headers(&[("retry-after", "1"), ("retry-after-ms", "250")]), secs(0.25));
        assert_eq!(of_headers(&[("x-ratelimit-timeremaining", "5631")]), secs(5631.0));
    }

    #[test]
    fn garbage_in_retry_after_leaves_the_rest_its_say() {
        assert_eq!(of_headers(&[("retry-after", "later"), ("x-ratelimit-reset", "5")]), secs(5.0));
    }

    #[test]
    fn the_reset_of_what_is_spent_goes_before_a_shorter_one() {
        assert_eq!(
            of_headers(&[
                ("x-ratelimit-remaining-tokens", "12"),
                ("x-ratelimit-reset-tokens", "370ms"),
                ("x-ratelimit-remaining-requests-day", "0"),
                ("x-ratelimit-reset-requests-day", "33011.38"),
            ]),
            secs(33011.38)
        );
    }

    #[test]
    fn of_resets_with_something_left_the_shortest_counts() {
        assert_eq!(
            of_headers(&[("x-ratelimit-reset-requests", "3m6s"), ("x-ratelimit-reset-tokens", "370ms")]),
            secs(0.37)
        );
    }

    #[test]
    fn an_epoch_is_measured_by_the_clock_of_the_one_who_names_it() {
        // Its clock is an hour behind ours.
        let date = ("date", "Fri, 04 Sep 2026 09:00:00 GMT");
        assert_eq!(of_headers(&[date, ("x-ratelimit-reset", "1788512460")]), secs(60.0));
        assert_eq!(of_headers(&[date, ("retry-after", "60")]), secs(60.0));
        assert_eq!(of_headers(&[("date", "garbage"), ("x-ratelimit-reset", "1788516060")]), secs(60.0));
    }

    #[test]
    fn a_body_names_its_reset_in_fields() {
        for (body, expected) in [
            (r#"{"error":{"metadata":{"headers":{"X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1788516060000"}}}}"#, 60.0),
            (r#"{"error":{"metadata":{"headers":{"X-RateLimit-Reset":1788516060000}}}}"#, 60.0),
            (r#"{"error":{"metadata":{"retry_after_seconds":29,"retry_after_seconds_raw":28.9}}}"#, 29.0),
            (r#"{"error":{"metadata":{"retry_after_seconds_raw":28.9}}}"#, 28.9),
            (r#"{"error":{"metadata":{"headers":{"Retry-After":"29","X-RateLimit-Reset":"1788516060000"}}}}"#, 29.0),
            (r#"{"error":{"availability":{"retry_after":40}}}"#, 40.0),
            (r#"{"error":{"message":"m","retry_after":1}}"#, 1.0),
            (r#"{"retry_after_ms":1500}"#, 1.5),
            (r#"[{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}]"#, 34.4),
            (r#"{"error":{"metadata":{"raw":"{\"error\":{\"details\":[{\"retryDelay\":\"34s\"}]}}"}}}"#, 34.0),
            (r#"{"error":{"metadata":{"raw":"busy, retry after 3 seconds"}}}"#, 3.0),
        ] {
            assert_eq!(of_body(body), secs(expected), "{body}");
        }
    }

    #[test]
    fn a_sentence_names_the_wait() {
        for (text, expected) in [
            ("Limit 15000, Used 11972. Please try again in 5.289s. Visit https://x.y", 5.289),
            ("Please try again in 11m0.528s. Need more tokens?", 660.528),
            ("Please try again in 6m 11.52s.", 371.52),
            ("try again in 1h23m45.6s", 5025.6),
            ("try again in 370ms.", 0.37),
            ("Please wait 5631 seconds before retrying.", 5631.0),
            ("Please wait 0 seconds before retrying.", 0.0),
            ("at capacity. Retry after 40 seconds.", 40.0),
            ("limit: 20\nPlease retry in 15.06s.", 15.06),
            ("(reset after 2m 13s)", 133.0),
            ("resets in 1 hour and 5 minutes", 3900.0),
            ("[1310][Limit Exhausted. Your limit will reset at 2026-09-04 18:30:53]", 1853.0),
            ("resets at 2026-09-04T10:01:00Z.", 60.0),
        ] {
            assert_eq!(of_body(&format!(r#"{{"error":{{"message":{text:?}}}}}"#)), secs(expected), "{text}");
            assert_eq!(of_body(text), secs(expected), "{text}");
        }
    }

    #[test]
    fn a_sentence_without_a_wait_is_none() {
        for text in [
            "Please try again later.",
            "Please wait or upgrade",
            "retry after in-flight requests settle",
            "try again in 5 requests",
            "resets at midnight",
            "retry in ",
        ] {
            assert_eq!(of_body(text), None, "{text}");
        }
    }

    #[test]
    fn a_sentence_about_this_error_goes_before_the_counters_of_every_response() {
        // Groq names a spent day in prose only, beside counters of other windows.
        let headers = headers(&[("x-ratelimit-reset-requests", "6s"), ("x-ratelimit-reset-tokens", "370ms")]);
        let body = br#"{"error":{"message":"tokens per day (TPD). Please try again in 11m0.528s."}}"#;
        assert_eq!(stated(&headers, body, now()), secs(660.528));
    }

    #[test]
    fn a_body_cut_short_gives_what_came_before() {
        assert_eq!(of_body(r#"{"error":{"retry_after":7,"message":"Rate lim"#), secs(7.0));
        assert_eq!(of_body(r#"{"error":{"message":"try again in 7s. Vis"#), secs(7.0));
    }

    #[test]
    fn a_success_announces_only_what_is_spent() {
        let of = |pairs: &[_]| exhausted(&headers(pairs), now());
        assert_eq!(of(&[("retry-after", "60")]), None);
        assert_eq!(of(&[("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "6s")]), None);
        assert_eq!(of(&[("x-ratelimit-remaining-req-minute", "0")]), None);
        assert_eq!(of(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6s")]), secs(6.0));
        assert_eq!(of(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "9")]), secs(9.0));
        assert_eq!(
            of(&[
                ("x-ratelimit-remaining-requests-day", "0"),
                ("x-ratelimit-reset-requests-day", "900"),
                ("x-ratelimit-remaining-tokens-minute", "0"),
                ("x-ratelimit-reset-tokens-minute", "11.38"),
            ]),
            secs(900.0)
        );
    }

    proptest! {
        #[test]
        fn nothing_parsed_is_longer_than_the_longest(text in "[0-9a-zA-Z.:+, µ-]{0,40}|\\PC{0,40}", value in any::<f64>()) {
            for text in [text, value.to_string(), format!("{value}h{value}m"), format!("{value:e}")] {
                let field = serde_json::json!({ "retry_after": text }).to_string();
                prop_assert!(parse_reset(&text, now()).is_none_or(|wait| wait <= MAX));
                for body in [format!("try again in {text}"), format!("reset at {text}"), field] {
                    prop_assert!(of_body(&body).is_none_or(|wait| wait <= MAX));
                }
            }
        }

        #[test]
        fn any_header_gives_at_most_the_longest(value in prop::collection::vec(any::<u8>(), 0..30), seconds in any::<u32>()) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            for name in ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-timeremaining", "date"] {
                let headers: HeaderMap = [(HeaderName::from_static(name), value.clone())].into_iter().collect();
                prop_assert!(stated(&headers, value.as_bytes(), now).is_none_or(|wait| wait <= MAX));
                prop_assert!(exhausted(&headers, now).is_none_or(|wait| wait <= MAX));
            }
        }
    }
}
