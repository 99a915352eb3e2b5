//! The law of the rewrite, told apart from how it is done: what a body must have become.
//!
//! Written with nothing but `serde_json` and the standard library, and shared with the fuzz target.

use std::{collections::HashMap, fmt, ops::Range};

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::provider::{Dialect, Rule};

/// The members of an object, in order and with duplicates, each with its key and value as written.
#[derive(Debug, PartialEq)]
struct Members<'a>(Vec<(&'a str, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(&'de str, &'de str)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push((key.get(), value.get()));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Self)
    }
}

/// Whether the reference takes `body` for JSON.
pub(crate) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(body).is_ok()
}

/// A key as a parser sees it. One that no parser can make a string of is seen as it is written.
fn unescape(key: &str) -> String {
    serde_json::from_str(key).unwrap_or_else(|_| key.to_owned())
}

fn fold(key: &str) -> String {
    let upper = key.replace('\u{130}', "i").to_uppercase();
    upper.to_lowercase()
}

/// Where `part`, a slice of `whole`, stands in it.
fn place(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = start + part.len();
    (end <= whole.len()).then_some(start..end)
}

/// Whether a parser that ignores case, or reads `aB` and `a_b` alike, could take a key for one that may cost money.
fn may_cost(key: &str) -> bool {
    const NAMES: [&str; 15] = [
        "models",
        "route",
        "preset",
        "plugins",
        "websearchoptions",
        "provideroptions",
        "fallbacks",
        "searchparameters",
        "enablesearch",
        "websearch",
        "mcpservers",
        "apibase",
        "baseurl",
        "apikey",
        "servicetier",
    ];
    NAMES.contains(&&*plain(key))
}

fn plain(key: &str) -> String {
    fold(key).replace(['_', '-'], "")
}

/// The fields of a chat of OpenAI's API.
const OF_OPENAI: &str = "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens \
    max_tokens messages metadata modalities model n parallel_tool_calls prediction presence_penalty prompt_cache_key \
    prompt_cache_retention reasoning_effort response_format safety_identifier seed stop store stream stream_options \
    temperature tool_choice tools top_logprobs top_p user verbosity";

/// Whether the caller runs a tool. Of what is given twice, each counts.
fn passes(tool: &str) -> bool {
    const OF_THE_PROVIDER: &str =
        "websearch retrieval googlesearch googlesearchretrieval enterprisewebsearch googlemaps
        urlcontext codeexecution computeruse filesearch";

    let Ok(tool) = serde_json::from_str::<Members<'_>>(tool) else {
        return false;
    };
    let values = |name: &'static str| {
        let named = tool
            .0
            .iter()
            .filter(move |(key, _)| fold(&unescape(key)) == name);
        named.map(|(_, value)| *value)
    };
    let own = |key: &str| {
        let name = plain(&unescape(key));
        OF_THE_PROVIDER.split_whitespace().any(|own| own == name)
    };
    if tool.0.iter().any(|(key, _)| own(key)) {
        return false;
    }
    let ours =
        |kind: &str| matches!(&*unescape(kind), "function" | "custom") && kind.starts_with('"');
    let mut types = values("type").filter(|kind| *kind != "null");
    match types.clone().next() {
        Some(_) => types.all(ours),
        None => values("function").any(|function| function.starts_with('{')),
    }
}

/// The tools that pass, if there is a list of tools of which some do not.
fn tools<'a>(name: &str, value: &'a str) -> Option<Vec<&'a str>> {
    let all: Vec<&RawValue> = match fold(name) == "tools" {
        true => serde_json::from_str(value).ok()?,
        false => return None,
    };
    let left: Vec<_> = all
        .iter()
        .map(|tool| tool.get())
        .filter(|tool| passes(tool))
        .collect();
    (left.len() < all.len()).then_some(left)
}

/// What a body is rewritten for.
pub(crate) struct Expected<'a> {
    pub(crate) model: &'a str,
    pub(crate) dialect: &'a Dialect,
    pub(crate) max_output: Option<u64>,
}

/// A top-level member on its way from `before` to `after`.
#[derive(Clone)]
struct Field {
    /// What the caller calls it.
    name: String,
    /// What the recipient calls it.
    sent: String,
    /// Key and value as they are written.
    key: String,
    value: String,
}

impl Field {
    fn is_null(&self) -> bool {
        self.value == "null"
    }
}

