//! What the rows of a listing come in.

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    object::Object,
    result::{ListingError, MOST_ROWS},
};

/// The rows of a listing, whatever else it holds.
pub(super) struct Envelope<'a> {
    pub(super) rows: Vec<&'a RawValue>,
    /// The field of a row that holds what is sent as `model`: `id`, as OpenAI has it, or `name`, as Cohere, Cloudflare
    /// and Ollama's own API have it, where an `id` beside it is of no use.
    pub(super) id_field: &'static str,
}

impl<'a> Envelope<'a> {
    /// Opens `{"data": […]}`, `{"models": […]}` (Cohere, Ollama), `{"result": […]}` (Cloudflare) or a bare array
    /// (GitHub). Where there are several, as llama.cpp sends them, `data` is the one in OpenAI's format.
    pub(super) fn open(text: &'a str) -> Result<Self, ListingError> {
        let whole: &RawValue = serde_json::from_str(text)?;
        let lists = Object::read(whole.get());
        let list = |name| lists.as_ref().and_then(|lists| lists.raw(name));
        let null = |raw: &&RawValue| raw.get() != "null";
        let named = || list("models").filter(null).or_else(|| list("result"));
        let (list, id_field) = match list("data").filter(null) {
            Some(list) => (list, "id"),
            None => named().map_or((whole, "id"), |list| (list, "name")),
        };
        let Rows(rows) = serde_json::from_str(list.get()).map_err(|_| ListingError::no_list())?;
        match rows.len() > MOST_ROWS {
            true => Err(ListingError::too_many()),
            false => Ok(Self { rows, id_field }),
        }
    }
}

/// The rows of a list. Of a list that is too long only one row too many is kept, because a row that is held is larger
/// than the text of a short one.
struct Rows<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;

        impl<'de> Visitor<'de> for Walk {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of models")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut rows = Vec::new();
                while let Some(row) = list.next_element()? {
                    if rows.len() <= MOST_ROWS {
                        rows.push(row);
                    }
                }
                Ok(rows)
            }
        }

        deserializer.deserialize_seq(Walk).map(Rows)
    }
}
