//! Where in a request something is needed.
//!
//! The same word means a need in one place and nothing in another: `"type":"image_url"` asks for image input in a
//! message's content, and for nothing in a tool's schema or in a prompt. So each field is read by its own function.
//!
//! Keys are compared to the letter here, as upstreams do. Where one is given twice, either may be the one that counts,
//! and all needs add up.

use std::ops::Range;

use super::{
    needs::{LONGEST_ID, Needs, Prompt, State},
    tokens::Media,
};
use crate::{
    capability::{Capability, CapabilitySet},
    endpoint::Endpoint,
    json::{Collected, Event, JsonError, Kind, Member, Reader, Value},
};

/// Reads what a request needs, one top-level field after the other.
#[derive(Debug)]
pub(crate) struct NeedsReader {
    pub(crate) needs: Needs,
    /// Whether there are tools that the caller runs, and functions, their predecessors.
    tools: bool,
    functions: bool,
}

impl NeedsReader {
    pub(crate) fn new(body: &Collected, endpoint: Endpoint) -> Self {
        let mut needs = Needs::new(endpoint);
        needs.hard = CapabilitySet::EMPTY;
        needs.prompt = Prompt::of(body);
        Self {
            needs,
            tools: false,
            functions: false,
        }
    }

    /// There is a list of tools, with entries or without any.
    pub(crate) fn tools(&mut self, name: &[u8], span: Range<usize>, any: bool) {
        let endpoints = [Endpoint::ChatCompletions, Endpoint::Responses];
        if name == b"tools" && endpoints.contains(&self.needs.endpoint) {
            self.tools |= any;
            self.needs.prompt.beginning.note(name, span.clone());
            self.needs.prompt.read(span);
        }
    }

    /// What the request needs. `without_tools`: none of its tools is sent.
    pub(crate) fn finish(mut self, without_tools: bool) -> Needs {
        let hard = &mut self.needs.hard;
        if self.tools && !without_tools || self.functions {
            hard.insert(Capability::Tools);
        }
        let other = [Capability::ImageOutput, Capability::AudioOutput];
        if !other.iter().any(|&output| hard.contains(output)) {
            hard.insert(self.needs.endpoint.output());
        }
        self.needs
    }

