//! Images as upstreams send them, and the answer in OpenAI's format that is made of them.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json, value::RawValue};

use super::format::recognise;
use crate::{
    refusal::Refusal,
    upstream::{Verdict, answer},
};

/// Text in a body, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Text<'_> {
    /// The text as a slice of the body that it was borrowed from. One with escapes is a copy, which keeps the body,
    /// because the memory of the body is what is counted.
    pub(super) fn of(self, body: &Bytes) -> Bytes {
        match self.0 {
            Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
            Cow::Owned(text) => {
                let body = body.clone();
                Bytes::from_owner(Unescaped { text, _body: body })
            }
        }
    }
}

struct Unescaped {
    text: String,
    _body: Bytes,
}

impl AsRef<[u8]> for Unescaped {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// One image.
pub(super) struct Picture {
    source: Source,
    /// Further members of the image's entry in the answer.
    pub(super) told: Map<String, Value>,
}

enum Source {
    /// The image in base64, which is a slice of the body that it came in.
    Here { base64: Bytes, format: &'static str },
    /// The address of the image.
    At(Bytes),
}

impl Picture {
    /// Reads base64 that must hold an image.
    pub(super) fn from_base64(base64: Bytes) -> Result<Self, Refusal> {
        let bytes = BASE64
            .decode(&base64)
            .map_err(|_| no_image("an image that is not valid base64"))?;
        let (format, size) =
            recognise(&bytes).ok_or_else(|| no_image("something that is no PNG, JPEG or WebP"))?;
        let mut told = Map::new();
        told.insert("media_type".to_owned(), format!("image/{format}").into());
        told.insert("width".to_owned(), size.width.into());
        told.insert("height".to_owned(), size.height.into());
        let source = Source::Here { base64, format };
        Ok(Self { source, told })
    }

    /// Reads a data URL that must hold an image (RFC 2397), or the address of an image.
    pub(super) fn from_url(url: &Bytes) -> Result<Self, Refusal> {
        let starts = |scheme: &[u8]| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        if starts(b"data:") {
            let comma = memchr::memchr(b',', url).unwrap_or(0);
            if !url[..comma].to_ascii_lowercase().ends_with(b";base64") {
                return Err(no_image("a data URL that is not in base64"));
            }
            return Self::from_base64(url.slice(comma + 1..));
        }
        if !starts(b"https://") && !starts(b"http://") {
            return Err(no_image("an image without an address of HTTP"));
        }
        Ok(Self {
            source: Source::At(url.clone()),
            told: Map::new(),
        })
    }

    fn format(&self) -> Option<&'static str> {
        match self.source {
            Source::Here { format, .. } => Some(format),
            Source::At(_) => None,
        }
    }

    fn entry(&self, as_url: bool) -> Entry<'_> {
        let (b64_json, url) = match &self.source {
            Source::At(url) => (None, Some(Url(String::new(), text(url)))),
            Source::Here { base64, format } if as_url => {
                let start = format!("data:image/{format};base64,");
                (None, Some(Url(start, text(base64))))
            }
            Source::Here { base64, .. } => (Some(text(base64)), None),
        };
        Entry {
            b64_json,
            url,
            told: &self.told,
        }
    }
}

/// Images, and what the answer says of all of them.
#[derive(Default)]
pub(super) struct Drawing {
    pub(super) pictures: Vec<Picture>,
    /// In the format of OpenAI's images; null if it was not stated.
    pub(super) usage: Value,
    pub(super) metadata: Value,
}

