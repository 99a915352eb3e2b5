//! Values that are written as text. What is expected is part of every error, whether the text makes no sense or something
//! else stands in its place.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytesize::ByteSize;
use http::{HeaderName, Uri};
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};
use tower_free_models::{
    catalog::{Capability, CapabilitySet},
    provider::Endpoint,
};

use crate::{
    host::Name,
    listen::{self, Listen},
    origin::Origin,
    selector::Selector,
};

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parsed(
        from,
        "a duration above zero, like \"500ms\", \"30s\", \"10m\" or \"1h\"",
        |text| parse_duration(text).filter(|duration| !duration.is_zero()),
    )
}

pub(super) fn duration_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parsed(
        from,
        "a duration, like \"0s\", \"500ms\" or \"30s\"",
        parse_duration,
    )
}

/// A share, or `true` for one of ten.
pub(super) fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    struct Share;

    impl de::Visitor<'_> for Share {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, false, or a share from 0.0 to 1.0")
        }

        fn visit_bool<E: de::Error>(self, is_on: bool) -> Result<f64, E> {
            Ok(if is_on { 0.1 } else { 0.0 })
        }

        fn visit_f64<E: de::Error>(self, share: f64) -> Result<f64, E> {
            match (0.0..=1.0).contains(&share) {
                true => Ok(share),
                false => Err(E::invalid_value(de::Unexpected::Float(share), &self)),
            }
        }

        fn visit_i64<E: de::Error>(self, share: i64) -> Result<f64, E> {
            match share {
                0 => Ok(0.0),
                1 => Ok(1.0),
                _ => Err(E::invalid_value(de::Unexpected::Signed(share), &self)),
            }
        }
    }

    from.deserialize_any(Share)
}

fn parse_duration(text: &str) -> Option<Duration> {
    text.parse::<SignedDuration>().ok()?.try_into().ok()
}

pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    parsed(
        from,
        "a size above zero, like \"64MB\", \"64MiB\" or a number of bytes",
        |text| {
            let size: ByteSize = text.parse().ok()?;
            usize::try_from(size.as_u64())
                .ok()
                .filter(|&bytes| bytes > 0)
        },
    )
}

pub(super) fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Listen, D::Error> {
    parsed(from, listen::EXPECTED, |text| text.parse().ok())
}

pub(super) fn host_names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Name>, D::Error> {
    each(
        from,
        "a name without a port, like \"gateway.example\"",
        Name::parse,
    )
}

pub(super) fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Origin>, D::Error> {
    each(
        from,
        "the origin of web pages, like \"https://app.example\" or \"http://localhost:8000\"",
        Origin::parse,
    )
}

pub(super) fn base_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Uri>, D::Error> {
    parsed(
        from,
        "an address like \"http://127.0.0.1:9001/v1\"",
        |text| {
            let uri: Uri = text.parse().ok()?;
            let usable =
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none();
            // A name or a password in front of the host would be a credential in an address.
            let plain = uri
                .authority()
                .is_some_and(|authority| !authority.as_str().contains('@'));
            (usable && plain).then_some(Some(uri))
        },
    )
}

pub(super) fn some_id<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    id(from).map(Some)
}

pub(super) fn selector<'de, D: Deserializer<'de>>(from: D) -> Result<Selector, D::Error> {
    Selector::named(&String::deserialize(from)?).map_err(de::Error::custom)
}

/// Names stand in headers, in logs and before the `/` of `provider/model`.
pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    parsed(
        from,
        "a name of letters, digits, \"-\", \"_\" and \".\", with \"#2\" behind it for a second key of one service",
        |text| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let (service, key) = match text.split_once('#') {
                Some((service, key)) => (service, Some(key)),
                None => (text, None),
            };
            let counts = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
            (!service.is_empty() && service.bytes().all(fits) && key.is_none_or(counts))
                .then(|| text.to_owned())
        },
    )
}

pub(super) fn variable_name<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<String>, D::Error> {
    parsed(
        from,
        "the name of an environment variable (the key itself belongs into that variable)",
        |text| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            (!text.is_empty() && text.bytes().all(fits)).then(|| Some(text.to_owned()))
        },
    )
}

