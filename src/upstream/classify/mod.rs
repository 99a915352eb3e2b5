//! What a failed response means.
//!
//! Evidence beats status: the same 400, 402, 403, 404 or 429 means different things by what its body names. So the
//! [patterns](super::patterns) in the body are looked for first, and the status decides what they leave open.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header};

use crate::{
    endpoint::Endpoint,
    outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
    upstream::{
        arguments,
        error::{ErrorBody, ROUTERS_OWN},
        patterns::{BEFORE_WINDOW, By, DAY_WORDS, LIMITED_WORDS, Means, SIGNS, STATUSES, Sign},
        resets,
    },
};

/// What is known of a failed response.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Evidence<'a> {
    /// Its status; of an error in a 2xx, that one.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, or the event of a stream that holds the error. It may be empty or cut short.
    pub body: &'a [u8],
    /// The time by the wall clock.
    pub now: SystemTime,
    /// What was asked for, if that is known.
    pub endpoint: Option<Endpoint>,
}

impl<'a> Evidence<'a> {
    /// Puts the evidence together.
    #[must_use]
    pub const fn new(
        status: StatusCode,
        headers: &'a HeaderMap,
        body: &'a [u8],
        now: SystemTime,
    ) -> Self {
        Self {
            status,
            headers,
            body,
            now,
            endpoint: None,
        }
    }

    /// The same, of a request to this endpoint.
    #[must_use]
    pub const fn at(mut self, endpoint: Option<Endpoint>) -> Self {
        self.endpoint = endpoint;
        self
    }
}

/// The body may echo a credential, so of it only the length is shown.
impl fmt::Debug for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence")
            .field("status", &self.status)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("now", &self.now)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Tells what a failed response means: for this request, and for the health of what sent it.
///
/// It is asked about every response that is not a 2xx, and about an error that is found in one. A closure will do:
///
/// ```
/// use tower_free_models::{Classify, DefaultClassify, Evidence, Outcome, OutcomeKind};
///
/// // A provider whose 418 means that it is overloaded.
/// let classify = |evidence: &Evidence<'_>| match evidence.status.as_u16() {
///     418 => Outcome::of(OutcomeKind::Unavailable),
///     _ => DefaultClassify.classify(evidence),
/// };
/// # fn assert(_: impl Classify) {}
/// # assert(classify);
/// ```
pub trait Classify: Send + Sync {
    /// What this response means.
    fn classify(&self, evidence: &Evidence<'_>) -> Outcome;
}

impl<F> Classify for F
where
    F: Fn(&Evidence<'_>) -> Outcome + Send + Sync,
{
    fn classify(&self, evidence: &Evidence<'_>) -> Outcome {
        self(evidence)
    }
}

/// What is known of the errors of the free providers.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultClassify;

impl Classify for DefaultClassify {
    fn classify(&self, evidence: &Evidence<'_>) -> Outcome {
        Case::of(evidence).outcome()
    }
}

/// A quota that refills within this is none: what names so short a wait counts another window. Gemini puts a 15 s delay
/// on a day that is used up.
const SHORTEST_QUOTA: Duration = Duration::from_secs(60);

/// What is stated of a model that is not there is not believed if it is shorter: gateways add a second's
/// `Retry-After` to any error.
const SHORTEST_ABSENCE: Duration = Duration::from_secs(60);

/// One response, read.
struct Case<'a> {
    evidence: &'a Evidence<'a>,
    status: u16,
    /// The status is no number and no label, but what words of an error in a 2xx mean. So they say nothing that lasts.
    status_in_words: bool,
    body: ErrorBody,
    /// All of the body's text in lower case, with whatever it quotes: no evidence of what lasts.
    text: String,
}

impl<'a> Case<'a> {
    fn of(evidence: &'a Evidence<'a>) -> Self {
        let mut body = ErrorBody::of_response(evidence.headers, evidence.body);
        for (header, before) in [
            // GitHub Models names whose limit it is; Hugging Face explains itself.
            ("x-ratelimit-type", "exceeded for "),
            ("x-error-message", ""),
        ] {
            if let Some(value) = evidence
                .headers
                .get(header)
                .and_then(|value| value.to_str().ok())
            {
                body.say(&format!("{before}{value}"));
            }
        }
        let text = body.text.to_ascii_lowercase();
        let mut case = Self {
            evidence,
            status: evidence.status.as_u16(),
            status_in_words: false,
            body,
            text,
        };
        if evidence.status.is_success() {
            let status = case.inner_status();
            case.status_in_words = status.is_none();
            case.status = status.unwrap_or_else(|| case.status_by_words());
        }
        case
    }

