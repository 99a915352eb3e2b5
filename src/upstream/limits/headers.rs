//! The limits that headers state, on a success as well as on a failure.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::{
    provider::Quantity,
    upstream::{
        limits::statement::{DAY, HOUR, MINUTE, SECOND, Statement},
        resets::{date, parse_reset},
    },
};

/// The windows that names end with.
const WINDOWS: [(&str, Duration); 4] = [
    ("second", SECOND),
    ("minute", MINUTE),
    ("hour", HOUR),
    ("day", DAY),
];

/// What the headers of a response state. `now` is the time by the wall clock: an instant that is named is measured
/// by the upstream's own `Date`, if it has one.
pub(crate) fn of(headers: &HeaderMap, now: SystemTime) -> Vec<Statement> {
    let fields = headers.iter().filter_map(|(name, value)| {
        let field = Field::named(name.as_str())?;
        Some((field, value.to_str().ok()?))
    });
    gather(fields, || date(headers).unwrap_or(now))
}

/// The same of names in lower case with their values. `now` is the time by the upstream's clock.
pub(super) fn of_pairs(pairs: &[(String, String)], now: SystemTime) -> Vec<Statement> {
    let fields = pairs
        .iter()
        .filter_map(|(name, value)| Some((Field::named(name)?, &**value)));
    gather(fields, || now)
}

/// What a header is about.
#[derive(Clone, Copy)]
struct Field {
    part: Part,
    of: Quantity,
    window: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Limit,
    Remaining,
    Reset,
    /// Azure, also behind GitHub: what is advertised beside it is the deployment's limit, not the account's.
    RenewalPeriod,
}

impl Field {
    /// `x-ratelimit-limit`, `-remaining` and `-reset`, and the same without `x-` (IETF draft), with what they count and
    /// the window appended or not: `-requests`, `-tokens-minute`, `-req-minute` (Mistral).
    fn named(name: &str) -> Option<Self> {
        let name = name.strip_prefix("x-").unwrap_or(name);
        if name == "trial-endpoint-call-remaining" {
            // Cohere.
            let (part, of, window) = (Part::Remaining, Quantity::Requests, None);
            return Some(Self { part, of, window });
        }
        let mut words = name.strip_prefix("ratelimit-")?.split('-');
        let part = match words.next()? {
            "limit" | "policy" => Part::Limit,
            "remaining" => Part::Remaining,
            "reset" => Part::Reset,
            "renewalperiod" => Part::RenewalPeriod,
            _ => return None,
        };
        let mut word = words.next();
        let of = match word {
            Some("tokens") => Quantity::Tokens,
            _ => Quantity::Requests,
        };
        if let Some("requests" | "req" | "tokens") = word {
            word = words.next();
        }
        let window = match word {
            Some(word) => Some(WINDOWS.iter().find(|(name, _)| *name == word)?.1),
            None => None,
        };
        words.next().is_none().then_some(Self { part, of, window })
    }
}

/// Puts together what is stated of each limit. Of a header that comes twice the first counts.
fn gather<'a>(
    fields: impl Iterator<Item = (Field, &'a str)>,
    now: impl Fn() -> SystemTime,
) -> Vec<Statement> {
    let mut all: Vec<Statement> = Vec::new();
    // Windows that the values of limits name.
    let mut lengths: Vec<(Quantity, Option<Duration>)> = Vec::new();
    let mut is_advertised = false;
    for (Field { part, of, window }, text) in fields {
        if part == Part::RenewalPeriod {
            is_advertised = true;
            continue;
        }
        let known = all
            .iter()
            .position(|known| known.of == of && known.window == window);
        let known = known.unwrap_or_else(|| {
            all.push(Statement::new(of, window));
            all.len() - 1
        });
        let known = &mut all[known];
        match part {
            Part::Limit => {
                // Where nothing is allowed at all, a limit is not what tells.
                let limit = amount(text).filter(|&limit| limit > 0);
                known.limit = known.limit.or(limit);
                if window.is_none() {
                    lengths.push((of, length_in(text)));
                }
            }
            Part::Remaining => known.remaining = known.remaining.or_else(|| amount(text)),
            Part::Reset => known.resets = known.resets.or_else(|| parse_reset(text, now())),
            Part::RenewalPeriod => {}
        }
    }
    for statement in &mut all {
        if is_advertised {
            (statement.limit, statement.window) = (None, None);
        } else if statement.window.is_none() {
            let mut named = lengths.iter().filter(|(of, _)| *of == statement.of);
            statement.window = named.find_map(|(_, length)| *length);
        }
    }
    all.retain(Statement::says_something);
    all
}

/// A number of requests or tokens: what stands before the parameters that the IETF draft has. What is less than nothing is
/// nothing; a part is none.
fn amount(text: &str) -> Option<u64> {
    let text = text.split([';', ',']).next()?.trim().trim_matches('"');
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    // A cast of what is too large or below zero gives the nearest.
    (!number.is_nan()).then_some(number as u64)
}

/// The window in a limit of the IETF draft: `100;w=60`, `100, 100;w=60`. Of several policies none is the limit's for certain.
fn length_in(text: &str) -> Option<Duration> {
    let mut lengths = text.split([';', ',']).filter_map(|parameter| {
        let seconds = parameter.trim().strip_prefix("w=")?.parse().ok()?;
        (seconds > 0).then(|| Duration::from_secs(seconds))
    });
    let length = lengths.next()?;
    lengths.next().is_none().then_some(length)
}