impl Expected<'_> {
    /// The rules that can apply: none speaks of a model, or of what may cost.
    fn rules(&self) -> Vec<(&str, &Rule)> {
        let ours = |name: &str| fold(name) == "model" || may_cost(name);
        let applies = |&(name, rule): &(&str, &Rule)| {
            !ours(name) && !matches!(rule, Rule::Rename(new) if ours(new))
        };
        let fields = self.dialect.fields.iter();
        let fields = fields.map(|(name, rule)| (name.as_str(), rule));
        fields.filter(applies).collect()
    }

    /// The first new name of each field that is renamed.
    fn renames(&self) -> HashMap<&str, &str> {
        let mut renames = HashMap::new();
        for (name, rule) in self.rules() {
            if let Rule::Rename(new) = rule {
                renames.entry(name).or_insert(new.as_str());
            }
        }
        renames
    }

    fn lower(&self, field: &mut Field) {
        let limits = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let names = [&*field.name, &*field.sent];
        let mut bounds = Vec::new();
        if names.iter().any(|name| limits.contains(name)) {
            bounds.extend(self.max_output);
        }
        for (name, rule) in self.rules() {
            match rule {
                Rule::AtMost(most) if names.contains(&name) => bounds.push(*most),
                _ => {}
            }
        }
        let number: Option<f64> = field.value.parse().ok();
        if let (Some(most), Some(number)) = (bounds.into_iter().min(), number) {
            if number > most as f64 {
                field.value = most.to_string();
            }
        }
    }

    /// The fields that are sent, one rule after the other; first those that are put in.
    fn fields(&self, before: &Members<'_>) -> Vec<Field> {
        let (rules, renames, only) = (self.rules(), self.renames(), &self.dialect.only);
        let model = serde_json::to_string(self.model).expect("a string is JSON");
        let read = |&(key, value): &(&str, &str)| Field {
            name: unescape(key),
            sent: unescape(key),
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let all: Vec<_> = before.0.iter().map(read).collect();
        let mut fields: Vec<Field> = all.clone();
        fields.retain(|field| !may_cost(&field.name));
        // An empty list of tools is left out, and so are the fields that speak of tools.
        let left = |field: &Field| tools(&field.name, &field.value).map(|left| left.len());
        let of_tools =
            |field: &Field| matches!(&*plain(&field.name), "toolchoice" | "paralleltoolcalls");
        let is_list = |field: &Field| {
            fold(&field.name) == "tools" && !["null", "[]"].contains(&&*field.value)
        };
        let any_gone = all.iter().any(|field| left(field).is_some());
        fields.retain(|field| left(field) != Some(0));
        if any_gone && !fields.iter().any(is_list) {
            fields.retain(|field| !of_tools(field));
        }
        // Of two that become one, the new name wins, unless it says nothing.
        let says = |name: &str| {
            all.iter()
                .any(|field| field.name == name && !field.is_null())
        };
        fields.retain(|field| match renames.get(&*field.name) {
            Some(new) => !field.is_null() && !says(new),
            None => {
                let other = renames
                    .iter()
                    .any(|(old, new)| *new == field.name && says(old));
                !(field.is_null() && other)
            }
        });
        fields.retain(|field| !rules.contains(&(&*field.name, &Rule::Drop)));
        if !only.is_empty() {
            fields.retain(|field| {
                let name = &*field.name;
                ["model", "messages", "input", "prompt", "stream"].contains(&name)
                    || only.iter().any(|own| own == name)
                    || rules.iter().any(|(own, _)| *own == name)
                    || rules
                        .iter()
                        .any(|(_, rule)| matches!(rule, Rule::Rename(new) if new == name))
            });
        }
        if let Some(own) = &self.dialect.known {
            fields.retain(|field| {
                let name = &*field.name;
                ["input", "prompt"].contains(&name)
                    || OF_OPENAI.split_whitespace().any(|known| known == name)
                    || own.iter().any(|own| own == name)
                    || rules.iter().any(|(own, _)| *own == name)
                    || rules
                        .iter()
                        .any(|(_, rule)| matches!(rule, Rule::Rename(new) if new == name))
            });
        }
        for field in &mut fields {
            let instead = rules.iter().find_map(|(own, rule)| match rule {
                Rule::Replace(old, new) if *own == field.name && *old == field.value => Some(new),
                _ => None,
            });
            if let Some(new) = instead.filter(|_| !field.is_null()) {
                field.value.clone_from(new);
            }
            if let Some(new) = renames.get(&*field.name) {
                field.sent = (*new).to_owned();
                field.key = serde_json::to_string(new).expect("a string is JSON");
            }
            if fold(&field.name) == "model" {
                field.value.clone_from(&model);
            }
        }
        let put_in = |name: &str, value: &str| Field {
            name: name.to_owned(),
            sent: name.to_owned(),
            key: serde_json::to_string(name).expect("a string is JSON"),
            value: value.to_owned(),
        };
        let mut inserted = Vec::new();
        if fields.iter().all(|field| field.name != "model") {
            inserted.push(put_in("model", &model));
        }
        for &(name, rule) in &rules {
            let json = match rule {
                Rule::Default(json) => json.clone(),
                Rule::DefaultLimit { answer, .. } => answer.to_string(),
                _ => continue,
            };
            let sent = renames.get(name).unwrap_or(&name);
            let there = |field: &&mut Field| field.sent == *sent;
            if fields
                .iter()
                .chain(&inserted)
                .all(|field| field.sent != *sent)
            {
                inserted.push(put_in(sent, &json));
            }
            for field in fields
                .iter_mut()
                .filter(there)
                .filter(|field| field.is_null())
            {
                field.name.clone_from(&field.sent);
                field.value.clone_from(&json);
            }
        }
        inserted.extend(fields);
        inserted.iter_mut().for_each(|field| self.lower(field));
        inserted
    }

    /// The entries of `messages` as lists of members, or as they are if they are no objects.
    fn messages<'a>(&self, value: &'a str) -> Option<Vec<Result<Members<'a>, &'a str>>> {
        let entries: Vec<&RawValue> = serde_json::from_str(value).ok()?;
        let read = |entry: &'a RawValue| {
            let mut members: Members<'_> =
                serde_json::from_str(entry.get()).map_err(|_| entry.get())?;
            let goes = |key: &str| self.dialect.message_fields.contains(&unescape(key));
            members.0.retain(|(key, _)| !goes(key));
            for (key, value) in &mut members.0 {
                match &*unescape(key) {
                    "role" if !self.dialect.developer_role && unescape(value) == "developer" => {
                        *value = "\"system\"";
                    }
                    "content" if !self.dialect.null_content && *value == "null" => *value = "\"\"",
                    _ => {}
                }
            }
            Ok(members)
        };
        Some(entries.into_iter().map(read).collect())
    }
}

