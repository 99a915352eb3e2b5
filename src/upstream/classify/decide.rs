//! What the default classifier decides.
//!
//! Evidence beats status: the same 400, 402, 403, 404 or 429 means different things by what its body names. So the
//! [patterns](super::super::patterns) in the body are looked for first, and the status decides what they leave open.

use std::{cell::OnceCell, time::Duration};

use http::{HeaderMap, header};

use crate::{
    endpoint::Endpoint,
    outcome::{Lack, Outcome, OutcomeKind, Recovery, Scope},
    upstream::{
        arguments,
        classify::Evidence,
        envelope::{Envelope, GoogleQuota},
        limits,
        patterns::{BEFORE_WINDOW, By, DAY_WORDS, Means, Sign, signs_under},
        resets,
        searchable::Searchable,
    },
};

/// A limit that ends within this is not a quota: an error that names so short a wait counts another window. Gemini puts a 15 s delay
/// on a day that is used up.
const SHORTEST_QUOTA: Duration = Duration::from_secs(60);

/// What is stated of a model that is not there is not believed if it is shorter: gateways add a second's
/// `Retry-After` to any error.
const SHORTEST_ABSENCE: Duration = Duration::from_secs(60);

/// A failure and the evidence of it.
pub(super) struct Case<'a> {
    evidence: &'a Evidence<'a>,
    status: u16,
    error: &'a Envelope,
    /// All messages in lower case, with whatever they quote: no evidence of what lasts.
    text: String,
    /// The words that may name a wait, once they are needed.
    prose_of_waits: OnceCell<Searchable>,
}

