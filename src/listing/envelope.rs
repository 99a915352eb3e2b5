//! What a listing's entries come in.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::listing::{Fault, ListingError, MOST_ENTRIES};

/// The entries of a listing, whatever else it holds.
pub(crate) struct Envelope<'a> {
    pub(crate) entries: Vec<&'a RawValue>,
    pub(crate) id_in: IdIn,
}

/// The field of an entry that holds what is sent as `model`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdIn {
    /// `id`, as OpenAI has it.
    Id,
    /// `name`, as Cohere, Cloudflare and Ollama's own API have it: an `id` beside it is of no use.
    Name,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lists<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    models: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Opens `{"data": […]}`, `{"models": […]}` (Cohere, Ollama), `{"result": […]}` (Cloudflare) or a bare array
    /// (GitHub). Where there are several, as llama.cpp sends them, `data` is the one in OpenAI's format.
    pub(crate) fn open(text: &'a str) -> Result<Self, ListingError> {
        let no_list = || ListingError {
            fault: Fault::NoList,
        };
        let whole: &RawValue = serde_json::from_str(text)?;
        let (list, id_in) = match whole.get().as_bytes() {
            [b'[', ..] => (whole, IdIn::Id),
            [b'{', ..] => {
                let lists: Lists<'a> = serde_json::from_str(whole.get())?;
                let data = lists.data.map(|list| (list, IdIn::Id));
                let named = || Some((lists.models.or(lists.result)?, IdIn::Name));
                data.or_else(named).ok_or_else(no_list)?
            }
            // A struct can be read from an array, and a scalar is neither.
            _ => return Err(no_list()),
        };
        let Entries(entries) = serde_json::from_str(list.get())?;
        match entries.len() > MOST_ENTRIES {
            true => Err(ListingError {
                fault: Fault::TooMany,
            }),
            false => Ok(Self { entries, id_in }),
        }
    }
}

/// The entries of a list, of a list that is too long only so many that this is seen: what is read of an entry can be a
/// hundred times as large as its text.
struct Entries<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;

        impl<'de> Visitor<'de> for Walk {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of models")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list.next_element()? {
                    if entries.len() <= MOST_ENTRIES {
                        entries.push(entry);
                    }
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_seq(Walk).map(Entries)
    }
}
