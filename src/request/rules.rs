//! What becomes of each top-level field for one recipient.

use std::borrow::Cow;

use crate::{
    endpoint::Endpoint,
    json::Text,
    provider::Rule,
    request::{guarded::guarded, known_fields, needs::Needs, rewrite::Recipient},
};

/// Without these there is no request, or another one.
const ESSENTIAL: [&str; 5] = ["model", "messages", "input", "prompt", "stream"];

/// The fields that say how long an answer may be, at any endpoint.
const OUTPUT_LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// A field of a request.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// Its name, without escapes.
    pub(crate) name: Cow<'a, str>,
    /// Its value, as it is written.
    pub(crate) value: &'a str,
}

impl Given<'_> {
    fn is_null(&self) -> bool {
        self.value == "null"
    }
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    Gone,
    Stays {
        /// The name that it goes by now.
        name: Option<&'a str>,
        /// Its new value, as JSON.
        value: Option<String>,
    },
}

impl Fate<'_> {
    pub(crate) const UNTOUCHED: Self = Self::Stays {
        name: None,
        value: None,
    };
}

/// The rules of one recipient, and the fields that they are for.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    fields: Vec<(&'a str, &'a Rule)>,
    only: &'a [String],
    /// For a service that gets known fields only: what OpenAI's API has at the endpoint, and what the service has.
    known: Option<(&'static [&'static str], &'a [String])>,
    max_output: Option<u64>,
    thinks: bool,
    /// What is left for the answer of the model's window, if that is known: about as many tokens.
    room: Option<u64>,
    given: &'a [Given<'a>],
}

impl<'a> Rules<'a> {
    /// Whether there is any rule, so that it is worth to look at names.
    pub(crate) fn any(endpoint: Endpoint, to: &Recipient<'_>) -> bool {
        to.max_output.is_some()
            || to.dialect.known.is_some()
            || !fields(endpoint, to).is_empty()
            || !only(endpoint, to).is_empty()
    }

    pub(crate) fn new(needs: &Needs, to: &Recipient<'a>, given: &'a [Given<'a>]) -> Self {
        let endpoint = needs.endpoint;
        let is_guarded = |raw: &str| {
            let name = Text {
                raw,
                escaped: false,
            };
            name.folds_to("model") || guarded(name).is_some()
        };
        let may = |(name, rule): &(&str, &Rule)| match rule {
            Rule::Rename(new) => !is_guarded(name) && !is_guarded(new),
            _ => !is_guarded(name),
        };
        // The estimate of the prompt can be a quarter too low, and a template adds to it.
        let prompt = needs.prompt_tokens.saturating_add(needs.prompt_tokens / 4);
        let room = |window: u64| (window - window / 8).saturating_sub(prompt);
        Self {
            fields: fields(endpoint, to)
                .iter()
                .map(|(name, rule)| (name.as_str(), rule))
                .filter(may)
                .collect(),
            only: only(endpoint, to),
            known: (to.dialect.known.as_deref())
                .map(|own| (known_fields::of_openai(endpoint), own)),
            max_output: to.max_output,
            thinks: to.thinks,
            room: to.window.map(room),
            given,
        }
    }

    /// What becomes of one of the fields that are given.
    pub(crate) fn fate(&self, field: &Given<'_>) -> Fate<'a> {
        let name = &*field.name;
        let renamed = self.renamed(name);
        let gone = match renamed {
            Some(new) => field.is_null() || self.gives(|other| other.name == new),
            None => {
                self.is_unknown(name)
                    || field.is_null()
                        && self.gives(|other| self.renamed(&other.name) == Some(name))
            }
        };
        if gone || self.of(name).any(|rule| *rule == Rule::Drop) {
            return Fate::Gone;
        }
        let new = renamed.unwrap_or(name);
        let value = if field.is_null() {
            self.default(new)
        } else {
            let replaced = self.replaced(name, field.value);
            self.lowered(name, new, replaced.unwrap_or(field.value))
                .or_else(|| replaced.map(str::to_owned))
        };
        Fate::Stays {
            name: renamed,
            value,
        }
    }

    /// The fields to put in, where the request has none of these names when it is sent.
    pub(crate) fn defaults(&self) -> Vec<(&'a str, String)> {
        let mut defaults: Vec<(&str, String)> = Vec::new();
        for &(name, rule) in &self.fields {
            let new = self.renamed(name).unwrap_or(name);
            let puts_in = matches!(rule, Rule::Default(_) | Rule::DefaultLimit { .. });
            if puts_in && defaults.iter().all(|(other, _)| *other != new) {
                defaults.extend(self.default(new).map(|json| (new, json)));
            }
        }
        defaults
    }

    /// The rules for this name.
    fn of(&self, name: &str) -> impl Iterator<Item = &'a Rule> {
        let rules = self.fields.iter().filter(move |(own, _)| *own == name);
        rules.map(|&(_, rule)| rule)
    }

    /// What this name becomes.
    fn renamed(&self, name: &str) -> Option<&'a str> {
        self.of(name).find_map(|rule| match rule {
            Rule::Rename(new) => Some(new.as_str()),
            _ => None,
        })
    }

