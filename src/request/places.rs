//! Where in a request something is needed.
//!
//! The same word means a need in one place and nothing in another: `"type":"image_url"` asks for
//! eyes in a message's content, and for nothing in a tool's schema or in a prompt. So every value
//! is read by its [`Place`], which follows from the place it stands in and its key.
//!
//! Keys are compared to the letter here, as upstreams do. Where one is given twice, either may be
//! the one that counts, and all needs add up.

use super::{
    endpoint::Endpoint,
    json::{Event, Kind, Token},
    needs::Needs,
    text::Text,
    tokens::{Estimate, Media},
};
use crate::capability::{Capability, CapabilitySet};

/// Where a value stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nowhere that matters, and neither does what is in it.
    #[default]
    Elsewhere,
    Request,
    Stream,
    Messages,
    Message,
    Content,
    Part,
    PartType,
    ToolCalls,
    ToolCall,
    Called,
    /// A string that the model reads.
    Prompt,
    Tools,
    /// A tool or an output format, and anything in it: the model reads it all.
    Schema,
    ResponseFormat,
    FormatType,
    Modalities,
    Modality,
    Logprobs,
    TopLogprobs,
    Reasoning,
    Effort,
    IncludeReasoning,
    OutputLimit,
}

impl Place {
    /// The place of the member `key` of an object that stands here.
    fn member(self, key: Text<'_>) -> Self {
        // The most common places, whose keys need no look.
        if let Self::Elsewhere | Self::Schema = self {
            return self;
        }
        match (self, &*key.name()) {
            (Self::Request, "stream") => Self::Stream,
            (Self::Request, "messages") => Self::Messages,
            (Self::Request, "tools" | "functions") => Self::Tools,
            (Self::Request, "response_format") => Self::ResponseFormat,
            (Self::Request, "modalities") => Self::Modalities,
            (Self::Request, "logprobs") => Self::Logprobs,
            (Self::Request, "top_logprobs") => Self::TopLogprobs,
            (Self::Request, "reasoning") => Self::Reasoning,
            (Self::Request, "reasoning_effort") => Self::Effort,
            (Self::Request, "include_reasoning") => Self::IncludeReasoning,
            (Self::Request, "max_tokens" | "max_completion_tokens" | "max_output_tokens") => {
                Self::OutputLimit
            }
            (Self::Message, "content") => Self::Content,
            (Self::Message, "tool_calls") => Self::ToolCalls,
            (Self::Message, "function_call") | (Self::ToolCall, "function" | "custom") => {
                Self::Called
            }
            (Self::Part, "type") => Self::PartType,
            (Self::Message, "name" | "refusal")
            | (Self::Part, "text" | "refusal")
            | (Self::Called, "name" | "arguments" | "input") => Self::Prompt,
            (Self::ResponseFormat, "type") => Self::FormatType,
            (Self::ResponseFormat, _) => Self::Schema,
            _ => Self::Elsewhere,
        }
    }

    /// The place of the elements of an array that stands here.
    fn element(self) -> Self {
        match self {
            Self::Messages => Self::Message,
            Self::Content => Self::Part,
            Self::ToolCalls => Self::ToolCall,
            Self::Modalities => Self::Modality,
            Self::Tools | Self::Schema => Self::Schema,
            _ => Self::Elsewhere,
        }
    }
}

/// Reads what a request needs off its tokens.
#[derive(Debug)]
pub(super) struct NeedsReader {
    /// The arrays and objects that are open, and where they stand.
    open: Vec<(Kind, Place)>,
    /// The place of the member whose key came last.
    member: Place,
    part: Part,
    prompt: Estimate,
    needs: Needs,
}

/// The current part of a message's content.
#[derive(Debug, Default)]
struct Part {
    start: usize,
    media: Option<Media>,
}

