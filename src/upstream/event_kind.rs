//! The kinds of events in a stream, by the `type` in their data or by their name.

/// What the `type` in an event's data, or else the event's name, says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// It holds no content, whatever its fields are: a start, a ping, a notice of progress.
    Silent,
    /// Its fields decide.
    Judged,
    /// It ends the answer; its fields decide whether it holds content.
    Terminal,
    /// It ends the answer and is content.
    Answer,
    /// It is an error.
    Error,
}

impl EventKind {
    /// `None` for a name that is not known.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "ping" | "keepalive" | "keep-alive" | "keep_alive" | "heartbeat" => Self::Silent,
            "error" | "response.failed" | "response.error" => Self::Error,
            _ if name.ends_with("_error") => Self::Error,
            // Responses API. `incomplete` was cut by a limit or a filter. There is no `[DONE]`.
            "response.completed" => Self::Terminal,
            "response.incomplete" => Self::Answer,
            // `response.output_text.delta`, `response.function_call_arguments.done`,
            // `response.image_generation_call.partial_image`; the others tell of beginnings and progress.
            _ if name.starts_with("response.") => {
                let holds_content = [".delta", ".done", ".partial_image"];
                match holds_content.iter().any(|end| name.ends_with(end)) {
                    true => Self::Judged,
                    false => Self::Silent,
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
