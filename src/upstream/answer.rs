//! Whether a whole 2xx body is an answer.
//!
//! Providers commit to a 200 before their upstream has run, so an error, or nothing at all, may come in one.

use std::time::SystemTime;

use serde::de::MapAccess;

use crate::{
    endpoint::Endpoint,
    json::{Reads, into, is_json, read as read_json, skip},
    upstream::{
        follow::Follow,
        shape::{Choices, Data, Metadata, Present, Response, Turn},
    },
};

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds an answer.
    Content,
    /// It is JSON and holds no answer.
    Empty,
    /// It holds an error instead of an answer.
    Error,
    /// It is not JSON.
    NotJson,
}

/// What was found in a 2xx body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What it is.
    pub(crate) verdict: Verdict,
    /// It reports a cost above zero.
    pub(crate) billed: bool,
}

/// The mark of a whole answer with fields that strict clients fail at: an extension of its response, put there by the
/// fallback, which has read the answer, for the layer that normalises answers.
#[derive(Clone, Debug)]
pub(crate) struct Irregular {
    /// What the request asked for.
    pub(crate) endpoint: Endpoint,
    /// The model that answered, for an answer that does not name it.
    pub(crate) model: String,
    /// The time, for an answer that does not say when it was made.
    pub(crate) now: SystemTime,
}

/// Whether a whole answer to this endpoint has fields that strict clients fail at.
pub(crate) fn is_irregular(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions)
}

/// Reads the whole body of a 2xx.
pub(crate) fn read(body: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}');
    let mut document = Document::default();
    let mut beyond = Follow::default();
    let verdict = if read_json(text, &mut document) {
        document.verdict()
    } else if text.trim().is_empty() {
        Verdict::Empty
    } else {
        // What was not read may tell of a cost all the same.
        beyond.push(text.as_bytes());
        match is_json(text) {
            // Valid, but nested beyond what we read: no reason to take it from the caller.
            true => Verdict::Content,
            false => Verdict::NotJson,
        }
    };
    Answer {
        verdict,
        billed: document.billed() || beyond.billed(),
    }
}

/// The top level of a body.
#[derive(Debug, Default)]
struct Document {
    choices: Option<Choices>,
    /// The body itself, read as a `response` of the Responses API.
    response: Response,
    /// It is such a response by its `object`, or has an `output`.
    is_response: bool,
    incomplete: bool,
    /// An `error` or `errors`.
    error: Present,
    /// Another sign that this is an error's envelope.
    envelope: bool,
    /// A native chat answer: `message` is an object (Ollama, Cohere).
    message: Message,
    /// Embeddings, images, transcripts and other results.
    data: Data,
    metadata: Metadata,
}

impl Document {
    fn verdict(&self) -> Verdict {
        let answered = self.choices.is_some_and(|choices| choices.said.0);
        if self.choices.is_some_and(|choices| choices.failed()) {
            return Verdict::Error;
        }
        if !answered && (self.error.0 || (self.envelope && self.choices.is_none())) {
            return Verdict::Error;
        }
        if let Some(choices) = self.choices {
            return if choices.answer() {
                Verdict::Content
            } else {
                Verdict::Empty
            };
        }
        let said = self.response.output.0.0 || self.message.turn.said.0 || self.data.0;
        // `{"status": "queued"}` alone is a notice of progress and no response.
        if said || (self.incomplete && self.is_response) {
            Verdict::Content
        } else if self.message.flat {
            // `{"message": "…", "code": …}`: an error without an envelope (Mistral, Cerebras, Cohere).
            Verdict::Error
        } else {
            Verdict::Empty
        }
    }

    fn billed(&self) -> bool {
        self.response.usage.billed()
            || self.metadata.billed()
            || self.message.turn.metadata.billed()
            || self
                .choices
                .is_some_and(|choices| choices.metadata.billed())
    }
}