    /// The status that the error in a 2xx would have had, as a number or a label says.
    fn inner_status(&self) -> Option<u16> {
        let named = || {
            let status = |label: &String| Some(STATUSES.iter().find(|(word, _)| word == label)?.1);
            let general = |status: &u16| *status == 400;
            let mut statuses = self.body.labels.iter().filter_map(status);
            // A type that says "bad request" is believed last: the code beside it says more.
            let first = statuses.next()?;
            Some(if general(&first) {
                statuses.find(|status| !general(status)).unwrap_or(first)
            } else {
                first
            })
        };
        self.body.status.or_else(named)
    }

    /// The same as far as its words say.
    fn status_by_words(&self) -> u16 {
        let limited = LIMITED_WORDS.iter().any(|words| self.says(&[words]));
        if limited { 429 } else { 500 }
    }

    /// Whether one message has all of these phrases where they are evidence.
    fn says(&self, phrases: &[&str]) -> bool {
        self.body.said.iter().any(|said| said.holds(phrases))
    }

    fn outcome(&self) -> Outcome {
        let outcome = self.outcome_of(self.means());
        let own = || {
            let mut labels = self.body.labels.iter();
            labels.any(|label| label.starts_with(ROUTERS_OWN))
        };
        if self.body.relayed && !own() {
            relayed(outcome)
        } else {
            outcome
        }
    }

    fn means(&self) -> Means {
        let sign = SIGNS.iter().find(|sign| self.shows(sign));
        match sign.map_or_else(|| self.means_by_status(), |sign| sign.2) {
            // It is still there for chats.
            Means::Gone if self.is_for_another_endpoint() => Means::Lacks(Lack::Parameter),
            means => means,
        }
    }

    fn shows(&self, Sign(statuses, by, means): &Sign) -> bool {
        let said = || self.body.said.iter();
        let labelled = |label: &str| self.body.labels.iter().any(|found| found == label);
        if !(statuses.is_empty() || statuses.contains(&self.status))
            || means.cools() && self.blames_another_parameter()
        {
            return false;
        }
        match by {
            By::Label(label) => labelled(label),
            // Words alone do not say how far words are to be believed.
            _ if self.status_in_words && means.cools() => false,
            By::Text(phrases) => self.says(phrases),
            By::Opening(phrases) => said().any(|said| said.opens_with(phrases)),
            By::Whole(sentence) => said().any(|said| said.is(sentence)),
            By::Anywhere(phrases) => phrases.iter().all(|phrase| self.text.contains(phrase)),
            By::Listed(label, opening, part) => {
                let holds = |line: &str| {
                    let line = line.trim_start_matches("* ");
                    line.starts_with(opening) && line.split(',').any(|found| found.trim() == *part)
                };
                labelled(label) && self.text.lines().any(holds)
            }
        }
    }