    /// Reads the value of a top-level field but for `messages` and `tools`, to its end.
    pub(crate) fn field<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        name: &[u8],
        value: Value<'a>,
    ) -> Result<(), JsonError> {
        use Endpoint::{
            ChatCompletions, Completions, Embeddings, ImageEdits, ImageGenerations, Responses,
        };
        let needs = &mut self.needs;
        let mut is_read = false;
        match (needs.endpoint, name, value.first) {
            (_, b"stream", Event::Bool(true)) => needs.stream = true,
            (
                _,
                b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens",
                Event::Number(limit),
            ) => needs.output_tokens = needs.output_tokens.max(whole(limit.as_str())),
            (ChatCompletions, b"functions", Event::Begin(Kind::Array)) => {
                is_read = true;
                reader.visit(value.first, |_| self.functions = true)?;
            }
            (ChatCompletions, b"response_format", _) => {
                is_read = true;
                self.format(reader, value.first)?;
            }
            (ChatCompletions, b"logprobs", Event::Bool(true))
            | (ChatCompletions | Responses, b"top_logprobs", Event::Number(_))
            // Here it is a number: of how many tokens.
            | (Completions, b"logprobs", Event::Number(_)) => {
                needs.hard.insert(Capability::Logprobs);
            }
            (ChatCompletions, b"include_reasoning", Event::Bool(true))
            | (ChatCompletions | Responses, b"reasoning", Event::Begin(Kind::Object)) => {
                needs.soft.insert(Capability::Reasoning);
            }
            (ChatCompletions, b"reasoning_effort", Event::Text(effort))
                if *effort.name_bytes() != *b"none" =>
            {
                needs.soft.insert(Capability::Reasoning);
            }
            (ChatCompletions | Responses, b"modalities", Event::Begin(Kind::Array)) => {
                reader.elements(value.first, |_, modality| {
                    self.modality(modality.first);
                    Ok::<_, JsonError>(())
                })?;
            }
            (Completions, b"prompt", Event::Begin(Kind::Array))
            | (Embeddings, b"input", Event::Begin(Kind::Array)) => self.inputs(reader, value.first)?,
            (Completions, b"prompt" | b"suffix", _)
            | (Embeddings, b"input", _)
            | (Responses, b"instructions", _)
            | (ImageGenerations | ImageEdits, b"prompt", _) => is_read = true,
            (Responses, b"input", _) => {
                is_read = true;
                reader.elements(value.first, |reader, item| self.item(reader, item.first))?;
            }
            (Responses, b"text", _) => {
                is_read = true;
                reader.members(value.first, |reader, member| match &*member.name.name_bytes() {
                    b"format" => self.format(reader, member.value.first),
                    _ => Ok(()),
                })?;
            }
            (Responses, b"previous_response_id", Event::Text(id))
                if !matches!(needs.state, State::Foreign(_)) =>
            {
                let id = id.chars().take(LONGEST_ID + 1).collect();
                needs.state = State::Response(id);
            }
            (Responses, b"conversation", Event::Text(_) | Event::Begin(_)) => {
                needs.state = State::Foreign("conversation");
            }
            (Responses, b"background", Event::Bool(true)) => {
                needs.state = State::Foreign("background");
            }
            // A prompt that is stored at the provider.
            (Responses, b"prompt", Event::Begin(_)) => needs.state = State::Foreign("prompt"),
            (ImageEdits, b"image" | b"images", Event::Text(_) | Event::Begin(_)) => {
                needs.hard.insert(Capability::ImageInput);
            }
            _ => {}
        }
        reader.skip_unread(&value)?;
        if is_read {
            let span = value.start..reader.at();
            if self.needs.endpoint == Responses {
                self.needs.prompt.beginning.note(name, span.clone());
            }
            self.needs.prompt.read(span);
        }
        Ok(())
    }

    /// A list of inputs that are served one by one, so that the window has to hold the longest of them only. An input is a
    /// string, a list of tokens, or an object that holds parts like a message; a list of numbers is one input in tokens.
    fn inputs<'a>(&mut self, reader: &mut Reader<'a>, first: Event<'a>) -> Result<(), JsonError> {
        /// About how many bytes of text are a token, so that inputs of several kinds can be compared.
        const BYTES: u64 = 4;
        let of_others = self.needs.prompt.tokens;
        let begin = reader.at();
        let mut numbers = 0;
        let (mut longest, mut text, mut tokens) = (0, begin..begin, 0);
        reader.elements(first, |reader, input| {
            let prompt = &mut self.needs.prompt;
            prompt.tokens = 0;
            let (mark, mut end) = (prompt.mark(), input.start);
            match input.first {
                Event::Number(_) => numbers += 1,
                Event::Begin(Kind::Array) => reader.visit(input.first, |event| {
                    prompt.tokens += u64::from(matches!(event, Event::Number(_)));
                })?,
                _ => {
                    reader.members(input.first, |reader, member| {
                        match &*member.name.name_bytes() {
                            b"content" => self.content(reader, member.value.first),
                            _ => Ok(()),
                        }
                    })?;
                    end = reader.at();
                }
            }
            let prompt = &self.needs.prompt;
            let span = input.start..end;
            let length = prompt.text_len(&span, mark) / BYTES + prompt.tokens;
            if length >= longest {
                (longest, text, tokens) = (length, span, prompt.tokens);
            }
            Ok::<_, JsonError>(())
        })?;
        let prompt = &mut self.needs.prompt;
        if numbers > longest {
            (text, tokens) = (begin..begin, numbers);
        }
        prompt.read(text);
        prompt.tokens = of_others + tokens;
        Ok(())
    }

    /// The content of a message or of an item: a string, or a list of parts.
    #[inline]
    pub(crate) fn content<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        first: Event<'a>,
    ) -> Result<(), JsonError> {
        match first {
            Event::Begin(kind) => self.parts(reader, kind),
            _ => Ok(()),
        }
    }

    fn parts<'a>(&mut self, reader: &mut Reader<'a>, kind: Kind) -> Result<(), JsonError> {
        reader.elements(Event::Begin(kind), |reader, part| {
            let mut media = None;
            reader.members(part.first, |reader, member| {
                match (&*member.name.name_bytes(), member.value.first) {
                    (b"type", Event::Text(kind)) => {
                        if let Some((kind, capability)) = media_of(&kind.name_bytes()) {
                            self.needs.hard.insert(capability);
                            media = media.max(Some(kind));
                        }
                    }
                    (b"text" | b"refusal", _) => {}
                    _ => self.left_out(reader, member.value)?,
                }
                Ok::<_, JsonError>(())
            })?;
            if let Some(media) = media {
                let span = part.start..reader.at();
                let len = self.needs.prompt.len_of(&span);
                self.needs.prompt.tokens += media.tokens(len);
                self.needs.prompt.leave_out(span);
            }
            Ok(())
        })
    }

    /// Reads to the end of a value that the model does not read as text.
    #[inline]
    pub(crate) fn left_out(
        &mut self,
        reader: &mut Reader<'_>,
        value: Value<'_>,
    ) -> Result<(), JsonError> {
        reader.skip(value.first)?;
        self.needs.prompt.leave_out(value.start..reader.at());
        Ok(())
    }

    /// An item of the `input` of the Responses API.
    fn item<'a>(&mut self, reader: &mut Reader<'a>, item: Event<'a>) -> Result<(), JsonError> {
        let (mut id, mut reference, mut more_than_an_id) = (false, false, false);
        reader.members(item, |reader, Member { name, value, .. }| {
            match (&*name.name_bytes(), value.first) {
                (b"id", event) => {
                    id |= matches!(event, Event::Text(_));
                    return Ok(());
                }
                (b"type", Event::Text(kind)) => {
                    reference |= *kind.name_bytes() == *b"item_reference"
                }
                (b"type", _) => return Ok(()),
                (b"content" | b"output" | b"summary", _) => self.content(reader, value.first)?,
                (b"name" | b"arguments" | b"input", _) => {}
                _ => self.left_out(reader, value)?,
            }
            more_than_an_id = true;
            Ok::<_, JsonError>(())
        })?;
        // A reference need not say that it is one.
        if reference || id && !more_than_an_id {
            self.needs.state = State::Foreign("input");
        }
        Ok(())
    }

    /// A format of the answer.
    fn format<'a>(&mut self, reader: &mut Reader<'a>, first: Event<'a>) -> Result<(), JsonError> {
        reader.members(first, |_, member| {
            if let (b"type", Event::Text(kind)) = (&*member.name.name_bytes(), member.value.first) {
                match &*kind.name_bytes() {
                    b"json_object" => self.needs.hard.insert(Capability::JsonObject),
                    b"json_schema" => self.needs.hard.insert(Capability::JsonSchema),
                    _ => {}
                }
            }
            Ok(())
        })
    }

    fn modality(&mut self, modality: Event<'_>) {
        if let Event::Text(name) = modality {
            match &*name.name_bytes() {
                b"image" => self.needs.hard.insert(Capability::ImageOutput),
                b"audio" => self.needs.hard.insert(Capability::AudioOutput),
                b"text" => self.needs.hard.insert(Capability::TextOutput),
                _ => {}
            }
        }
    }
}

