//! What a file says of how a provider differs from OpenAI's API.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tower_free_models::{
    catalog::CapabilitySet,
    provider::{Endpoint, ImageApi, Rule},
};

use super::values::{by_endpoint, capabilities, message_fields};

/// How a provider differs from OpenAI's API, in the words of [`tower_free_models::provider::Dialect`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Dialect {
    /// What is done to top-level fields of chats.
    fields: BTreeMap<String, FieldRules>,
    /// The same of requests to other endpoints.
    #[serde(deserialize_with = "by_endpoint")]
    elsewhere: Vec<(Endpoint, BTreeMap<String, FieldRules>)>,
    /// The only top-level fields of chats that are sent.
    only: Vec<String>,
    /// The only fields that are sent at any endpoint, beside those of OpenAI's API: for a service that chooses models or
    /// tools by fields of its own.
    known_fields: Option<Vec<String>>,
    /// Members of messages that are left out.
    #[serde(deserialize_with = "message_fields")]
    message_fields: Vec<String>,
    /// Whether a message may have the role `developer`; else it goes as `system`.
    developer_role: bool,
    /// Whether the content of a message may be null; else it goes as an empty string.
    null_content: bool,
    /// Keywords that are left out of the JSON schemas in `tools`.
    schema_keywords: Vec<String>,
    /// What no model has there.
    #[serde(deserialize_with = "capabilities")]
    lacks: CapabilitySet,
    /// How an image is asked for.
    images: Images,
}

/// What is done to a field. It may have several rules.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct FieldRules {
    /// It is left out.
    drop: bool,
    /// It goes by another name.
    rename: Option<String>,
    /// A larger number is lowered to this.
    at_most: Option<u64>,
    /// The first value becomes the second.
    replace: Option<(Value, Value)>,
    /// Where it is missing, this is put in.
    default: Option<Value>,
    /// Where it is missing, this limit of the answer is put in.
    default_limit: Option<DefaultLimit>,
}

/// A limit of an answer, in tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DefaultLimit {
    answer: u64,
    with_thoughts: u64,
}

/// How an image is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Images {
    #[default]
    OpenAi,
    OpenRouter,
    Chat,
    Sdapi,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            fields: BTreeMap::new(),
            elsewhere: Vec::new(),
            only: Vec::new(),
            known_fields: None,
            message_fields: Vec::new(),
            developer_role: true,
            null_content: true,
            schema_keywords: Vec::new(),
            lacks: CapabilitySet::EMPTY,
            images: Images::OpenAi,
        }
    }
}

impl Dialect {
    /// The same, as the crate has it.
    pub(crate) fn build(&self) -> tower_free_models::provider::Dialect {
        let mut dialect = tower_free_models::provider::Dialect::OPENAI;
        dialect.fields = rules(&self.fields);
        let elsewhere = self.elsewhere.iter();
        dialect.elsewhere = elsewhere.map(|(at, fields)| (*at, rules(fields))).collect();
        dialect.only.clone_from(&self.only);
        dialect.known.clone_from(&self.known_fields);
        dialect.message_fields.clone_from(&self.message_fields);
        dialect.developer_role = self.developer_role;
        dialect.null_content = self.null_content;
        dialect.schema_keywords.clone_from(&self.schema_keywords);
        dialect.lacks = self.lacks;
        dialect.images = match self.images {
            Images::OpenAi => ImageApi::OpenAi,
            Images::OpenRouter => ImageApi::OpenRouter,
            Images::Chat => ImageApi::Chat,
            Images::Sdapi => ImageApi::Sdapi,
        };
        dialect
    }
}

fn rules(fields: &BTreeMap<String, FieldRules>) -> Vec<(String, Rule)> {
    let of = |(name, rules): (&String, &FieldRules)| {
        let name = name.clone();
        rules
            .all()
            .map(move |rule| (name.clone(), rule))
            .collect::<Vec<_>>()
    };
    fields.iter().flat_map(of).collect()
}

impl FieldRules {
    fn all(&self) -> impl Iterator<Item = Rule> {
        let limit = |limit: DefaultLimit| Rule::DefaultLimit {
            answer: limit.answer,
            with_thoughts: limit.with_thoughts,
        };
        let replace = self.replace.as_ref();
        [
            self.drop.then_some(Rule::Drop),
            self.rename.clone().map(Rule::Rename),
            self.at_most.map(Rule::AtMost),
            replace.map(|(from, to)| Rule::Replace(from.to_string(), to.to_string())),
            self.default
                .as_ref()
                .map(|value| Rule::Default(value.to_string())),
            self.default_limit.map(limit),
        ]
        .into_iter()
        .flatten()
    }
}