/// Asserts that `segments` are what `body`, a JSON object, must become.
pub(crate) fn assert_rewritten(body: &Bytes, to: &Expected<'_>, segments: &[Bytes]) {
    let before: Members<'_> = serde_json::from_slice(body).expect("the body is an object");
    let joined = segments.concat();
    let after: Members<'_> = serde_json::from_slice(&joined).expect("what is sent is an object");

    // The same members in the same order, but for what must change.
    let expected = to.fields(&before);
    assert_eq!(after.0.len(), expected.len(), "{:?}", after.0);
    for (&(key, value), expected) in after.0.iter().zip(&expected) {
        assert_eq!(key, expected.key);
        if let Some(left) = tools(&expected.name, &expected.value) {
            let sent: Vec<&RawValue> = serde_json::from_str(value).expect("tools stay a list");
            let sent: Vec<_> = sent.into_iter().map(RawValue::get).collect();
            assert_eq!(sent, left);
            continue;
        }
        if expected.name == "messages" {
            assert_eq!(to.messages(value), to.messages(&expected.value));
            if to.messages(value).is_some() {
                continue;
            }
        }
        assert_eq!(value, expected.value, "{key}");
    }

    // So whether the first of two equal keys counts or the last, the one model is ours.
    let model = serde_json::to_string(to.model).expect("a string is JSON");
    let mut models = after.0.iter().filter(|(key, _)| unescape(key) == "model");
    assert!(models.clone().count() > 0);
    assert!(models.all(|(_, value)| *value == model));

    // Every byte is a byte of the body in its old order, or one that is put in.
    let mut at = 0;
    let mut gone = Vec::new();
    let mut ours = 0;
    for segment in segments {
        match place(body, segment) {
            Some(range) => {
                assert!(range.start >= at, "the body's bytes are out of order");
                gone.push(at..range.start);
                at = range.end;
            }
            None => ours += segment.len(),
        }
    }
    gone.push(at..body.len());
    let put_in = |&(key, value): &(&str, &str)| match before.0.contains(&(key, value)) {
        true => 0,
        false => key.len() + value.len() + 2,
    };
    let most: usize = after.0.iter().map(put_in).sum();
    assert!(ours <= most, "bytes of the body were copied");

    // What is gone is what must change, and commas and space around it.
    let touched: Vec<_> = before
        .0
        .iter()
        .filter(|member| !after.0.contains(member))
        .flat_map(|&(key, value)| [key, value])
        .filter_map(|part| place(body, part.as_bytes()))
        .collect();
    for at in gone.into_iter().flatten() {
        let between = matches!(body[at], b',' | b':' | b' ' | b'\n' | b'\t' | b'\r');
        assert!(
            between || touched.iter().any(|range| range.contains(&at)),
            "byte {at} is missing"
        );
    }
}