impl NeedsReader {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            open: Vec::new(),
            member: Place::Elsewhere,
            part: Part::default(),
            prompt: Estimate::default(),
            needs: Needs {
                endpoint,
                stream: false,
                hard: CapabilitySet::EMPTY,
                soft: CapabilitySet::EMPTY,
                prompt_tokens: 0,
                output_tokens: None,
            },
        }
    }

    pub(super) fn read(&mut self, token: &Token<'_>) {
        match token.event {
            Event::Key(key) => self.key(key),
            Event::Begin(kind) => {
                let place = self.arrive();
                self.open.push((kind, place));
                self.begin(place, kind, token.start);
            }
            Event::End(_) => {
                if let Some((Kind::Object, Place::Part)) = self.open.pop() {
                    if let Some(media) = self.part.media {
                        self.prompt.media(media, token.end - self.part.start);
                    }
                }
            }
            scalar => {
                let place = self.arrive();
                self.scalar(place, scalar);
            }
        }
    }

    pub(super) fn finish(mut self) -> Needs {
        let other = [Capability::ImageOutput, Capability::AudioOutput];
        if !other.iter().any(|&output| self.needs.hard.contains(output)) {
            self.needs.hard.insert(self.needs.endpoint.output());
        }
        self.needs.prompt_tokens = self.prompt.finish();
        self.needs
    }

    /// The place of the value that comes now.
    fn arrive(&mut self) -> Place {
        match self.open.last() {
            None => Place::Request,
            Some((Kind::Object, _)) => self.member,
            Some((Kind::Array, list)) => {
                if *list == Place::Tools {
                    self.needs.hard.insert(Capability::Tools);
                }
                list.element()
            }
        }
    }

    fn key(&mut self, key: Text<'_>) {
        let object = self.open.last().map_or(Place::Elsewhere, |open| open.1);
        self.member = object.member(key);
        if self.member == Place::Schema {
            self.prompt.quoted(key);
        }
    }

    fn begin(&mut self, place: Place, kind: Kind, start: usize) {
        match (place, kind) {
            (Place::Reasoning, Kind::Object) => self.needs.soft.insert(Capability::Reasoning),
            (Place::Message, Kind::Object) => self.prompt.message(),
            (Place::Part, Kind::Object) => self.part = Part { start, media: None },
            _ => {}
        }
    }

    fn scalar(&mut self, place: Place, value: Event<'_>) {
        let needs = &mut self.needs;
        match (place, value) {
            (Place::Stream, Event::Bool(true)) => needs.stream = true,
            (Place::Logprobs, Event::Bool(true)) | (Place::TopLogprobs, Event::Number(_)) => {
                needs.hard.insert(Capability::Logprobs);
            }
            (Place::IncludeReasoning, Event::Bool(true)) => {
                needs.soft.insert(Capability::Reasoning);
            }
            (Place::Effort, Event::Text(effort)) if effort.name() != "none" => {
                needs.soft.insert(Capability::Reasoning);
            }
            (Place::OutputLimit, Event::Number(limit)) => {
                needs.output_tokens = needs.output_tokens.max(whole(limit));
            }
            (Place::Content | Place::Part | Place::Prompt, Event::Text(text)) => {
                self.prompt.text(text);
            }
            (Place::Schema, Event::Text(text)) => self.prompt.quoted(text),
            (Place::Schema, _) => self.prompt.literal(),
            (Place::PartType, Event::Text(name)) => {
                if let Some((media, capability)) = part(&name.name()) {
                    needs.hard.insert(capability);
                    self.part.media = self.part.media.max(Some(media));
                }
            }
            (Place::FormatType, Event::Text(name)) => match &*name.name() {
                "json_object" => needs.hard.insert(Capability::JsonObject),
                "json_schema" => needs.hard.insert(Capability::JsonSchema),
                _ => {}
            },
            (Place::Modality, Event::Text(name)) => match &*name.name() {
                "image" => needs.hard.insert(Capability::ImageOutput),
                "audio" => needs.hard.insert(Capability::AudioOutput),
                "text" => needs.hard.insert(Capability::TextOutput),
                _ => {}
            },
            _ => {}
        }
    }
}

/// What a part of a message's content is, and what it takes to read it.
fn part(name: &str) -> Option<(Media, Capability)> {
    match name {
        "image_url" | "input_image" | "image" => Some((Media::Image, Capability::ImageInput)),
        "input_audio" | "audio" | "audio_url" => Some((Media::Audio, Capability::AudioInput)),
        "file" | "input_file" => Some((Media::File, Capability::FileInput)),
        "video_url" | "input_video" | "video" => Some((Media::Video, Capability::VideoInput)),
        _ => None,
    }
}

