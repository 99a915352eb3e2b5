//! What is read of a request to `/images/generations`.

use serde_json::{Map, Value};

use crate::{catalog::Model, refusal::Refusal};

/// The most images of one request, as OpenAI has it (its openapi.yaml, `CreateImageRequest.n`).
const MOST_IMAGES: u64 = 10;

/// Fields that are read for every API. `model` is replaced.
const READ: [&str; 6] = ["model", "prompt", "n", "size", "response_format", "stream"];

/// The size of an image in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Size {
    /// Parses `WIDTHxHEIGHT`.
    fn parse(text: &str) -> Option<Self> {
        let (width, height) = text.split_once('x')?;
        let pixels = |text: &str| {
            let pixels = text.parse().ok().filter(|&pixels| pixels > 0);
            pixels.filter(|_| !text.starts_with('+'))
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
    /// The requested size, else the model's own.
    pub(super) size: Option<Size>,
    /// Whether images are returned as data URLs, and not as base64 alone.
    pub(super) as_url: bool,
    fields: Map<String, Value>,
}

impl ImageRequest {
    /// # Errors
    ///
    /// A 400 that names the field, where a field that every API takes has no valid value.
    pub(super) fn read(body: &[u8], model: &Model) -> Result<Self, Refusal> {
        // Of two fields of one name the last one counts. The error of the parser is not passed on, because it may quote
        // the prompt.
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

    /// The value of a field that was sent and is not null.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// The fields that are read neither for every API nor, as `also` lists them, for the present one.
    pub(super) fn left_out(&self, also: &[&str]) -> Vec<String> {
        let is_read = |name: &str| READ.contains(&name) || also.contains(&name);
        let names = self.fields.keys();
        names.filter(|name| !is_read(name)).cloned().collect()
    }

    /// A text.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Refusal> {
        match self.field(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(name, "a text")),
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

/// The refusal of a request because of one field.
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
        let refusal = read(more).err().expect("a refusal");
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
        let refusal = ImageRequest::read(br#"{"prompt":"secret" oops"#, &model);
        let refusal = refusal.err().expect("a refusal");
        let body = refusal.into_response().into_body();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }
}
