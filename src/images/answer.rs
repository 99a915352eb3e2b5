//! Images as they came, and the answer in OpenAI's format that is made of them.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::{
    images::{
        format::{Format, recognise},
        request::Size,
    },
    refusal::Refusal,
    upstream::{Verdict, answer},
};

/// Text in a body, borrowed wherever it holds no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Text<'_> {
    /// As a slice of the body that it was read from, where it is one.
    pub(super) fn of(self, body: &Bytes) -> Bytes {
        match self.0 {
            Cow::Borrowed(text) => body.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        }
    }
}

/// One image.
#[derive(Debug)]
pub(super) enum Image {
    /// Its bytes in base64, which is a slice of the body that it came in.
    Here {
        base64: Bytes,
        format: Format,
        size: Size,
    },
    /// Its address.
    At(Bytes),
}

impl Image {
    /// Reads base64 that must hold an image.
    pub(super) fn from_base64(base64: Bytes) -> Result<Self, Refusal> {
        let bytes = BASE64
            .decode(&base64)
            .map_err(|_| no_image("an image that is not valid base64"))?;
        let (format, size) =
            recognise(&bytes).ok_or_else(|| no_image("something that is no PNG, JPEG or WebP"))?;
        Ok(Self::Here {
            base64,
            format,
            size,
        })
    }

    /// Reads a data URL that must hold an image (RFC 2397), or the address of one.
    pub(super) fn from_url(url: &Bytes) -> Result<Self, Refusal> {
        let starts = |scheme: &[u8]| {
            url.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        if starts(b"data:") {
            let comma = memchr::memchr(b',', url);
            let head = comma.map_or(&b""[..], |comma| &url[..comma]);
            return match comma {
                Some(comma) if head.to_ascii_lowercase().ends_with(b";base64") => {
                    Self::from_base64(url.slice(comma + 1..))
                }
                _ => Err(no_image("a data URL that is not in base64")),
            };
        }
        if starts(b"https://") || starts(b"http://") {
            return Ok(Self::At(url.clone()));
        }
        Err(no_image("an image whose address is none"))
    }
}

/// An image in the answer, with what only some servers tell of it.
pub(super) struct Picture {
    pub(super) image: Image,
    pub(super) seed: Option<Value>,
    pub(super) infotext: Option<Value>,
}

impl From<Image> for Picture {
    fn from(image: Image) -> Self {
        Self {
            image,
            seed: None,
            infotext: None,
        }
    }
}

/// Images, with what the answer says of them all.
#[derive(Default)]
pub(super) struct Drawing {
    pub(super) pictures: Vec<Picture>,
    /// In the words of OpenAI's images.
    pub(super) usage: Option<Value>,
    pub(super) metadata: Option<Value>,
}

/// The answer of `/images/generations`.
#[derive(Serialize)]
struct Document<'a> {
    /// Seconds since 1970.
    created: u64,
    data: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Value>,
}

#[derive(Default, Serialize)]
struct Entry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Url<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    infotext: Option<&'a Value>,
}

enum Url<'a> {
    Data {
        media_type: &'static str,
        base64: &'a str,
    },
    Address(&'a str),
}

impl Serialize for Url<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Data { media_type, base64 } => {
                serializer.collect_str(&format_args!("data:{media_type};base64,{base64}"))
            }
            Self::Address(url) => serializer.serialize_str(url),
        }
    }
}

impl Drawing {
    /// Reads what a 2xx has: its images and its `usage`, or `None` if it does not have the shape of its API. The result is
    /// `None` where the body says what is wrong, and so is passed on as it is.
    ///
    /// An answer that cost money is never a mere failure, because that it did must be seen: one with an image that cannot
    /// be read is an answer without images.
    pub(super) fn read(
        parts: Option<(Result<Vec<Image>, Refusal>, Value)>,
        found: answer::Answer,
    ) -> Result<Option<Self>, Refusal> {
        let says_why = found.verdict == Verdict::Error;
        let (images, usage) = match parts {
            Some((Err(_), usage)) if found.billed => (Vec::new(), usage),
            Some((images, usage)) => (images?, usage),
            None if says_why || found.billed => return Ok(None),
            None => return Err(no_image("something that is not what its API answers")),
        };
        if images.is_empty() && says_why {
            return Ok(None);
        }
        Ok(Some(Self {
            pictures: images.into_iter().map(Picture::from).collect(),
            usage: add_usage(None, &usage),
            metadata: None,
        }))
    }

    /// The images of a further answer come after these.
    pub(super) fn add(&mut self, further: Self) {
        self.pictures.extend(further.pictures);
        if let Some(more) = &further.usage {
            self.usage = add_usage(self.usage.take(), more);
        }
    }

    /// Whether there are images, but fewer than were asked for.
    pub(super) fn is_short_of(&self, n: usize) -> bool {
        (1..n).contains(&self.pictures.len())
    }

    /// Says why there are fewer images than were asked for.
    pub(super) fn stopped(&mut self, n: usize, stopped_by: &str) {
        let made = self.pictures.len();
        self.metadata = Some(json!({
            "images_asked_for": n, "images_made": made, "stopped_by": stopped_by,
        }));
    }

