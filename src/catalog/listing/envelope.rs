//! What a listing's entries come in.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fault, ListingError};

/// The entries of a listing, whatever else it holds.
pub(super) struct Envelope<'a> {
    pub(super) entries: Vec<&'a RawValue>,
    pub(super) id_in: IdIn,
}

/// The field of an entry that holds what is sent as `model`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IdIn {
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
    pub(super) fn open(text: &'a str) -> Result<Self, ListingError> {
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
        Ok(Self {
            entries: serde_json::from_str(list.get())?,
            id_in,
        })
    }
}