impl<'a> Case<'a> {
    pub(super) fn of(evidence: &'a Evidence<'a>) -> Self {
        let error = &evidence.error.envelope;
        Self {
            evidence,
            status: evidence.error.status().as_u16(),
            error,
            text: error.text.to_ascii_lowercase(),
            prose_of_waits: OnceCell::new(),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        let outcome = self.outcome_of(self.means());
        let output = self.evidence.endpoint.output();
        if outcome.kind == OutcomeKind::Gone && !self.evidence.target.model().is_for(output) {
            // The request named a model that is not made for this, and the model may be there for all else.
            Outcome::unfit(Lack::Capability(output))
        } else if self.error.is_of_routers_upstream() {
            relayed(outcome)
        } else {
            outcome
        }
    }

    fn has_label(&self, is: impl Fn(&str) -> bool) -> bool {
        self.error.labels.iter().any(|label| is(label))
    }

    /// Whether one message has all of these phrases where they are evidence.
    fn says(&self, phrases: &[&str]) -> bool {
        self.error
            .messages
            .iter()
            .any(|message| message.holds(phrases))
    }

    fn means(&self) -> Means {
        let mut signs = signs_under(self.status);
        let sign = signs.find(|sign| self.shows(sign));
        match sign.map_or_else(|| self.means_by_status(), |sign| sign.2) {
            // It is still there for chats.
            Means::Gone if self.is_for_another_endpoint() => Means::Lacks(Lack::Parameter),
            means => means,
        }
    }

    /// Whether a sign shows that is believed under this status.
    fn shows(&self, Sign(_, by, means): &Sign) -> bool {
        let messages = || self.error.messages.iter();
        let labelled = |label: &str| self.has_label(|found| found == label);
        if means.cools() && self.blames_another_parameter() {
            return false;
        }
        match by {
            By::Label(label) => labelled(label),
            // Words alone do not say how far words are to be believed.
            _ if self.evidence.error.status_in_words() && means.cools() => false,
            By::Text(phrases) => self.says(phrases),
            By::Opening(phrases) => messages().any(|message| message.opens_with(phrases)),
            By::Whole(sentence) => messages().any(|message| message.is(sentence)),
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
            403 if self.evidence.error.is_html() => Means::Unavailable,
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
    /// statuses of limits a parameter does not belong to the request: Cerebras' "quota" and "queue".
    fn blames_another_parameter(&self) -> bool {
        let finds_fault = matches!(
            self.status,
            400 | 403 | 404 | 405 | 409 | 410 | 413 | 415 | 422 | 500 | 501
        );
        let param = self.error.param.as_deref();
        let is_another = |param| !matches!(param, "model" | "api_key");
        finds_fault && (self.error.within_param || param.is_some_and(is_another))
    }

    /// Whether what is not found may be the endpoint: every server chats, but not each has the others, and one that has
    /// not must not lose its models for chats. An error about a model names the model.
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
        let labelled = || self.has_label(|label| label == "wrong_endpoint");
        self.is_no_chat() && (labelled() || self.says(&["not supported in the v1/"]))
    }

    fn is_no_chat(&self) -> bool {
        self.evidence.endpoint != Endpoint::ChatCompletions
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
        let quotas = &self.error.quotas;
        if quotas.is_empty()
            || quotas
                .iter()
                .any(|GoogleQuota { id, .. }| id.contains("permodel"))
        {
            Scope::Target
        } else {
            Scope::Provider
        }
    }

    fn outcome_of(&self, means: Means) -> Outcome {
        match means {
            Means::Limited(scope) => {
                let limited = at(OutcomeKind::RateLimited, scope).until(self.recovery_of_limit());
                self.with_limit(limited)
            }
            Means::Quota => {
                let stated = self.stated().filter(|wait| *wait >= SHORTEST_QUOTA);
                let spent = Outcome::of(OutcomeKind::OutOfQuota)
                    .provider()
                    .until(stated.map_or(Recovery::DayEnd, Recovery::After));
                self.with_limit(spent)
            }
            Means::Unauthorised => Outcome::of(OutcomeKind::Unauthorised).provider(),
            Means::Gated => Outcome::of(OutcomeKind::Gated).until(self.return_of_a_model()),
            Means::Gone => Outcome::of(OutcomeKind::Gone).until(self.return_of_a_model()),
            Means::Argument => arguments::unknown(self.error, self.evidence.endpoint),
            Means::Lacks(Lack::Parameter) => {
                Outcome::unfit(arguments::lack(self.error, self.evidence.endpoint))
            }
            Means::Lacks(Lack::TokensPerMinute(_)) => {
                let most = limits::largest_request(self.evidence.error);
                Outcome::unfit(Lack::TokensPerMinute(most))
            }
            Means::Lacks(lack) => Outcome::unfit(lack),
            Means::TooLong => Outcome::unfit(Lack::ContextLength(self.window())),
            Means::Unavailable => Outcome::of(OutcomeKind::Unavailable)
                .until(self.stated().map_or(Recovery::Unstated, Recovery::After)),
            Means::Refused => Outcome::of(OutcomeKind::Refused),
        }
    }

    /// With the limit that the error names.
    fn with_limit(&self, mut outcome: Outcome) -> Outcome {
        let Evidence {
            error,
            headers,
            now,
            ..
        } = *self.evidence;
        outcome.limit = limits::hit(error, headers, now);
        outcome
    }

    /// When a model that is not there may be again. A wait of seconds is not believed.
    fn return_of_a_model(&self) -> Recovery {
        let stated = self.stated().filter(|wait| *wait >= SHORTEST_ABSENCE);
        stated.map_or(Recovery::Unstated, Recovery::After)
    }

    /// The wait that is stated. Of the headers of a 2xx only the clock counts: a `Retry-After` on it means nothing, and
    /// its counters are read as those of any success.
    fn stated(&self) -> Option<Duration> {
        let Evidence {
            status,
            headers,
            now,
            ..
        } = *self.evidence;
        let clock: HeaderMap;
        let headers = if status.is_success() {
            let date = headers.get(header::DATE).cloned();
            clock = date.map(|date| (header::DATE, date)).into_iter().collect();
            &clock
        } else {
            headers
        };
        let of_limit = matches!(self.status, 402 | 429);
        resets::stated(
            headers,
            &self.error.waits,
            || self.prose_of_waits(),
            of_limit,
            now,
        )
    }

    /// The words that may name a wait: only where the status is one of limits.
    fn prose_of_waits(&self) -> &Searchable {
        self.prose_of_waits.get_or_init(|| {
            if self.evidence.error.status_in_words() || !matches!(self.status, 402 | 429 | 503) {
                return Searchable::default();
            }
            Searchable::lines(self.error.messages.iter().map(|said| &said.open))
        })
    }

    fn recovery_of_limit(&self) -> Recovery {
        let of_day = |holds: &dyn Fn(&str) -> bool| DAY_WORDS.iter().any(|words| holds(words));
        // Google's delay counts the minute, also where the day is used up.
        let mut quotas = self.error.quotas.iter();
        if quotas.any(|GoogleQuota { id, .. }| of_day(&|words| id.contains(words))) {
            return Recovery::DayEnd;
        }
        if let Some(wait) = self.stated() {
            return Recovery::After(wait);
        }
        let prose = self.prose_of_waits();
        match of_day(&|words| prose.contains(words)) {
            true => Recovery::DayEnd,
            false => Recovery::Unstated,
        }
    }

    /// The window that the error names.
    fn window(&self) -> Option<u64> {
        let in_words = || {
            let mut after = BEFORE_WINDOW.iter().filter_map(|before| {
                self.error
                    .messages
                    .iter()
                    .find_map(|message| message.after(before))
            });
            after.find_map(|rest| {
                let end = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                rest[..end].parse().ok()
            })
        };
        self.error.window.or_else(in_words)
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
            // The day of its upstream's account says nothing of when the router has found another upstream.
            outcome.recovery = Recovery::Unstated;
        }
    }
    outcome
}