    /// The answer with images as data URLs, or in base64 alone. `created` is in seconds since 1970.
    pub(super) fn into_bytes(self, created: u64, as_url: bool) -> Bytes {
        let entry = |picture| Entry::of(picture, as_url);
        let format = |picture: &Picture| match picture.image {
            Image::Here { format, .. } => Some(format.name()),
            Image::At(_) => None,
        };
        let document = Document {
            created,
            data: self.pictures.iter().map(entry).collect(),
            output_format: self.pictures.iter().find_map(format),
            usage: self.usage.as_ref(),
            metadata: self.metadata.as_ref(),
        };
        let images: usize = self.pictures.iter().map(length).sum();
        let mut bytes = Vec::with_capacity(images + 1024 * (1 + self.pictures.len()));
        // Writing into memory does not fail, and every key is a string.
        let written = serde_json::to_writer(&mut bytes, &document);
        debug_assert!(written.is_ok());
        Bytes::from(bytes)
    }
}

impl<'a> Entry<'a> {
    fn of(picture: &'a Picture, as_url: bool) -> Self {
        let told = Self {
            seed: picture.seed.as_ref(),
            infotext: picture.infotext.as_ref(),
            ..Self::default()
        };
        match &picture.image {
            Image::At(url) => Self {
                url: Some(Url::Address(text(url))),
                ..told
            },
            Image::Here {
                base64,
                format,
                size,
            } => {
                let (media_type, base64) = (format.media_type(), text(base64));
                Self {
                    b64_json: (!as_url).then_some(base64),
                    url: as_url.then_some(Url::Data { media_type, base64 }),
                    media_type: Some(media_type),
                    width: Some(size.width),
                    height: Some(size.height),
                    ..told
                }
            }
        }
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

fn length(picture: &Picture) -> usize {
    match &picture.image {
        Image::Here { base64, .. } => base64.len(),
        Image::At(url) => url.len(),
    }
}

/// The usage of an answer in the words of OpenAI's images (its openapi.yaml, `ImageGenUsage`), added to what was used
/// before. What it cost stays as it is: it must be seen.
fn add_usage(before: Option<Value>, more: &Value) -> Option<Value> {
    let Value::Object(more) = more else {
        return before;
    };
    let earlier = |name: &str| before.as_ref().and_then(|usage| usage[name].as_u64());
    let count = |name: &str, chat_name: &str| {
        let more = more.get(name).or_else(|| more.get(chat_name));
        let more = more.and_then(Value::as_u64).unwrap_or_default();
        earlier(name).unwrap_or_default().saturating_add(more)
    };
    let input = count("input_tokens", "prompt_tokens");
    let mut usage = Map::new();
    usage.insert("input_tokens".into(), input.into());
    usage.insert(
        "output_tokens".into(),
        count("output_tokens", "completion_tokens").into(),
    );
    usage.insert(
        "total_tokens".into(),
        count("total_tokens", "total_tokens").into(),
    );
    usage.insert(
        "input_tokens_details".into(),
        json!({ "text_tokens": input, "image_tokens": 0 }),
    );
    for name in ["cost", "cost_details", "is_byok"] {
        if let Some(value) = more.get(name) {
            usage.insert(name.into(), value.clone());
        }
    }
    Some(Value::Object(usage))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02";

    fn refused(image: Result<Image, Refusal>) {
        assert_eq!(image.expect_err("a refusal").status, 502);
    }

    fn written(image: Image, as_url: bool) -> Value {
        let drawing = Drawing {
            pictures: vec![Picture::from(image)],
            ..Drawing::default()
        };
        serde_json::from_slice(&drawing.into_bytes(7, as_url)).expect("JSON")
    }

    #[test]
    fn base64_must_be_valid_and_hold_an_image() {
        assert!(Image::from_base64(BASE64.encode(PNG).into()).is_ok());
        refused(Image::from_base64("%%%%".into()));
        refused(Image::from_base64(BASE64.encode("no image").into()));
        refused(Image::from_base64(Bytes::new()));
    }

    #[test]
    fn an_image_is_not_copied() {
        let body = Bytes::from(format!("\"{}\"", BASE64.encode(PNG)));
        let text: Text<'_> = serde_json::from_slice(&body).expect("a text");
        let Ok(Image::Here { base64, .. }) = Image::from_base64(text.of(&body)) else {
            panic!("no image");
        };
        assert_eq!(base64.as_ptr(), body[1..].as_ptr());
    }

    #[test]
    fn a_url_is_an_address_or_holds_the_image() {
        let url = |text: String| Image::from_url(&Bytes::from(text));
        let data = format!("DATA:image/png;charset=x;BASE64,{}", BASE64.encode(PNG));
        assert!(matches!(url(data), Ok(Image::Here { .. })));
        assert!(matches!(url("https://h/a.png".into()), Ok(Image::At(_))));
        for bad in ["", "data:", "data:image/png,abc", "file:///etc/passwd"] {
            refused(url(bad.to_owned()));
        }
    }

    #[test]
    fn an_answer_is_openais_with_the_image_in_the_form_that_was_asked_for() {
        let image = || Image::from_base64(BASE64.encode(PNG).into()).expect("an image");
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
        let at = Image::At("https://h/\"a\".png".into());
        assert_eq!(written(at, false)["data"][0]["url"], "https://h/\"a\".png");
    }

    #[test]
    fn tokens_add_up_under_openais_names_and_the_cost_is_seen() {
        let once = json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 });
        let twice =
            json!({ "input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "cost": 0.1 });
        let usage = add_usage(add_usage(None, &once), &twice).expect("a usage");
        assert_eq!(
            usage,
            json!({ "input_tokens": 4, "output_tokens": 5, "total_tokens": 9, "cost": 0.1,
                "input_tokens_details": { "text_tokens": 4, "image_tokens": 0 } })
        );
        assert_eq!(add_usage(None, &json!(null)), None);
    }
}
