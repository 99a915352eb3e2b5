//! The parts of a chat request that the pool looks at.

use serde::Deserialize;
use serde_json::Value;

use super::pool::Model;

/// A chat request, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ChatRequest {
    pub(super) model: String,
    pub(super) messages: Vec<Message>,
    #[serde(default)]
    pub(super) stream: bool,
    pub(super) stream_options: Option<Value>,
    #[serde(default)]
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) response_format: Option<Value>,
    pub(super) modalities: Option<Vec<String>>,
    pub(super) max_tokens: Option<u64>,
    pub(super) max_completion_tokens: Option<u64>,
}

/// One message; its content is a text, a list of parts, or nothing.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Message {
    pub(super) role: String,
    #[serde(default)]
    pub(super) content: Value,
}

/// Why a model can not serve a request, for good.
#[derive(Debug, PartialEq)]
pub(super) enum Misfit {
    Tools,
    Input(&'static str),
    Parameters,
    TooLong { limit: u64, asked: u64 },
}

/// About how many tokens so many bytes are.
pub(super) fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes / 4).unwrap_or(u64::MAX)
}

impl ChatRequest {
    /// Whether this model can serve it. Like real ones, it tells what it lacks.
    pub(super) fn fits(&self, model: &Model) -> Result<(), Misfit> {
        if self.tools.as_ref().is_some_and(|tools| !tools.is_empty()) && !model.understands("tools")
        {
            return Err(Misfit::Tools);
        }
        let mut inputs = self.messages.iter().flat_map(Message::inputs);
        if let Some(input) = inputs.find(|input| !model.input.contains(input)) {
            return Err(Misfit::Input(input));
        }
        let formatted = match self.format() {
            Some("json_schema") => model.understands("structured_outputs"),
            Some("json_object") => model.understands("response_format"),
            _ => true,
        };
        let mut modalities = self.modalities.iter().flatten();
        if !formatted || !model.makes("text") || modalities.any(|output| output != "text") {
            return Err(Misfit::Parameters);
        }
        let asked = self.tokens();
        if asked > model.context_length {
            let limit = model.context_length;
            return Err(Misfit::TooLong { limit, asked });
        }
        Ok(())
    }

    /// About how many tokens its text and its tools are; an image is not counted by its bytes.
    fn tokens(&self) -> u64 {
        let text: usize = self
            .messages
            .iter()
            .map(|message| message.text().len())
            .sum();
        let tools = self
            .tools
            .iter()
            .flatten()
            .map(|tool| tool.to_string().len())
            .sum::<usize>();
        tokens(text + tools)
    }

    /// The type of the answer's format.
    pub(super) fn format(&self) -> Option<&str> {
        self.response_format.as_ref()?.get("type")?.as_str()
    }

    /// How long an answer may be, if the caller said.
    pub(super) fn max_output(&self) -> Option<u64> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    pub(super) fn wants_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options.is_some_and(|options| options["include_usage"] == true)
    }
}

impl Message {
    /// Its text, over all parts.
    pub(super) fn text(&self) -> String {
        match &self.content {
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let texts = parts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        }
    }

    /// What a model must be able to read for it, beside text.
    fn inputs(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.content.as_array().into_iter().flatten();
        parts.filter_map(|part| match part["type"].as_str()? {
            "image_url" | "input_image" => Some("image"),
            "input_audio" => Some("audio"),
            "file" | "input_file" => Some("file"),
            "video_url" => Some("video"),
            _ => None,
        })
    }
}
