//! What one event means, in the dialects that are spoken over `text/event-stream`.

use serde::de::MapAccess;

use crate::{
    json::{Reads, into, is_json, read, skip},
    upstream::{
        follow::Follow,
        shape::{Choices, Finish, Indexes, Items, Metadata, Present, Response, Said, Usage},
    },
};

/// The most bytes of an error event that are kept for the classifier.
const MAX_ERROR: usize = 64 * 1024;

/// What an event means to the one who decides whether a stream is an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// It says something: text, a tool call, reasoning, a refusal, audio, an image. Or it says that the answer was cut
    /// by a limit or a filter, which is an answer too.
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
    /// What an event means that was too long to be held, and was followed as it passed: nothing but content is as long.
    pub(crate) fn too_long(followed: &Follow) -> Self {
        Self {
            content: true,
            billed: followed.billed(),
            ..Self::default()
        }
    }

    /// What an event of this name (which may be empty) and this data means.
    pub(crate) fn of(name: &[u8], data: &[u8]) -> Self {
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            return Self {
                finished: true,
                done: true,
                ..Self::default()
            };
        }
        let failed = (name == b"error").then(|| keep(data));
        // Comments in disguise: `data: : keepalive`, `data:`.
        if !matches!(data.first(), Some(b'{' | b'[')) {
            return Self {
                error: failed,
                ..Self::default()
            };
        }
        let text = String::from_utf8_lossy(data);
        let mut event = Event::default();
        if !read(&text, &mut event) {
            let mut beyond = Follow::default();
            beyond.push(data);
            return Self {
                // Valid, but nested beyond what we read. Else cut or broken, and nothing.
                content: failed.is_none() && is_json(&text),
                error: failed,
                billed: beyond.billed(),
                ..Self::default()
            };
        }
        if event.kind.is_none() {
            event.kind = std::str::from_utf8(name).ok().and_then(Kind::of);
        }
        Self {
            content: event.content(),
            finished: event.finished(),
            begun: event.choices.map_or_else(Indexes::default, |c| c.begun),
            ended: event.choices.map_or_else(Indexes::default, |c| c.finished),
            done: false,
            billed: event.billed(),
            error: failed.or_else(|| event.failed().then(|| keep(data))),
        }
    }
}

fn keep(data: &[u8]) -> Vec<u8> {
    data[..data.len().min(MAX_ERROR)].to_vec()
}

/// What the `type` in an event's data, or else its name, says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It says nothing, whatever its fields hold: a start, a ping, a notice of progress.
    Silent,
    /// Its fields decide.
    Judged,
    /// It ends the answer; its fields decide whether it says something.
    Terminal,
    /// It ends the answer and is one.
    Answer,
    /// It is an error.
    Error,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "" => return None,
            "ping" | "keepalive" | "keep-alive" | "keep_alive" | "heartbeat" => Self::Silent,
            "error" | "response.failed" | "response.error" => Self::Error,
            _ if name.ends_with("_error") => Self::Error,
            // Responses API. `incomplete` was cut by a limit or a filter. It has no `[DONE]`.
            "response.completed" => Self::Terminal,
            "response.incomplete" => Self::Answer,
            // `response.output_text.delta`, `response.function_call_arguments.done`,
            // `response.image_generation_call.partial_image`; the rest tells of beginnings and progress.
            _ if name.starts_with("response.") => {
                if name.ends_with(".delta")
                    || name.ends_with(".done")
                    || name.ends_with(".partial_image")
                {
                    Self::Judged
                } else {
                    Self::Silent
                }
            }
            // Cohere v2 and Anthropic.
            "message-end" | "message_stop" => Self::Terminal,
            "message-start" | "message_start" | "content-end" | "content_block_stop"
            | "tool-call-end" => Self::Silent,
            "content-start" | "content_block_start" | "message_delta" => Self::Judged,
            // OpenAI's image, transcription and speech streams.
            "image_generation.completed"
            | "image_edit.completed"
            | "transcript.text.done"
            | "speech.audio.done" => Self::Answer,
            _ => return None,
        })
    }
}

/// The data of an event.
#[derive(Debug, Default)]
struct Event {
    kind: Option<Kind>,
    choices: Option<Choices>,
    /// `error`, or `errors`.
    error: Present,
    delta: Delta,
    /// Whatever else an event of the Responses API or Anthropic's may say.
    said: Said,
    items: Items,
    response: Response,
    candidates: Option<Candidates>,
    usage: Usage,
    metadata: Metadata,
    /// It has a `delta`.
    has_delta: bool,
    /// It has a field that we do not know.
    unknown: bool,
    /// Its `status` or `state` says that the answer is yet to come.
    waiting: bool,
}