impl Reads for Document {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "choices" => into(map, self.choices.get_or_insert_default()),
            "error" | "errors" => into(map, &mut self.error),
            "output" => {
                self.is_response = true;
                self.response.field(key, map)
            }
            "usage" => self.response.field(key, map),
            "provider_metadata" | "providerMetadata" => into(map, &mut self.metadata),
            "message" => into(map, &mut self.message),
            "data" | "text" | "embedding" | "embeddings" | "images" | "result" | "results"
            | "candidates" | "content" | "response" => into(map, &mut self.data),
            "success" => {
                let mut failed = Failed(false);
                into(map, &mut failed)?;
                self.envelope |= failed.0;
                Ok(())
            }
            "type" | "object" => {
                let mut word = Word::default();
                into(map, &mut word)?;
                self.envelope |= word.error;
                self.is_response |= word.response;
                Ok(())
            }
            // FastAPI, NVIDIA and Mistral's gateway.
            "detail" => {
                let mut detail = Present(false);
                into(map, &mut detail)?;
                self.envelope |= detail.0;
                Ok(())
            }
            // Responses API: "incomplete" was cut off by a limit or filter, the others run in the background.
            "status" => {
                let mut word = Word::default();
                into(map, &mut word)?;
                self.incomplete |= word.unfinished;
                Ok(())
            }
            _ => skip(map),
        }
    }

    // A bare array of vectors, or a transcript as a JSON string.
    fn text(&mut self, text: &str) {
        self.data.text(text);
    }

    fn number(&mut self, number: f64) {
        self.data.number(number);
    }
}

/// `message`: the turn of a native answer, or the text of a flat error.
#[derive(Debug, Default)]
struct Message {
    turn: Turn,
    flat: bool,
}

impl Reads for Message {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        self.turn.field(key, map)
    }

    fn text(&mut self, text: &str) {
        self.flat |= !text.trim().is_empty();
    }
}

/// `"success": false` (Cloudflare, OpenRouter's validation).
struct Failed(bool);

impl Reads for Failed {
    fn truth(&mut self, truth: bool) {
        self.0 |= !truth;
    }
}

/// A word of `type`, `object` or `status`.
#[derive(Default)]
struct Word {
    error: bool,
    response: bool,
    unfinished: bool,
}

