//! What becomes of each top-level field for one recipient.

use std::borrow::Cow;

use super::{edits::DROPPED, endpoint::Endpoint, rewrite::Recipient, text::Text};
use crate::dialect::{Dialect, Rule};

/// Without these there is no request, or another one.
const ESSENTIAL: [&str; 5] = ["model", "messages", "input", "prompt", "stream"];

/// The fields that say how long an answer may be, at any endpoint.
const OUTPUT_LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// A field of a request.
#[derive(Debug)]
pub(super) struct Given<'a> {
    /// Its name, without escapes.
    pub(super) name: Cow<'a, str>,
    /// Its value, as it is written.
    pub(super) value: &'a str,
}

impl Given<'_> {
    fn is_null(&self) -> bool {
        self.value == "null"
    }
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Gone,
    Stays {
        /// The name that it goes by now.
        name: Option<&'static str>,
        /// Its new value, as JSON.
        value: Option<String>,
    },
}

impl Fate {
    pub(super) const UNTOUCHED: Self = Self::Stays {
        name: None,
        value: None,
    };
}

/// The rules of one recipient, and the fields that they are for.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    fields: Vec<(&'static str, Rule)>,
    only: &'static [&'static str],
    max_output: Option<u64>,
    given: &'a [Given<'a>],
}

impl<'a> Rules<'a> {
    /// Whether there is any rule, so that it is worth to look at names.
    pub(super) fn any(endpoint: Endpoint, to: &Recipient<'_>) -> bool {
        let dialect = spoken(endpoint, to);
        to.max_output.is_some() || !dialect.fields.is_empty() || !dialect.only.is_empty()
    }

    pub(super) fn new(endpoint: Endpoint, to: &Recipient<'_>, given: &'a [Given<'a>]) -> Self {
        let dialect = spoken(endpoint, to);
        let is_guarded = |name: &str| {
            let name = Text {
                raw: name,
                escaped: false,
            };
            name.folds_to("model") || DROPPED.iter().any(|dropped| name.folds_to(dropped))
        };
        let may = |&&(name, rule): &&(&'static str, Rule)| match rule {
            Rule::Rename(new) => !is_guarded(name) && !is_guarded(new),
            _ => !is_guarded(name),
        };
        Self {
            fields: dialect.fields.iter().filter(may).copied().collect(),
            only: dialect.only,
            max_output: to.max_output,
            given,
        }
    }

    /// What becomes of one of the fields that are given.
    pub(super) fn fate(&self, field: &Given<'_>) -> Fate {
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
        if gone || self.of(name).any(|rule| rule == Rule::Drop) {
            return Fate::Gone;
        }
        let new = renamed.unwrap_or(name);
        let value = if field.is_null() {
            self.default(new)
        } else {
            self.lowered(name, new, field.value)
        };
        Fate::Stays {
            name: renamed,
            value,
        }
    }

    /// The fields to put in, where the request has none of these names when it is sent.
    pub(super) fn defaults(&self) -> Vec<(&'static str, String)> {
        let mut defaults: Vec<(&'static str, String)> = Vec::new();
        for &(name, rule) in &self.fields {
            let new = self.renamed(name).unwrap_or(name);
            if matches!(rule, Rule::Default(_)) && defaults.iter().all(|(other, _)| *other != new) {
                defaults.extend(self.default(new).map(|json| (new, json)));
            }
        }
        defaults
    }

    /// The rules for this name.
    fn of(&self, name: &str) -> impl Iterator<Item = Rule> {
        let rules = self.fields.iter().filter(move |(own, _)| *own == name);
        rules.map(|&(_, rule)| rule)
    }

    /// What this name becomes.
    fn renamed(&self, name: &str) -> Option<&'static str> {
        self.of(name).find_map(|rule| match rule {
            Rule::Rename(new) => Some(new),
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
        let speaks_of = |&(own, rule): &(&str, Rule)| {
            own == name || matches!(rule, Rule::Rename(new) if new == name)
        };
        !self.only.is_empty()
            && !self.only.contains(&name)
            && !ESSENTIAL.contains(&name)
            && !self.fields.iter().any(speaks_of)
    }

    /// The value of a field that is sent by this name, where it is missing.
    fn default(&self, sent: &str) -> Option<String> {
        let json = self.fields.iter().find_map(|&(name, rule)| match rule {
            Rule::Default(json) if self.renamed(name).unwrap_or(name) == sent => Some(json),
            _ => None,
        })?;
        let lowered = self.lowered(sent, sent, json);
        Some(lowered.unwrap_or_else(|| json.to_owned()))
    }

    /// The most that a field may be that comes by the one name and goes by the other, if its value is above that.
    fn lowered(&self, name: &str, new: &str, value: &str) -> Option<String> {
        let bounds = self.fields.iter().filter_map(|&(own, rule)| match rule {
            Rule::AtMost(most) if own == name || own == new => Some(most),
            _ => None,
        });
        let limits_output = [name, new].iter().any(|name| OUTPUT_LIMITS.contains(name));
        let output = self.max_output.filter(|_| limits_output);
        let most = bounds.chain(output).min()?;
        is_above(value, most).then(|| most.to_string())
    }
}

/// A dialect is one of chats: elsewhere the same names may stand for other things.
pub(super) fn spoken<'a>(endpoint: Endpoint, to: &Recipient<'a>) -> &'a Dialect {
    match endpoint {
        Endpoint::ChatCompletions => to.dialect,
        _ => &Dialect::OPENAI,
    }
}

/// Whether this JSON is a number above `most`, however it is written.
fn is_above(json: &str, most: u64) -> bool {
    json.parse::<u64>().map_or_else(
        |_| json.parse::<f64>().is_ok_and(|number| number > most as f64),
        |number| number > most,
    )
}