impl Drawing {
    /// Reads what a 2xx has: its images and its `usage`, or `None` if it does not have the shape of its API. The result is
    /// `None` where the body says what is wrong, and so is passed on as it is.
    ///
    /// An answer that cost money is never a mere failure, because that it did must be seen: one with an image that cannot
    /// be read is an answer without images.
    pub(super) fn read(
        parts: Option<(Result<Vec<Picture>, Refusal>, Value)>,
        found: answer::Answer,
    ) -> Result<Option<Self>, Refusal> {
        let says_why = found.verdict == Verdict::Error;
        let (pictures, usage) = match parts {
            Some((Err(_), usage)) if found.billed => (Vec::new(), usage),
            Some((pictures, usage)) => (pictures?, usage),
            None if says_why || found.billed => return Ok(None),
            None => return Err(no_image("something that is not what its API answers")),
        };
        if pictures.is_empty() && says_why {
            return Ok(None);
        }
        Ok(Some(Self {
            pictures,
            usage: add_usage(&Value::Null, &usage),
            metadata: Value::Null,
        }))
    }

    /// The images of a further answer come after these.
    pub(super) fn add(&mut self, further: Self) {
        self.pictures.extend(further.pictures);
        self.usage = add_usage(&self.usage, &further.usage);
    }

    /// Whether there are images, but fewer than were asked for.
    pub(super) fn is_short_of(&self, n: usize) -> bool {
        (1..n).contains(&self.pictures.len())
    }

    /// The answer with images as data URLs, or in base64 alone. `created` is in seconds since 1970.
    pub(super) fn into_bytes(self, created: u64, as_url: bool) -> Bytes {
        let data: Vec<_> = self.pictures.iter().map(|one| one.entry(as_url)).collect();
        let images: usize = data.iter().map(Entry::length).sum();
        let mut bytes = Vec::with_capacity(images + 1024 * (1 + data.len()));
        let document = Document {
            created,
            data,
            output_format: self.pictures.iter().find_map(Picture::format),
            usage: &self.usage,
            metadata: &self.metadata,
        };
        // Writing into memory does not fail, and every key is a string.
        let written = serde_json::to_writer(&mut bytes, &document);
        debug_assert!(written.is_ok());
        Bytes::from(bytes)
    }
}

/// The answer of `/images/generations`.
#[derive(Serialize)]
struct Document<'a> {
    created: u64,
    data: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Value::is_null")]
    usage: &'a Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    metadata: &'a Value,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Url<'a>>,
    #[serde(flatten)]
    told: &'a Map<String, Value>,
}

impl Entry<'_> {
    fn length(&self) -> usize {
        let url = self.url.as_ref().map(|url| url.1);
        self.b64_json.or(url).map_or(0, str::len)
    }
}

/// A URL in two parts, because the second one may be a whole image.
struct Url<'a>(String, &'a str);

impl Serialize for Url<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.0, self.1))
    }
}

/// The refusal for an upstream whose 2xx is not what its API has.
pub(super) fn no_image(what: &str) -> Refusal {
    let message = format!("The provider answered with {what}.");
    Refusal::new(StatusCode::BAD_GATEWAY, "invalid_image", message)
}

/// Bytes that were text when they were read.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The `usage` of an answer. One that is no object of some counts and prices is left out.
pub(super) fn stated_usage(usage: Option<&RawValue>) -> Value {
    const LONGEST: usize = 16 * 1024;
    let usage = usage.filter(|usage| usage.get().len() <= LONGEST);
    usage
        .and_then(|usage| serde_json::from_str(usage.get()).ok())
        .unwrap_or_default()
}

