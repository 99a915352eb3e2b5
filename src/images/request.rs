//! What is read of a request to `/images/generations`.

use std::fmt;

use serde_json::{Map, Value};

use crate::{catalog::Model, refusal::Refusal};

/// The most images of one request, as OpenAI has it (its openapi.yaml, `CreateImageRequest.n`).
const MOST_IMAGES: u64 = 10;

/// What is read for every API, `model` being replaced.
const READ: [&str; 6] = ["model", "prompt", "n", "size", "response_format", "stream"];

/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    /// `WIDTHxHEIGHT`.
    fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x')?;
        let pixels = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits
                .then(|| text.parse().ok())
                .flatten()
                .filter(|&n| n > 0)
        };
        Some(Self {
            width: pixels(width)?,
            height: pixels(height)?,
        })
    }
}

/// A request for images.
pub(super) struct ImageRequest {
    pub(super) n: usize,
    /// As asked for, else the model's own, if it has one.
    pub(super) size: Option<Size>,
    /// How an image comes back: as a data URL, or in base64 alone.
    pub(super) as_url: bool,
    fields: Map<String, Value>,
}

/// Without the fields, of which one is the prompt.
impl fmt::Debug for ImageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageRequest")
            .field("n", &self.n)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl ImageRequest {
    pub(super) fn read(body: &[u8], model: &Model) -> Result<Self, Refusal> {
        // Of two fields of one name the last one counts. What is wrong is not quoted: it may hold the prompt.
        let mut fields: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| Refusal::bad_request("The request for an image cannot be read."))?;
        fields.retain(|_, value| !value.is_null());
        let mut request = Self {
            n: 1,
            size: None,
            as_url: false,
            fields,
        };
        if request.prompt().trim().is_empty() {
            return Err(wrong("prompt", "a text that says what the image shows"));
        }
        match request.field("stream") {
            None | Some(Value::Bool(false)) => {}
            Some(_) => {
                return Err(wrong(
                    "stream",
                    "false: this provider makes an image in one piece",
                ));
            }
        }
        let asked = request.whole("n", 1..=MOST_IMAGES)?.unwrap_or(1);
        request.n = usize::try_from(asked).unwrap_or(1);
        request.size = match request.field("size") {
            None => None,
            Some(Value::String(auto)) if auto == "auto" => None,
            Some(size) => {
                let size = size.as_str().and_then(Size::parse);
                Some(size.ok_or_else(|| wrong("size", "\"auto\" or like \"1024x1024\""))?)
            }
        };
        request.size = request.size.or_else(|| {
            let (width, height) = model.image_size()?;
            Some(Size { width, height })
        });
        request.as_url = match request.text("response_format")? {
            None | Some("b64_json") => false,
            Some("url") => true,
            Some(_) => return Err(wrong("response_format", "\"b64_json\" or \"url\"")),
        };
        Ok(request)
    }

    pub(super) fn prompt(&self) -> &str {
        self.field("prompt")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// A field as it was sent, if it was.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// The fields that say something and are read neither for every API nor, as `also`, for this one.
    pub(super) fn left_out(&self, also: &[&str]) -> Vec<String> {
        let is_read = |name: &str| READ.contains(&name) || also.contains(&name);
        let names = self.fields.keys();
        names.filter(|name| !is_read(name)).cloned().collect()
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        let text = |value: &'_ Value| value.is_string();
        match self.field(name) {
            Some(value) if !text(value) => Err(wrong(name, "a text")),
            value => Ok(value.and_then(Value::as_str)),
        }
    }

    /// A whole number within these bounds.
    pub(super) fn whole(
        &self,
        name: &'static str,
        bounds: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.field(name) else {
            return Ok(None);
        };
        match value.as_u64().filter(|number| bounds.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(
                name,
                &format!("a whole number from {} to {}", bounds.start(), bounds.end()),
            )),
        }
    }
}

/// A field that is not what it must be.
pub(super) fn wrong(name: &str, must_be: &str) -> Refusal {
    Refusal::bad_request(format!("`{name}` must be {must_be}.")).param(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: Value) -> Result<ImageRequest, Refusal> {
        let mut body = json!({ "model": "m", "prompt": "a fox" });
        let (Some(body_map), Value::Object(more)) = (body.as_object_mut(), more) else {
            panic!("objects");
        };
        body_map.extend(more);
        let model = Model::new("m").image_size(512, 768).build();
        ImageRequest::read(body.to_string().as_bytes(), &model)
    }

    fn refused(more: Value) -> Value {
        let refusal = read(more).expect_err("a refusal");
        assert_eq!(refusal.status, 400);
        serde_json::from_slice(refusal.into_response().body()).expect("JSON")
    }

    #[test]
    fn what_is_missing_or_null_has_its_default() {
        for more in [
            json!({}),
            json!({ "n": null, "size": null, "response_format": null, "stream": null }),
            json!({ "size": "auto", "stream": false }),
        ] {
            let request = read(more).expect("a request");
            assert_eq!((request.n, request.as_url), (1, false));
            let own = Size {
                width: 512,
                height: 768,
            };
            assert_eq!(request.size, Some(own));
        }
    }

    #[test]
    fn what_is_asked_for_counts() {
        let request = read(json!({ "n": 10, "size": "64x128", "response_format": "url" }))
            .expect("a request");
        assert_eq!((request.n, request.as_url), (10, true));
        let size = request.size.expect("a size");
        assert_eq!((size.width, size.height), (64, 128));
    }

    #[test]
    fn a_field_that_makes_no_sense_is_named() {
        for (name, value) in [
            ("prompt", json!(" ")),
            ("prompt", json!(["a fox"])),
            ("n", json!(0)),
            ("n", json!(11)),
            ("n", json!(1.5)),
            ("n", json!("2")),
            ("size", json!("512")),
            ("size", json!("0x512")),
            ("size", json!("+8x8")),
            ("size", json!("99999999999x8")),
            ("size", json!(512)),
            ("response_format", json!("png")),
            ("stream", json!(true)),
        ] {
            let error = &refused(json!({ name: value }))["error"];
            assert_eq!(error["param"], name, "{error}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_the_prompt() {
        let model = Model::new("m").build();
        let refusal = ImageRequest::read(br#"{"prompt":"secret" oops"#, &model).unwrap_err();
        let body = refusal.into_response().into_body();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