impl Event {
    fn content(&self) -> bool {
        let cut = self.delta.finish.cut;
        let fields = self.delta.said.0 || self.said.0 || self.items.0.0;
        match self.kind {
            Some(Kind::Silent | Kind::Error) => false,
            Some(Kind::Answer) => true,
            Some(Kind::Judged) => fields || cut,
            Some(Kind::Terminal) => self.response.output.0.0 || cut,
            None => {
                if let Some(choices) = self.choices {
                    choices.answer()
                } else if let Some(candidates) = self.candidates {
                    candidates.said.0 || candidates.finish.cut
                } else if self.has_delta {
                    fields || cut
                } else {
                    // A shape that we do not know is not ours to hold back.
                    !self.error.0 && (fields || (self.unknown && !self.waiting))
                }
            }
        }
    }

    fn finished(&self) -> bool {
        matches!(self.kind, Some(Kind::Terminal | Kind::Answer))
            || self.choices.is_some_and(|choices| choices.finish.any)
            || self
                .candidates
                .is_some_and(|candidates| candidates.finish.any)
    }

    fn billed(&self) -> bool {
        self.usage.billed()
            || self.response.usage.billed()
            || self.metadata.billed()
            || self
                .choices
                .is_some_and(|choices| choices.metadata.billed())
    }

    fn failed(&self) -> bool {
        self.kind == Some(Kind::Error)
            || self.error.0
            || self.response.error.0
            || self.delta.finish.error
            || self.choices.is_some_and(|choices| choices.failed())
    }
}

impl Reads for Event {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "choices" => into(map, self.choices.get_or_insert_default()),
            "type" | "object" => into(map, &mut KindOf(&mut self.kind)),
            "error" | "errors" => into(map, &mut self.error),
            "usage" => into(map, &mut self.usage),
            "provider_metadata" | "providerMetadata" => into(map, &mut self.metadata),
            "status" | "state" => {
                let mut progress = Progress(false);
                into(map, &mut progress)?;
                self.waiting |= progress.0;
                Ok(())
            }
            "delta" => {
                self.has_delta = true;
                into(map, &mut self.delta)
            }
            "text" | "arguments" | "refusal" | "part" | "input" | "code" | "transcript"
            | "partial_image_b64" | "content_block" => into(map, &mut self.said),
            "item" => into(map, &mut self.items),
            "response" => {
                self.unknown = true;
                into(map, &mut self.response)
            }
            // Gemini's own streams.
            "candidates" => into(map, self.candidates.get_or_insert_default()),
            // What every chunk has.
            "id" | "created" | "model" | "provider" | "system_fingerprint" | "service_tier"
            | "index" | "sequence_number"
            // What keep-alives in JSON have.
            | "progress" | "queue_position" | "position" | "eta" | "ping" | "heartbeat"
            | "keepalive" | "keep_alive" | "timestamp" => skip(map),
            _ => {
                self.unknown = true;
                skip(map)
            }
        }
    }
}

/// A `status` or `state`: whether it says that the answer is yet to come.
struct Progress(bool);

impl Reads for Progress {
    fn text(&mut self, word: &str) {
        let is = |known: &&str| word.eq_ignore_ascii_case(known);
        self.0 |= [
            "queued",
            "pending",
            "waiting",
            "starting",
            "loading",
            "processing",
            "running",
            "in_progress",
            "keepalive",
            "keep-alive",
            "heartbeat",
            "ping",
        ]
        .iter()
        .any(is);
    }
}

/// Where the kind of an event is put; the last word that says something counts.
struct KindOf<'a>(&'a mut Option<Kind>);

impl Reads for KindOf<'_> {
    fn text(&mut self, name: &str) {
        if let Some(kind) = Kind::of(name) {
            *self.0 = Some(kind);
        }
    }
}

/// The `delta` of an event that is no chat chunk: a string (Responses API), or an object (Cohere, Anthropic).
#[derive(Clone, Copy, Debug, Default)]
struct Delta {
    said: Said,
    finish: Finish,
}

impl Reads for Delta {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "finish_reason" | "stop_reason" => into(map, &mut self.finish),
            _ => self.said.field(key, map),
        }
    }

    fn text(&mut self, text: &str) {
        self.said.text(text);
    }
}

/// Gemini's `candidates`.
#[derive(Clone, Copy, Debug, Default)]
struct Candidates {
    said: Said,
    finish: Finish,
}

impl Reads for Candidates {
    fn field<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "finishReason" => into(map, &mut self.finish),
            "content" => into(map, &mut self.said),
            _ => skip(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data: &str) -> Meaning {
        Meaning::of(b"", data.as_bytes())
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
            let meaning = Meaning::of(b"error", data.as_bytes());
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
