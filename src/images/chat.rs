//! Images by chat: `modalities: ["image", "text"]`, and an answer that holds them in `message.images` (OpenRouter's
//! documentation, features/multimodal/image-generation) or as parts of its content.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    endpoint::Endpoint,
    images::{
        Ask, Step,
        answer::{Answer, Image, Picture, Text, add_usage, unless_paid_for, unreadable},
        request::{ImageRequest, Size},
    },
    refusal::Refusal,
    upstream::{Verdict, answer},
};

/// The ratios that `image_config.aspect_ratio` may have.
const RATIOS: [(u32, u32); 10] = [
    (1, 1),
    (2, 3),
    (3, 2),
    (3, 4),
    (4, 3),
    (4, 5),
    (5, 4),
    (9, 16),
    (16, 9),
    (21, 9),
];

/// A chat makes one image, so as many chats are asked as images, one after the other. Where a further chat fails or may not
/// be asked, the answer has the images that are there.
pub(crate) struct Chat {
    body: Value,
    wanted: usize,
    as_url: bool,
    pictures: Vec<Picture>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    images: Option<&'a RawValue>,
    /// Text, or a list of parts.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    /// `{"url": …}`, or the URL itself.
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Address<'a> {
    #[serde(borrow)]
    url: Text<'a>,
}

impl Chat {
    pub(crate) fn new(model: &str, request: &ImageRequest) -> Self {
        let mut body = json!({
            "model": model,
            "messages": [{ "role": "user", "content": request.prompt() }],
            "modalities": ["image", "text"],
        });
        if let Some(size) = request.size {
            body["image_config"] = json!({ "aspect_ratio": nearest_ratio(size) });
        }
        Self {
            body,
            wanted: request.n,
            as_url: request.as_url,
            pictures: Vec::new(),
            usage: None,
        }
    }

    pub(crate) fn ask(&self) -> Ask {
        Ask::post(Endpoint::ChatCompletions.versioned_path(), &self.body)
    }

    pub(crate) fn next(&mut self, body: &Bytes, created: u64) -> Result<Step, Refusal> {
        let Ok(Completion { choices, usage }) = serde_json::from_slice(body) else {
            return unreadable(body);
        };
        let answer::Answer { verdict, billed } = answer::read(body);
        let images = choices
            .iter()
            .filter_map(|choice| choice.message.as_ref())
            .flat_map(|message| urls(message, body))
            .map(|url| Image::from_url(&url).map(Picture::from))
            .collect();
        let images: Vec<_> = unless_paid_for(images, billed)?;
        let is_empty = images.is_empty();
        if is_empty && verdict == Verdict::Error {
            return Ok(Step::Pass);
        }
        self.pictures.extend(images);
        self.usage = add_usage(self.usage.take(), &usage);
        self.pictures.truncate(self.wanted);
        if is_empty && self.has_images() {
            return Ok(Step::NoFurther);
        }
        // What costs is not asked again.
        if !billed && self.is_short() {
            return Ok(Step::Ask(self.ask()));
        }
        Ok(Step::Answer(self.answer(created, "billed")))
    }

    pub(crate) fn has_images(&self) -> bool {
        !self.pictures.is_empty()
    }

    pub(crate) fn is_short(&self) -> bool {
        self.has_images() && self.pictures.len() < self.wanted
    }

    /// The answer with the images that are there. If they are fewer than were asked for, its `metadata` says so, and why.
    pub(crate) fn answer(&mut self, created: u64, stopped_by: &str) -> Bytes {
        let made = self.pictures.len();
        let metadata = self.is_short().then(|| {
            json!({ "images_asked_for": self.wanted, "images_made": made, "stopped_by": stopped_by })
        });
        let answer = Answer {
            created,
            pictures: &self.pictures,
            as_url: self.as_url,
            usage: self.usage.take(),
            metadata,
        };
        answer.into_bytes()
    }
}

