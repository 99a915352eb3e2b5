//! Whether a whole 2xx body is an answer.
//!
//! Providers commit to a 200 before their upstream has run, so an error, or nothing at all, may come in one.

use std::time::SystemTime;

use crate::{
    endpoint::Endpoint,
    json::is_json,
    upstream::{
        as_text,
        follow::Follow,
        shape::{Facts, Shape},
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
    pub(crate) verdict: Verdict,
    /// It reports a cost above zero.
    pub(crate) billed: bool,
}

/// The mark of an irregular answer: an extension of its response, which the fallback sets after it has read the answer,
/// and which the layer that normalises answers takes.
#[derive(Clone, Debug)]
pub(crate) struct Irregular {
    /// What the request asked for.
    pub(crate) endpoint: Endpoint,
    /// The model that answered, for an answer that does not name it.
    pub(crate) model: String,
    /// The time, for an answer that does not say when it was made.
    pub(crate) now: SystemTime,
}

/// Reads the whole body of a 2xx.
pub(crate) fn read(body: &[u8]) -> Answer {
    read_into(Shape::document(), body).0
}

/// Reads the whole body of a 2xx from this endpoint; also says whether it is irregular: whether it has fields that strict
/// clients may fail at.
pub(crate) fn read_for(endpoint: Endpoint, body: &[u8]) -> (Answer, bool) {
    read_into(Shape::checked_document(endpoint), body)
}

fn read_into(mut shape: Shape, body: &[u8]) -> (Answer, bool) {
    let text = as_text(body);
    let text = text.trim_start_matches('\u{feff}');
    let is_whole = shape.read(text, |_| {});
    let mut billed = shape.facts.billed;
    let verdict = if is_whole {
        verdict(&shape.facts)
    } else if text.trim().is_empty() {
        Verdict::Empty
    } else {
        // What was not read may tell of a cost.
        let mut follow = Follow::document();
        follow.push(text.as_bytes());
        billed |= follow.billed();
        match is_json(text) {
            // It is valid, but nests deeper than the reader goes, which is no reason to withhold it from the client.
            true => Verdict::Content,
            false => Verdict::NotJson,
        }
    };
    (Answer { verdict, billed }, is_whole && shape.is_irregular())
}

fn verdict(facts: &Facts) -> Verdict {
    let is_error = facts.error || (facts.envelope && !facts.choices);
    if facts.failed || (is_error && !facts.said) {
        return Verdict::Error;
    }
    let is_content = match facts.choices {
        true => facts.said || facts.cut_off,
        // `{"status": "queued"}` alone is a notice of progress and no response.
        false => facts.data || (facts.unfinished && facts.is_response),
    };
    if is_content {
        Verdict::Content
    } else if facts.flat_message && !facts.choices {
        // `{"message": "…", "code": …}`: an error without an envelope (Mistral, Cerebras, Cohere).
        Verdict::Error
    } else {
        Verdict::Empty
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
        let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/answers");
        let theirs = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/data/streams/vercel-ai"
        );
        let ours = std::fs::read_dir(ours).expect("our own are always there");
        let theirs = std::fs::read_dir(theirs).into_iter().flatten();
        for vendor in ours.chain(theirs).flatten() {
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