    fn means_by_status(&self) -> Means {
        match self.status {
            401 => Means::Unauthorised,
            402 => Means::Quota,
            // An edge that blocks shows a page. A bare refusal is the key's. One with a reason that we do not know may
            // be about what the caller wrote, or refers to: that must bench neither the provider nor the model.
            403 | 404 | 410 | 500 | 501 if self.blames_another_parameter() => Means::Refused,
            403 if self.body.html => Means::Unavailable,
            403 if self.is_bare() => Means::Unauthorised,
            404 if self.may_lack_the_endpoint() => Means::Lacks(Lack::Endpoint),
            404 if !self.may_lack_the_model() => Means::Unavailable,
            404 | 410 => Means::Gone,
            403 | 408 | 425 | 498 => Means::Unavailable,
            413 => Means::TooLong,
            429 => Means::Limited(self.scope_of_quotas()),
            400..=499 => Means::Refused,
            _ => Means::Unavailable,
        }
    }

    /// Whether the error finds fault with another parameter than the model: nothing of that is the model's, or the
    /// account's. A `previous_response_id` or a file that is not found does not mean that the model is gone. Under the
    /// statuses of limits a parameter is none of the request's: Cerebras' "quota" and "queue".
    fn blames_another_parameter(&self) -> bool {
        let finds_fault = matches!(
            self.status,
            400 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422 | 500 | 501
        );
        let param = self.body.param.as_deref();
        let is_another = |param| !matches!(param, "model" | "api_key");
        finds_fault && (self.body.within_param || param.is_some_and(is_another))
    }

    /// Whether what is not found may be the endpoint: every server chats, but not each has the others, and one that has
    /// not must not lose its models for chats. Who misses a model says so.
    fn may_lack_the_endpoint(&self) -> bool {
        self.is_no_chat() && !self.says(&["model"])
    }

    /// Whether what is not found may be the model, or the whole API: not a file, a prompt or a cache that the caller
    /// refers to, for which a service has other words than these.
    fn may_lack_the_model(&self) -> bool {
        const MODEL: &[&str] = &[
            "model",
            "endpoint",
            "deployment",
            "function '",
            "request url",
        ];
        const BARE: &[&str] = &[
            "",
            "not found",
            "404 not found",
            "404 page not found",
            "page not found",
            "file not found", // llama.cpp, of a path
            "resource not found",
            "http 404",
        ];
        let text = self.text.trim().trim_end_matches('.');
        BARE.contains(&text) || MODEL.iter().any(|words| self.says(&[words]))
    }

    /// Whether the model is said to be there, but not at this endpoint, which is not that of chats: OpenRouter's
    /// `wrong_endpoint`, and OpenAI's "This is a chat model and not supported in the v1/completions endpoint".
    fn is_for_another_endpoint(&self) -> bool {
        let labelled = || {
            self.body
                .labels
                .iter()
                .any(|label| label == "wrong_endpoint")
        };
        self.is_no_chat() && (labelled() || self.says(&["not supported in the v1/"]))
    }

    fn is_no_chat(&self) -> bool {
        let endpoint = self.evidence.endpoint;
        endpoint.is_some_and(|endpoint| endpoint != Endpoint::ChatCompletions)
    }

    /// Whether the body gives no reason.
    fn is_bare(&self) -> bool {
        let text = self.text.trim().trim_end_matches('.');
        [
            "",
            "forbidden",
            "access denied",
            "permission denied",
            "unauthorized",
            "http 403",
        ]
        .contains(&text)
    }

    /// Google counts by project, or by project and model, as its `quotaId` says.
    fn scope_of_quotas(&self) -> Scope {
        let quotas = &self.body.quotas;
        if quotas.is_empty() || quotas.iter().any(|id| id.contains("permodel")) {
            Scope::Target
        } else {
            Scope::Provider
        }
    }