/// Where the images of a message are.
fn urls(message: &Message<'_>, body: &Bytes) -> Vec<Bytes> {
    let lists = [message.images, message.content];
    lists
        .into_iter()
        .flatten()
        .filter_map(|list| serde_json::from_str::<Vec<Part<'_>>>(list.get()).ok())
        .flatten()
        .filter_map(|part| {
            let at = part.image_url?.get();
            let url = serde_json::from_str::<Address<'_>>(at).map(|address| address.url);
            let url = url.or_else(|_| serde_json::from_str::<Text<'_>>(at));
            Some(url.ok()?.of(body))
        })
        .collect()
}

/// The ratio that is closest to a size, as a factor.
fn nearest_ratio(size: Size) -> String {
    let ratio = |(width, height): (u32, u32)| (f64::from(width) / f64::from(height)).ln();
    let wanted = ratio((size.width, size.height));
    let away = |&of: &(u32, u32)| (ratio(of) - wanted).abs();
    let nearest = RATIOS
        .into_iter()
        .min_by(|a, b| away(a).total_cmp(&away(b)));
    let (width, height) = nearest.unwrap_or((1, 1));
    format!("{width}:{height}")
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

    use super::*;
    use crate::catalog::Model;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x01\x2c\0\0\0\xc8\x08\x02";

    #[allow(clippy::needless_pass_by_value)]
    fn chat(request: Value) -> Chat {
        let model = Model::new("m").build();
        let request = ImageRequest::read(request.to_string().as_bytes(), &model);
        Chat::new("m", &request.expect("a request"))
    }

    fn url() -> String {
        format!("data:image/png;base64,{}", BASE64.encode(PNG))
    }

    #[allow(clippy::needless_pass_by_value)]
    fn said(message: Value, usage: Value) -> Bytes {
        let choices = json!([{ "message": message, "finish_reason": "stop" }]);
        json!({ "choices": choices, "usage": usage })
            .to_string()
            .into()
    }

    fn answer(step: Result<Step, Refusal>) -> Value {
        match step {
            Ok(Step::Answer(body)) => serde_json::from_slice(&body).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_becomes_a_chat() {
        let ask = chat(json!({ "prompt": "a fox", "size": "1792x1024" })).ask();
        assert_eq!(
            (ask.method.as_str(), ask.path),
            ("POST", "/v1/chat/completions")
        );
        let body: Value = serde_json::from_slice(&ask.body).expect("JSON");
        assert_eq!(
            body,
            json!({
                "model": "m",
                "messages": [{ "role": "user", "content": "a fox" }],
                "modalities": ["image", "text"],
                "image_config": { "aspect_ratio": "16:9" },
            })
        );
    }

    #[test]
    fn the_ratio_is_the_nearest_one() {
        for (width, height, ratio) in [
            (1024, 1024, "1:1"),
            (1536, 1024, "3:2"),
            (1024, 1792, "9:16"),
            (4000, 100, "21:9"),
            (1, u32::MAX, "9:16"),
        ] {
            assert_eq!(nearest_ratio(Size { width, height }), ratio);
        }
    }

    #[test]
    fn images_are_found_wherever_a_message_holds_them() {
        for message in [
            json!({ "content": "here", "images": [{ "type": "image_url", "image_url": { "url": url() } }] }),
            json!({ "content": null, "images": [{ "image_url": url() }] }),
            json!({ "content": [{ "type": "text", "text": "here" }, { "type": "image_url", "image_url": { "url": url() } }] }),
        ] {
            let mut chat = chat(json!({ "prompt": "a fox" }));
            let answer = answer(chat.next(&said(message, json!(null)), 7));
            assert_eq!(answer["data"][0]["width"], 300, "{answer}");
        }
    }

    #[test]
    fn a_chat_is_held_once_for_each_image() {
        let mut chat = chat(json!({ "prompt": "a fox", "n": 2 }));
        let message = || json!({ "images": [{ "image_url": { "url": url() } }] });
        let usage = || json!({ "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 });
        let first = chat.next(&said(message(), usage()), 7);
        assert!(matches!(first, Ok(Step::Ask(_))), "{first:?}");
        let answer = answer(chat.next(&said(message(), usage()), 7));
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(2));
        assert_eq!(answer["usage"]["total_tokens"], 14);
    }

    #[test]
    fn a_chat_that_cost_is_the_last_one() {
        let mut chat = chat(json!({ "prompt": "a fox", "n": 9 }));
        let message = json!({ "images": [{ "image_url": { "url": url() } }] });
        let answer = answer(chat.next(&said(message, json!({ "cost": 0.04 })), 7));
        assert_eq!(answer["usage"]["cost"], 0.04);
    }

    #[test]
    fn a_chat_without_an_image_is_an_empty_answer() {
        let words = json!({ "role": "assistant", "content": "I would rather not." });
        let mut chat = chat(json!({ "prompt": "a fox", "n": 2 }));
        let answer = answer(chat.next(&said(words, json!(null)), 7));
        assert_eq!(answer, json!({ "created": 7, "data": [] }));
    }

    #[test]
    fn a_further_chat_without_an_image_leaves_those_that_are_there() {
        let mut chat = chat(json!({ "prompt": "a fox", "n": 3 }));
        let message = json!({ "images": [{ "image_url": { "url": url() } }] });
        assert!(matches!(
            chat.next(&said(message, json!(null)), 7),
            Ok(Step::Ask(_))
        ));
        let words = json!({ "role": "assistant", "content": "I would rather not." });
        let step = chat.next(&said(words, json!(null)), 7);
        assert!(matches!(step, Ok(Step::NoFurther)), "{step:?}");
        let answer: Value = serde_json::from_slice(&chat.answer(7, "empty")).expect("JSON");
        assert_eq!(answer["data"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            answer["metadata"],
            json!({ "images_asked_for": 3, "images_made": 1, "stopped_by": "empty" })
        );
    }

    #[test]
    fn an_error_in_a_200_and_what_cost_money_pass_as_they_are() {
        for body in [
            r#"{"error":{"message":"overloaded","code":503}}"#,
            r#"{"error":{"message":"overloaded","code":503},"choices":null}"#,
            r#"{"choices":"a fox","usage":{"cost":0.04}}"#,
        ] {
            let step = chat(json!({ "prompt": "a fox" })).next(&Bytes::from(body), 7);
            assert!(matches!(step, Ok(Step::Pass)), "{step:?}");
        }
    }

    #[test]
    fn what_is_no_chat_is_no_answer() {
        for body in ["<html></html>", "\u{1f}", r#"{"choices":"a fox"}"#] {
            let step = chat(json!({ "prompt": "a fox" })).next(&Bytes::from(body), 7);
            assert_eq!(step.unwrap_err().status, 502, "{body}");
        }
    }
}