/// What a part of a message's content is, and what it takes to read it.
fn media_of(kind: &[u8]) -> Option<(Media, Capability)> {
    match kind {
        b"image_url" | b"input_image" | b"image" => Some((Media::Image, Capability::ImageInput)),
        b"input_audio" | b"audio" | b"audio_url" => Some((Media::Audio, Capability::AudioInput)),
        b"file" | b"input_file" => Some((Media::File, Capability::FileInput)),
        b"video_url" | b"input_video" | b"video" => Some((Media::Video, Capability::VideoInput)),
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
        let envelope = scan(&body.to_owned().into(), endpoint).unwrap();
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
    fn the_longest_of_several_inputs_counts() {
        let word = "word ".repeat(50);
        for (endpoint, field) in [
            (Endpoint::Completions, "prompt"),
            (Endpoint::Embeddings, "input"),
        ] {
            let tokens = |inputs: &str| {
                let body = format!(r#"{{"{field}":{inputs}}}"#);
                needs_at(endpoint, &body).prompt_tokens()
            };
            let one = tokens(&format!(r#""{word}""#));
            assert!(one > 40, "{one}");
            let several = format!(r#"["a","{word}","{word}","b"]"#);
            assert_eq!(tokens(&several), one, "{endpoint}");
            assert_eq!(tokens("[1,2,3]"), 3, "{endpoint}");
            assert_eq!(tokens("[[1,2,3],[4,5,6,7],[8]]"), 4, "{endpoint}");
            assert_eq!(tokens("[]"), 0, "{endpoint}");
            // The bytes of an image are no text, and those of one input are not another's.
            let image = format!(
                r#"{{"content":[{{"type":"image_url","image_url":"{}"}}]}}"#,
                "x".repeat(9000)
            );
            let images = tokens(&format!(r#"["{word}",{image},{image},[1,2]]"#));
            assert!((1000..1020).contains(&images), "{images}");
        }
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
        assert!((1000..1020).contains(&needs(&image).prompt_tokens()));
        for kind in ["file", "video_url", "input_audio"] {
            let part = part_of_a_message(&format!(
                r#"{{"{kind}":{{"data":"{data}"}},"type":"{kind}"}}"#
            ));
            assert!(needs(&part).prompt_tokens() < 60_000, "{kind}");
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
            let tokens = needs(&body).prompt_tokens();
            assert!((140..220).contains(&tokens), "{tokens}: {body}");
        }
        let words = words.repeat(2);
        for body in [
            format!(r#"{{"metadata":"{words}"}}"#),
            format!(r#"{{"messages":[{{"id":"{words}"}}]}}"#),
        ] {
            assert!(needs(&body).prompt_tokens() < 10, "{body}");
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
            let tokens = needs_at(endpoint, &body).prompt_tokens();
            assert!((140..220).contains(&tokens), "{tokens}: {endpoint} {field}");
            assert_eq!(needs(&body).prompt_tokens(), 0, "{field}");
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
            let tokens = needs.prompt_tokens();
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
