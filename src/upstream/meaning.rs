//! What one event of a stream says, in the dialects that are spoken over `text/event-stream`.

use std::{borrow::Cow, ops::Range};

use crate::{
    json::is_json,
    upstream::{
        as_text,
        event_kind::EventKind,
        follow::Follow,
        shape::{Facts, Indexes, Shape},
    },
};

/// The most bytes of an error event that are kept for the classifier.
const MAX_ERROR: usize = 64 * 1024;

/// How many of the values of an event that may differ can be kept.
pub(super) const MOST_FREE: usize = 32;

/// What an event says about the stream it stands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// It holds content: text, a tool call, reasoning, a refusal, audio, an image. Or it says that the answer was cut
    /// off by a limit or a filter, which is an answer too.
    pub(crate) content: bool,
    /// It ends the answer, or one of its choices: a finish reason that is no failure, `[DONE]`, or a terminal event.
    pub(crate) finished: bool,
    /// The choices that it speaks of.
    pub(crate) begun: Indexes,
    /// The choices that it ends. If there are none, and it is `finished`, it ends the whole answer.
    pub(crate) ended: Indexes,
    /// It is `[DONE]`.
    pub(crate) done: bool,
    /// It is an error: its data, cut at a bound, for the classifier.
    pub(crate) error: Option<Vec<u8>>,
    /// It reports a cost above zero.
    pub(crate) billed: bool,
}

impl Meaning {
    /// An event that was too long to be held, and was followed as it passed. Only content is as long.
    pub(super) fn too_long(followed: &Follow) -> Self {
        Self {
            content: true,
            billed: followed.billed(),
            ..Self::default()
        }
    }

    /// An event of this name, which may be empty, with this data, which has no white space around it.
    ///
    /// `free` gets the bounds of the strings and numbers in whose place others would say the same, as [`Shape::read`] has
    /// them: the first [`MOST_FREE`], and one more if there are more; none if the data is not one whole JSON document in
    /// UTF-8.
    pub(super) fn of(name: &[u8], data: &[u8], free: &mut Vec<Range<usize>>) -> Self {
        free.clear();
        if data == b"[DONE]" {
            return Self {
                finished: true,
                done: true,
                ..Self::default()
            };
        }
        let failed = (name == b"error").then(|| keep(data));
        // Comments that are sent as data: `data: : keepalive`, `data:`.
        if !matches!(data.first(), Some(b'{' | b'[')) {
            return Self {
                error: failed,
                ..Self::default()
            };
        }
        let text = as_text(data);
        let mut shape = Shape::event();
        let is_whole = shape.read(&text, |bounds| {
            if free.len() <= MOST_FREE {
                free.push(bounds);
            }
        });
        if !is_whole || matches!(text, Cow::Owned(_)) {
            free.clear();
        }
        if !is_whole {
            let mut follow = Follow::event();
            follow.push(data);
            return Self {
                // Valid data nests deeper than the reader goes, and passes as content. Other data was cut or is broken.
                content: failed.is_none() && is_json(&text),
                error: failed,
                billed: follow.billed(),
                ..Self::default()
            };
        }
        let facts = &mut shape.facts;
        if facts.kind.is_none() {
            facts.kind = std::str::from_utf8(name).ok().and_then(EventKind::of);
        }
        let is_error = facts.kind == Some(EventKind::Error) || facts.error || facts.failed;
        Self {
            content: !is_error && has_content(facts),
            finished: facts.ended
                || matches!(facts.kind, Some(EventKind::Terminal | EventKind::Answer)),
            begun: facts.begun,
            ended: facts.finished,
            done: false,
            billed: facts.billed,
            error: failed.or_else(|| is_error.then(|| keep(data))),
        }
    }
}

fn has_content(facts: &Facts) -> bool {
    let has_any = facts.said || facts.data || facts.cut_off;
    match facts.kind {
        Some(EventKind::Silent | EventKind::Error) => false,
        Some(EventKind::Answer) => true,
        // An event of an unknown shape is not held back.
        None if !facts.choices && !facts.has_delta => has_any || (facts.unknown && !facts.waiting),
        _ => has_any,
    }
}