    fn outcome_of(&self, means: Means) -> Outcome {
        match means {
            Means::Limited(scope) => {
                at(OutcomeKind::RateLimited, scope).until(self.recovery_of_limit())
            }
            Means::Quota => {
                let stated = self.stated().filter(|wait| *wait >= SHORTEST_QUOTA);
                Outcome::of(OutcomeKind::OutOfQuota)
                    .provider()
                    .until(stated.map_or(Recovery::DayEnd, Recovery::After))
            }
            Means::Unauthorised => Outcome::of(OutcomeKind::Unauthorised).provider(),
            Means::Gated => Outcome::of(OutcomeKind::Gated).until(self.return_of_a_model()),
            Means::Gone => Outcome::of(OutcomeKind::Gone).until(self.return_of_a_model()),
            Means::Argument => arguments::unknown(&self.body, self.evidence.endpoint),
            Means::Lacks(Lack::Parameter) => {
                Outcome::unfit(arguments::lack(&self.body, self.evidence.endpoint))
            }
            Means::Lacks(lack) => Outcome::unfit(lack),
            Means::TooLong => Outcome::unfit(Lack::ContextLength(self.window())),
            Means::Unavailable => Outcome::of(OutcomeKind::Unavailable)
                .until(self.stated().map_or(Recovery::Unstated, Recovery::After)),
            Means::Refused => Outcome::of(OutcomeKind::Refused),
        }
    }

    /// When a model that is not there may be again: who says so means it only if it is not at once.
    fn return_of_a_model(&self) -> Recovery {
        let stated = self.stated().filter(|wait| *wait >= SHORTEST_ABSENCE);
        stated.map_or(Recovery::Unstated, Recovery::After)
    }

    /// The wait that is stated. Of the headers of a 2xx only the clock counts: a `Retry-After` on it means nothing, and
    /// its counters are read as any success's.
    fn stated(&self) -> Option<Duration> {
        let Evidence {
            status,
            headers,
            body,
            now,
            ..
        } = *self.evidence;
        let (prose, of_limit) = (self.prose_of_waits(), matches!(self.status, 402 | 429));
        if !status.is_success() {
            return resets::stated(headers, body, &prose, of_limit, now);
        }
        let clock = headers
            .get(header::DATE)
            .map(|date| (header::DATE, date.clone()));
        let clock = clock.into_iter().collect();
        resets::stated(&clock, body, &prose, of_limit, now)
    }

    /// The words that may name a wait: only where the status is one of limits.
    fn prose_of_waits(&self) -> String {
        if self.status_in_words || !matches!(self.status, 402 | 429 | 503) {
            return String::new();
        }
        let open: Vec<_> = self.body.said.iter().map(|said| &*said.open).collect();
        open.join("\n")
    }

    fn recovery_of_limit(&self) -> Recovery {
        let of_day = |text: &str| DAY_WORDS.iter().any(|words| text.contains(words));
        // Google's delay counts the minute, also where the day is used up.
        if self.body.quotas.iter().any(|id| of_day(id)) {
            return Recovery::DayEnd;
        }
        match self.stated() {
            Some(wait) => Recovery::After(wait),
            None if of_day(&self.prose_of_waits()) => Recovery::DayEnd,
            None => Recovery::Unstated,
        }
    }

    /// The window that the error names.
    fn window(&self) -> Option<u64> {
        let in_words = || {
            let mut after = BEFORE_WINDOW
                .iter()
                .filter_map(|before| self.body.said.iter().find_map(|said| said.after(before)));
            after.find_map(|rest| {
                let end = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                rest[..end].parse().ok()
            })
        };
        self.body.window.or_else(in_words)
    }
}

const fn at(kind: OutcomeKind, scope: Scope) -> Outcome {
    match scope {
        Scope::Target => Outcome::of(kind),
        Scope::Provider => Outcome::of(kind).provider(),
    }
}

/// What an upstream's error means behind a router: the account and the key that it names are the router's own, so it is
/// one more target that does not work.
fn relayed(mut outcome: Outcome) -> Outcome {
    outcome.relayed = outcome.kind == OutcomeKind::Refused;
    if outcome.scope == Scope::Provider {
        outcome.scope = Scope::Target;
        if outcome.kind != OutcomeKind::RateLimited {
            outcome.kind = OutcomeKind::Unavailable;
            // A day of somebody else's account says nothing of when the router has found another.
            outcome.recovery = Recovery::Unstated;
        }
    }
    outcome
}
