//! One row of a listing, and the model that it describes.

use std::time::SystemTime;

use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Value, value::RawValue};

use super::{
    object::{Object, count, flag, strings},
    result::SkipReason,
    vocabulary::{self, ABILITIES, CHATS, INPUT, KIND, LAST_DAY, LONGEST_ANSWER, OUTPUT, WINDOW},
};
use crate::{
    capability::Capability,
    catalog::{Model, assumed_output},
    provider::{ListingFormat, Prices},
};

/// The modalities of answers that an endpoint has.
const OUTPUTS: &[&str] = &["text", "image", "embeddings", "embedding", "transcription"];

/// A row, as far as it can be read.
pub(super) struct Entry<'a> {
    pub(super) index: usize,
    pub(super) raw: &'a str,
    pub(super) id: String,
    pub(super) prices: Prices,
    fields: Object<'a>,
    format: ListingFormat,
}

impl<'a> Entry<'a> {
    /// Reads a row whose id is in `id_field`, unless its format has it elsewhere. `None` if it is no object with an id.
    pub(super) fn read(
        index: usize,
        raw: &'a RawValue,
        id_field: &str,
        format: ListingFormat,
    ) -> Option<Self> {
        let fields = Object::read(raw.get())?;
        let id = match format {
            ListingFormat::OpenAi => fields.get(id_field).as_str()?.to_owned(),
            ListingFormat::Google => {
                let id = fields.get(id_field);
                let id = id.as_str()?;
                id.strip_prefix("models/").unwrap_or(id).to_owned()
            }
            ListingFormat::Checkpoints => without_hash(fields.get("title").as_str()?).to_owned(),
        };
        Some(Self {
            index,
            raw: raw.get(),
            id,
            prices: Prices::of(&fields),
            fields,
            format,
        })
    }

    /// Why the model is left out although it is free.
    pub(super) fn unwanted(&self, now: SystemTime) -> Option<SkipReason> {
        let outputs = self.outputs();
        let is_useless = match outputs.is_empty() {
            true => {
                let is_for = assumed_output(&self.id);
                self.says(CHATS) == Some(false)
                    && matches!(is_for, None | Some(Capability::TextOutput))
            }
            false => !outputs
                .iter()
                .any(|output| OUTPUTS.contains(&output.as_str())),
        };
        if self
            .fields
            .raw("alias_target")
            .is_some_and(|raw| raw.get() != "null")
        {
            Some(SkipReason::Alias)
        } else if self.expires().is_some_and(|end| now >= end) {
            Some(SkipReason::Expired)
        } else if self.is_inactive() {
            Some(SkipReason::Inactive)
        } else if is_useless {
            Some(SkipReason::NoChat)
        } else {
            None
        }
    }

    /// What the row states of the model.
    pub(super) fn model(&self) -> Model {
        let get = |name| self.fields.get(name);
        let mut model = Model::new(self.id.as_str())
            .shown_as(get("name").as_str().unwrap_or_default())
            .context_length(self.window())
            .max_output(self.least(LONGEST_ANSWER))
            .created(count(&get("created")).unwrap_or(0))
            .expires(self.expires())
            .input(self.inputs())
            .output(self.outputs());
        for (word, is_there) in self.abilities() {
            let Some(capability) = vocabulary::capability(&word) else {
                continue;
            };
            model = model.capability(capability, is_there);
            // A model that follows a schema can write JSON.
            if capability == Capability::JsonSchema && is_there {
                model = model.capability(Capability::JsonObject, true);
            }
        }
        model = model.parameters(strings(&get("supported_parameters")));
        if let Some(owner) = get("owned_by").as_str() {
            model = model.owned_by(owner.to_owned());
        }
        model.build()
    }

    /// The least of the counts that these fields state, or 0.
    fn least(&self, paths: &[&str]) -> u64 {
        let counts = paths.iter().map(|path| count(&self.fields.get(path)));
        counts.flatten().min().unwrap_or(0)
    }

    fn window(&self) -> u64 {
        let properties = self.properties().into_iter();
        let property = properties.filter(|(name, _)| WINDOW.contains(&name.as_str()));
        let of_servers = self.live_servers().into_iter();
        let of_servers = of_servers.filter_map(|server| count(&server["context_length"]));
        let elsewhere = property
            .filter_map(|(_, value)| count(&value))
            .chain(of_servers);
        let least = [self.least(WINDOW)].into_iter().chain(elsewhere);
        least.filter(|&tokens| tokens > 0).min().unwrap_or(0)
    }

