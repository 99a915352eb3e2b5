//! What becomes of each top-level field for one recipient.

use std::borrow::Cow;

use super::{fields::Name, needs::Needs, recipient::Recipient, scan::Field};
use crate::{endpoint::Endpoint, json::Collected, provider::Rule};

/// Without these there is no request, or another one.
const ESSENTIAL: [&str; 5] = ["model", "messages", "input", "prompt", "stream"];

/// The fields that say how long an answer may be, at any endpoint.
const OUTPUT_LIMITS: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// A field of a request, as the client wrote it.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) field: &'a Field,
    /// Its name, without escapes.
    pub(crate) name: Cow<'a, str>,
    /// Its value, as it is written, without holes. One that has holes is a long string, or holds one.
    pub(crate) value: &'a [u8],
    pub(crate) body: &'a Collected,
}

impl Given<'_> {
    fn is_null(&self) -> bool {
        self.value == b"null"
    }

    /// Whether its value is written like this, with all that is in its holes.
    fn is(&self, json: &str) -> bool {
        let span = self.field.value.clone();
        self.body.is_at(span, json.as_bytes())
    }
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    Gone {
        /// It was told before the recipient was known.
        is_told: bool,
    },
    /// Its value becomes the recipient's model.
    Model,
    Stays {
        /// The name that it goes by now.
        name: Option<&'a str>,
        /// Its new value, as JSON.
        value: Option<String>,
    },
}

/// The rules of one recipient, and the fields that they are for.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    needs: &'a Needs,
    to: &'a Recipient<'a>,
    /// The rules for single fields, but for those that would undo what must be done to every request.
    fields: Vec<(&'a str, &'a Rule)>,
    only: &'a [String],
    given: &'a [Given<'a>],
}

impl<'a> Rules<'a> {
    pub(crate) fn new(needs: &'a Needs, to: &'a Recipient<'a>, given: &'a [Given<'a>]) -> Self {
        let may = |&(name, rule): &(&str, &Rule)| {
            let own = Name::of_plain(name);
            let new = match rule {
                Rule::Rename(new) => Name::of_plain(new),
                _ => own,
            };
            // Every entry of a list of tools was looked at where the client sent it, and no other list was.
            let brings_tools = new == Name::Tools
                && match rule {
                    Rule::Rename(_) => own != Name::Tools,
                    Rule::Default(_) | Rule::Replace(..) => true,
                    _ => false,
                };
            !own.is_ours() && !new.is_ours() && !brings_tools
        };
        // Elsewhere than in chats the same names may stand for other things.
        let mut elsewhere = to.dialect.elsewhere.iter();
        let (fields, only) = match needs.endpoint {
            Endpoint::ChatCompletions => (&to.dialect.fields[..], &to.dialect.only[..]),
            endpoint => (
                elsewhere
                    .find(|(other, _)| *other == endpoint)
                    .map_or(&[][..], |(_, fields)| fields),
                &[][..],
            ),
        };
        Self {
            needs,
            to,
            fields: fields
                .iter()
                .map(|(name, rule)| (name.as_str(), rule))
                .filter(may)
                .collect(),
            only,
            given,
        }
    }

    /// What becomes of one of the fields that are given.
    pub(crate) fn fate(&self, field: &Given<'_>) -> Fate<'a> {
        if field.field.goes {
            return Fate::Gone { is_told: true };
        }
        let name = &*field.name;
        let renamed = self.renamed(name);
        let goes = match renamed {
            Some(new) => {
                field.is_null() || self.gives(|other| other == new) || self.is_repeated(field, new)
            }
            None => {
                self.is_unknown(name)
                    || field.is_null() && self.gives(|other| self.renamed(other) == Some(name))
            }
        };
        if goes || self.of(name).any(|rule| *rule == Rule::Drop) {
            return Fate::Gone { is_told: false };
        }
        if let Name::Model { .. } = field.field.name {
            return Fate::Model;
        }
        let new = renamed.unwrap_or(name);
        let value = if field.is_null() {
            self.default(new)
        } else {
            let replaced = self.replaced(field);
            let value = replaced.map_or(field.value, str::as_bytes);
            self.lowered(name, new, value)
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

    /// Whether a field of another name that becomes the same one stands behind this one: the last counts.
    fn is_repeated(&self, field: &Given<'_>, new: &str) -> bool {
        let after = |other: &&Given<'_>| other.field.key.start > field.field.key.start;
        let mut after = self.given.iter().filter(after);
        after.any(|other| {
            !other.is_null() && other.name != field.name && self.renamed(&other.name) == Some(new)
        })
    }

    /// Whether there is a field of such a name whose value is not null.
    fn gives(&self, such: impl Fn(&str) -> bool) -> bool {
        let mut given = self.given.iter();
        given.any(|field| !field.is_null() && such(&field.name))
    }

    /// Whether only other fields are let through.
    fn is_unknown(&self, name: &str) -> bool {
        let speaks_of = |&(own, rule): &(&str, &Rule)| {
            own == name || matches!(rule, Rule::Rename(new) if new == name)
        };
        let is_unlisted = !self.only.is_empty() && self.only.iter().all(|only| only != name);
        (is_unlisted || !self.to.knows(self.needs.endpoint, name))
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
        let lowered = self.lowered(sent, sent, json.as_bytes());
        Some(lowered.unwrap_or(json))
    }

    /// The limit of an answer that is put in.
    fn limit(&self, answer: u64, with_thoughts: u64) -> u64 {
        match (self.to.thinks, self.to.window) {
            (false, _) => answer,
            (true, None) => with_thoughts,
            (true, Some(window)) => {
                // The estimate of the prompt can be a quarter too low, and a template adds to it.
                let room = |prompt: u64| {
                    let prompt = prompt.saturating_add(prompt / 4);
                    (window - window / 8).saturating_sub(prompt)
                };
                match with_thoughts <= room(self.needs.most_prompt_tokens()) {
                    true => with_thoughts,
                    false => with_thoughts.min(room(self.needs.prompt_tokens()).max(answer)),
                }
            }
        }
    }

    /// What the value of a field becomes that is refused.
    fn replaced(&self, field: &Given<'_>) -> Option<&'a str> {
        self.of(&field.name).find_map(|rule| match rule {
            Rule::Replace(old, new) if field.is(old) => Some(new.as_str()),
            _ => None,
        })
    }

    /// The most that a field may be that comes by the one name and goes by the other, if its value is above that.
    fn lowered(&self, name: &str, new: &str, value: &[u8]) -> Option<String> {
        let bounds = self.fields.iter().filter_map(|&(own, rule)| match rule {
            Rule::AtMost(most) if own == name || own == new => Some(*most),
            _ => None,
        });
        let limits_output = [name, new].iter().any(|name| OUTPUT_LIMITS.contains(name));
        let output = self.to.max_output.filter(|_| limits_output);
        let most = bounds.chain(output).min()?;
        is_above(value, most).then(|| most.to_string())
    }
}

/// Whether this JSON is a number above `most`, however it is written.
fn is_above(json: &[u8], most: u64) -> bool {
    let json = std::str::from_utf8(json).unwrap_or_default();
    json.parse::<u64>().map_or_else(
        |_| json.parse::<f64>().is_ok_and(|number| number > most as f64),
        |number| number > most,
    )
}
