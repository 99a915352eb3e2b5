//! Which limit a refusal names, and what it says of it.

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use crate::{
    outcome::{LimitHit, LimitOf},
    provider::Quantity,
    upstream::{
        envelope::{Envelope, GoogleQuota},
        error::UpstreamError,
        limits::{
            headers::{of, of_pairs},
            statement::{DAY, HOUR, MINUTE},
        },
        searchable::Searchable,
    },
};
use LimitOf::{AtOnce, Requests, Tokens};

/// Labels that name a limit. The first that an error has counts.
const LABELS: &[(&str, LimitOf, Option<Duration>)] = &[
    ("openrouter_free_tier_daily", Requests, Some(DAY)),
    ("openrouter_free_tier_per_minute", Requests, Some(MINUTE)),
    ("token_quota_exceeded", Tokens, None),     // Cerebras
    ("request_quota_exceeded", Requests, None), // Cerebras
    ("too_many_tokens_error", Tokens, None),    // Cerebras
    ("tokens", Tokens, None),                   // Groq, OpenAI: the `type`
    ("requests", Requests, None),               // Groq, OpenAI
    ("1302", AtOnce, None),                     // Z.ai
];

/// Phrases that name a limit. The amounts, if any, follow: "Limit 15000, Used 11972, Requested 4351".
const PHRASES: &[(&str, LimitOf, Option<Duration>)] = &[
    ("tokens per min", Tokens, Some(MINUTE)), // Groq, OpenAI, Cerebras
    ("tokens per hour", Tokens, Some(HOUR)),  // Cerebras
    ("tokens per day", Tokens, Some(DAY)),    // Groq, Cerebras
    ("requests per min", Requests, Some(MINUTE)), // Groq, OpenAI, Cerebras
    ("requests per hour", Requests, Some(HOUR)), // Cerebras
    ("requests per day", Requests, Some(DAY)), // Groq, OpenAI, Cerebras
    ("free-models-per-min", Requests, Some(MINUTE)), // OpenRouter
    ("free-models-per-day", Requests, Some(DAY)), // OpenRouter
    ("requests rate limit exceeded", Requests, None), // Mistral
];

/// What Cohere says after the amount.
const CALLS: &[(&str, Option<Duration>)] = &[
    (" api calls / minute", Some(MINUTE)),
    (" api calls / month", None),
];

/// The limit that was reached, as far as the error or its headers say. Words are believed under the statuses of limits
/// alone, and only if no label contradicts them.
///
/// What a router passes on is no limit of ours.
pub(in crate::upstream) fn hit(
    error: &UpstreamError,
    headers: &HeaderMap,
    now: SystemTime,
) -> Option<LimitHit> {
    let envelope = &error.envelope;
    if envelope.is_of_routers_upstream() {
        return None;
    }
    let in_words = || match error.status().as_u16() {
        402 | 429 if !error.status_in_words() => in_words(envelope),
        _ => None,
    };
    let labelled = LABELS
        .iter()
        .find(|(label, ..)| envelope.labels.iter().any(|found| found == label))
        .map(|&(_, of, window)| named(of, window));
    let mut hit = match (in_quotas(&envelope.quotas), labelled) {
        (Some(hit), _) => Some(hit),
        (None, Some(labelled)) => {
            let agrees = |said: &LimitHit| {
                let window = labelled.window;
                said.of == labelled.of && (window.is_none() || said.window == window)
            };
            Some(in_words().filter(agrees).unwrap_or(labelled))
        }
        (None, None) => in_words(),
    };
    // What is said of this very error goes first, and a counter at zero fills in what it leaves out.
    let mut spent = of_pairs(&envelope.waits.counters, now);
    if !error.sent_status().is_success() {
        spent.extend(of(headers, now));
    }
    spent.retain(|counter| counter.remaining == Some(0));
    for counter in &spent {
        let of = match counter.of {
            Quantity::Requests => Requests,
            Quantity::Tokens => Tokens,
        };
        // Of several that are spent none is the one that refused.
        if hit.is_none() && spent.len() == 1 {
            hit = Some(named(of, None));
        }
        if let Some(hit) = hit
            .as_mut()
            .filter(|hit| hit.of == of && hit.limit.is_none())
        {
            let is_same = |window| counter.window.is_none_or(|counted| counted == window);
            if hit.window.is_none_or(is_same) && spent.len() == 1 {
                hit.window = hit.window.or(counter.window);
                hit.limit = counter.limit;
            }
        }
    }
    hit
}