    /// Whether there is such a field, with a value that says something.
    fn gives(&self, such: impl Fn(&Given<'_>) -> bool) -> bool {
        self.given
            .iter()
            .any(|field| !field.is_null() && such(field))
    }

    /// Whether only other fields are let through.
    fn is_unknown(&self, name: &str) -> bool {
        let speaks_of = |&(own, rule): &(&str, &Rule)| {
            own == name || matches!(rule, Rule::Rename(new) if new == name)
        };
        let among = |names: &[String]| names.iter().any(|own| own == name);
        let is_unlisted = !self.only.is_empty() && !among(self.only);
        let is_unknown =
            (self.known).is_some_and(|(openai, own)| !openai.contains(&name) && !among(own));
        (is_unlisted || is_unknown)
            && !ESSENTIAL.contains(&name)
            && !self.fields.iter().any(speaks_of)
    }

    /// The value of a field that is sent by this name, where it is missing.
    fn default(&self, sent: &str) -> Option<String> {
        let json = self.fields.iter().find_map(|&(name, rule)| {
            let json = match rule {
                Rule::Default(json) => json.clone(),
                Rule::DefaultLimit {
                    answer,
                    with_thoughts,
                } => self.limit(*answer, *with_thoughts).to_string(),
                _ => return None,
            };
            (self.renamed(name).unwrap_or(name) == sent).then_some(json)
        })?;
        let lowered = self.lowered(sent, sent, &json);
        Some(lowered.unwrap_or(json))
    }

    /// The limit of an answer that is put in.
    fn limit(&self, answer: u64, with_thoughts: u64) -> u64 {
        match (self.thinks, self.room) {
            (false, _) => answer,
            (true, None) => with_thoughts,
            (true, Some(room)) => with_thoughts.min(room.max(answer)),
        }
    }

    /// What a value becomes that is refused.
    fn replaced(&self, name: &str, value: &str) -> Option<&'a str> {
        self.of(name).find_map(|rule| match rule {
            Rule::Replace(old, new) if old == value => Some(new.as_str()),
            _ => None,
        })
    }

    /// The most that a field may be that comes by the one name and goes by the other, if its value is above that.
    fn lowered(&self, name: &str, new: &str, value: &str) -> Option<String> {
        let bounds = self.fields.iter().filter_map(|&(own, rule)| match rule {
            Rule::AtMost(most) if own == name || own == new => Some(*most),
            _ => None,
        });
        let limits_output = [name, new].iter().any(|name| OUTPUT_LIMITS.contains(name));
        let output = self.max_output.filter(|_| limits_output);
        let most = bounds.chain(output).min()?;
        is_above(value, most).then(|| most.to_string())
    }
}

/// The rules for the fields of an endpoint: elsewhere than in chats the same names may stand for other things.
fn fields<'a>(endpoint: Endpoint, to: &Recipient<'a>) -> &'a [(String, Rule)] {
    if endpoint == Endpoint::ChatCompletions {
        return &to.dialect.fields;
    }
    let mut elsewhere = to.dialect.elsewhere.iter();
    let there = elsewhere.find(|(other, _)| *other == endpoint);
    there.map_or(&[], |(_, fields)| fields)
}

fn only<'a>(endpoint: Endpoint, to: &Recipient<'a>) -> &'a [String] {
    match endpoint {
        Endpoint::ChatCompletions => &to.dialect.only,
        _ => &[],
    }
}

/// Whether this JSON is a number above `most`, however it is written.
fn is_above(json: &str, most: u64) -> bool {
    json.parse::<u64>().map_or_else(
        |_| json.parse::<f64>().is_ok_and(|number| number > most as f64),
        |number| number > most,
    )
}