    fn inputs(&self) -> Vec<String> {
        let stated = strings(&self.fields.first(INPUT));
        match self.fields.get("type").as_str() {
            Some(kind) if stated.is_empty() => vocabulary::input(kind)
                .iter()
                .map(|&word| word.into())
                .collect(),
            _ => stated,
        }
    }

    fn outputs(&self) -> Vec<String> {
        if self.format == ListingFormat::Checkpoints {
            return vec!["image".into()];
        }
        let stated = strings(&self.fields.first(OUTPUT));
        if !stated.is_empty() {
            return stated;
        }
        // What it answers with, by what it is said to be.
        let kinds = KIND.iter().flat_map(|path| match self.fields.get(path) {
            Value::String(kind) => vec![kind],
            list => strings(&list),
        });
        // What does not chat at Mistral may be a model for embeddings, which has no flag.
        let flags = [CHATS, "audio_transcription"].map(|flag| (flag, self.says(flag)));
        let flags = flags.into_iter().filter(|(_, says)| *says == Some(true));
        let kinds = kinds.chain(flags.map(|(flag, _)| flag.to_owned()));
        let outputs = kinds.filter_map(|kind| vocabulary::output(&kind));
        outputs.map(str::to_owned).collect()
    }

    /// What the model is said to be able to do, or not to, elsewhere than in lists of modalities and parameters.
    ///
    /// A list of words says what is there. What it leaves out may not be what the list is about.
    fn abilities(&self) -> Vec<(String, bool)> {
        let stated = ABILITIES
            .iter()
            .flat_map(|path| match self.fields.get(path) {
                Value::Object(flags) => flags.into_iter().collect(),
                list => strings(&list)
                    .into_iter()
                    .map(|word| (word, true.into()))
                    .collect::<Vec<_>>(),
            });
        let words = stated.chain(self.properties());
        let words = words.filter_map(|(word, value)| Some((word, flag(&value)?)));
        let servers = self.live_servers();
        let agreed = vocabulary::OF_SERVERS.iter().filter_map(|&word| {
            let mut says = servers.iter().map(|server| server[word].as_bool());
            let first = says.next()??;
            says.all(|other| other == Some(first))
                .then(|| (word.to_owned(), first))
        });
        words.chain(agreed).collect()
    }

    /// What a flag says of the model.
    fn says(&self, flag: &str) -> Option<bool> {
        self.fields.get("capabilities")[flag].as_bool()
    }

    /// Cloudflare's `[{"property_id", "value"}]`.
    fn properties(&self) -> Vec<(String, Value)> {
        let properties = self.fields.get("properties");
        let pair = |property: &Value| {
            let name = property["property_id"].as_str()?;
            Some((name.to_owned(), property["value"].clone()))
        };
        properties
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(pair)
            .collect()
    }

    /// The servers behind Hugging Face's router that have the model.
    fn servers(&self) -> Vec<Value> {
        match self.fields.get("providers") {
            Value::Array(servers) => servers.into_iter().filter(Value::is_object).collect(),
            _ => Vec::new(),
        }
    }

    fn live_servers(&self) -> Vec<Value> {
        let mut servers = self.servers();
        servers.retain(|server| {
            server["status"]
                .as_str()
                .is_none_or(|status| status == "live")
        });
        servers
    }

    fn is_inactive(&self) -> bool {
        let no_server = !self.servers().is_empty() && self.live_servers().is_empty();
        self.fields.get("active") == false || no_server
    }

    /// The end, in UTC, of the last day on which the model is there.
    fn expires(&self) -> Option<SystemTime> {
        let day = self.fields.first(LAST_DAY);
        let day: Date = day.as_str()?.get(..10)?.parse().ok()?;
        let end = day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(end.timestamp().into())
    }
}

/// The title of a checkpoint without the hash that is in it once the server has computed one: `name [31e35c80fc]`.
///
/// What is left is its name, by which both servers find it too: `checkpoint_aliases` of sdnext at 058a7f0c, and
/// `CheckpointInfo.ids` of AUTOMATIC1111 at 008a8e75.
fn without_hash(title: &str) -> &str {
    let name = title
        .strip_suffix(']')
        .and_then(|title| title.rsplit_once(" ["))
        .filter(|(_, hash)| hash.bytes().all(|digit| digit.is_ascii_hexdigit()));
    name.map_or(title, |(name, _)| name)
}

#[cfg(test)]
mod tests;