/// The limit of tokens within a minute that a single request exceeds. Words are believed where the status is that of a
/// size or of a limit.
pub(in crate::upstream) fn largest_request(error: &UpstreamError) -> Option<u64> {
    if error.status_in_words() || !matches!(error.status().as_u16(), 413 | 429) {
        return None;
    }
    let hit = in_words(&error.envelope)?;
    let is_minute = hit.of == Tokens && hit.window == Some(MINUTE);
    hit.limit.filter(|limit| is_minute && *limit > 0)
}

const fn named(of: LimitOf, window: Option<Duration>) -> LimitHit {
    let mut hit = LimitHit::new(of);
    hit.window = window;
    hit
}

/// Google's ids say what is counted in which time: `GenerateRequestsPerDayPerProjectPerModel-FreeTier`. Of several the one
/// of the longest time counts, because it ends last.
fn in_quotas(quotas: &[GoogleQuota]) -> Option<LimitHit> {
    let hits = quotas.iter().filter_map(|GoogleQuota { id, amount }| {
        // Tokens first: "request" also stands in the names of what requests have.
        let of = match () {
            () if id.contains("token") => Tokens,
            () if id.contains("request") => Requests,
            () => return None,
        };
        let windows = [("perminute", MINUTE), ("perhour", HOUR), ("perday", DAY)];
        let window = windows.iter().find(|(word, _)| id.contains(word));
        let mut hit = named(of, window.map(|(_, length)| *length));
        hit.limit = amount.filter(|&amount| amount > 0);
        Some(hit)
    });
    hits.max_by_key(|hit| hit.window)
}

/// What the first lines of the messages say, outside of quotes. Of several the one with the largest limit counts,
/// because all but one may be the caller's words, which must not make it smaller.
fn in_words(envelope: &Envelope) -> Option<LimitHit> {
    let lines = envelope.messages.iter().map(|message| &message.open);
    let hits = lines.flat_map(|line| {
        let of_phrases = PHRASES.iter().flat_map(move |&(phrase, of, window)| {
            line.all_after(phrase)
                .map(move |rest| counted(named(of, window), rest))
        });
        of_phrases.chain(of_cohere(line)).chain(of_github(line))
    });
    hits.max_by_key(|hit| hit.limit)
}

/// With the amounts that follow in the sentence.
fn counted(mut hit: LimitHit, rest: &str) -> LimitHit {
    let sentence = rest.split(". ").next().unwrap_or_default();
    let after = |word: &str| number(sentence.split_once(word)?.1).map(|(number, _)| number);
    hit.limit = after("limit ").filter(|&limit| limit > 0);
    hit.used = after("used ");
    hit.requested = after("requested ");
    hit
}

/// "You are using a Trial key, which is limited to 20 API calls / minute."
fn of_cohere(line: &Searchable) -> impl Iterator<Item = LimitHit> + '_ {
    line.all_after("limited to ").filter_map(|rest| {
        let (limit, rest) = number(rest)?;
        let (_, window) = CALLS.iter().find(|(words, _)| rest.starts_with(words))?;
        let mut hit = named(Requests, *window);
        hit.limit = Some(limit).filter(|&limit| limit > 0);
        Some(hit)
    })
}

/// "Rate limit of 50 per 86400s exceeded for UserByModelByDay." The header with the type alone is read the same way.
fn of_github(line: &Searchable) -> impl Iterator<Item = LimitHit> + '_ {
    const TYPE: &str = "exceeded for user";

    let amounts = line.all_after("rate limit of ").filter_map(|rest| {
        let (limit, rest) = number(rest)?;
        let (seconds, rest) = number(rest.strip_prefix(" per ")?)?;
        let kind = rest.strip_prefix("s ")?.strip_prefix(TYPE)?;
        let mut hit = of_github_type(kind);
        if hit.of != AtOnce && seconds > 0 {
            hit.window = Some(Duration::from_secs(seconds));
        }
        hit.limit = Some(limit).filter(|&limit| limit > 0);
        Some(hit)
    });
    amounts.chain(line.all_after(TYPE).map(of_github_type))
}

/// `ByModelByDay`, `ByMinute`, `ConcurrentRequests`, as it stands after `User`.
fn of_github_type(text: &str) -> LimitHit {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric());
    let kind = &text[..end.unwrap_or(text.len())];
    if kind.contains("concurrent") {
        return named(AtOnce, None);
    }
    let windows = [("byminute", MINUTE), ("byhour", HOUR), ("byday", DAY)];
    let window = windows.iter().find(|(word, _)| kind.contains(word));
    let of = if kind.contains("token") {
        Tokens
    } else {
        Requests
    };
    named(of, window.map(|(_, length)| *length))
}

/// The number at the start, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}