/// The usage of an answer in the format of OpenAI's images (its openapi.yaml, `ImageGenUsage`), added to that of earlier
/// answers. A cost is kept as it was stated, because the fallback looks for it.
fn add_usage(before: &Value, more: &Value) -> Value {
    if !more.is_object() {
        return before.clone();
    }
    let count = |name: &str, chat_name: &str| {
        let of = |usage: &Value| usage[name].as_u64().or_else(|| usage[chat_name].as_u64());
        let before = of(before).unwrap_or_default();
        before.saturating_add(of(more).unwrap_or_default())
    };
    let input = count("input_tokens", "prompt_tokens");
    let mut usage = json!({
        "input_tokens": input,
        "output_tokens": count("output_tokens", "completion_tokens"),
        "total_tokens": count("total_tokens", "total_tokens"),
        "input_tokens_details": { "text_tokens": input, "image_tokens": 0 },
    });
    for name in ["cost", "cost_details", "is_byok"] {
        if let Some(value) = more.get(name) {
            usage[name] = value.clone();
        }
    }
    usage
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02";

    fn refused(image: Result<Picture, Refusal>) {
        assert_eq!(image.err().expect("a refusal").status, 502);
    }

    fn written(image: Picture, as_url: bool) -> Value {
        let drawing = Drawing {
            pictures: vec![image],
            ..Drawing::default()
        };
        serde_json::from_slice(&drawing.into_bytes(7, as_url)).expect("JSON")
    }

    #[test]
    fn base64_must_be_valid_and_hold_an_image() {
        assert!(Picture::from_base64(BASE64.encode(PNG).into()).is_ok());
        refused(Picture::from_base64("%%%%".into()));
        refused(Picture::from_base64(BASE64.encode("no image").into()));
        refused(Picture::from_base64(Bytes::new()));
    }

    #[test]
    fn an_image_is_not_copied() {
        let body = Bytes::from(format!("\"{}\"", BASE64.encode(PNG)));
        let text: Text<'_> = serde_json::from_slice(&body).expect("a text");
        let picture = Picture::from_base64(text.of(&body)).expect("an image");
        let base64 = picture.entry(false).b64_json.expect("base64");
        assert_eq!(base64.as_ptr(), body[1..].as_ptr());
    }

    #[test]
    fn an_image_with_escapes_keeps_the_body_whose_memory_is_counted() {
        let base64 = BASE64.encode([PNG, &[0xff; 9]].concat());
        let body = Bytes::from(format!("\"{}\"", base64.replace('/', r"\/")));
        let text: Text<'_> = serde_json::from_slice(&body).expect("a text");
        let picture = Picture::from_base64(text.of(&body)).expect("an image");
        assert_eq!(picture.entry(false).b64_json, Some(&*base64));
        assert!(!body.is_unique());
        drop(picture);
        assert!(body.is_unique());
    }

    #[test]
    fn a_url_is_an_address_or_holds_the_image() {
        let url = |text: String| Picture::from_url(&Bytes::from(text));
        let data = format!("DATA:image/png;charset=x;BASE64,{}", BASE64.encode(PNG));
        let format = |picture: Result<Picture, Refusal>| picture.expect("an image").format();
        assert_eq!(format(url(data)), Some("png"));
        assert_eq!(format(url("https://h/a.png".into())), None);
        for bad in ["", "data:", "data:image/png,abc", "file:///etc/passwd"] {
            refused(url(bad.to_owned()));
        }
    }

    #[test]
    fn an_answer_is_openais_with_the_image_in_the_form_that_was_asked_for() {
        let image = || Picture::from_base64(BASE64.encode(PNG).into()).expect("an image");
        let base64 = BASE64.encode(PNG);
        assert_eq!(
            written(image(), false),
            json!({ "created": 7, "output_format": "png", "data": [
                { "b64_json": base64, "media_type": "image/png", "width": 300, "height": 200 },
            ] })
        );
        let data = &written(image(), true)["data"][0];
        assert_eq!(data["url"], format!("data:image/png;base64,{base64}"));
        assert!(data.get("b64_json").is_none());
        let at = Picture::from_url(&"https://h/\"a\".png".into()).expect("an image");
        assert_eq!(written(at, false)["data"][0]["url"], "https://h/\"a\".png");
    }

    #[test]
    fn tokens_add_up_under_openais_names_and_the_cost_is_seen() {
        let once = json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 });
        let twice =
            json!({ "input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "cost": 0.1 });
        let usage = add_usage(&add_usage(&Value::Null, &once), &twice);
        assert_eq!(
            usage,
            json!({ "input_tokens": 4, "output_tokens": 5, "total_tokens": 9, "cost": 0.1,
                "input_tokens_details": { "text_tokens": 4, "image_tokens": 0 } })
        );
        assert_eq!(add_usage(&Value::Null, &json!(null)), Value::Null);
    }
}
