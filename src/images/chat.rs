//! Images by chat: `modalities: ["image", "text"]`, and an answer that holds them in `message.images` (OpenRouter's
//! documentation, features/multimodal/image-generation) or as parts of its content.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    answer::{Drawing, Picture, Text, stated_usage},
    calls::Reply,
    few::Few,
    request::{ImageRequest, Size},
};
use crate::refusal::Refusal;

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

#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow, default)]
    choices: Few<Choice<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
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

/// The chat that asks for one image.
pub(super) fn question(model: &str, request: &ImageRequest) -> Value {
    let mut body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": request.prompt() }],
        "modalities": ["image", "text"],
    });
    if let Some(size) = request.size {
        body["image_config"] = json!({ "aspect_ratio": nearest_ratio(size) });
    }
    body
}

/// The images of one chat, and what it used.
pub(super) fn read(reply: &Reply) -> Result<Option<Drawing>, Refusal> {
    let completion = serde_json::from_slice::<Completion<'_>>(&reply.body).ok();
    let parts = completion.map(|Completion { choices, usage }| {
        let messages = choices
            .0
            .iter()
            .filter_map(|choice| choice.message.as_ref());
        let urls = messages.flat_map(|message| urls(message, &reply.body));
        (
            urls.map(|url| Picture::from_url(&url)).collect(),
            stated_usage(usage),
        )
    });
    Drawing::read(parts, reply.found)
}

/// The URLs of the images of a message.
fn urls(message: &Message<'_>, body: &Bytes) -> Vec<Bytes> {
    let lists = [message.images, message.content];
    lists
        .into_iter()
        .flatten()
        .filter_map(|list| serde_json::from_str::<Few<Part<'_>>>(list.get()).ok())
        .flat_map(|parts| parts.0)
        .filter_map(|part| {
            let at = part.image_url?.get();
            let url = serde_json::from_str::<Address<'_>>(at).map(|address| address.url);
            let url = url.or_else(|_| serde_json::from_str::<Text<'_>>(at));
            Some(url.ok()?.of(body))
        })
        .collect()
}

/// The ratio that differs from that of a size by the smallest factor.
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

    fn url() -> String {
        format!("data:image/png;base64,{}", BASE64.encode(PNG))
    }

    #[allow(clippy::needless_pass_by_value)]
    fn said(message: Value, usage: Value) -> Result<Option<Drawing>, Refusal> {
        let choices = json!([{ "message": message, "finish_reason": "stop" }]);
        let body = json!({ "choices": choices, "usage": usage });
        read(&Reply::of(body.to_string()))
    }

    #[test]
    fn a_request_becomes_a_chat() {
        let model = Model::new("m").build();
        let request = br#"{"prompt":"a fox","size":"1792x1024"}"#;
        let request = ImageRequest::read(request, &model).expect("a request");
        assert_eq!(
            question("m", &request),
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
            let drawing = said(message, json!({ "total_tokens": 7 })).expect("an answer");
            let answer = drawing.expect("images").into_bytes(7, false);
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            assert_eq!(answer["data"][0]["width"], 300, "{answer}");
            assert_eq!(answer["usage"]["total_tokens"], 7);
        }
    }

    #[test]
    fn a_chat_without_an_image_is_an_empty_answer() {
        let words = json!({ "role": "assistant", "content": "I would rather not." });
        let drawing = said(words, json!(null)).expect("an answer");
        let answer = drawing.expect("no images").into_bytes(7, false);
        assert_eq!(answer, r#"{"created":7,"data":[]}"#);
    }

    #[test]
    fn an_error_in_a_200_and_what_cost_money_pass_as_they_are() {
        for body in [
            r#"{"error":{"message":"overloaded","code":503}}"#,
            r#"{"error":{"message":"overloaded","code":503},"choices":null}"#,
            r#"{"choices":"a fox","usage":{"cost":0.04}}"#,
        ] {
            assert!(matches!(read(&Reply::of(body)), Ok(None)), "{body}");
        }
    }

    #[test]
    fn what_is_no_chat_is_no_answer() {
        for body in ["<html></html>", "\u{1f}", r#"{"choices":"a fox"}"#] {
            let refusal = read(&Reply::of(body)).err().expect("a refusal");
            assert_eq!(refusal.status, 502, "{body}");
        }
    }
}