fn keep(data: &[u8]) -> Vec<u8> {
    data[..data.len().min(MAX_ERROR)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &str) -> Meaning {
        named(b"", data.as_bytes())
    }

    fn named(name: &[u8], data: &[u8]) -> Meaning {
        Meaning::of(name, data.trim_ascii(), &mut Vec::new())
    }

    fn delta(delta: &str) -> Meaning {
        of(&format!(
            r#"{{"id":"x","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"error":null}}"#
        ))
    }

    #[test]
    fn a_delta_that_says_something_is_content() {
        for said in [
            r#"{"content":"a"}"#,
            r#"{"content":" a"}"#,
            r#"{"role":"assistant","content":"a"}"#,
            r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]}]}"#,
            r#"{"reasoning":"a","channel":"analysis"}"#,
            r#"{"reasoning_content":"a"}"#,
            r#"{"content":"","reasoning_details":[{"type":"reasoning.text","text":"a"}]}"#,
            r#"{"refusal":"a"}"#,
            r#"{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}"#,
            r#"{"function_call":{"name":"f"}}"#,
            r#"{"audio":{"id":"a","transcript":"a"}}"#,
            r#"{"images":[{"type":"image_url","image_url":{"url":"data:"}}]}"#,
            r#"{"content":"\ud83d"}"#,
        ] {
            assert!(delta(said).content, "{said}");
        }
    }

    #[test]
    fn a_delta_that_says_nothing_is_none() {
        for silent in [
            "{}",
            "null",
            r#"{"role":"assistant"}"#,
            r#"{"role":"assistant","content":""}"#,
            r#"{"role":"assistant","content":null,"refusal":null}"#,
            r#"{"content":"","tool_calls":[],"reasoning":null,"reasoning_details":[]}"#,
            r#"{"content":"\n"}"#,
            r#"{"channel":"analysis"}"#,
            r#"{"content":"","reasoning_details":[{"type":"reasoning.text","text":"","format":"unknown","index":0}]}"#,
            r#"{"audio":{"id":"a","expires_at":1}}"#,
        ] {
            let meaning = delta(silent);
            assert!(!meaning.content && meaning.ended.is_empty(), "{silent}");
            assert_eq!((meaning.error, meaning.finished), (None, false), "{silent}");
        }
    }

    #[test]
    fn a_completion_chunk_says_its_text() {
        assert!(
            of(r#"{"object":"text_completion","choices":[{"text":"a","finish_reason":null}]}"#)
                .content
        );
        assert!(!of(r#"{"object":"text_completion","choices":[{"text":""}]}"#).content);
    }

    #[test]
    fn a_finish_reason_finishes_and_a_cut_answers() {
        let finish = |reason: &str| {
            of(&format!(
                r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#
            ))
        };
        for (reason, finished, content) in [
            ("stop", true, false),
            ("tool_calls", true, false),
            ("length", true, true),
            ("content_filter", true, true),
            ("", false, false),
        ] {
            let meaning = finish(reason);
            assert_eq!(
                (meaning.finished, meaning.content),
                (finished, content),
                "{reason}"
            );
            assert_eq!(meaning.error, None);
        }
        let meaning = finish("error");
        assert!(!meaning.finished && meaning.error.is_some());
    }

    #[test]
    fn usage_alone_says_nothing_and_tells_the_cost() {
        for (cost, billed) in [("0", false), ("0.1", true), ("\"0.1\"", true)] {
            let meaning = of(&format!(r#"{{"choices":[],"usage":{{"cost":{cost}}}}}"#));
            assert_eq!((meaning.content, meaning.billed), (false, billed), "{cost}");
        }
        assert!(of(r#"{"type":"response.completed","response":{"usage":{"cost":1}}}"#).billed);
    }

    #[test]
    fn a_cost_is_seen_in_any_event() {
        for event in [
            r#"{"choices":[{"delta":{"content":"a\ud83d"}}],"usage":{"cost":0.1}}"#,
            r#"{"choices":[{"delta":{"content":"a","provider_metadata":{"gateway":{"cost":"0.1"}}}}]}"#,
            r#"{"choices":[],"provider_metadata":{"gateway":{"cost":0.1}}}"#,
            r#"{"type":"image_generation.completed","b64_json":"AA","usage":{"cost":0.1}}"#,
            r#"{"type":"image_generation.completed","b64_json":"AA","providerMetadata":{"gateway":{"cost":"1"}}}"#,
        ] {
            assert!(of(event).billed, "{event}");
        }
        let deep = format!(
            r#"{{"choices":[{{"delta":{{"content":{}1{}}}}}],"usage":{{"cost":1}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        assert!(of(&deep).billed);
    }

    #[test]
    fn a_keep_alive_in_json_is_no_first_token() {
        for event in [
            r#"{"status":"queued"}"#,
            r#"{"id":"x","status":"processing","queue_position":3,"eta":1.5,"message":"your turn comes"}"#,
            r#"{"state":"loading","model_size":7}"#,
            r#"{"type":"keep-alive"}"#,
            r#"{"ping":1}"#,
            r#"{"timestamp":1700000000,"heartbeat":true}"#,
        ] {
            assert_eq!(of(event), Meaning::default(), "{event}");
        }
        assert!(of(r#"{"status":"processing","text":"a"}"#).content);
    }

    #[test]
    fn each_choice_ends_for_itself() {
        let both = of(
            r#"{"choices":[{"finish_reason":"stop","index":1,"delta":{}},{"index":0,"delta":{"content":"a"}}]}"#,
        );
        assert!(!both.begun.are_among(both.ended));
        let first = of(r#"{"choices":[{"index":0,"finish_reason":"stop"}]}"#);
        let mut ended = both.ended;
        ended.join(first.ended);
        assert!(both.begun.are_among(ended));
        for odd in ["-1", "1e300", "128", "\"0\"", "null"] {
            of(&format!(
                r#"{{"choices":[{{"index":{odd},"finish_reason":"stop"}}]}}"#
            ));
        }
    }

    #[test]
    fn every_form_of_an_error_is_one() {
        for error in [
            r#"{"error":{"message":"m","code":429}}"#,
            r#"{"error":"busy"}"#,
            r#"[{"error":{"code":503}}]"#,
            r#"{"id":"x","error":{"code":"server_error"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
            r#"{"choices":[{"delta":{},"error":{"code":502}}]}"#,
            r#"{"type":"error","code":"insufficient_quota","message":"m"}"#,
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"}}}"#,
            r#"{"object":"error","message":"m"}"#,
            r#"{"message":"m","type":"too_many_tokens_error"}"#,
        ] {
            let meaning = of(error);
            assert_eq!(meaning.error.as_deref(), Some(error.as_bytes()), "{error}");
            assert!(!meaning.content && !meaning.finished, "{error}");
        }
        for data in ["overloaded", r#"{"message":"m"}"#, r#"{"mess"#] {
            let meaning = named(b"error", data.as_bytes());
            assert_eq!(meaning.error.as_deref(), Some(data.as_bytes()));
        }
    }

    #[test]
    fn a_long_error_is_cut() {
        let error = format!(r#"{{"error":"{}"}}"#, "x".repeat(MAX_ERROR));
        assert_eq!(of(&error).error.map(|error| error.len()), Some(MAX_ERROR));
    }

    #[test]
    fn events_of_the_responses_api_speak_through_deltas_and_done() {
        for (event, content, finished) in [
            (
                r#"{"type":"response.created","response":{"output":[],"tools":[{"name":"f"}],"error":null}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.in_progress","response":{}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.output_item.added","item":{"type":"message","content":[]}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.output_item.added","item":{"type":"function_call","name":"f"}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.content_part.added","part":{"type":"output_text","text":""}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.output_text.delta","delta":""}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.output_text.delta","delta":"a"}"#,
                true,
                false,
            ),
            (
                r#"{"type":"response.reasoning_summary_text.delta","delta":"a"}"#,
                true,
                false,
            ),
            (
                r#"{"type":"response.function_call_arguments.delta","delta":"{"}"#,
                true,
                false,
            ),
            (
                r#"{"type":"response.output_item.done","item":{"type":"function_call","name":"f","arguments":""}}"#,
                true,
                false,
            ),
            (
                r#"{"type":"response.output_item.done","item":{"id":"m","type":"message","status":"completed","content":[]}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"response.completed","response":{"error":null,"output":[]}}"#,
                false,
                true,
            ),
            (
                r#"{"type":"response.incomplete","response":{"output":[]}}"#,
                true,
                true,
            ),
        ] {
            let meaning = of(event);
            assert_eq!(
                (meaning.content, meaning.finished),
                (content, finished),
                "{event}"
            );
            assert_eq!(meaning.error, None, "{event}");
        }
    }

    #[test]
    fn foreign_dialects_are_understood_or_let_through() {
        for (event, content, finished) in [
            (
                r#"{"type":"message-start","delta":{"message":{"role":"assistant","content":[]}}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"content-start","delta":{"message":{"content":{"type":"text","text":""}}}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"content-delta","delta":{"message":{"content":{"text":"a"}}}}"#,
                true,
                false,
            ),
            (
                r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{}}}"#,
                false,
                true,
            ),
            (
                r#"{"type":"message_start","message":{"model":"m","content":[]}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#,
                false,
                false,
            ),
            (
                r#"{"type":"content_block_start","content_block":{"type":"tool_use","id":"t","name":"f"}}"#,
                true,
                false,
            ),
            (
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#,
                true,
                false,
            ),
            (
                r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"}}"#,
                true,
                false,
            ),
            (r#"{"type":"message_stop"}"#, false, true),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"index":0}]}"#,
                true,
                false,
            ),
            (r#"{"candidates":[{"finishReason":"STOP"}]}"#, false, true),
            (r#"{"token":{"text":"a"}}"#, true, false),
            (r#"{}"#, false, false),
        ] {
            let meaning = of(event);
            assert_eq!(
                (meaning.content, meaning.finished),
                (content, finished),
                "{event}"
            );
            assert_eq!(meaning.error, None, "{event}");
        }
    }
}
