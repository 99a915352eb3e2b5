//! OpenRouter's `POST /images`: OpenAI's request but for some fields, and OpenAI's answer with what it cost
//! (openrouter.ai/docs, features/multimodal/image-generation).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    images::{
        Ask, Step,
        answer::{Answer, Image, Picture, Text, add_usage, unless_paid_for, unreadable},
        request::ImageRequest,
    },
    refusal::Refusal,
    upstream::{Verdict, answer},
};

/// The fields that it has, but for `model` and `stream`.
pub(crate) const FIELDS: &[&str] = &[
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

pub(crate) struct OpenRouter {
    body: Value,
    as_url: bool,
}

#[derive(Deserialize)]
struct Images<'a> {
    #[serde(borrow, default)]
    data: Vec<Entry<'a>>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    b64_json: Option<Text<'a>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
}

impl OpenRouter {
    pub(crate) fn new(model: &str, request: &ImageRequest) -> Self {
        let mut body = Map::new();
        body.insert("model".to_owned(), model.into());
        let fields = FIELDS
            .iter()
            .filter_map(|&name| Some((name.to_owned(), request.field(name)?.clone())));
        body.extend(fields);
        if let (Some(size), None) = (request.size, request.field("size")) {
            body.insert(
                "size".to_owned(),
                format!("{}x{}", size.width, size.height).into(),
            );
        }
        Self {
            body: Value::Object(body),
            as_url: request.as_url,
        }
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask::post("/v1/images", &self.body)
    }

    pub(crate) fn next(&self, body: &Bytes, created: u64) -> Result<Step, Refusal> {
        let Ok(Images { data, usage }) = serde_json::from_slice(body) else {
            return unreadable(body);
        };
        let answer::Answer { verdict, billed } = answer::read(body);
        if data.is_empty() && verdict == Verdict::Error {
            return Ok(Step::Pass);
        }
        let image = |entry: Entry<'_>| match (entry.b64_json, entry.url) {
            (Some(base64), _) => Some(Image::from_base64(base64.of(body))),
            (None, Some(url)) => Some(Image::from_url(&url.of(body))),
            (None, None) => None,
        };
        let pictures = data
            .into_iter()
            .filter_map(image)
            .map(|image| image.map(Picture::from))
            .collect();
        let pictures = unless_paid_for(pictures, billed)?;
        let answer = Answer {
            created,
            pictures: &pictures,
            as_url: self.as_url,
            usage: add_usage(None, &usage),
            metadata: None,
        };
        Ok(Step::Answer(answer.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use serde_json::json;

    use super::*;
    use crate::catalog::Model;

    #[allow(clippy::needless_pass_by_value)]
    fn openrouter(request: Value) -> OpenRouter {
        let model = Model::new("a/m:free").build();
        let request = ImageRequest::read(request.to_string().as_bytes(), &model);
        OpenRouter::new("a/m:free", &request.expect("a request"))
    }

    #[test]
    fn only_fields_that_it_has_are_sent() {
        let ask = openrouter(json!({ "model": "free", "prompt": "a fox", "n": 2, "size": "auto", "quality": "low",
            "seed": 7, "style": "vivid", "user": "me", "response_format": "url", "plugins": [{ "id": "web" }] }))
        .ask();
        assert_eq!((ask.method.as_str(), ask.path), ("POST", "/v1/images"));
        let body: Value = serde_json::from_slice(&ask.body).expect("JSON");
        assert_eq!(
            body,
            json!({ "model": "a/m:free", "prompt": "a fox", "n": 2, "size": "auto", "quality": "low", "seed": 7 })
        );
    }

    #[test]
    fn an_answer_keeps_what_it_cost() {
        let png = BASE64.encode(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02");
        let body = json!({ "created": 1, "data": [{ "b64_json": png, "media_type": "image/png" }],
            "usage": { "prompt_tokens": 1, "cost": 0.04 } });
        let step = openrouter(json!({ "prompt": "a fox" })).next(&body.to_string().into(), 7);
        let Ok(Step::Answer(answer)) = step else {
            panic!("{step:?}");
        };
        assert!(answer::read(&answer).billed);
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        assert_eq!(answer["data"][0]["b64_json"], png);
        assert_eq!(answer["usage"]["input_tokens"], 1);
    }

    #[test]
    fn an_error_in_a_200_passes() {
        let body = Bytes::from(r#"{"error":{"message":"overloaded","code":503}}"#);
        let step = openrouter(json!({ "prompt": "a fox" })).next(&body, 7);
        assert!(matches!(step, Ok(Step::Pass)), "{step:?}");
    }
}
