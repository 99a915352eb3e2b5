//! How a service differs from OpenAI's API, as data.

use crate::{capability::CapabilitySet, endpoint::Endpoint, json::is_json};

/// How a service differs from OpenAI's API.
///
/// It is data: what is left out, renamed or bounded in a request is applied by the same edits of the body that
/// replace its `model`, and is named in `x-free-dropped` and `x-free-adjusted`.
///
/// `fields`, `only`, `message_fields`, `developer_role`, `null_content` and `schema_keywords` are about requests to
/// `/chat/completions`: at other endpoints the same names may stand for other things, so what differs there is said in
/// [`elsewhere`](Self::elsewhere). [`known`](Self::known) is about all endpoints. Names are compared to the letter,
/// after unescaping. Of the messages of a body the first 16,384 members that could be left out or changed are edited, and of
/// the schemas of its tools the first 16,384 keywords are left out; the rest is sent as it is. No rule applies to `model` or
/// to what is left out because it could cost money, and none makes a list of tools out of anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dialect {
    /// Top-level fields of a request and what is done to them, by their exact names.
    pub fields: Vec<(String, Rule)>,
    /// The same of requests to other endpoints than `/chat/completions`.
    pub elsewhere: Vec<(Endpoint, Vec<(String, Rule)>)>,
    /// The only top-level fields that are let through, for a service that refuses what it does not know. What
    /// [`fields`](Self::fields) names is let through too, and so are `model`, `messages`, `input`, `prompt` and `stream`.
    /// Empty: all of them are.
    pub only: Vec<String>,
    /// For a service that chooses models or tools itself, and could be told to by a field that is not known here: at
    /// any endpoint, also in a form, only the fields are let through that OpenAI's API has there, these, and those that
    /// a rule names. `None`: all fields are.
    ///
    /// Of a service that is known so, this stays when the operator gives it another dialect without such a list.
    pub known: Option<Vec<String>>,
    /// Members of an entry of `messages` that are left out. These can be: `name`, `reasoning`, `reasoning_content`,
    /// `reasoning_details`, `refusal`, `annotations`, `audio`, `images`.
    pub message_fields: Vec<String>,
    /// Whether a message may have the role `developer`. If not, it goes there as `system`.
    pub developer_role: bool,
    /// Whether the `content` of a message may be null. If not, an empty string goes there.
    pub null_content: bool,
    /// Keywords that are left out of the JSON schemas in `tools`, at any depth. A parameter of such a name stays.
    pub schema_keywords: Vec<String>,
    /// What no model has there, whatever a listing says of it.
    pub lacks: CapabilitySet,
    /// How an image is asked for.
    pub images: ImageApi,
}

/// What is done to one top-level field of a request.
///
/// A field may have several rules. One that is renamed heeds the bounds and the default of its new name as well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// It is left out.
    Drop,
    /// It goes by another name there, and its value stays as it is. If that is given too, this one is left out: a client
    /// that sends both `max_tokens` and `max_completion_tokens` means the newer one. A null counts as not given.
    Rename(String),
    /// A number above this is lowered to it. What is no number stays.
    AtMost(u64),
    /// Where its value is the first JSON, byte for byte, it becomes the second.
    Replace(String, String),
    /// Where it is missing (or null), this JSON is put in.
    Default(String),
    /// Where it is missing (or null), this limit of the answer is put in, in tokens.
    ///
    /// Thoughts count as a part of the answer, so a model that is not stated to be without them gets the larger one, as
    /// far as its window has room for that beside the prompt.
    DefaultLimit {
        /// For a model that does not think.
        answer: u64,
        /// For one that does, or may.
        with_thoughts: u64,
    },
}

/// How a service is asked for an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageApi {
    /// By OpenAI's own `/images/generations`.
    #[default]
    OpenAi,
    /// By OpenRouter's `/images`.
    OpenRouter,
    /// By a chat whose answer holds the images, in `message.images`: one chat for each image, one after the other, each
    /// an attempt of its own. Of the size only the ratio is asked for.
    Chat,
    /// By `/sdapi/v1/txt2img`, as AUTOMATIC1111 and sdnext have it, on a base URL with or without `/v1` or `/sdapi/v1`
    /// at its end.
    ///
    /// The checkpoint is looked for first, since a server ignores one that it does not have. Requests are sent one at a
    /// time: see [`Provider::image_queue`](crate::Provider::image_queue).
    Sdapi,
}

impl Dialect {
    /// OpenAI's own: nothing differs.
    pub const OPENAI: Self = Self {
        fields: Vec::new(),
        elsewhere: Vec::new(),
        only: Vec::new(),
        known: None,
        message_fields: Vec::new(),
        developer_role: true,
        null_content: true,
        schema_keywords: Vec::new(),
        lacks: CapabilitySet::EMPTY,
        images: ImageApi::OpenAi,
    };

    /// The field of the first rule that puts in what is not one JSON value: that could be further fields.
    pub(super) fn not_json(&self) -> Option<&str> {
        let elsewhere = self.elsewhere.iter().flat_map(|(_, fields)| fields);
        let mut rules = self.fields.iter().chain(elsewhere);
        let is_broken = |(_, rule): &&(String, Rule)| match rule {
            Rule::Default(json) | Rule::Replace(_, json) => !is_json(json),
            _ => false,
        };
        rules.find(is_broken).map(|(name, _)| name.as_str())
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self::OPENAI
    }
}

/// Owned rules, of a table that is written down.
pub(crate) fn rules(rules: &[(&str, Rule)]) -> Vec<(String, Rule)> {
    let owned = |(name, rule): &(&str, Rule)| ((*name).to_owned(), rule.clone());
    rules.iter().map(owned).collect()
}

/// Owned names, of a list that is written down.
pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