pub(super) fn id<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    parsed(from, "the id of a model", |text| {
        // There are blanks in the titles of checkpoints.
        let fits = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        (!text.is_empty() && text.trim() == text && text.bytes().all(fits)).then(|| text.to_owned())
    })
}

pub(super) fn image_size<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<(u32, u32)>, D::Error> {
    parsed(
        from,
        "a width and a height in pixels, like \"512x512\"",
        |text| {
            let (width, height) = text.split_once('x')?;
            let pixels = |text: &str| text.parse().ok().filter(|&pixels: &u32| pixels > 0);
            Some(Some((pixels(width)?, pixels(height)?)))
        },
    )
}

/// A path as [`Provider::listing`](super::provider::Listing) has it.
pub(super) fn place<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    parsed(
        from,
        "a path like \"/v1/models\" or \"../models\", or a URL",
        |text| {
            let path = text.strip_prefix("..").unwrap_or(text);
            let fits = path.starts_with('/') || text.starts_with("http");
            (fits && path.parse::<Uri>().is_ok()).then(|| text.to_owned())
        },
    )
}

pub(super) fn header<'de, D: Deserializer<'de>>(from: D) -> Result<Option<HeaderName>, D::Error> {
    parsed(from, "the name of a header, like \"x-api-key\"", |text| {
        text.parse().ok().map(Some)
    })
}

pub(super) fn endpoints<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<Endpoint>>, D::Error> {
    each(from, ENDPOINT, endpoint).map(Some)
}

/// A table whose keys are endpoints other than `/chat/completions`.
pub(super) fn by_endpoint<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Vec<(Endpoint, T)>, D::Error> {
    let table = BTreeMap::<String, T>::deserialize(from)?.into_iter();
    let read = |(key, value): (String, T)| match endpoint(&key) {
        Some(Endpoint::ChatCompletions) => Err(de::Error::custom(
            "what is done to fields of `chat/completions` is said in `fields`, not in `elsewhere`",
        )),
        Some(endpoint) => Ok((endpoint, value)),
        None => Err(de::Error::custom(format_args!("`{key}` is not {ENDPOINT}"))),
    };
    table.map(read).collect()
}

const ENDPOINT: &str = "an endpoint, like \"chat/completions\" or \"embeddings\"";

fn endpoint(text: &str) -> Option<Endpoint> {
    let is = |endpoint: &Endpoint| endpoint.path().strip_prefix('/') == Some(text);
    Endpoint::ALL.into_iter().find(is)
}

pub(super) fn capabilities<'de, D: Deserializer<'de>>(from: D) -> Result<CapabilitySet, D::Error> {
    let named = |text: &str| {
        Capability::ALL
            .into_iter()
            .find(|known| known.name() == text)
    };
    let all = each(from, "a capability, like \"tools\" or \"logprobs\"", named)?;
    Ok(all.into_iter().collect())
}

/// Members of messages. Others are never left out, so naming one would have no effect.
pub(super) fn message_fields<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    const FIELDS: [&str; 8] = [
        "name",
        "reasoning",
        "reasoning_content",
        "reasoning_details",
        "refusal",
        "annotations",
        "audio",
        "images",
    ];
    let known = |text: &str| FIELDS.contains(&text).then(|| text.to_owned());
    each(
        from,
        "a field of messages that can be left out: name, reasoning, reasoning_content, reasoning_details, refusal, \
         annotations, audio or images",
        known,
    )
}

fn parsed<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    from.deserialize_any(Parsed { expected, parse })
}

/// A list, each of whose entries is read like this.
fn each<'de, D: Deserializer<'de>, T>(
    from: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let entry = |text: &String| {
        parse(text).ok_or_else(|| de::Error::custom(format_args!("this is not {expected}")))
    };
    texts.iter().map(entry).collect()
}

/// Takes a value if its text makes sense; a number's text is its digits. What makes none is not
/// repeated in the error, since it may be a key in the wrong place.
struct Parsed<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> de::Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::custom(format_args!("this is not {}", self.expected)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}
