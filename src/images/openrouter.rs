//! OpenRouter's `POST /images`: OpenAI's request but for some fields, and OpenAI's answer with what it cost
//! (openrouter.ai/docs, features/multimodal/image-generation).

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    answer::{Drawing, Picture, Text, stated_usage},
    calls::Reply,
    few::Few,
    request::ImageRequest,
};
use crate::refusal::Refusal;

pub(super) const PATH: &str = "/v1/images";

/// The fields that this API takes, but for `model` and `stream`.
pub(super) const FIELDS: &[&str] = &[
    "prompt",
    "n",
    "size",
    "resolution",
    "aspect_ratio",
    "quality",
    "output_format",
    "input_references",
    "seed",
];

#[derive(Deserialize)]
struct Images<'a> {
    #[serde(borrow, default)]
    data: Few<Entry<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    b64_json: Option<Text<'a>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
}

/// The body of the request.
pub(super) fn question(model: &str, request: &ImageRequest) -> Value {
    let fields = FIELDS
        .iter()
        .filter_map(|&name| Some((name.to_owned(), request.field(name)?.clone())));
    let mut body: Map<_, _> = fields.collect();
    body.insert("model".to_owned(), model.into());
    if let Some(size) = request.size {
        let size = format!("{}x{}", size.width, size.height);
        body.entry("size").or_insert_with(|| size.into());
    }
    Value::Object(body)
}

/// The images of an answer, and what it used.
pub(super) fn read(reply: &Reply) -> Result<Option<Drawing>, Refusal> {
    let image = |entry: Entry<'_>| match (entry.b64_json, entry.url) {
        (Some(base64), _) => Some(Picture::from_base64(base64.of(&reply.body))),
        (None, Some(url)) => Some(Picture::from_url(&url.of(&reply.body))),
        (None, None) => None,
    };
    let images = serde_json::from_slice::<Images<'_>>(&reply.body).ok();
    let parts = images.map(|Images { data, usage }| {
        let pictures = data.0.into_iter().filter_map(image).collect();
        (pictures, stated_usage(usage))
    });
    Drawing::read(parts, reply.found)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use serde_json::json;

    use super::*;
    use crate::{catalog::Model, upstream::answer};

    #[test]
    fn only_fields_that_it_has_are_sent() {
        let request = json!({ "model": "free", "prompt": "a fox", "n": 2, "size": "auto", "quality": "low",
            "seed": 7, "style": "vivid", "user": "me", "response_format": "url", "plugins": [{ "id": "web" }] });
        let model = Model::new("a/m:free").build();
        let request = ImageRequest::read(request.to_string().as_bytes(), &model);
        assert_eq!(
            question("a/m:free", &request.expect("a request")),
            json!({ "model": "a/m:free", "prompt": "a fox", "n": 2, "size": "auto", "quality": "low", "seed": 7 })
        );
    }

    #[test]
    fn a_model_has_a_size_of_its_own() {
        let model = Model::new("m").image_size(512, 768).build();
        let request = ImageRequest::read(br#"{"prompt":"a fox"}"#, &model);
        let question = question("m", &request.expect("a request"));
        assert_eq!(question["size"], "512x768");
    }

    #[test]
    fn an_answer_keeps_what_it_cost() {
        let png = BASE64.encode(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02");
        let body = json!({ "created": 1, "data": [{ "b64_json": png, "media_type": "image/png" }],
            "usage": { "prompt_tokens": 1, "cost": 0.04 } });
        let drawing = read(&Reply::of(body.to_string())).expect("an answer");
        let answer = drawing.expect("images").into_bytes(7, false);
        assert!(answer::read(&answer).billed);
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["data"][0]["b64_json"], png);
        assert_eq!(answer["usage"]["input_tokens"], 1);
    }

    #[test]
    fn an_error_in_a_200_passes() {
        let reply = Reply::of(r#"{"error":{"message":"overloaded","code":503}}"#);
        assert!(matches!(read(&reply), Ok(None)));
    }
}