impl Reads for Word {
    fn text(&mut self, text: &str) {
        self.error |= text == "error" || text.ends_with("_error");
        self.response |= text == "response";
        self.unfinished |= matches!(text, "incomplete" | "queued" | "in_progress");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdict(body: &str) -> Verdict {
        read(body.as_bytes()).verdict
    }

    fn chat(message: &str, finish: &str) -> Verdict {
        verdict(&format!(
            r#"{{"id":"x","error":null,"choices":[{{"index":0,"message":{message},"finish_reason":{finish}}}]}}"#
        ))
    }

    #[test]
    fn whatever_a_message_says_is_content() {
        for message in [
            r#"{"role":"assistant","content":"hi"}"#,
            r#"{"content":[{"type":"text","text":"hi"}]}"#,
            r#"{"content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"content":null,"function_call":{"name":"f","arguments":"{}"}}"#,
            r#"{"content":null,"refusal":"No."}"#,
            r#"{"content":"","reasoning":"Hm"}"#,
            r#"{"content":"","reasoning_content":"Hm"}"#,
            r#"{"content":"","reasoning_details":[{"type":"reasoning.encrypted","data":"abc"}]}"#,
            r#"{"content":null,"audio":{"id":"a","data":"UklG"}}"#,
            r#"{"content":"","images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AA"}}]}"#,
        ] {
            assert_eq!(chat(message, r#""stop""#), Verdict::Content, "{message}");
        }
    }

    #[test]
    fn a_message_that_says_nothing_is_empty() {
        for message in [
            r#"{"role":"assistant","content":""}"#,
            r#"{"content":" \n\t"}"#,
            r#"{"content":null}"#,
            r#"{"content":[]}"#,
            r#"{"content":[{"type":"text","text":""}]}"#,
            r#"{"content":"","tool_calls":[],"reasoning":null,"refusal":null,"images":[]}"#,
            r#"{}"#,
            "null",
        ] {
            for finish in [r#""stop""#, r#""tool_calls""#, r#""""#, "null"] {
                assert_eq!(chat(message, finish), Verdict::Empty, "{message} {finish}");
            }
        }
    }

    #[test]
    fn cut_off_by_a_limit_or_a_filter_is_an_answer() {
        for finish in [r#""length""#, r#""content_filter""#, r#""MAX_TOKENS""#] {
            assert_eq!(chat(r#"{"content":""}"#, finish), Verdict::Content);
        }
    }

    #[test]
    fn a_failed_choice_is_an_error_whatever_it_said() {
        assert_eq!(chat(r#"{"content":"part"}"#, r#""error""#), Verdict::Error);
        assert_eq!(
            verdict(r#"{"choices":[{"message":{"content":"part"},"error":{"code":502}}]}"#),
            Verdict::Error
        );
    }

    #[test]
    fn every_envelope_of_an_error_is_an_error() {
        for body in [
            r#"{"error":{"message":"m","code":429}}"#,
            r#"{"error":"busy"}"#,
            r#"{"error":{"code":429},"choices":[]}"#,
            r#"{"error":{"code":429},"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#,
            r#"[{"error":{"code":503}}]"#,
            r#"{"success":false,"errors":[{"code":4006,"message":"m"}],"result":{}}"#,
            r#"{"success":false,"error":{"name":"ZodError"}}"#,
            r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
            r#"{"object":"error","message":"m","code":400}"#,
            r#"{"detail":"Invalid API Key"}"#,
            r#"{"detail":[{"msg":"m"}]}"#,
            r#"{"id":"x","message":"model not found"}"#,
            r#"{"message":"m","type":"too_many_tokens_error","code":"q"}"#,
            r#"{"object":"response","status":"failed","error":{"code":"server_error"},"output":[]}"#,
        ] {
            assert_eq!(verdict(body), Verdict::Error, "{body}");
        }
    }

    #[test]
    fn a_null_or_blank_error_beside_an_answer_is_none() {
        for error in ["null", r#""""#, "{}", "[]", "false"] {
            let body =
                format!(r#"{{"error":{error},"choices":[{{"message":{{"content":"hi"}}}}]}}"#);
            assert_eq!(verdict(&body), Verdict::Content, "{body}");
        }
    }

    #[test]
    fn an_error_beside_a_usable_choice_does_not_take_it_away() {
        assert_eq!(
            verdict(r#"{"error":"late","choices":[{"message":{"content":"hi"}}]}"#),
            Verdict::Content
        );
    }

    #[test]
    fn results_that_are_no_chat_are_content_when_there_are_any() {
        for body in [
            r#"{"object":"list","data":[{"embedding":[0.0,0.0]}]}"#,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":"AACAPw=="}]}"#,
            r#"{"created":1,"data":[{"b64_json":"AA"}]}"#,
            r#"{"created":1,"data":[{"url":"https://img.example/1.png"}]}"#,
            r#"{"images":["AA"],"parameters":{},"info":"{}"}"#,
            r#"{"object":"response","status":"completed","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}"#,
            r#"{"object":"response","output":[{"type":"function_call","name":"f","arguments":"{}"}]}"#,
            r#"{"object":"response","status":"queued","output":[]}"#,
            r#"{"text":"hello"}"#,
            r#"{"choices":[{"text":"hello","finish_reason":"stop"}]}"#,
            r#"{"message":{"role":"assistant","content":"hi"},"done":true}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}"#,
            r#"{"result":{"response":"hi"},"success":true,"errors":[],"messages":[]}"#,
            "[[0.1,0.2]]",
        ] {
            assert_eq!(verdict(body), Verdict::Content, "{body}");
        }
    }

    #[test]
    fn results_without_anything_in_them_are_empty() {
        for body in [
            "",
            "  \n",
            "{}",
            "[]",
            "null",
            r#"{"choices":[]}"#,
            r#"{"choices":null,"id":"x"}"#,
            r#"{"object":"list","data":[]}"#,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[]}]}"#,
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":""}],"model":"m"}"#,
            r#"{"created":1,"data":[]}"#,
            r#"{"created":1,"data":[{"b64_json":null,"url":"","revised_prompt":"a cat"}]}"#,
            r#"{"images":[],"info":"{}"}"#,
            r#"{"images":[""]}"#,
            r#"{"object":"text_completion","choices":[{"text":"","index":0,"finish_reason":"stop"}]}"#,
            r#"{"object":"response","status":"completed","output":[{"type":"message","role":"assistant","status":"completed","content":[]}]}"#,
            r#"{"text":""}"#,
        ] {
            assert_eq!(verdict(body), Verdict::Empty, "{body}");
        }
    }

    #[test]
    fn what_is_not_json_says_so() {
        for body in ["<html></html>", "data: {}", r#"{"choices":["#, "hello"] {
            assert_eq!(verdict(body), Verdict::NotJson, "{body}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_does_not_cost_the_answer() {
        assert_eq!(
            chat(r#"{"content":"\ud83d"}"#, r#""stop""#),
            Verdict::Content
        );
    }

    #[test]
    fn a_notice_of_progress_is_no_answer() {
        for body in [
            r#"{"status":"queued"}"#,
            r#"{"id":"x","status":"in_progress","progress":0.5}"#,
        ] {
            assert_eq!(verdict(body), Verdict::Empty, "{body}");
        }
    }

    #[test]
    fn a_cost_is_seen_behind_what_strict_readers_fail_at() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for content in [r#""\ud800""#, r#""a\ud83d\n\udc00b""#, &deep] {
            let body = format!(
                r#"{{"choices":[{{"message":{{"content":{content}}}}}],"usage":{{"cost":0.1}}}}"#
            );
            assert!(read(body.as_bytes()).billed, "{body}");
        }
    }

    #[test]
    fn a_cost_is_seen_in_what_is_no_single_document() {
        for body in [
            r#"{"choices":[]}{"usage":{"cost":0.1}}"#,
            "{\"choices\":[]}\n{\"usage\":{\"cost\":0.1}}\n",
            r#"{"choices":[{]},"usage":{"cost":"1e-9"}}"#,
            r#"{"choices":[nan],"usage":{"cost":0.1}}garbage"#,
        ] {
            let answer = read(body.as_bytes());
            assert_eq!(
                (answer.verdict, answer.billed),
                (Verdict::NotJson, true),
                "{body}"
            );
        }
    }

    #[test]
    fn what_a_gateway_took_is_a_cost() {
        for body in [
            r#"{"choices":[],"provider_metadata":{"gateway":{"cost":"0.0002"}}}"#,
            r#"{"choices":[{"message":{"content":"a","provider_metadata":{"gateway":{"cost":0.1}}}}]}"#,
            r#"{"choices":[{"provider_metadata":{"gateway":{"cost":0.1}}}]}"#,
            r#"{"created":1,"data":[{"b64_json":"AA"}],"providerMetadata":{"gateway":{"cost":"0.04"}}}"#,
            r#"{"created":1,"data":[{"b64_json":"AA"}],"usage":{"cost":0.04}}"#,
        ] {
            assert!(read(body.as_bytes()).billed, "{body}");
            assert!(
                !read(
                    body.replace("0.", "0.0")
                        .replace(['1', '2', '4'], "0")
                        .as_bytes()
                )
                .billed
            );
        }
        let other = r#"{"choices":[],"provider_metadata":{"openai":{"cost":1},"gateway":{"marketCost":"1"}}}"#;
        assert!(!read(other.as_bytes()).billed);
    }

    #[test]
    fn a_cost_above_zero_is_seen() {
        let billed =
            |usage: &str| read(format!(r#"{{"choices":[],"usage":{usage}}}"#).as_bytes()).billed;
        for usage in [
            r#"{"cost":0.00014}"#,
            r#"{"cost":1}"#,
            r#"{"cost":"0.2"}"#,
            r#"{"cost":{"total_cost":0.005}}"#,
            r#"{"cost":0,"is_byok":true,"cost_details":{"upstream_inference_cost":0.1}}"#,
        ] {
            assert!(billed(usage), "{usage}");
        }
        for usage in [
            "null",
            "{}",
            r#"{"cost":0}"#,
            r#"{"cost":"0.0"}"#,
            r#"{"cost":null}"#,
            r#"{"cost":-1}"#,
            r#"{"cost":"free"}"#,
            r#"{"cost":0,"is_byok":false,"cost_details":{"upstream_inference_cost":0.1}}"#,
        ] {
            assert!(!billed(usage), "{usage}");
        }
    }

    /// Every recorded whole answer is one, except where it records an error.
    #[test]
    fn recorded_answers_are_content() {
        let root = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/data/streams/vercel-ai"
        );
        let Ok(vendors) = std::fs::read_dir(root) else {
            return;
        };
        for vendor in vendors.flatten() {
            for file in std::fs::read_dir(vendor.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                let name = file.file_name().to_string_lossy().into_owned();
                // Google's `interactions` are an API of their own, so are skills, and a transcript in plain text is no JSON.
                let foreign = ["interactions", "transcription-text", "skill"]
                    .iter()
                    .any(|api| name.contains(api));
                if foreign || !name.ends_with(".json") {
                    continue;
                }
                let expected = if name.contains("429") || name.contains("-error") {
                    Verdict::Error
                } else {
                    Verdict::Content
                };
                let body = std::fs::read(file.path()).unwrap();
                assert_eq!(read(&body).verdict, expected, "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&body);
        }
    }
}
