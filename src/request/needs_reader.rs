//! Where in a request something is needed.
//!
//! The same word means a need in one place and nothing in another: `"type":"image_url"` asks for
//! eyes in a message's content, and for nothing in a tool's schema or in a prompt. So every value
//! is read by its [`Place`], which follows from the place it stands in and its key.
//!
//! Keys are compared to the letter here, as upstreams do. Where one is given twice, either may be
//! the one that counts, and all needs add up.

use crate::{
    capability::{Capability, CapabilitySet},
    endpoint::Endpoint,
    json::{Event, Kind, Text, Token},
    request::{
        needs::{LONGEST_ID, Needs, State},
        tokens::{Estimate, Media},
    },
};

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
    /// The `input` of the Responses API: a string, or items.
    Items,
    Item,
    ItemType,
    ItemId,
    Content,
    Part,
    PartType,
    ToolCalls,
    ToolCall,
    Called,
    /// A string that the model reads.
    Prompt,
    /// What a model reads one by one: strings, or tokens as numbers. One of them, or a list.
    Inputs,
    /// The images that are to be edited.
    Images,
    Tools,
    /// The tools of the API before `tools`.
    Functions,
    /// A tool or an output format, and anything in it: the model reads it all.
    Schema,
    ResponseFormat,
    FormatType,
    /// The `text` of the Responses API, which holds the format.
    TextOptions,
    Modalities,
    Modality,
    Logprobs,
    TopLogprobs,
    Reasoning,
    Effort,
    IncludeReasoning,
    OutputLimit,
    /// What refers to something that one provider keeps.
    PreviousResponse,
    Conversation,
    Background,
    /// A prompt that is stored at the provider.
    Template,
}

impl Place {
    /// The place of the top-level member `key`.
    #[expect(clippy::match_same_arms, reason = "in the order of the endpoints")]
    fn top(endpoint: Endpoint, key: &str) -> Self {
        match (endpoint, key) {
            (_, "stream") => Self::Stream,
            (_, "max_tokens" | "max_completion_tokens" | "max_output_tokens") => Self::OutputLimit,
            (Endpoint::ChatCompletions, "messages") => Self::Messages,
            (Endpoint::ChatCompletions, "tools") => Self::Tools,
            (Endpoint::ChatCompletions, "functions") => Self::Functions,
            (Endpoint::ChatCompletions, "response_format") => Self::ResponseFormat,
            (Endpoint::ChatCompletions, "logprobs") => Self::Logprobs,
            (Endpoint::ChatCompletions, "reasoning_effort") => Self::Effort,
            (Endpoint::ChatCompletions, "include_reasoning") => Self::IncludeReasoning,
            (Endpoint::ChatCompletions | Endpoint::Responses, "modalities") => Self::Modalities,
            (Endpoint::ChatCompletions | Endpoint::Responses, "top_logprobs") => Self::TopLogprobs,
            (Endpoint::ChatCompletions | Endpoint::Responses, "reasoning") => Self::Reasoning,
            (Endpoint::Completions, "prompt") | (Endpoint::Embeddings, "input") => Self::Inputs,
            (Endpoint::Completions, "suffix") => Self::Prompt,
            // Here it is a number: of how many tokens.
            (Endpoint::Completions, "logprobs") => Self::TopLogprobs,
            (Endpoint::Responses, "input") => Self::Items,
            (Endpoint::Responses, "instructions") => Self::Prompt,
            (Endpoint::Responses, "tools") => Self::Tools,
            (Endpoint::Responses, "text") => Self::TextOptions,
            (Endpoint::Responses, "previous_response_id") => Self::PreviousResponse,
            (Endpoint::Responses, "conversation") => Self::Conversation,
            (Endpoint::Responses, "background") => Self::Background,
            (Endpoint::Responses, "prompt") => Self::Template,
            (Endpoint::ImageGenerations | Endpoint::ImageEdits, "prompt") => Self::Prompt,
            (Endpoint::ImageEdits, "image" | "images") => Self::Images,
            _ => Self::Elsewhere,
        }
    }