/// A number of tokens. Some clients send `1e3` or `1000.0`; what is below zero says nothing.
fn whole(number: &str) -> Option<u64> {
    if number.starts_with('-') {
        return None;
    }
    // A cast from a float saturates.
    let rounded = || number.parse::<f64>().ok().map(|limit| limit as u64);
    number.parse().ok().or_else(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::scan;
    use Capability::{
        AudioInput, AudioOutput, FileInput, ImageInput, ImageOutput, JsonObject, JsonSchema,
        Logprobs, Reasoning, TextOutput, Tools, VideoInput,
    };

    fn needs(body: &str) -> Needs {
        let envelope = scan(body.as_bytes(), Endpoint::ChatCompletions).unwrap();
        envelope.needs
    }

    fn set(capabilities: &[Capability]) -> CapabilitySet {
        capabilities.iter().copied().collect()
    }

    /// What is needed beside text as the output.
    fn hard(body: &str) -> CapabilitySet {
        needs(body).hard.difference(set(&[TextOutput]))
    }

    fn part_of_a_message(part: &str) -> String {
        format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#)
    }

    #[test]
    fn an_empty_request_needs_text() {
        let needs = needs("{}");
        assert_eq!(needs.hard, set(&[TextOutput]));
        assert!(needs.soft.is_empty());
        assert!(!needs.stream);
        assert_eq!(needs.output_tokens, None);
        assert_eq!(needs.window(), 0);
    }

    #[test]
    fn each_field_needs_what_it_asks_for() {
        for (body, expected) in [
            (r#"{"tools":[{"type":"custom"}]}"#, Some(Tools)),
            (r#"{"functions":[{}]}"#, Some(Tools)),
            (r#"{"functions":[]}"#, None),
            (r#"{"tools":[]}"#, None),
            (r#"{"tools":null}"#, None),
            (r#"{"logprobs":true}"#, Some(Logprobs)),
            (r#"{"logprobs":false}"#, None),
            (r#"{"top_logprobs":3}"#, Some(Logprobs)),
            (r#"{"top_logprobs":null}"#, None),
            (
                r#"{"response_format":{"type":"json_object"}}"#,
                Some(JsonObject),
            ),
            (
                r#"{"response_format":{"type":"json_schema"}}"#,
                Some(JsonSchema),
            ),
            (r#"{"response_format":{"type":"text"}}"#, None),
            (r#"{"response_format":{"a":{"type":"json_schema"}}}"#, None),
            (r#"{"response_format":null}"#, None),
            (r#"{"audio":{"voice":"alloy"}}"#, None),
        ] {
            assert_eq!(hard(body), expected.into_iter().collect(), "{body}");
        }
    }

    #[test]
    fn each_part_needs_its_sense() {
        for (name, expected) in [
            ("image_url", Some(ImageInput)),
            ("input_image", Some(ImageInput)),
            ("image", Some(ImageInput)),
            ("input_audio", Some(AudioInput)),
            ("audio", Some(AudioInput)),
            ("audio_url", Some(AudioInput)),
            ("file", Some(FileInput)),
            ("input_file", Some(FileInput)),
            ("video_url", Some(VideoInput)),
            ("input_video", Some(VideoInput)),
            ("video", Some(VideoInput)),
            (r"\u0066ile", Some(FileInput)),
            ("text", None),
            ("File", None),
        ] {
            let body = part_of_a_message(&format!(r#"{{"text":"x","type":"{name}"}}"#));
            assert_eq!(hard(&body), expected.into_iter().collect(), "{body}");
        }
    }

    #[test]
    fn a_part_is_only_a_part_in_its_place() {
        let part = r#"{"type":"image_url","image_url":{"url":"x"}}"#;
        for body in [
            part.to_owned(),
            format!(r#"{{"messages":[{part}]}}"#),
            format!(r#"{{"messages":{{"content":[{part}]}}}}"#),
            format!(r#"{{"messages":[{{"content":{part}}}]}}"#),
            format!(r#"{{"messages":[{{"content":[[{part}]]}}]}}"#),
            format!(r#"{{"messages":[[{{"content":[{part}]}}]]}}"#),
            format!(r#"{{"messages":[{{"tool_calls":[{part}]}}]}}"#),
            format!(r#"{{"metadata":{{"messages":[{{"content":[{part}]}}]}}}}"#),
            format!(r#"{{"Messages":[{{"content":[{part}]}}]}}"#),
            part_of_a_message(&format!(r#"{{"type":"text","x":{part},"y":[{part}]}}"#)),
            part_of_a_message(&serde_json::Value::from(part).to_string()),
        ] {
            assert!(hard(&body).is_empty(), "{body}");
        }
        let tool = format!(r#"{{"type":"function","function":{{"content":[{part}]}}}}"#);
        assert_eq!(hard(&format!(r#"{{"tools":[{tool}]}}"#)), set(&[Tools]));
    }

    #[test]
    fn outputs_are_the_modalities() {
        for (body, expected) in [
            (r#"{"modalities":["image"]}"#, set(&[ImageOutput])),
            (
                r#"{"modalities":["image","text"]}"#,
                set(&[ImageOutput, TextOutput]),
            ),
            (
                r#"{"modalities":["text","audio"],"audio":{}}"#,
                set(&[AudioOutput, TextOutput]),
            ),
            (r#"{"modalities":["text"]}"#, set(&[TextOutput])),
            (r#"{"modalities":[]}"#, set(&[TextOutput])),
            (r#"{"modalities":null}"#, set(&[TextOutput])),
            (
                r#"{"modalities":[["image"],{"a":"image"}]}"#,
                set(&[TextOutput]),
            ),
            (r#"{"modalities":{"a":"image"}}"#, set(&[TextOutput])),
        ] {
            assert_eq!(needs(body).hard, expected, "{body}");
        }
    }

    #[test]
    fn reasoning_is_better_to_have() {
        for (body, expected) in [
            (r#"{"reasoning":{}}"#, true),
            (r#"{"reasoning":{"effort":"low"}}"#, true),
            (r#"{"reasoning":null}"#, false),
            (r#"{"reasoning_effort":"low"}"#, true),
            (r#"{"reasoning_effort":"none"}"#, false),
            (r#"{"reasoning_effort":null}"#, false),
            (r#"{"include_reasoning":true}"#, true),
            (r#"{"include_reasoning":false}"#, false),
        ] {
            let needs = needs(body);
            assert_eq!(needs.soft.contains(Reasoning), expected, "{body}");
            assert_eq!(needs.hard, set(&[TextOutput]), "{body}");
        }
    }

    #[test]
    fn of_a_field_given_twice_both_are_needed() {
        let body = r#"{"stream":true,"stream":false,"response_format":{"type":"json_object","type":
            "json_schema"},"modalities":["image"],"modalities":["text"],"max_tokens":5,"max_tokens":3}"#;
        let needs = needs(body);
        assert!(needs.stream);
        assert_eq!(
            needs.hard,
            set(&[JsonObject, JsonSchema, ImageOutput, TextOutput])
        );
        assert_eq!(needs.output_tokens, Some(5));
    }

    #[test]
    fn keys_are_unescaped_and_nothing_more() {
        assert!(needs(r#"{"\u0073tream":true}"#).stream);
        assert!(!needs(r#"{"Stream":true}"#).stream);
        assert!(!needs(r#"{"stream":"true"}"#).stream);
        assert!(!needs(r#"{"a":{"stream":true}}"#).stream);
    }

    #[test]
    fn the_largest_limit_counts() {
        for (body, expected) in [
            (
                r#"{"max_tokens":1,"max_completion_tokens":7,"max_output_tokens":3}"#,
                Some(7),
            ),
            (r#"{"max_tokens":null}"#, None),
            (r#"{"max_tokens":"9"}"#, None),
            (r#"{"max_tokens":-1}"#, None),
            (r#"{"max_tokens":1e3}"#, Some(1000)),
            (r#"{"max_tokens":10.0}"#, Some(10)),
            (r#"{"max_tokens":1e999}"#, Some(u64::MAX)),
            (
                r#"{"max_tokens":99999999999999999999}"#,
                Some(99_999_999_999_999_999_999f64 as u64),
            ),
        ] {
            let needs = needs(body);
            assert_eq!(needs.output_tokens, expected, "{body}");
            assert_eq!(needs.window(), expected.unwrap_or(0), "{body}");
        }
    }

    #[test]
    fn data_is_not_text() {
        let data = "A".repeat(1 << 20);
        let image = part_of_a_message(&format!(
            r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{data}"}}}}"#
        ));
        assert!((1000..1020).contains(&needs(&image).prompt_tokens));
        for kind in ["file", "video_url", "input_audio"] {
            let part = part_of_a_message(&format!(
                r#"{{"{kind}":{{"data":"{data}"}},"type":"{kind}"}}"#
            ));
            assert!(needs(&part).prompt_tokens < 60_000, "{kind}");
        }
    }

    #[test]
    fn whatever_the_model_reads_is_counted() {
        let words = "all these words are read by the model ".repeat(20);
        for body in [
            format!(r#"{{"messages":[{{"content":"{words}"}}]}}"#),
            format!(r#"{{"messages":[{{"name":"{words}"}}]}}"#),
            part_of_a_message(&format!("\"{words}\"")),
            part_of_a_message(&format!(r#"{{"type":"text","text":"{words}"}}"#)),
            format!(
                r#"{{"messages":[{{"tool_calls":[{{"function":{{"arguments":"{words}"}}}}]}}]}}"#
            ),
            format!(r#"{{"messages":[{{"function_call":{{"name":"{words}"}}}}]}}"#),
            format!(r#"{{"tools":[{{"function":{{"description":"{words}"}}}}]}}"#),
            format!(r#"{{"functions":[{{"description":"{words}"}}]}}"#),
            format!(r#"{{"response_format":{{"type":"json_schema","x":"{words}"}}}}"#),
        ] {
            let tokens = needs(&body).prompt_tokens;
            assert!((140..220).contains(&tokens), "{tokens}: {body}");
        }
        for body in [
            format!(r#"{{"metadata":"{words}"}}"#),
            format!(r#"{{"messages":[{{"id":"{words}"}}]}}"#),
        ] {
            assert!(needs(&body).prompt_tokens < 10, "{body}");
        }
    }
}
