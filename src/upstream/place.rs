//! The table of what stands where in the answers of providers.

use super::strict::Part;

/// What a value is to the answer it stands in. An element of an array has the place of the array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Not read, nor is what stands below: a field that is not known, or words of the client that the answer repeats.
    #[default]
    Skip,
    /// The same; but the field is known, and holds nothing of the answer.
    Label,
    /// A whole answer.
    Document,
    /// The data of an event.
    Event,
    Choice,
    /// The `message` or `delta` of a choice, or the `message` of an answer in a provider's own format.
    Turn,
    ToolCall,
    Function,
    /// Text here is content.
    Content,
    /// Any value here is content, also a zero: an embedding may be all zeros.
    Data,
    /// The same, and a cost may stand in it.
    Result,
    /// An item of the Responses API, in `output` or in `response.output_item.done`.
    Item,
    /// The `response` of an event of the Responses API.
    Response,
    /// The `delta` of an event that is no chat chunk: a string (Responses API) or an object (Cohere, Anthropic).
    Delta,
    Error,
    /// Another field that stands only in errors.
    Detail,
    FinishReason,
    Index,
    /// `type` and `object` of a whole answer.
    Type,
    /// The same of an event.
    EventType,
    Success,
    Status,
    EventStatus,
    Usage,
    Cost,
    CostDetails,
    UpstreamCost,
    OwnKey,
    Metadata,
    Gateway,
}

impl Place {
    /// The place of the value with this key in an object at this place.
    pub(super) fn of(self, key: &str) -> Self {
        match self {
            Self::Event => Self::in_event(key),
            Self::Document => Self::in_document(key),
            Self::Choice => match key {
                "message" | "delta" => Self::Turn,
                "index" => Self::Index,
                // OpenAI and Cohere; Gemini.
                "finish_reason" | "finishReason" => Self::FinishReason,
                "text" | "content" => Self::Content,
                // OpenRouter (errors-and-debugging).
                "error" => Self::Error,
                _ => Self::of_cost(key),
            },
            Self::Turn => match key {
                "tool_calls" => Self::ToolCall,
                "function_call" => Self::Function,
                "content" | "refusal" | "audio" | "images"
                // OpenRouter and Groq; DeepSeek, Moonshot and vLLM; OpenRouter; Copilot; Ollama; Cohere.
                | "reasoning" | "reasoning_content" | "reasoning_details" | "reasoning_text" | "thinking" | "tool_plan"
                // Groq's compound systems.
                | "executed_tools" => Self::Content,
                _ => Self::of_cost(key),
            },
            Self::ToolCall if key == "function" => Self::Function,
            Self::Delta => match key {
                "finish_reason" | "stop_reason" => Self::FinishReason,
                _ => Self::of_cost(key).or(Self::in_content(key)),
            },
            Self::Content | Self::ToolCall | Self::Function => Self::in_content(key),
            Self::Item => match key {
                "content" | "summary" | "encrypted_content" | "name" | "arguments" | "input"
                | "action" | "operation" | "code" | "result" | "results" | "output" => {
                    Self::Content
                }
                _ => Self::Skip,
            },
            Self::Response => match key {
                "output" => Self::Item,
                "error" => Self::Error,
                _ => Self::of_cost(key),
            },
            Self::Result => match key {
                "data" | "result" | "response" => Self::Result,
                _ => Self::of_cost(key).or(Self::in_data(key)),
            },
            Self::Data => Self::in_data(key),
            // OpenRouter reports `cost` in credits; for a request on the operator's own key at the upstream (`is_byok`)
            // the price stands in `cost_details`. The `cost` of Perplexity is an object.
            Self::Usage => match key {
                "cost" => Self::Cost,
                "cost_details" => Self::CostDetails,
                "is_byok" => Self::OwnKey,
                _ => Self::Skip,
            },
            Self::Cost if key == "total_cost" => Self::Cost,
            Self::CostDetails if key == "upstream_inference_cost" => Self::UpstreamCost,
            Self::Metadata if key == "gateway" => Self::Gateway,
            Self::Gateway if key == "cost" => Self::Cost,
            _ => Self::Skip,
        }
    }

    fn or(self, other: Self) -> Self {
        if self == Self::Skip { other } else { self }
    }

    fn of_cost(key: &str) -> Self {
        match key {
            "usage" => Self::Usage,
            // Vercel's gateway reports US dollars, beside `choices`, in a message or in a delta.
            "provider_metadata" | "providerMetadata" => Self::Metadata,
            _ => Self::Skip,
        }
    }

    fn in_event(key: &str) -> Self {
        match key {
            // OpenAI; Gemini.
            "choices" | "candidates" => Self::Choice,
            // What every chunk has, and what keep-alives in JSON have.
            "id" | "created" | "model" | "provider" | "system_fingerprint" | "service_tier"
            | "index" | "sequence_number" | "progress" | "queue_position" | "position" | "eta"
            | "ping" | "heartbeat" | "keepalive" | "keep_alive" | "timestamp" => Self::Label,
            "type" | "object" => Self::EventType,
            "status" | "state" => Self::EventStatus,
            "error" | "errors" => Self::Error,
            "delta" => Self::Delta,
            "item" => Self::Item,
            "response" => Self::Response,
            "text" | "arguments" | "refusal" | "part" | "input" | "code" | "transcript"
            | "partial_image_b64" | "content_block" => Self::Content,
            _ => Self::of_cost(key),
        }
    }

    fn in_document(key: &str) -> Self {
        match key {
            "choices" | "candidates" => Self::Choice,
            "type" | "object" => Self::Type,
            "status" => Self::Status,
            "error" | "errors" => Self::Error,
            // FastAPI, NVIDIA and Mistral's gateway.
            "detail" => Self::Detail,
            "success" => Self::Success,
            "message" => Self::Turn,
            "output" => Self::Item,
            "data" | "result" | "response" => Self::Result,
            "text" | "embedding" | "embeddings" | "images" | "results" | "content" => Self::Data,
            _ => Self::of_cost(key),
        }
    }

    fn in_content(key: &str) -> Self {
        match key {
            // Labels of a part, which are there before the part has any content.
            "type" | "role" | "index" | "id" | "call_id" | "format" | "status" | "object"
            | "annotations" | "citations" | "logprobs" | "finish_reason" | "stop_reason"
            | "stop_sequence" | "expires_at" | "usage" => Self::Label,
            _ => Self::Content,
        }
    }

    fn in_data(key: &str) -> Self {
        match key {
            // Labels of an element: a vector without numbers, or an image without bytes or address, holds nothing.
            "object" | "index" | "type" | "embedding_type" | "revised_prompt" | "seed"
            | "content_type" => Self::Label,
            _ => Self::Data,
        }
    }

    /// The object whose fields strict clients read, if there is one at this place.
    pub(super) const fn part(self) -> Option<Part> {
        Some(match self {
            // Of a completion, the check puts the parts of one in the place of these.
            Self::Document => Part::Chat,
            Self::Usage => Part::Usage,
            Self::Choice => Part::Choice,
            Self::Turn => Part::Message,
            Self::ToolCall => Part::Call,
            Self::Function => Part::Function,
            _ => return None,
        })
    }
}