    /// The place of the member `key` of an object that stands here.
    fn member(self, key: Text<'_>) -> Self {
        // The most common places, whose keys need no look.
        if let Self::Elsewhere | Self::Schema = self {
            return self;
        }
        match (self, &*key.name()) {
            (Self::TextOptions, "format") => Self::ResponseFormat,
            (Self::Message | Self::Item | Self::Inputs, "content")
            | (Self::Item, "output" | "summary") => Self::Content,
            (Self::Item, "type") => Self::ItemType,
            (Self::Item, "id") => Self::ItemId,
            (Self::Message, "tool_calls") => Self::ToolCalls,
            (Self::Message, "function_call") | (Self::ToolCall, "function" | "custom") => {
                Self::Called
            }
            (Self::Part, "type") => Self::PartType,
            (Self::Message, "name" | "refusal")
            | (Self::Item, "name" | "arguments" | "input")
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
            Self::Items => Self::Item,
            Self::Inputs => Self::Inputs,
            Self::Content => Self::Part,
            Self::ToolCalls => Self::ToolCall,
            Self::Modalities => Self::Modality,
            Self::Tools | Self::Functions | Self::Schema => Self::Schema,
            _ => Self::Elsewhere,
        }
    }
}

/// Reads what a request needs off its tokens.
#[derive(Debug)]
pub(crate) struct NeedsReader {
    /// The arrays and objects that are open, and where they stand.
    open: Vec<(Kind, Place)>,
    /// The place of the member whose key came last.
    member: Place,
    part: Part,
    item: Item,
    /// Whether there are tools, and functions.
    tools: bool,
    functions: bool,
    prompt: Estimate,
    needs: Needs,
}

/// The current part of a message's content.
#[derive(Debug, Default)]
struct Part {
    start: usize,
    media: Option<Media>,
}

/// The current item of the Responses API's `input`.
#[derive(Debug, Default)]
struct Item {
    /// It says what it is, or holds something.
    more_than_an_id: bool,
    id: bool,
    reference: bool,
}

impl NeedsReader {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            open: Vec::new(),
            member: Place::Elsewhere,
            part: Part::default(),
            item: Item::default(),
            tools: false,
            functions: false,
            prompt: Estimate::default(),
            needs: Needs {
                endpoint,
                stream: false,
                hard: CapabilitySet::EMPTY,
                soft: CapabilitySet::EMPTY,
                prompt_tokens: 0,
                output_tokens: None,
                state: State::None,
            },
        }
    }

    pub(crate) fn read(&mut self, token: &Token<'_>) {
        match token.event {
            Event::Key(key) => self.key(key),
            Event::Begin(kind) => {
                let place = self.arrive();
                self.open.push((kind, place));
                self.begin(place, kind, token.start);
            }
            Event::End(_) => {
                if let Some((kind, place)) = self.open.pop() {
                    self.end(place, kind, token.end);
                }
            }
            scalar => {
                let place = self.arrive();
                self.scalar(place, scalar);
            }
        }
    }

    /// No tool is left in the request as it is sent.
    pub(crate) fn without_tools(&mut self) {
        self.tools = false;
    }

    pub(crate) fn finish(mut self) -> Needs {
        if self.tools || self.functions {
            self.needs.hard.insert(Capability::Tools);
        }
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
                match *list {
                    Place::Tools => self.tools = true,
                    Place::Functions => self.functions = true,
                    _ => {}
                }
                list.element()
            }
        }
    }

    fn key(&mut self, key: Text<'_>) {
        let object = self.open.last().map_or(Place::Elsewhere, |open| open.1);
        self.member = match object {
            Place::Request => Place::top(self.needs.endpoint, &key.name()),
            _ => object.member(key),
        };
        self.item.more_than_an_id |=
            object == Place::Item && !matches!(self.member, Place::ItemType | Place::ItemId);
        if self.member == Place::Schema {
            self.prompt.quoted(key);
        }
    }

    fn begin(&mut self, place: Place, kind: Kind, start: usize) {
        match (place, kind) {
            (Place::Reasoning, Kind::Object) => self.needs.soft.insert(Capability::Reasoning),
            (Place::Message, Kind::Object) => self.prompt.message(),
            (Place::Item, Kind::Object) => {
                self.prompt.message();
                self.item = Item::default();
            }
            (Place::Images, _) => self.needs.hard.insert(Capability::ImageInput),
            (Place::Conversation, _) => self.foreign("conversation"),
            (Place::Template, _) => self.foreign("prompt"),
            (Place::Part, Kind::Object) => self.part = Part { start, media: None },
            _ => {}
        }
    }

    fn end(&mut self, place: Place, kind: Kind, end: usize) {
        match (place, kind) {
            (Place::Part, Kind::Object) => {
                if let Some(media) = self.part.media {
                    self.prompt.media(media, end - self.part.start);
                }
            }
            (Place::Inputs, Kind::Array) => self.prompt.end_input(),
            // A reference need not say that it is one.
            (Place::Item, Kind::Object)
                if self.item.reference || self.item.id && !self.item.more_than_an_id =>
            {
                self.foreign("input");
            }
            _ => {}
        }
    }

    /// The request builds upon something that only its own provider knows.
    fn foreign(&mut self, field: &'static str) {
        self.needs.state = State::Foreign(field);
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
            (
                Place::Content | Place::Part | Place::Prompt | Place::Items | Place::Item,
                Event::Text(text),
            ) => self.prompt.text(text),
            (Place::Inputs, Event::Text(text)) => self.prompt.input(text),
            (Place::Inputs, Event::Number(_)) => self.prompt.input_token(),
            (Place::Images, Event::Text(_)) => needs.hard.insert(Capability::ImageInput),
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
            (Place::ItemType, Event::Text(name)) => {
                self.item.more_than_an_id = true;
                self.item.reference |= name.name() == "item_reference";
            }
            (Place::ItemId, Event::Text(_)) => self.item.id = true,
            (Place::PreviousResponse, Event::Text(id))
                if !matches!(needs.state, State::Foreign(_)) =>
            {
                needs.state = State::Response(id.chars().take(LONGEST_ID + 1).collect());
            }
            (Place::Conversation, Event::Text(_)) => self.foreign("conversation"),
            (Place::Background, Event::Bool(true)) => self.foreign("background"),
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
        needs_at(Endpoint::ChatCompletions, body)
    }

    fn needs_at(endpoint: Endpoint, body: &str) -> Needs {
        let envelope = scan(body.as_bytes(), endpoint).unwrap();
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

    #[test]
    fn each_endpoint_needs_its_own_output() {
        for endpoint in Endpoint::ALL {
            assert_eq!(needs_at(endpoint, "{}").hard, set(&[endpoint.output()]));
        }
    }

    #[test]
    fn a_key_means_what_its_endpoint_makes_of_it() {
        let words = "all these words are read by the model ".repeat(20);
        for (endpoint, field) in [
            (Endpoint::Completions, "prompt"),
            (Endpoint::Completions, "suffix"),
            (Endpoint::Responses, "input"),
            (Endpoint::Responses, "instructions"),
            (Endpoint::Embeddings, "input"),
            (Endpoint::ImageGenerations, "prompt"),
            (Endpoint::ImageEdits, "prompt"),
        ] {
            let body = format!(r#"{{"{field}":"{words}"}}"#);
            let tokens = needs_at(endpoint, &body).prompt_tokens;
            assert!((140..220).contains(&tokens), "{tokens}: {endpoint} {field}");
            assert_eq!(needs(&body).prompt_tokens, 0, "{field}");
        }
    }

    #[test]
    fn logprobs_of_a_completion_are_a_number() {
        let logprobs = |endpoint, body| needs_at(endpoint, body).hard.contains(Logprobs);
        assert!(logprobs(Endpoint::Completions, r#"{"logprobs":2}"#));
        assert!(!logprobs(Endpoint::Completions, r#"{"logprobs":null}"#));
        assert!(logprobs(Endpoint::Responses, r#"{"top_logprobs":2}"#));
    }

    #[test]
    fn the_longest_of_several_inputs_counts() {
        let word = "word ".repeat(50);
        for endpoint in [Endpoint::Completions, Endpoint::Embeddings] {
            let field = match endpoint {
                Endpoint::Completions => "prompt",
                _ => "input",
            };
            let tokens = |inputs: &str| {
                needs_at(endpoint, &format!(r#"{{"{field}":{inputs}}}"#)).prompt_tokens
            };
            let one = tokens(&format!(r#""{word}""#));
            assert!(one > 40, "{one}");
            let several = format!(r#"["a","{word}","{word}","b"]"#);
            assert_eq!(tokens(&several), one, "{endpoint}");
            assert_eq!(tokens("[1,2,3]"), 3, "{endpoint}");
            assert_eq!(tokens("[[1,2,3],[4,5,6,7],[8]]"), 4, "{endpoint}");
            assert_eq!(tokens("[]"), 0, "{endpoint}");
        }
    }

    #[test]
    fn items_of_a_response_are_read_like_messages() {
        let words = "all these words are read by the model ".repeat(20);
        for item in [
            format!(r#"{{"role":"user","content":"{words}"}}"#),
            format!(
                r#"{{"type":"message","role":"user","content":[{{"type":"input_text","text":"{words}"}}]}}"#
            ),
            format!(r#"{{"type":"function_call","call_id":"c","name":"f","arguments":"{words}"}}"#),
            format!(r#"{{"type":"custom_tool_call","call_id":"c","name":"f","input":"{words}"}}"#),
            format!(r#"{{"type":"function_call_output","call_id":"c","output":"{words}"}}"#),
            format!(
                r#"{{"type":"function_call_output","output":[{{"type":"input_text","text":"{words}"}}]}}"#
            ),
            format!(
                r#"{{"type":"reasoning","id":"r","summary":[{{"type":"summary_text","text":"{words}"}}]}}"#
            ),
        ] {
            let needs = needs_at(Endpoint::Responses, &format!(r#"{{"input":[{item}]}}"#));
            let tokens = needs.prompt_tokens;
            assert!((140..220).contains(&tokens), "{tokens}: {item}");
            assert_eq!(needs.hard, set(&[TextOutput]), "{item}");
            assert_eq!(needs.state, State::None, "{item}");
        }
        for (kind, sense) in [
            ("input_image", ImageInput),
            ("input_audio", AudioInput),
            ("input_file", FileInput),
        ] {
            let body =
                format!(r#"{{"input":[{{"role":"user","content":[{{"type":"{kind}"}}]}}]}}"#);
            let needs = needs_at(Endpoint::Responses, &body);
            assert_eq!(needs.hard, set(&[TextOutput, sense]), "{kind}");
        }
    }

    #[test]
    fn a_response_states_its_format_and_tools_in_its_own_places() {
        for (body, expected) in [
            (
                r#"{"text":{"format":{"type":"json_schema","name":"n","schema":{}}}}"#,
                Some(JsonSchema),
            ),
            (
                r#"{"text":{"format":{"type":"json_object"}}}"#,
                Some(JsonObject),
            ),
            (
                r#"{"text":{"format":{"type":"text"},"verbosity":"low"}}"#,
                None,
            ),
            (r#"{"response_format":{"type":"json_object"}}"#, None),
            (
                r#"{"tools":[{"type":"function","name":"f","parameters":{}}]}"#,
                Some(Tools),
            ),
        ] {
            let hard = needs_at(Endpoint::Responses, body).hard;
            assert_eq!(
                hard.difference(set(&[TextOutput])),
                expected.into_iter().collect(),
                "{body}"
            );
        }
        let needs = needs_at(
            Endpoint::Responses,
            r#"{"reasoning":{"effort":"low"},"max_output_tokens":9}"#,
        );
        assert!(needs.soft.contains(Reasoning));
        assert_eq!(needs.output_tokens, Some(9));
    }

    #[test]
    fn what_one_provider_keeps_is_seen() {
        for (body, state) in [
            (
                r#"{"previous_response_id":"resp_1"}"#,
                State::Response("resp_1".into()),
            ),
            (r#"{"previous_response_id":null}"#, State::None),
            (
                r#"{"conversation":"conv_1"}"#,
                State::Foreign("conversation"),
            ),
            (
                r#"{"conversation":{"id":"conv_1"},"previous_response_id":"r"}"#,
                State::Foreign("conversation"),
            ),
            (r#"{"conversation":null}"#, State::None),
            (r#"{"background":true}"#, State::Foreign("background")),
            (r#"{"background":false}"#, State::None),
            (r#"{"prompt":{"id":"pmpt_1"}}"#, State::Foreign("prompt")),
            (
                r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#,
                State::Foreign("input"),
            ),
            (r#"{"input":[{"id":"msg_1"}]}"#, State::Foreign("input")),
            (
                r#"{"input":[{"id":"msg_1","role":"user","content":"hi"}]}"#,
                State::None,
            ),
        ] {
            assert_eq!(needs_at(Endpoint::Responses, body).state, state, "{body}");
            assert_eq!(needs(body).state, State::None, "{body}");
        }
    }

    #[test]
    fn of_a_long_id_little_is_kept() {
        let body = format!(r#"{{"previous_response_id":"{}"}}"#, "x".repeat(100_000));
        let State::Response(id) = needs_at(Endpoint::Responses, &body).state else {
            panic!("an id");
        };
        assert_eq!(id.len(), LONGEST_ID + 1);
    }

    #[test]
    fn an_edit_needs_eyes() {
        for body in [r#"{"images":[{"image_url":"u"}]}"#, r#"{"image":"u"}"#] {
            let needs = needs_at(Endpoint::ImageEdits, body);
            assert_eq!(needs.hard, set(&[ImageInput, ImageOutput]), "{body}");
        }
    }
}
